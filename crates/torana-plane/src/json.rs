//! JSON into a byte buffer, without a tree in between.
//!
//! Every string goes through [`push_string`], so nothing a stranger sent can
//! end a value or a line (CVE-2024-45808 and its siblings).

/// Writes one object into a buffer, member by member. Names come from
/// [`member!`].
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// The name of a member as it is written: between comma and colon, in one piece
/// so that it is written in one go.
#[derive(Clone, Copy)]
pub(crate) struct Member(#[doc(hidden)] pub(crate) &'static str);

/// The [`Member`] of a name in letters, digits and `_`.
macro_rules! member {
    ($name:literal) => {
        $crate::json::Member(concat!(",\"", $name, "\":"))
    };
}
pub(crate) use member;

impl<'a> Object<'a> {
    /// Opens the object.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    #[inline(always)]
    fn name(&mut self, Member(text): Member) -> &mut Vec<u8> {
        if self.empty {
            self.empty = false;
            self.out.extend_from_slice(text.as_bytes().get(1..).unwrap_or_default());
        } else {
            self.out.extend_from_slice(text.as_bytes());
        }
        self.out
    }

    /// A member with a string.
    #[inline(always)]
    pub(crate) fn string(&mut self, name: Member, value: &str) {
        push_quoted(value, self.name(name));
    }

    /// A member with a string of ours, which needs no escaping.
    #[inline(always)]
    pub(crate) fn constant(&mut self, name: Member, value: &'static str) {
        debug_assert!(are_plain(value.as_bytes()));
        let out = self.name(name);
        out.reserve(value.len() + 2);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }

    /// A member with a number.
    #[inline(always)]
    pub(crate) fn number(&mut self, name: Member, value: u64) {
        let out = self.name(name);
        if value < 10 {
            // Attempts, bytes of bodies that are not there.
            out.push(b"0123456789"[(value % 10) as usize]);
        } else {
            out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
    }

    /// A member written by `write`, which must write one JSON value.
    #[inline(always)]
    pub(crate) fn with(&mut self, name: Member, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.name(name));
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// A string with its quotes.
fn push_quoted(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
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
#[inline]
pub(crate) fn push_escaped(text: &str, out: &mut Vec<u8>) {
    if are_plain(text.as_bytes()) { out.extend_from_slice(text.as_bytes()) } else { push_each(text, out) }
}

/// Whether `byte` stands in a string as it is. DEL is allowed by JSON but moves
/// the cursor of some terminals.
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\' && byte != 0x7f
}

/// Whether all of `bytes` are plain, eight at a time: nearly all that is
/// logged is.
fn are_plain(bytes: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The highest bit of bytes below `limit`, and perhaps of some above such a
    // one: the classic search for a small byte.
    let below = |word: u64, limit: u8| word.wrapping_sub(LOW * u64::from(limit)) & !word & HIGH;
    let is = |word: u64, byte: u8| below(word ^ (LOW * u64::from(byte)), 1);
    let special = |bytes: [u8; 8]| {
        let word = u64::from_le_bytes(bytes);
        below(word, b' ') | is(word, b'"') | is(word, b'\\') | is(word, 0x7f)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| found | special(*word));
    // The last eight overlap those before.
    let last = match bytes.last_chunk::<8>() {
        Some(last) => special(*last) == 0,
        None => rest.iter().all(|byte| is_plain(*byte)),
    };
    found == 0 && last
}

#[cold]
fn push_each(text: &str, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut kept = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if is_plain(byte) {
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
        fn any_bytes_are_one_json_string_on_one_line(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            number in prop_oneof![0..20_u64, any::<u64>()],
        ) {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            object.string(member!("a"), "b");
            object.number(member!("n"), number);
            object.with(member!("x"), |out| push_string(&bytes, out));
            object.end();
            prop_assert!(!out.iter().any(|&byte| byte < b' ' || byte == 0x7f));
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!((value["a"].as_str(), value["n"].as_u64()), (Some("b"), Some(number)));
            prop_assert_eq!(value["x"].as_str().unwrap(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn many_bytes_at_once_are_judged_as_each_is(bytes in proptest::collection::vec(any::<u8>(), 0..20), plain in "[ -~é]{0,20}") {
            prop_assert_eq!(are_plain(&bytes), bytes.iter().all(|byte| is_plain(*byte)));
            prop_assert_eq!(are_plain(plain.as_bytes()), plain.bytes().all(is_plain));
        }
    }

    #[test]
    fn one_special_byte_is_found_wherever_it_stands() {
        for special in [0, 0x1f, b'"', b'\\', 0x7f] {
            for length in 1..=24 {
                for at in 0..length {
                    let mut bytes = vec![b'a'; length];
                    assert!(are_plain(&bytes));
                    bytes[at] = special;
                    assert!(!are_plain(&bytes), "{special} at {at} of {length}");
                }
            }
        }
    }
}
