use crate::names::{HeaderName, KnownName, NameSet, is_value_byte};
use std::fmt;
use std::ops::Range;

/// Header (or trailer) fields in order: ranges over one owned buffer.
///
/// Values written through this type are checked, so no caller can smuggle a
/// line break into a message; codecs, which have checked the bytes while
/// parsing, use [`Fields::load`] and [`Fields::push_range`].
#[derive(Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Which known names are present: answers most look-ups without a scan.
    present: NameSet,
    /// Whether a name that is not known has been added.
    has_unknown: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    name_start: u32,
    value_start: u32,
    value_len: u32,
    name_len: u16,
    /// `KnownName as u8`, [`OTHER`], or [`REMOVED`].
    kind: u8,
    /// The bytes are a whole line, `Name: value` and the end of the line.
    line: bool,
}

/// What stands between name and value, and behind the value, of a whole line.
const BETWEEN: [u8; 2] = *b": ";
const BEHIND: [u8; 2] = *b"\r\n";

const OTHER: u8 = 254;
const REMOVED: u8 = 255;

/// The name of a field in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldName<'a> {
    /// The interned name, if the gateway knows it.
    pub known: Option<KnownName>,
    /// The name as it stands in the message, in the sender's case.
    pub text: &'a [u8],
}

impl FieldName<'_> {
    /// Whether this is `name`, ignoring case.
    #[must_use]
    pub fn is(&self, name: &HeaderName) -> bool {
        match name {
            HeaderName::Known(known) => self.known == Some(*known),
            HeaderName::Other(text) => self.known.is_none() && self.text.eq_ignore_ascii_case(text.as_bytes()),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "heads are bounded far below 4 GiB by the limits of their reader")]
const fn offset(at: usize) -> u32 {
    at as u32
}

impl Clone for Fields {
    fn clone(&self) -> Fields {
        let Fields { bytes, entries, present, has_unknown } = self;
        Fields { bytes: bytes.clone(), entries: entries.clone(), present: *present, has_unknown: *has_unknown }
    }

    /// Two copies, into the buffers that are there.
    fn clone_from(&mut self, other: &Fields) {
        let Fields { bytes, entries, present, has_unknown } = other;
        self.bytes.clone_from(bytes);
        self.entries.clone_from(entries);
        self.present = *present;
        self.has_unknown = *has_unknown;
    }
}

