//! Text with references: `/users/{userId}`, `{user.accountId}`, `{query.page}`.
//!
//! What a reference stands for comes from a client or from a service, so it is
//! data and never structure: in a path it is one segment or a part of one, in a
//! query one value, in a header no line break. What would be more than that
//! fails the part it is for.

use std::borrow::Cow;
use std::fmt::Write;
use torana_core::canonical::canonical_path;
use torana_core::diagnostic::did_you_mean;
use torana_core::exchange::Exchange;
use torana_core::names::HeaderName;
use torana_core::query;
use torana_core::rewrite::RoutePath;
use torana_reshape::{self as reshape, Val};

/// What references stand for while an aggregate is made.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The request.
    pub(super) exchange: &'a Exchange,
    /// The parts by position, as far as they are there.
    pub(super) values: &'a [Option<Val>],
}

/// What references may name.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) path: &'a RoutePath<'a>,
    /// The names of the parts.
    pub(super) parts: &'a [&'a str],
}

/// Words in front of a dot that are no parts.
pub(super) const RESERVED: [&str; 3] = ["query", "headers", "identity"];

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Capture {
        index: usize,
        /// It is what `*` matched, and may be several segments.
        is_rest: bool,
    },
    Query(Box<str>),
    Header(HeaderName),
    Identity(Known),
    Part {
        index: usize,
        /// The members on the way, from the part's value.
        steps: Vec<Box<str>>,
    },
}

/// What is known of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Subject,
    ProvenBy,
    Consumer,
    Plan,
    Claim(Box<str>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<str>),
    Value {
        source: Source,
        /// As it is written, for the log.
        name: Box<str>,
    },
}

/// A compiled template.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Piece>);

/// Why a template does not compile.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// It may be a part that is not there because of another error.
    pub(super) is_perhaps_part: bool,
}

/// Why there is no text for a request; for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What it refers to is not there.
    Missing(Box<str>),
    /// It cannot stand there.
    Unfit(Box<str>),
}

/// Where text is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Plain,
}

impl Template {
    /// Compiles `text`; `{{` and `}}` are braces.
    pub(super) fn compile(text: &str, scope: Scope<'_>) -> Result<Template, Problem> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, tail) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = tail.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = tail.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some((name, after)) = tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
                let source = scope.resolve(name)?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
                }
                pieces.push(Piece::Value { source, name: name.into() });
                rest = after;
            } else {
                let message = "a brace without its partner".to_owned();
                return Err(problem(message, Some("a reference is `{name}`, a brace is `{{`".to_owned())));
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Ok(Template(pieces))
    }

    /// The positions of the parts it refers to.
    pub(super) fn parts(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value { source: Source::Part { index, .. }, .. } => Some(*index),
            _ => None,
        })
    }

    /// The text with `x` for each reference.
    pub(super) fn sample(&self) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => &**text,
            Piece::Value { .. } => "x",
        });
        pieces.collect()
    }

    /// Whether it is text without references.
    pub(super) fn is_literal(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// A path, in canonical form. What is put in stays within its segment.
    pub(super) fn path(&self, facts: Facts<'_>) -> Result<String, Fault> {
        let mut path = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Value { source, name } => {
                    let text = source.text(name, facts, Place::Path)?;
                    let is_rest = matches!(source, Source::Capture { is_rest: true, .. });
                    match source {
                        // Canonical, and encoded where need be.
                        Source::Capture { .. } => path.push_str(&String::from_utf8_lossy(&text)),
                        _ => query::encode(&text, &mut path),
                    }
                    if text.is_empty() && !is_rest {
                        return Err(Fault::Unfit(format!("`{{{name}}}` is empty, and stands in a path").into()));
                    }
                }
            }
        }
        if self.is_literal() {
            return Ok(path);
        }
        // Dots that come together, from whichever pieces.
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(Fault::Unfit("what is put into the path makes a dot segment of it".into()));
        }
        let mut canonical = String::new();
        match canonical_path(path.as_bytes(), &mut canonical) {
            Ok(()) => Ok(canonical),
            Err(error) => Err(Fault::Unfit(format!("the path cannot be asked for: {error}").into())),
        }
    }

    /// A value in a query. What is written out stands there as it is if it
    /// `is_encoded`.
    pub(super) fn query(&self, facts: Facts<'_>, is_encoded: bool, out: &mut String) -> Result<(), Fault> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) if is_encoded => out.push_str(text),
                Piece::Text(text) => query::encode(text.as_bytes(), out),
                Piece::Value { source, name } => query::encode(&source.text(name, facts, Place::Query)?, out),
            }
        }
        Ok(())
    }

    /// The text as it is.
    pub(super) fn bytes(&self, facts: Facts<'_>) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Value { source, name } => out.extend_from_slice(&source.text(name, facts, Place::Plain)?),
            }
        }
        Ok(out)
    }

    /// The value, of its own type if the template is nothing but a reference.
    pub(super) fn value(&self, facts: Facts<'_>) -> Result<Val, Fault> {
        if let [Piece::Value { source: Source::Part { index, steps }, name }] = &self.0[..] {
            let value = part(facts, *index, steps).cloned();
            return value.ok_or_else(|| Fault::Missing(name.clone()));
        }
        match String::from_utf8(self.bytes(facts)?) {
            Ok(text) => Ok(Val::utf8_str(text)),
            Err(_) => Err(Fault::Unfit("what is put into the body is not UTF-8".into())),
        }
    }
}

