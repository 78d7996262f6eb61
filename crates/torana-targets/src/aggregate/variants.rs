//! The target from its configuration: the aggregate itself and its variants.

use super::compile::Compiler;
use super::graph::Graph;
use super::reads::{members, takes_all, words};
use super::written::{Config, VariantConfig, overlaid};
use super::{Aggregate, PARTIAL_HEADER, Shape, Variant};
use std::fmt::Write;
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::head::Status;
use torana_core::names::{HeaderName, KnownName};
use torana_core::reply::ReplyFields;
use torana_core::site::keep;
use torana_core::store::memory_blobs::MemoryBlobs;
use torana_core::target::Names;
use torana_core::written::{Entry, Spanned, Written};
use torana_expr::{Expr, Part as RequestPart};

pub(super) fn build(config: &Config, written: &Written, names: &dyn Names) -> Result<Aggregate, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let entries = config.parts.entries();
    if entries.is_empty() && names.is_whole() {
        let problem = Diagnostic::error("aggregate.none", "there are no parts").at(config.parts.span);
        problems.push(problem.hint("add one under its name: `user: { upstream: users, path: /users/{id} }`"));
    }
    if let Some(timeout) = config.timeout.as_ref().filter(|timeout| timeout.is_zero()) {
        let message = "`timeout` cannot be `0s`: no part could be answered";
        problems.push(Diagnostic::error("config.zero_timeout", message).at(timeout.span));
    }
    let base = shape(config, names, entries, config.response.as_ref(), None, &mut problems);
    let mut variants = Vec::new();
    // What is wrong with the parts themselves would be said of each variant.
    for entry in config.variants.iter().filter(|_| base.is_some()) {
        match entry.value.decode::<VariantConfig>() {
            Err(found) => problems.extend(found),
            Ok(variant) => variants.extend(self::variant(config, names, entry, &variant, &mut problems)),
        }
    }
    let partial = HeaderName::new(PARTIAL_HEADER);
    let (Some(base), Some(partial), false) = (base, partial, problems.iter().any(Diagnostic::is_error)) else {
        if problems.is_empty() {
            // Cut out because of errors that are told elsewhere.
            problems.push(Diagnostic::error("aggregate.none", "the parts are in error").at(written.span));
        }
        return Err(problems);
    };
    problems.into_iter().for_each(|warning| names.warn(warning));
    let status = config.status.and_then(Status::new).unwrap_or(Status::OK);
    let most = config.cache_bytes.map_or(16 << 20, |bytes| bytes.as_usize());
    Ok(Aggregate {
        shown: shown(&base.graph, &config.variants),
        vary: vary(&variants),
        base,
        variants,
        captures: names.captures().to_vec(),
        status,
        partial_status: config.partial_status.and_then(Status::new).unwrap_or(status),
        errors: config.errors,
        timeout: config.timeout.as_ref().map(|timeout| timeout.std()),
        partial,
        tally: names.tally(),
        kept: keep(names, &format!("parts {most}"), || MemoryBlobs::new(most)),
    })
}

