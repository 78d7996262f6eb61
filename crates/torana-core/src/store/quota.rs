//! The arithmetic of limits: how much is left, what a charge does, and when
//! there will be room again.
//!
//! It is written once here and once in the script of the Redis engine, step by
//! step alike, and the same vectors test both. To make that possible all of it
//! is whole numbers below 2^53, which a Lua number holds exactly: a bucket is
//! kept in units of 1/`period` of a request, in which what leaks per tick is
//! `amount`, and a tick is as long as it must be for `amount × period` to fit.
//! So no rate is rounded, whatever it is.

use super::{MOST_QUOTAS, Standings, Take, Taken};
use std::collections::VecDeque;
use std::time::Duration;

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A bucket that leaks steadily: GCRA (ITU-T I.371), which is the same as a
    /// bucket of tokens that fills steadily.
    Bucket,
    /// So many per window; windows begin at multiples of their length.
    FixedWindow,
    /// As a fixed window, with the share of the window before that still
    /// overlaps the last `period`.
    SlidingWindow,
    /// So many in any stretch of time of this length, exactly. It remembers
    /// every charge.
    SlidingLog,
    /// So many at a time.
    Concurrency,
}

/// A limit, ready to count with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Its name, for headers, logs, and to tell it from others of the same key.
    pub name: Box<str>,
    /// How it counts.
    pub algorithm: Algorithm,
    /// How many per period; at a time for [`Algorithm::Concurrency`].
    pub amount: u64,
    /// Ticks per period.
    pub period: u64,
    /// Microseconds per tick: a power of ten.
    pub tick: u64,
    /// How many at once, of a bucket.
    pub burst: u64,
    /// What may be taken above `burst` by waiting for it, of a bucket, in its
    /// units.
    pub slack: u64,
}

/// Numbers stay below half of what a double holds exactly, so that sums of two
/// of them do too.
const LARGEST: u128 = 1 << 51;
/// The coarsest tick: a second.
const COARSEST: u64 = 1_000_000;

/// The most a [`Algorithm::SlidingLog`] may remember.
pub const LONGEST_LOG: u64 = 10_000;

/// Why there is no such quota. The texts go into diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// Nothing would ever pass.
    #[error("a limit of nothing: at least one request has to pass")]
    Nothing,
    /// The period is shorter than what is measured.
    #[error("the time is too short to count in")]
    TooShort,
    /// The numbers are beyond what is counted exactly.
    #[error("too large: so many over so long cannot be counted exactly")]
    TooLarge,
    /// A log of so many charges would not fit.
    #[error("`sliding_log` remembers every request, so 10000 at most; use `sliding_window`")]
    LongLog,
}

impl Quota {
    /// A limit of `amount` per `period`; `burst` at once and `delay` at most
    /// to wait matter to buckets only.
    ///
    /// # Errors
    /// It cannot be counted exactly, or lets nothing through.
    pub fn new(
        name: &str,
        algorithm: Algorithm,
        amount: u64,
        period: Duration,
        burst: u64,
        delay: Duration,
    ) -> Result<Quota, QuotaError> {
        if amount == 0 || burst == 0 {
            return Err(QuotaError::Nothing);
        }
        if algorithm == Algorithm::SlidingLog && amount > LONGEST_LOG {
            return Err(QuotaError::LongLog);
        }
        let (micros, delay) = (period.as_micros(), delay.as_micros());
        if micros == 0 {
            return Err(QuotaError::TooShort);
        }
        let mut tick = 1;
        loop {
            let period = micros / u128::from(tick);
            let slack = (delay / u128::from(tick)).saturating_mul(u128::from(amount));
            let most = u128::from(amount.max(burst)).saturating_mul(period).saturating_add(slack);
            // A tick has to divide the period, or the rate would be another.
            let is_exact = micros.is_multiple_of(u128::from(tick)) && period > 0;
            if !is_exact || tick > COARSEST {
                return Err(QuotaError::TooLarge);
            }
            if most <= LARGEST {
                let number = |value: u128| u64::try_from(value).map_err(|_| QuotaError::TooLarge);
                let (period, slack) = (number(period)?, number(slack)?);
                return Ok(Quota { name: name.into(), algorithm, amount, period, tick, burst, slack });
            }
            tick *= 10;
        }
    }

