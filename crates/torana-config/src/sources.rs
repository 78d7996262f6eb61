//! The text of every file that was read, and where in it a byte is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use torana_core::diagnostic::{Diagnostic, FileId, Span};

use crate::conceal;

/// Every file of one load, in the order read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Arc<Source>>,
    /// Parts of them whose places are counted from their own beginning.
    parts: Vec<Part>,
    /// Where secrets stand in them, in order.
    secrets: Arc<[Span]>,
}

/// A part of a file that keeps its places wherever it moves: they carry a number of its own.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: FileId,
    file: FileId,
    start: u32,
}

/// The first number of a part; files have lower ones.
const FIRST_PART: u32 = 1 << 31;

/// Numbers for parts of files, no one twice.
#[derive(Debug)]
pub(crate) struct PartNumbers(u32);

impl Default for PartNumbers {
    fn default() -> Self {
        Self(FIRST_PART)
    }
}

impl PartNumbers {
    /// The next; `None`: there are no more.
    pub(crate) fn next(&mut self) -> Option<FileId> {
        let next = Some(FileId(self.0)).filter(|_| !self.are_out())?;
        self.0 += 1;
        Some(next)
    }

    /// Whether there are no more: the last number is that of no file.
    pub(crate) const fn are_out(&self) -> bool {
        self.0 == FileId::NONE.0
    }
}

/// One file.
#[derive(Debug)]
pub struct Source {
    /// The path to open it again.
    pub path: PathBuf,
    /// The path as a message shows it.
    pub name: String,
    /// What was in it, without a byte order mark.
    pub text: String,
    /// Where lines begin, found when somebody asks.
    line_starts: OnceLock<Vec<usize>>,
}

/// A place as people count: lines and columns from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Sources {
    /// Adds a file. Its spans carry the number returned.
    pub fn add(&mut self, path: PathBuf, name: String, text: String) -> FileId {
        let id = u32::try_from(self.files.len()).map_or(FileId::NONE, FileId);
        self.files.push(Arc::new(Source { path, name, text, line_starts: OnceLock::new() }));
        id
    }

    /// Says where in `file` the part with this number begins.
    pub(crate) fn place_part(&mut self, number: FileId, file: FileId, start: u32) {
        self.parts.push(Part { number, file, start });
    }

    /// Where in a file `span` is, which may be a place in a part of it.
    #[must_use]
    pub fn in_file(&self, span: Span) -> Span {
        if !is_in_part(span) {
            return span;
        }
        // From the end: who asks while a file is read asks about what was read last.
        let part = self.parts.iter().rev().find(|part| part.number == span.file);
        part.map_or(Span::NONE, |part| part.place(span))
    }

    /// The parts, to ask for many places.
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts(self.parts.iter().map(|part| (part.number, part)).collect())
    }

    /// Points at places in files, and at none in parts of them.
    pub fn settle(&self, diagnostics: &mut [Diagnostic]) {
        let labels = diagnostics.iter_mut().flat_map(|found| found.primary.iter_mut().chain(&mut found.secondary));
        let mut labels = labels.filter(|label| is_in_part(label.span)).peekable();
        if labels.peek().is_some() {
            let parts = self.parts();
            labels.for_each(|label| label.span = parts.in_file(label.span));
        }
    }

    /// The file with this number.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&Source> {
        self.files.get(usize::try_from(id.0).ok()?).map(AsRef::as_ref)
    }

    /// Every file, in the order read.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().map(AsRef::as_ref)
    }

    /// The same as it is shared with later loads.
    pub(crate) fn shared(&self, id: FileId) -> Option<&Arc<Source>> {
        self.files.get(usize::try_from(id.0).ok()?)
    }

    /// The written text at `span`.
    #[must_use]
    pub fn text(&self, span: Span) -> Option<&str> {
        let span = self.in_file(span);
        self.file(span.file)?.text.get(span.start as usize..span.end as usize)
    }

    /// Covers the secrets at these places in reports.
    pub(crate) fn cover(&mut self, secrets: Vec<Span>) {
        self.secrets = secrets.into();
    }

    /// Where secrets stand, in order.
    pub(crate) fn covered_places(&self) -> &[Span] {
        &self.secrets
    }

    /// The secrets as they are written.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        self.secrets.iter().filter_map(|span| self.text(*span)).collect()
    }

    /// `window` of a file without secrets, in as many bytes.
    pub(crate) fn covered(&self, id: FileId, window: Range<usize>) -> Option<Cow<'_, str>> {
        let text = self.file(id)?.text.get(window.clone())?;
        let places = self.secrets.iter().filter(|span| span.file == id).filter_map(|span| {
            let (start, end) = ((span.start as usize).max(window.start), (span.end as usize).min(window.end));
            (start < end).then(|| start - window.start..end - window.start)
        });
        Some(conceal::excerpt(text, places))
    }

    /// `file:line` of the start of `span`, for messages.
    #[must_use]
    pub fn shown(&self, span: Span) -> Option<String> {
        let span = self.in_file(span);
        let file = self.file(span.file)?;
        Some(format!("{}:{}", file.name, file.place(span.start as usize).line))
    }

    /// `path` as seen from the file at `span`: relative paths start at its directory.
    #[must_use]
    pub fn resolve(&self, span: Span, path: &Path) -> PathBuf {
        match self.file(self.in_file(span).file).and_then(|file| file.path.parent()) {
            Some(directory) if path.is_relative() => directory.join(path),
            _ => path.to_owned(),
        }
    }
}

