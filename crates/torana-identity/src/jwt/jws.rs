//! Tokens as text: JSON Web Signatures in compact form (RFC 7515 §7.1).

use super::algorithm::Algorithm;
use super::object;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A token that was read and not yet believed.
pub(super) struct Jws {
    /// All of it.
    pub(super) token: Box<[u8]>,
    /// How long header and payload are.
    signed: usize,
    /// The signature.
    pub(super) signature: Vec<u8>,
    /// How it says it was signed.
    pub(super) algorithm: Algorithm,
    /// Which key it says it was signed with.
    pub(super) key_id: Option<String>,
    /// What it claims.
    pub(super) claims: Map<String, Value>,
}

/// Why a token was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Misread {
    /// It is no token.
    Malformed(&'static str),
    /// Its algorithm is none of ours, or none at all.
    Algorithm,
}

/// Members of a header that tell where to find the key, or ask for what is not
/// done here. Whoever signs the token may not choose the key (RFC 8725 §3.10),
/// and what `crit` names has to be understood (RFC 7515 §4.1.11): nothing that
/// may stand there is.
const REFUSED: [&str; 8] = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"];

/// Reads a token. Base64 has one form only: no padding, no stray bits.
pub(super) fn read(token: &[u8]) -> Result<Jws, Misread> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Misread::Malformed("it does not have three parts"));
    };
    // One after the other in one place, since none is longer than all.
    let mut bytes = Vec::with_capacity(token.len());
    let decode = |part: &[u8], what, bytes: &mut Vec<u8>| {
        bytes.clear();
        URL_SAFE_NO_PAD.decode_vec(part, bytes).map_err(|_| Misread::Malformed(what))
    };
    decode(header, "its header is not base64url", &mut bytes)?;
    let header = object(&bytes).ok_or(Misread::Malformed("its header is not an object with distinct names"))?;
    if REFUSED.iter().any(|name| header.contains_key(*name)) {
        return Err(Misread::Malformed("its header embeds a key, points to one, or asks for extensions"));
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named).ok_or(Misread::Algorithm)?;
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(Misread::Malformed("its `kid` is no text")),
    };
    if !header.get("typ").is_none_or(is_access_token) {
        return Err(Misread::Malformed("it is a token for something else"));
    }
    decode(payload, "its payload is not base64url", &mut bytes)?;
    let claims = object(&bytes).ok_or(Misread::Malformed("its payload is not an object with distinct names"))?;
    decode(signature, "its signature is not base64url", &mut bytes)?;
    if bytes.is_empty() {
        return Err(Misread::Malformed("it has no signature"));
    }
    let signed = token.iter().rposition(|byte| *byte == b'.').unwrap_or_default();
    Ok(Jws { token: token.into(), signed, signature: bytes, algorithm, key_id, claims })
}

impl Jws {
    /// Header and payload as they were signed.
    pub(super) fn signed(&self) -> &[u8] {
        self.token.get(..self.signed).unwrap_or_default()
    }
}

/// Tokens of other types, such as proofs of possession and notices of logout,
/// may be signed with the same key (RFC 8725 §3.11).
fn is_access_token(typ: &Value) -> bool {
    let Some(typ) = typ.as_str() else { return false };
    let typ = typ.strip_prefix("application/").unwrap_or(typ);
    typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt")
}
