//! The JSON Schema of the configuration, with the policies and targets of the build in it.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use torana_core::written::{KindSchema, SchemaTree};

use crate::model::Config;

mod references;

/// The policies, targets and stores a build has, as its registries list them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds<'a> {
    /// What may stand in `policies`.
    pub policies: &'a [KindSchema],
    /// What may stand in a route as its target, besides `upstream`, `redirect` and `respond`. Those
    /// three are known without being listed; listed again they are ignored.
    pub targets: &'a [KindSchema],
    /// What may stand in `stores`.
    pub stores: &'a [KindSchema],
}

/// The JSON Schema (draft 2020-12) for editors: `torana schema`. It is about what is written, so it
/// takes `${…}` references wherever loading does.
#[must_use]
pub fn json_schema(kinds: &Kinds<'_>) -> Value {
    let mut schema = of_values(kinds);
    references::allow(&mut schema);
    schema
}

/// The same, about values with references expanded, ready to check against.
pub(crate) fn tree(kinds: &Kinds<'_>) -> SchemaTree {
    SchemaTree::new(of_values(kinds))
}

/// The part of [`tree`] that is about a route.
pub(crate) fn of_route(tree: &SchemaTree) -> SchemaTree {
    SchemaTree::new(json!({ "$ref": "#/$defs/Route", "$defs": tree.root().get("$defs") }))
}

fn of_values(kinds: &Kinds<'_>) -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let config = generator.subschema_for::<Config>();
    let policies = described(&mut generator, kinds.policies);
    // Those that the model has types of its own for are described by these.
    let is_new = |kind: &&KindSchema| generator.definitions()["Route"]["properties"].get(kind.name).is_none();
    let targets: Vec<KindSchema> = kinds.targets.iter().filter(is_new).copied().collect();
    let targets = described(&mut generator, &targets);
    let stores = described(&mut generator, kinds.stores);
    let mut definitions = generator.take_definitions(true);
    let targets: Vec<(String, Value)> =
        targets.into_iter().map(|(name, schema)| (name, introduced(schema, &definitions))).collect();
    let needs = needs(&policies, &definitions);
    if let Some(policy_use) = definitions.get_mut("PolicyUse") {
        *policy_use = policy_schema(&policies, &needs);
    }
    if let Some(store_use) = definitions.get_mut("StoreUse") {
        *store_use = store_schema(&stores);
    }
    if let Some(properties) = definitions.get_mut("Route").and_then(|route| route.get_mut("properties"))
        && let Some(properties) = properties.as_object_mut()
    {
        properties.extend(targets);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Torana configuration",
        "$ref": config.get("$ref"),
        "$defs": definitions,
    })
}

fn described(generator: &mut SchemaGenerator, kinds: &[KindSchema]) -> Map<String, Value> {
    kinds.iter().map(|kind| (kind.name.to_owned(), (kind.schema)(generator).to_value())).collect()
}

/// A reference to a definition, with the first paragraph of what that says about itself.
fn introduced(mut schema: Value, definitions: &Map<String, Value>) -> Value {
    let definition = |schema: &Value| {
        let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        let description = definitions.get(name)?.get("description")?.as_str()?;
        description.split("\n\n").next().map(str::to_owned)
    };
    if let (Some(description), Some(keywords)) = (definition(&schema), schema.as_object_mut()) {
        keywords.entry("description").or_insert(description.into());
    }
    schema
}

/// The keys each policy cannot do without, for those that have any.
fn needs(policies: &Map<String, Value>, definitions: &Map<String, Value>) -> Map<String, Value> {
    let resolved = |schema: &Value| {
        let name = schema.get("$ref").and_then(Value::as_str)?.strip_prefix("#/$defs/")?;
        definitions.get(name).cloned()
    };
    let required = |schema: &Value| resolved(schema).unwrap_or_else(|| schema.clone()).get("required").cloned();
    policies.iter().filter_map(|(name, schema)| Some((name.clone(), required(schema)?))).collect()
}

/// A policy's name alone, or one key that is the name with its configuration below. The name alone
/// means the empty configuration, so `needs` says for which policies that is too little.
fn policy_schema(policies: &Map<String, Value>, needs: &Map<String, Value>) -> Value {
    let names: Vec<&String> = policies.keys().collect();
    let with_nothing: Map<String, Value> = policies
        .iter()
        .map(|(name, schema)| match needs.contains_key(name) {
            true => (name.clone(), schema.clone()),
            false => (name.clone(), json!({ "anyOf": [schema, { "type": "null" }] })),
        })
        .collect();
    json!({
        "description": "A policy: its name, or a map from its name to its configuration.",
        "anyOf": [
            {
                "type": "string",
                "enum": names,
                "x-torana-noun": "policy",
                "x-torana-needs": needs,
                "x-torana-expects": "the name of a policy"
            },
            {
                "type": "object",
                "properties": with_nothing,
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
                "x-torana-noun": "policy",
                "x-torana-expects": "a map from the name of a policy to its configuration"
            }
        ]
    })
}

/// One key that is the kind of a store with its configuration below.
fn store_schema(stores: &Map<String, Value>) -> Value {
    json!({
        "description": "A store: a map from its kind to its configuration.",
        "anyOf": [{
            "type": "object",
            "properties": stores,
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
            "x-torana-noun": "kind of store",
            "x-torana-expects": "a map from the kind of the store to its configuration"
        }]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let schema = json_schema(&Kinds::default());
        let mut bare = Vec::new();
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            for (key, property) in definition["properties"].as_object().into_iter().flatten() {
                if property.get("description").is_none() {
                    bare.push(format!("{name}.{key}"));
                }
            }
        }
        assert_eq!(bare, Vec::<String>::new());
    }

    #[test]
    fn kinds_of_the_build_are_part_of_it() {
        fn anything(_: &mut SchemaGenerator) -> schemars::Schema {
            schemars::json_schema!({ "type": "object", "description": "test" })
        }
        let kinds = [KindSchema { name: "echo", schema: anything }, KindSchema { name: "respond", schema: anything }];
        let schema = json_schema(&Kinds { policies: &kinds, targets: &kinds, stores: &kinds });
        let route = &schema["$defs"]["Route"]["properties"];
        assert_eq!(route["echo"]["description"], "test");
        assert_ne!(route["respond"]["description"], "test");
        assert_eq!(schema["$defs"]["PolicyUse"]["anyOf"][0]["enum"], json!(["echo", "respond"]));
    }

    #[test]
    fn references_all_lead_somewhere() {
        fn walk(value: &Value, root: &Value) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                assert!(root.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
            match value {
                Value::Array(items) => items.iter().for_each(|item| walk(item, root)),
                Value::Object(map) => map.values().for_each(|value| walk(value, root)),
                _ => {}
            }
        }
        let schema = json_schema(&Kinds::default());
        walk(&schema, &schema);
    }
}
