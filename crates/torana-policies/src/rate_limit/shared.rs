//! Counting in a store: exactly or ahead of need, and what is done without it.

use super::lease::Leases;
use super::written::Then;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use torana_core::store::memory::MemoryCounters;
use torana_core::store::{Standings, Store, StoreError, Take, Taken};

/// A store, and what stands in for it.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    /// Where shares are counted.
    pub(super) local: Arc<MemoryCounters>,
    pub(super) leases: Option<Arc<Leases>>,
    /// For how many microseconds shares are counted; `None`: for ever.
    pub(super) lasts: Option<u64>,
    pub(super) then: Then,
    /// Since when the store is down; 0 if it is not.
    pub(super) down: Arc<AtomicU64>,
}

/// What is done without the store.
pub(super) enum Step {
    /// Count the gateway's share.
    Share,
    /// Let everything pass.
    Open,
    /// Let nothing pass.
    Closed,
}

impl Shared {
    /// What a lease pays for at once.
    pub(super) fn leased(&self, take: &Take<'_>) -> Option<Standings> {
        self.leases.as_ref()?.spend(take)
    }

    /// Asks the store.
    pub(super) async fn take(&self, take: &Take<'_>) -> Result<Taken, StoreError> {
        let asking = self.leases.as_ref().and_then(|leases| Some((leases, leases.ask(take)?)));
        let up_to = asking.as_ref().map_or(take.cost, |(leases, _)| take.cost.max(leases.amount));
        let mut taken = self.store.counters().take(&Take { up_to, ..*take }).get().await?;
        self.down.store(0, Ordering::Relaxed);
        if let Some((_, asking)) = asking {
            asking.settle(taken.granted.saturating_sub(take.cost), take, taken.standings);
        }
        if taken.granted == 0
            // What somebody else took ahead meanwhile may be what is missing.
            && let Some(standings) = self.leased(take)
        {
            taken.granted = take.cost;
            taken.standings = standings;
        }
        Ok(taken)
    }

    /// What is done with a request of `now` that the store did not count.
    pub(super) fn step(&self, now: u64) -> Step {
        let then = match self.then {
            Then::Open => Step::Open,
            Then::Closed => Step::Closed,
        };
        let Some(lasts) = self.lasts else { return Step::Share };
        // The first to notice says since when.
        let since = self.down.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        let since = since.map_or_else(|known| known, |_| now);
        if now.saturating_sub(since) < lasts { Step::Share } else { then }
    }
}
