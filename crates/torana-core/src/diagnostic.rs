//! What is wrong with a configuration, as plain data.
//!
//! Everything that reads or compiles configuration reports [`Diagnostic`]s: a stable code, one
//! sentence, the place in the user's own file and a next step the user can take. Nothing here
//! renders: turning a [`Diagnostic`] into text needs the sources and belongs to `torana-config`'s
//! `report`.

use std::borrow::Cow;
use std::fmt;

/// A file that configuration was read from: an index into the table of sources of one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

impl FileId {
    /// No file: the value was made by a program, not written by a person.
    pub const NONE: Self = Self(u32::MAX);
}

/// A range of bytes in one file: `start` is included, `end` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file the bytes are in.
    pub file: FileId,
    /// Offset of the first byte, from the start of the file.
    pub start: u32,
    /// Offset after the last byte; equal to `start` where nothing was written.
    pub end: u32,
}

impl Span {
    /// The span of what nobody wrote: defaults, values made by importers and tests.
    pub const NONE: Self = Self { file: FileId::NONE, start: 0, end: 0 };

    /// The bytes `start..end` of `file`. Offsets past 4 GiB saturate; no file that large is ever
    /// read.
    #[must_use]
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: clamp(start), end: clamp(end.max(start)) }
    }

    /// Whether this points into a file.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.file != FileId::NONE
    }

    /// Whether `inner` lies wholly inside this span, edges included.
    #[must_use]
    pub fn contains(self, inner: Self) -> bool {
        self.file == inner.file && self.start <= inner.start && inner.end <= self.end
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration works, but probably not as meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a file and what is to be said about it. The text may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// A few words shown beside the underlined text.
    pub text: String,
}

/// One thing wrong with a configuration.
///
/// Style of the texts: lower case, no full stop, values in backticks, both what was expected and
/// what was found; the hint is a step the user can do at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable name for the kind of problem, `config.unknown_key`; tools may depend on it.
    pub code: Cow<'static, str>,
    /// One sentence.
    pub message: String,
    /// The place to look at first.
    pub primary: Option<Label>,
    /// Other places that matter, such as the first of two definitions.
    pub secondary: Vec<Label>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error with a stable `code`.
    #[must_use]
    pub fn error(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: code.into(),
            message: message.into(),
            primary: None,
            secondary: Vec::new(),
            hint: None,
        }
    }

    /// A warning with a stable `code`.
    #[must_use]
    pub fn warning(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Points at `span`. An unknown span is ignored, so callers need not ask whether a value was
    /// written.
    #[must_use]
    pub fn at(self, span: Span) -> Self {
        self.label(span, "")
    }

    /// Points at `span` and says `text` beside it.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        if span.is_known() {
            self.primary = Some(Label { span, text: text.into() });
        }
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        if span.is_known() {
            self.secondary.push(Label { span, text: text.into() });
        }
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what to do, if there is something to say.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Whether this makes the configuration unusable.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Why a scalar was not accepted: what a type's own parser says before anyone knows where the
/// scalar stands.
///
/// `Deserialize` implementations pass it on with `D::Error::custom(misfit)`;
/// [`crate::written::Written::decode`] reads the [`fmt::Display`] form back, adds the span, and
/// leaves `found` out where the value came from a `${…}` reference, because it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Stable code of the diagnostic.
    pub code: Cow<'static, str>,
    /// What would have been accepted: "a duration such as `3s`".
    pub expected: String,
    /// What was there: "`3x`, whose unit is unknown". The only field that may quote the value.
    pub found: String,
    /// What to do.
    pub hint: Option<String>,
}

const FOUND: &str = "\nfound: ";
const HINT: &str = "\nhint: ";
const CODE: &str = "\ncode: ";

