//! Documents stay true: the files and symbols they name exist.

use std::collections::HashSet;
use std::path::PathBuf;

use super::source;
use crate::Outcome;
use crate::workspace;

/// Crates whose symbols documents may name without us looking.
const FOREIGN: &[&str] = &["std", "core", "alloc", "tokio", "hyper", "h2", "rustls", "serde", "schemars", "cargo"];

/// Endings of names that are files.
const FILE_ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".yaml", ".json", ".dict"];

/// What documents name that is not there.
pub(super) fn check() -> Outcome<Vec<String>> {
    let root = workspace::root();
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name)).into();
    // Written from the code itself; a changelog speaks of what was.
    let is_generated = |path: &PathBuf| workspace::relative(path).starts_with("docs/reference/");
    documents.extend(workspace::files(&root.join("docs"), ".md")?.into_iter().filter(|path| !is_generated(path)));
    let mut paths = HashSet::new();
    let mut words = HashSet::new();
    for path in workspace::files(&root, "")? {
        paths.insert(workspace::relative(&path));
        if path.extension().is_some_and(|extension| extension == "rs") {
            let code = source::blanked(&workspace::read(&path)?);
            words.extend(code.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
        }
    }
    let mut wrong = Vec::new();
    for document in documents {
        for (line, name) in code_spans(&workspace::read(&document)?) {
            let shown = format!("{}:{line}", workspace::relative(&document));
            if is_symbol(&name) {
                let missing = segments(&name).into_iter().find(|segment| !words.contains(*segment));
                if let Some(missing) = missing {
                    wrong.push(format!("{shown}: there is no `{missing}` for `{name}`"));
                }
            } else if is_path(&name) && !exists(&name, &paths) {
                wrong.push(format!("{shown}: there is no file `{name}`"));
            }
        }
    }
    Ok(wrong)
}

/// Inline code outside of fenced blocks, with its line number.
fn code_spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut is_fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (index + 1, span.to_owned())));
        }
    }
    spans
}

fn is_symbol(name: &str) -> bool {
    let mut parts = name.trim_end_matches("()").split("::");
    let is_word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    name.contains("::") && parts.all(is_word) && !FOREIGN.contains(&name.split("::").next().unwrap_or_default())
}

fn segments(name: &str) -> Vec<&str> {
    name.trim_end_matches("()").split("::").filter(|segment| *segment != "crate").collect()
}

fn is_path(name: &str) -> bool {
    let is_plain =
        name.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c)) && !name.starts_with(['/', '.']);
    is_plain && name.contains('/') && FILE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// From the root, or as the end of a path where it is clear which file is meant.
fn exists(name: &str, paths: &HashSet<String>) -> bool {
    let tail = format!("/{name}");
    paths.contains(name) || paths.iter().any(|path| path.ends_with(&tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_and_files_are_told_from_other_code() {
        assert!(is_symbol("Policy::on_request") && is_symbol("torana_core::head::Head") && is_symbol("a::f()"));
        assert!(!is_symbol("std::fs::read") && !is_symbol("on_request") && !is_symbol("${env:A:-b::c}"));
        assert!(is_path("path/mod.rs") && is_path("docs/security.md"));
        assert!(!is_path("torana.yaml") && !is_path("/etc/torana/a.yaml") && !is_path("/api/*"));
        let text = "a `one` b\n```\n`two`\n```\n`x/y.rs` and `z`";
        assert_eq!(code_spans(text), [(1, "one".to_owned()), (5, "x/y.rs".to_owned()), (5, "z".to_owned())]);
    }
}
