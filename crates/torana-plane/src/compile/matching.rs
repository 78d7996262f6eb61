//! Which requests a route is for.

use super::Context;
use crate::matcher::{HostPattern, Methods, PathPattern, PatternError, RoutePattern, ValueMatch, shadowed};
use std::collections::BTreeMap;
use torana_config::model;
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::exchange::RouteId;
use torana_core::names::HeaderName;
use torana_core::written::Spanned;

/// The pattern of the route at position `order`. What cannot be used is
/// reported and left out.
pub(super) fn pattern(route: &model::Route, order: usize, context: &mut Context<'_>) -> RoutePattern {
    let written = &route.matches;
    let mut note = |error: PatternError, code: &'static str, span: Span| {
        let diagnostic = Diagnostic::error(code, error.message).at(span);
        let hint = Some(error.hint).filter(|hint| !hint.is_empty());
        context.report(diagnostic.maybe_hint(hint));
    };
    let mut hosts = Vec::new();
    for host in written.host.iter() {
        match HostPattern::parse(host) {
            Ok(pattern) => hosts.push(pattern),
            Err(error) => note(error, "match.host", host.span),
        }
    }
    let path = match &written.path {
        None => PathPattern::default(),
        Some(path) => PathPattern::parse(path).unwrap_or_else(|error| {
            note(error, "match.path", path.span);
            PathPattern::default()
        }),
    };
    let methods = Methods::parse(written.methods.iter().map(|method| method.as_str())).unwrap_or_else(|error| {
        let span = written.methods.first().map_or(route.name.span, |first| first.span);
        note(error, "match.methods", span);
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

/// Warns about routes that can never win.
pub(super) fn report_shadows(routes: &[Spanned<model::Route>], patterns: &[RoutePattern], context: &mut Context<'_>) {
    let written = |id: RouteId| routes.get(id.0 as usize);
    for shadow in shadowed(patterns) {
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
