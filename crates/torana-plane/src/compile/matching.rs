//! Which requests a route is for.

use super::Context;
use crate::matcher::{
    HostPattern, MediaPattern, Methods, PathPattern, PatternError, RoutePattern, ValueMatch, shadowed,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_config::model::{self, PathMatch, ValueTest};
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::exchange::RouteId;
use torana_core::names::HeaderName;
use torana_core::written::Spanned;
use torana_expr::regex::Regex;
use torana_expr::{Expr, Parts, Written};

/// What a route matches, as far as it could be read.
pub(super) struct Matched {
    pub(super) pattern: Arc<RoutePattern>,
    /// Whether this is all the route matches. If not, it seems to take
    /// requests that are not meant for it.
    pub(super) is_whole: bool,
    /// Whether the path, and so what it captures, is the one that was meant.
    pub(super) has_path: bool,
}

impl Matched {
    /// What was read before, of the route that is at position `order` now.
    pub(super) fn again(pattern: &Arc<RoutePattern>, order: usize) -> Matched {
        let order = u32::try_from(order).unwrap_or(u32::MAX);
        let pattern = match pattern.order == order {
            true => Arc::clone(pattern),
            false => Arc::new(RoutePattern { order, ..RoutePattern::clone(pattern) }),
        };
        Matched { pattern, is_whole: true, has_path: true }
    }
}

/// Reads what the route at position `order` matches. What cannot be used is
/// reported and left out.
pub(super) fn read(route: &Spanned<model::Route>, order: usize, context: &mut Context<'_>) -> Matched {
    let before = context.diagnostics.len();
    let mut has_path = true;
    let pattern = pattern(route, order, &mut has_path, context);
    let is_known = context.remnant.is_none_or(|remnant| remnant.knows_match(route));
    Matched {
        pattern: Arc::new(pattern),
        is_whole: is_known && context.diagnostics.len() == before,
        has_path: has_path && (is_known || route.matches.path.is_some()),
    }
}

fn pattern(route: &model::Route, order: usize, has_path: &mut bool, context: &mut Context<'_>) -> RoutePattern {
    let written = &route.matches;
    let mut hosts = Vec::new();
    for host in written.host.iter() {
        match HostPattern::parse(host) {
            Ok(pattern) => hosts.push(pattern),
            Err(error) => context.report(problem(error, "match.host", "host", host)),
        }
    }
    let path = path(written.path.as_ref()).unwrap_or_else(|diagnostic| {
        context.report(*diagnostic);
        *has_path = false;
        PathPattern::default()
    });
    let methods = Methods::parse(written.methods.iter().map(|method| method.as_str())).unwrap_or_else(|error| {
        let culprit = written.methods.iter().find(|method| Methods::parse([method.as_str()]).is_err());
        context.report(problem(error, "match.methods", "method", culprit.unwrap_or(&route.name)));
        Methods::ANY
    });
    let mut content_types = Vec::new();
    for text in written.content_type.iter() {
        match MediaPattern::parse(text) {
            Ok(pattern) => content_types.push(pattern),
            Err(error) => context.report(problem(error, "match.content_type", "media type", text)),
        }
    }
    let names = if *has_path { Some(path.names()) } else { None };
    let when = written.when.as_ref().and_then(|text| when(text, names, context));
    RoutePattern {
        hosts,
        methods,
        headers: headers(&written.headers, context),
        query: values(&written.query, context),
        cookies: values(&written.cookies, context),
        content_types,
        clients: written.client.iter().map(|network| network.net()).collect(),
        when,
        path,
        order: u32::try_from(order).unwrap_or(u32::MAX),
    }
}

/// What is wrong with a pattern, at the place in it where that is known.
fn problem(error: PatternError, code: &'static str, what: &str, text: &Spanned<String>) -> Diagnostic {
    // What a reference stands for is not shown, and the error quotes it.
    if text.raw().is_some() {
        return Diagnostic::error(code, format!("the value of {} is no {what} to match", text.shown())).at(text.span);
    }
    let span = error.offset.map_or(text.span, |offset| text.span_from(offset));
    Diagnostic::error(code, error.message).at(span).maybe_hint(Some(error.hint).filter(|hint| !hint.is_empty()))
}

fn path(written: Option<&Spanned<PathMatch>>) -> Result<PathPattern, Box<Diagnostic>> {
    let Some(path) = written else { return Ok(PathPattern::default()) };
    match &path.value {
        PathMatch::Pattern(text) => {
            let text = Spanned::new(text.clone(), path.span).written_as(path.raw());
            PathPattern::parse(&text).map_err(|error| Box::new(problem(error, "match.path", "path", &text)))
        }
        PathMatch::Regex(text) => PathPattern::regex(text)
            .map_err(|error| Box::new(problem(error, "match.regex", "regular expression", text))),
    }
}

/// Compiles a condition. Names of captures are looked at if they are known.
fn when(text: &Spanned<String>, names: Option<&[String]>, context: &mut Context<'_>) -> Option<Expr> {
    let place = Written { code: "match.when", captures: names.unwrap_or_default(), is_whole: names.is_some() };
    let expr = place.condition(text).map_err(|problem| context.report(*problem)).ok()?;
    let Some(part) = expr.reads().iter().find(|part| part.kind() == Parts::IDENTITY) else { return Some(expr) };
    let message = format!("{part} is not known when routes are matched");
    let hint = "policies find out who is calling, and they run after a route is found: write it in `authorize`";
    context.report(Diagnostic::error("match.when", message).at(text.span).hint(hint));
    None
}

/// A test of a value; `None` if it cannot be used, which is then reported.
fn value(written: &Spanned<model::ValueMatch>, context: &mut Context<'_>) -> Option<ValueMatch> {
    let test = match &written.value {
        model::ValueMatch::Exact(text) => return Some(ValueMatch::Exact(text.as_str().into())),
        model::ValueMatch::Test(test) => test,
    };
    Some(match test {
        ValueTest::Exact(text) => ValueMatch::Exact(text.as_str().into()),
        ValueTest::OneOf(texts) => ValueMatch::OneOf(texts.iter().map(|text| text.as_str().into()).collect()),
        ValueTest::Prefix(text) => ValueMatch::Prefix(text.as_str().into()),
        ValueTest::Suffix(text) => ValueMatch::Suffix(text.as_str().into()),
        ValueTest::Contains(text) => ValueMatch::Contains(text.as_str().into()),
        ValueTest::Present(_) => ValueMatch::Present,
        ValueTest::Absent(_) => ValueMatch::Absent,
        ValueTest::Regex(text) => match Regex::whole(text) {
            Ok(regex) => ValueMatch::Regex(Box::new(regex)),
            Err(error) => {
                let error = PatternError { message: error.message, hint: error.hint, offset: Some(error.offset) };
                context.report(problem(error, "match.regex", "regular expression", text));
                return None;
            }
        },
    })
}

type Values = BTreeMap<Spanned<String>, Spanned<model::ValueMatch>>;

fn values(written: &Values, context: &mut Context<'_>) -> Vec<(String, ValueMatch)> {
    written.iter().filter_map(|(name, wanted)| Some((name.value.clone(), value(wanted, context)?))).collect()
}

fn headers(written: &Values, context: &mut Context<'_>) -> Vec<(HeaderName, ValueMatch)> {
    let mut headers = Vec::new();
    for (name, wanted) in written {
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
            Some(known) => headers.extend(value(wanted, context).map(|value| (known, value))),
        }
    }
    headers
}

