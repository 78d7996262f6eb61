//! What the gateway counts about upstreams besides their pools: endpoints that
//! go out and come back, breakers that open and close, retries.

use super::lock;
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use torana_upstream::breaker::{Phase, Transition};
use torana_upstream::discover::SourceSnapshot;
use torana_upstream::health::event::Event;

/// Counts of rare events: a lock is what they cost.
#[derive(Default)]
pub(super) struct UpstreamEvents {
    counts: Mutex<EventCounts>,
}

/// Events by what they happened to.
#[derive(Clone, Default, Debug)]
pub struct EventCounts {
    /// By upstream and reason code.
    pub health: BTreeMap<(Arc<str>, &'static str), u64>,
    /// By breaker and the phase that began.
    pub breaker: BTreeMap<(Arc<str>, &'static str), u64>,
}

impl UpstreamEvents {
    pub(super) fn health(&self, event: &Event) {
        if let Event::Endpoint { upstream, reason, .. } = event {
            *lock(&self.counts).health.entry((Arc::clone(upstream), reason.code())).or_default() += 1;
        }
    }

    pub(super) fn breaker(&self, name: &Arc<str>, transition: &Transition) {
        *lock(&self.counts).breaker.entry((Arc::clone(name), transition.to.as_str())).or_default() += 1;
    }

    pub(super) fn counts(&self) -> EventCounts {
        lock(&self.counts).clone()
    }
}

/// How endpoints and breakers of the plan in force stand, and what its policies
/// have counted: what is known to it and to no worker.
#[derive(Clone, Default, Debug)]
pub struct Standings {
    /// By upstream and endpoint: whether it may be used.
    pub endpoints: Vec<(Arc<str>, Arc<str>, bool)>,
    /// By upstream: whether health is set aside since too few endpoints are usable.
    pub panics: Vec<(Arc<str>, bool)>,
    /// By breaker: its phase.
    pub breakers: Vec<(Arc<str>, Phase)>,
    /// By upstream: a source of endpoints.
    pub sources: Vec<(Arc<str>, SourceSnapshot)>,
    /// By policy, route and event: how often.
    pub policies: BTreeMap<(&'static str, Arc<str>, &'static str), u64>,
}

impl Standings {
    /// Of `plan`.
    #[must_use]
    pub fn of(plan: &Plan) -> Standings {
        let now = std::time::Instant::now();
        let mut standings = Standings::default();
        for state in &plan.states {
            let health = state.health();
            let name = health.name();
            standings.panics.push((Arc::clone(name), health.panics()));
            for endpoint in health.endpoints() {
                let usable = endpoint.standing().is_usable();
                standings.endpoints.push((Arc::clone(name), Arc::clone(endpoint.name()), usable));
            }
            for breaker in state.breakers() {
                standings.breakers.push((Arc::clone(breaker.name()), breaker.snapshot(now).phase));
            }
            standings.sources.extend(state.sources().iter().map(|source| (Arc::clone(name), source.snapshot(now))));
        }
        for counted in &plan.tallies {
            for (event, count) in counted.tally.counts() {
                let route = counted.route.clone().unwrap_or_else(|| "_all".into());
                *standings.policies.entry((counted.policy, route, event.name)).or_default() += count;
            }
        }
        standings
    }
}
