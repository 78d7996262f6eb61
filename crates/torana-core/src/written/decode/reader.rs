//! The tree as serde reads it.

use serde::de::value::{BorrowedStrDeserializer, U32Deserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::super::spanned::{ONE_OR_MANY, PARTS, SPANNED, WRITTEN};
use super::super::{Entry, Node, Spanned, Written};
use super::Refused;
use crate::diagnostic::Span;

/// The name of the field that takes the keys no other field has; see [`super::super::others`].
const OTHERS: &str = "$others";

/// Shows one part of the tree to serde.
#[derive(Clone, Copy)]
pub(super) struct Reader<'de>(pub(super) &'de Written);

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let visited = match &self.0.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_i128(*value),
            },
            Node::Float(value) => visitor.visit_f64(*value),
            Node::String(text) => visitor.visit_borrowed_str(text),
            Node::List(items) => visitor.visit_seq(Items(items.iter())),
            Node::Map(entries) => visitor.visit_map(Pairs::all(entries)),
        };
        visited.map_err(|refused: Refused| refused.within(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.0.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        if name == ONE_OR_MANY {
            let items = match &self.0.node {
                Node::List(items) => Items(items.iter()),
                _ => Items(std::slice::from_ref(self.0).iter()),
            };
            return visitor.visit_seq(items);
        }
        visitor.visit_newtype_struct(self).map_err(|refused: Refused| refused.within(self.0))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if name == SPANNED || name == WRITTEN {
            return visitor.visit_map(Placed::new(self.0, Value::Node(self.0)));
        }
        match &self.0.node {
            Node::Map(entries) if fields.contains(&OTHERS) => {
                let (known, others): (Vec<_>, Vec<_>) =
                    entries.iter().partition(|entry| fields.contains(&entry.key.as_str()));
                let pairs = Pairs { entries: known.into_iter(), value: None, others: Some((others, self.0.span)) };
                visitor.visit_map(pairs).map_err(|refused: Refused| refused.within(self.0))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let visited = match &self.0.node {
            Node::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Node::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(Variant(entry)),
                _ => Err(de::Error::custom("expected a map with exactly one key")),
            },
            _ => Err(de::Error::custom(format!("expected a name, found {}", self.0.describe()))),
        };
        visited.map_err(|refused: Refused| refused.within(self.0))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

/// Lets `seed` read `written`. A type that parses what it has read refuses it only after its call
/// into [`Reader`] has returned, so the place is also added here.
fn read<'de, S: DeserializeSeed<'de>>(seed: S, written: &'de Written) -> Result<S::Value, Refused> {
    seed.deserialize(Reader(written)).map_err(|refused| refused.within(written))
}

struct Items<'de>(std::slice::Iter<'de, Written>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        self.0.next().map(|item| read(seed, item)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The entries of a map; after them, as one more entry, those that went to [`OTHERS`].
struct Pairs<'de> {
    entries: std::vec::IntoIter<&'de Entry>,
    value: Option<&'de Written>,
    others: Option<(Vec<&'de Entry>, Span)>,
}

impl<'de> Pairs<'de> {
    fn all(entries: &'de [Entry]) -> Self {
        Self { entries: entries.iter().collect::<Vec<_>>().into_iter(), value: None, others: None }
    }
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        if let Some(entry) = self.entries.next() {
            self.value = Some(&entry.value);
            return seed.deserialize(KeyReader(&entry.key)).map(Some);
        }
        match &self.others {
            Some((others, _)) if !others.is_empty() => {
                seed.deserialize(BorrowedStrDeserializer::<Refused>::new(OTHERS)).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        if let Some(value) = self.value.take() {
            return read(seed, value);
        }
        let (others, span) = self.others.take().unwrap_or((Vec::new(), Span::NONE));
        seed.deserialize(Rest { others, span })
    }
}

/// The keys no field has, as one map; it can only be read as a [`Written`], which copies it.
struct Rest<'de> {
    others: Vec<&'de Entry>,
    span: Span,
}

impl<'de> Deserializer<'de> for Rest<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let place = Written::new(Node::Null, self.span);
        let entries = Pairs { entries: self.others.into_iter(), value: None, others: None };
        visitor.visit_map(Placed::new(&place, Value::Rest(entries)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any option newtype_struct struct enum
    }
}

/// Keys are strings, with a place where a [`Spanned`] asks for one.
struct KeyReader<'de>(&'de Spanned<String>);

impl<'de> Deserializer<'de> for KeyReader<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(&self.0.value).map_err(|mut refused: Refused| {
            refused.at.get_or_insert(self.0.span);
            refused
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_enum(self.0.value.as_str().into_deserializer())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if name == SPANNED {
            let place = Written::new(Node::Null, self.0.span);
            return visitor.visit_map(Placed::new(&place, Value::Key(self.0)));
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any option
    }
}

/// What stands at the last of [`PARTS`].
enum Value<'de> {
    Node(&'de Written),
    Key(&'de Spanned<String>),
    Rest(Pairs<'de>),
}

/// A place and a value, as the map [`Spanned`] and [`Written`] read.
struct Placed<'de> {
    span: Span,
    raw: Option<String>,
    whole: bool,
    next: usize,
    value: Option<Value<'de>>,
}

impl<'de> Placed<'de> {
    fn new(place: &Written, value: Value<'de>) -> Self {
        let reference = place.reference.as_ref();
        Self {
            span: place.span,
            raw: reference.map(|reference| reference.raw.clone()),
            whole: reference.is_some_and(|reference| reference.whole),
            next: 0,
            value: Some(value),
        }
    }
}

impl<'de> MapAccess<'de> for Placed<'de> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let name = PARTS.get(self.next);
        name.map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let part = self.next;
        self.next += 1;
        let number = |value: u32| -> U32Deserializer<Refused> { value.into_deserializer() };
        match part {
            0 => seed.deserialize(number(self.span.file.0)),
            1 => seed.deserialize(number(self.span.start)),
            2 => seed.deserialize(number(self.span.end)),
            3 => match self.raw.take() {
                Some(raw) => seed.deserialize(Present(raw)),
                None => seed.deserialize(().into_deserializer()),
            },
            4 => seed.deserialize(self.whole.into_deserializer()),
            _ => match self.value.take() {
                Some(Value::Node(written)) => read(seed, written),
                Some(Value::Key(key)) => seed.deserialize(KeyReader(key)),
                Some(Value::Rest(pairs)) => seed.deserialize(de::value::MapAccessDeserializer::new(pairs)),
                None => Err(de::Error::custom("a value was read twice")),
            },
        }
    }
}

/// A text that is there, for an `Option<String>`.
struct Present(String);

impl<'de> Deserializer<'de> for Present {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(IntoDeserializer::<Refused>::into_deserializer(self.0))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any option newtype_struct struct enum
    }
}

/// `name: config` as an enum variant with content.
struct Variant<'de>(&'de Entry);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refused> {
        Ok((seed.deserialize(KeyReader(&self.0.key))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        match self.0.value.node {
            Node::Null => Ok(()),
            _ => Err(Refused::new("expected no value under this name".to_owned()).within(&self.0.value)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        read(seed, &self.0.value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refused> {
        Reader(&self.0.value).deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        Reader(&self.0.value).deserialize_struct("", fields, visitor)
    }
}
