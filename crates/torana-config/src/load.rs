//! From a path to a configuration: read, expand, include, merge, check, decode, cross-check.
//!
//! Every step goes on after errors as far as what it has allows, so that one run shows everything.
//! Nothing is fetched and nothing executed.

use std::path::{Path, PathBuf};

use torana_core::diagnostic::{Diagnostic, Severity, Span};
use torana_core::written::{Node, Written};

use crate::interpolate::{Environment, Expander};
use crate::merge::merge;
use crate::model::Config;
use crate::schema::{self, Kinds};
use crate::sources::Sources;
use crate::validate::{Found, validate};

mod files;
mod glob;
mod paths;

/// Everything one load found out.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, if there are no errors. Paths in it are resolved: they no longer depend
    /// on which file they stood in.
    pub config: Option<Config>,
    /// All files merged, as written; an empty map if nothing could be read.
    pub tree: Written,
    /// Errors and warnings, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The text of every configuration file, for rendering.
    pub sources: Sources,
    /// Every file and directory the result depends on, whether it could be read or not: what to
    /// watch. Certificates are not among them; who reads them knows them.
    pub files: Vec<PathBuf>,
    /// Sixteen hexadecimal digits that change when the expanded configuration does: FNV-1a, 64
    /// bits. For noticing changes, not for proving anything. Comments, order of files and spelling
    /// of values do not count; contents of certificates are not part of it.
    pub checksum: String,
}

impl Loaded {
    /// Whether there is at least one error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Loads the configuration at `path`: a YAML, TOML or JSON file, or a directory of them.
#[must_use]
pub fn load(path: &Path, kinds: &Kinds<'_>, environment: &dyn Environment) -> Loaded {
    let mut expander = Expander::new(environment);
    let read = files::read(path, &mut expander);
    finish(read, &expander, kinds)
}

/// Loads `text` as if it stood in a file at `path`, whose extension says which format it is in: for
/// what is not saved yet. What it includes is read from disk.
#[must_use]
pub fn load_text(path: &Path, text: String, kinds: &Kinds<'_>, environment: &dyn Environment) -> Loaded {
    let mut expander = Expander::new(environment);
    let read = files::read_text(path, text, &mut expander);
    finish(read, &expander, kinds)
}

fn finish(read: files::Read, expander: &Expander<'_>, kinds: &Kinds<'_>) -> Loaded {
    let mut diagnostics = read.diagnostics;
    let mut tree = Written::empty(Span::NONE);
    for (index, layer) in read.layers.into_iter().enumerate() {
        if index == 0 {
            tree = layer;
        } else {
            merge(&mut tree, layer, &mut diagnostics);
        }
    }
    let decoded = tree.decode_along::<Config>(&schema::tree(kinds));
    diagnostics.extend(decoded.diagnostics);
    let mut config = decoded.value;
    if let Some(config) = &mut config {
        paths::resolve(config, &read.sources);
        let found = Found { config, tree: &tree, dropped: &decoded.dropped, whole: read.whole, sources: &read.sources };
        diagnostics.extend(validate(&found));
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.as_ref().map(|label| label.span));
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let mut files = read.files;
    files.extend(expander.files().cloned());
    files.sort();
    files.dedup();
    Loaded {
        config: config.filter(|_| !failed),
        checksum: checksum(&tree),
        tree,
        diagnostics,
        sources: read.sources,
        files,
    }
}

/// The merged configuration as JSON, every reference as it was written.
#[must_use]
pub fn redacted(loaded: &Loaded) -> serde_json::Value {
    loaded.tree.redacted()
}

fn checksum(tree: &Written) -> String {
    const PRIME: u64 = 0x0100_0000_01b3;
    fn add(hash: &mut u64, bytes: &[u8]) {
        for byte in bytes {
            *hash = (*hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    fn walk(hash: &mut u64, tree: &Written) {
        // A letter before and a length inside keep `[a, b]` and `[[a], b]`, `ab` and `a` `b` apart.
        match &tree.node {
            Node::Null => add(hash, b"n"),
            Node::Bool(value) => add(hash, if *value { b"t" } else { b"f" }),
            Node::Int(value) => {
                add(hash, b"i");
                add(hash, &value.to_le_bytes());
            }
            Node::Float(value) => {
                add(hash, b"d");
                add(hash, &value.to_le_bytes());
            }
            Node::String(text) => {
                add(hash, b"s");
                add(hash, &(text.len() as u64).to_le_bytes());
                add(hash, text.as_bytes());
            }
            Node::List(items) => {
                add(hash, b"l");
                add(hash, &(items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| walk(hash, item));
            }
            Node::Map(entries) => {
                add(hash, b"m");
                add(hash, &(entries.len() as u64).to_le_bytes());
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|one, other| one.key.cmp(&other.key));
                for entry in sorted {
                    add(hash, entry.key.as_bytes());
                    walk(hash, &entry.value);
                }
            }
        }
    }
    let mut hash = 0xcbf2_9ce4_8422_2325;
    walk(&mut hash, tree);
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
