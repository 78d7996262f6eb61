//! Naming a policy or a target.

use super::{Entry, Node, Spanned, Written};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};
use std::borrow::Cow;

/// A policy or a target by name, with the configuration its own crate reads: `name`, or `{ name:
/// config }`.
#[derive(Clone, Debug, PartialEq)]
pub struct KindUse {
    /// Which.
    pub name: Spanned<String>,
    /// Its configuration; an empty map where only the name is written.
    pub config: Written,
}

impl<'de> Deserialize<'de> for KindUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let span = written.span;
        if let Some(name) = written.as_spanned() {
            return Ok(Self { name, config: Written::empty(span) });
        }
        match written.node {
            Node::Map(entries) => {
                let mut entries = entries.into_iter();
                match (entries.next(), entries.next()) {
                    (Some(Entry { key, mut value }), None) => {
                        // `{ name: }` is the name with nothing to say about it.
                        if value.node == Node::Null {
                            value.node = Node::Map(Vec::new());
                        }
                        Ok(Self { name: key, config: value })
                    }
                    _ => Err(D::Error::custom("expected a map with exactly one key, the name of the policy")),
                }
            }
            _ => Err(D::Error::custom("expected the name of a policy, or a map from the name to its configuration")),
        }
    }
}

impl JsonSchema for KindUse {
    fn schema_name() -> Cow<'static, str> {
        "PolicyUse".into()
    }

    /// Any name; the loader puts the kinds of the build in its place.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "A policy: its name, or a map from its name to its configuration.",
            "anyOf": [{ "type": "string" }, { "type": "object", "minProperties": 1, "maxProperties": 1 }]
        })
    }
}