    /// The time of one period.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_micros(self.period * self.tick)
    }

    /// What a client is told it has at most.
    #[must_use]
    pub const fn most(&self) -> u64 {
        match self.algorithm {
            Algorithm::Bucket => self.burst,
            _ => self.amount,
        }
    }

    /// The same limit with `part` of `of` of what it lets through, but
    /// something: one gateway's share of a limit that several share.
    #[must_use]
    pub fn share(&self, part: u64, of: u64) -> Quota {
        let share = |value: u64| {
            let shared = u128::from(value) * u128::from(part) / u128::from(of.max(1));
            u64::try_from(shared).unwrap_or(value).clamp(1, value)
        };
        let amount = share(self.amount);
        // The same time to wait at the lower rate.
        let slack = self.slack / self.amount * amount;
        Quota { amount, burst: share(self.burst), slack, ..self.clone() }
    }
}

/// What is remembered of one quota and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// When it was last brought up to date; a window's beginning.
    at: u64,
    /// What is used: units of a bucket, requests of anything else.
    used: u64,
    /// What was used in the window before.
    before: u64,
    /// Charges and their times, oldest first.
    log: VecDeque<(u64, u64)>,
}

/// How it stands with a quota. Times are in microseconds from now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How much is left now.
    pub left: u64,
    /// When all of it is there again.
    pub reset: u64,
    /// When there will be room for the cost that was asked; 0 if there is,
    /// [`Standing::NEVER`] if that cannot be told or will never be.
    pub retry: u64,
    /// How long what was charged has to wait for its turn.
    pub wait: u64,
}

impl Standing {
    /// Stands for a time that does not come.
    pub const NEVER: u64 = 1 << 51;
}

/// Decides upon all quotas together: what `slots` say of them, and what of
/// `take.cost` to `take.up_to` is charged.
pub fn take(take: &Take<'_>, slots: &mut [Slot]) -> Taken {
    let pairs = || take.quotas.iter().take(MOST_QUOTAS);
    let mut room = u64::MAX;
    for (quota, slot) in pairs().zip(slots.iter_mut()) {
        slot.settle(quota, take.now / quota.tick);
        room = room.min(slot.room(quota, take.now / quota.tick));
    }
    let granted = if room >= take.cost { room.min(take.up_to) } else { 0 };
    let mut standings = Standings::default();
    for (quota, slot) in pairs().zip(slots.iter_mut()) {
        let now = take.now / quota.tick;
        if granted > 0 {
            slot.charge(quota, now, granted);
        }
        standings.push(slot.standing(quota, now, take.cost, granted > 0));
    }
    Taken { granted, standings, ticket: 0 }
}

impl Slot {
    /// Forgets what lies too far back. Time that runs backwards is taken to
    /// stand still.
    fn settle(&mut self, quota: &Quota, now: u64) {
        match quota.algorithm {
            Algorithm::Bucket => {
                let Some(elapsed) = now.checked_sub(self.at) else { return };
                // Compared before it is multiplied: the product stays small.
                let empty = self.used.div_ceil(quota.amount);
                self.used = if elapsed >= empty { 0 } else { self.used - elapsed * quota.amount };
                self.at = now;
            }
            Algorithm::FixedWindow | Algorithm::SlidingWindow => {
                let start = now - now % quota.period;
                if start > self.at {
                    self.before = if start - self.at == quota.period { self.used } else { 0 };
                    (self.at, self.used) = (start, 0);
                }
            }
            Algorithm::SlidingLog => {
                while let Some(&(time, charge)) = self.log.front()
                    && time + quota.period <= now
                {
                    self.used = self.used.saturating_sub(charge);
                    self.log.pop_front();
                }
            }
            Algorithm::Concurrency => {}
        }
    }

    /// How much may be charged.
    fn room(&self, quota: &Quota, now: u64) -> u64 {
        match quota.algorithm {
            Algorithm::Bucket => {
                let most = quota.burst * quota.period + quota.slack;
                (most.saturating_sub(self.used) / quota.period).min(quota.burst)
            }
            Algorithm::Concurrency if self.used < quota.amount => u64::MAX,
            Algorithm::Concurrency => 0,
            _ => self.left(quota, now),
        }
    }

    /// How much is left without waiting.
    fn left(&self, quota: &Quota, now: u64) -> u64 {
        match quota.algorithm {
            Algorithm::Bucket => (quota.burst * quota.period).saturating_sub(self.used) / quota.period,
            Algorithm::SlidingWindow => {
                let used = self.before * self.overlap(quota, now) + self.used * quota.period;
                (quota.amount * quota.period).saturating_sub(used) / quota.period
            }
            _ => quota.amount.saturating_sub(self.used),
        }
    }

    /// How much of the window before the last period still covers; also what
    /// is left of this window.
    fn overlap(&self, quota: &Quota, now: u64) -> u64 {
        quota.period - now.saturating_sub(self.at).min(quota.period)
    }

