//! Diagnostics as people and programs read them.

use std::borrow::Cow;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};
use torana_core::diagnostic::{Diagnostic, Label, Severity, Span};

use crate::conceal;
use crate::sources::Sources;

/// How to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// With ANSI colours, for a terminal.
    Coloured,
    /// Without, for a pipe.
    Plain,
}

/// Columns a source line may take before it is cut around the underlined part.
const WIDTH: usize = 120;

/// Lines between two places of a file beyond which each gets its own excerpt.
const FAR: usize = 12;

/// Renders diagnostics one after the other, each with the user's own lines, and a count at the end.
/// Empty if there are none.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, style: Style) -> String {
    let renderer = match style {
        Style::Coloured => Renderer::styled(),
        Style::Plain => Renderer::plain(),
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(renderer.render(&[group(diagnostic, sources)]).trim_end());
        out.push_str("\n\n");
    }
    if let Some(count) = count(diagnostics) {
        out.push_str(&count);
        out.push('\n');
    }
    out
}

/// "2 errors, 1 warning"; `None` for none of either.
#[must_use]
pub fn count(diagnostics: &[Diagnostic]) -> Option<String> {
    let of = |severity: Severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let word = |count: usize, one: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {one}s")),
    };
    let parts: Vec<_> =
        [word(of(Severity::Error), "error"), word(of(Severity::Warning), "warning")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let secrets = sources.secrets();
    let say = |text: &str| clean(&conceal::message(text, &secrets));
    let mut group = Group::with_title(level.primary_title(say(&diagnostic.message)).id(diagnostic.code.as_ref()));
    for excerpt in excerpts(diagnostic, sources) {
        group = group.element(excerpt);
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.with_name("hint").message(say(hint)));
    }
    group
}

/// Text that reached a message unquoted must not move the reader's cursor either.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A source line without the control characters the renderer passes on: those of ISO 6429's second
/// set, which some terminals obey. Each is replaced by a character of as many bytes, so that places
/// stay right.
fn visible(text: Cow<'_, str>) -> Cow<'_, str> {
    let second_set = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
    if text.contains(second_set) { Cow::Owned(text.replace(second_set, "¿")) } else { text }
}

/// One excerpt for the labels near the primary one, one more for each that is elsewhere.
fn excerpts<'a>(
    diagnostic: &'a Diagnostic,
    sources: &'a Sources,
) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
    let primary = diagnostic.primary.iter().map(|label| (label, AnnotationKind::Primary));
    let secondary = diagnostic.secondary.iter().map(|label| (label, AnnotationKind::Context));
    let mut groups: Vec<Vec<(&Label, AnnotationKind)>> = Vec::new();
    for (label, kind) in primary.chain(secondary) {
        let near =
            groups.iter_mut().find(|group| group.iter().any(|(other, _)| is_near(label.span, other.span, sources)));
        match near {
            Some(group) => group.push((label, kind)),
            None => groups.push(vec![(label, kind)]),
        }
    }
    groups.iter().filter_map(|group| excerpt(group, sources)).collect()
}

fn is_near(one: Span, other: Span, sources: &Sources) -> bool {
    let Some(file) = sources.file(one.file).filter(|_| one.file == other.file) else {
        return false;
    };
    let line = |span: Span| file.place(span.start as usize).line;
    line(one).abs_diff(line(other)) <= FAR
}

fn excerpt<'a>(
    labels: &[(&'a Label, AnnotationKind)],
    sources: &'a Sources,
) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
    let id = labels.first()?.0.span.file;
    let file = sources.file(id)?;
    let lines = labels.iter().map(|(label, _)| file.place(label.span.start as usize).line);
    let (first, last) = (lines.clone().min()?, lines.max()?);
    let window = file.lines(first, last);
    let text = sources.covered(id, window.clone())?;
    let annotations: Vec<_> = labels
        .iter()
        .map(|(label, kind)| {
            // What spans several lines is shown by its first: the reader sees the rest in the file.
            let start = (label.span.start as usize).clamp(window.start, window.end) - window.start;
            let line_end = text[start..].find(['\n', '\r']).map_or(text.len(), |end| start + end);
            let end = (label.span.end as usize).saturating_sub(window.start).clamp(start, line_end);
            let annotation = kind.span(start..end);
            if label.text.is_empty() { annotation } else { annotation.label(clean(&label.text)) }
        })
        .collect();
    Some(Snippet::source(visible(text)).line_start(first).path(file.name.as_str()).fold(true).annotations(annotations))
}

/// Diagnostics as JSON, for editors and pipelines: a list of objects with `severity`, `code`,
/// `message`, `hint`, `file`, `line`, `column`, `end_line`, `end_column` (lines and columns from 1,
/// columns in characters) and `related` places.
#[must_use]
pub fn to_json(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let secrets = sources.secrets();
    let list = diagnostics.iter().map(|diagnostic| {
        let mut object = json!({
            "severity": diagnostic.severity.as_str(),
            "code": diagnostic.code,
            "message": conceal::message(&diagnostic.message, &secrets),
        });
        if let (Value::Object(object), Some(label)) = (&mut object, &diagnostic.primary) {
            object.extend(place(label.span, sources));
        }
        if let Some(hint) = &diagnostic.hint {
            object["hint"] = conceal::message(hint, &secrets).into();
        }
        if !diagnostic.secondary.is_empty() {
            let related = diagnostic.secondary.iter().map(|label| {
                let mut related = place(label.span, sources);
                related.insert("message".to_owned(), label.text.as_str().into());
                Value::Object(related)
            });
            object["related"] = related.collect();
        }
        object
    });
    list.collect()
}

fn place(span: Span, sources: &Sources) -> serde_json::Map<String, Value> {
    let mut out = serde_json::Map::new();
    if let Some(file) = sources.file(span.file) {
        let (start, end) = (file.place(span.start as usize), file.place(span.end as usize));
        out.insert("file".to_owned(), file.name.as_str().into());
        out.insert("line".to_owned(), start.line.into());
        out.insert("column".to_owned(), start.column.into());
        out.insert("end_line".to_owned(), end.line.into());
        out.insert("end_column".to_owned(), end.column.into());
    }
    out
}