impl Scope<'_> {
    fn resolve(&self, name: &str) -> Result<Source, Problem> {
        if let Some(index) = self.path.names.iter().position(|known| known == name) {
            let is_rest = self.path.has_rest && index + 1 == self.path.names.len();
            return Ok(Source::Capture { index, is_rest });
        }
        let (head, steps) = match name.split_once('.') {
            Some((head, steps)) => (head, Some(steps)),
            None => (name, None),
        };
        if let Some(index) = self.parts.iter().position(|known| *known == head) {
            let steps: Vec<Box<str>> = steps.into_iter().flat_map(|steps| steps.split('.')).map(Into::into).collect();
            if steps.iter().any(|step| step.is_empty()) {
                return Err(problem(format!("`{{{name}}}` has a dot too many"), None));
            }
            return Ok(Source::Part { index, steps });
        }
        match (head, steps.filter(|steps| !steps.is_empty())) {
            ("query", Some(name)) => Ok(Source::Query(name.into())),
            ("headers", Some(header)) => match HeaderName::new(header) {
                Some(header) => Ok(Source::Header(header)),
                None => Err(problem(format!("`{header}` is not a header name"), None)),
            },
            ("identity", fact) => {
                let known = match (fact, fact.and_then(|fact| fact.strip_prefix("claims."))) {
                    (_, Some(claim)) if !claim.is_empty() => Known::Claim(claim.into()),
                    (Some("subject"), _) => Known::Subject,
                    (Some("proven_by"), _) => Known::ProvenBy,
                    (Some("consumer"), _) => Known::Consumer,
                    (Some("plan"), _) => Known::Plan,
                    _ => {
                        let hint = "there are `subject`, `proven_by`, `consumer`, `plan` and `claims.NAME`";
                        let message = format!("`{{{name}}}` is nothing that is known of a caller");
                        return Err(problem(message, Some(hint.to_owned())));
                    }
                };
                Ok(Source::Identity(known))
            }
            ("query" | "headers", None) => {
                Err(problem(format!("`{{{name}}}` names none"), Some(format!("write `{{{head}.NAME}}`"))))
            }
            _ => Err(self.unknown(name, head)),
        }
    }

    fn unknown(&self, name: &str, head: &str) -> Problem {
        let captures = self.path.names.iter().map(String::as_str);
        let known = captures.chain(self.parts.iter().copied()).chain(RESERVED);
        let hint = match did_you_mean(head, known) {
            Some(near) => format!("did you mean `{{{near}{}}}`?", &name[head.len()..]),
            None => {
                let mut hint = match self.path.names {
                    [] => format!("`{}` captures nothing", self.path.pattern),
                    names => format!("`{}` captures `{}`", self.path.pattern, names.join("`, `")),
                };
                // Writing to a String cannot fail.
                let _ = write!(hint, "; parts are `{}`", self.parts.join("`, `"));
                hint
            }
        };
        let is_capture = did_you_mean(head, self.path.names.iter().map(String::as_str)).is_some();
        let message = format!("`{{{name}}}` is neither captured by the route's path nor a part");
        Problem { message, hint: Some(hint), is_perhaps_part: !is_capture }
    }
}

