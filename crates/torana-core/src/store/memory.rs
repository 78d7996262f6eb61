//! Counters in the memory of this process: exact, and never further away than
//! a mutex.
//!
//! Memory is bounded: a table has room for so many keys and takes no more. A
//! key is a digest of 128 bits under a secret of the process, so it costs the
//! same however long a client makes it, and nobody can choose keys that fall
//! together.
//!
//! **Eviction.** When a table is full, a new key takes the place of one whose
//! counters have run out, or else of the *least used* of a few picked at
//! random. A flood of keys that are each used once thus evicts itself: to push
//! out a key that has used up its limit, a client would have to use up the
//! limits of all the keys it sends first.

use super::quota::{self, Quota, Slot, Standing};
use super::{Counters, Soon, StoreError, Take, Taken};
use crate::keyed::Secret;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many keys are looked at to find one to evict.
const SAMPLE: usize = 8;
/// Workers that count different keys rarely meet at one mutex.
const SHARDS: usize = 16;

/// Counters in memory.
pub struct MemoryCounters {
    shards: Box<[Mutex<Shard>]>,
    secret: Secret,
}

/// A part of the keys.
#[derive(Default)]
struct Shard {
    places: HashMap<u128, usize, BuildHasherDefault<Digested>>,
    entries: Vec<Entry>,
    most: usize,
    /// State of a generator of numbers that need not be good.
    random: u64,
    /// Of the next entry.
    serial: u64,
}

struct Entry {
    key: u128,
    /// Tells an entry from those that had its key before it was evicted.
    serial: u64,
    /// How much of its limits is used up, out of [`ALL`].
    usage: u64,
    /// From when on nothing of it is left.
    until: u64,
    slots: Box<[Slot]>,
}

/// The usage of a limit that is used up.
const ALL: u64 = 1 << 16;

impl MemoryCounters {
    /// Counters of at most `keys` keys, about: they are spread over shards.
    #[must_use]
    pub fn new(keys: usize) -> MemoryCounters {
        let most = keys.div_ceil(SHARDS).max(1);
        let shard = |index| Mutex::new(Shard { most, random: index, ..Shard::default() });
        MemoryCounters { shards: (1..=SHARDS as u64).map(shard).collect(), secret: Secret::random() }
    }

    fn shard(&self, key: u128) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(key % SHARDS as u128).unwrap_or_default();
        // A panic in between leaves numbers that are at worst a charge off.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`Counters::take`], at once.
    #[must_use]
    pub fn take_now(&self, take: &Take<'_>) -> Taken {
        let key = self.secret.digest_pair(take.scope.as_bytes(), take.key);
        let mut shard = self.shard(key);
        let entry = shard.entry(key, take);
        let taken = quota::take(take, &mut entry.slots);
        entry.usage = 0;
        entry.until = take.now;
        for (quota, (standing, slot)) in take.quotas.iter().zip(taken.standings.iter().zip(&entry.slots)) {
            let most = quota.most();
            let used = most.saturating_sub(standing.left);
            entry.usage = entry.usage.max(used.saturating_mul(ALL) / most);
            // What runs has no time of its end.
            let lasts = if slot.is_held(quota) { Standing::NEVER } else { standing.reset };
            entry.until = entry.until.max(take.now.saturating_add(lasts));
        }
        Taken { ticket: entry.serial, ..taken }
    }

    /// How many keys are counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).entries.len()).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Counters for MemoryCounters {
    fn take(&self, take: &Take<'_>) -> Soon<Result<Taken, StoreError>> {
        Soon::Now(Ok(self.take_now(take)))
    }

    fn release(&self, take: &Take<'_>, ticket: u64) {
        let key = self.secret.digest_pair(take.scope.as_bytes(), take.key);
        let mut shard = self.shard(key);
        let Some(index) = shard.places.get(&key).copied() else { return };
        if let Some(entry) = shard.entries.get_mut(index).filter(|entry| entry.serial == ticket) {
            for (quota, slot) in take.quotas.iter().zip(&mut entry.slots) {
                slot.give_back(quota);
            }
        }
    }
}

impl Shard {
    /// The entry of `key`, made if there is none.
    fn entry(&mut self, key: u128, take: &Take<'_>) -> &mut Entry {
        let index = match self.places.get(&key) {
            Some(index) => *index,
            None => self.place(key, take.now),
        };
        let entry = &mut self.entries[index];
        if entry.slots.len() != take.quotas.len() {
            entry.slots = take.quotas.iter().map(|_| Slot::default()).collect();
        }
        entry
    }

    #[cold]
    fn place(&mut self, key: u128, now: u64) -> usize {
        self.serial += 1;
        let fresh = Entry { key, serial: self.serial, usage: 0, until: 0, slots: Box::default() };
        let index = if self.entries.len() < self.most {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let index = self.least_used(now);
            let old = std::mem::replace(&mut self.entries[index], fresh);
            self.places.remove(&old.key);
            index
        };
        self.places.insert(key, index);
        index
    }

