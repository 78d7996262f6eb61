//! Reads the files of a configuration: the one named, or all of a directory, and what they include.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use torana_core::diagnostic::{Diagnostic, Span, quoted};
use torana_core::written::{Node, Written};

use super::glob;
use super::pieces::Pieces;
use crate::document::{self, Format};
use crate::interpolate::{Expander, read_bounded, reason};
use crate::sources::Sources;

/// Bytes of one configuration file.
const LARGEST_FILE: u64 = 16 << 20;

/// Files of one configuration.
const MOST_FILES: usize = 10_000;

/// Bytes of all configuration files together.
const MOST_BYTES: usize = 128 << 20;

/// Files that include each other in a row.
const DEEPEST_INCLUDE: usize = 16;

/// What was read.
pub(super) struct Read {
    /// One tree per file, references expanded, `include` taken out; a file before what it includes.
    pub(super) layers: Vec<Written>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) sources: Sources,
    pub(super) files: Vec<PathBuf>,
    /// Whether every file could be read as a whole. Otherwise a name that is not there may be in
    /// what is missing.
    pub(super) whole: bool,
}

/// Reads the file or directory at `path` and everything it includes; with `pieces`, routes where they can be read one
/// by one.
pub(super) fn read(path: &Path, expander: &mut Expander<'_>, pieces: Option<&mut Pieces<'_>>) -> Read {
    let mut reader = Reader::new(expander, pieces);
    reader.path(path, None);
    reader.read
}

/// Reads `text` as if it stood in the file at `path`, and everything it includes.
pub(super) fn read_text(path: &Path, text: String, expander: &mut Expander<'_>) -> Read {
    let mut reader = Reader::new(expander, None);
    reader.text(path, text, None);
    reader.read
}

struct Reader<'r, 'e, 'p> {
    read: Read,
    expander: &'r mut Expander<'e>,
    pieces: Option<&'r mut Pieces<'p>>,
    /// Files read, by their canonical path, with the place that included them.
    done: HashMap<PathBuf, Option<Span>>,
    /// The files whose includes are being read, outermost first.
    stack: Vec<PathBuf>,
    bytes: usize,
}

impl<'r, 'e, 'p> Reader<'r, 'e, 'p> {
    fn new(expander: &'r mut Expander<'e>, pieces: Option<&'r mut Pieces<'p>>) -> Self {
        let read = Read {
            layers: Vec::new(),
            diagnostics: Vec::new(),
            sources: Sources::default(),
            files: Vec::new(),
            whole: true,
        };
        Self { read, expander, pieces, done: HashMap::new(), stack: Vec::new(), bytes: 0 }
    }

    fn fail(&mut self, code: &'static str, message: String, from: Option<Span>, hint: Option<&str>) {
        self.read.whole = false;
        let diagnostic = Diagnostic::error(code, message).at(from.unwrap_or(Span::NONE));
        self.read.diagnostics.push(diagnostic.maybe_hint(hint.map(str::to_owned)));
    }

    /// Reads a file, or the files of a directory. `from` is the place of the `include` that names
    /// it.
    fn path(&mut self, path: &Path, from: Option<Span>) {
        self.read.files.push(path.to_owned());
        let shown = quoted(&path.to_string_lossy());
        match std::fs::metadata(path) {
            Err(error) => {
                let message = format!("cannot read {shown}: {}", reason(&error));
                self.fail("config.unreadable", message, from, None);
            }
            Ok(metadata) if metadata.is_dir() => self.directory(path, from),
            Ok(_) => self.file(path, from),
        }
    }

