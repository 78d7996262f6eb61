//! Tokens that were verified, so that the next request with one costs a digest
//! and a look-up.
//!
//! The key is a digest of the whole token, 128 bits under a secret of the
//! process ([`Secret`]): of header and payload alone, a token with a forged
//! signature would be found as well. Tokens themselves are not kept, so none
//! can be read here. Only good ones are known, until they expire, so strangers
//! cannot fill the cache. Signatures that verify and differ (ECDSA has two for
//! each) are tokens of their own.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use torana_core::identity::Identity;
use torana_core::keyed::Secret;
use torana_core::names::HeaderName;

/// A token that was found good.
#[derive(Debug)]
pub(super) struct Verified {
    /// Whose it is.
    pub(super) identity: Identity,
    /// What goes upstream about the caller.
    pub(super) headers: Box<[(HeaderName, Box<[u8]>)]>,
    /// Until when it holds, in seconds since 1970.
    pub(super) until: u64,
    /// Which state of the issuer's keys it was verified with; after a change
    /// of keys it is verified again.
    pub(super) keys: u64,
}

/// What a token is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(u128);

/// A digest is spread evenly as it is.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::try_from(self.0 >> 64).unwrap_or_default());
    }
}

#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

type Table = HashMap<Digest, Arc<Verified>, BuildHasherDefault<Plain>>;

/// Two generations: what is not asked for while one fills up is dropped with
/// the older.
#[derive(Default)]
struct Shard {
    young: Table,
    old: Table,
    /// What the young weigh.
    weight: usize,
}

/// So many that workers rarely meet at one.
const SHARDS: usize = 16;

/// Verified tokens of one policy, shared by the workers.
pub(super) struct Cache {
    secret: Secret,
    shards: [Mutex<Shard>; SHARDS],
    /// What one generation of a shard may weigh.
    share: usize,
}

impl Cache {
    /// A cache that takes about `bytes`; none keeps nothing.
    pub(super) fn new(bytes: usize) -> Cache {
        Cache { secret: Secret::random(), shards: Default::default(), share: bytes / SHARDS / 2 }
    }

    /// What all of `token` is known by.
    pub(super) fn digest(&self, token: &[u8]) -> Digest {
        Digest(self.secret.digest(token))
    }

    fn shard(&self, digest: &Digest) -> &Mutex<Shard> {
        // Bits that the tables do not use.
        let index = usize::try_from(digest.0 % SHARDS as u128).unwrap_or_default();
        self.shards.get(index).unwrap_or(&self.shards[0])
    }

    /// What is known about a token, if it holds at `now`.
    pub(super) fn find(&self, digest: &Digest, now: u64) -> Option<Arc<Verified>> {
        let mut shard = self.shard(digest).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.young.get(digest) {
            return (now < known.until).then(|| known.clone());
        }
        let known = shard.old.remove(digest)?;
        if now >= known.until {
            return None;
        }
        let weight = weight(&known);
        shard.put(*digest, known.clone(), weight, self.share);
        Some(known)
    }

    /// Remembers a good token.
    pub(super) fn put(&self, digest: Digest, verified: &Arc<Verified>) {
        let weight = weight(verified);
        if weight <= self.share {
            let mut shard = self.shard(&digest).lock().unwrap_or_else(PoisonError::into_inner);
            shard.put(digest, verified.clone(), weight, self.share);
        }
    }
}

impl Shard {
    fn put(&mut self, digest: Digest, verified: Arc<Verified>, weight: usize, share: usize) {
        if self.weight + weight > share {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        if self.young.insert(digest, verified).is_none() {
            self.weight += weight;
        }
    }
}

/// About what an entry takes, in bytes: claims are read into trees, which take
/// more than their text.
fn weight(verified: &Verified) -> usize {
    fn of(value: &serde_json::Value) -> usize {
        use serde_json::Value;
        match value {
            Value::String(text) => 32 + text.len(),
            Value::Array(list) => 32 + list.iter().map(of).sum::<usize>(),
            Value::Object(map) => 64 + map.iter().map(|(name, value)| 64 + name.len() + of(value)).sum::<usize>(),
            _ => 32,
        }
    }
    let headers: usize = verified.headers.iter().map(|(name, value)| 64 + name.as_str().len() + value.len()).sum();
    let claims: usize = verified.identity.claims.iter().map(|(name, value)| 64 + name.len() + of(value)).sum();
    512 + headers + claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(until: u64) -> Arc<Verified> {
        Arc::new(Verified { identity: Identity::new("a", "jwt"), headers: Box::default(), until, keys: 0 })
    }

    #[test]
    fn a_token_is_known_by_all_of_it_and_until_it_expires() {
        let cache = Cache::new(1 << 20);
        cache.put(cache.digest(b"a.b.c"), &verified(100));
        assert!(cache.find(&cache.digest(b"a.b.c"), 99).is_some());
        assert!(cache.find(&cache.digest(b"a.b.c"), 100).is_none());
        assert!(cache.find(&cache.digest(b"a.b.d"), 99).is_none());
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_bounded() {
        let share = 4 * 512;
        let cache = Cache::new(share * SHARDS * 2);
        let wanted = cache.digest(b"wanted");
        cache.put(wanted, &verified(100));
        for index in 0..10_000_u32 {
            cache.put(cache.digest(&index.to_le_bytes()), &verified(100));
            assert!(cache.find(&wanted, 0).is_some(), "{index}");
        }
        let count = |shard: &Mutex<Shard>| shard.lock().map(|shard| shard.young.len() + shard.old.len()).unwrap();
        assert!(cache.shards.iter().map(count).sum::<usize>() <= SHARDS * 2 * 4);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = Cache::new(0);
        cache.put(cache.digest(b"a"), &verified(100));
        assert!(cache.find(&cache.digest(b"a"), 0).is_none());
    }
}