    fn charge(&mut self, quota: &Quota, now: u64, charge: u64) {
        match quota.algorithm {
            Algorithm::Bucket => self.used += charge * quota.period,
            Algorithm::FixedWindow | Algorithm::SlidingWindow => self.used += charge,
            Algorithm::SlidingLog => {
                self.used += charge;
                self.log.push_back((now, charge));
            }
            Algorithm::Concurrency => self.used += 1,
        }
    }

    /// Gives back a place of [`Algorithm::Concurrency`].
    pub(super) fn give_back(&mut self, quota: &Quota) {
        if quota.algorithm == Algorithm::Concurrency {
            self.used = self.used.saturating_sub(1);
        }
    }

    fn standing(&self, quota: &Quota, now: u64, cost: u64, is_granted: bool) -> Standing {
        let retry = if is_granted { 0 } else { self.retry(quota, now, cost) };
        let micros = |ticks: u64| ticks * quota.tick;
        let (reset, wait) = match quota.algorithm {
            Algorithm::Bucket => {
                let above = self.used.saturating_sub(quota.burst * quota.period);
                (self.used.div_ceil(quota.amount), above.div_ceil(quota.amount))
            }
            Algorithm::FixedWindow => (self.at + quota.period - now.min(self.at + quota.period), 0),
            Algorithm::SlidingWindow if self.used > 0 => (self.overlap(quota, now) + quota.period, 0),
            Algorithm::SlidingWindow if self.before > 0 => (self.overlap(quota, now), 0),
            Algorithm::SlidingLog => {
                (self.log.back().map_or(0, |(time, _)| (time + quota.period).saturating_sub(now)), 0)
            }
            Algorithm::SlidingWindow | Algorithm::Concurrency => (0, 0),
        };
        let retry = if retry == Standing::NEVER { retry } else { micros(retry) };
        Standing { left: self.left(quota, now), reset: micros(reset), retry, wait: micros(wait) }
    }

    /// Ticks until there is room for `cost`.
    fn retry(&self, quota: &Quota, now: u64, cost: u64) -> u64 {
        let most = if quota.algorithm == Algorithm::Bucket { quota.burst } else { quota.amount };
        if quota.algorithm == Algorithm::Concurrency {
            return if self.used < quota.amount { 0 } else { Standing::NEVER };
        }
        if cost > most {
            return Standing::NEVER;
        }
        if self.room(quota, now) >= cost {
            return 0;
        }
        match quota.algorithm {
            Algorithm::Bucket => {
                let most = quota.burst * quota.period + quota.slack;
                (self.used + cost * quota.period).saturating_sub(most).div_ceil(quota.amount)
            }
            Algorithm::FixedWindow => (self.at + quota.period).saturating_sub(now),
            Algorithm::SlidingWindow => self.retry_sliding(quota, now, cost),
            Algorithm::SlidingLog => {
                let mut left = quota.amount.saturating_sub(self.used);
                let enough = self.log.iter().find(|(_, charge)| {
                    left += charge;
                    left >= cost
                });
                enough.map_or(Standing::NEVER, |(time, _)| (time + quota.period).saturating_sub(now))
            }
            Algorithm::Concurrency => Standing::NEVER,
        }
    }

