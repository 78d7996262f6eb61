//! A JSON Schema ready for walking: references resolved on demand, one copy per type.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// A JSON Schema as `schemars` generates it, with its definitions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SchemaTree {
    root: Arc<Value>,
}

impl SchemaTree {
    /// Takes a schema whose `$ref`s point into its own `$defs`.
    #[must_use]
    pub fn new(root: Value) -> Self {
        Self { root: Arc::new(root) }
    }

    /// The schema of `T`. Generated once per type: a policy used by ten thousand routes is decoded
    /// as often.
    #[must_use]
    pub fn of<T: JsonSchema>() -> Self {
        static KNOWN: Mutex<Option<HashMap<(&'static str, String), SchemaTree>>> = Mutex::new(None);
        // Neither part alone is promised to be unique; that both collide is not a risk worth a
        // `'static` bound.
        let key = (std::any::type_name::<T>(), T::schema_id().into_owned());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        known.entry(key).or_insert_with(Self::generate::<T>).clone()
    }

    fn generate<T: JsonSchema>() -> Self {
        let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
        Self::new(generator.into_root_schema_for::<T>().to_value())
    }

    /// The whole schema.
    #[must_use]
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// Follows `$ref` until something else comes. A reference that leads nowhere allows anything:
    /// schemas come from our own types, and a gap in one must not refuse a configuration that
    /// decodes.
    pub(super) fn resolve<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        const LONGEST_CHAIN: usize = 32;
        for _ in 0..LONGEST_CHAIN {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else {
                return schema;
            };
            let target = match reference.strip_prefix("#/$defs/") {
                // What `schemars` writes: found without taking the pointer apart.
                Some(name) if !name.contains(['/', '~']) => self.root.get("$defs").and_then(|types| types.get(name)),
                _ => reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)),
            };
            match target {
                Some(target) => schema = target,
                None => return &Value::Bool(true),
            }
        }
        &Value::Bool(true)
    }

    /// The alternatives of a schema, resolved; empty if it has none.
    pub(super) fn branches<'s>(&'s self, schema: &'s Value) -> Vec<&'s Value> {
        let list = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        list.map(|list| list.iter().map(|branch| self.resolve(branch)).collect()).unwrap_or_default()
    }
}

/// The names in `type`, which may be one or a list.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The values of `const` or `enum`, if the schema is a closed list of strings.
pub(super) fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(only) = schema.get("const") {
        return only.as_str().map(|only| vec![only]);
    }
    schema.get("enum")?.as_array()?.iter().map(Value::as_str).collect()
}

/// The schemas of the known keys.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}
