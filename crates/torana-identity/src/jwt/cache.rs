//! Tokens that were verified, so that the next request with one costs a look-up
//! and a comparison.
//!
//! A token is looked for by its last bytes, which are of its signature, and is
//! known only if it is, byte for byte, the one that was verified: of header and
//! payload alone, a token with a forged signature would be found as well. Only
//! good ones are known, until they expire, so strangers cannot fill the cache.
//! Signatures that verify and differ (ECDSA has two for each) are tokens of
//! their own; should two end alike, the later takes the place of the earlier.
//!
//! How far a comparison came before it failed, and so how long it took, says
//! something only to who knows the last 96 bits of a signature already.

use super::headers::Headers;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use torana_core::identity::Identity;

/// A token that was found good.
#[derive(Debug)]
pub(super) struct Verified {
    /// All of it.
    pub(super) token: Token,
    /// Whose it is.
    pub(super) identity: Identity,
    /// What goes upstream about the caller.
    pub(super) headers: Headers,
    /// Until when it holds, in seconds since 1970.
    pub(super) until: u64,
    /// Which state of the issuer's keys it was verified with; after a change
    /// of keys it is verified again.
    pub(super) keys: u64,
}

/// A token, which nothing shows: whoever reads it is who it names.
pub(super) struct Token(pub(super) Box<[u8]>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Where a token is looked for.
#[derive(Clone, Copy)]
struct Key(u64);

/// A number that nobody knows, so that even who signs tokens cannot make such
/// as are looked for in one place.
struct Secret(u128);

impl Secret {
    fn random() -> Secret {
        // What std keys its hash tables with, through its generator.
        let word = || u128::from(RandomState::new().build_hasher().finish());
        Secret(word() << 64 | word())
    }

    /// The key of a token: both halves of a product, as in wyhash.
    fn key(&self, token: &[u8]) -> Key {
        let last = match token.last_chunk::<16>() {
            Some(last) => *last,
            None => {
                // No token is as short as this.
                let mut padded = [0; 16];
                padded.iter_mut().zip(token).for_each(|(to, from)| *to = *from);
                padded
            }
        };
        let last = u128::from_le_bytes(last) ^ self.0;
        let product = (last & u128::from(u64::MAX)) * (last >> 64);
        Key(fold(product))
    }
}

/// Both halves in one.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is there as well")]
const fn fold(product: u128) -> u64 {
    product as u64 ^ (product >> 64) as u64
}

/// Keys are spread evenly as they are.
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

type Table = HashMap<u64, Arc<Verified>, BuildHasherDefault<Plain>>;

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

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        // Bits that the tables do not use.
        let index = usize::try_from(key.0 >> 32).unwrap_or_default() % SHARDS;
        self.shards.get(index).unwrap_or(&self.shards[0])
    }

    /// What is known about a token, if it holds at `now`.
    pub(super) fn find(&self, token: &[u8], now: u64) -> Option<Arc<Verified>> {
        let key = self.secret.key(token);
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &Verified| *known.token.0 == *token;
        if let Some(known) = shard.young.get(&key.0) {
            return (now < known.until && is_it(known)).then(|| known.clone());
        }
        if !shard.old.get(&key.0).is_some_and(|known| is_it(known)) {
            return None;
        }
        let known = shard.old.remove(&key.0)?;
        if now >= known.until {
            return None;
        }
        let weight = weight(&known);
        shard.put(key, known.clone(), weight, self.share);
        Some(known)
    }

    /// Remembers a good token.
    pub(super) fn put(&self, verified: &Arc<Verified>) {
        let weight = weight(verified);
        if weight <= self.share {
            let key = self.secret.key(&verified.token.0);
            let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
            shard.put(key, verified.clone(), weight, self.share);
        }
    }
}

impl Shard {
    fn put(&mut self, key: Key, verified: Arc<Verified>, added: usize, share: usize) {
        if self.weight + added > share {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        let replaced = self.young.insert(key.0, verified).map_or(0, |replaced| weight(&replaced));
        self.weight = (self.weight + added).saturating_sub(replaced);
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
    let claims: usize = verified.identity.claims.iter().map(|(name, value)| 64 + name.len() + of(value)).sum();
    512 + verified.token.0.len() + verified.headers.weight() + claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(token: &[u8], until: u64) -> Arc<Verified> {
        let identity = Identity::new("a", "jwt");
        Arc::new(Verified { token: Token(token.into()), identity, headers: Headers::default(), until, keys: 0 })
    }

    #[test]
    fn a_token_is_known_by_all_of_it_and_until_it_expires() {
        let cache = Cache::new(1 << 20);
        for token in [&b"a.b.c"[..], b"head.payload.the_end_of_a_signature"] {
            cache.put(&verified(token, 100));
            assert!(cache.find(token, 99).is_some());
            assert!(cache.find(token, 100).is_none());
            for at in 0..token.len() {
                let mut other = token.to_vec();
                other[at] ^= 1;
                assert!(cache.find(&other, 99).is_none(), "{at}");
            }
            assert!(cache.find(&token[1..], 99).is_none());
            assert!(cache.find(&[b"a", token].concat(), 99).is_none());
        }
    }

    #[test]
    fn of_two_tokens_that_end_alike_the_later_is_known() {
        let cache = Cache::new(1 << 20);
        let (one, other) = (b"a.b.the_end_of_a_signature", b"a.c.the_end_of_a_signature");
        cache.put(&verified(one, 100));
        cache.put(&verified(other, 100));
        assert!(cache.find(one, 0).is_none() && cache.find(other, 0).is_some());
        let weight: usize = cache.shards.iter().map(|shard| shard.lock().unwrap().weight).sum();
        assert_eq!(weight, super::weight(&verified(other, 100)));
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_bounded() {
        let share = 4 * 600;
        let cache = Cache::new(share * SHARDS * 2);
        cache.put(&verified(b"wanted", 100));
        for index in 0..10_000_u32 {
            cache.put(&verified(&index.to_le_bytes(), 100));
            assert!(cache.find(b"wanted", 0).is_some(), "{index}");
        }
        let count = |shard: &Mutex<Shard>| shard.lock().map(|shard| shard.young.len() + shard.old.len()).unwrap();
        assert!(cache.shards.iter().map(count).sum::<usize>() <= SHARDS * 2 * 4);
    }

    #[test]
    fn tokens_are_spread() {
        let cache = Cache::new(1 << 26);
        (0..10_000_u64).for_each(|index| cache.put(&verified(format!("a.b.{index:030}").as_bytes(), 100)));
        let counts: Vec<usize> = cache.shards.iter().map(|shard| shard.lock().unwrap().young.len()).collect();
        assert!(counts.iter().all(|count| (400..900).contains(count)), "{counts:?}");
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = Cache::new(0);
        cache.put(&verified(b"a", 100));
        assert!(cache.find(b"a", 0).is_none());
    }
}