/// Parts of files by their numbers.
pub(crate) struct Parts<'s>(HashMap<FileId, &'s Part>);

impl Parts<'_> {
    /// Where in a file `span` is.
    pub(crate) fn in_file(&self, span: Span) -> Span {
        if !is_in_part(span) {
            return span;
        }
        self.0.get(&span.file).map_or(Span::NONE, |part| part.place(span))
    }
}

fn is_in_part(span: Span) -> bool {
    span.is_known() && span.file.0 >= FIRST_PART
}

impl Part {
    fn place(&self, span: Span) -> Span {
        let from_start = |offset: u32| self.start.saturating_add(offset);
        Span { file: self.file, start: from_start(span.start), end: from_start(span.end) }
    }
}

impl Source {
    /// Line and column of a byte; the end of the text for a byte past it.
    #[must_use]
    pub fn place(&self, offset: usize) -> Place {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_starts().partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts().get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Place { line, column }
    }

    fn line_starts(&self) -> &[usize] {
        let ends = || self.text.match_indices('\n').map(|(at, _)| at + 1);
        self.line_starts.get_or_init(|| std::iter::once(0).chain(ends()).collect())
    }

    /// The byte range of the lines `first..=last`, counted from 1.
    pub(crate) fn lines(&self, first: usize, last: usize) -> Range<usize> {
        let start = self.line_starts().get(first.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let end = self.line_starts().get(last).copied().unwrap_or(self.text.len());
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let mut sources = Sources::default();
        let id = sources.add("a.yaml".into(), "a.yaml".into(), "ä: 1\nb: ü2\n".into());
        let file = sources.file(id).unwrap();
        assert_eq!(file.place(0), Place { line: 1, column: 1 });
        assert_eq!(file.place(4), Place { line: 1, column: 4 });
        assert_eq!(file.place(6), Place { line: 2, column: 1 });
        assert_eq!(file.place(11), Place { line: 2, column: 5 });
        // Inside `ü`, and past the end.
        assert_eq!(file.place(10), Place { line: 2, column: 4 });
        assert_eq!(file.place(99), Place { line: 3, column: 1 });
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        let mut sources = Sources::default();
        let id = sources.add("/etc/torana/routes/a.yaml".into(), "a".into(), String::new());
        let span = Span::new(id, 0, 0);
        assert_eq!(sources.resolve(span, Path::new("c.pem")), Path::new("/etc/torana/routes/c.pem"));
        assert_eq!(sources.resolve(span, Path::new("/c.pem")), Path::new("/c.pem"));
        assert_eq!(sources.resolve(Span::NONE, Path::new("c.pem")), Path::new("c.pem"));
    }
}
