//! Path patterns.

use super::PatternError;
use std::cmp::Ordering;
use std::fmt;
use torana_core::canonical::{TargetError, canonical_path};
use torana_core::rewrite::RoutePath;
use torana_expr::regex::Regex;

/// More would be a mistake; it also bounds the depth of the trie, and so of
/// the recursion that walks it.
const MOST_SEGMENTS: usize = 64;

/// A path pattern; its syntax is in the [module](super).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    segments: Vec<Segment>,
    has_rest: bool,
    names: Vec<String>,
    text: String,
    /// For the whole path; the segments are then those it begins with.
    regex: Option<Regex>,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// This text, canonical. Empty only at the end: a trailing slash.
    Literal(Box<str>),
    /// One non-empty segment.
    Param,
}

impl Default for PathPattern {
    /// Every path, captured as `rest`.
    fn default() -> Self {
        PathPattern {
            segments: Vec::new(),
            has_rest: true,
            names: vec!["rest".to_owned()],
            text: "/*".to_owned(),
            regex: None,
        }
    }
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What no request could match, or what other gateways mean differently.
    pub fn parse(text: &str) -> Result<PathPattern, PatternError> {
        let Some(body) = text.strip_prefix('/') else {
            return Err(PatternError::new(
                format!("the path `{text}` does not begin with `/`"),
                format!("write `/{text}`"),
            ));
        };
        let mut pattern =
            PathPattern { segments: Vec::new(), has_rest: false, names: Vec::new(), text: String::new(), regex: None };
        let count = body.split('/').count();
        if count > MOST_SEGMENTS {
            return Err(PatternError::new(
                format!("the path has {count} segments; {MOST_SEGMENTS} is the most"),
                "match a prefix with `/*`",
            ));
        }
        for (index, segment) in body.split('/').enumerate() {
            pattern.add(text, segment, index + 1 == count)?;
        }
        Ok(pattern)
    }

    /// Reads a regular expression that the whole path has to match.
    ///
    /// # Errors
    /// It is none, or no path could match it.
    pub fn regex(text: &str) -> Result<PathPattern, PatternError> {
        if !text.is_ascii() {
            return Err(PatternError::new(
                format!("the regular expression `{text}` has letters that no path has"),
                "paths are matched as they travel, percent-encoded: `é` is `%C3%A9`",
            ));
        }
        let regex =
            Regex::whole(text).map_err(|error| PatternError::new(error.message, error.hint).at(error.offset))?;
        let lead = regex.lead();
        if !lead.is_empty() && !lead.starts_with('/') {
            return Err(PatternError::new(
                format!("no path matches the regular expression `{text}`: paths begin with `/`"),
                "it has to match the whole path; write `/.*` in front to look anywhere",
            ));
        }
        let names = regex.names().map(str::to_owned).collect();
        // Whole segments only: what follows `/item` may belong to the same.
        let whole = lead.rsplit_once('/').map_or("", |(whole, _)| whole);
        let segments = whole.split('/').skip(1).map(|segment| Segment::Literal(segment.into()));
        Ok(PathPattern {
            segments: segments.take(MOST_SEGMENTS).collect(),
            has_rest: false,
            names,
            text: format!("~ {text}"),
            regex: Some(regex),
        })
    }

