//! Reading a query string in place, and percent-encoding (RFC 3986 §2.1).

use std::borrow::Cow;
use std::fmt::Write as _;

/// The pairs of a query, still encoded. A name without `=` has an empty value
/// (WHATWG URL, application/x-www-form-urlencoded); `;` is no separator.
pub fn pairs(query: &str) -> impl Iterator<Item = (Decoded<'_>, Decoded<'_>)> {
    query.as_bytes().split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let end = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(end);
        (Decoded(name), Decoded(value.get(1..).unwrap_or_default()))
    })
}

/// The bytes that encoded text stands for: `+` is a blank, `%41` is `A`, and a
/// `%` without two digits is itself.
#[derive(Clone, Debug)]
pub struct Decoded<'a>(&'a [u8]);

impl<'a> Decoded<'a> {
    /// What a name or a value stands for.
    #[must_use]
    pub const fn of(text: &'a str) -> Decoded<'a> {
        Decoded(text.as_bytes())
    }

    /// The bytes themselves, where nothing has to be decoded.
    #[must_use]
    pub fn as_plain(&self) -> Option<&'a [u8]> {
        (!self.0.iter().any(|byte| matches!(byte, b'%' | b'+'))).then_some(self.0)
    }
}

/// Decoding copies only what has escapes.
impl<'a> From<Decoded<'a>> for Cow<'a, [u8]> {
    fn from(value: Decoded<'a>) -> Cow<'a, [u8]> {
        value.as_plain().map_or_else(|| Cow::Owned(value.clone().collect()), Cow::Borrowed)
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.0 {
            [] => return None,
            [b'%', high, low, rest @ ..] => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', self.0.get(1..).unwrap_or_default()),
            },
            [b'+', rest @ ..] => (b' ', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        self.0 = rest;
        Some(byte)
    }
}

/// Text of a path without its escapes; a `%` without two digits is itself, and
/// so is `+`, which is a blank in queries only. Owned if there was an escape.
#[must_use]
pub fn without_escapes(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digit = |ahead: usize| text.get(at + ahead).copied().and_then(hex_value);
        let escaped = if byte == b'%' { digit(1).zip(digit(2)) } else { None };
        match escaped {
            Some((high, low)) => {
                out.get_or_insert_with(|| text.get(..at).unwrap_or_default().to_vec()).push(high << 4 | low);
                at += 3;
            }
            None => {
                if let Some(out) = &mut out {
                    out.push(byte);
                }
                at += 1;
            }
        }
    }
    out.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Appends `bytes` with an escape for all but the unreserved characters of RFC
/// 3986 §2.3, so that nothing means anything, in whichever place.
pub fn encode(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn hex_value(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_place() {
        let read = |query: &str| -> Vec<(String, String)> {
            pairs(query)
                .map(|(name, value)| {
                    (String::from_utf8(name.collect()).unwrap(), String::from_utf8(value.collect()).unwrap())
                })
                .collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a=1&b=x+y&&c"), [pair("a", "1"), pair("b", "x y"), pair("c", "")]);
        assert_eq!(read("%61%3d=%3D=&x=%zz%4"), [pair("a=", "=="), pair("x", "%zz%4")]);
        assert_eq!(read("a;b=1"), [pair("a;b", "1")]);
        assert_eq!(read(""), []);
    }

    #[test]
    fn what_has_no_escapes_is_there_as_it_is() {
        let plain: Vec<_> = pairs("a=b&c=d+e&f=%41").map(|(_, value)| value.as_plain()).collect();
        assert_eq!(plain, [Some(&b"b"[..]), None, None]);
    }

    #[test]
    fn escapes_go_and_come() {
        for (encoded, decoded) in [
            ("a+b=c&d", "a+b=c&d"),
            ("1%20OR%201=1", "1 OR 1=1"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("", ""),
        ] {
            let read = without_escapes(encoded.as_bytes());
            assert_eq!(&*read, decoded.as_bytes(), "{encoded}");
            assert_eq!(matches!(read, Cow::Owned(_)), encoded != decoded);
            let mut again = String::new();
            encode(decoded.as_bytes(), &mut again);
            assert_eq!(&*without_escapes(again.as_bytes()), decoded.as_bytes());
        }
        let mut all = String::new();
        encode("aZ9-._~ /%é".as_bytes(), &mut all);
        assert_eq!(all, "aZ9-._~%20%2F%25%C3%A9");
    }
}
