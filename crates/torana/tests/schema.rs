//! The schema that editors use takes what the loader takes: every example, and references in the
//! place of anything but lists and maps.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use torana_config::{Kinds, ProcessEnvironment};
use torana_core::diagnostic::Span;
use torana_core::written::{Node, SchemaTree, Written};

/// A JSON Schema validator for the keywords that ours uses. Any other fails
/// the test, so nothing is passed over.
struct Schema(Value);

impl Schema {
    fn printed() -> Schema {
        let output = support::torana().arg("schema").output().unwrap();
        Schema(serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Where `value` does not fit, and why.
    fn misfits(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(&json!({ "$ref": self.0["$ref"] }), value, "$", &mut found);
        found
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut found = Vec::new();
        self.check(schema, value, "", &mut found);
        found.is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let Some(keywords) = schema.as_object() else {
            assert_eq!(schema, true, "{at}: no schema");
            return;
        };
        for (keyword, wanted) in keywords {
            let fits = match keyword.as_str() {
                "$ref" => {
                    let place = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check(self.0.pointer(place).unwrap(), value, at, found);
                    true
                }
                "properties" | "additionalProperties" => {
                    if let Some(map) = value.as_object() {
                        self.members(keyword, schema, map, at, found);
                    }
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{at}[{index}]"), found);
                    }
                    true
                }
                "anyOf" => wanted.as_array().unwrap().iter().any(|one| self.fits(one, value)),
                "oneOf" => wanted.as_array().unwrap().iter().filter(|one| self.fits(one, value)).count() == 1,
                "type" => match wanted.as_array() {
                    Some(types) => types.iter().any(|one| is_type(one, value)),
                    None => is_type(wanted, value),
                },
                "const" => value == wanted,
                "enum" => wanted.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
                "maxLength" => {
                    value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap())
                }
                "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= wanted.as_u64().unwrap()),
                "exclusiveMinimum" => value.as_f64().is_none_or(|number| number > wanted.as_f64().unwrap()),
                "minLength" => {
                    value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap())
                }
                "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= wanted.as_u64().unwrap()),
                "minProperties" => value.as_object().is_none_or(|map| map.len() as u64 >= wanted.as_u64().unwrap()),
                "maxProperties" => value.as_object().is_none_or(|map| map.len() as u64 <= wanted.as_u64().unwrap()),
                "required" => {
                    let has = |key: &Value| value.as_object().is_none_or(|map| map.contains_key(key.as_str().unwrap()));
                    wanted.as_array().unwrap().iter().all(has)
                }
                // With a format of ours, that is what is looked at.
                "pattern" if is_ours(&schema["format"]) => true,
                "pattern" => value.as_str().is_none_or(|text| matches(wanted.as_str().unwrap(), text)),
                "format" if is_ours(wanted) => value.as_str().is_none_or(|text| is_scalar(schema, text)),
                "title" | "description" | "default" | "examples" | "format" => true,
                ours if ours.starts_with("x-torana-") => true,
                other => panic!("{at}: this test does not know the keyword `{other}`"),
            };
            if !fits {
                found.push(format!("{at}: {keyword} {wanted}"));
            }
        }
    }

    /// One of the two keywords, each for its own keys.
    fn members(
        &self,
        keyword: &str,
        schema: &Value,
        map: &serde_json::Map<String, Value>,
        at: &str,
        found: &mut Vec<String>,
    ) {
        for (key, value) in map {
            let at = format!("{at}.{key}");
            match (keyword, schema["properties"].get(key)) {
                ("properties", Some(known)) => self.check(known, value, &at, found),
                ("additionalProperties", None) if schema[keyword] == false => found.push(format!("{at}: unknown")),
                ("additionalProperties", None) => self.check(&schema[keyword], value, &at, found),
                _ => {}
            }
        }
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type of JSON: {other}"),
    }
}

fn is_ours(format: &Value) -> bool {
    format.as_str().is_some_and(|format| format.starts_with("torana-"))
}

/// Whether the scalar that `schema` describes reads `text`.
fn is_scalar(schema: &Value, text: &str) -> bool {
    let written = Written::new(Node::String(text.to_owned()), Span::NONE);
    written.decode_along::<Written>(&SchemaTree::new(schema.clone())).diagnostics.is_empty()
}

/// The patterns of references, by hand: there is no regular expression engine
/// here, and a pattern that is changed should be looked at.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        r"^\$\{(env|file):[^}]+\}$" => {
            text.starts_with("${") && reference(text).is_some_and(|length| length + "${".len() == text.len())
        }
        r"(^|[^$])\$\{(env|file):[^}]+\}" => {
            let mut starts = text.match_indices("${");
            starts.any(|(at, _)| !text[..at].ends_with('$') && reference(&text[at..]).is_some())
        }
        other => panic!("this test does not know the pattern `{other}`"),
    }
}

/// The length, without `${`, of the reference `text` begins with.
fn reference(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("${")?;
    let named = inner.strip_prefix("env:").or_else(|| inner.strip_prefix("file:"))?;
    let end = named.find('}').filter(|end| *end > 0)?;
    Some(inner.len() - named.len() + end + 1)
}

/// The document at `path`, includes taken in, references as they are written.
fn written(path: &Path) -> Value {
    torana_config::redacted(&torana_config::load(path, &Kinds::default(), &ProcessEnvironment))
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn every_example_fits() {
    let schema = Schema::printed();
    let mut count = 0;
    for entry in std::fs::read_dir(here("../../examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| ["yaml", "toml", "json"].iter().any(|known| extension == *known)) {
            assert_eq!(schema.misfits(&written(&path)), Vec::<String>::new(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} examples");
    assert_eq!(schema.misfits(&written(&here("tests/golden/cli/good.yaml"))), Vec::<String>::new());
}

#[test]
fn references_fit_wherever_the_loader_takes_them() {
    let path = here("tests/golden/schema_references.yaml");
    let output = support::torana().arg("check").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let document = written(&path);
    assert!(document.to_string().matches("${").count() >= 15, "{document}");
    assert_eq!(Schema::printed().misfits(&document), Vec::<String>::new());
}

#[test]
fn what_the_loader_refuses_does_not_fit() {
    let schema = Schema::printed();
    let listener = |more: Value| {
        let mut listener = json!({ "address": ":1" });
        listener.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        json!({ "listeners": [listener] })
    };
    assert_eq!(schema.misfits(&listener(json!({}))), Vec::<String>::new());
    for wrong in [
        json!({ "workers": "1${env:N}" }),
        json!({ "workers": "$${env:N}" }),
        json!({ "workers": "${vault:n}" }),
        json!({ "workers": 0 }),
        json!({ "wrokers": 1 }),
        json!({ "upstreams": "${env:U}" }),
        json!({ "routes": [{ "name": "a", "match": { "methods": { "a": "b" } } }] }),
        json!({ "access_log": "on" }),
        listener(json!({ "http2": "yes" })),
        listener(json!({ "http2": "$${env:H}" })),
        listener(json!({ "limits": { "head_timeout": "3" } })),
        listener(json!({ "limits": { "header_bytes": "$${env:K}" } })),
        json!({ "upstreams": { "u": { "endpoints": ["http://h"], "protocol": "http3" } } }),
        json!({ "policies": ["haeders"] }),
    ] {
        assert_ne!(schema.misfits(&wrong), Vec::<String>::new(), "{wrong}");
    }
}
