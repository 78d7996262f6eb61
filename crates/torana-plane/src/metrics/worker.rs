//! One worker's counters.

use super::lock;
use super::snapshot::Snapshot;
use crate::forwarder::PoolSample;
use crate::matcher::TextHasher;
use crate::plan::Route;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use torana_core::head::{Method, Status};
use torana_core::metric::{Counter, Histogram};
use torana_core::pace::step;
use torana_net::service::ConnectionEvent;

/// One worker's counters. The worker writes, a scrape reads.
#[derive(Default)]
pub struct WorkerMetrics {
    routes: Mutex<Known>,
    /// Held by whoever reads all routes or takes some out, neither of which is
    /// the worker: while it is, routes are only added, at the end.
    tidying: Mutex<()>,
    unrouted: Arc<RouteMetrics>,
    refusals: Codes,
    limited: Codes,
    opened: Counter,
    closed: Counter,
    moved: Counter,
    handshakes_failed: Counter,
    log_lines_dropped: Counter,
    pools: Mutex<Arc<Vec<PoolSample>>>,
}

/// The routes that were used, in the order of their first use, and where each is.
#[derive(Default)]
struct Known {
    list: Vec<(Arc<str>, Arc<RouteMetrics>)>,
    places: HashMap<Arc<str>, usize>,
}

/// The series of the routes of a plan.
pub(super) type Wanted<'p> = HashSet<&'p str, BuildHasherDefault<TextHasher>>;

/// How many routes are read or taken out while the lock is held: a worker that
/// meets a route for the first time waits that long, some microseconds.
const AT_A_TIME: usize = 128;

impl Known {
    fn get(&mut self, series: &Arc<str>) -> Arc<RouteMetrics> {
        if let Some((_, route)) = self.places.get(series).and_then(|place| self.list.get(*place)) {
            return Arc::clone(route);
        }
        let route = Arc::<RouteMetrics>::default();
        self.places.insert(Arc::clone(series), self.list.len());
        self.list.push((Arc::clone(series), Arc::clone(&route)));
        route
    }

    /// The last one takes its place.
    fn remove(&mut self, series: &str) {
        let Some(place) = self.places.remove(series) else { return };
        self.list.swap_remove(place);
        if let Some((moved, _)) = self.list.get(place) {
            self.places.insert(Arc::clone(moved), place);
        }
    }
}

/// How many status classes there are, 1xx to 5xx and whatever is above.
pub(super) const CLASSES: usize = 6;

/// A route's counters on one worker.
///
/// A histogram per method and status class, each made when it is first needed:
/// a route that only ever sees `GET` and `2xx` has one, an unused route none.
#[derive(Default)]
pub struct RouteMetrics {
    /// By method, then class.
    durations: [[OnceLock<Box<Histogram>>; CLASSES]; Method::COUNT],
    /// Which of them exist, one bit each, so that a scrape of thousands of
    /// routes need not look at every empty place.
    present: AtomicU64,
    request_bytes: Counter,
    response_bytes: Counter,
}

const _: () = assert!(Method::COUNT * CLASSES <= 64, "one bit each");

impl RouteMetrics {
    /// Counts a finished exchange.
    pub fn observe(&self, method: Method, status: Status, duration: Duration, request_bytes: u64, response_bytes: u64) {
        let class = usize::from(status.code() / 100).clamp(1, CLASSES) - 1;
        if let Some(slot) = self.durations.get(method as usize).and_then(|classes| classes.get(class)) {
            let histogram = slot.get_or_init(|| {
                self.present.fetch_or(1 << (method as usize * CLASSES + class), Ordering::Relaxed);
                Box::default()
            });
            histogram.observe(duration);
        }
        self.request_bytes.add(request_bytes);
        self.response_bytes.add(response_bytes);
    }

    /// The histograms that exist, with method and status class (1 for 1xx).
    pub(super) fn durations(&self) -> impl Iterator<Item = (usize, usize, &Histogram)> {
        let mut bits = self.present.load(Ordering::Relaxed);
        std::iter::from_fn(move || {
            let bit = bits.trailing_zeros() as usize;
            // Takes the lowest bit off; 64 when there is none.
            bits &= bits.wrapping_sub(1);
            (bit < 64).then_some((bit / CLASSES, bit % CLASSES))
        })
        .filter_map(|(method, class)| {
            // A bit may be seen a moment before its histogram.
            let histogram = self.durations.get(method)?.get(class)?.get()?;
            Some((method, class + 1, &**histogram))
        })
    }

    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.request_bytes.value(), self.response_bytes.value())
    }
}

