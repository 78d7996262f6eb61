//! A configuration file: loading ends with a configuration or with errors, never with neither or with a panic, and
//! whatever is wrong can be shown on a terminal and to a program.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::path::Path;
use torana_config::report::{Style, render, to_json};
use torana_config::{Kinds, load_text, redacted};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // These read from disk whatever the fuzzer happens to name.
    if text.contains("include") || text.contains("file") {
        return;
    }
    let environment = BTreeMap::from([("A".to_owned(), "a value".to_owned()), ("N".to_owned(), "7".to_owned())]);
    let loaded = load_text(Path::new(name(text)), text.to_owned(), &Kinds::default(), &environment);
    assert_eq!(loaded.config.is_ok(), !loaded.has_errors());
    let plain = render(&loaded.diagnostics, &loaded.sources, Style::Plain);
    assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{plain:?}");
    let _ = render(&loaded.diagnostics, &loaded.sources, Style::Coloured);
    let listed = to_json(&loaded.diagnostics, &loaded.sources);
    assert_eq!(plain.is_empty(), listed.as_array().is_some_and(Vec::is_empty));
    let _ = redacted(&loaded).to_string();
});

/// The format a text looks like. Trying all three would be three times slower, and anything can be any of them.
fn name(text: &str) -> &'static str {
    let first = text.lines().next().unwrap_or_default();
    if text.starts_with('{') {
        "fuzz.json"
    } else if first.starts_with('[') || first.contains('=') {
        "fuzz.toml"
    } else {
        "fuzz.yaml"
    }
}
