//! How much of the traffic may be retries.

use std::cell::{Cell, RefCell};
use std::time::Instant;
use torana_core::metric::Counter;
use torana_core::units::Percent;

/// How far back it looks, in seconds: the lifetime of a deposit in Finagle and
/// Linkerd.
const WINDOW: usize = 10;

/// The budget of retries.
///
/// **What it promises**, per worker and whenever a retry is granted: the
/// retries and hedges of the last ten seconds, this one included, are at most
/// `share` of the requests of the same ten seconds plus `min_per_second` for
/// each of them. Over any longer time, an upstream gets at most `1 + share`
/// times the requests, and the minimum.
///
/// Two ways are in use: Envoy's, a share of the requests *in flight*, and
/// Finagle's (and Linkerd's), a share of the requests *made* in the last ten
/// seconds. This is Finagle's: an upstream that refuses within a millisecond
/// never has many retries in flight, so Envoy's minimum of 3 admits thousands
/// a second just when they do most harm; and a worker's share of the requests
/// in flight is often below five, of which 20 % are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetSpec {
    /// Retries per request.
    pub share: Percent,
    /// Retries per second and worker that are granted anyway, so that little
    /// traffic may retry as well. They can be saved up for ten seconds.
    pub min_per_second: u32,
}

impl BudgetSpec {
    /// 20 % (Finagle, Linkerd, Envoy) and 3 per second and worker.
    pub const DEFAULT: BudgetSpec = BudgetSpec { share: Percent::new(20), min_per_second: 3 };
}

impl Default for BudgetSpec {
    fn default() -> Self {
        BudgetSpec::DEFAULT
    }
}

/// The budget of one upstream on one worker.
#[derive(Debug)]
pub struct Budget {
    spec: Option<BudgetSpec>,
    born: Instant,
    /// The second that the newest slot counts.
    second: Cell<u64>,
    /// Of the window.
    requests: Cell<u64>,
    retries: Cell<u64>,
    slots: RefCell<[Slot; WINDOW]>,
    all_requests: Counter,
    all_retries: Counter,
    denied: Counter,
}

/// One second.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    retries: u64,
}

/// What has been sent so far. The amplification is
/// `(requests + retries) / requests`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BudgetCounts {
    /// Requests, each counted once.
    pub requests: u64,
    /// Retries and hedges that the budget granted.
    pub retries: u64,
    /// Retries and hedges that it did not.
    pub denied: u64,
}

impl Budget {
    /// A budget; without a spec it grants everything and only counts.
    #[must_use]
    pub fn new(spec: Option<BudgetSpec>, now: Instant) -> Budget {
        Budget {
            spec,
            born: now,
            second: Cell::new(0),
            requests: Cell::new(0),
            retries: Cell::new(0),
            slots: RefCell::default(),
            all_requests: Counter::default(),
            all_retries: Counter::default(),
            denied: Counter::default(),
        }
    }

    /// Counts a request that is sent for the first time. To be called for
    /// every request: what it earns is what retries spend.
    pub fn deposit(&self, now: Instant) {
        self.all_requests.add(1);
        if self.spec.is_some() {
            let position = self.turn(now);
            self.requests.set(self.requests.get() + 1);
            self.slots.borrow_mut()[position].requests += 1;
        }
    }

    /// Asks for one more send; true takes it from the budget.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        if let Some(spec) = self.spec {
            let position = self.turn(now);
            let reserve = u64::from(spec.min_per_second) * WINDOW as u64;
            if self.retries.get() >= spec.share.of(self.requests.get()) + reserve {
                self.denied.add(1);
                return false;
            }
            self.retries.set(self.retries.get() + 1);
            self.slots.borrow_mut()[position].retries += 1;
        }
        self.all_retries.add(1);
        true
    }

    /// What has been sent so far.
    #[must_use]
    pub fn counts(&self) -> BudgetCounts {
        BudgetCounts {
            requests: self.all_requests.value(),
            retries: self.all_retries.value(),
            denied: self.denied.value(),
        }
    }

    /// Forgets what left the window; returns the slot of `now`.
    fn turn(&self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.born).as_secs();
        let seen = self.second.get();
        if second > seen {
            self.second.set(second);
            let mut slots = self.slots.borrow_mut();
            // After a pause of more than a window, every slot is old.
            for old in (seen + 1..=second).take(WINDOW) {
                let slot = std::mem::take(&mut slots[position(old)]);
                self.requests.set(self.requests.get() - slot.requests);
                self.retries.set(self.retries.get() - slot.retries);
            }
        }
        position(self.second.get())
    }
}

/// Which of the ring a second has. The remainder is below the ring's length.
#[allow(clippy::cast_possible_truncation, reason = "a remainder below ten fits anywhere")]
const fn position(second: u64) -> usize {
    (second % WINDOW as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn withdrawals(budget: &Budget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn a_fifth_of_the_requests_and_the_reserve() {
        let now = Instant::now();
        let budget = Budget::new(Some(BudgetSpec::DEFAULT), now);
        assert_eq!(withdrawals(&budget, now), 30, "three a second, saved up for ten");
        for _ in 0..14 {
            budget.deposit(now);
        }
        assert_eq!(withdrawals(&budget, now), 2, "a fifth of 14, rounded down");
        assert_eq!(budget.counts(), BudgetCounts { requests: 14, retries: 32, denied: 2 });
    }

    #[test]
    fn what_was_earned_and_spent_expires_after_ten_seconds() {
        let start = Instant::now();
        let none = BudgetSpec { min_per_second: 0, ..BudgetSpec::DEFAULT };
        let budget = Budget::new(Some(none), start);
        let at = |second| start + Duration::from_secs(second);
        for _ in 0..100 {
            budget.deposit(at(0));
        }
        assert_eq!(withdrawals(&budget, at(9)), 20);
        assert_eq!(withdrawals(&budget, at(10)), 0, "the requests expired, the retries did not");
        for _ in 0..100 {
            budget.deposit(at(10));
        }
        assert_eq!(withdrawals(&budget, at(18)), 0);
        assert_eq!(withdrawals(&budget, at(19)), 20);
        assert_eq!(withdrawals(&budget, at(1_000_000)), 0, "a long pause leaves nothing");
        assert_eq!(withdrawals(&budget, at(3)), 0, "nor does a clock that goes back");
    }

    #[test]
    fn without_a_spec_it_only_counts() {
        let now = Instant::now();
        let budget = Budget::new(None, now);
        budget.deposit(now);
        assert_eq!(withdrawals(&budget, now), 10_000);
        assert_eq!(budget.counts(), BudgetCounts { requests: 1, retries: 10_000, denied: 0 });
    }
}
