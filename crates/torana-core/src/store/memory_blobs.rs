//! Bytes in the memory of this process, bounded: when there is no room, what
//! would end soonest goes.

use super::{Blobs, Soon, StoreError};
use crate::clock::{Clock, SystemClock};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes by key, in memory. Tags are not kept: nobody asks for them here.
pub struct MemoryBlobs {
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Default)]
struct Kept {
    blobs: HashMap<Box<[u8]>, Blob>,
    /// By end, and a number for those of one moment.
    ends: BTreeMap<(Instant, u64), Box<[u8]>>,
    bytes: usize,
    number: u64,
}

struct Blob {
    value: Bytes,
    end: (Instant, u64),
}

/// What a blob costs besides key and value, about.
const OVERHEAD: usize = 200;

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
            self.bytes = self.bytes.saturating_sub(cost(key, &blob.value));
        }
    }

    /// Forgets what has ended, and then what ends soonest, until there is room.
    fn make_room(&mut self, now: Instant, most: usize) {
        while let Some(first) = self.ends.first_entry()
            && (first.key().0 <= now || self.bytes > most)
        {
            let key = first.get().clone();
            self.remove(&key);
        }
    }

    fn put(&mut self, key: &[u8], value: Bytes, ttl: Duration, now: Instant, most: usize) {
        self.remove(key);
        self.number += 1;
        let end = (now + ttl.min(LONGEST), self.number);
        self.bytes += cost(key, &value);
        self.ends.insert(end, key.into());
        self.blobs.insert(key.into(), Blob { value, end });
        self.make_room(now, most);
    }

    fn get(&self, key: &[u8], now: Instant) -> Option<Bytes> {
        self.blobs.get(key).filter(|blob| blob.end.0 > now).map(|blob| blob.value.clone())
    }
}

fn cost(key: &[u8], value: &Bytes) -> usize {
    2 * key.len() + value.len() + OVERHEAD
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
        let keys: Vec<Box<[u8]>> = kept.blobs.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.iter().for_each(|key| kept.remove(key));
        Soon::Now(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_goes_first_and_then_what_ends_soonest() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let second = Duration::from_secs(1);
        let value = || Bytes::from(vec![0; 1000]);
        let most = 3 * (1000 + OVERHEAD + 2);
        for (key, ttl) in [(b"a", 9), (b"b", 1), (b"c", 5)] {
            kept.put(key, value(), ttl * second, now, most);
        }
        let keys = |kept: &Kept, at| [b"a", b"b", b"c", b"d", b"e"].map(|key| kept.get(key, at).is_some());
        assert_eq!(keys(&kept, now), [true, true, true, false, false]);
        assert_eq!(keys(&kept, now + second), [true, false, true, false, false], "b has ended");
        kept.put(b"d", value(), 7 * second, now + 2 * second, most);
        assert_eq!((keys(&kept, now + 2 * second), kept.blobs.len()), ([true, false, true, true, false], 3));
        kept.put(b"e", value(), 9 * second, now + 2 * second, most);
        assert_eq!(keys(&kept, now + 2 * second), [true, false, false, true, true], "c would have ended soonest");
        assert_eq!((kept.ends.len(), kept.bytes), (3, most));
        for key in [b"a", b"d", b"e"] {
            kept.remove(key);
        }
        assert_eq!((kept.ends.len(), kept.bytes), (0, 0));
        // What does not fit at all is not kept.
        kept.put(b"x", Bytes::from(vec![0; 9000]), second, now, most);
        assert_eq!(kept.get(b"x", now), None);
    }
}
