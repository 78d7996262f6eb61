//! How many requests may be under way.
//!
//! The gradient rule is that of Netflix' concurrency-limits ("Gradient2"): the
//! limit is multiplied by how much slower replies are than over a longer time,
//! and gets room for a queue of its square root, so that it can grow. Where
//! that is not wanted, AIMD is TCP's: one more, or a tenth less.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};
use torana_core::units::Percent;

/// How the limit follows latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Gradient,
    /// What is too slow.
    Aimd(Duration),
}

/// Requests under way, and how many there may be.
pub(super) struct Limiter {
    rule: Rule,
    min: f64,
    max: f64,
    under_way: AtomicU32,
    limit: AtomicU32,
    window: Mutex<Window>,
}

/// What was measured since the limit last changed.
struct Window {
    /// The limit, with its fraction.
    limit: f64,
    /// The latency of a longer time, in seconds; 0 before the first window.
    usual: f64,
    sum: f64,
    count: u32,
    /// The most that were under way.
    most: u32,
    since: Option<Instant>,
}

/// A window has so many samples, at least,
const SAMPLES: u32 = 10;
/// and takes so long.
const WINDOW: Duration = Duration::from_millis(100);
/// Latency may grow by a half before it counts as slow: less is noise.
const TOLERANCE: f64 = 1.5;
/// How fast the limit follows.
const SMOOTHING: f64 = 0.2;
/// How fast the usual latency follows: about 600 windows.
const USUAL: f64 = 2.0 / 601.0;
/// AIMD takes a tenth off.
const BACK_OFF: f64 = 0.9;

impl Limiter {
    pub(super) fn new(rule: Rule, min: u32, max: u32, initial: u32) -> Limiter {
        let initial = initial.clamp(min, max);
        let window = Window { limit: f64::from(initial), usual: 0.0, sum: 0.0, count: 0, most: 0, since: None };
        Limiter {
            rule,
            min: f64::from(min),
            max: f64::from(max),
            under_way: AtomicU32::new(0),
            limit: AtomicU32::new(initial),
            window: Mutex::new(window),
        }
    }

    /// Lets a request in if there is room for its class. Two additions at most,
    /// however many are refused.
    pub(super) fn enter(&self, share: Percent) -> bool {
        let room = share.of(u64::from(self.limit.load(Ordering::Relaxed))).max(1);
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        if u64::from(before) < room {
            return true;
        }
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// A request that was let in is over.
    pub(super) fn leave(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// A reply began `latency` after its request was sent, at `now`.
    pub(super) fn sample(&self, now: Instant, latency: Duration) {
        self.change(|window| {
            window.sum += latency.as_secs_f64();
            window.count += 1;
            window.most = window.most.max(self.under_way.load(Ordering::Relaxed));
            let since = *window.since.get_or_insert(now);
            if window.count >= SAMPLES && now.saturating_duration_since(since) >= WINDOW {
                window.close(self.rule, now);
            }
        });
    }

    /// A request had no reply in time.
    pub(super) fn timed_out(&self) {
        self.change(|window| window.limit *= BACK_OFF);
    }

    fn change(&self, change: impl FnOnce(&mut Window)) {
        let mut window = match self.window.try_lock() {
            Ok(window) => window,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another worker is at it: a sample more or less does not matter,
            // waiting would.
            Err(TryLockError::WouldBlock) => return,
        };
        change(&mut window);
        window.limit = window.limit.clamp(self.min, self.max);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between min and max, which are u32"
        )]
        self.limit.store(window.limit as u32, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }
}

impl Window {
    fn close(&mut self, rule: Rule, now: Instant) {
        let now_latency = (self.sum / f64::from(self.count.max(1))).max(1e-6);
        // Who uses less than half of the room says nothing about the rest.
        let is_used = f64::from(self.most) * 2.0 >= self.limit;
        match rule {
            Rule::Aimd(latency) if now_latency > latency.as_secs_f64() => self.limit *= BACK_OFF,
            Rule::Aimd(_) => self.limit += if is_used { 1.0 } else { 0.0 },
            Rule::Gradient => {
                if self.usual == 0.0 {
                    self.usual = now_latency;
                }
                self.usual += (now_latency - self.usual) * USUAL;
                // After an overload the usual latency must not stay high.
                if self.usual > now_latency * 2.0 {
                    self.usual *= 0.95;
                }
                if is_used {
                    let gradient = (TOLERANCE * self.usual / now_latency).clamp(0.5, 1.0);
                    let wanted = self.limit * gradient + self.limit.sqrt();
                    self.limit += (wanted - self.limit) * SMOOTHING;
                }
            }
        }
        (self.sum, self.count, self.most, self.since) = (0.0, 0, 0, Some(now));
    }
}
