//! Query strings without secrets.

use crate::json::{Out, push_escaped};
use std::borrow::Cow;
use torana_core::query::Decoded;

/// Parts of parameter names whose values are not written. Too much redacted is
/// a nuisance, too little a leak: `postcode` goes with `code`.
const SECRET: [&str; 14] = [
    "token",
    "key",
    "secret",
    "pass",
    "pwd",
    "code",
    "sig",
    "auth",
    "session",
    "credential",
    "jwt",
    "otp",
    "sid",
    "assertion",
];

/// What stands for a value that is not written.
pub(crate) const REDACTED: &str = "***";

/// Whether a header of this name holds what proves its sender.
pub(crate) fn is_credential(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    matches!(header.as_str(), "cookie" | "authorization" | "proxy-authorization" | "signature")
        || ["token", "api-key", "apikey", "secret", "password"].iter().any(|part| header.contains(part))
}

/// `query` with secret-shaped values replaced.
pub(crate) fn redacted_query(query: &str, credentials: &[Box<str>]) -> String {
    let mut quoted = Vec::new();
    write_redacted(query, credentials, (&mut quoted).put(b"\"")).put(b"\"");
    serde_json::from_slice(&quoted).unwrap_or_default()
}

/// Appends `query` as the inside of a JSON string, secret-shaped values and those of the
/// parameters `credentials` replaced.
pub(super) fn write_redacted<W: Out>(query: &str, credentials: &[Box<str>], mut out: W) -> W {
    let mut rest = query;
    loop {
        let end = rest.find(['&', ';']).unwrap_or(rest.len());
        let (parameter, tail) = rest.split_at(end);
        let value = match parameter.split_once('=') {
            Some((name, value)) => {
                out = push_escaped(name, out).put(b"=");
                if is_secret(name, credentials) { REDACTED } else { value }
            }
            None => parameter,
        };
        out = push_escaped(if is_jwt(value) { REDACTED } else { value }, out);
        let Some(separator) = tail.get(..1) else { break };
        out = push_escaped(separator, out);
        rest = tail.get(1..).unwrap_or_default();
    }
    out
}

/// Whether the name holds one of [`SECRET`], or is one of `credentials`; as
/// policies read it (`%74oken` is a token too).
fn is_secret(name: &str, credentials: &[Box<str>]) -> bool {
    let name = Cow::from(Decoded::of(name));
    let holds = |part: &str| name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()));
    SECRET.iter().any(|part| holds(part)) || credentials.iter().any(|one| one.as_bytes() == &*name)
}

/// Whether this looks like a JSON Web Token, whatever it is called.
fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ") && value.bytes().filter(|&byte| byte == b'.').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(query: &str) -> String {
        redacted_query(query, &["visitor".into(), "who am i".into()])
    }

    #[test]
    fn secret_values_are_not_written_and_names_are() {
        assert_eq!(redacted("page=2&access_token=abc&q=x"), "page=2&access_token=***&q=x");
        assert_eq!(redacted("API-Key=1;X-Amz-Signature=2"), "API-Key=***;X-Amz-Signature=***");
        assert_eq!(redacted("%74oken=abc&%7=1"), "%74oken=***&%7=1");
        assert_eq!(redacted("x=eyJhbGciOi.eyJzdWIi.c2ln"), "x=***");
        assert_eq!(redacted("eyJhbGciOi.eyJzdWIi.c2ln"), "***");
        assert_eq!(redacted("visitor=abc&%76isitor=abc&visitors=abc"), "visitor=***&%76isitor=***&visitors=abc");
        assert_eq!(redacted("who+am+i=abc&who%20am%20i=abc&who=me"), "who+am+i=***&who%20am%20i=***&who=me");
        assert_eq!(redacted(""), "");
        assert_eq!(redacted("a&&b=\"c\\&=d"), "a&&b=\"c\\&=d");
    }
}
