//! Routes: names, targets, and what fits together. Patterns are compiled, and shadowed routes
//! found, by the plane.

use std::collections::{HashMap, HashSet};

use torana_core::diagnostic::{Diagnostic, Span, did_you_mean};
use torana_core::pace::stepwise;
use torana_core::written::{Entry, Spanned, Written};

use super::{Found, check_name};
use crate::model::{Respond, Rewrite, Route, ValueMatch, ValueTest};

pub(super) fn check(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let known = Known::of(found);
    let mut names: HashMap<&str, Span> = HashMap::with_capacity(found.config.routes.len());
    for (index, route) in stepwise(found.config.routes.iter().enumerate()) {
        if let Some(first) = names.insert(&route.name, route.name.span) {
            let message = format!("two routes are named {}", route.name.shown());
            let diagnostic = Diagnostic::error("config.duplicate_name", message);
            let diagnostic = diagnostic.label(route.name.span, "second").also(first, "first");
            diagnostics.push(diagnostic.hint("give one of them another name"));
        }
        upstream(found, &known, route, diagnostics);
        if !(found.is_fine)(index) {
            alone(route, found.has_gap(route.span), diagnostics);
        }
    }
}

/// What can be said of a route that is looked at alone. With a gap, something of it was in error and is not there.
pub(crate) fn alone(route: &Spanned<Route>, has_gap: bool, diagnostics: &mut Vec<Diagnostic>) {
    check_name(&route.name, "a route", diagnostics);
    target(route, has_gap, diagnostics);
    matching(route, diagnostics);
    if let Some(rewrite) = &route.rewrite {
        rewriting(route, rewrite, diagnostics);
    }
    if let Some(respond) = &route.respond {
        responding(respond, diagnostics);
    }
}

/// The key and the place of every target of a route.
fn targets(route: &Route) -> Vec<(&str, Span)> {
    let upstream = route.upstream.as_ref().map(|upstream| ("upstream", upstream.span));
    let redirect = route.redirect.as_ref().map(|redirect| ("redirect", redirect.span));
    let respond = route.respond.as_ref().map(|respond| ("respond", respond.span));
    let others = route.targets.iter().map(|target| (target.name.as_str(), target.name.span));
    [upstream, redirect, respond].into_iter().flatten().chain(others).collect()
}

fn target(route: &Spanned<Route>, has_gap: bool, diagnostics: &mut Vec<Diagnostic>) {
    match targets(route).as_slice() {
        [_] => {}
        [] if has_gap => {}
        [] => {
            let message = format!("the route {} has no target", route.name.shown());
            let hint = "add one of `upstream`, `redirect` and `respond`";
            diagnostics.push(Diagnostic::error("config.no_target", message).at(route.name.span).hint(hint));
        }
        [(first, span), others @ ..] => {
            let names: Vec<_> = others.iter().map(|(name, _)| format!("`{name}`")).collect();
            let message = format!(
                "the route {} has more than one target: `{first}` and {}",
                route.name.shown(),
                names.join(" and ")
            );
            let mut diagnostic =
                Diagnostic::error("config.several_targets", message).at(others[0].1).also(*span, "first");
            for (_, other) in &others[1..] {
                diagnostic = diagnostic.also(*other, "");
            }
            diagnostics.push(diagnostic.hint("keep one of them, or make two routes"));
        }
    }
}

/// The upstreams as written, those in error included: they exist, whatever else is wrong with them.
struct Known<'a> {
    entries: &'a [Entry],
    names: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    fn of(found: &Found<'a>) -> Self {
        let entries = found.tree.get("upstreams").map(Written::entries).unwrap_or_default();
        Self { entries, names: entries.iter().map(|entry| entry.key.as_str()).collect() }
    }
}

fn upstream(found: &Found<'_>, known: &Known<'_>, route: &Route, diagnostics: &mut Vec<Diagnostic>) {
    let Some(name) = &route.upstream else { return };
    if !found.whole || known.names.contains(name.as_str()) {
        return;
    }
    let message =
        format!("the route {} sends to the upstream {}, which does not exist", route.name.shown(), name.shown());
    // A comparison with every name for each of thousands of routes would take minutes; few
    // configurations are wrong in more than this many ways.
    const MOST_COMPARED: usize = 100;
    let compare = diagnostics.len() < MOST_COMPARED;
    let names = known.entries.iter().map(|entry| entry.key.as_str()).filter(|_| compare);
    let near = did_you_mean(name, names).and_then(|near| known.entries.iter().find(|entry| entry.key.as_str() == near));
    let hint = match near {
        Some(entry) => {
            format!("did you mean `{}`{}?", entry.key.as_str(), found.defined_at(entry.key.span))
        }
        None if known.entries.is_empty() => "there are no upstreams: add `upstreams`".to_owned(),
        None => "add it to `upstreams`".to_owned(),
    };
    diagnostics.push(Diagnostic::error("config.unknown_upstream", message).at(name.span).hint(hint));
}

