//! What the gateway counts.
//!
//! Every worker has its own [`WorkerMetrics`] with one writer, the worker, so
//! counting is a load and a store without a lock prefix. A scrape sums them up
//! ([`Metrics::snapshot`]). The locks in here are taken when a series is seen
//! for the first time on a worker, when a plan changes and by the scrape:
//! never for a request whose route has been used before.

pub mod exposition;
pub mod names;
mod snapshot;
mod upstreams;
mod worker;

pub use snapshot::{RouteSeries, Snapshot};
pub use upstreams::{EventCounts, Standings};
use worker::Wanted;
pub use worker::{RouteMetrics, WorkerMetrics};

use crate::aside::Aside;
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use torana_core::pace::stepwise;
use torana_upstream::breaker::Transition;
use torana_upstream::health::event::Event;

/// All metrics of the process.
#[derive(Default)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    log_lines_lost: AtomicU64,
    is_pinned: AtomicBool,
    admin_refusals: Mutex<BTreeMap<&'static str, u64>>,
    plan: Mutex<PlanFacts>,
    upstreams: upstreams::UpstreamEvents,
    /// Counts for itself; its workers find it here.
    aside: Arc<Aside>,
}

/// What is exposed about the plan in force.
#[derive(Clone, Default, Debug)]
pub struct PlanFacts {
    /// Its revision.
    pub revision: u64,
    /// Checksum of its configuration.
    pub checksum: Arc<str>,
    /// When it was put in force; since the epoch.
    pub since: Duration,
}

impl Metrics {
    /// No workers, nothing counted.
    #[must_use]
    pub fn new() -> Arc<Metrics> {
        Arc::default()
    }

    /// The block of one more worker. Call once per worker and keep it.
    #[must_use]
    pub fn add_worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::default());
        lock(&self.workers).push(Arc::clone(&worker));
        worker
    }

    /// What all workers have done beside them.
    pub(crate) fn aside(&self) -> Arc<Aside> {
        Arc::clone(&self.aside)
    }

    /// `plan` is in force; also called for the first one, which is no reload.
    /// Series of routes it does not have are forgotten.
    pub fn plan_in_force(&self, plan: &Plan) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let facts = PlanFacts { revision: plan.revision, checksum: Arc::clone(&plan.checksum), since };
        let mut known = lock(&self.plan);
        if known.revision != 0 {
            self.reloads.fetch_add(1, Ordering::Relaxed);
        }
        *known = facts;
        drop(known);
        let wanted: Wanted<'_> = stepwise(&*plan.routes).map(|route| &*route.series).collect();
        let workers = lock(&self.workers).clone();
        for worker in &workers {
            worker.keep_routes(&wanted);
        }
    }

    /// A new configuration was not accepted; the old plan stays.
    pub fn reload_failed(&self) {
        self.failed_reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether an older configuration than the one on disk was put in force.
    pub fn pinned(&self, is_pinned: bool) {
        self.is_pinned.store(is_pinned, Ordering::Relaxed);
    }

    /// The admin interface refused a request.
    pub fn admin_refused(&self, code: &'static str) {
        *lock(&self.admin_refusals).entry(code).or_default() += 1;
    }

    /// The log's writer could not write so many lines.
    pub fn log_lines_lost(&self, lines: u64) {
        self.log_lines_lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// Something happened to an endpoint's health.
    pub fn health_event(&self, event: &Event) {
        self.upstreams.health(event);
    }

    /// A breaker changed its phase.
    pub fn breaker_event(&self, name: &Arc<str>, transition: &Transition) {
        self.upstreams.breaker(name, transition);
    }

    /// The sums over all workers.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            reloads: self.reloads.load(Ordering::Relaxed),
            failed_reloads: self.failed_reloads.load(Ordering::Relaxed),
            log_lines_lost: self.log_lines_lost.load(Ordering::Relaxed),
            is_pinned: self.is_pinned.load(Ordering::Relaxed),
            admin_refusals: lock(&self.admin_refusals).clone(),
            plan: lock(&self.plan).clone(),
            events: self.upstreams.counts(),
            aside: self.aside.counts().into(),
            ..Snapshot::default()
        };
        // The list is cloned so that a starting worker never waits for a scrape.
        let workers = lock(&self.workers).clone();
        for worker in &workers {
            worker.add_to(&mut snapshot);
        }
        snapshot.workers = workers.len();
        snapshot.finish();
        snapshot
    }
}

/// Nothing in here can be left half done by a panic: a poisoned lock is as
/// good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
