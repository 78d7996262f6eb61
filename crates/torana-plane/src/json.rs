//! JSON into a buffer, without a tree in between.
//!
//! Every string goes through [`push_escaped`], so nothing a stranger sent can
//! end a value or a line (CVE-2024-45808 and its siblings).

/// Where JSON is written to; handed on from one who writes to the next, so that
/// how far it is written can stay in registers.
pub(crate) trait Out: Sized {
    /// Appends `bytes`.
    fn put(self, bytes: &[u8]) -> Self;
}

impl Out for &mut Vec<u8> {
    #[inline]
    fn put(self, bytes: &[u8]) -> Self {
        self.extend_from_slice(bytes);
        self
    }
}

/// Room that is there already: to write into it costs no more than to see that
/// there is enough.
pub(crate) struct Room<'a> {
    size: usize,
    rest: &'a mut [u8],
}

impl<'a> Room<'a> {
    /// All of `bytes`.
    pub(crate) const fn new(bytes: &'a mut [u8]) -> Room<'a> {
        Room { size: bytes.len(), rest: bytes }
    }

    /// How much was written; `None` if there was not more room than for it.
    pub(crate) const fn written(&self) -> Option<usize> {
        if self.rest.is_empty() { None } else { Some(self.size - self.rest.len()) }
    }
}

impl Out for Room<'_> {
    #[inline(always)]
    fn put(self, bytes: &[u8]) -> Self {
        // Once there is too little room there is none: a line with a hole would
        // be another line.
        let rest = match self.rest.split_at_mut_checked(bytes.len()) {
            Some((place, rest)) => {
                place.copy_from_slice(bytes);
                rest
            }
            None => &mut [],
        };
        Room { rest, ..self }
    }
}

/// Writes one object, member by member. Names come from [`member!`].
pub(crate) struct Object<W> {
    out: W,
    last: Last,
}

/// What was written last. Known where the code is compiled, mostly, since all
/// members are written where they are called.
#[derive(Clone, Copy)]
enum Last {
    /// The beginning.
    Nothing,
    /// A value, all of it.
    Value,
    /// A string but for its closing quote, which goes with the next name.
    String,
}

