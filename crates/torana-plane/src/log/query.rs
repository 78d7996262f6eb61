//! Query strings without secrets.

use crate::json::push_escaped;

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
    write_redacted(query, credentials, &mut quoted);
    serde_json::from_slice(&quoted).unwrap_or_default()
}

/// Appends `query` as a JSON string, secret-shaped values and those of the
/// parameters `credentials` replaced.
pub(super) fn write_redacted(query: &str, credentials: &[Box<str>], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = query;
    loop {
        let end = rest.find(['&', ';']).unwrap_or(rest.len());
        let (parameter, tail) = rest.split_at(end);
        match parameter.split_once('=') {
            Some((name, value)) => {
                push_escaped(name, out);
                out.push(b'=');
                push_escaped(if is_secret(name, credentials) || is_jwt(value) { REDACTED } else { value }, out);
            }
            None => push_escaped(if is_jwt(parameter) { REDACTED } else { parameter }, out),
        }
        let Some(separator) = tail.get(..1) else { break };
        push_escaped(separator, out);
        rest = tail.get(1..).unwrap_or_default();
    }
    out.push(b'"');
}

/// Whether the decoded name holds one of [`SECRET`], or is one of `credentials`.
fn is_secret(name: &str, credentials: &[Box<str>]) -> bool {
    let is_one = |one: &str| decoded(name).eq(one.bytes());
    let lower: String = decoded(name).map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    SECRET.iter().any(|part| lower.contains(part)) || credentials.iter().any(|one| is_one(one))
}

/// `%74oken` is a token too.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut bytes = text.as_bytes().iter();
    std::iter::from_fn(move || {
        let &byte = bytes.next()?;
        if byte == b'%' {
            let mut ahead = bytes.clone();
            if let (Some(high), Some(low)) = (hex(ahead.next()), hex(ahead.next())) {
                bytes = ahead;
                return u8::try_from(high << 4 | low).ok();
            }
        }
        Some(byte)
    })
}

/// Whether this looks like a JSON Web Token, whatever it is called.
fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ") && value.bytes().filter(|&byte| byte == b'.').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(query: &str) -> String {
        let mut out = Vec::new();
        write_redacted(query, &["visitor".into()], &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn secret_values_are_not_written_and_names_are() {
        assert_eq!(redacted("page=2&access_token=abc&q=x"), "page=2&access_token=***&q=x");
        assert_eq!(redacted("API-Key=1;X-Amz-Signature=2"), "API-Key=***;X-Amz-Signature=***");
        assert_eq!(redacted("%74oken=abc&%7=1"), "%74oken=***&%7=1");
        assert_eq!(redacted("x=eyJhbGciOi.eyJzdWIi.c2ln"), "x=***");
        assert_eq!(redacted("eyJhbGciOi.eyJzdWIi.c2ln"), "***");
        assert_eq!(redacted("visitor=abc&%76isitor=abc&visitors=abc"), "visitor=***&%76isitor=***&visitors=abc");
        assert_eq!(redacted(""), "");
        assert_eq!(redacted("a&&b=\"c\\&=d"), "a&&b=\"c\\&=d");
    }
}