    fn least_used(&mut self, now: u64) -> usize {
        let mut least = (u64::MAX, 0);
        for _ in 0..SAMPLE {
            let index = self.pick();
            let entry = &self.entries[index];
            let usage = if entry.until <= now { 0 } else { entry.usage + 1 };
            least = least.min((usage, index));
            if usage == 0 {
                break;
            }
        }
        least.1
    }

    /// Some position, by xorshift (Marsaglia 2003).
    fn pick(&mut self) -> usize {
        let mut x = self.random;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random = x;
        usize::try_from(x % self.entries.len() as u64).unwrap_or_default()
    }
}

impl Slot {
    /// Whether it counts what runs, and something does.
    fn is_held(&self, quota: &Quota) -> bool {
        quota.algorithm == quota::Algorithm::Concurrency && *self != Slot::default()
    }
}

/// Keys are digests already.
#[derive(Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        // The lower bits have chosen the shard.
        self.0 = u64::try_from(key >> 64).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;
    use quota::Algorithm;
    use std::time::Duration;

    const NOW: u64 = 1_700_000_000_000_000;

    fn quota(algorithm: Algorithm, amount: u64) -> Quota {
        Quota::new("q", algorithm, amount, Duration::from_secs(60), amount, Duration::ZERO).unwrap()
    }

    fn asks<'a>(key: &'a str, quotas: &'a [Quota], now: u64) -> Take<'a> {
        Take { scope: "test", key: key.as_bytes(), quotas, cost: 1, up_to: 1, now }
    }

    #[test]
    fn memory_takes_the_steps_of_all_vectors() {
        for vector in vectors::VECTORS {
            let counters = MemoryCounters::new(1);
            vector.run(|take| counters.take_now(take));
        }
    }

    #[test]
    fn keys_and_scopes_are_counted_apart() {
        let counters = MemoryCounters::new(100);
        let quotas = [quota(Algorithm::Bucket, 1)];
        let grants = |scope, key: &str| counters.take_now(&Take { scope, ..asks(key, &quotas, NOW) }).granted;
        assert_eq!([grants("a", "b"), grants("a", "b"), grants("a", "c"), grants("b", "b")], [1, 0, 1, 1]);
        assert_eq!([grants("ab", "c"), grants("a", "bc")], [1, 1]);
        assert_eq!(counters.len(), 5);
    }

    #[test]
    fn a_flood_of_keys_does_not_reset_one_that_is_used_up() {
        let counters = MemoryCounters::new(1000);
        let quotas = [quota(Algorithm::Bucket, 100)];
        let victims: Vec<String> = (0..50).map(|number| format!("victim {number}")).collect();
        for victim in &victims {
            let taken = counters.take_now(&Take { cost: 100, up_to: 100, ..asks(victim, &quotas, NOW) });
            assert_eq!(taken.granted, 100);
        }
        for number in 0..100_000 {
            let _ = counters.take_now(&asks(&format!("flood {number}"), &quotas, NOW + 1));
        }
        assert!(counters.len() <= 1008, "{}", counters.len());
        let passed = victims.iter().filter(|victim| counters.take_now(&asks(victim, &quotas, NOW + 2)).granted > 0);
        assert_eq!(passed.count(), 0);
    }

    #[test]
    fn what_has_run_out_goes_first() {
        let counters = MemoryCounters::new(160);
        let quotas = [quota(Algorithm::Bucket, 100)];
        for number in 0..16_000 {
            let _ = counters.take_now(&Take { cost: 90, up_to: 90, ..asks(&number.to_string(), &quotas, NOW) });
        }
        // An hour later all have run out: a key in use is not evicted before
        // them, however little it is used.
        let later = NOW + 3_600_000_000;
        let _ = counters.take_now(&asks("mine", &quotas, later));
        for number in 0..30 {
            let _ = counters.take_now(&asks(&format!("new {number}"), &quotas, later));
        }
        assert!(counters.len() <= 160);
        assert_eq!(counters.take_now(&asks("mine", &quotas, later)).standings[0].left, 98);
    }

    #[test]
    fn a_place_is_given_back_once_and_not_by_an_entry_that_was_evicted() {
        let counters = MemoryCounters::new(1);
        let quotas = [quota(Algorithm::Concurrency, 1)];
        let take = |key| counters.take_now(&asks(key, &quotas, NOW));
        let first = take("a");
        assert_eq!((first.granted, take("a").granted), (1, 0));
        counters.release(&asks("a", &quotas, NOW), first.ticket);
        let second = take("a");
        assert_eq!(second.granted, 1);
        // Keys of the same shard push it out: each shard has room for one.
        for number in 0..1000 {
            let _ = counters.take_now(&asks(&number.to_string(), &quotas, NOW));
        }
        let third = take("a");
        assert_eq!(third.granted, 1);
        counters.release(&asks("a", &quotas, NOW), second.ticket);
        assert_eq!(take("a").granted, 0, "the place of the third is not free");
    }

    #[test]
    fn threads_together_get_exactly_the_limit() {
        let counters = MemoryCounters::new(100);
        let quotas = [quota(Algorithm::SlidingWindow, 1000), quota(Algorithm::Bucket, 5000)];
        let count = || (0..1000).map(|_| counters.take_now(&asks("one", &quotas, NOW)).granted).sum::<u64>();
        let passed: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }
}