fn matching(route: &Route, diagnostics: &mut Vec<Diagnostic>) {
    for method in route.matches.methods.iter() {
        if method.is_empty() || !method.bytes().all(is_token_byte) {
            let message = format!("{} is not a method", method.shown());
            diagnostics.push(Diagnostic::error("config.method", message).at(method.span));
        } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let message = format!("the method {} would never match: methods are case-sensitive", method.shown());
            let hint = method.raw().is_none().then(|| format!("write `{}`", method.to_ascii_uppercase()));
            diagnostics.push(Diagnostic::error("config.method", message).at(method.span).maybe_hint(hint));
        }
    }
    for tests in [&route.matches.headers, &route.matches.query, &route.matches.cookies] {
        tests.values().for_each(|wanted| value_test(wanted, diagnostics));
    }
    for name in route.matches.cookies.keys() {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            let message = format!("{} is not the name of a cookie", name.shown());
            diagnostics.push(Diagnostic::error("config.cookie_name", message).at(name.span));
        }
    }
    header_names(route.matches.headers.keys(), diagnostics);
    if let Some(host) = route.matches.headers.keys().find(|name| name.eq_ignore_ascii_case("host")) {
        let message = "the host is not matched as a header";
        let diagnostic = Diagnostic::error("config.header_name", message).at(host.span);
        diagnostics.push(diagnostic.hint("write `match: { host: … }`"));
    }
}

/// Tests that no value, or every one, could pass.
fn value_test(wanted: &Spanned<ValueMatch>, diagnostics: &mut Vec<Diagnostic>) {
    let ValueMatch::Test(test) = &wanted.value else { return };
    let (message, span, hint) = match test {
        ValueTest::Present(given) if !given.value => ("`present: false` is not a test", given.span, "`absent: true`"),
        ValueTest::Absent(given) if !given.value => ("`absent: false` is not a test", given.span, "`present: true`"),
        ValueTest::OneOf(list) if list.is_empty() => {
            ("no value is one of none", wanted.span, "the values in the list, or remove it")
        }
        ValueTest::Prefix(text) | ValueTest::Suffix(text) | ValueTest::Contains(text) if text.is_empty() => {
            ("every value has the empty text in it", text.span, "`present: true` if it only has to be there")
        }
        _ => return,
    };
    diagnostics.push(Diagnostic::error("config.value_test", message).at(span).hint(format!("write {hint}")));
}

/// Whether a byte may be in a token (RFC 9110 §5.6.2): methods and header names.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn header_names<'n>(names: impl Iterator<Item = &'n Spanned<String>>, diagnostics: &mut Vec<Diagnostic>) {
    for name in names {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            let message = format!("{} is not the name of a header", name.shown());
            diagnostics.push(Diagnostic::error("config.header_name", message).at(name.span));
        }
    }
}

fn rewriting(route: &Route, rewrite: &Spanned<Rewrite>, diagnostics: &mut Vec<Diagnostic>) {
    rewrite.check(diagnostics);
    if route.upstream.is_none()
        && let Some((target, _)) = targets(route).first().filter(|(name, _)| matches!(*name, "redirect" | "respond"))
    {
        let message = format!("`rewrite` has no effect: the target is `{target}`");
        diagnostics.push(Diagnostic::warning("config.no_effect", message).at(rewrite.span).hint("remove it"));
    }
}

fn responding(respond: &Spanned<Respond>, diagnostics: &mut Vec<Diagnostic>) {
    let status = &respond.status;
    if let (Some(body), Some(json)) = (&respond.body, &respond.json) {
        let diagnostic = Diagnostic::error("config.respond_conflict", "`body` and `json` cannot both be the body");
        diagnostics.push(diagnostic.at(json.span).also(body.span, "").hint("keep one of them"));
    }
    // RFC 9110 §15.3.5, §15.4.5: these have no content.
    let has_body = respond.json.is_some() || respond.body.as_ref().is_some_and(|body| !body.is_empty());
    if matches!(status.value, 204 | 205 | 304) && has_body {
        let message = format!("a response with the status {} has no body", status.shown());
        diagnostics.push(Diagnostic::error("config.respond_conflict", message).at(status.span).hint("use 200"));
    }
    header_names(respond.headers.keys(), diagnostics);
    for (name, value) in &respond.headers {
        let (message, span) =
            if ["content-length", "transfer-encoding", "connection"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
                (format!("the header {} is the gateway's", name.shown()), name.span)
            } else if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                (format!("the value of the header {} has a control character", name.shown()), value.span)
            } else {
                continue;
            };
        diagnostics.push(Diagnostic::error("config.header_value", message).at(span));
    }
}