    pub(super) fn as_regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    fn add(&mut self, whole: &str, segment: &str, is_last: bool) -> Result<(), PatternError> {
        self.text.push('/');
        if segment == "*" {
            self.text.push('*');
            return self.add_rest(whole, "rest", is_last);
        }
        if let Some(inner) = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            self.text.push_str(segment);
            return match inner.strip_suffix('*') {
                Some(name) => self.add_rest(whole, name, is_last),
                None => {
                    self.add_name(whole, inner)?;
                    self.segments.push(Segment::Param);
                    Ok(())
                }
            };
        }
        if segment.contains(['{', '}', '*']) {
            return Err(misplaced(whole, segment));
        }
        if segment.is_empty() && !is_last {
            return Err(PatternError::new(
                format!("the path `{whole}` has an empty segment"),
                "repeated slashes in requests are merged before matching; write one",
            ));
        }
        let literal = canonical_literal(whole, segment)?;
        self.text.push_str(&literal);
        self.segments.push(Segment::Literal(literal.into_boxed_str()));
        Ok(())
    }

    fn add_rest(&mut self, whole: &str, name: &str, is_last: bool) -> Result<(), PatternError> {
        if !is_last {
            return Err(PatternError::new(
                format!("in the path `{whole}` something follows the rest"),
                "`*` takes everything that is left, so it stands last; one segment is written `{name}`",
            ));
        }
        self.add_name(whole, name)?;
        self.has_rest = true;
        Ok(())
    }

    fn add_name(&mut self, whole: &str, name: &str) -> Result<(), PatternError> {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !is_name {
            return Err(PatternError::new(
                format!("`{name}` in the path `{whole}` is not a name"),
                "a name has letters, digits, `_` and `-`, and begins with a letter",
            ));
        }
        if self.names.iter().any(|known| known == name) {
            return Err(PatternError::new(
                format!("the path `{whole}` captures `{name}` twice"),
                if name == "rest" {
                    "`*` captures `rest`; name it otherwise with `{name*}`"
                } else {
                    "give each its own name"
                },
            ));
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// The names captured, in order of their captures.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the pattern ends in a rest.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.has_rest
    }

    /// The pattern with its literals in canonical form, or `~` and the regular
    /// expression: the route's label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The literal segments the pattern begins with, as a canonical path
    /// without trailing slash; empty if there are none. What a prefix is
    /// stripped from, and what a rewrite must not leave.
    #[must_use]
    pub fn literal_prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) if !text.is_empty() => {
                    prefix.push('/');
                    prefix.push_str(text);
                }
                _ => break,
            }
        }
        prefix
    }

    /// What those who build something for the pattern's route may know of it.
    #[must_use]
    pub fn route_path(&self) -> RoutePath<'_> {
        RoutePath { pattern: &self.text, names: &self.names, has_rest: self.has_rest, literal: self.literal_prefix() }
    }

    /// Whether a canonical path matches. The trie answers this for all routes
    /// at once; this is the same question put to one, for explanations and as
    /// the reference the trie is tested against.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if let Some(regex) = &self.regex {
            return regex.is_match(path.as_bytes());
        }
        let Some(body) = path.strip_prefix('/') else {
            return false;
        };
        let mut given = body.split('/');
        for segment in &self.segments {
            let fits = match (segment, given.next()) {
                (_, None) => false,
                (Segment::Literal(text), Some(given)) => **text == *given,
                (Segment::Param, Some(given)) => !given.is_empty(),
            };
            if !fits {
                return false;
            }
        }
        self.has_rest || given.next().is_none()
    }

    /// Rule 2 of the total order, for patterns that match the same path: less
    /// is more specific.
    pub(super) fn specificity(&self, other: &PathPattern) -> Ordering {
        self.shape().cmp(other.shape())
    }

    fn shape(&self) -> impl Iterator<Item = u8> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Param => 2,
        });
        let end = match (&self.regex, self.has_rest) {
            (Some(_), _) => 1,
            (None, false) => 3,
            (None, true) => 4,
        };
        segments.chain([end])
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathPattern({})", self.text)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Literals take the form requests take, or could never match.
fn canonical_literal(whole: &str, segment: &str) -> Result<String, PatternError> {
    if segment.contains('?') {
        return Err(PatternError::new(
            format!("the path `{whole}` holds a `?`"),
            "the query is matched by `query`; a question mark in the path is written `%3F`",
        ));
    }
    let mut canonical = String::new();
    canonical_path(format!("/{segment}").as_bytes(), &mut canonical).map_err(|error| {
        let hint = match error {
            TargetError::EncodedSlash
            | TargetError::Backslash
            | TargetError::Parameters
            | TargetError::EncodedControl => "the gateway refuses requests with such paths, so no route can match them",
            TargetError::AboveRoot => "write the path without `..`",
            TargetError::Escape => "a literal `%` is written `%25`",
            TargetError::Control => "a blank is written `%20`",
            _ => "write the path as a client sends it",
        };
        PatternError::new(format!("in the path `{whole}`: {error}"), hint)
    })?;
    if matches!(segment, "." | "..") || (canonical == "/" && !segment.is_empty()) {
        return Err(PatternError::new(
            format!("the path `{whole}` has a dot segment"),
            "dot segments in requests are resolved before matching; write the path without",
        ));
    }
    canonical.remove(0);
    Ok(canonical)
}

fn misplaced(whole: &str, segment: &str) -> PatternError {
    let message = format!("in the path `{whole}` the segment `{segment}` mixes text and placeholders");
    let hint = match segment.strip_suffix('*') {
        Some(prefix) if !prefix.contains(['{', '}', '*']) => {
            format!("a prefix is made of whole segments: `{prefix}/*`")
        }
        _ => "a placeholder is a whole segment, `{name}`, and a rest is `*` or `{name*}` at the end".to_owned(),
    };
    PatternError::new(message, hint)
}
