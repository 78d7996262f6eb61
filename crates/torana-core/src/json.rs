//! Reading a stranger's JSON so that everybody who reads it reads the same.
//!
//! RFC 8259 leaves open what two members of one name mean, and parsers differ:
//! a check that sees the first and an upstream that sees the last is a way
//! around the check (CVE-2022-25757). Here that is not JSON. Nor is what is
//! deeper than a parser should follow (128 levels), or has bytes behind its
//! end.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Why text is not taken for JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or nested too deeply.
    #[error("it is not JSON")]
    NotJson,
    /// An object has two members of one name.
    #[error("an object has two members of one name")]
    Repeated,
}

/// Reads JSON that has one reading.
///
/// # Errors
/// It is not JSON, or has more readings.
pub fn read(text: &[u8]) -> Result<Value, JsonError> {
    check(text)?;
    serde_json::from_slice(text).map_err(|_| JsonError::NotJson)
}

/// Checks that text is JSON that has one reading.
///
/// # Errors
/// It is not JSON, or has more readings.
pub fn check(text: &[u8]) -> Result<(), JsonError> {
    serde_json::from_slice::<Checked>(text)
        .map(|Checked| ())
        .map_err(|error| if error.to_string().starts_with(REPEATED) { JsonError::Repeated } else { JsonError::NotJson })
}

const REPEATED: &str = "a member twice";

struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checked, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> DeserializeSeed<'de> for Look {
    type Value = Checked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Checked, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while items.next_element_seed(Look)?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Checked, A::Error> {
        let mut names = Names::default();
        while let Some(Key(name)) = entries.next_key()? {
            if !names.insert(name) {
                return Err(A::Error::custom(REPEATED));
            }
            entries.next_value_seed(Look)?;
        }
        Ok(Checked)
    }
}

/// A name as it stands in the text, where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key<'de>, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The names seen in one object: most have few.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    fn insert(&mut self, name: Cow<'de, str>) -> bool {
        const FEW: usize = 16;
        if self.many.is_empty() {
            if self.few.contains(&name) {
                return false;
            }
            self.few.push(name);
            if self.few.len() > FEW {
                self.many.extend(self.few.drain(..));
            }
            return true;
        }
        self.many.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_reading_is_read() {
        for text in ["null", "[1, -2.5e3, \"a\\u00e9\", {}]", "{\"a\": {\"a\": 1}, \"b\": {\"a\": 1}}", " 1 "] {
            assert_eq!(read(text.as_bytes()), Ok(serde_json::from_str(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_has_two_is_not() {
        let wide: String = (0..40).map(|n| format!("\"k{n}\": 1,")).collect();
        for text in [
            "{\"a\": 1, \"a\": 1}".to_owned(),
            "[{\"b\": {\"a\": 1, \"\\u0061\": 2}}]".to_owned(),
            format!("{{{wide} \"k7\": 2}}"),
            format!("{{{wide} \"k39\": 2}}"),
        ] {
            assert_eq!(read(text.as_bytes()), Err(JsonError::Repeated), "{text}");
        }
        assert!(read(format!("{{{wide} \"k\": 2}}").as_bytes()).is_ok());
    }

    #[test]
    fn what_is_none_is_not() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{a: 1}", "[1,]", "1 2", "NaN", "'a'", "\"\u{1}\"", "01", &deep] {
            assert_eq!(check(text.as_bytes()), Err(JsonError::NotJson));
        }
        assert_eq!(check(b"\"\xff\""), Err(JsonError::NotJson));
    }
}