fn shape(
    config: &Config,
    names: &dyn Names,
    entries: &[Entry],
    response: Option<&Spanned<String>>,
    variant: Option<&Entry>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Shape> {
    let mut compiler = Compiler::new(config, names, entries);
    let graph = compiler.graph();
    let program = response.and_then(|text| compiler.program(text, "aggregate.program"));
    for problem in compiler.problems {
        // Of a variant as of the aggregate itself.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    let (graph, is_sound) = (graph?, response.is_none() || program.is_some());
    if let Some(text) = response.filter(|_| names.is_whole()) {
        let unused = unused(&graph, text, entries, variant);
        problems.extend(unused);
    }
    is_sound.then_some(Shape { graph, response: program })
}

fn variant(
    config: &Config,
    names: &dyn Names,
    entry: &Entry,
    variant: &VariantConfig,
    problems: &mut Vec<Diagnostic>,
) -> Option<Variant> {
    let base = config.parts.entries();
    for name in variant.without.iter().filter(|name| !base.iter().any(|part| part.key == **name)) {
        let near = did_you_mean(name, base.iter().map(|part| part.key.as_str())).filter(|_| name.raw().is_none());
        let problem = Diagnostic::error("aggregate.variant", format!("there is no part {}", name.shown()));
        problems.push(problem.at(name.span).maybe_hint(near.map(|near| format!("did you mean `{near}`?"))));
    }
    let entries = overlaid(base, variant);
    let response = variant.response.as_ref().or(config.response.as_ref());
    let shape = shape(config, names, &entries, response, Some(entry), problems);
    let mut compiler = Compiler::new(config, names, &entries);
    let when = compiler.condition(&variant.when);
    problems.append(&mut compiler.problems);
    Some(Variant { when: when?, shape: shape? })
}

/// Parts that are asked in vain: neither the answer nor another part has
/// anything of them. One that is required decides whether there is an answer.
fn unused(graph: &Graph, text: &Spanned<String>, entries: &[Entry], variant: Option<&Entry>) -> Vec<Diagnostic> {
    let words: Vec<&str> = words(text);
    // Whoever takes all of the input takes every part.
    if takes_all(text) {
        return Vec::new();
    }
    let is_unused = |index: &usize| {
        let part = &graph.parts[*index];
        let is_needed = graph.parts.iter().any(|other| other.needs.contains(index));
        !part.required && !is_needed && !words.contains(&&*part.name)
    };
    let unused = (0..graph.parts.len()).filter(is_unused);
    let warning = |index: usize| {
        let (part, key) = (&graph.parts[index], &entries[index].key);
        let strangers = members(text).into_iter().filter(|name| !graph.parts.iter().any(|part| *part.name == **name));
        let hint = match (did_you_mean(&part.name, strangers), variant) {
            (Some(near), _) => format!("did you mean `.{}` where it says `.{near}`?", part.name),
            (None, Some(_)) => format!("add it to `without: [ {} ]`", part.name),
            (None, None) => "use it in `response`, or remove it".to_owned(),
        };
        let of = variant.map(|entry| format!(" of the variant {}", entry.key.shown())).unwrap_or_default();
        let message = format!("the part {} is asked for, and the answer{of} has nothing of it", key.shown());
        let span = variant.map_or(key.span, |entry| entry.key.span);
        Diagnostic::warning("aggregate.unused_part", message).at(span).also(text.span, "the answer").hint(hint)
    };
    unused.map(warning).collect()
}

/// Replies differ with what decides over the variant.
fn vary(variants: &[Variant]) -> Vec<ReplyFields> {
    let mut names: Vec<HeaderName> = Vec::new();
    let mut add = |name: HeaderName| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for part in variants.iter().flat_map(|variant| Expr::reads(&variant.when)) {
        match part {
            RequestPart::Header(name) => add(name.clone()),
            RequestPart::Cookie(_) => add(KnownName::Cookie.into()),
            _ => {}
        }
    }
    let fields = |name: HeaderName| {
        let mut fields = ReplyFields::default();
        fields.vary(name);
        fields
    };
    names.into_iter().map(fields).collect()
}

/// `aggregate user (users, required), orders (orders); then account (accounts)`.
fn shown(graph: &Graph, variants: &[Entry]) -> String {
    let parts = &graph.parts;
    let mut rounds = vec![0_usize; parts.len()];
    // As many times as the longest chain can be long.
    for _ in 0..parts.len() {
        for (index, part) in parts.iter().enumerate() {
            rounds[index] = part.needs.iter().map(|&need| rounds[need] + 1).max().unwrap_or(0);
        }
    }
    let last = rounds.iter().copied().max().unwrap_or(0);
    let round = |round: usize| {
        let parts = parts.iter().zip(&rounds).filter(|(_, of)| **of == round);
        let part = |(part, _): (&super::part::Part, _)| {
            let required = if part.required { ", required" } else { "" };
            format!("{} ({}{required})", part.name, part.upstream_name)
        };
        parts.map(part).collect::<Vec<_>>().join(", ")
    };
    let mut shown = format!("aggregate {}", (0..=last).map(round).collect::<Vec<_>>().join("; then "));
    if !variants.is_empty() {
        let names: Vec<&str> = variants.iter().map(|entry| entry.key.raw().unwrap_or(&entry.key)).collect();
        // Writing to a String cannot fail.
        let _ = write!(shown, "; variants {}", names.join(", "));
    }
    shown
}
