//! Which requests a route is for.

use super::Context;
use crate::matcher::{HostPattern, Methods, PathPattern, PatternError, RoutePattern, ValueMatch, shadowed};
use std::collections::BTreeMap;
use torana_config::model;
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::exchange::RouteId;
use torana_core::names::HeaderName;
use torana_core::written::Spanned;

/// What a route matches, as far as it could be read.
pub(super) struct Matched {
    pub(super) pattern: RoutePattern,
    /// Whether this is all the route matches. If not, it seems to take
    /// requests that are not meant for it.
    pub(super) is_whole: bool,
    /// Whether the path, and so what it captures, is the one that was meant.
    pub(super) has_path: bool,
}

/// Reads what the route at position `order` matches. What cannot be used is
/// reported and left out.
pub(super) fn read(route: &Spanned<model::Route>, order: usize, context: &mut Context<'_>) -> Matched {
    let before = context.diagnostics.len();
    let mut has_path = true;
    let pattern = pattern(route, order, &mut has_path, context);
    let is_known = context.remnant.is_none_or(|remnant| remnant.knows_match(route));
    Matched {
        pattern,
        is_whole: is_known && context.diagnostics.len() == before,
        has_path: has_path && (is_known || route.matches.path.is_some()),
    }
}

fn pattern(route: &model::Route, order: usize, has_path: &mut bool, context: &mut Context<'_>) -> RoutePattern {
    let written = &route.matches;
    let mut note = |error: PatternError, code: &'static str, what: &str, text: &Spanned<String>| {
        // What a reference stands for is not shown, and the error quotes it.
        let (message, hint) = match text.raw() {
            Some(_) => (format!("the value of {} is no {what} to match", text.shown()), String::new()),
            None => (error.message, error.hint),
        };
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        context.report(Diagnostic::error(code, message).at(text.span).maybe_hint(hint));
    };
    let mut hosts = Vec::new();
    for host in written.host.iter() {
        match HostPattern::parse(host) {
            Ok(pattern) => hosts.push(pattern),
            Err(error) => note(error, "match.host", "host", host),
        }
    }
    let path = match &written.path {
        None => PathPattern::default(),
        Some(path) => PathPattern::parse(path).unwrap_or_else(|error| {
            note(error, "match.path", "path", path);
            *has_path = false;
            PathPattern::default()
        }),
    };
    let methods = Methods::parse(written.methods.iter().map(|method| method.as_str())).unwrap_or_else(|error| {
        let culprit = written.methods.iter().find(|method| Methods::parse([method.as_str()]).is_err());
        note(error, "match.methods", "method", culprit.unwrap_or(&route.name));
        Methods::ANY
    });
    RoutePattern {
        hosts,
        path,
        methods,
        headers: headers(&written.headers, context),
        query: written.query.iter().map(|(name, value)| (name.value.clone(), exact(value))).collect(),
        order: u32::try_from(order).unwrap_or(u32::MAX),
    }
}

fn exact(value: &Spanned<String>) -> ValueMatch {
    ValueMatch::Exact(value.as_str().into())
}

fn headers(
    written: &BTreeMap<Spanned<String>, Spanned<String>>,
    context: &mut Context<'_>,
) -> Vec<(HeaderName, ValueMatch)> {
    let mut headers = Vec::new();
    for (name, value) in written {
        match HeaderName::new(name) {
            None => context.report(
                Diagnostic::error("match.header_name", format!("{} is not a header name", name.shown()))
                    .at(name.span)
                    .hint("letters, digits and `-`"),
            ),
            Some(HeaderName::Known(known)) if known.is_hop_by_hop() => context.report(
                Diagnostic::error(
                    "match.hop_by_hop",
                    format!("the header {} is not there to be matched", name.shown()),
                )
                .at(name.span)
                .hint("it concerns one connection only and is removed before routing (RFC 9110 §7.6.1)"),
            ),
            Some(known) => headers.push((known, exact(value))),
        }
    }
    headers
}

/// Warns about routes that can never win, comparing those whose patterns are
/// known.
pub(super) fn report_shadows(routes: &[Spanned<model::Route>], matched: &[Matched], context: &mut Context<'_>) {
    let (known, patterns): (Vec<&Spanned<model::Route>>, Vec<RoutePattern>) =
        routes.iter().zip(matched).filter(|(_, matched)| matched.is_whole).map(|(r, m)| (r, m.pattern.clone())).unzip();
    let written = |id: RouteId| known.get(id.0 as usize).copied();
    for shadow in shadowed(&patterns) {
        let Some(route) = written(shadow.route) else { continue };
        let takers: Vec<&Spanned<String>> = shadow.by.iter().filter_map(|&id| written(id)).map(|r| &r.name).collect();
        let names: Vec<String> = takers.iter().map(|name| name.shown()).collect();
        let verb = if names.len() == 1 { "takes" } else { "together take" };
        let message =
            format!("route {} is never reached: {} {verb} all its requests", route.name.shown(), names.join(", "));
        let mut diagnostic = Diagnostic::warning("route.shadowed", message)
            .at(place(route))
            .hint("remove one of them, or tell them apart by host, path, methods, headers or query");
        for taker in &shadow.by {
            if let Some(taker) = written(*taker) {
                diagnostic = diagnostic.also(place(taker), "comes first");
            }
        }
        context.report(diagnostic);
    }
}

/// Where a route says what it matches.
fn place(route: &Spanned<model::Route>) -> Span {
    route.matches.path.as_ref().map_or(route.name.span, |path| path.span)
}
