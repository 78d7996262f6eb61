//! What one endpoint has to do, as one worker sees it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The weight of the newest request in the share of failed ones: after four
/// failures in a row two thirds, after four successes in a row one third of
/// what it was.
const FAILURE_STEP: f64 = 0.25;

/// The highest share of failures reckoned with, so that an endpoint costs a
/// hundred times its latency at most and is looked at again some time.
const MOST_FAILING: f64 = 0.99;

/// How much of its rival's latency an endpoint is expected to have at least,
/// if it was slower when last seen.
const OPTIMISM: f64 = 0.5;

/// The load of one endpoint on one worker.
///
/// It belongs to the endpoint, not to the balancer: an endpoint that a reload
/// does not change keeps its load, and requests begun before are counted
/// after.
#[derive(Debug, Default)]
pub struct Load {
    active: Cell<u32>,
    usable_since: Cell<Option<Instant>>,
    measured: Cell<Option<Measured>>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    /// See [`seconds`].
    at: f64,
    /// In seconds; absent while everything has failed.
    latency: Option<f64>,
    /// Share of failed requests, the newest counting most.
    failing: f64,
}

/// A request under way: counts as active until dropped, however it ends.
#[derive(Debug)]
pub struct InFlight(Rc<Load>);

impl Load {
    /// The load of an endpoint that is there from the beginning: it gets its
    /// full share at once. When everything is new, nothing is to be spared.
    #[must_use]
    pub fn new() -> Load {
        Load::default()
    }

    /// The load of an endpoint that joins others: slow start applies.
    #[must_use]
    pub fn joining(now: Instant) -> Load {
        Load { usable_since: Cell::new(Some(now)), ..Load::default() }
    }

    /// The endpoint is usable again after it was not: slow start applies, and
    /// what it was like before is forgotten.
    pub fn recover(&self, now: Instant) {
        self.usable_since.set(Some(now));
        self.measured.set(None);
    }

    /// Requests under way.
    #[must_use]
    pub const fn active(&self) -> u32 {
        self.active.get()
    }

    /// Counts a request as under way until the returned value is dropped.
    /// Hold it until the body of the reply has ended.
    #[must_use]
    pub fn begin(self: &Rc<Load>) -> InFlight {
        self.active.set(self.active.get().saturating_add(1));
        InFlight(self.clone())
    }

    /// Notes how long the head of a reply took, or how long it took to fail.
    /// Not to be called for requests whose caller left: they say nothing about
    /// the endpoint.
    pub(super) fn observe(&self, now: Instant, took: Duration, failed: bool, decay: Duration) {
        let at = seconds(now);
        let before = self.measured.get().unwrap_or(Measured { at, latency: None, failing: 0.0 });
        let keep = remaining(at - before.at, decay);
        // Never zero, or requests under way would not count.
        let took = took.as_secs_f64().max(1e-9);
        let latency = match before.latency {
            // A refusal is quick: a failure never makes an endpoint look fast.
            known if failed => known.map(|known| known.max(took)),
            Some(known) if took < known => Some(known * keep + took * (1.0 - keep)),
            _ => Some(took),
        };
        let failing = before.failing + FAILURE_STEP * (f64::from(u8::from(failed)) - before.failing);
        // A long time without failures costs no powers.
        let failing = if failing < 1e-3 { 0.0 } else { failing };
        self.measured.set(Some(Measured { at, latency, failing }));
    }

    /// Since when it is usable, unless slow start is over.
    pub(super) const fn usable_since(&self) -> Option<Instant> {
        self.usable_since.get()
    }

    /// Slow start is over.
    pub(super) fn has_started(&self) {
        self.usable_since.set(None);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
    }
}

/// What a request is expected to take at the one and at the other, in a unit
/// of their own: only the ratio counts. Failures make it longer, as if it were
/// repeated until it succeeds.
///
/// * Of an endpoint that has not answered yet, the same is expected as of the
///   other: the requests it has under way decide, so it gets its share and no
///   more until it is known. A fixed guess would starve it where all others
///   are faster, and bury it where they are slower.
/// * What was seen longer ago has faded in comparison, so a slow endpoint that
///   is not used is tried again; but it fades no further than to
///   [`OPTIMISM`], or the first burst after a quiet hour would all go to the
///   endpoint that was used the longest ago.
///
/// It costs one power, and two more while both fail.
pub(super) fn expected(one: &Load, other: &Load, now: Instant, decay: Duration) -> (f64, f64) {
    let (a, b) = (one.measured.get(), other.measured.get());
    let (for_one, for_other) = match (known(a), known(b)) {
        (Some((a, seen_a)), Some((b, seen_b))) if seen_a < seen_b => (faded(a, seen_b - seen_a, b, decay), b),
        (Some((a, seen_a)), Some((b, seen_b))) => (a, faded(b, seen_a - seen_b, a, decay)),
        _ => (1.0, 1.0),
    };
    (for_one * attempts(a, now, decay), for_other * attempts(b, now, decay))
}

fn known(measured: Option<Measured>) -> Option<(f64, f64)> {
    let measured = measured?;
    Some((measured.latency?, measured.at))
}

/// A latency that was seen so much longer ago than that of its rival.
fn faded(latency: f64, age: f64, rival: f64, decay: Duration) -> f64 {
    (latency * remaining(age, decay)).max(latency.min(rival * OPTIMISM))
}

/// How many requests it takes until one succeeds.
fn attempts(measured: Option<Measured>, now: Instant, decay: Duration) -> f64 {
    match measured {
        Some(measured) if measured.failing > 0.0 => {
            let keep = remaining(seconds(now) - measured.at, decay);
            1.0 / (1.0 - (measured.failing * keep).min(MOST_FAILING))
        }
        _ => 1.0,
    }
}

/// What is left after `age` seconds of a memory that fades by 1/e every
/// `decay`.
fn remaining(age: f64, decay: Duration) -> f64 {
    if age > 0.0 { (-age / decay.as_secs_f64()).exp() } else { 1.0 }
}

/// Seconds since a moment that is the same for the whole process, so that what
/// is compared at every pick are numbers and no times.
fn seconds(now: Instant) -> f64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(|| now);
    match now.checked_duration_since(origin) {
        Some(after) => after.as_secs_f64(),
        None => -origin.duration_since(now).as_secs_f64(),
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
