//! A plan as JSON, for the admin interface and `--format json`.

use serde_json::{Value, json};
use torana_core::head::Method;
use torana_net::service::ListenerId;
use torana_net::tls::x509;
use torana_plane::matcher::{Methods, RoutePattern};
use torana_plane::metrics::Snapshot;
use torana_plane::plan::{Plan, Route};

/// Routes in the order written.
pub(crate) fn routes(plan: &Plan) -> Value {
    plan.routes.iter().zip(plan.matcher.patterns()).map(|(written, pattern)| route(written, pattern)).collect()
}

fn route(route: &Route, pattern: &RoutePattern) -> Value {
    let mut shown = json!({
        "name": &*route.name,
        "hosts": pattern.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "path": &*route.pattern,
        "methods": methods(&pattern.methods),
        "headers": pattern.headers.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
        "query": pattern.query.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        "policies": route.chain.iter().map(|link| link.name).collect::<Vec<_>>(),
        "target": route.target.describe(),
    });
    if let Some(timeout) = route.timeout {
        shown["timeout_ms"] = json!(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    }
    if let Some(bytes) = route.body_bytes {
        shown["body_bytes"] = bytes.into();
    }
    shown
}

/// Their names; empty if any is allowed.
fn methods(methods: &Methods) -> Vec<String> {
    let named = methods.set().iter().filter(|method| *method != Method::Extension).map(Method::as_str);
    named.map(str::to_owned).chain(methods.extensions().map(str::to_owned)).collect()
}

/// Listeners; `local` knows where each really listens.
pub(crate) fn listeners(plan: &Plan, local: impl Fn(ListenerId) -> Option<String>) -> Value {
    let shown = plan.listeners.iter().map(|listener| {
        let certificates = listener.listening.tls.as_ref().map(|tls| {
            let served = tls.certificates().iter().map(|served| {
                json!({
                    "names": served.facts.dns_names,
                    "not_before": x509::date(served.facts.not_before),
                    "not_after": x509::date(served.facts.not_after),
                })
            });
            served.collect::<Vec<_>>()
        });
        json!({
            "name": &*listener.name,
            "address": local(listener.id).unwrap_or_else(|| listener.address.to_string()),
            "tls": listener.listening.tls.is_some(),
            "http2": listener.listening.http2,
            "certificates": certificates,
        })
    });
    shown.collect()
}

/// Upstreams with what their pools have seen, summed over the workers.
pub(crate) fn upstreams(plan: &Plan, snapshot: &Snapshot) -> Value {
    let shown = plan.upstreams.iter().map(|upstream| {
        let endpoints = upstream.endpoints.iter().map(|endpoint| {
            let pool =
                snapshot.pools.iter().find(|pool| pool.upstream == upstream.name && pool.endpoint == endpoint.name);
            json!({
                "endpoint": &*endpoint.name,
                "weight": endpoint.weight,
                "requests": pool.map_or(0, |pool| pool.requests),
                "failures": pool.map_or(0, |pool| pool.failures),
                "connections": json!({
                    "active": pool.map_or(0, |pool| pool.active),
                    "idle": pool.map_or(0, |pool| pool.idle),
                    "opened": pool.map_or(0, |pool| pool.opened),
                }),
            })
        });
        json!({ "name": &*upstream.name, "endpoints": endpoints.collect::<Vec<_>>() })
    });
    shown.collect()
}