/// The name of a member with all that may stand around it, in one piece so that
/// it is written in one go: `","name":"`. The quote before the comma closes a
/// string, that behind the colon begins one.
#[derive(Clone, Copy)]
pub(crate) struct Member(#[doc(hidden)] pub(crate) &'static str);

/// The [`Member`] of a name in letters, digits and `_`.
macro_rules! member {
    ($name:literal) => {
        $crate::json::Member(concat!("\",\"", $name, "\":\""))
    };
}
pub(crate) use member;

impl<W: Out> Object<W> {
    /// Opens the object.
    #[inline(always)]
    pub(crate) fn new(out: W) -> Object<W> {
        Object { out: out.put(b"{"), last: Last::Nothing }
    }

    #[inline(always)]
    fn name(self, Member(text): Member, before_string: bool) -> W {
        let from = match self.last {
            Last::Nothing => 2,
            Last::Value => 1,
            Last::String => 0,
        };
        let to = text.len() - usize::from(!before_string);
        self.out.put(text.as_bytes().get(from..to).unwrap_or_default())
    }

    /// Closes the string that was written last, if it was one: for members that
    /// may be missing behind something else than a string, so that what comes
    /// next begins alike.
    #[inline(always)]
    pub(crate) fn closed(self) -> Self {
        match self.last {
            Last::String => Object { out: self.out.put(b"\""), last: Last::Value },
            _ => self,
        }
    }

    /// A member with a string.
    #[inline(always)]
    pub(crate) fn string(self, name: Member, value: &str) -> Self {
        self.quoted(name, |out| push_escaped(value, out))
    }

    /// A member with a string of ours, which needs no escaping.
    #[inline(always)]
    pub(crate) fn constant(self, name: Member, value: &'static str) -> Self {
        debug_assert!(are_plain(value.as_bytes()));
        self.quoted(name, |out| out.put(value.as_bytes()))
    }

    /// A member with a string whose inside `write` writes.
    #[inline(always)]
    pub(crate) fn quoted(self, name: Member, write: impl FnOnce(W) -> W) -> Self {
        Object { out: write(self.name(name, true)), last: Last::String }
    }

    /// A member with a number.
    #[inline(always)]
    pub(crate) fn number(self, name: Member, value: u64) -> Self {
        self.with(name, |out| push_number(value, out))
    }

    /// A member written by `write`, which must write one JSON value.
    #[inline(always)]
    pub(crate) fn with(self, name: Member, write: impl FnOnce(W) -> W) -> Self {
        Object::behind(write(self.before(name)))
    }

    /// The same in two halves, for what is to be compiled into its place, as
    /// closures are not always: a name, behind which one JSON value has to be
    /// written.
    #[inline(always)]
    pub(crate) fn before(self, name: Member) -> W {
        self.name(name, false)
    }

    /// The object behind that value.
    #[inline(always)]
    pub(crate) const fn behind(out: W) -> Self {
        Object { out, last: Last::Value }
    }

    /// What `write` makes of it with a value that may be there.
    #[inline(always)]
    pub(crate) fn maybe<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    /// Closes the object.
    #[inline(always)]
    pub(crate) fn end(self) -> W {
        self.closed().out.put(b"}")
    }
}

/// Appends a number.
#[inline(always)]
pub(crate) fn push_number<W: Out>(value: u64, out: W) -> W {
    out.put(itoa::Buffer::new().format(value).as_bytes())
}

/// Appends `text` as the inside of a JSON string (RFC 8259 §7). What is not
/// UTF-8 becomes U+FFFD.
pub(crate) fn push_text<W: Out>(text: &[u8], mut out: W) -> W {
    for chunk in text.utf8_chunks() {
        out = push_escaped(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out = out.put("\u{fffd}".as_bytes());
        }
    }
    out
}

/// The same of what is UTF-8.
#[inline(always)]
pub(crate) fn push_escaped<W: Out>(text: &str, out: W) -> W {
    if are_plain(text.as_bytes()) { out.put(text.as_bytes()) } else { push_each(text, out) }
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
    const HIGH: u64 = 0x80 * LOW;
    // In the highest bit of each byte whether it is special; perhaps in some
    // above such a one as well. Small bytes are looked for by what is borrowed
    // to subtract from them. Turning a bit makes the quote a neighbour of what
    // is below the blank, and leaves that below it; it makes zeros of the others.
    let special = |word: u64| {
        let small = (word ^ (0x02 * LOW)).wrapping_sub(0x21 * LOW);
        let backslash = (word ^ (0x5c * LOW)).wrapping_sub(LOW);
        let delete = (word ^ (0x7f * LOW)).wrapping_sub(LOW);
        (small | backslash | delete) & !word
    };
    let found = if let Some(last) = bytes.last_chunk::<8>() {
        let (words, rest) = bytes.as_chunks::<8>();
        // The last eight overlap those before.
        let last = if rest.is_empty() { 0 } else { special(u64::from_le_bytes(*last)) };
        words.iter().fold(last, |found, word| found | special(u64::from_le_bytes(*word)))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let half = |bytes: [u8; 4]| u64::from(u32::from_le_bytes(bytes));
        special(half(*first) | half(*last) << 32)
    } else {
        return bytes.iter().all(|byte| is_plain(*byte));
    };
    found & HIGH == 0
}

#[cold]
fn push_each<W: Out>(text: &str, mut out: W) -> W {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut kept = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if is_plain(byte) {
            continue;
        }
        out = out.put(bytes.get(kept..index).unwrap_or_default());
        kept = index + 1;
        out = match byte {
            b'"' => out.put(b"\\\""),
            b'\\' => out.put(b"\\\\"),
            b'\n' => out.put(b"\\n"),
            b'\r' => out.put(b"\\r"),
            b'\t' => out.put(b"\\t"),
            _ => out.put(b"\\u00").put(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        };
    }
    out.put(bytes.get(kept..).unwrap_or_default())
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
            Object::new(&mut out)
                .string(member!("a"), "b")
                .number(member!("n"), number)
                .quoted(member!("x"), |out| push_text(&bytes, out))
                .end();
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

    proptest! {
        #[test]
        fn room_holds_what_a_vector_would_or_says_that_it_is_too_small(
            parts in proptest::collection::vec(("[a-z]{0,12}", any::<u32>()), 0..8),
            size in 0..120_usize,
        ) {
            fn write<W: Out>(parts: &[(String, u32)], out: W) -> W {
                parts.iter().fold(out, |out, (text, number)| {
                    push_number(u64::from(*number), push_text(text.as_bytes(), out))
                })
            }
            let (mut grown, mut bytes) = (Vec::new(), vec![0; size]);
            write(&parts, &mut grown);
            match write(&parts, Room::new(&mut bytes)).written() {
                Some(length) => prop_assert_eq!(&bytes[..length], &grown[..]),
                None => prop_assert!(grown.len() >= size, "{} in {}", grown.len(), size),
            }
        }
    }

    #[test]
    fn one_special_byte_is_found_wherever_it_stands() {
        for special in [0, 0x1f, b'"', b'\\', 0x7f] {
            for length in 1..=40 {
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
