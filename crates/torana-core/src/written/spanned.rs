//! Values that remember where they were written, and the two shapes that take the place of untagged
//! and flattened fields. All of them talk to the decoder of [`super::decode`] through names no type
//! of ours has.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use super::{Entry, Node, Reference, Written};
use crate::diagnostic::{FileId, Span, quoted};

/// The name under which a [`Spanned`] asks the decoder for a place beside the value.
pub(super) const SPANNED: &str = "$torana.spanned";
/// The name under which a [`Written`] asks the decoder for itself.
pub(super) const WRITTEN: &str = "$torana.written";
/// The name under which a [`OneOrMany`] asks the decoder to see one value as a list of one.
pub(super) const ONE_OR_MANY: &str = "$torana.one_or_many";
/// The parts of both; the value comes last.
pub(super) const PARTS: &[&str] = &["$file", "$start", "$end", "$raw", "$whole", "$value"];

/// A value and the place it was written at. Derefs to the value; compares, orders and hashes as the
/// value alone.
///
/// Transparent in the JSON Schema: `Spanned<T>` is described as `T`. Only [`Written::decode`] can
/// make one from text: other formats do not tell where a value stands.
#[derive(Clone)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands; [`Span::NONE`] if nobody wrote it.
    pub span: Span,
    raw: Option<Box<str>>,
}

impl<T> Spanned<T> {
    /// A value at a place.
    #[must_use]
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span, raw: None }
    }

    /// Remembers the text the value was written as, when it held `${…}` references.
    #[must_use]
    pub fn written_as(mut self, raw: Option<&str>) -> Self {
        self.raw = raw.map(Into::into);
        self
    }

    /// Another value at the same place.
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: f(self.value), span: self.span, raw: self.raw }
    }

    /// The written text, if the value holds `${…}` references: the value itself may then be a
    /// secret.
    #[must_use]
    pub fn raw(&self) -> Option<&str> {
        self.raw.as_deref()
    }
}

impl Spanned<String> {
    /// The place of the byte at `offset` of a text and what follows, where the text stands in the
    /// file as it is: plain, or in quotes without escapes. Else all of it.
    #[must_use]
    pub fn inside(&self, offset: usize) -> Span {
        let (start, end) = (self.span.start as usize, self.span.end as usize);
        let begin = match (end - start).checked_sub(self.len()) {
            Some(0) => start + offset,
            // More quotes than two would be escapes.
            Some(2) if !self.contains('\\') => start + 1 + offset,
            _ => return self.span,
        };
        let end = if end - start == self.len() { end } else { end - 1 };
        // Nothing to point at behind the last byte.
        Span::new(self.span.file, begin.min(end.saturating_sub(1)), end)
    }
}

impl<T: fmt::Display> Spanned<T> {
    /// The value in backticks for a message, or the written text where it holds references.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.raw {
            Some(raw) => quoted(raw),
            None => quoted(&self.value.to_string()),
        }
    }
}

impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Self::new(value, Span::NONE)
    }
}

impl From<&str> for Spanned<String> {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned(), Span::NONE)
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Lets a map keyed by `Spanned<String>` be asked with a `&str`; sound because order and hash
/// ignore the span.
impl Borrow<str> for Spanned<String> {
    fn borrow(&self) -> &str {
        &self.value
    }
}

impl<T: Default> Default for Spanned<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

impl<T: Hash> Hash for Spanned<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.raw {
            Some(raw) => fmt::Debug::fmt(raw, f),
            None => self.value.fmt(f),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

macro_rules! schema_of_inner {
    ($outer:ident) => {
        impl<T: JsonSchema> JsonSchema for $outer<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}
schema_of_inner!(Spanned);

/// Reads the key `name`, which has to come next.
fn key<'de, A: MapAccess<'de>>(map: &mut A, name: &str) -> Result<(), A::Error> {
    match map.next_key::<Cow<'de, str>>()? {
        Some(key) if key == name => Ok(()),
        _ => Err(de::Error::custom("places in files are only known to `Written::decode`")),
    }
}

/// Reads the parts in their fixed order and leaves the map in front of the value.
fn parts<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Span, Option<Reference>), A::Error> {
    key(map, PARTS[0])?;
    let file = FileId(map.next_value()?);
    key(map, PARTS[1])?;
    let start = map.next_value()?;
    key(map, PARTS[2])?;
    let end = map.next_value()?;
    key(map, PARTS[3])?;
    let raw: Option<String> = map.next_value()?;
    key(map, PARTS[4])?;
    let whole = map.next_value()?;
    key(map, PARTS[5])?;
    Ok((Span { file, start, end }, raw.map(|raw| Reference { raw, whole, failed: false })))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(SPANNED, PARTS, SpannedVisitor(PhantomData))
    }
}

struct SpannedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
    type Value = Spanned<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with a place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (span, reference) = parts(&mut map)?;
        let value: T = map.next_value()?;
        Ok(Spanned::new(value, span).written_as(reference.as_ref().map(|reference| reference.raw.as_str())))
    }
}

/// A [`Written`] field takes any value and keeps it as it is, places and references included.
impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(WRITTEN, PARTS, WrittenVisitor)
    }
}

impl JsonSchema for Written {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Written".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        let (span, reference) = parts(&mut map)?;
        let node = map.next_value_seed(NodeSeed)?;
        Ok(Written { node, span, reference: reference.map(Box::new) })
    }
}

struct NodeSeed;

impl<'de> DeserializeSeed<'de> for NodeSeed {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1024));
        while let Some(item) = seq.next_element::<Written>()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0).min(1024));
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Written>()? {
            entries.push(Entry { key, value });
        }
        Ok(Node::Map(entries))
    }
}

/// A list that may also be written as its only item: `host: a.example` for `host: [a.example]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("torana::OneOrMany<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [item, { "type": "array", "items": item }] })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of them")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                Vec::deserialize(deserializer).map(OneOrMany)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(OneOrMany)
            }
        }

        deserializer.deserialize_newtype_struct(ONE_OR_MANY, Items(PhantomData))
    }
}

/// For the one field of a struct that takes the keys none of its other fields has:
/// `#[serde(default, rename = "$others", deserialize_with = "others")] #[schemars(skip)] extra:
/// Vec<Entry>`.
///
/// The schema decides which such keys are allowed; keep `deny_unknown_fields` and add them to its
/// `properties`.
///
/// # Errors
/// Whatever the decoder reports; it always passes a map.
pub fn others<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    match Written::deserialize(deserializer)?.node {
        Node::Map(entries) => Ok(entries),
        _ => Err(de::Error::custom("the remaining keys of a map were expected")),
    }
}
