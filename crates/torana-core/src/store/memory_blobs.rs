//! Bytes in the memory of this process, bounded: when there is no room, what
//! was put longest ago goes.
//!
//! Not what would end soonest: whoever keeps marks for a moment beside what is
//! kept for a day (as `idempotency` does) would lose every mark as soon as it is
//! made, once there is no room.

use super::{Blobs, Soon, StoreError};
use crate::clock::{Clock, SystemClock};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes by key, in memory. Tags are not kept: nobody asks for them here.
pub struct MemoryBlobs {
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Default)]
struct Kept {
    blobs: HashMap<Arc<[u8]>, Blob>,
    /// By end, and the number for those of one moment.
    ends: BTreeSet<(Instant, u64)>,
    /// By number, which is the order they were put in.
    ages: BTreeMap<u64, Arc<[u8]>>,
    bytes: usize,
    number: u64,
}

struct Blob {
    value: Bytes,
    end: (Instant, u64),
}

/// What a blob costs besides key and value, about.
const OVERHEAD: usize = 250;

/// Longer than anything is kept.
const LONGEST: Duration = Duration::from_secs(400 * 86_400);

impl MemoryBlobs {
    /// At most `bytes`, keys and what it takes to find them included.
    #[must_use]
    pub fn new(bytes: usize) -> MemoryBlobs {
        MemoryBlobs { kept: Mutex::default(), most: bytes }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, key: &[u8]) {
        if let Some(blob) = self.blobs.remove(key) {
            self.ends.remove(&blob.end);
            self.ages.remove(&blob.end.1);
            self.bytes = self.bytes.saturating_sub(cost(key, &blob.value));
        }
    }

    /// Forgets what has ended, and then what was put longest ago, until there is
    /// room.
    fn make_room(&mut self, now: Instant, most: usize) {
        while let Some(key) = self.next_to_go(now, most) {
            self.remove(&key);
        }
    }

    fn next_to_go(&self, now: Instant, most: usize) -> Option<Arc<[u8]>> {
        let ended = self.ends.first().filter(|(end, _)| *end <= now).and_then(|(_, number)| self.ages.get(number));
        let oldest = || self.ages.values().next().filter(|_| self.bytes > most);
        ended.or_else(oldest).cloned()
    }

    fn put(&mut self, key: &[u8], value: Bytes, ttl: Duration, now: Instant, most: usize) {
        self.remove(key);
        let cost = cost(key, &value);
        // Others would go for what does not fit in any case.
        if cost > most {
            return;
        }
        self.number += 1;
        let end = (now + ttl.min(LONGEST), self.number);
        let key: Arc<[u8]> = key.into();
        self.bytes += cost;
        self.ends.insert(end);
        self.ages.insert(self.number, Arc::clone(&key));
        self.blobs.insert(key, Blob { value, end });
        self.make_room(now, most);
    }

    fn get(&self, key: &[u8], now: Instant) -> Option<Bytes> {
        self.blobs.get(key).filter(|blob| blob.end.0 > now).map(|blob| blob.value.clone())
    }
}

fn cost(key: &[u8], value: &Bytes) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl Blobs for MemoryBlobs {
    fn get(&self, key: &[u8]) -> Soon<Result<Option<Bytes>, StoreError>> {
        Soon::Now(Ok(self.kept().get(key, SystemClock.now())))
    }

    fn put(&self, key: &[u8], value: Bytes, ttl: Duration, _: &[&str]) -> Soon<Result<(), StoreError>> {
        self.kept().put(key, value, ttl, SystemClock.now(), self.most);
        Soon::Now(Ok(()))
    }

    fn add(&self, key: &[u8], value: Bytes, ttl: Duration) -> Soon<Result<Option<Bytes>, StoreError>> {
        let (mut kept, now) = (self.kept(), SystemClock.now());
        let known = kept.get(key, now);
        if known.is_none() {
            kept.put(key, value, ttl, now, self.most);
        }
        Soon::Now(Ok(known))
    }

    fn delete(&self, key: &[u8]) -> Soon<Result<(), StoreError>> {
        self.kept().remove(key);
        Soon::Now(Ok(()))
    }

    fn delete_tagged(&self, _: &str) -> Soon<Result<(), StoreError>> {
        Soon::Now(Ok(()))
    }

    fn delete_prefix(&self, prefix: &[u8]) -> Soon<Result<(), StoreError>> {
        let mut kept = self.kept();
        let keys: Vec<Arc<[u8]>> = kept.blobs.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.iter().for_each(|key| kept.remove(key));
        Soon::Now(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_goes_first_and_then_what_was_put_longest_ago() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let second = Duration::from_secs(1);
        let value = || Bytes::from(vec![0; 1000]);
        let most = 3 * (1000 + OVERHEAD + 1);
        for (key, ttl) in [(b"a", 9), (b"b", 1), (b"c", 5)] {
            kept.put(key, value(), ttl * second, now, most);
        }
        let keys = |kept: &Kept, at| [b"a", b"b", b"c", b"d", b"e"].map(|key| kept.get(key, at).is_some());
        assert_eq!(keys(&kept, now), [true, true, true, false, false]);
        assert_eq!(keys(&kept, now + second), [true, false, true, false, false], "b has ended");
        kept.put(b"d", value(), 7 * second, now + 2 * second, most);
        assert_eq!((keys(&kept, now + 2 * second), kept.blobs.len()), ([true, false, true, true, false], 3));
        kept.put(b"e", value(), second, now + 2 * second, most);
        assert_eq!(keys(&kept, now + 2 * second), [false, false, true, true, true], "a was there first");
        assert_eq!((kept.ends.len(), kept.ages.len(), kept.bytes), (3, 3, most));
        // What does not fit at all is not kept, and takes nobody's place.
        kept.put(b"x", Bytes::from(vec![0; 9000]), second, now, most);
        assert_eq!((kept.get(b"x", now), kept.blobs.len()), (None, 3));
        for key in [b"c", b"d", b"e"] {
            kept.remove(key);
        }
        assert_eq!((kept.ends.len(), kept.ages.len(), kept.bytes), (0, 0, 0));
    }

    #[test]
    fn a_mark_for_a_moment_stays_where_there_is_no_room_left() {
        let blobs = MemoryBlobs::new(10 * 1000);
        let (day, minute) = (Duration::from_secs(86_400), Duration::from_secs(60));
        let now = |soon: Soon<Result<Option<Bytes>, StoreError>>| match soon {
            Soon::Now(result) => result.unwrap(),
            Soon::Later(_) => unreachable!("memory answers at once"),
        };
        for number in 0..100_u8 {
            drop(blobs.put(&[number], Bytes::from(vec![0; 500]), day, &[]));
        }
        assert_eq!(now(blobs.add(b"mark", Bytes::from_static(b"m"), minute)), None);
        assert!(now(blobs.add(b"mark", Bytes::from_static(b"m"), minute)).is_some(), "the mark is gone already");
    }
}
