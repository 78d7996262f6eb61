//! Judging endpoints by what requests meet on them. No I/O, no clock.
//!
//! What Envoy calls outlier detection, nginx `max_fails` and Kong passive
//! health checks. An endpoint is ejected after `consecutive_failures` failures
//! in a row (Envoy's `consecutive_gateway_failure`, 5), or, where that is
//! configured, when its share of failures within a window is too large.
//!
//! **Who is to blame.** Only what the endpoint did counts: [`Outcome`] is made
//! from the reply, or from a rejection by its `Origin`. A client that hung
//! up, a limit or a breaker of the gateway, a deadline that others had set, a
//! pooled connection that had gone stale: all of them are [`Outcome::Local`] and
//! change nothing, neither for nor against.
//! (Envoy charged its own circuit breaker's refusals to hosts, envoy#25487.)
//!
//! **For how long.** `base_ejection_time` times the number of ejections in
//! close succession, at most `max_ejection_time`: 30s, 60s, 90s, … 300s. Every
//! `base_ejection_time` in use without another takes one off the number.
//!
//! **How many.** At most `max_ejection_percent` of an upstream's endpoints at
//! once, but one of two or more may always go. When everything fails, the cause
//! is rarely the endpoints, and somebody has to serve.

use super::spec::{FailurePercentage, PassiveSpec};
use crate::outcome::{Fault, Outcome};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The failure in `outcome`, if it is one by `spec`; `Err` if it says nothing.
pub(super) fn fault_of(outcome: Outcome, spec: &PassiveSpec) -> Result<Option<Fault>, Silent> {
    match outcome {
        Outcome::Local => Err(Silent),
        Outcome::Failed(fault) => Ok(Some(fault)),
        Outcome::Replied(status) => Ok(spec.failure_statuses.contains(status).then_some(Fault::Status(status))),
    }
}

/// Nothing was said about the endpoint.
pub(super) struct Silent;

/// How many of `total` endpoints may be ejected at once.
#[must_use]
pub fn ejection_budget(max_ejection_percent: u8, total: u32) -> u32 {
    if max_ejection_percent == 0 {
        return 0;
    }
    let share = u64::from(total) * u64::from(max_ejection_percent.min(100)) / 100;
    // A share of a number is not larger than it.
    u32::try_from(share).unwrap_or(total).max(u32::from(total >= 2))
}

/// No ejection lasts longer, whatever was configured.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The ejections of one endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ejections {
    /// The last one was this many times the base time, before decay.
    level: u32,
    /// When the current one ends.
    until: Option<Instant>,
    /// When the last one ended.
    ended: Option<Instant>,
}

impl Ejections {
    /// Begins an ejection and says until when it lasts.
    pub fn eject(&mut self, now: Instant, spec: &PassiveSpec) -> Instant {
        let base = spec.base_ejection_time.max(Duration::from_millis(1));
        let behaved = self.ended.map_or(Duration::ZERO, |ended| now.saturating_duration_since(ended));
        let forgiven = u32::try_from(behaved.as_nanos() / base.as_nanos()).unwrap_or(u32::MAX);
        // Levels above the longest time would only have to be lived down again.
        let longest = u32::try_from(spec.max_ejection_time.as_nanos().div_ceil(base.as_nanos())).unwrap_or(u32::MAX);
        self.level = self.level.saturating_sub(forgiven).saturating_add(1).min(longest.max(1));
        let until = now + base.saturating_mul(self.level).min(spec.max_ejection_time.max(base)).min(LONGEST);
        self.until = Some(until);
        until
    }

    /// Ends the ejection.
    pub fn release(&mut self, now: Instant) {
        // Whoever looks late must not lengthen it.
        self.ended = Some(self.until.take().map_or(now, |until| until.min(now)));
    }

    /// When the current ejection ends.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// How many base times the current or last ejection took.
    #[must_use]
    pub const fn level(&self) -> u32 {
        self.level
    }
}

/// Requests and failures within a window, counted by all workers in one word:
/// number of the window, requests, failures. On a cache line of its own, since
/// every request writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Window(AtomicU64);

const NUMBER_BITS: u32 = 20;
const COUNT_BITS: u32 = 22;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

