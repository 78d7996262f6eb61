//! Lists, as JSON, what the reference pages are made of: refusals, diagnostic codes, metrics.
//!
//! `cargo xtask gen` runs it. It is an example and no command because users have the pages.

#![allow(clippy::print_stdout, reason = "printing is what it does")]

use serde_json::{Value, json};
use torana_core::refusal::{Origin, Refusal, Retry};

fn main() {
    let policies = || torana_policies::REGISTRY.iter().chain(torana_identity::REGISTRY);
    let of_policies = policies().map(|entry| entry.refusals);
    let of_targets = torana_targets::REGISTRY.iter().map(|entry| entry.refusals);
    let refusals = torana_plane::refusals::all()
        .chain(torana_net::refusals::REFUSALS.iter().copied())
        .chain(torana_net::refusals::codec())
        .chain(torana_upstream::upstream::REFUSALS.iter().copied())
        .chain(torana_upstream::breaker::REFUSALS.iter().copied())
        .chain(torana_upstream::ceiling::REFUSALS.iter().copied())
        .chain(of_policies.chain(of_targets).flatten().copied());
    let metrics = torana_plane::metrics::names::ALL
        .iter()
        .map(|metric| json!({ "name": metric.name, "kind": metric.kind, "help": metric.help }));
    let of_policies = policies().map(|entry| (entry.name, entry.events));
    let of_targets = torana_targets::REGISTRY.iter().map(|entry| (entry.name, entry.events));
    let events = of_policies.chain(of_targets).flat_map(|(kind, events)| events.iter().map(move |event| (kind, event)));
    let events = events.map(|(kind, event)| json!({ "policy": kind, "event": event.name, "help": event.help }));
    let listing = json!({
        "events": events.collect::<Value>(),
        "refusals": refusals.map(refusal).collect::<Value>(),
        "diagnostics": torana_config::CODES,
        "metrics": metrics.collect::<Value>(),
    });
    println!("{listing:#}");
}

fn refusal(refusal: &Refusal) -> Value {
    json!({
        "code": refusal.code,
        "status": refusal.status.code(),
        "origin": match refusal.origin {
            Origin::Caller => "caller",
            Origin::Gateway => "gateway",
            Origin::Upstream => "upstream",
        },
        "retry": match refusal.retry {
            Retry::Never => "never",
            Retry::IfSafe => "if safe",
            Retry::Always => "always",
        },
        "message": refusal.message,
    })
}