    fn directory(&mut self, path: &Path, from: Option<Span>) {
        let shown = quoted(&path.to_string_lossy());
        let listed = match std::fs::read_dir(path) {
            Ok(listed) => listed,
            Err(error) => {
                let message = format!("cannot read {shown}: {}", reason(&error));
                return self.fail("config.unreadable", message, from, None);
            }
        };
        let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let mut files: Vec<PathBuf> = listed
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| Format::of(path).is_some() && !hidden(path) && path.is_file())
            .take(MOST_FILES + 1)
            .collect();
        files.sort();
        if files.is_empty() {
            let message = format!("the directory {shown} has no configuration files");
            let hint = "files end in `.yaml`, `.yml`, `.toml` or `.json`";
            return self.fail("config.include_nothing", message, from, Some(hint));
        }
        for file in files {
            self.read.files.push(file.clone());
            self.file(&file, from);
        }
    }

    fn file(&mut self, path: &Path, from: Option<Span>) {
        let shown = quoted(&path.to_string_lossy());
        let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.stack.contains(&canonical) {
            let message = format!("{shown} includes itself");
            return self.fail("config.include_loop", message, from, Some("remove one of the includes"));
        }
        if let Some(first) = self.done.get(&canonical) {
            let diagnostic = Diagnostic::error("config.include_twice", format!("{shown} is read twice"));
            let diagnostic = diagnostic
                .label(from.unwrap_or(Span::NONE), "second")
                .also(first.unwrap_or(Span::NONE), "first")
                .hint("include each file once");
            self.read.diagnostics.push(diagnostic);
            return;
        }
        if self.stack.len() >= DEEPEST_INCLUDE {
            let message = format!("includes are nested more than {DEEPEST_INCLUDE} deep");
            return self.fail("config.too_deep", message, from, None);
        }
        if self.done.len() >= MOST_FILES {
            let message = format!("more than {MOST_FILES} configuration files");
            return self.fail("config.too_large", message, from, None);
        }
        self.done.insert(canonical.clone(), from);
        if Format::of(path).is_none() {
            return self.unknown_format(&shown, from);
        }
        let text = read_bounded(path, LARGEST_FILE)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| not_text(error.as_bytes())));
        match text {
            Ok(text) => {
                self.stack.push(canonical);
                self.text(path, text, from);
                self.stack.pop();
            }
            Err(why) => self.fail("config.unreadable", format!("cannot read {shown}: {why}"), from, None),
        }
    }

    fn unknown_format(&mut self, shown: &str, from: Option<Span>) {
        let hint = "files end in `.yaml`, `.yml`, `.toml` or `.json`";
        self.fail("config.unknown_format", format!("the format of {shown} is unknown"), from, Some(hint));
    }

    fn text(&mut self, path: &Path, text: String, from: Option<Span>) {
        let Some(format) = Format::of(path) else {
            return self.unknown_format(&quoted(&path.to_string_lossy()), from);
        };
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        self.bytes += text.len();
        if self.bytes > MOST_BYTES {
            let message = format!("more than {} MiB of configuration", MOST_BYTES >> 20);
            return self.fail("config.too_large", message, from, None);
        }
        self.document(path, text, format);
    }

    fn document(&mut self, path: &Path, text: String, format: Format) {
        let id = self.read.sources.add(path.to_owned(), path.display().to_string(), text);
        let sources = &mut self.read.sources;
        let by_piece = self.pieces.as_mut().filter(|_| format == Format::Yaml);
        let mut tree = match by_piece.and_then(|pieces| pieces.read(path, id, sources, self.expander)) {
            Some(tree) => tree,
            None => {
                let Some(source) = sources.file(id) else { return };
                let parsed = document::parse(id, &source.text, format);
                self.read.whole &= parsed.is_whole();
                self.read.diagnostics.extend(parsed.diagnostics);
                let Some(tree) = parsed.tree else { return };
                tree
            }
        };
        self.expander.expand(&mut tree, &self.read.sources, &mut self.read.diagnostics);
        if let Some(pieces) = &mut self.pieces {
            pieces.take(&mut tree);
        }
        let includes = self.take_includes(&mut tree);
        self.read.layers.push(tree);
        for (pattern, span) in includes {
            self.include(&pattern, span);
        }
    }

    /// Takes `include` out of a tree. If it is not a list of texts it stays, and the schema says
    /// so.
    fn take_includes(&mut self, tree: &mut Written) -> Vec<(String, Span)> {
        let Node::Map(entries) = &mut tree.node else {
            return Vec::new();
        };
        let Some(at) = entries.iter().position(|entry| entry.key.as_str() == "include") else {
            return Vec::new();
        };
        let list = &entries[at].value;
        let one = |item: &Written| {
            let failed = item.reference.as_ref().is_some_and(|reference| reference.failed);
            item.as_str().filter(|_| !failed).map(|text| (text.to_owned(), item.span))
        };
        let texts: Option<Vec<_>> = list.items().iter().map(one).collect();
        match texts.filter(|_| matches!(list.node, Node::List(_))) {
            Some(texts) => {
                entries.remove(at);
                texts
            }
            None => {
                self.read.whole = false;
                Vec::new()
            }
        }
    }

    fn include(&mut self, pattern: &str, span: Span) {
        let path = self.read.sources.resolve(span, Path::new(pattern));
        if pattern.is_empty() {
            return self.fail("config.include_nothing", "expected a path, found no text".to_owned(), Some(span), None);
        }
        if !glob::is_pattern(pattern) {
            return self.path(&path, Some(span));
        }
        let found = glob::find(&path);
        self.read.files.extend(found.listed);
        if found.too_many {
            let message = format!("{} looks at too many files", quoted(pattern));
            return self.fail("config.too_large", message, Some(span), Some("make the pattern narrower"));
        }
        if found.paths.is_empty() {
            let message = format!("{} matches no file", quoted(pattern));
            self.read.diagnostics.push(Diagnostic::warning("config.include_nothing", message).at(span));
        }
        for path in found.paths {
            self.path(&path, Some(span));
        }
    }
}

/// Why bytes are not text, and where.
fn not_text(bytes: &[u8]) -> String {
    let valid = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
    let line = bytes.iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
    format!("line {line} is not UTF-8 text")
}