/// Counters by reason code. Codes are constants, so there are as many as were
/// declared.
#[derive(Default)]
struct Codes(Mutex<HashMap<&'static str, Arc<Counter>>>);

impl Codes {
    fn count(&self, code: &'static str) {
        // Uncontended but for a scrape, and only for what is refused.
        lock(&self.0).entry(code).or_default().add(1);
    }

    fn add_to(&self, sums: &mut std::collections::BTreeMap<&'static str, u64>) {
        for (code, counter) in &*lock(&self.0) {
            *sums.entry(code).or_default() += counter.value();
        }
    }
}

impl WorkerMetrics {
    /// The counters of `route`: the same ones for every plan that has a route
    /// of this name and pattern.
    #[must_use]
    pub fn route(&self, route: &Route) -> Arc<RouteMetrics> {
        lock(&self.routes).get(&route.series)
    }

    /// The counters of requests that match no route.
    #[must_use]
    pub fn unrouted(&self) -> &RouteMetrics {
        &self.unrouted
    }

    /// Forgets routes that are not `wanted`: configurations may change for
    /// ever, series may not grow for ever. Not for the worker's own thread.
    pub(super) fn keep_routes(&self, wanted: &Wanted<'_>) {
        let _guard = lock(&self.tidying);
        let mut gone = Vec::new();
        self.each_route(|series, _| {
            if !wanted.contains(&**series) {
                gone.push(Arc::clone(series));
            }
        });
        for some in gone.chunks(AT_A_TIME) {
            let mut routes = lock(&self.routes);
            some.iter().for_each(|series| routes.remove(series));
        }
    }

    /// Looks at every route, for whoever holds `tidying`. The lock the worker
    /// may wait for is let go of in between.
    fn each_route(&self, mut look: impl FnMut(&Arc<str>, &Arc<RouteMetrics>)) {
        let mut some = Vec::with_capacity(AT_A_TIME);
        let mut from = 0;
        loop {
            some.extend(lock(&self.routes).list.iter().skip(from).take(AT_A_TIME).cloned());
            if some.is_empty() {
                return;
            }
            from += some.len();
            step();
            some.drain(..).for_each(|(series, route)| look(&series, &route));
        }
    }

    /// Counts a reply the gateway made itself.
    pub fn refused(&self, code: &'static str) {
        self.refusals.count(code);
    }

    /// Counts what happened to a connection.
    pub fn connection(&self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Opened => self.opened.add(1),
            ConnectionEvent::Closed => self.closed.add(1),
            ConnectionEvent::Moved => self.moved.add(1),
            ConnectionEvent::Limited(code) => self.limited.count(code),
            ConnectionEvent::HandshakeFailed => self.handshakes_failed.add(1),
        }
    }

    /// Counts access log lines that were not written.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.add(lines);
    }

    /// Replaces what is known about this worker's pools.
    pub fn set_pools(&self, sample: impl FnOnce(&mut Vec<PoolSample>)) {
        let mut pools = Vec::with_capacity(lock(&self.pools).len());
        sample(&mut pools);
        let before = std::mem::replace(&mut *lock(&self.pools), Arc::new(pools));
        drop(before);
    }

    pub(super) fn add_to(&self, snapshot: &mut Snapshot) {
        {
            let _guard = lock(&self.tidying);
            self.each_route(|series, route| snapshot.add_route(series, route));
        }
        snapshot.add_route(&super::snapshot::UNROUTED.into(), &self.unrouted);
        self.refusals.add_to(&mut snapshot.refusals);
        self.limited.add_to(&mut snapshot.limited);
        // Closed first: read the other way round, a connection opened in
        // between could make the difference negative.
        let closed = self.closed.value();
        let opened = self.opened.value();
        snapshot.connections_accepted += opened;
        snapshot.worker_connections.push(opened.saturating_sub(closed));
        snapshot.connections += opened.saturating_sub(closed);
        snapshot.connections_moved += self.moved.value();
        snapshot.handshakes_failed += self.handshakes_failed.value();
        snapshot.log_lines_lost += self.log_lines_dropped.value();
        let pools = Arc::clone(&lock(&self.pools));
        for pool in &*pools {
            snapshot.add_pool(pool);
        }
    }
}
