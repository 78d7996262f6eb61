//! References in text: `${env:NAME}`, `${env:NAME:-default}`, `${file:path}`, and `$${` for a plain
//! `${`.
//!
//! Expanded text is data: it is not parsed as YAML and not expanded again, so a secret may hold any
//! characters. The tree keeps what was written beside it, for showing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use torana_core::diagnostic::{Diagnostic, Span, did_you_mean, quoted};
use torana_core::pace::step;
use torana_core::written::{Node, Reference, Written};

use crate::conceal;
use crate::sources::Sources;

/// Bytes of one file named by `${file:…}`.
const LARGEST_FILE: u64 = 1 << 20;

/// Bytes that all references of one load may expand to together.
const MOST_EXPANDED: usize = 64 << 20;

/// Where `${env:…}` looks. Tests pass a map; only the binary passes the process's own.
pub trait Environment {
    /// The value of a variable; `None` if it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.get(name).map(OsString::from)
    }
}

/// Expands references over a whole load: files are read once, and the sum of what comes out is
/// bounded.
pub(crate) struct Expander<'a> {
    environment: &'a dyn Environment,
    files: BTreeMap<PathBuf, Result<String, String>>,
    expanded: usize,
}

impl<'a> Expander<'a> {
    pub(crate) fn new(environment: &'a dyn Environment) -> Self {
        Self { environment, files: BTreeMap::new(), expanded: 0 }
    }

    /// Every file that references named, read or not.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// Expands every string of `tree` in place. Keys are left alone; one that holds a reference is
    /// an error.
    pub(crate) fn expand(&mut self, tree: &mut Written, sources: &Sources, diagnostics: &mut Vec<Diagnostic>) {
        match &mut tree.node {
            Node::String(text) if text.contains("${") => {
                let (expanded, reference) = self.text(text, tree.span, sources, diagnostics);
                *text = expanded;
                tree.reference = reference.map(Box::new);
            }
            Node::List(items) => items.iter_mut().for_each(|item| self.expand(item, sources, diagnostics)),
            Node::Map(entries) => {
                for entry in entries {
                    if ["${env:", "${file:"].iter().any(|start| entry.key.contains(start)) {
                        let message = format!("a reference in the key {}", quoted(&entry.key));
                        let hint = "references are expanded in values only";
                        diagnostics.push(Diagnostic::error("config.reference", message).at(entry.key.span).hint(hint));
                    }
                    self.expand(&mut entry.value, sources, diagnostics);
                }
            }
            _ => {}
        }
    }

    fn text(
        &mut self,
        raw: &str,
        span: Span,
        sources: &Sources,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> (String, Option<Reference>) {
        let mut out = String::new();
        let mut rest = raw;
        let mut references = 0;
        let mut failed = false;
        // A file can hold the same text twice; each search in the source starts behind the one
        // before.
        let mut found_to = span.start;
        while let Some(dollar) = rest.find("${") {
            let (before, reference) = rest.split_at(dollar);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = reference.get(2..).unwrap_or_default();
                continue;
            }
            out.push_str(before);
            references += 1;
            let (written, inner, after) = match reference.find('}') {
                Some(end) => (&reference[..=end], reference.get(2..end).unwrap_or_default(), &reference[end + 1..]),
                None => (reference, "", ""),
            };
            let place = locate(written, span, &mut found_to, sources);
            let outcome = if reference.contains('}') {
                self.resolve(inner, span, sources)
            } else {
                Err(Failure::new("a reference without its closing `}`").hint("write `$${` for a plain `${`"))
            };
            match outcome {
                Ok(text) => out.push_str(&text),
                Err(failure) => {
                    failed = true;
                    let diagnostic = Diagnostic::error(failure.code, failure.message);
                    diagnostics.push(diagnostic.at(place).maybe_hint(failure.hint));
                }
            }
            rest = after;
        }
        out.push_str(rest);
        self.expanded = self.expanded.saturating_add(out.len());
        if self.expanded > MOST_EXPANDED {
            // Said once: everything after it fails the same way.
            if self.expanded - out.len() <= MOST_EXPANDED {
                let message = format!("references expand to more than {} MiB", MOST_EXPANDED >> 20);
                diagnostics.push(Diagnostic::error("config.too_large", message).at(span));
            }
            failed = true;
            out = String::new();
        }
        // `$${` alone is only an escape: there is nothing to hide.
        let whole = references == 1 && raw.starts_with("${") && raw.find('}') == Some(raw.len() - 1);
        let reference = (references > 0).then(|| Reference { raw: raw.to_owned(), whole, failed });
        (out, reference)
    }

