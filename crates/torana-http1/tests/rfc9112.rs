//! Every test that `RFC9112.md` names exists, and every test file is named.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

#[test]
fn every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("RFC9112.md")).unwrap();
    let mut named = 0;
    for name in table.split('`').skip(1).step_by(2) {
        let Some((file, function)) = name.split_once("::") else { continue };
        // Types such as `HeadLimits::uri_bytes` are not tests; `file::function` explains itself.
        if !file.starts_with(char::is_lowercase) || name == "file::function" || file == "response" {
            continue;
        }
        let text = ["tests", "src"]
            .iter()
            .find_map(|folder| fs::read_to_string(root.join(folder).join(format!("{file}.rs"))).ok())
            .unwrap_or_else(|| panic!("{name}: there is no {file}.rs"));
        assert!(
            text.contains(&format!("    fn {function}(")) || text.contains(&format!("\nfn {function}(")),
            "{name} does not exist"
        );
        named += 1;
    }
    assert!(named > 80, "the table names only {named} tests");
}

/// The other way: a test of the tables' files that the table forgot.
#[test]
fn every_test_of_the_grammar_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("RFC9112.md")).unwrap();
    // Tests of our own promises rather than of the RFC's.
    let own = [
        "a_refused_head_leaves_nothing_behind",
        "a_request_without_fields_is_read",
        "one_plain_length_frames_a_request",
        "http_0_9_is_refused_with_its_first_line",
    ];
    for file in ["requests", "replies"] {
        let text = fs::read_to_string(root.join("tests").join(format!("{file}.rs"))).unwrap();
        for part in text.split("#[test]\nfn ").skip(1) {
            let function = part.split('(').next().unwrap();
            assert!(
                own.contains(&function) || table.contains(&format!("{file}::{function}`")),
                "{file}::{function} is not in the table"
            );
        }
    }
}
