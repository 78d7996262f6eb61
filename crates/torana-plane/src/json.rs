//! JSON into a byte buffer, without a tree in between.
//!
//! Every string goes through [`push_string`], so nothing a stranger sent can
//! end a value or a line (CVE-2024-45808 and its siblings).

/// Writes one object into a buffer, member by member.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens the object.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        push_string(name.as_bytes(), self.out);
        self.out.push(b':');
        self.out
    }

    /// A member with a string.
    pub(crate) fn string(&mut self, name: &'static str, value: &str) {
        push_string(value.as_bytes(), self.name(name));
    }

    /// A member with a number.
    pub(crate) fn number(&mut self, name: &'static str, value: u64) {
        let mut buffer = itoa::Buffer::new();
        self.name(name).extend_from_slice(buffer.format(value).as_bytes());
    }

    /// A member written by `write`, which must write one JSON value.
    pub(crate) fn with(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.name(name));
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Appends `text` as a JSON string (RFC 8259 §7). What is not UTF-8 becomes
/// U+FFFD.
pub(crate) fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        push_escaped(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// The inside of a string.
pub(crate) fn push_escaped(text: &str, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut kept = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        // DEL is allowed by JSON but moves the cursor of some terminals.
        if byte >= b' ' && byte != b'"' && byte != b'\\' && byte != 0x7f {
            continue;
        }
        out.extend_from_slice(bytes.get(kept..index).unwrap_or_default());
        kept = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(bytes.get(kept..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_one_json_string_on_one_line(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            object.string("a", "b");
            object.number("n", 7);
            object.with("x", |out| push_string(&bytes, out));
            object.end();
            prop_assert!(!out.iter().any(|&byte| byte < b' ' || byte == 0x7f));
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(value["x"].as_str().unwrap(), String::from_utf8_lossy(&bytes));
        }
    }
}
