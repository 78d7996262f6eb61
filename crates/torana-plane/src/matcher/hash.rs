//! The hash of literal segments and hosts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Not resistant to chosen keys, and need not be: the keys *stored* are the
/// operator's, and a stranger only chooses which one is looked up. The worst a
/// look-up can meet is the longest run of the operator's own keys.
pub(super) type TextMap<V> = HashMap<Box<str>, V, BuildHasherDefault<TextHasher>>;

/// Multiply and rotate over eight bytes at a time, as in rustc's `FxHasher`.
#[derive(Default)]
pub(crate) struct TextHasher(u64);

const SEED: u64 = 0x51_7c_c1_b7_27_22_0a_95;

impl TextHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(SEED);
    }
}

impl Hasher for TextHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !tail.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(tail) {
                *to = *from;
            }
            self.mix(u64::from_le_bytes(last));
        }
    }

    /// `str` hashes its bytes and then 0xff.
    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The table takes its bucket from the low bits and its tag from the
        // high ones; multiplication leaves the low bits weak.
        self.0 ^ (self.0 >> 32)
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
        let names = (0..10_000).map(|n| format!("service-{n}"));
        let buckets: HashSet<u64> = names.map(|name| hasher.hash_one(name.as_str()) & 0x3fff).collect();
        // 10 000 balls into 16 384 bins fill 7 484 of them if thrown at random.
        assert!(buckets.len() > 6_500, "{} buckets used", buckets.len());
    }

    #[test]
    fn the_tail_counts() {
        let hasher = BuildHasherDefault::<TextHasher>::default();
        let keys = ["", "a", "b", "aaaaaaaa", "aaaaaaaab", "aaaaaaaac", "aaaaaaaaaaaaaaaa"];
        let hashes: HashSet<u64> = keys.iter().map(|key| hasher.hash_one(key)).collect();
        assert_eq!(hashes.len(), keys.len());
    }
}
