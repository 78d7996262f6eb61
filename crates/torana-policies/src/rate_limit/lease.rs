//! What was taken from a store ahead of need.
//!
//! At most one question per key takes ahead, and only while nothing is left of
//! what was taken before: so a gateway never holds more than one lease of a
//! key, and what passes in one period is at most the limit and a lease for each
//! gateway, spent after the period it was taken in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use torana_core::store::{Standings, Take};

/// Leases by key.
pub(super) struct Leases {
    /// How much is taken at a time.
    pub(super) amount: u64,
    shards: Box<[Mutex<Shard>]>,
    /// Most keys of a shard.
    most: usize,
}

type Shard = HashMap<Box<[u8]>, Lease>;

#[derive(Default)]
struct Lease {
    left: u64,
    /// From when on it may not be spent any more.
    until: u64,
    /// Whether somebody takes ahead.
    is_asking: bool,
    standings: Standings,
    at: u64,
}

const SHARDS: usize = 16;

impl Leases {
    pub(super) fn new(amount: u64, keys: usize) -> Leases {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Leases { amount, shards, most: keys.div_ceil(SHARDS).max(1) }
    }

    fn shard(&self, take: &Take<'_>) -> MutexGuard<'_, Shard> {
        // Any spread will do: a map of its own protects each shard.
        let sum = take.key.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        self.shards[sum % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(take: &Take<'_>) -> Box<[u8]> {
        [take.scope.as_bytes(), &[0], take.key].concat().into()
    }

    /// Spends `take.cost` of what is left of a lease.
    pub(super) fn spend(&self, take: &Take<'_>) -> Option<Standings> {
        let mut shard = self.shard(take);
        let lease = shard.get_mut(&Leases::key(take))?;
        if lease.left < take.cost || take.now >= lease.until {
            return None;
        }
        lease.left -= take.cost;
        let (left, passed) = (lease.left, take.now.saturating_sub(lease.at));
        let mut standings = Standings::default();
        for standing in lease.standings.iter() {
            let mut standing = *standing;
            standing.left += left;
            standing.reset = standing.reset.saturating_sub(passed);
            standings.push(standing);
        }
        Some(standings)
    }

    /// Whether the caller is the one to take ahead; then it has to
    /// [`settle`](Asking::settle) what came of it.
    pub(super) fn ask(&self, take: &Take<'_>) -> Option<Asking<'_>> {
        let key = Leases::key(take);
        let mut shard = self.shard(take);
        if shard.len() >= self.most && !shard.contains_key(&key) {
            shard.retain(|_, lease| lease.is_asking || (lease.left > 0 && lease.until > take.now));
            if shard.len() >= self.most {
                // No room to keep a lease in, so none is taken.
                return None;
            }
        }
        let lease = shard.entry(key.clone()).or_default();
        let is_first = !std::mem::replace(&mut lease.is_asking, true);
        drop(shard);
        is_first.then(|| Asking { leases: self, key, shard: take.key.into() })
    }
}

/// Somebody who takes ahead. Given up, the next one may.
pub(super) struct Asking<'a> {
    leases: &'a Leases,
    key: Box<[u8]>,
    shard: Box<[u8]>,
}

impl Asking<'_> {
    fn with(&self, change: impl FnOnce(&mut Lease)) {
        let take = Take { scope: "", key: &self.shard, quotas: &[], cost: 0, up_to: 0, now: 0 };
        if let Some(lease) = self.leases.shard(&take).get_mut(&self.key) {
            change(lease);
        }
    }

    /// Keeps what was taken beyond need.
    pub(super) fn settle(self, left: u64, take: &Take<'_>, standings: Standings) {
        let lasts = take.quotas.iter().map(|quota| quota.period * quota.tick).min().unwrap_or(0);
        self.with(|lease| {
            (lease.left, lease.until, lease.at, lease.standings) = (left, take.now + lasts, take.now, standings);
        });
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.with(|lease| lease.is_asking = false);
    }
}
