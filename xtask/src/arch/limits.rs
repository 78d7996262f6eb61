//! Sizes, names and `unsafe`.

use std::path::Path;

use serde_json::Value;

use super::arrows::Package;
use crate::Outcome;
use crate::workspace;

/// No file is longer.
const FILE_LINES: usize = 800;
/// What files aim for.
const GOOD_FILE_LINES: usize = 400;
/// No crate has more lines of source, tests included: larger ones do not stay free of cycles.
const CRATE_LINES: usize = 15_000;

/// Where `unsafe` is argued for, with what was measured.
const UNSAFE: &[&str] = &["crates/torana-net/src/defer.rs"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "base"];

/// What is wrong with the sizes, and what is merely long.
pub(super) fn check(packages: &[Package], metadata: &Value) -> Outcome<(Vec<String>, Vec<String>)> {
    let (mut wrong, mut long) = (Vec::new(), Vec::new());
    for directory in ["crates", "xtask", "fuzz"] {
        for path in workspace::files(&workspace::root().join(directory), ".rs")? {
            let lines = workspace::read(&path)?.lines().count();
            let shown = workspace::relative(&path);
            if lines > FILE_LINES {
                wrong.push(format!("{shown}: {lines} lines; {FILE_LINES} at most"));
            } else if lines > GOOD_FILE_LINES {
                long.push(format!("{shown}: {lines} lines"));
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if EMPTY_NAMES.contains(&stem.as_str()) {
                wrong.push(format!("{shown}: `{stem}` says nothing; name the file after what is in it"));
            }
        }
    }
    for package in packages {
        let lines: usize = package.sources.iter().map(|source| source.code.lines().count()).sum();
        if lines > CRATE_LINES {
            wrong.push(format!("{}: {lines} lines; {CRATE_LINES} at most, so split it", package.name));
        }
        wrong.extend(package.sources.iter().filter_map(|source| {
            let shown = workspace::relative(&source.path);
            let is_there = source.code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            (is_there && !UNSAFE.contains(&shown.as_str())).then(|| format!("{shown}: `unsafe` needs an argument"))
        }));
    }
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        if !workspace::read(manifest)?.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{}: does not take the lints of the workspace", workspace::relative(manifest)));
        }
    }
    Ok((wrong, long))
}
