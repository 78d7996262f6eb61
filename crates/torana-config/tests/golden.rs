//! Whole outputs: each broken configuration in `golden/` and what is said about it, to the letter.
//!
//! `x.in.yaml`, `.toml` or `.json` is one file, `x.in/` a directory, loaded through its `main.yaml`
//! if it has one. Beside it stands `x.out.txt`. `UPDATE=1 cargo test -p torana-config --test
//! golden` writes what is said now.

#![allow(clippy::unwrap_used, reason = "a test fails where it is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use torana_config::report::{Style, render, to_json};
use torana_config::{CODES, Kinds, Loaded, load};
use torana_core::units::Duration;
use torana_core::written::KindSchema;

/// Requests per time: a policy as a policy crate would have it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only the schema is used")]
struct RateLimit {
    /// How many.
    requests: u32,
    /// In which time.
    per: Duration,
}

/// A target of the build.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only the schema is used")]
struct Echo {
    /// How much to say.
    #[serde(default)]
    verbose: bool,
}

const POLICIES: &[KindSchema] = &[
    KindSchema { name: "rate_limit", schema: |generator| generator.subschema_for::<RateLimit>() },
    KindSchema {
        name: "request_id",
        schema: |_| schemars::json_schema!({ "type": "object", "additionalProperties": false }),
    },
];

const TARGETS: &[KindSchema] = &[KindSchema { name: "echo", schema: |generator| generator.subschema_for::<Echo>() }];

/// What no output may contain.
const SECRET: &str = "hunter2";

fn load_case(input: &Path) -> Loaded {
    let main = input.join("main.yaml");
    let path = if main.is_file() { main } else { input.to_owned() };
    let variables = [("SECRET", SECRET), ("WORD", "abc"), ("NUMBER", "7"), ("EMPTY", "")];
    let environment: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(&path, &Kinds { policies: POLICIES, targets: TARGETS, ..Kinds::default() }, &environment)
}

/// Every case: its name, input and output.
fn cases() -> Vec<(String, PathBuf, PathBuf)> {
    let mut cases = Vec::new();
    // Cargo runs tests in the directory of their crate; paths in the outputs are relative to it.
    for entry in fs::read_dir("tests/golden").unwrap() {
        let input = entry.unwrap().path();
        let name = input.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some((name, extension)) = name.split_once(".in")
            && ["", ".yaml", ".toml", ".json"].contains(&extension)
        {
            let output = input.with_file_name(format!("{name}.out.txt"));
            cases.push((name.to_owned(), input, output));
        }
    }
    cases.sort();
    cases
}

#[test]
fn outputs_are_as_recorded() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut failures = String::new();
    let cases = cases();
    for (name, input, output) in &cases {
        let loaded = load_case(input);
        let actual = render(&loaded.diagnostics, &loaded.sources, Style::Plain);
        assert!(!actual.is_empty(), "{name} has nothing wrong with it");
        assert!(!actual.to_lowercase().contains(SECRET), "{name} shows a secret:\n{actual}");
        assert_eq!(loaded.config.is_err(), loaded.has_errors(), "{name}");
        if update {
            fs::write(output, &actual).unwrap();
        } else if fs::read_to_string(output).ok().as_deref() != Some(actual.as_str()) {
            failures += &format!("=== {name}: now\n{actual}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}run with UPDATE=1 if this is right");
    assert!(cases.len() >= 40, "only {} cases", cases.len());
}

#[test]
fn every_output_belongs_to_an_input() {
    let outputs: BTreeSet<PathBuf> = cases().into_iter().map(|(_, _, output)| output).collect();
    for entry in fs::read_dir("tests/golden").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            assert!(outputs.contains(&path), "{} has no input", path.display());
        }
    }
}

#[test]
fn codes_are_all_listed_and_all_shown() {
    let listed: BTreeSet<String> = CODES.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(listed.len(), CODES.len(), "a code is listed twice");
    let shown: BTreeSet<String> = cases()
        .iter()
        .flat_map(|(_, input, _)| load_case(input).diagnostics)
        .map(|diagnostic| diagnostic.code.into_owned())
        .collect();
    let missing: Vec<_> = shown.difference(&listed).collect();
    assert!(missing.is_empty(), "not listed: {missing:?}");
    // Too large for a file in a repository; the unit tests have it.
    let untested: Vec<_> = listed.difference(&shown).filter(|code| *code != "config.too_large").collect();
    assert!(untested.is_empty(), "no case shows {untested:?}");
}

#[test]
fn json_has_the_same_places_as_the_text() {
    for (name, input, _) in cases() {
        let loaded = load_case(&input);
        let text = render(&loaded.diagnostics, &loaded.sources, Style::Plain);
        let json = to_json(&loaded.diagnostics, &loaded.sources);
        let list = json.as_array().unwrap();
        assert_eq!(list.len(), loaded.diagnostics.len(), "{name}");
        for diagnostic in list {
            assert!(CODES.iter().any(|(code, _)| diagnostic["code"] == *code), "{name}: {diagnostic}");
            if let Some(file) = diagnostic["file"].as_str() {
                let place = format!("{file}:{}:{}", diagnostic["line"], diagnostic["column"]);
                assert!(text.contains(&place), "{name}: {place} is not in\n{text}");
            }
        }
        assert!(!json.to_string().to_lowercase().contains(SECRET), "{name}");
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let (_, input, _) = cases().remove(0);
    let loaded = load_case(&input);
    let coloured = render(&loaded.diagnostics, &loaded.sources, Style::Coloured);
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    plain += rest;
    assert_eq!(plain, render(&loaded.diagnostics, &loaded.sources, Style::Plain));
}
