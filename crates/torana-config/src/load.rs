//! From a path to a configuration: read, expand, include, merge, check, decode, cross-check.
//!
//! Every step goes on after errors as far as what it has allows, so that one run shows everything.
//! Nothing is fetched and nothing executed.

use std::path::{Path, PathBuf};

use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::written::Written;

use crate::conceal;
use crate::gaps::Gaps;
use crate::interpolate::{Environment, Expander};
use crate::merge::merge;
use crate::model::Config;
use crate::remnant::{Remnant, SoundConfig, judge};
use crate::schema::{self, Kinds};
use crate::sources::Sources;
use crate::validate::{Found, validate};

mod files;
mod glob;
mod paths;

/// Everything one load found out.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; if there are errors, what is left of it. Paths in it are resolved: they
    /// no longer depend on which file they stood in.
    pub config: Result<SoundConfig, Box<Remnant>>,
    /// All files merged, as written; an empty map if nothing could be read.
    pub tree: Written,
    /// Errors and warnings, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The text of every configuration file, for rendering.
    pub sources: Sources,
    /// Every file and directory the result depends on, whether it could be read or not: what to
    /// watch. Certificates are not among them; who reads them knows them.
    pub files: Vec<PathBuf>,
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
    let gaps = Gaps::new(&tree, &decoded.dropped);
    let mut config = decoded.value;
    if let Some(config) = &mut config {
        paths::resolve(config, &read.sources);
        let found = Found { config, tree: &tree, gaps: &gaps, whole: read.whole, sources: &read.sources };
        diagnostics.extend(validate(&found));
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.as_ref().map(|label| label.span));
    let mut files = read.files;
    files.extend(expander.files().cloned());
    files.sort();
    files.dedup();
    let mut sources = read.sources;
    sources.cover(conceal::places(&tree));
    Loaded { config: judge(config, &tree, gaps, read.whole, &diagnostics), tree, diagnostics, sources, files }
}

#[cfg(test)]
mod tests;
