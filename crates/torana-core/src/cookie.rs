//! Reading a `Cookie` field in place.

/// The cookies of one `Cookie` field, in order: names and values as they were
/// sent, without blanks around them (RFC 6265 §4.2.1). Quotes around a value
/// belong to it. What has no `=` has no name to ask for and is left out: what
/// servers make of it differs.
///
/// HTTP/2 may send several fields (RFC 9113 §8.2.3); each is read by itself.
pub fn pairs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|&byte| byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = pair.split_at(at);
        Some((name.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_as_browsers_and_others_send_them() {
        let read = |field: &'static str| -> Vec<(&str, &str)> {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            pairs(field.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
        };
        assert_eq!(read("a=1; b=2"), [("a", "1"), ("b", "2")]);
        assert_eq!(read("a=1;b = 2 ;; flag ;c="), [("a", "1"), ("b", "2"), ("c", "")]);
        assert_eq!(read("a=b=c; a=\"x\"; A=2"), [("a", "b=c"), ("a", "\"x\""), ("A", "2")]);
        assert_eq!(read("=1"), [("", "1")]);
        assert_eq!(read(""), []);
    }
}
