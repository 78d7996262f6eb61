//! `${…}` references in the schema that editors use.
//!
//! The loader expands references before it checks values, so the schema it checks against knows
//! nothing of them. An editor sees what is written: there, wherever a text alone would not do, a
//! reference does as well.

use serde_json::{Map, Value, json};

/// What is written in the place of a value that is no text: one reference and nothing else.
const WHOLE: &str = "Reference";

/// What is written in the place of a text that not every text may be in: one with a reference
/// somewhere in it.
const PARTIAL: &str = "TextWithReference";

/// Keywords that describe and do not restrict. They stay where editors look for them.
const ANNOTATIONS: [&str; 4] = ["title", "description", "default", "examples"];

/// Lets references stand everywhere in a schema with `$defs` where the loader takes them.
pub(super) fn allow(schema: &mut Value) {
    let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) else { return };
    definitions.values_mut().for_each(node);
    // `$${` is a plain `${`.
    definitions.insert(
        WHOLE.to_owned(),
        json!({
            "type": "string",
            "pattern": r"^\$\{(env|file):[^}]+\}$",
            "description": "A reference that stands for the whole value.",
            "examples": ["${env:NAME}", "${env:NAME:-default}", "${file:path}"],
        }),
    );
    definitions.insert(
        PARTIAL.to_owned(),
        json!({
            "type": "string",
            "pattern": r"(^|[^$])\$\{(env|file):[^}]+\}",
            "description": "A text with a reference in it.",
            "examples": ["${env:SECONDS}s"],
        }),
    );
}

fn node(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(node);
    }
    for key in ["items", "additionalProperties"] {
        map.get_mut(key).into_iter().for_each(node);
    }
    map.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten().for_each(node);
    for key in ["anyOf", "oneOf"] {
        if let Some(branches) = map.get_mut(key).and_then(Value::as_array_mut) {
            alternatives(branches);
        }
    }
    if let Some(reference) = needed(map) {
        let (outside, inside): (Map<String, Value>, Map<String, Value>) =
            std::mem::take(map).into_iter().partition(|(key, _)| ANNOTATIONS.contains(&key.as_str()));
        *map = outside;
        map.insert("anyOf".to_owned(), json!([inside, link(reference)]));
    }
}

/// One more alternative for all that need one, rather than one in each. No string of our types is
/// both a reference and one of several choices, so `oneOf` stays as good as `anyOf`.
fn alternatives(branches: &mut Vec<Value>) {
    let mut wanted = None;
    for branch in branches.iter_mut() {
        match branch.as_object().and_then(needed) {
            // A text with a reference in it may also be nothing but that.
            Some(reference) => wanted = wanted.filter(|known| *known == PARTIAL).or(Some(reference)),
            None => node(branch),
        }
    }
    branches.extend(wanted.map(link));
}

/// Which kind of reference does in the place of a scalar that has this schema; none if any text
/// does, or if it is no scalar.
fn needed(schema: &Map<String, Value>) -> Option<&'static str> {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let has = |key: &str| schema.contains_key(key);
    let is_text = types.contains(&"string") || (types.is_empty() && (has("const") || has("enum")));
    if is_text {
        // An empty text is never a reference, so a least length of 1 refuses none.
        let has_least = schema.get("minLength").and_then(Value::as_u64).is_some_and(|least| least > 1);
        let is_narrow = has_least || ["const", "enum", "pattern", "maxLength"].into_iter().any(has);
        return is_narrow.then_some(PARTIAL);
    }
    let is_other = ["integer", "number", "boolean"].iter().any(|name| types.contains(name));
    is_other.then_some(WHOLE)
}

fn link(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(schema: Value) -> Value {
        let mut whole = json!({ "$defs": { "T": schema } });
        allow(&mut whole);
        whole["$defs"]["T"].take()
    }

    #[test]
    fn numbers_and_booleans_may_be_one_reference() {
        let whole = link(WHOLE);
        assert_eq!(
            allowed(json!({ "type": ["integer", "null"], "minimum": 1, "description": "d", "default": null })),
            json!({ "description": "d", "default": null, "anyOf": [{ "type": ["integer", "null"], "minimum": 1 }, whole] })
        );
        assert_eq!(
            allowed(json!({ "anyOf": [{ "$ref": "#/$defs/Admin" }, { "type": "boolean" }] })),
            json!({ "anyOf": [{ "$ref": "#/$defs/Admin" }, { "type": "boolean" }, whole] })
        );
    }

    #[test]
    fn narrow_texts_may_hold_references() {
        let partial = link(PARTIAL);
        assert_eq!(
            allowed(json!({ "oneOf": [{ "type": "string", "const": "a" }, { "type": "string", "const": "b" }] })),
            json!({ "oneOf": [{ "type": "string", "const": "a" }, { "type": "string", "const": "b" }, partial] })
        );
        assert_eq!(
            allowed(json!({ "type": ["string", "integer"], "pattern": "^[0-9]+$" })),
            json!({ "anyOf": [{ "type": ["string", "integer"], "pattern": "^[0-9]+$" }, partial] })
        );
        let wide = json!({ "type": "string", "minLength": 1, "examples": ["x"] });
        assert_eq!(allowed(wide.clone()), wide);
        assert_eq!(
            allowed(json!({ "anyOf": [{ "type": "integer" }, { "enum": ["x"] }, { "type": "boolean" }] })),
            json!({ "anyOf": [{ "type": "integer" }, { "enum": ["x"] }, { "type": "boolean" }, partial] })
        );
    }

    #[test]
    fn maps_and_lists_may_not_and_what_they_hold_may() {
        let whole = link(WHOLE);
        assert_eq!(
            allowed(json!({
                "type": "object",
                "properties": { "on": { "type": "boolean" }, "free": true },
                "additionalProperties": { "type": "array", "items": { "type": "number" } },
            })),
            json!({
                "type": "object",
                "properties": { "on": { "anyOf": [{ "type": "boolean" }, whole] }, "free": true },
                "additionalProperties": { "type": "array", "items": { "anyOf": [{ "type": "number" }, whole] } },
            })
        );
    }
}
