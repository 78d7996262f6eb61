//! Names of which a caller has to have some.

use crate::written::{OneOrMany, Written};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};
use std::borrow::Cow;

/// Names that are wanted, as written: one, a list of which one is enough, or
/// `{ any: […], all: […] }`. The default wants nothing; what is written and
/// empty is refused, since it would want nothing as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One of these is enough; none: no matter.
    pub any: Vec<String>,
    /// All of these have to be there.
    pub all: Vec<String>,
}

impl Wanted {
    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.any.is_empty() && self.all.is_empty()
    }

    /// Whether somebody who `has` some names has those that are wanted.
    pub fn is_met(&self, has: impl Fn(&str) -> bool) -> bool {
        (self.any.is_empty() || self.any.iter().any(|name| has(name))) && self.all.iter().all(|name| has(name))
    }
}

#[derive(Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WantedLists")]
struct Lists {
    /// One of these is enough.
    any: OneOrMany<String>,
    /// All of these have to be there.
    all: OneOrMany<String>,
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let list = |written: Option<&Written>| -> Vec<String> {
            let own = written.and_then(Written::as_str).into_iter();
            let items = written.map(Written::items).unwrap_or_default().iter().filter_map(Written::as_str);
            own.chain(items).map(str::to_owned).collect()
        };
        let wanted = match written.entries() {
            [] => Wanted { any: list(Some(&written)), all: Vec::new() },
            _ => Wanted { any: list(written.get("any")), all: list(written.get("all")) },
        };
        if wanted.is_nothing() {
            return Err(D::Error::custom("expected a name, a list of names, or a map with `any` or `all`"));
        }
        Ok(wanted)
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        "Wanted".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let lists = generator.subschema_for::<Lists>();
        schemars::json_schema!({
            "description": "A name, a list of which one is enough, or a map with `any` and `all`.",
            "anyOf": [
                { "type": "string", "x-torana-expects": "a name" },
                { "type": "array", "items": { "type": "string" }, "x-torana-expects": "a list of names" },
                lists
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::written;

    #[test]
    fn names_lists_and_maps() {
        let read = |json: &str| written(json).decode::<Wanted>().ok();
        let of = |any: &[&str], all: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Some(Wanted { any: list(any), all: list(all) })
        };
        assert_eq!(read(r#""a""#), of(&["a"], &[]));
        assert_eq!(read(r#"["a", "b"]"#), of(&["a", "b"], &[]));
        assert_eq!(read(r#"{ "any": "a", "all": ["b", "c"] }"#), of(&["a"], &["b", "c"]));
        for nothing in ["[]", "{}", r#"{ "any": [] }"#, r#"{ "some": ["a"] }"#, "[1]", "null"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn any_and_all_bind_together() {
        let met = |any: &[&str], all: &[&str], has: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Wanted { any: list(any), all: list(all) }.is_met(|name| has.contains(&name))
        };
        assert!(met(&["a", "b"], &[], &["b"]) && !met(&["a", "b"], &[], &["c"]));
        assert!(met(&[], &["a", "b"], &["a", "b", "c"]) && !met(&[], &["a", "b"], &["a"]));
        assert!(met(&["a"], &["b"], &["a", "b"]) && !met(&["a"], &["b"], &["b"]) && !met(&["a"], &["b"], &["a"]));
    }
}