    /// Within this window if what fades of the one before is enough, else in
    /// the next, in which this one fades.
    fn retry_sliding(&self, quota: &Quota, now: u64, cost: u64) -> u64 {
        let overlap = self.overlap(quota, now);
        if self.used + cost <= quota.amount {
            let room = (quota.amount - self.used - cost) * quota.period;
            return overlap.saturating_sub(room / self.before.max(1));
        }
        let room = (quota.amount - cost) * quota.period;
        overlap + quota.period - (room / self.used.max(1)).min(quota.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn quota(algorithm: Algorithm, amount: u64, period: Duration) -> Quota {
        Quota::new("test", algorithm, amount, period, amount, Duration::ZERO).unwrap()
    }

    /// What `slot` grants of `cost` at `now` (microseconds).
    fn ask(quota: &Quota, slot: &mut Slot, now: u64, cost: u64) -> Taken {
        let quotas = std::slice::from_ref(quota);
        let asked = Take { scope: "", key: b"", quotas, cost, up_to: cost, now };
        take(&asked, std::slice::from_mut(slot))
    }

    /// How many of requests each `gap` microseconds pass until `end`.
    fn passed(quota: &Quota, gap: u64, end: u64) -> u64 {
        let mut slot = Slot::default();
        let start = 1_700_000_000_000_000;
        (0..end / gap).map(|step| ask(quota, &mut slot, start + step * gap, 1).granted).sum()
    }

    #[test]
    fn no_rate_is_rounded() {
        // 7 per second does not divide a second, 300 000 per second is more
        // than one per tick: after its burst, a bucket lets exactly as many
        // through as were written.
        for (amount, gap) in [(7, 1000), (300_000, 1), (1, 50_000)] {
            let passed = passed(&quota(Algorithm::Bucket, amount, SECOND), gap, 2_000_000);
            assert!((amount * 3 - 1..=amount * 3).contains(&passed), "{amount}: {passed}");
        }
    }

    #[test]
    fn no_window_of_a_log_holds_more_than_the_limit() {
        let quota = quota(Algorithm::SlidingLog, 5, SECOND);
        let (mut slot, mut times, mut random) = (Slot::default(), Vec::new(), 7_u64);
        let mut now = 1_700_000_000_000_000;
        for _ in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now += random >> 46;
            if ask(&quota, &mut slot, now, 1).granted == 1 {
                times.push(now);
            }
        }
        assert!(times.len() > 500, "{}", times.len());
        assert!(times.windows(6).all(|six| six[5] - six[0] >= 1_000_000));
    }

    #[test]
    fn a_request_that_waits_as_long_as_it_is_told_passes_and_one_tick_earlier_does_not() {
        for algorithm in [Algorithm::Bucket, Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::SlidingLog] {
            let quota = quota(algorithm, 9, SECOND);
            let (mut slot, mut random, mut refused) = (Slot::default(), 3_u64, 0);
            let mut now = 1_700_000_000_000_000;
            for _ in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                now += random >> 48;
                let cost = 1 + (random >> 20) % 4;
                let taken = ask(&quota, &mut slot, now, cost);
                if taken.granted == 0 {
                    refused += 1;
                    let retry = taken.standings[0].retry;
                    let at = |wait: u64| ask(&quota, &mut slot.clone(), now + wait, cost).granted;
                    assert_eq!(at(retry), cost, "{algorithm:?} after {retry}");
                    assert_eq!(at(retry - 1), 0, "{algorithm:?} before {retry}");
                }
            }
            assert!(refused > 1000, "{algorithm:?}: {refused}");
        }
    }

    #[test]
    fn what_cannot_be_counted_exactly_is_refused_and_large_quotas_are_not() {
        let month = Duration::from_secs(30 * 86_400);
        let of = |algorithm, amount, period| Quota::new("q", algorithm, amount, period, amount, Duration::ZERO);
        assert_eq!(of(Algorithm::Bucket, 1_000_000, month).unwrap().tick, 10_000);
        assert_eq!(of(Algorithm::Bucket, 1_000_000, month).unwrap().window(), month);
        assert!(of(Algorithm::FixedWindow, 500_000_000, month).is_ok());
        assert_eq!(of(Algorithm::Bucket, u64::MAX, month), Err(QuotaError::TooLarge));
        assert_eq!(of(Algorithm::Bucket, 1, Duration::MAX), Err(QuotaError::TooLarge));
        assert_eq!(of(Algorithm::Bucket, 0, month), Err(QuotaError::Nothing));
        assert_eq!(of(Algorithm::Bucket, 1, Duration::from_nanos(9)), Err(QuotaError::TooShort));
        assert_eq!(of(Algorithm::SlidingLog, 10_001, month), Err(QuotaError::LongLog));
    }

    #[test]
    fn a_share_is_never_nothing() {
        let quota = Quota::new("q", Algorithm::Bucket, 100, SECOND, 10, Duration::from_millis(100)).unwrap();
        let third = quota.share(1, 3);
        assert_eq!((third.amount, third.burst, third.slack), (33, 3, 100_000 * 33));
        assert_eq!((quota.share(1, 1000).amount, quota.share(1, 1000).burst), (1, 1));
        assert_eq!(quota.share(1, 1), quota);
    }

    #[test]
    fn time_that_runs_backwards_stands_still() {
        for algorithm in [Algorithm::Bucket, Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::SlidingLog] {
            let quota = quota(algorithm, 2, SECOND);
            let mut slot = Slot::default();
            let now = 1_700_000_000_500_000;
            assert_eq!(ask(&quota, &mut slot, now, 2).granted, 2);
            assert_eq!(ask(&quota, &mut slot, now - 5_000_000, 1).granted, 0, "{algorithm:?}");
            assert_eq!(ask(&quota, &mut slot, now + 2_000_000, 2).granted, 2, "{algorithm:?}");
        }
    }
}