fn problem(message: String, hint: Option<String>) -> Problem {
    Problem { message, hint, is_perhaps_part: false }
}

impl Source {
    fn text<'a>(&'a self, name: &str, facts: Facts<'a>, place: Place) -> Result<Cow<'a, [u8]>, Fault> {
        let missing = || Fault::Missing(name.into());
        let exchange = facts.exchange;
        match self {
            Source::Capture { index, .. } => {
                let text = exchange.captures.get(exchange.target().path(), *index);
                Ok(if place == Place::Path {
                    Cow::Borrowed(text.as_bytes())
                } else {
                    query::without_escapes(text.as_bytes())
                })
            }
            Source::Query(wanted) => {
                let pairs = query::pairs(exchange.target().query().unwrap_or_default());
                let values = pairs.filter(|(given, _)| given.clone().eq(wanted.bytes())).map(|(_, value)| value);
                only(values.map(Into::into), name)
            }
            Source::Header(wanted) => only(exchange.head.fields.values(wanted).map(Cow::Borrowed), name),
            Source::Identity(known) => {
                let identity = exchange.identity.as_ref().ok_or_else(missing)?;
                let text = match known {
                    Known::Subject => Some(&*identity.subject),
                    Known::ProvenBy => Some(identity.proven_by),
                    Known::Consumer => identity.consumer.as_deref(),
                    Known::Plan => identity.plan.as_deref(),
                    Known::Claim(claim) => {
                        let claim = identity.claim(claim).ok_or_else(missing)?;
                        return text_of(Cow::Owned(reshape::from_value(claim)), name);
                    }
                };
                text.map(|text| Cow::Borrowed(text.as_bytes())).ok_or_else(missing)
            }
            Source::Part { index, steps } => {
                text_of(Cow::Borrowed(part(facts, *index, steps).ok_or_else(missing)?), name)
            }
        }
    }
}

/// A value as text, if it is one that has one form as text.
fn text_of<'a>(value: Cow<'a, Val>, name: &str) -> Result<Cow<'a, [u8]>, Fault> {
    let unfit = |what: &str| Err(Fault::Unfit(format!("`{{{name}}}` is {what}, not text").into()));
    match (&*value, &value) {
        (Val::Null, _) => Err(Fault::Missing(name.into())),
        (_, Cow::Borrowed(Val::TStr(text) | Val::BStr(text))) => Ok(Cow::Borrowed(text.as_ref())),
        (Val::TStr(text) | Val::BStr(text), _) => Ok(Cow::Owned(text.to_vec())),
        (Val::Bool(value), _) => Ok(Cow::Borrowed(if *value { b"true" } else { b"false" })),
        // As in a body.
        (Val::Num(_), _) => reshape::number_text(&value).map(Cow::Owned).ok_or_else(|| Fault::Missing(name.into())),
        (Val::Arr(_), _) => unfit("a list"),
        (Val::Obj(_), _) => unfit("an object"),
    }
}

/// What `steps` lead to in a part's value.
fn part<'a>(facts: Facts<'a>, index: usize, steps: &[Box<str>]) -> Option<&'a Val> {
    let value = facts.values.get(index)?.as_ref()?;
    steps.iter().try_fold(value, |value, step| match value {
        Val::Obj(members) => members.get(&reshape::text(step)),
        Val::Arr(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The only one. Of several no one is "the" value: whoever took the first
/// would be told one thing and the service another.
fn only<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>, name: &str) -> Result<Cow<'a, [u8]>, Fault> {
    match (values.next(), values.next()) {
        (None, _) => Err(Fault::Missing(name.into())),
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Fault::Unfit(format!("`{{{name}}}` is there more than once").into())),
    }
}
