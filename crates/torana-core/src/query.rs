//! Reading a query string in place.

use std::borrow::Cow;

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
}
