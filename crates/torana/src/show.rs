//! A plan as JSON, for the admin interface and `--format json`.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use torana_core::head::Method;
use torana_net::service::ListenerId;
use torana_net::tls::x509;
use torana_plane::matcher::{Methods, RoutePattern};
use torana_plane::metrics::Snapshot;
use torana_plane::plan::{Plan, Route};
use torana_upstream::breaker::Breaker;
use torana_upstream::discover::SourceSnapshot;
use torana_upstream::health::UpstreamHealth;
use torana_upstream::health::standing::Why;
use torana_upstream::health::state::EndpointSnapshot;

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
    if !pattern.cookies.is_empty() {
        shown["cookies"] = pattern.cookies.iter().map(|(name, _)| name.as_str()).collect();
    }
    if !pattern.content_types.is_empty() {
        shown["content_types"] = pattern.content_types.iter().map(ToString::to_string).collect();
    }
    if !pattern.clients.is_empty() {
        shown["clients"] = pattern.clients.iter().map(ToString::to_string).collect();
    }
    if let Some(when) = &pattern.when {
        shown["when"] = when.as_str().into();
    }
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
            "defer_accept": listener.listening.defer_accept,
            "certificates": certificates,
        })
    });
    shown.collect()
}

/// Upstreams with what their pools have seen, summed over the workers.
pub(crate) fn upstreams(plan: &Plan, snapshot: &Snapshot) -> Value {
    let now = Instant::now();
    let shown = plan.upstreams.iter().zip(&plan.states).map(|(upstream, state)| {
        let health = state.health().snapshot();
        let endpoints = upstream.endpoints.iter().zip(&health.endpoints).map(|(endpoint, health)| {
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
                "health": endpoint_health(health, now),
            })
        });
        let endpoints = endpoints.collect::<Vec<_>>();
        let breakers = state.breakers().iter().map(|breaker| shown_breaker(breaker, now)).collect::<Vec<_>>();
        json!({
            "name": &*upstream.name,
            "endpoints": endpoints,
            "usable": health.counts.usable,
            "panic": health.panic,
            "breakers": breakers,
            "sources": state.sources().iter().map(|source| shown_source(&source.snapshot(now))).collect::<Vec<_>>(),
            "concurrency": state.ceiling().map(|ceiling| {
                let counts = ceiling.counts();
                json!({ "most": counts.most, "under_way": counts.taken, "waiting": counts.waiting })
            }),
        })
    });
    shown.collect()
}

/// Drains the endpoints of that URL, or of that address under any scheme, or
/// undoes it; how they are then. `None`: there are none.
pub(crate) fn drain(health: &UpstreamHealth, endpoint: &str, on: bool) -> Option<Value> {
    let now = Instant::now();
    let is_meant = |name: &str| name == endpoint || name.split_once("://").is_some_and(|(_, rest)| rest == endpoint);
    let mut shown = Vec::new();
    for (index, known) in health.endpoints().iter().enumerate().filter(|(_, known)| is_meant(known.name())) {
        health.drain(index, on, now);
        shown.push(json!({ "endpoint": &**known.name(), "health": endpoint_health(&known.snapshot(), now) }));
    }
    (!shown.is_empty()).then(|| json!({ "upstream": &**health.name(), "endpoints": shown }))
}

/// Where endpoints come from, and what was wrong last.
fn shown_source(source: &SourceSnapshot) -> Value {
    json!({
        "source": &*source.name,
        "endpoints": source.endpoints,
        "left_out": source.left_out,
        "seconds": seconds(source.age),
        "failing": source.failures_in_a_row > 0,
        "answers": { "passed": source.answers, "failed": source.failures },
        "last_error": source.error.as_ref().map(|(error, ago)| json!({ "seconds_ago": seconds(*ago), "seen": &**error })),
    })
}

/// Why an endpoint is out, or that it is not.
fn endpoint_health(health: &EndpointSnapshot, now: Instant) -> Value {
    let ago = |at: Instant| seconds(now.saturating_duration_since(at));
    json!({
        "usable": health.standing.is_usable(),
        "out": health.standing.reasons().map(Why::as_str).collect::<Vec<_>>(),
        "seconds": ago(health.since),
        "reason": health.cause.as_ref().map(|(reason, _)| reason.code()),
        "seen": health.cause.as_ref().map(|(_, words)| &**words),
        "back_in_seconds": health.ejected_until.map(|until| seconds(until.saturating_duration_since(now))),
        "failures_in_a_row": health.consecutive_failures,
        "times_ejected": health.times_ejected,
        "probe": health.probe.as_ref().map(|probe| json!({
            "seconds_ago": ago(probe.at),
            "passed": probe.passed,
            "seen": &*probe.words,
        })),
        "probes": { "passed": health.probes.passed, "failed": health.probes.failed },
    })
}

fn shown_breaker(breaker: &Breaker, now: Instant) -> Value {
    let snapshot = breaker.snapshot(now);
    let history = snapshot.history.iter().map(|change| {
        json!({
            "seconds_ago": seconds(now.saturating_duration_since(change.at)),
            "from": change.from.as_str(),
            "to": change.to.as_str(),
            "why": change.why.as_str(),
        })
    });
    json!({
        "name": &**breaker.name(),
        "phase": snapshot.phase.as_str(),
        "seconds": seconds(snapshot.since),
        "open_for_seconds": snapshot.opens_for.map(seconds),
        "requests": snapshot.counts.total,
        "failed": snapshot.counts.failed,
        "slow": snapshot.counts.slow,
        "failures_in_a_row": snapshot.counts.in_a_row,
        "openings": snapshot.openings,
        "history": history.collect::<Vec<_>>(),
    })
}

/// In seconds, to the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
