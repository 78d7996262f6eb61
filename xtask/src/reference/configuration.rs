//! The page about configuration keys, from the JSON Schema.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{NOTE, cell};
use crate::Outcome;

/// Writes sections for definitions, in the order in which a reader meets them.
struct Pages<'a> {
    definitions: &'a Map<String, Value>,
    page: String,
    done: HashSet<String>,
    /// Definitions a table has named and that have no section yet.
    open: Vec<String>,
}

pub(super) fn page(schema: &Value) -> Outcome<String> {
    let definitions = schema["$defs"].as_object().ok_or("the schema has no $defs")?;
    let page = format!(
        "{NOTE}\n# Configuration reference\n\nEvery key there is. [The guide](../configuration.md) says how they work together; `schema/torana.schema.json` is the\n\
         same for editors. An unknown key is an error.\n"
    );
    let mut pages = Pages { definitions, page, done: HashSet::new(), open: vec!["Config".to_owned()] };
    while let Some(name) = pages.open.pop() {
        if pages.done.insert(name.clone()) {
            pages.section(&name);
        }
    }
    Ok(pages.page)
}

impl Pages<'_> {
    fn section(&mut self, name: &str) {
        let Some(definition) = self.definitions.get(name) else { return };
        let title = if name == "Config" { "The file".to_owned() } else { words(name) };
        self.page.push_str(&format!("\n## {title}\n\n"));
        if let Some(description) = definition["description"].as_str() {
            self.page.push_str(&format!("{description}\n\n"));
        }
        let mut met = Vec::new();
        if let Some(properties) = definition["properties"].as_object() {
            self.table(definition, properties, &mut met);
        } else {
            self.scalar(definition, &mut met);
        }
        // The first one met is the first one written.
        self.open.extend(met.into_iter().rev());
    }

    fn table(&mut self, definition: &Value, properties: &Map<String, Value>, met: &mut Vec<String>) {
        let required: Vec<&str> =
            definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.page.push_str("| key | type | default | |\n|---|---|---|---|\n");
        for (key, property) in properties {
            let kind = self.kind(property, met);
            let default = if required.contains(&key.as_str()) { "required".to_owned() } else { default(property) };
            let description = property["description"].as_str().unwrap_or_default();
            self.page.push_str(&format!("| `{key}` | {kind} | {default} | {} |\n", cell(description)));
        }
        let others = &definition["additionalProperties"];
        if others.is_object() {
            let kind = self.kind(others, met);
            self.page.push_str(&format!("| any other name | {kind} | | |\n"));
        }
    }

    /// A definition that is no map: what may stand there.
    fn scalar(&mut self, definition: &Value, met: &mut Vec<String>) {
        let choices = choices(definition);
        if !choices.is_empty() {
            for (value, description) in choices {
                self.page.push_str(&format!("* `{value}`: {description}\n"));
            }
        } else {
            let kind = self.kind(definition, met);
            self.page.push_str(&format!("{kind}\n"));
        }
        for alternative in alternatives(definition) {
            for (key, property) in alternative["properties"].as_object().into_iter().flatten() {
                self.member(key, property, met);
            }
        }
    }

    /// One of several maps that may stand in a place, told apart by their only key: a policy.
    fn member(&mut self, key: &str, property: &Value, met: &mut Vec<String>) {
        let alternatives: Vec<&Value> = alternatives(property);
        let inside = alternatives.iter().flat_map(|schema| std::iter::once(*schema).chain(self::alternatives(schema)));
        let inside: Vec<&Value> = std::iter::once(property).chain(inside).collect();
        let Some(map) = inside.iter().find(|schema| schema["properties"].is_object()) else { return };
        self.page.push_str(&format!("\n### {key}\n\n"));
        if let Some(description) = map["description"].as_str() {
            self.page.push_str(&format!("{description}\n\n"));
        }
        if let Some(properties) = map["properties"].as_object() {
            self.table(map, properties, met);
        }
        if let Some(list) = inside.iter().find_map(|schema| schema["x-torana-list"].as_str()) {
            self.page.push_str(&format!("\nA list in place of the map is its `{list}`.\n"));
        }
    }

    /// The type in words, with links to other sections.
    fn kind(&self, schema: &Value, met: &mut Vec<String>) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            met.push(name.to_owned());
            let title = words(name);
            return format!("[{title}](#{})", title.replace(' ', "-"));
        }
        let alternatives = alternatives(schema);
        if !alternatives.is_empty() {
            let kinds: Vec<String> = alternatives
                .iter()
                .filter(|alternative| alternative["type"] != "null")
                .map(|alternative| self.kind(alternative, met))
                .collect();
            return kinds.join(" or ");
        }
        if let Some(value) = schema.get("const") {
            return format!("`{}`", plain(value));
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<String> = values.iter().map(|value| format!("`{}`", plain(value))).collect();
            return values.join(", ");
        }
        let names: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
            _ => vec!["anything"],
        };
        let named: Vec<String> = names.iter().map(|name| self.named(name, schema, met)).collect();
        named.join(" or ")
    }

    fn named(&self, name: &str, schema: &Value, met: &mut Vec<String>) -> String {
        match name {
            "string" => "text".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "integer" | "number" => match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
                (Some(least), Some(most)) => format!("number, {least} to {most}"),
                (Some(least), None) => format!("number, at least {least}"),
                _ => "number".to_owned(),
            },
            "array" => format!("list of {}", self.kind(&schema["items"], met)),
            "object" if schema["additionalProperties"].is_object() => {
                format!("map from name to {}", self.kind(&schema["additionalProperties"], met))
            }
            // A map with one key of many has a section for each.
            "object" if schema["maxProperties"] == 1 => "map from a name to its configuration".to_owned(),
            "object" => {
                let keys = schema["properties"].as_object().into_iter().flatten();
                let keys: Vec<String> =
                    keys.map(|(key, value)| format!("`{key}`: {}", self.kind(value, met))).collect();
                format!("map with {}", keys.join(", "))
            }
            other => other.to_owned(),
        }
    }
}

/// The definitions that stand for a `${…}` reference. The page says once that there may be one nearly everywhere.
const REFERENCES: [&str; 2] = ["#/$defs/Reference", "#/$defs/TextWithReference"];

fn alternatives(schema: &Value) -> Vec<&Value> {
    let all = ["anyOf", "oneOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
    all.filter(|one| !one["$ref"].as_str().is_some_and(|path| REFERENCES.contains(&path))).collect()
}

/// The values of an enumeration whose values are described one by one.
fn choices(definition: &Value) -> Vec<(String, String)> {
    let shown = |value: &Value| match value.get("const") {
        Some(value) => Some(plain(value)),
        // One with something to say: a map with its name as the only key.
        None if value["required"].as_array()?.len() == 1 => Some(format!("{}: …", plain(&value["required"][0]))),
        None => None,
    };
    let described = |value: &&Value| Some((shown(value)?, cell(value["description"].as_str()?)));
    alternatives(definition).iter().filter_map(described).collect()
}

fn default(property: &Value) -> String {
    match property.get("default") {
        None | Some(Value::Null) => String::new(),
        // A map of defaults is shown where its keys are.
        Some(Value::Object(_)) => String::new(),
        Some(Value::Array(items)) if items.is_empty() => String::new(),
        Some(value) => format!("`{}`", plain(value)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `ListenerTls` → `listener tls`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(character.to_lowercase());
    }
    words
}
