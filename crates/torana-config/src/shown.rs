//! A configuration as others may see it: references as they were written, and nothing of secrets
//! that stand in the files themselves.

use serde_json::Value;
use torana_core::diagnostic::Span;
use torana_core::written::Written;

use crate::conceal::MASK;
use crate::load::Loaded;

/// The text of one configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The file.
    pub path: String,
    /// Its text, with `"***"` where a secret stands in it.
    pub text: String,
}

/// The merged configuration as JSON, every reference as it was written, values whose keys sound
/// like secrets as `***`.
#[must_use]
pub fn redacted(loaded: &Loaded) -> Value {
    let tree = loaded.tree();
    let mut shown = tree.redacted();
    mask(&tree, &mut shown, loaded.sources.covered_places());
    shown
}

/// Every configuration file as it was written, in the order read, without the values whose keys
/// sound like secrets.
#[must_use]
pub fn documents(loaded: &Loaded) -> Vec<Document> {
    let spans = loaded.sources.covered_places();
    let mut documents: Vec<_> =
        loaded.sources.iter().map(|source| Document { path: source.name.clone(), text: source.text.clone() }).collect();
    // From the end, so that places before stay where they are.
    for span in spans.iter().rev() {
        let document = usize::try_from(span.file.0).ok().and_then(|file| documents.get_mut(file));
        let place = span.start as usize..span.end as usize;
        if let Some(document) = document.filter(|document| document.text.get(place.clone()).is_some()) {
            document.text.replace_range(place, &format!("\"{MASK}\""));
        }
    }
    documents
}

/// Masks what stands at `places` of `tree` in `shown`, which has its shape.
fn mask(tree: &Written, shown: &mut Value, places: &[Span]) {
    if places.binary_search(&tree.span).is_ok() && !shown.is_array() && !shown.is_object() {
        *shown = MASK.into();
        return;
    }
    for (item, shown) in tree.items().iter().zip(shown.as_array_mut().into_iter().flatten()) {
        mask(item, shown, places);
    }
    for entry in tree.entries() {
        if let Some(shown) = shown.get_mut(entry.key.as_str()) {
            mask(&entry.value, shown, places);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::schema::Kinds;

    fn load(name: &str, text: &str) -> Loaded {
        let environment = BTreeMap::from([("TOKEN".to_owned(), "sw0rdfish-sw0rdfish".to_owned())]);
        crate::load_text(Path::new(name), text.to_owned(), &Kinds::default(), &environment)
    }

    #[test]
    fn plain_secrets_are_masked_and_references_are_not() {
        let yaml = "admin:\n  token: hunter2hunter2hunter2 # of the day\n  address: 127.0.0.1:1\nx:\n  \
                    api-key: [ 'hunter2', \"${env:TOKEN}\" ]\n  password: >-\n    hunter2\n    more\n  token_ttl: 5m\n";
        let loaded = load("t.yaml", yaml);
        let [document] = documents(&loaded).try_into().unwrap();
        assert_eq!(document.path, "t.yaml");
        assert!(!document.text.contains("hunter2"), "{}", document.text);
        assert!(document.text.starts_with("admin:\n  token: \"***\" # of the day\n  address: 127.0.0.1:1\n"));
        assert!(document.text.contains("\"${env:TOKEN}\"") && document.text.contains("token_ttl: 5m"));
        let shown = redacted(&loaded);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        assert_eq!((&shown["admin"]["token"], &shown["x"]["api-key"][1]), (&"***".into(), &"${env:TOKEN}".into()));
        assert_eq!(shown["x"]["token_ttl"], "5m");
    }

    #[test]
    fn credentials_of_consumers_are_masked_and_paths_of_keys_are_not() {
        let yaml = "consumers:\n  - { name: a, keys: [ { key: hunter2 }, { key: \"${env:TOKEN}\" } ],\n      basic: { \
                    password_hash: hunter2 }, signatures: [ { id: s, secret: hunter2 } ] }\nx:\n  key: tls/a.key\n";
        let loaded = load("t.yaml", yaml);
        let [document] = documents(&loaded).try_into().unwrap();
        let shown = redacted(&loaded);
        for text in [document.text.as_str(), &shown.to_string()] {
            assert!(!text.contains("hunter2") && text.contains("${env:TOKEN}") && text.contains("tls/a.key"), "{text}");
            assert_eq!(text.matches("***").count(), 3, "{text}");
        }
    }

    #[test]
    fn an_alias_and_two_secrets_in_a_line_are_masked_once_each() {
        let yaml = "a: { token: &t hunter2, secret: hunter22 }\nb: { token: *t }\nc: [ { password: 12345 } ]\n";
        let [document] = documents(&load("t.yaml", yaml)).try_into().unwrap();
        assert!(!document.text.contains("hunter") && !document.text.contains("12345"), "{}", document.text);
        assert_eq!(document.text.matches("***").count(), 3, "{}", document.text);
        let [document] = documents(&load("t.json", "{ \"admin\": { \"token\": \"hunter2\" } }")).try_into().unwrap();
        assert_eq!(document.text, "{ \"admin\": { \"token\": \"***\" } }");
        let [document] = documents(&load("t.toml", "[admin]\ntoken = 'hunter2'\n")).try_into().unwrap();
        assert_eq!(document.text, "[admin]\ntoken = \"***\"\n");
    }
}
