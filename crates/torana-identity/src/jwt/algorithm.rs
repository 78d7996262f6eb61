//! The algorithms of RFC 7518 and RFC 8037 that a key may have.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, RsaParameters, VerificationAlgorithm};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a token is signed.
///
/// There is no `none`, and none will be added: what is not in here cannot be
/// named by a configuration, a key set or a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[repr(u16)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    HS256 = 1,
    /// HMAC with SHA-384 and a shared secret.
    HS384 = 1 << 1,
    /// HMAC with SHA-512 and a shared secret.
    HS512 = 1 << 2,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    RS256 = 1 << 3,
    /// RSA (PKCS #1 v1.5) with SHA-384.
    RS384 = 1 << 4,
    /// RSA (PKCS #1 v1.5) with SHA-512.
    RS512 = 1 << 5,
    /// RSA (PSS) with SHA-256.
    PS256 = 1 << 6,
    /// RSA (PSS) with SHA-384.
    PS384 = 1 << 7,
    /// RSA (PSS) with SHA-512.
    PS512 = 1 << 8,
    /// ECDSA on P-256 with SHA-256.
    ES256 = 1 << 9,
    /// ECDSA on P-384 with SHA-384.
    ES384 = 1 << 10,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa = 1 << 11,
}

use Algorithm::{ES256, ES384, EdDsa, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};

impl Algorithm {
    /// All of them.
    pub(super) const ALL: [Algorithm; 12] =
        [HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDsa];
    /// Those of a shared secret.
    pub(super) const MAC: [Algorithm; 3] = [HS256, HS384, HS512];
    /// Those of an RSA key.
    pub(super) const RSA: [Algorithm; 6] = [RS256, RS384, RS512, PS256, PS384, PS512];

    /// As tokens and key sets write it, letter by letter.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            HS256 => "HS256",
            HS384 => "HS384",
            HS512 => "HS512",
            RS256 => "RS256",
            RS384 => "RS384",
            RS512 => "RS512",
            PS256 => "PS256",
            PS384 => "PS384",
            PS512 => "PS512",
            ES256 => "ES256",
            ES384 => "ES384",
            EdDsa => "EdDSA",
        }
    }

    /// What is called `name`, letter by letter.
    pub(super) fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// The MAC, for those of a shared secret.
    pub(super) fn mac(self) -> Option<hmac::Algorithm> {
        match self {
            HS256 => Some(hmac::HMAC_SHA256),
            HS384 => Some(hmac::HMAC_SHA384),
            HS512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    /// The parameters, for those of an RSA key.
    pub(super) fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    /// How a signature is verified, for those of a key pair.
    pub(super) fn public(self) -> Option<&'static dyn VerificationAlgorithm> {
        match self {
            ES256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
            ES384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
            EdDsa => Some(&signature::ED25519),
            _ => self.rsa().map(|parameters| parameters as &'static dyn VerificationAlgorithm),
        }
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allowed(u16);

impl Allowed {
    /// Those in `list`; all of them if it is empty.
    pub(super) fn of(list: &[Algorithm]) -> Allowed {
        if list.is_empty() { Allowed(u16::MAX) } else { Allowed(list.iter().fold(0, |set, one| set | *one as u16)) }
    }

    /// Whether `algorithm` is one of them.
    pub(super) const fn has(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm as u16 != 0
    }
}