impl Misfit {
    /// A misfit with the general code `config.invalid_value`.
    #[must_use]
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed("config.invalid_value"), expected: expected.into(), found: found.into(), hint: None }
    }

    /// Gives the misfit its own code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Cow::Borrowed(code);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Reads the [`fmt::Display`] form back; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, code) = text.rsplit_once(CODE)?;
        let (rest, hint) = match rest.rsplit_once(HINT) {
            Some((rest, hint)) => (rest, Some(hint.to_owned())),
            None => (rest, None),
        };
        let (expected, found) = rest.split_once(FOUND)?;
        Some(Self { code: Cow::Owned(code.to_owned()), expected: expected.to_owned(), found: found.to_owned(), hint })
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{FOUND}{}", self.expected, self.found)?;
        if let Some(hint) = &self.hint {
            write!(f, "{HINT}{hint}")?;
        }
        write!(f, "{CODE}{}", self.code)
    }
}

impl std::error::Error for Misfit {}

/// `text` in backticks, made fit for one line of a terminal: control characters are escaped (a file
/// must not be able to move the reader's cursor), and what is longer than 80 characters is cut.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out = String::with_capacity(text.len().min(LONGEST) + 2);
    out.push('`');
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.push('`');
    out
}

/// The candidate a person most likely meant by `written`, if one is near enough: at most one edit
/// for short names, a third of the length for longer ones; upper and lower case, `-` and `_` count
/// as the same.
///
/// Names longer than 128 bytes are never compared: the distance costs the product of the lengths.
#[must_use]
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 128;
    if written.is_empty() || written.len() > LONGEST {
        return None;
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let wanted = plain(written);
    let allowed = (wanted.chars().count() / 3).max(1);
    let mut best: Option<((usize, usize), &'a str)> = None;
    for candidate in candidates {
        if candidate.is_empty() || candidate.len() > LONGEST || candidate.len().abs_diff(wanted.len()) > 2 * allowed {
            continue;
        }
        let distance = strsim::osa_distance(&wanted, &plain(candidate));
        // Of equally near names, the one as long as what was written: two letters swapped are the
        // commoner slip.
        let rank = (distance, candidate.len().abs_diff(wanted.len()));
        if distance <= allowed && best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let keys = ["listeners", "upstreams", "routes", "trusted_proxies"];
        assert_eq!(did_you_mean("listner", keys), Some("listeners"));
        assert_eq!(did_you_mean("Upstream", keys), Some("upstreams"));
        assert_eq!(did_you_mean("trusted-proxies", keys), Some("trusted_proxies"));
        assert_eq!(did_you_mean("plugins", keys), None);
        assert_eq!(did_you_mean("", keys), None);
        assert_eq!(did_you_mean(&"x".repeat(4000), keys), None);
    }

    #[test]
    fn short_names_allow_one_edit_only() {
        assert_eq!(did_you_mean("url", ["uri", "to"]), Some("uri"));
        assert_eq!(did_you_mean("httsp", ["http", "https"]), Some("https"));
        assert_eq!(did_you_mean("abc", ["xyz"]), None);
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "`a\\u{1b}[2Jb`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 83);
    }

    #[test]
    fn a_misfit_survives_its_display_form() {
        let misfit = Misfit::new("a duration such as `3s`", "`3x`").code("config.duration").hint("write `3s`");
        assert_eq!(Misfit::parse(&misfit.to_string()), Some(misfit));
        let bare = Misfit::new("a name", "nothing");
        assert_eq!(Misfit::parse(&bare.to_string()), Some(bare));
        assert_eq!(Misfit::parse("invalid type: map"), None);
    }

    #[test]
    fn unknown_spans_are_not_pointed_at() {
        let diagnostic = Diagnostic::error("config.x", "x").at(Span::NONE).also(Span::NONE, "there");
        assert!(diagnostic.primary.is_none() && diagnostic.secondary.is_empty());
    }

    #[test]
    fn spans_contain_what_lies_inside() {
        let outer = Span::new(FileId(0), 2, 9);
        assert!(outer.contains(Span::new(FileId(0), 2, 9)));
        assert!(!outer.contains(Span::new(FileId(1), 3, 4)));
        assert!(!outer.contains(Span::new(FileId(0), 8, 10)));
    }
}
