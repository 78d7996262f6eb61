//! All workers' counters, summed.

use super::PlanFacts;
use super::upstreams::{EventCounts, Standings};
use super::worker::RouteMetrics;
use crate::aside::AsideCounts;
use crate::forwarder::PoolSample;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use torana_core::head::Method;
use torana_core::metric::HistogramSnapshot;
use torana_core::outbound::Line;
use torana_core::pace::{bit, stepwise};

/// The labels of requests that match no route. No route can have this name:
/// names begin with a letter or digit.
pub(super) const UNROUTED: &str = "route=\"_unmatched\",path=\"\"";

/// What a scrape sees.
#[derive(Default, Debug)]
pub struct Snapshot {
    /// Worker threads.
    pub workers: usize,
    /// Routes that were used, sorted by their labels.
    pub routes: Vec<RouteSeries>,
    /// Replies the gateway made itself, by reason code.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Connections refused or cut by a limit, by reason code.
    pub limited: BTreeMap<&'static str, u64>,
    /// Connections open now.
    pub connections: u64,
    /// The same by worker.
    pub worker_connections: Vec<u64>,
    /// Connections that went to another worker than the one that accepted them.
    pub connections_moved: u64,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// TLS handshakes that failed.
    pub handshakes_failed: u64,
    /// Pools by endpoint, sorted by upstream and endpoint.
    pub pools: Vec<PoolSample>,
    /// Successful reloads.
    pub reloads: u64,
    /// Reloads that were not accepted.
    pub failed_reloads: u64,
    /// Whether an older configuration than the one on disk is in force.
    pub is_pinned: bool,
    /// Requests the admin interface refused, by reason code.
    pub admin_refusals: BTreeMap<&'static str, u64>,
    /// The plan in force.
    pub plan: PlanFacts,
    /// Access log lines that were not written.
    pub log_lines_lost: u64,
    /// What happened to endpoints and breakers.
    pub events: EventCounts,
    /// Work beside the workers, by line.
    pub aside: Vec<(Line, AsideCounts)>,
    /// How endpoints and breakers stand; filled in by who knows the plan.
    pub standings: Standings,
    pub(super) route_index: HashMap<Arc<str>, usize>,
    pub(super) pool_index: HashMap<(Arc<str>, Arc<str>), usize>,
}

/// What a route has seen.
#[derive(Debug)]
pub struct RouteSeries {
    /// `route="…",path="…"`, escaped.
    pub labels: Arc<str>,
    /// Durations by method and status class (2 for 2xx).
    pub durations: Vec<(Method, usize, HistogramSnapshot)>,
    /// Body bytes received.
    pub request_bytes: u64,
    /// Body bytes sent.
    pub response_bytes: u64,
}

impl Snapshot {
    pub(super) fn add_route(&mut self, labels: &Arc<str>, route: &RouteMetrics) {
        let index = *self.route_index.entry(Arc::clone(labels)).or_insert(self.routes.len());
        if index == self.routes.len() {
            let labels = Arc::clone(labels);
            self.routes.push(RouteSeries { labels, durations: Vec::new(), request_bytes: 0, response_bytes: 0 });
        }
        let Some(series) = self.routes.get_mut(index) else { return };
        for (method, class, histogram) in route.durations() {
            let method = Method::NAMED.get(method).copied().unwrap_or(Method::Extension);
            let seen = histogram.snapshot();
            match series.durations.iter_mut().find(|(m, c, _)| (*m, *c) == (method, class)) {
                Some((_, _, sum)) => sum.merge(&seen),
                None => series.durations.push((method, class, seen)),
            }
        }
        let (received, sent) = route.bytes();
        series.request_bytes += received;
        series.response_bytes += sent;
    }

    pub(super) fn add_pool(&mut self, pool: &PoolSample) {
        let key = (Arc::clone(&pool.upstream), Arc::clone(&pool.endpoint));
        let known = self.pool_index.get(&key).and_then(|&index| self.pools.get_mut(index));
        let Some(known) = known else {
            self.pool_index.insert(key, self.pools.len());
            self.pools.push(pool.clone());
            return;
        };
        known.idle += pool.idle;
        known.active += pool.active;
        known.opened += pool.opened;
        known.requests += pool.requests;
        known.failures += pool.failures;
        known.retries += pool.retries;
        known.retries_denied += pool.retries_denied;
        known.hedges += pool.hedges;
        known.hedges_won += pool.hedges_won;
    }

    /// Sorts, so that two scrapes of the same series look the same.
    pub(super) fn finish(&mut self) {
        self.route_index.clear();
        self.pool_index.clear();
        let mut compared = 0;
        self.routes.sort_unstable_by(|a, b| {
            compared += 1;
            bit(compared);
            a.labels.cmp(&b.labels)
        });
        for route in stepwise(&mut self.routes) {
            route.durations.sort_unstable_by_key(|&(method, class, _)| (method as usize, class));
        }
        self.pools.sort_unstable_by(|a, b| (&a.upstream, &a.endpoint).cmp(&(&b.upstream, &b.endpoint)));
    }
}
