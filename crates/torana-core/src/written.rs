//! Configuration as written: a tree that remembers where each part stands.
//!
//! YAML, TOML and JSON files all become a [`Written`]. It is decoded into a typed configuration by
//! [`Written::decode`], which finds every problem in one go:
//!
//! 1. [`check`](SchemaTree) walks the tree along the JSON Schema of the type: unknown and missing
//!    keys, wrong types, values outside their range. What is wrong is reported and cut out of a
//!    copy of the tree.
//! 2. `serde` decodes what is left. A type's own parser may still refuse a value: that value is
//!    reported and cut out too, and decoding starts again, so one bad address does not hide the
//!    next one.
//!
//! Types need nothing special: `#[derive(Deserialize, JsonSchema)]` with `deny_unknown_fields`, and
//! [`Spanned`] where a later step has to point at the text. Do not use `#[serde(flatten)]` or
//! untagged enums: serde copies their content to a place where spans are lost. [`OneOrMany`] and
//! [`others`] replace them.
//!
//! Strings may hold references such as `${env:TOKEN}`. The tree keeps the expanded text for
//! decoding and the written text for showing: [`Written::redacted`] and [`fmt::Debug`] never show
//! what a reference stands for.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::diagnostic::{Diagnostic, Span};

mod check;
mod decode;
mod kind_use;
mod schema_tree;
mod spanned;

pub use decode::Decoded;
pub use kind_use::KindUse;
pub use schema_tree::SchemaTree;
pub use spanned::{OneOrMany, Spanned, others};

/// A kind of policy or target that configuration may name, as plain data: what the loader has to
/// know about crates it does not depend on.
#[derive(Clone, Copy, Debug)]
pub struct KindSchema {
    /// The name as it is written in configuration.
    pub name: &'static str,
    /// The JSON Schema of its configuration; `<T as JsonSchema>::json_schema` or `|g|
    /// g.subschema_for::<T>()`.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// One part of a configuration: a value, where it stands, and how it was written if that differs.
///
/// Two parts are equal when their values are; places and references do not count. So a
/// configuration that was only reformatted equals the old one.
#[derive(Clone)]
pub struct Written {
    /// The value, references expanded.
    pub node: Node,
    /// Where it stands.
    pub span: Span,
    /// Set where the value was written with `${…}` references.
    pub reference: Option<Box<Reference>>,
}

/// How a value with `${…}` references was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The text as written, `Bearer ${env:TOKEN}`.
    pub raw: String,
    /// Whether the text is one single reference. Only then may it become a number or a boolean.
    pub whole: bool,
    /// Whether it could not be expanded. That has been reported, so nothing else is said about the
    /// value.
    pub failed: bool,
}

/// A value.
#[derive(Clone, PartialEq)]
pub enum Node {
    /// Nothing: `null`, `~`, or a key without a value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number. Wide enough for every integer JSON, TOML and YAML files hold in practice.
    Int(i128),
    /// A number with a fraction or an exponent; always finite.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Written>),
    /// A map, in the order written, no key twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, PartialEq)]
pub struct Entry {
    /// The key and where it stands.
    pub key: Spanned<String>,
    /// The value.
    pub value: Written,
}

impl Written {
    /// A value without references.
    #[must_use]
    pub fn new(node: Node, span: Span) -> Self {
        Self { node, span, reference: None }
    }

    /// An empty map: the configuration of a policy named without any.
    #[must_use]
    pub fn empty(span: Span) -> Self {
        Self::new(Node::Map(Vec::new()), span)
    }

    /// Decodes into `T`.
    ///
    /// # Errors Every problem found, in the order of the file. Only a missing key that follows from
    /// another error is left out.
    pub fn decode<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, Vec<Diagnostic>> {
        let decoded = self.decode_along(&SchemaTree::of::<T>());
        match decoded.value {
            Some(value) if decoded.diagnostics.is_empty() => Ok(value),
            _ => Err(decoded.diagnostics),
        }
    }

    /// Decodes into `T` along a schema other than `T`'s own, and also when there are errors: then
    /// from what is left without the parts in error, so that later checks can still look at the
    /// rest.
    #[must_use]
    pub fn decode_along<T: DeserializeOwned>(&self, schema: &SchemaTree) -> Decoded<T> {
        decode::decode(self, schema)
    }

    /// The value under `key`, if this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| *entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a map, in the order written; none for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.node {
            Node::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.node {
            Node::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.node {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// The string and its place, if this is a string.
    #[must_use]
    pub fn as_spanned(&self) -> Option<Spanned<String>> {
        let text = self.as_str()?;
        let raw = self.reference.as_ref().map(|reference| reference.raw.as_str());
        Some(Spanned::new(text.to_owned(), self.span).written_as(raw))
    }

    /// As JSON with every reference expanded. May hold secrets: for computing, not for showing.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.json(false)
    }

    /// As JSON with references as they were written, never what they stand for. For showing.
    #[must_use]
    pub fn redacted(&self) -> serde_json::Value {
        self.json(true)
    }

    fn json(&self, redacted: bool) -> serde_json::Value {
        use serde_json::{Number, Value};
        if redacted && let Some(reference) = &self.reference {
            return Value::String(reference.raw.clone());
        }
        match &self.node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            // What fits neither of JSON's usual integers is shown as text rather than rounded.
            Node::Int(value) => {
                Number::from_i128(*value).map_or_else(|| Value::String(value.to_string()), Value::Number)
            }
            Node::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Node::String(text) => Value::String(text.clone()),
            Node::List(items) => Value::Array(items.iter().map(|item| item.json(redacted)).collect()),
            Node::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.to_string(), entry.value.json(redacted))).collect())
            }
        }
    }

    /// Whether the part at `outer`, or anything in it, stands at one of `places`.
    ///
    /// Spans alone cannot tell: through a YAML alias a part holds what stands elsewhere.
    #[must_use]
    pub fn touches(&self, outer: Span, places: &[Span]) -> bool {
        if places.is_empty() {
            return false;
        }
        if self.span == outer {
            return self.holds(places);
        }
        self.items().iter().any(|item| item.touches(outer, places))
            || self.entries().iter().any(|entry| entry.value.touches(outer, places))
    }

    fn holds(&self, places: &[Span]) -> bool {
        places.contains(&self.span)
            || self.items().iter().any(|item| item.holds(places))
            || self.entries().iter().any(|entry| places.contains(&entry.key.span) || entry.value.holds(places))
    }

    /// What this is, for messages: "the string `abc`", "a list". Shows a reference as written.
    #[must_use]
    pub fn describe(&self) -> String {
        use crate::diagnostic::quoted;
        if let Some(reference) = &self.reference {
            return format!("the string {}", quoted(&reference.raw));
        }
        match &self.node {
            Node::Null => "nothing".to_owned(),
            Node::Bool(value) => format!("`{value}`"),
            Node::Int(value) => format!("the integer `{value}`"),
            Node::Float(value) => format!("the number `{value}`"),
            Node::String(text) => format!("the string {}", quoted(text)),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "a map".to_owned(),
        }
    }
}

impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.redacted())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", *self.key, self.value)
    }
}

#[cfg(test)]
mod tests;