    fn resolve(&mut self, inner: &str, span: Span, sources: &Sources) -> Result<String, Failure> {
        match inner.split_once(':') {
            Some(("env", rest)) => self.variable(rest),
            Some(("file", path)) if !path.is_empty() => {
                let path = sources.resolve(span, Path::new(path));
                let content = self.files.entry(path.clone()).or_insert_with(|| read_secret(&path));
                content.clone().map_err(|error| Failure {
                    code: "config.unreadable",
                    message: format!("cannot read {}: {error}", quoted(&path.to_string_lossy())),
                    hint: None,
                })
            }
            _ => {
                let kind = inner.split(':').next().unwrap_or_default();
                let hint = match did_you_mean(kind, ["env", "file"]) {
                    Some(near) => {
                        format!("did you mean `${{{near}:…}}`? write `$${{` for a plain `${{`")
                    }
                    None => "write `${env:NAME}` or `${file:path}`, or `$${` for a plain `${`".to_owned(),
                };
                Err(Failure::new(format!("unknown reference {}", quoted(&format!("${{{inner}}}")))).hint(hint))
            }
        }
    }

    fn variable(&self, rest: &str) -> Result<String, Failure> {
        let (name, default) = match rest.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (rest, None),
        };
        let valid = name
            .bytes()
            .enumerate()
            .all(|(at, b)| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit()));
        if name.is_empty() || !valid {
            return Err(Failure::new(format!("{} is not the name of an environment variable", quoted(name)))
                .hint("names have letters, digits and `_`; a default comes after `:-`"));
        }
        let value = match self.environment.variable(name) {
            Some(value) => value
                .into_string()
                .map_err(|_| Failure::new(format!("the environment variable `{name}` is not UTF-8 text")))?,
            None => match default {
                Some(default) => return Ok(default.to_owned()),
                None => {
                    let hint = match conceal::names_a_secret(name) {
                        // One in the file would be everybody's.
                        true => "set it where the gateway is started".to_owned(),
                        false => format!("set it, or give a default: `${{env:{name}:-default}}`"),
                    };
                    return Err(Failure {
                        code: "config.missing_variable",
                        message: format!("the environment variable `{name}` is not set"),
                        hint: Some(hint),
                    });
                }
            },
        };
        // As in a shell, `:-` also stands in for a variable that is set to nothing.
        Ok(match default {
            Some(default) if value.is_empty() => default.to_owned(),
            _ => value,
        })
    }
}

struct Failure {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { code: "config.reference", message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Where in its scalar a reference stands; the whole scalar if escapes or folding hide it.
fn locate(written: &str, span: Span, found_to: &mut u32, sources: &Sources) -> Span {
    let rest = Span { start: *found_to, ..span };
    let Some(at) = sources.text(rest).and_then(|text| text.find(written)) else {
        return span;
    };
    let start = rest.start as usize + at;
    let place = Span::new(span.file, start, start + written.len());
    *found_to = place.end;
    place
}

/// Reads a secret: a regular file of text, without the newline that editors put at its end.
fn read_secret(path: &Path) -> Result<String, String> {
    let bytes = read_bounded(path, LARGEST_FILE)?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Bytes of a file that are read before work may be interrupted.
const READ_AT_ONCE: u64 = 64 * 1024;

/// Reads a regular file of at most `most` bytes. Anything else, a pipe or a device, might block or
/// never end.
pub(crate) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| reason(&error))?;
    if !metadata.is_file() {
        return Err(if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" }.to_owned());
    }
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    // One more than expected, to see the end without growing.
    let expected = usize::try_from(metadata.len().min(most)).unwrap_or(0).saturating_add(1);
    let mut bytes = Vec::with_capacity(expected);
    let mut left = file.take(most + 1);
    while left.by_ref().take(READ_AT_ONCE).read_to_end(&mut bytes).map_err(|error| reason(&error))? > 0 {
        step();
    }
    if bytes.len() as u64 > most {
        return Err(format!("it is larger than {} MiB", most >> 20));
    }
    Ok(bytes)
}

/// An I/O error without "(os error 2)", which says nothing more.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, variables: &[(&str, &str)]) -> (Written, Vec<Diagnostic>) {
        let environment: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut sources = Sources::default();
        let file = sources.add("t.yaml".into(), "t.yaml".into(), text.to_owned());
        let mut tree = Written::new(Node::String(text.to_owned()), Span::new(file, 0, text.len()));
        let mut diagnostics = Vec::new();
        Expander::new(&environment).expand(&mut tree, &sources, &mut diagnostics);
        (tree, diagnostics)
    }

