//! An issuer of tokens.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A key pair and what it is called.
#[derive(Debug)]
pub struct Issuer {
    key: Ed25519KeyPair,
    id: String,
}

/// Seconds since 1970, with `more` added.
///
/// # Panics
/// The clock is before 1970.
#[must_use]
pub fn seconds_from_now(more: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs();
    i64::try_from(now).expect("a date of this era") + more
}

/// The header line that brings a token, with CRLF.
#[must_use]
pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Header and claims as they stand in a token.
fn signed(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// A token with this header, made with a shared secret.
#[must_use]
pub fn with_secret(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = signed(&header.to_string(), &claims.to_string());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A token with this header and these bytes for a signature.
#[must_use]
pub fn with_signature(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let signed = signed(&header.to_string(), &claims.to_string());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Claims of `subject` that hold for ten minutes.
#[must_use]
pub fn claims(subject: &str) -> Value {
    json!({ "sub": subject, "role": "user", "email": "u@shop.example", "aud": "api", "exp": seconds_from_now(600) })
}

impl Issuer {
    /// An issuer with a new key.
    ///
    /// # Panics
    /// There is no randomness.
    #[must_use]
    pub fn new(id: &str) -> Issuer {
        Issuer { key: Ed25519KeyPair::generate().expect("randomness"), id: id.to_owned() }
    }

    /// A token of these claims.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        self.token_as(&self.id, claims)
    }

    /// The same, with a key that is called otherwise.
    #[must_use]
    pub fn token_as(&self, id: &str, claims: &Value) -> String {
        self.token_of(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": id }).to_string(), &claims.to_string())
    }

    /// A token of this text, whatever it is.
    #[must_use]
    pub fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = signed(header, claims);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes())))
    }

    /// The public key, for a key set.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id, "use": "sig" })
    }

    /// The public key in PEM.
    ///
    /// # Panics
    /// Never: every key has this form.
    #[must_use]
    pub fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().expect("a key has a form");
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }
}

/// A key set of these.
#[must_use]
pub fn key_set(issuers: &[&Issuer]) -> String {
    json!({ "keys": issuers.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>() }).to_string()
}
