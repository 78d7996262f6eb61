//! Upstreams and their endpoints.

use std::collections::HashSet;

use torana_core::diagnostic::{Diagnostic, quoted};
use torana_core::pace::stepwise;

use super::boot::not_zero;
use super::{Found, check_name, discover};
use crate::model::{Endpoint, EndpointUrl, Protocol, Scheme, Upstream};
use torana_core::written::Spanned;

pub(super) fn check(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for (name, upstream) in &found.config.upstreams {
        check_name(name, "an upstream", diagnostics);
        endpoints(found, name, upstream, diagnostics);
        discover::check(found, name, upstream, diagnostics);
        protocol(upstream, diagnostics);
        tls(found, upstream, diagnostics);
        let key = format!("upstreams.{}.", name.as_str());
        let never = "no connection could be made in time";
        not_zero(&format!("{key}connect_timeout"), Some(&upstream.connect_timeout), never, diagnostics);
    }
    unused(found, diagnostics);
}

fn endpoints(
    found: &Found<'_>,
    name: &Spanned<String>,
    upstream: &Spanned<Upstream>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if upstream.endpoints.is_empty() {
        if upstream.discover.is_empty() && !found.has_gap(upstream.span) {
            let message = format!("the upstream {} has no endpoints", name.shown());
            let hint = "add one: `endpoints: [ http://127.0.0.1:3000 ]`";
            diagnostics.push(Diagnostic::error("config.no_endpoints", message).at(name.span).hint(hint));
        }
        return;
    }
    let none_counts = upstream.endpoints.iter().all(|endpoint| endpoint.weight == 0);
    if none_counts && upstream.discover.is_empty() && !found.has_gap(upstream.span) {
        let message = format!("every endpoint of the upstream {} has the weight 0", name.shown());
        diagnostics.push(Diagnostic::error("config.no_endpoints", message).at(name.span).hint("give one a weight"));
    }
    let mut seen: Vec<&Spanned<EndpointUrl>> = Vec::new();
    for endpoint in &upstream.endpoints {
        if let Some(first) = seen.iter().find(|first| first.value == endpoint.url.value) {
            let message = format!("{} is an endpoint of {} twice", endpoint.url.shown(), name.shown());
            let diagnostic = Diagnostic::warning("config.duplicate_endpoint", message);
            let diagnostic = diagnostic.label(endpoint.url.span, "second").also(first.span, "first");
            diagnostics.push(diagnostic.hint("use `weight` to give an endpoint a larger share"));
        } else if seen.len() < 1000 {
            // Beyond that many the comparison would cost more than the warning is worth.
            seen.push(&endpoint.url);
        }
    }
}

fn protocol(upstream: &Spanned<Upstream>, diagnostics: &mut Vec<Diagnostic>) {
    for endpoint in &upstream.endpoints {
        if *upstream.protocol == Protocol::Http1 && endpoint.url.scheme == Scheme::H2c {
            let message = format!("{} speaks HTTP/2, but `protocol` is `http1`", endpoint.url.shown());
            let diagnostic = Diagnostic::error("config.protocol_conflict", message).at(endpoint.url.span);
            diagnostics
                .push(diagnostic.also(upstream.protocol.span, "here").hint("write `http://`, or remove `protocol`"));
        }
    }
}

fn tls(found: &Found<'_>, upstream: &Spanned<Upstream>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(tls) = &upstream.tls else { return };
    match (&tls.cert, &tls.key) {
        (Some(path), None) | (None, Some(path)) if !found.has_gap(tls.span) => {
            let (has, lacks) = if tls.cert.is_some() { ("cert", "key") } else { ("key", "cert") };
            let message = format!("`tls` has `{has}` but no `{lacks}`");
            diagnostics.push(Diagnostic::error("config.missing_key", message).at(path.span));
        }
        _ => {}
    }
    let is_plain = |endpoint: &Spanned<Endpoint>| endpoint.url.scheme != Scheme::Https;
    let others = discover::may_be_secure(upstream) || (upstream.endpoints.is_empty() && upstream.discover.is_empty());
    if !others && upstream.endpoints.iter().all(is_plain) && !found.has_gap(upstream.span) {
        let message = "`tls` has no effect: no endpoint is `https`";
        diagnostics
            .push(Diagnostic::warning("config.no_effect", message).at(tls.span).hint("write `https://` endpoints"));
    }
}

/// Warns of upstreams no route names. With targets or policies whose configuration is not ours, a
/// text in it may be the name of an upstream: any such text counts as a use.
fn unused(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !found.whole || !found.gaps.is_none() {
        return;
    }
    let mut used: HashSet<&str> = HashSet::new();
    for route in stepwise(&found.config.routes) {
        used.extend(route.upstream.as_ref().map(|name| name.as_str()));
        route.targets.iter().for_each(|target| texts(&target.config, &mut used));
        route.policies.iter().for_each(|policy| texts(&policy.config, &mut used));
    }
    found.config.policies.iter().for_each(|policy| texts(&policy.config, &mut used));
    let stand_ins = found.config.upstreams.values().flat_map(|upstream| &*upstream.fallback);
    used.extend(stand_ins.filter_map(|fallback| Some(fallback.upstream.as_ref()?.as_str())));
    for name in found.config.upstreams.keys() {
        if !used.contains(name.as_str()) {
            let message = format!("no route uses the upstream {}", quoted(name));
            diagnostics.push(Diagnostic::warning("config.unused_upstream", message).at(name.span));
        }
    }
}

fn texts<'t>(tree: &'t torana_core::written::Written, into: &mut HashSet<&'t str>) {
    into.extend(tree.as_str());
    tree.items().iter().for_each(|item| texts(item, into));
    tree.entries().iter().for_each(|entry| texts(&entry.value, into));
}