impl Fields {
    /// Empties the list, keeping its buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.present = NameSet::EMPTY;
        self.has_unknown = false;
    }

    /// Starts a parsed head: replaces the contents by `head`, into which the
    /// following [`push_range`](Fields::push_range) calls point.
    pub fn load(&mut self, head: &[u8]) {
        self.clear();
        self.bytes.extend_from_slice(head);
    }

    /// Adds a field lying in the loaded bytes. The caller has checked both
    /// parts; a range outside the loaded bytes reads as an empty value.
    pub fn push_range(&mut self, name: Range<usize>, value: Range<usize>) {
        let text = self.bytes.get(name.clone()).unwrap_or_default();
        let known = KnownName::lookup(text);
        let pair = |at: usize| self.bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied();
        let line = value.start == name.end + BETWEEN.len()
            && pair(name.end) == Some(BETWEEN)
            && pair(value.end) == Some(BEHIND);
        self.push_entry(known, name, value, line);
    }

    /// Adds a field whose whole line, `Name: value` with one space and CRLF,
    /// starts at `start` of the loaded bytes, as the caller has checked.
    pub fn push_line(&mut self, start: usize, name_len: usize, value_len: usize) {
        let name = start..start + name_len;
        let value = name.end + BETWEEN.len();
        let known = KnownName::lookup(self.bytes.get(name.clone()).unwrap_or_default());
        self.push_entry(known, name, value..value + value_len, true);
    }

    /// Adds a field whose whole line, `Name: value` with one space and CRLF,
    /// will start at `start` of the bytes that [`fill`](Fields::fill) brings.
    /// `known` is what a look-up of its name has found. For a codec that reads
    /// a head in one pass: the list must be empty before, and until it is
    /// filled its values read as empty.
    pub fn push_ahead(&mut self, known: Option<KnownName>, start: usize, name_len: usize, value_len: usize) {
        let value = start + name_len + BETWEEN.len();
        self.push_entry(known, start..start + name_len, value..value + value_len, true);
    }

    /// Brings the bytes of the fields that were pushed ahead.
    pub fn fill(&mut self, head: &[u8]) {
        debug_assert!(self.bytes.is_empty(), "what was pushed ahead is relative to the beginning");
        self.bytes.extend_from_slice(head);
    }

    fn push_entry(&mut self, known: Option<KnownName>, name: Range<usize>, value: Range<usize>, line: bool) {
        match known {
            Some(known) => self.present.insert(known),
            None => self.has_unknown = true,
        }
        self.entries.push(Entry {
            name_start: offset(name.start),
            value_start: offset(value.start),
            value_len: offset(value.len()),
            name_len: u16::try_from(name.len()).unwrap_or(u16::MAX),
            kind: known.map_or(OTHER, |known| known as u8),
            line,
        });
    }

    /// Adds a field at the end. `value` is refused (and nothing added) when it
    /// holds a byte no field value may hold.
    ///
    /// # Errors
    /// [`InvalidValue`] names no bytes: the value may be a secret.
    pub fn append(&mut self, name: impl Into<HeaderName>, value: &[u8]) -> Result<(), InvalidValue> {
        if !value.iter().copied().all(is_value_byte) {
            return Err(InvalidValue);
        }
        match name.into() {
            HeaderName::Known(known) => self.push_known(known, value),
            HeaderName::Other(text) => self.push_other(text.as_bytes(), value),
        }
        Ok(())
    }

    /// Adds a field whose name has been looked up and checked by the codec that
    /// read it.
    ///
    /// # Errors
    /// As [`append`](Fields::append).
    pub fn append_named(&mut self, name: FieldName<'_>, value: &[u8]) -> Result<(), InvalidValue> {
        if !value.iter().copied().all(is_value_byte) {
            return Err(InvalidValue);
        }
        match name.known {
            Some(known) => self.push_known(known, value),
            None => self.push_other(name.text, value),
        }
        Ok(())
    }

    /// [`append`](Fields::append) without a copy of the name.
    ///
    /// # Errors
    /// As [`append`](Fields::append).
    pub fn append_under(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), InvalidValue> {
        let known = if let HeaderName::Known(known) = name { Some(*known) } else { None };
        self.append_named(FieldName { known, text: name.as_str().as_bytes() }, value)
    }

    /// Adds a field with a name from a message. A known name is written in
    /// lower case, any other as it stands.
    ///
    /// # Errors
    /// As [`append`](Fields::append).
    pub fn append_text(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidValue> {
        if name.is_empty() || !name.iter().copied().all(crate::names::is_token_byte) {
            return Err(InvalidValue);
        }
        self.append_named(FieldName { known: KnownName::lookup(name), text: name }, value)
    }

    fn push_known(&mut self, known: KnownName, value: &[u8]) {
        let start = self.bytes.len();
        let line = known.line_start().as_bytes();
        let value_start = start + line.len();
        let value_end = value_start + value.len();
        self.bytes.reserve(line.len() + value.len() + BEHIND.len());
        self.bytes.extend_from_slice(line);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(&BEHIND);
        self.push_entry(Some(known), start..value_start - BETWEEN.len(), value_start..value_end, true);
    }

    fn push_other(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(&BETWEEN);
        let value_start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(&BEHIND);
        self.push_entry(None, start..start + name.len(), value_start..value_start + value.len(), true);
    }

    /// Appends the fields to `out` as HTTP/1.1 writes them, a line each, except
    /// those in `skip`.
    ///
    /// Lines that lie side by side in the head are copied as one piece, so a
    /// head that passes through unchanged is one copy.
    pub fn write_lines(&self, out: &mut Vec<u8>, skip: NameSet) {
        out.reserve(self.bytes.len() + BEHIND.len());
        let skips = self.present.intersects(skip);
        let mut piece = 0..0;
        for entry in &self.entries {
            if entry.kind == REMOVED || (skips && entry.known().is_some_and(|known| skip.contains(known))) {
                continue;
            }
            let start = entry.name_start as usize;
            let end = (entry.value_start + entry.value_len) as usize + BEHIND.len();
            if entry.line && start == piece.end {
                piece.end = end;
                continue;
            }
            out.extend_from_slice(self.bytes.get(piece).unwrap_or_default());
            piece = 0..0;
            if entry.line {
                piece = start..end;
            } else {
                out.extend_from_slice(entry.name(&self.bytes));
                out.extend_from_slice(&BETWEEN);
                out.extend_from_slice(entry.value(&self.bytes));
                out.extend_from_slice(&BEHIND);
            }
        }
        out.extend_from_slice(self.bytes.get(piece).unwrap_or_default());
    }

    /// Replaces every field of this name by one.
    ///
    /// # Errors
    /// As [`append`](Fields::append); the old fields are then gone: a value
    /// that cannot be written must not leave a stranger's value in its place.
    pub fn set(&mut self, name: impl Into<HeaderName>, value: &[u8]) -> Result<(), InvalidValue> {
        let name = name.into();
        self.remove(&name);
        self.append(name, value)
    }

    /// [`set`](Fields::set) for a value the gateway made itself from bytes that
    /// cannot be invalid (numbers, addresses, its own ids).
    pub fn set_own(&mut self, name: KnownName, value: &[u8]) {
        debug_assert!(value.iter().copied().all(is_value_byte));
        self.remove_known(name);
        self.push_known(name, value);
    }

    /// [`set_own`](Fields::set_own) for several fields at once: `lines` holds a
    /// line for each of `names` as HTTP/1.1 writes them, with the length of its
    /// value.
    pub fn set_own_lines(&mut self, lines: &[u8], names: &[(KnownName, usize)]) {
        debug_assert_eq!(
            lines.len(),
            names.iter().map(|(name, value)| name.line_start().len() + value + BEHIND.len()).sum::<usize>(),
        );
        let mut start = self.bytes.len();
        self.bytes.extend_from_slice(lines);
        self.entries.reserve(names.len());
        for &(known, length) in names {
            self.remove_known(known);
            let value = start + known.line_start().len();
            self.push_entry(Some(known), start..value - BETWEEN.len(), value..value + length, true);
            start = value + length + BEHIND.len();
        }
    }

    /// Removes every field of this name.
    pub fn remove(&mut self, name: &HeaderName) {
        match name {
            HeaderName::Known(known) => self.remove_known(*known),
            HeaderName::Other(text) => {
                let bytes = &self.bytes;
                for entry in &mut self.entries {
                    if entry.kind == OTHER && entry.name(bytes).eq_ignore_ascii_case(text.as_bytes()) {
                        entry.kind = REMOVED;
                    }
                }
            }
        }
    }

    /// Removes every field of this known name.
    pub fn remove_known(&mut self, name: KnownName) {
        if self.present.contains(name) {
            for entry in &mut self.entries {
                if entry.kind == name as u8 {
                    entry.kind = REMOVED;
                }
            }
            self.present.remove(name);
        }
    }

    /// Keeps the fields for which `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(FieldName<'_>, &[u8]) -> bool) {
        let mut present = NameSet::EMPTY;
        for entry in &mut self.entries {
            if entry.kind == REMOVED {
                continue;
            }
            let name = entry.field_name(&self.bytes);
            if keep(name, entry.value(&self.bytes)) {
                if let Some(known) = name.known {
                    present.insert(known);
                }
            } else {
                entry.kind = REMOVED;
            }
        }
        self.present = present;
    }

    /// Whether a field of this name is present.
    #[must_use]
    pub fn contains(&self, name: KnownName) -> bool {
        self.present.contains(name)
    }

    /// Whether there may be a name that is not known; `false` is certain.
    #[must_use]
    pub const fn may_have_unknown(&self) -> bool {
        self.has_unknown
    }

    /// Whether any of `names` is present.
    #[must_use]
    pub fn contains_any(&self, names: NameSet) -> bool {
        self.present.intersects(names)
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: KnownName) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The value of the only field of this name: `Err` if there are several.
    ///
    /// # Errors
    /// [`Repeated`] when the field stands more than once.
    pub fn get_single(&self, name: KnownName) -> Result<Option<&[u8]>, Repeated> {
        let mut values = self.get_all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Repeated),
            (first, None) => Ok(first),
        }
    }

    /// The values of all fields of this name, in order.
    pub fn get_all(&self, name: KnownName) -> impl Iterator<Item = &[u8]> {
        // An absent name, the common case, costs no scan.
        let entries = if self.present.contains(name) { &self.entries[..] } else { &[] };
        entries.iter().filter(move |entry| entry.kind == name as u8).map(|entry| entry.value(&self.bytes))
    }

    /// The values of all fields of a configured name, in order.
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        // A known name that is absent costs no scan; nor does any other where all are known.
        let may_be_there = match name {
            HeaderName::Known(known) => self.present.contains(*known),
            HeaderName::Other(_) => self.has_unknown,
        };
        let entries = if may_be_there { &self.entries[..] } else { &[] };
        let is_it = move |entry: &&Entry| match name {
            HeaderName::Known(known) => entry.kind == *known as u8,
            HeaderName::Other(text) => {
                entry.kind == OTHER && entry.name(&self.bytes).eq_ignore_ascii_case(text.as_bytes())
            }
        };
        entries.iter().filter(is_it).map(|entry| entry.value(&self.bytes))
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (FieldName<'_>, &[u8])> {
        self.entries
            .iter()
            .filter(|entry| entry.kind != REMOVED)
            .map(|entry| (entry.field_name(&self.bytes), entry.value(&self.bytes)))
    }

    /// The bytes that [`places`](Fields::places) points into.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All fields in order, with where their values lie in
    /// [`bytes`](Fields::bytes): for a codec that wants the values owned.
    pub fn places(&self) -> impl Iterator<Item = (FieldName<'_>, Range<usize>)> {
        self.entries.iter().filter(|entry| entry.kind != REMOVED).map(|entry| {
            let start = entry.value_start as usize;
            (entry.field_name(&self.bytes), start..start + entry.value_len as usize)
        })
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.kind != REMOVED).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the comma-separated list of all fields of this name has
    /// `member`, ignoring case (RFC 9110 §5.6.1).
    #[must_use]
    pub fn list_contains(&self, name: KnownName, member: &str) -> bool {
        self.list(name).any(|item| item.eq_ignore_ascii_case(member.as_bytes()))
    }

    /// The members of the comma-separated list of all fields of this name,
    /// without surrounding blanks and without empty members. Not for fields
    /// whose members may be quoted strings.
    pub fn list(&self, name: KnownName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|item| !item.is_empty())
    }
}

