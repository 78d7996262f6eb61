//! Whatever stands in a file, loading it ends with a configuration or with diagnostics that can be
//! rendered.

#![allow(clippy::unwrap_used, reason = "a test fails where it is wrong")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use torana_config::report::{Style, render, to_json};
use torana_config::{Kinds, load_text, redacted};

fn try_all(text: &str) {
    for name in ["t.yaml", "t.toml", "t.json"] {
        let environment: BTreeMap<String, String> = BTreeMap::new();
        let loaded = load_text(Path::new(name), text.to_owned(), &Kinds::default(), &environment);
        assert_eq!(loaded.config.is_ok(), !loaded.has_errors());
        let rendered = render(&loaded.diagnostics, &loaded.sources, Style::Plain);
        let json = to_json(&loaded.diagnostics, &loaded.sources);
        assert_eq!(rendered.is_empty(), json.as_array().is_some_and(Vec::is_empty));
        // What is rendered never holds a control character but the newline.
        assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
        let _ = redacted(&loaded).to_string();
    }
}

/// The inputs of the golden tests, as something to damage.
fn seeds() -> Vec<String> {
    let mut texts: Vec<String> = fs::read_dir("tests/golden")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|extension| extension != "txt"))
        // References to files would read whatever the damage names.
        .filter_map(|path| fs::read_to_string(path).ok())
        .filter(|text| !text.contains("include") && !text.contains("${file"))
        .collect();
    texts.sort();
    assert!(texts.len() > 30);
    texts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        try_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn text_of_structural_characters(text in r#"([\[\]{}:,"'#&*!|>%@`\\\n\t =.$~-]|a|1|: |- |\n  |\u{fe}|\u{2028}|routes|\$\{env:A\}){0,60}"#) {
        try_all(&text);
    }

    #[test]
    fn damaged_configurations(
        seed in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0_u8..4), 1..6),
    ) {
        let seeds = seeds();
        let mut text: Vec<char> = seed.get(&seeds).chars().collect();
        for (at, character, how) in damage {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            match how {
                0 => { text.remove(at); }
                1 => text.insert(at, character),
                2 => text[at] = character,
                _ => text.truncate(at),
            }
        }
        try_all(&text.into_iter().collect::<String>());
    }
}
