//! What services are told about a caller, as it is sent.

use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName};

/// Headers that were checked when the caller was: put together once, so that
/// each request of its costs a copy.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Lines of HTTP/1.1 under known names, each name once.
    lines: Vec<u8>,
    /// Their names, and the lengths of their values.
    names: Vec<(KnownName, usize)>,
    /// All others.
    others: Vec<(HeaderName, Box<[u8]>)>,
}

impl Headers {
    /// Adds one. Of two that have one name, both are told.
    pub(super) fn add(&mut self, name: &HeaderName, value: &[u8]) {
        match name {
            HeaderName::Known(known) if self.names.iter().all(|(other, _)| other != known) => {
                let parts = [known.as_str().as_bytes(), b": ", value, b"\r\n"];
                self.lines.reserve(parts.iter().map(|part| part.len()).sum());
                parts.iter().for_each(|part| self.lines.extend_from_slice(part));
                self.names.push((*known, value.len()));
            }
            _ => self.others.push((name.clone(), value.into())),
        }
    }

    /// Puts them into a request that has none under their names.
    pub(super) fn write(&self, fields: &mut Fields) {
        if !self.names.is_empty() {
            fields.set_own_lines(&self.lines, &self.names);
        }
        for (name, value) in &self.others {
            let _ = fields.append_under(name, value);
        }
    }

    /// About how many bytes they take.
    pub(super) fn weight(&self) -> usize {
        let others = self.others.iter().map(|(name, value)| 64 + name.as_str().len() + value.len());
        self.lines.capacity() + self.names.capacity() * 16 + others.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_and_others_are_told_and_two_of_one_name_both() {
        let mut headers = Headers::default();
        for (name, value) in [("x-user-id", "7"), ("x-other", "a"), ("x-user-role", ""), ("x-user-id", "8")] {
            headers.add(&HeaderName::new(name).unwrap(), value.as_bytes());
        }
        let mut fields = Fields::default();
        fields.append(KnownName::Host, b"a").unwrap();
        headers.write(&mut fields);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let seen: Vec<String> = fields.iter().map(|(name, value)| text(name.text) + "=" + &text(value)).collect();
        assert_eq!(seen, ["host=a", "x-user-id=7", "x-user-role=", "x-other=a", "x-user-id=8"]);
        assert_eq!(fields.get_all(KnownName::XUserId).collect::<Vec<_>>(), [b"7", b"8"]);
    }
}