impl Entry {
    fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.name_start as usize;
        bytes.get(start..start + usize::from(self.name_len)).unwrap_or_default()
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.value_start as usize;
        bytes.get(start..start + self.value_len as usize).unwrap_or_default()
    }

    fn field_name<'a>(&self, bytes: &'a [u8]) -> FieldName<'a> {
        FieldName { known: self.known(), text: self.name(bytes) }
    }

    fn known(&self) -> Option<KnownName> {
        KnownName::ALL.get(usize::from(self.kind)).copied()
    }
}

impl fmt::Debug for Fields {
    /// Names only: values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name.text).into_owned())).finish()
    }
}

/// A field value (or name) with a byte that no message may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a header value may not hold control characters")]
pub struct InvalidValue;

/// A field that must be unique stands more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the header stands more than once")]
pub struct Repeated;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
        }
        fields
    }

    #[test]
    fn order_is_kept_and_known_names_are_lowered() {
        let fields = fields(&[("Host", "a"), ("X-One", "1"), ("x-one", "2")]);
        let seen: Vec<_> = fields.iter().map(|(name, _)| name.text.to_vec()).collect();
        assert_eq!(seen, [b"host".to_vec(), b"X-One".to_vec(), b"x-one".to_vec()]);
        let name = HeaderName::new("X-ONE").unwrap();
        assert_eq!(fields.values(&name).collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn removing_removes_every_spelling() {
        let mut fields = fields(&[("ACCEPT", "a"), ("accept", "b"), ("x-t", "c"), ("X-T", "d"), ("host", "h")]);
        fields.remove_known(KnownName::Accept);
        fields.remove(&HeaderName::new("x-t").unwrap());
        assert_eq!(fields.len(), 1);
        assert!(!fields.contains(KnownName::Accept));
        assert_eq!(fields.get(KnownName::Host), Some(&b"h"[..]));
    }

    #[test]
    fn a_value_cannot_smuggle_a_line() {
        let mut fields = fields(&[("x-user", "forged")]);
        let name = HeaderName::new("x-user").unwrap();
        assert_eq!(fields.set(name.clone(), b"a\r\nx-admin: 1"), Err(InvalidValue));
        assert_eq!(fields.values(&name).count(), 0, "the stranger's value must not survive a failed set");
        assert!(fields.append(KnownName::Accept, b"a\0b").is_err());
        assert!(fields.append_text(b"bad name", b"x").is_err());
    }

    #[test]
    fn retain_recomputes_presence() {
        let mut fields = fields(&[("accept", "1"), ("accept", "2"), ("via", "x")]);
        fields.retain(|name, value| name.known != Some(KnownName::Accept) || value == b"2");
        assert!(fields.contains(KnownName::Accept));
        assert_eq!(fields.get_single(KnownName::Accept), Ok(Some(&b"2"[..])));
        fields.retain(|_, _| false);
        assert!(fields.is_empty() && !fields.contains(KnownName::Via));
    }

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let head = b"A: 1\r\nB:2\r\nC: 3\r\nDate:  4 \r\nE: 5\r\n\r\n";
        let mut fields = Fields::default();
        fields.load(head);
        for (name, value) in [(0..1, 3..4), (6..7, 8..9), (11..12, 14..15), (17..21, 24..25), (28..29, 31..32)] {
            fields.push_range(name, value);
        }
        fields.append_text(b"X-Own", b"6").unwrap();
        fields.append_text(b"Via", b"7").unwrap();
        fields.remove(&HeaderName::new("c").unwrap());
        let mut out = Vec::new();
        fields.write_lines(&mut out, NameSet::of(&[KnownName::Via]));
        assert_eq!(out, b"A: 1\r\nB: 2\r\nDate: 4\r\nE: 5\r\nX-Own: 6\r\n");
    }

    #[test]
    fn lists_join_repeated_fields() {
        let fields = fields(&[("connection", "close , X-A,,"), ("Connection", "Upgrade")]);
        let members: Vec<_> = fields.list(KnownName::Connection).map(<[u8]>::to_vec).collect();
        assert_eq!(members, [b"close".to_vec(), b"X-A".to_vec(), b"Upgrade".to_vec()]);
        assert!(fields.list_contains(KnownName::Connection, "upgrade"));
        assert!(fields.get_single(KnownName::Connection).is_err());
    }
}
