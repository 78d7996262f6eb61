//! A schema in the words of a message.

use serde_json::Value;

use super::super::SchemaTree;
use super::super::schema_tree::{choices, properties, types};

/// "an integer", "`a` or `b`", "a map with `url`".
pub(super) fn describe(tree: &SchemaTree, schema: &Value) -> String {
    if let Some(expects) = schema.get("x-torana-expects").and_then(Value::as_str) {
        return expects.to_owned();
    }
    let branches = tree.branches(schema);
    if !branches.is_empty() {
        return list_of(branches.into_iter().map(|branch| describe(tree, branch)), "or");
    }
    if let Some(choices) = choices(schema) {
        return list_of(choices.into_iter().map(|choice| format!("`{choice}`")), "or");
    }
    let names = types(schema).into_iter().filter(|name| *name != "null").map(|name| match name {
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => "an integer".to_owned(),
        "number" => "a number".to_owned(),
        "string" => "a string".to_owned(),
        "array" => "a list".to_owned(),
        "object" => match properties(schema) {
            // The shape of an enum's variant with content.
            Some(known) if known.len() == 1 && schema.get("required").is_some() => {
                list_of(known.keys().map(|key| format!("a map with the key `{key}`")), "or")
            }
            _ => "a map".to_owned(),
        },
        other => other.to_owned(),
    });
    let described = list_of(names, "or");
    if described.is_empty() { "a value".to_owned() } else { described }
}

/// `a`, `b` or `c`; what repeats is said once.
pub(super) fn list_of(parts: impl IntoIterator<Item = String>, conjunction: &str) -> String {
    let mut listed: Vec<String> = Vec::new();
    for part in parts {
        if !listed.contains(&part) {
            listed.push(part);
        }
    }
    match listed.pop() {
        None => String::new(),
        Some(last) if listed.is_empty() => last,
        Some(last) => format!("{} {conjunction} {last}", listed.join(", ")),
    }
}
