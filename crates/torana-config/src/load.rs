//! From a path to a configuration: read, expand, include, merge, check, decode, cross-check.
//!
//! Every step goes on after errors as far as what it has allows, so that one run shows everything.
//! Nothing is fetched and nothing executed.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::pace::{step, stepwise};
use torana_core::written::{Node, SchemaTree, Written};

use crate::conceal;
use crate::fingerprint::Fingerprint;
use crate::gaps::Gaps;
use crate::interpolate::{Environment, Expander};
use crate::merge::merge;
use crate::model::Config;
use crate::remnant::{Remnant, SoundConfig, judge};
use crate::schema::{self, Kinds};
use crate::sources::{PartNumbers, Sources};
use crate::validate::{Found, validate};

mod cut;
mod files;
mod glob;
mod paths;
mod pieces;

use pieces::{Memo, Piece, Pieces};

/// Everything one load found out.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; if there are errors, what is left of it. Paths in it are resolved: they
    /// no longer depend on which file they stood in.
    pub config: Result<SoundConfig, Box<Remnant>>,
    /// All files merged, as written, without the routes that are `pieces`; an empty map if nothing could be read.
    tree: Written,
    /// Routes that were read one by one, in order.
    pieces: Vec<Arc<Piece>>,
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

    /// All files merged, as written.
    pub(crate) fn tree(&self) -> Cow<'_, Written> {
        if self.pieces.is_empty() {
            return Cow::Borrowed(&self.tree);
        }
        let mut tree = self.tree.clone();
        let places = self.sources.parts();
        if let Node::Map(entries) = &mut tree.node
            && let Some(entry) = entries.iter_mut().find(|entry| *entry.key == cut::KEY)
        {
            let whole = |piece: &Arc<Piece>| {
                let mut written = piece.written.clone();
                pieces::move_places(&mut written, &|span| places.in_file(span));
                written
            };
            entry.value.node = Node::List(self.pieces.iter().map(whole).collect());
        }
        Cow::Owned(tree)
    }
}

/// Loads configurations, again and again: what did not change since is not read again.
///
/// It remembers the routes of the last load without errors, and nothing else.
#[derive(Debug)]
pub struct Loader {
    schema: SchemaTree,
    /// That of a route.
    route: SchemaTree,
    memo: Memo,
    numbers: PartNumbers,
}

impl Loader {
    /// One that has loaded nothing.
    #[must_use]
    pub fn new(kinds: &Kinds<'_>) -> Self {
        let schema = schema::tree(kinds);
        Self { route: schema::of_route(&schema), schema, memo: Memo::default(), numbers: PartNumbers::default() }
    }

    /// Loads the configuration at `path`: a YAML, TOML or JSON file, or a directory of them.
    #[must_use]
    pub fn load(&mut self, path: &Path, environment: &dyn Environment) -> Loaded {
        self.by_piece(path, environment).unwrap_or_else(|| self.whole(path, environment))
    }

    /// Loads a configuration without errors. If there is any, all is to be read as a whole: what is said about it then
    /// does not depend on what was loaded before.
    fn by_piece(&mut self, path: &Path, environment: &dyn Environment) -> Option<Loaded> {
        let mut expander = Expander::new(environment);
        let mut pieces = Pieces::new(&self.route, &self.memo, &mut self.numbers);
        let read = files::read(path, &mut expander, Some(&mut pieces));
        let finished = pieces.finish();
        if self.numbers.are_out() {
            // What has been numbered is forgotten with the memo; loads know the places of their own.
            (self.memo, self.numbers) = (Memo::default(), PartNumbers::default());
            return None;
        }
        let (pieces, memo) = finished.filter(|_| read.whole && !read.diagnostics.iter().any(Diagnostic::is_error))?;
        let loaded = finish(read, &expander, &self.schema, pieces);
        if loaded.has_errors() {
            return None;
        }
        self.memo = memo;
        Some(loaded)
    }

    fn whole(&self, path: &Path, environment: &dyn Environment) -> Loaded {
        let mut expander = Expander::new(environment);
        let read = files::read(path, &mut expander, None);
        finish(read, &expander, &self.schema, Vec::new())
    }
}

/// Loads the configuration at `path` once.
#[must_use]
pub fn load(path: &Path, kinds: &Kinds<'_>, environment: &dyn Environment) -> Loaded {
    Loader::new(kinds).whole(path, environment)
}

/// Loads `text` as if it stood in a file at `path`, whose extension says which format it is in: for
/// what is not saved yet. What it includes is read from disk.
#[must_use]
pub fn load_text(path: &Path, text: String, kinds: &Kinds<'_>, environment: &dyn Environment) -> Loaded {
    let mut expander = Expander::new(environment);
    let read = files::read_text(path, text, &mut expander);
    finish(read, &expander, &schema::tree(kinds), Vec::new())
}

fn finish(read: files::Read, expander: &Expander<'_>, schema: &SchemaTree, pieces: Vec<Arc<Piece>>) -> Loaded {
    let mut diagnostics = read.diagnostics;
    let mut tree = Written::empty(Span::NONE);
    for (index, layer) in read.layers.into_iter().enumerate() {
        if index == 0 {
            tree = layer;
        } else {
            merge(&mut tree, layer, &mut diagnostics);
        }
    }
    step();
    let decoded = tree.decode_along::<Config>(schema);
    diagnostics.extend(decoded.diagnostics);
    let gaps = Gaps::new(&tree, &decoded.dropped);
    let mut config = decoded.value;
    if let Some(config) = &mut config {
        config.routes.extend(stepwise(&pieces).map(|piece| Arc::clone(&piece.route)));
        paths::resolve(config, &read.sources);
        let is_fine = |route: usize| pieces.get(route).is_some_and(|piece: &Arc<Piece>| piece.is_fine);
        let found =
            Found { config, tree: &tree, gaps: &gaps, whole: read.whole, sources: &read.sources, is_fine: &is_fine };
        diagnostics.extend(validate(&found));
    }
    step();
    let mut sources = read.sources;
    sources.settle(&mut diagnostics);
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.as_ref().map(|label| label.span));
    let mut files = read.files;
    files.extend(expander.files().cloned());
    files.sort();
    files.dedup();
    let mut secrets = conceal::places(&tree);
    let of_pieces: Vec<Span> = stepwise(&pieces).flat_map(|piece| &piece.secrets).copied().collect();
    if !of_pieces.is_empty() {
        let parts = sources.parts();
        secrets.extend(stepwise(of_pieces).map(|span| parts.in_file(span)));
    }
    secrets.sort_unstable();
    sources.cover(secrets);
    let of_routes = pieces.iter().map(|piece| piece.fingerprint);
    let fingerprint = || match pieces.is_empty() {
        true => Fingerprint::of(&tree),
        false => Fingerprint::with_items(&tree, cut::KEY, of_routes),
    };
    let config = judge(config, &tree, fingerprint, gaps, read.whole, &diagnostics);
    Loaded { config, tree, pieces, diagnostics, sources, files }
}

#[cfg(test)]
mod piece_tests;
#[cfg(test)]
mod tests;
