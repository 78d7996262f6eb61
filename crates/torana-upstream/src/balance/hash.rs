//! Hashes that are the same everywhere and forever.

/// A hash for keys of consistent hashing: a client address, a header, a
/// cookie, a path.
///
/// SipHash-1-3 (Aumasson, Bernstein, 2012) with an all-zero key. It is the
/// same in every process, on every machine and in every release, so that all
/// gateways of a fleet send a key to the same endpoint, before and after an
/// update. It is public, so callers can choose keys that share an endpoint;
/// all they gain is to share it with themselves: nothing is stored per key,
/// and the bound on the load of an endpoint holds for them as for anyone.
///
/// About 70 instructions and 20 for every 8 bytes.
#[must_use]
pub fn hash_key(bytes: &[u8]) -> u64 {
    sip::<1, 3>(0, 0, bytes)
}

/// `SipHash-C-D`.
fn sip<const C: usize, const D: usize>(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, tail) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    // The highest byte is the length, modulo 256.
    let last = u64::from_le_bytes(last) | (bytes.len() as u64) << 56;
    for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]) {
        v[3] ^= word;
        for _ in 0..C {
            round(&mut v);
        }
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..D {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

const fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// The `step`th word of the `SplitMix64` sequence of `seed` (Steele, Lea, Flood,
/// 2014): independent words for one seed, and bits well mixed for poor seeds.
pub(super) const fn sequence(seed: u64, step: u64) -> u64 {
    let mut z = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    /// The vectors of the reference implementation: key 00 01 … 0f, input
    /// 00 01 … of each length.
    #[test]
    fn the_rounds_are_those_of_the_reference() {
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let input: Vec<u8> = (0..15).collect();
        for (length, expected) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5_u64),
        ] {
            assert_eq!(sip::<2, 4>(k0, k1, &input[..length]), expected, "{length} bytes");
        }
    }

    #[test]
    fn keys_keep_their_hash_over_releases() {
        for (key, expected) in PINNED {
            assert_eq!(hash_key(key.as_bytes()), expected, "{key:?}");
        }
    }

    /// Pinned for good: a change here moves every key of every fleet.
    const PINNED: [(&str, u64); 4] = [
        ("", 0xd1fb_a762_150c_532c),
        ("192.0.2.1", 0x07cf_adfb_3f45_5fde),
        ("session-0123456789abcdef", 0x6b36_d134_f22c_f7ad),
        ("a key that is longer than a few words, as cookies are", 0x754e_9dae_e20b_6b7d),
    ];

    /// The standard library's hasher is SipHash-1-3 today, which is a second
    /// opinion, and does not promise to stay so.
    #[test]
    fn the_standard_library_agrees() {
        let input: Vec<u8> = (0..=255).cycle().take(300).collect();
        for length in 0..input.len() {
            let mut hasher = DefaultHasher::new();
            hasher.write(&input[..length]);
            assert_eq!(hash_key(&input[..length]), hasher.finish(), "{length} bytes");
        }
    }
}