    fn text(text: &str, variables: &[(&str, &str)]) -> String {
        let (tree, diagnostics) = expand(text, variables);
        assert_eq!(diagnostics, []);
        tree.as_str().unwrap().to_owned()
    }

    #[test]
    fn references_expand_anywhere_in_a_text() {
        let variables = [("TOKEN", "s3cr3t"), ("EMPTY", "")];
        assert_eq!(text("${env:TOKEN}", &variables), "s3cr3t");
        assert_eq!(text("Bearer ${env:TOKEN}!", &variables), "Bearer s3cr3t!");
        assert_eq!(text("${env:TOKEN}${env:TOKEN}", &variables), "s3cr3ts3cr3t");
        assert_eq!(text("${env:NO:-a:b}", &variables), "a:b");
        assert_eq!(text("${env:EMPTY:-x}", &variables), "x");
        assert_eq!(text("[${env:EMPTY}]", &variables), "[]");
        assert_eq!(text("${env:NO:-}", &variables), "");
    }

    #[test]
    fn a_doubled_dollar_escapes_and_hides_nothing() {
        let (tree, diagnostics) = expand("$${env:TOKEN} {id} $5", &[]);
        assert_eq!((tree.as_str(), diagnostics), (Some("${env:TOKEN} {id} $5"), vec![]));
        assert_eq!(tree.reference, None);
    }

    #[test]
    fn expanded_text_is_never_expanded_again() {
        assert_eq!(text("${env:A}", &[("A", "${env:B} $${"), ("B", "no")]), "${env:B} $${");
    }

    #[test]
    fn what_is_shown_is_what_was_written() {
        let (tree, _) = expand("Bearer ${env:TOKEN}", &[("TOKEN", "s3cr3t")]);
        assert_eq!(tree.redacted(), "Bearer ${env:TOKEN}");
        assert!(!format!("{tree:?}").contains("s3cr3t"));
        assert_eq!(tree.to_json(), "Bearer s3cr3t");
        assert!(!tree.reference.unwrap().whole);
        assert!(expand("${env:TOKEN}", &[("TOKEN", "1")]).0.reference.unwrap().whole);
    }

    #[test]
    fn nobody_is_led_to_write_a_secret_into_the_file() {
        let hint = |text: &str| expand(text, &[]).1.remove(0).hint.unwrap();
        for name in ["JWT_SECRET", "MOBILE_KEY", "ADMIN_TOKEN", "DB_PASSWORD", "STRIPE_API_KEY"] {
            assert_eq!(hint(&format!("${{env:{name}}}")), "set it where the gateway is started");
        }
        assert_eq!(hint("${env:PORT}"), "set it, or give a default: `${env:PORT:-default}`");
    }

    #[test]
    fn failures_point_at_the_reference_itself() {
        let (_, diagnostics) = expand("a ${env:A} b ${env:B} ${env:A}", &[("B", "b")]);
        let places: Vec<_> =
            diagnostics.iter().map(|d| d.primary.as_ref().unwrap().span).map(|s| (s.start, s.end)).collect();
        assert_eq!(places, [(2, 10), (22, 30)]);
        assert_eq!(diagnostics[0].message, "the environment variable `A` is not set");
    }

    #[test]
    fn malformed_references_are_errors() {
        let message = |text: &str| expand(text, &[]).1.remove(0).message;
        assert_eq!(message("${env:A"), "a reference without its closing `}`");
        assert_eq!(message("${vault:x}"), "unknown reference `${vault:x}`");
        assert_eq!(message("${HOME}"), "unknown reference `${HOME}`");
        assert_eq!(message("${env:}"), "`` is not the name of an environment variable");
        assert_eq!(message("${env:1A}"), "`1A` is not the name of an environment variable");
        assert_eq!(message("${}"), "unknown reference `${}`");
        assert_eq!(message("${file:/no/such/file}"), "cannot read `/no/such/file`: it does not exist");
        assert_eq!(message("${file:/dev/zero}"), "cannot read `/dev/zero`: it is not a regular file");
        assert_eq!(message("${file:/}"), "cannot read `/`: it is a directory");
    }
}
