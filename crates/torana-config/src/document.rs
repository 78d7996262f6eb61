//! One file: from text to a tree with places.
//!
//! The three formats meet here with one set of rules: keys are strings, no key twice, numbers are
//! finite, at most [`DEEPEST`] levels and [`MOST_NODES`] values. Where a parser recovers from an
//! error, everything it finds is reported.

use std::path::Path;

use torana_core::diagnostic::{Diagnostic, FileId, Severity, Span, quoted};
use torana_core::written::{Entry, Node, Spanned, Written};

mod json;
mod toml;
mod yaml;

/// Levels of lists and maps in a file.
pub(crate) const DEEPEST: usize = 64;

/// Values in a file, counted where YAML aliases repeat them too.
pub(crate) const MOST_NODES: usize = 1_000_000;

/// The format of a file, decided by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Toml,
    Json,
}

impl Format {
    /// The format of `path`; `None` if its extension is not one of ours.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// What became of a file.
pub(crate) struct Parsed {
    /// The tree, unless the text could not be read at all.
    pub(crate) tree: Option<Written>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether the tree can be relied on to hold what the file says.
    pub(crate) fn is_whole(&self) -> bool {
        self.tree.is_some() && !self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// Parses `text`, whatever its root.
pub(crate) fn parse_any(file: FileId, text: &str, format: Format) -> Parsed {
    match format {
        Format::Yaml => yaml::parse(file, text),
        Format::Toml => toml::parse(file, text),
        Format::Json => json::parse(file, text),
    }
}

/// Parses `text`. An empty file is an empty map; any other root than a map is an error.
pub(crate) fn parse(file: FileId, text: &str, format: Format) -> Parsed {
    let mut parsed = parse_any(file, text, format);
    if let Some(tree) = &mut parsed.tree {
        match tree.node {
            Node::Null if format == Format::Yaml => tree.node = Node::Map(Vec::new()),
            Node::Map(_) => {}
            _ => {
                let message = format!("expected keys such as `listeners` and `routes`, found {}", tree.describe());
                parsed.diagnostics.push(Diagnostic::error("config.syntax", message).at(tree.span));
                parsed.tree = None;
            }
        }
    }
    parsed
}

/// Parses a part of a YAML file by itself: how many values are in it, and what they are. `None` if anything is wrong
/// with it, or if it may depend on another part.
pub(crate) fn parse_part(file: FileId, text: &str) -> Option<(usize, Written)> {
    yaml::parse_part(file, text)
}

/// Entries of a map under construction, refusing a key that is there already.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    known: std::collections::HashMap<String, Span>,
}

impl Entries {
    fn push(&mut self, key: Spanned<String>, value: Written, diagnostics: &mut Vec<Diagnostic>) {
        match self.known.get(key.as_str()) {
            Some(first) => {
                let message = format!("the key {} is there twice", quoted(&key));
                diagnostics.push(
                    Diagnostic::error("config.duplicate_key", message)
                        .label(key.span, "second")
                        .also(*first, "first")
                        .hint("remove one of them"),
                );
            }
            None => {
                self.known.insert(key.value.clone(), key.span);
                self.list.push(Entry { key, value });
            }
        }
    }
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error("config.too_deep", format!("nested more than {DEEPEST} levels deep")).at(span)
}

fn too_many(span: Span) -> Diagnostic {
    Diagnostic::error("config.too_large", format!("more than {MOST_NODES} values in one file"))
        .at(span)
        .hint("split the file, or use fewer YAML aliases")
}
