//! What has happened lately, counted by all workers without a lock.
//!
//! A ring of [`BUCKETS`] buckets, each a tenth of the window. A bucket's
//! counts and the tag that says whose they are share one atomic word, so
//! adding is one compare-and-swap, and a sample can never land in a bucket
//! that has been taken for a later time or a later phase. Taking a bucket for
//! a new time happens once per bucket and holds a lock for a few instructions.

use super::phase::Word;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Buckets in a window, as Hystrix and Cosmo have it.
pub(super) const BUCKETS: usize = 10;

/// The shortest bucket: below it, rotating would be what a breaker does.
const SHORTEST_BUCKET: u64 = 10_000;

/// Most requests a bucket counts; the share stays right beyond.
const MOST: u64 = 0xffff;

/// Requests in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) total: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

/// One bucket.
#[derive(Debug, Default)]
struct Bucket {
    /// Generation (28 bits) and tick (36 bits) that it counts; no generation
    /// is 0.
    stamp: AtomicU64,
    /// Tag of the stamp, total, failed, slow: 16 bits each.
    counts: AtomicU64,
}

impl Bucket {
    /// Adds a sample, unless the bucket counts another stamp by now.
    fn count(&self, stamp: u64, sample: u64) {
        let mut seen = self.counts.load(Ordering::Relaxed);
        while seen >> 48 == tag(stamp) {
            let room = if seen >> 32 & MOST == MOST { halve(seen) } else { seen };
            match self.counts.compare_exchange_weak(seen, room + sample, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }
}

/// The window of one breaker.
#[derive(Debug)]
pub(super) struct Window {
    bucket_micros: u64,
    buckets: [Bucket; BUCKETS],
    renewal: Mutex<()>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Window {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX) / BUCKETS as u64;
        Window { bucket_micros: micros.max(SHORTEST_BUCKET), buckets: Default::default(), renewal: Mutex::new(()) }
    }

    /// Counts one request that ended at `micros` in the phase of `word`. What
    /// comes a whole window late is not counted.
    pub(super) fn add(&self, word: Word, micros: u64, failed: bool, slow: bool) {
        let tick = micros / self.bucket_micros;
        let stamp = stamp(word, tick);
        let bucket = &self.buckets[position(tick)];
        if bucket.stamp.load(Ordering::Acquire) != stamp && !self.renew(bucket, stamp) {
            return;
        }
        bucket.count(stamp, 1 << 32 | u64::from(failed) << 16 | u64::from(slow));
    }

    /// Takes `bucket` for `stamp`; false if it is already taken for later.
    #[cold]
    fn renew(&self, bucket: &Bucket, stamp: u64) -> bool {
        let _renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let current = bucket.stamp.load(Ordering::Relaxed);
        if current == stamp {
            return true;
        }
        // Ahead, as serial numbers go (RFC 1982): generations may wrap.
        if current != 0 && current.wrapping_sub(stamp) < 1 << 63 {
            return false;
        }
        // The tag first: whoever sees the stamp then sees counts of its own,
        // and whoever still holds the old stamp fails on the tag.
        bucket.counts.store(tag(stamp) << 48, Ordering::Relaxed);
        bucket.stamp.store(stamp, Ordering::Release);
        true
    }

    /// What the window that ends at `micros` holds.
    pub(super) fn tally(&self, word: Word, micros: u64) -> Tally {
        let newest = stamp(word, micros / self.bucket_micros);
        let mut tally = Tally::default();
        for bucket in &self.buckets {
            let stamp = bucket.stamp.load(Ordering::Acquire);
            let counts = bucket.counts.load(Ordering::Relaxed);
            // Another worker's clock may be a little ahead of this one's.
            let current = stamp >> 36 == newest >> 36 && newest < stamp + BUCKETS as u64;
            if current && counts >> 48 == tag(stamp) {
                tally.total += counts >> 32 & MOST;
                tally.failed += counts >> 16 & MOST;
                tally.slow += counts & MOST;
            }
        }
        tally
    }
}

/// Which of the ring a tick has. The remainder is below the ring's length.
#[allow(clippy::cast_possible_truncation, reason = "a remainder below ten fits anywhere")]
const fn position(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

const fn stamp(word: Word, tick: u64) -> u64 {
    word.generation() << 36 | tick & 0xf_ffff_ffff
}

/// Sixteen bits that differ between a bucket's neighbouring uses: the low bits
/// of the generation and of the tick.
const fn tag(stamp: u64) -> u64 {
    (stamp >> 36 & 0xff) << 8 | stamp & 0xff
}

/// All three counts halved, to make room: the shares stay.
const fn halve(counts: u64) -> u64 {
    counts & 0xffff << 48 | counts >> 1 & 0x7fff_7fff_7fff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::phase::Phase;

    const SECOND: u64 = 1_000_000;

    fn window() -> Window {
        Window::new(Duration::from_secs(10))
    }

    #[test]
    fn the_window_slides_by_buckets() {
        let (window, word) = (window(), Word::FIRST);
        for second in 0..30 {
            for _ in 0..=second {
                window.add(word, second * SECOND, second % 2 == 0, second % 5 == 0);
            }
        }
        // Seconds 20 to 29: 21 + … + 30; even ones failed, 20 and 25 slow.
        let tally = window.tally(word, 29 * SECOND);
        assert_eq!(tally, Tally { total: 255, failed: 21 + 23 + 25 + 27 + 29, slow: 21 + 26 });
        assert_eq!(window.tally(word, 38 * SECOND).total, 30, "the last second is left");
        assert_eq!(window.tally(word, 39 * SECOND), Tally::default());
    }

    #[test]
    fn a_bucket_left_alone_for_long_is_not_taken_for_a_recent_one() {
        let (window, word) = (window(), Word::FIRST);
        window.add(word, 0, true, false);
        for laps in 1..5000 {
            assert_eq!(window.tally(word, laps * 10 * SECOND), Tally::default(), "{laps}");
        }
    }

    #[test]
    fn samples_of_another_phase_or_time_do_not_count() {
        let (window, old) = (window(), Word::FIRST);
        let new = old.next(Phase::Closed);
        window.add(old, SECOND, true, false);
        assert_eq!(window.tally(new, SECOND), Tally::default());
        window.add(new, SECOND, false, false);
        window.add(old, SECOND, true, false);
        assert_eq!(window.tally(new, SECOND), Tally { total: 1, failed: 0, slow: 0 });
        window.add(new, 11 * SECOND, false, false);
        window.add(new, SECOND, true, false);
        assert_eq!(window.tally(new, 11 * SECOND), Tally { total: 1, failed: 0, slow: 0 }, "ten seconds late");
        window.add(new, 10 * SECOND, false, false);
        assert_eq!(window.tally(new, 10 * SECOND).total, 2, "a clock that is behind sees what is ahead of it");
    }

    /// A thread finds its bucket, sleeps, and wakes when the bucket has been
    /// taken for a later time or phase.
    #[test]
    fn a_bucket_that_was_taken_meanwhile_does_not_count_the_sample() {
        let (window, old) = (window(), Word::FIRST);
        let new = old.next(Phase::Closed);
        window.add(old, SECOND, true, false);
        window.add(old, 11 * SECOND, false, false);
        window.buckets[1].count(stamp(old, 1), 1 << 32);
        assert_eq!(window.tally(old, 11 * SECOND).total, 1);
        window.add(new, 11 * SECOND, false, false);
        window.buckets[1].count(stamp(old, 11), 1 << 32);
        assert_eq!(window.tally(new, 11 * SECOND).total, 1);
        window.buckets[1].count(stamp(new, 11), 1 << 32);
        assert_eq!(window.tally(new, 11 * SECOND).total, 2);
    }

    #[test]
    fn a_full_bucket_keeps_its_shares() {
        let (window, word) = (window(), Word::FIRST);
        for index in 0..200_000 {
            window.add(word, 0, index % 4 == 0, index % 10 == 0);
        }
        let tally = window.tally(word, 0);
        assert!(tally.total > 30_000, "{tally:?}");
        for (part, share) in [(tally.failed, 25), (tally.slow, 10)] {
            let tenths = part * 1000 / tally.total;
            assert!(tenths.abs_diff(share * 10) <= 1, "{tally:?}");
        }
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let window = window();
        let word = Word::FIRST;
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let window = &window;
                scope.spawn(move || {
                    for index in 0..10_000 {
                        // Five seconds: every thread renews buckets.
                        window.add(word, index * 500, thread == 0, false);
                    }
                });
            }
        });
        assert_eq!(window.tally(word, 5 * SECOND), Tally { total: 40_000, failed: 10_000, slow: 0 });
    }
}