impl Window {
    /// Counts a request `elapsed` after some fixed moment; requests and
    /// failures of the window so far.
    pub(super) fn count(&self, failed: bool, elapsed: Duration, spec: &FailurePercentage) -> (u64, u64) {
        let millis = |duration: Duration| duration.as_secs().saturating_mul(1000) + u64::from(duration.subsec_millis());
        // With windows of a second a number returns after twelve days.
        let number = millis(elapsed) / millis(spec.window).max(1) % (1 << NUMBER_BITS);
        let add = |word: u64| {
            let (mut requests, mut failures) = (word >> COUNT_BITS & COUNT_MAX, word & COUNT_MAX);
            if word >> (2 * COUNT_BITS) != number {
                (requests, failures) = (0, 0);
            }
            // A full count has decided long ago.
            if requests < COUNT_MAX {
                requests += 1;
                failures += u64::from(failed);
            }
            (number << (2 * COUNT_BITS) | requests << COUNT_BITS | failures, (requests, failures))
        };
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (next, counts) = add(word);
            match self.0.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return counts,
                Err(seen) => word = seen,
            }
        }
    }

    /// Forgets the window.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Whether `failures` of `requests` are too many.
pub(super) fn is_too_many((requests, failures): (u64, u64), spec: &FailurePercentage) -> bool {
    failures > 0 && requests >= u64::from(spec.min_volume) && failures * 100 >= u64::from(spec.threshold) * requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::head::Status;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_spec_says_which_statuses_are_failures() {
        let spec = PassiveSpec::default();
        let judge = |code| fault_of(Outcome::Replied(Status::new(code).unwrap()), &spec).ok().flatten();
        assert_eq!(judge(500), None);
        assert_eq!(judge(503), Some(Fault::Status(Status::SERVICE_UNAVAILABLE)));
        assert_eq!(judge(501), None);
        assert_eq!(judge(404), None);
    }

    #[test]
    fn the_budget_lets_one_of_two_go_and_never_all() {
        let budgets = [(10, 0, 0), (10, 1, 0), (10, 2, 1), (10, 19, 1), (10, 20, 2), (10, 1000, 100)];
        for (percent, total, budget) in budgets.into_iter().chain([(0, 1000, 0), (100, 3, 3), (100, 1, 1), (200, 3, 3)])
        {
            assert_eq!(ejection_budget(percent, total), budget, "{percent} % of {total}");
        }
    }

    #[test]
    fn windows_forget() {
        let spec = FailurePercentage { threshold: 50, window: 10 * SECOND, min_volume: 4 };
        let window = Window::default();
        assert_eq!(window.count(true, 20 * SECOND, &spec), (1, 1));
        assert_eq!(window.count(false, 25 * SECOND, &spec), (2, 1));
        assert_eq!(window.count(true, 29 * SECOND, &spec), (3, 2));
        assert_eq!(window.count(true, 30 * SECOND, &spec), (1, 1));
        window.clear();
        assert_eq!(window.count(false, 31 * SECOND, &spec), (1, 0));
    }

    #[test]
    fn a_full_window_stays_full() {
        let spec = FailurePercentage::default();
        let window = Window(AtomicU64::new(COUNT_MAX << COUNT_BITS | 7));
        assert_eq!(window.count(true, Duration::ZERO, &spec), (COUNT_MAX, 7));
    }

    #[test]
    fn a_share_counts_only_with_enough_requests() {
        let spec = FailurePercentage { threshold: 50, window: SECOND, min_volume: 10 };
        assert!(!is_too_many((9, 9), &spec));
        assert!(is_too_many((10, 5), &spec));
        assert!(!is_too_many((11, 5), &spec));
        assert!(!is_too_many((10, 0), &FailurePercentage { threshold: 0, ..spec }));
    }

    #[test]
    fn ejections_lengthen_and_are_lived_down() {
        let spec = PassiveSpec::default();
        let (mut ejections, mut now) = (Ejections::default(), Instant::now());
        let mut eject = |ejections: &mut Ejections, after: u64| {
            now += Duration::from_secs(after);
            let until = ejections.eject(now, &spec);
            let lasted = until - now;
            now = until;
            ejections.release(now);
            lasted.as_secs()
        };
        let lengths: Vec<u64> = (0..12).map(|_| eject(&mut ejections, 1)).collect();
        assert_eq!(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
        // Four base times in use take four steps back, and the ejection adds one.
        assert_eq!(eject(&mut ejections, 4 * 30), 7 * 30);
        assert_eq!(eject(&mut ejections, 29), 8 * 30);
        assert_eq!(eject(&mut ejections, 3600), 30);
    }

    #[test]
    fn odd_times_do_not_break_anything() {
        let now = Instant::now();
        let spec = PassiveSpec { base_ejection_time: Duration::MAX, ..PassiveSpec::default() };
        assert_eq!(Ejections::default().eject(now, &spec) - now, LONGEST);
        let spec = PassiveSpec { base_ejection_time: Duration::ZERO, ..PassiveSpec::default() };
        assert_eq!(Ejections::default().eject(now, &spec) - now, Duration::from_millis(1));
        let spec = PassiveSpec { max_ejection_time: Duration::ZERO, ..PassiveSpec::default() };
        assert_eq!(Ejections::default().eject(now, &spec) - now, Duration::from_secs(30));
    }
}
