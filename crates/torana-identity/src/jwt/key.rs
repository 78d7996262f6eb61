//! Keys, each with the algorithms that it may be used with.
//!
//! The algorithm is a property of the key (RFC 8725 §3.1): a token says which
//! of them was used, and a key that does not have it verifies nothing. So an
//! RSA public key can never serve as an HMAC secret.

use super::algorithm::{Algorithm, Allowed};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// One key.
pub(super) struct Key {
    /// What tokens call it. A key without a name may be meant by any of them.
    id: Option<Box<str>>,
    /// By algorithm; at least one.
    verifiers: Box<[(Algorithm, Verifier)]>,
}

enum Verifier {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Verifier {
    fn accepts(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            // In constant time.
            Verifier::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
            Verifier::Public(key) => key.verify_sig(signed, signature).is_ok(),
        }
    }
}

/// Keys that vouch for the same tokens.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

/// What a set of keys makes of a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signature {
    /// One of the keys made it.
    Good,
    /// None of the keys that were meant made it.
    Bad,
    /// The key that was meant has another algorithm.
    WrongAlgorithm,
    /// The set has no such key.
    UnknownKey,
}

/// How many keys are tried for one token. A token that names no key may mean
/// any, and each costs a verification.
const MOST_TRIED: usize = 8;

/// How many keys of a set are taken up.
pub(super) const MOST_KEYS: usize = 64;

/// How many bytes the modulus of an RSA key has at least: 2048 bits (RFC 7518 §3.3). Shorter keys would be taken up and
/// verify nothing.
const SHORTEST_MODULUS: usize = 256;

impl KeySet {
    /// These.
    pub(super) fn of(keys: Vec<Key>) -> KeySet {
        KeySet(keys)
    }

    /// The keys of a JSON Web Key Set (RFC 7517 §5). Those that are for
    /// something else or of a type that is not known are passed over, as the
    /// RFC asks; `None` if it is no key set, or none of its keys is of use.
    pub(super) fn of_jwks(set: &Map<String, Value>) -> Option<KeySet> {
        let keys = set.get("keys")?.as_array()?;
        let usable: Vec<Key> = keys.iter().filter_map(|key| Key::of_jwk(key.as_object()?)).take(MOST_KEYS).collect();
        (!usable.is_empty()).then_some(KeySet(usable))
    }

    /// Judges a signature by the key called `id`.
    pub(super) fn judge(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        allowed: Allowed,
        signed: &[u8],
        signature: &[u8],
    ) -> Signature {
        let is_meant = |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        let mut result = Signature::UnknownKey;
        let mut tried = 0;
        for key in self.0.iter().filter(is_meant) {
            let found = key.verifiers.iter().find(|(own, _)| *own == algorithm && allowed.has(*own));
            let Some((_, verifier)) = found else {
                if result == Signature::UnknownKey {
                    result = Signature::WrongAlgorithm;
                }
                continue;
            };
            if verifier.accepts(signed, signature) {
                return Signature::Good;
            }
            result = Signature::Bad;
            tried += 1;
            if tried == MOST_TRIED {
                break;
            }
        }
        result
    }
}

impl Key {
    /// A shared secret.
    pub(super) fn of_secret(id: Option<&str>, secret: &[u8], allowed: Allowed) -> Option<Key> {
        let verifiers =
            Algorithm::MAC.into_iter().filter(|algorithm| allowed.has(*algorithm)).filter_map(|algorithm| {
                Some((algorithm, Verifier::Secret(Box::new(hmac::Key::new(algorithm.mac()?, secret)))))
            });
        Key::with(id, verifiers.collect())
    }

    /// A public key in PEM: `PUBLIC KEY` or `RSA PUBLIC KEY`. Its type says
    /// which algorithms it can have.
    pub(super) fn of_pem(id: Option<&str>, pem: &str, allowed: Allowed) -> Option<Key> {
        let der = der(pem)?;
        let parse = |algorithm: Algorithm| {
            algorithm.rsa().is_none_or(|_| der.len() > SHORTEST_MODULUS).then_some(())?;
            let key = ParsedPublicKey::new(algorithm.public()?, &der).ok()?;
            Some((algorithm, Verifier::Public(key)))
        };
        Key::with(id, Algorithm::ALL.into_iter().filter(|one| allowed.has(*one)).filter_map(parse).collect())
    }

    /// A JSON Web Key. Secrets have no place in a set that is published.
    fn of_jwk(jwk: &Map<String, Value>) -> Option<Key> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops") {
            operations.as_array()?.iter().find(|operation| operation.as_str() == Some("verify"))?;
        }
        // A key that names its algorithm has no other.
        let own = match jwk.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name.as_str()?)?),
        };
        let is_own = |algorithm: &Algorithm| own.is_none_or(|own| own == *algorithm);
        let public = |algorithm: Algorithm, key: &[u8]| {
            let key = ParsedPublicKey::new(algorithm.public()?, key).ok()?;
            is_own(&algorithm).then_some(vec![(algorithm, Verifier::Public(key))])
        };
        let verifiers = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (n, e) = (number(text("n")?)?, number(text("e")?)?);
                if n.len() < SHORTEST_MODULUS {
                    return None;
                }
                let parse = |algorithm: Algorithm| {
                    let key = RsaPublicKeyComponents { n: &n, e: &e }.to_parsed_public_key(algorithm.rsa()?).ok()?;
                    Some((algorithm, Verifier::Public(key)))
                };
                Algorithm::RSA.into_iter().filter(is_own).filter_map(parse).collect()
            }
            ("EC", Some("P-256")) => public(Algorithm::ES256, &point(text("x")?, text("y")?, 32)?)?,
            ("EC", Some("P-384")) => public(Algorithm::ES384, &point(text("x")?, text("y")?, 48)?)?,
            ("OKP", Some("Ed25519")) => public(Algorithm::EdDsa, &coordinate(text("x")?, 32)?)?,
            _ => return None,
        };
        Key::with(text("kid"), verifiers)
    }

    fn with(id: Option<&str>, verifiers: Vec<(Algorithm, Verifier)>) -> Option<Key> {
        (!verifiers.is_empty()).then(|| Key { id: id.map(Into::into), verifiers: verifiers.into() })
    }
}

/// A big-endian number without leading zeros, which some senders add.
fn number(text: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    (!bytes.is_empty()).then_some(bytes)
}

fn coordinate(text: &str, length: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == length)
}

/// A point in SEC 1's uncompressed form.
fn point(x: &str, y: &str, length: usize) -> Option<Vec<u8>> {
    Some([vec![4], coordinate(x, length)?, coordinate(y, length)?].concat())
}

/// What the first public key of a PEM text holds.
fn der(pem: &str) -> Option<Vec<u8>> {
    ["PUBLIC KEY", "RSA PUBLIC KEY"].into_iter().find_map(|label| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        STANDARD.decode(body).ok()
    })
}
