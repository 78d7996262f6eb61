//! Every way to be refused. Callers are told two of them apart: no token, and
//! one that does not count; what exactly is wrong is in the log.

use torana_core::names::KnownName;
use torana_core::refusal::{Refusal, Rejection};

torana_core::refusals! {
    /// No token where one is needed.
    MISSING = "jwt.missing" 401 Caller Never "Authentication is required." error "No token provided";
    /// A token that does not count; what callers are told of all that follow.
    INVALID = "jwt.invalid" 401 Caller Never "The token is not valid." error "Invalid token";
    /// What is in the place of a token is none, is too long, or asks for what is not done.
    MALFORMED = "jwt.malformed" 401 Caller Never "The token cannot be read." as INVALID;
    /// More than one token.
    AMBIGUOUS = "jwt.ambiguous" 401 Caller Never "There is more than one token." as INVALID;
    /// It is not signed, or signed in a way that its key does not have.
    ALGORITHM = "jwt.algorithm" 401 Caller Never "The token's algorithm is not accepted." as INVALID;
    /// No key of its issuer has that name.
    KEY_UNKNOWN = "jwt.key_unknown" 401 Caller Never "The token's key is not known." as INVALID;
    /// The signature is wrong.
    SIGNATURE = "jwt.signature" 401 Caller Never "The token's signature is wrong." as INVALID;
    /// Its issuer is not one of those that are believed.
    ISSUER = "jwt.issuer" 401 Caller Never "The token's issuer is not accepted." as INVALID;
    /// It is for somebody else.
    AUDIENCE = "jwt.audience" 401 Caller Never "The token is for another audience." as INVALID;
    /// It has expired.
    EXPIRED = "jwt.expired" 401 Caller Never "The token has expired." as INVALID;
    /// It does not hold yet.
    NOT_YET = "jwt.not_yet" 401 Caller Never "The token does not hold yet." as INVALID;
    /// A claim is missing or makes no sense.
    CLAIM = "jwt.claim" 401 Caller Never "A claim of the token is missing or wrong." as INVALID;
    /// The issuer's keys cannot be had, so nobody can be let in.
    KEYS_UNAVAILABLE = "jwt.keys_unavailable" 503 Gateway IfSafe "Authentication is not available at the moment.";
}

/// `refusal` with what RFC 6750 §3 wants beside it.
pub(super) fn challenge(rejection: Rejection) -> Rejection {
    let refusal: &'static Refusal = rejection.refusal;
    if refusal.status != INVALID.status {
        return rejection.with_field(KnownName::RetryAfter, b"1");
    }
    let challenge: &[u8] = if refusal.code == MISSING.code { b"Bearer" } else { b"Bearer error=\"invalid_token\"" };
    rejection.with_field(KnownName::WwwAuthenticate, challenge)
}
