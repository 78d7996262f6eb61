//! The hash of literal segments and hosts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Not resistant to chosen keys, and need not be: the keys *stored* are the
/// operator's, and a stranger only chooses which one is looked up. The worst a
/// look-up can meet is the longest run of the operator's own keys.
pub(super) type TextMap<V> = HashMap<Box<str>, V, BuildHasherDefault<TextHasher>>;

/// Folded multiplication over eight bytes at a time, as in wyhash and foldhash.
#[derive(Default)]
pub(crate) struct TextHasher(u64);

const SEED: u64 = 0x51_7c_c1_b7_27_22_0a_95;

impl TextHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(SEED);
        // Both halves: the lower one holds little of what differs in the upper bits, and the other way round.
        #[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = low ^ high;
    }
}

/// The last bytes, up to eight of them. Loads that overlap take less time than a loop over what is left.
#[inline]
fn last(bytes: &[u8]) -> u64 {
    if let Some(last) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

impl Hasher for TextHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !tail.is_empty() {
            // With the length, or a run of one letter would hash as a longer one.
            self.mix(last(bytes) ^ (bytes.len() as u64).rotate_right(8));
        }
    }

    /// `str` hashes its bytes and then 0xff.
    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn segments_that_differ_little_hash_apart() {
        let hasher = BuildHasherDefault::<TextHasher>::default();
        // 10 000 balls into 16 384 bins fill 7 484 of them if thrown at random.
        for before in ["", "s", "svc", "svc-", "service", "service-", "a-service-", "a-longer-service-", "/v1/items-"] {
            for behind in ["", "x", "-eu", ".example", "-of-the-shop"] {
                let names = (0..10_000).map(|n| format!("{before}{n}{behind}"));
                let hashes: Vec<u64> = names.map(|name| hasher.hash_one(name.as_str())).collect();
                for shift in [0, 50] {
                    let buckets: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0x3fff).collect();
                    assert!(buckets.len() > 6_000, "{before}…{behind}: {} buckets of {shift} used", buckets.len());
                }
            }
        }
    }

    #[test]
    fn the_tail_counts() {
        let hasher = BuildHasherDefault::<TextHasher>::default();
        let keys = ["", "a", "b", "aaaaaaaa", "aaaaaaaab", "aaaaaaaac", "aaaaaaaaaaaaaaaa", "aaa", "aaaa", "aaaaa"];
        let hashes: HashSet<u64> = keys.iter().map(|key| hasher.hash_one(key)).collect();
        assert_eq!(hashes.len(), keys.len());
    }
}