/// Warns about routes that can never win, comparing those whose patterns are
/// known.
pub(super) fn report_shadows(routes: &[Arc<Spanned<model::Route>>], matched: &[Matched], context: &mut Context<'_>) {
    let (known, patterns): (Vec<&Spanned<model::Route>>, Vec<&RoutePattern>) =
        routes.iter().zip(matched).filter(|(_, matched)| matched.is_whole).map(|(r, m)| (&**r, &*m.pattern)).unzip();
    let written = |id: RouteId| known.get(id.0 as usize).copied();
    for shadow in shadowed(&patterns) {
        let Some(route) = written(shadow.route) else { continue };
        let takers: Vec<&Spanned<String>> = shadow.by.iter().filter_map(|&id| written(id)).map(|r| &r.name).collect();
        let names: Vec<String> = takers.iter().map(|name| name.shown()).collect();
        let verb = if names.len() == 1 { "takes" } else { "together take" };
        let message =
            format!("route {} is never reached: {} {verb} all its requests", route.name.shown(), names.join(", "));
        let is_default = patterns.get(shadow.route.0 as usize).is_some_and(|pattern| pattern.is_default());
        let hint = if is_default {
            "there is one default route, the one without conditions"
        } else {
            "remove one of them, or tell them apart by host, path, methods, headers or another condition"
        };
        let mut diagnostic = Diagnostic::warning("route.shadowed", message).at(place(route)).hint(hint);
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
