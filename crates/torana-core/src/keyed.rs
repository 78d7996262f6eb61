//! 128 bits that stand for two texts, under a secret of this process.
//!
//! Whatever strangers send, they can neither choose texts that fall together
//! nor learn what a text became: the secret is drawn from the system's
//! randomness, and the digests never leave the process. That is what SipHash
//! was made for (Aumasson, Bernstein 2012). It is the variant its authors
//! propose for authentication, with two rounds for each word and four at the
//! end, since a digest is all that tells one caller's counter from another's;
//! that takes a fraction of SHA-256's time, which is needed only where a digest
//! is shown to somebody.

use siphasher::sip128::{Hasher128, SipHasher24};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A secret to make digests under.
#[derive(Clone)]
pub struct Secret(SipHasher24);

impl Secret {
    /// A new one, different in every process.
    #[must_use]
    pub fn random() -> Secret {
        // What std keys its hash tables with, through its generator.
        let word = || RandomState::new().build_hasher().finish();
        Secret(SipHasher24::new_with_keys(word(), word()))
    }

    /// The digest of two texts: no other pair has the same, however they are
    /// cut.
    #[must_use]
    pub fn digest_pair(&self, first: &[u8], second: &[u8]) -> u128 {
        let mut hasher = self.0;
        hasher.write_u64(first.len() as u64);
        hasher.write(first);
        hasher.write(second);
        hasher.finish128().as_u128()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_has_one_digest_of_a_pair_and_another_has_another() {
        let (one, other) = (Secret::random(), Secret::random());
        let digest = one.digest_pair(b"a", b"text");
        assert_eq!(digest, one.clone().digest_pair(b"a", b"text"));
        assert_ne!(digest, one.digest_pair(b"a", b"texts"));
        assert_ne!(digest, other.digest_pair(b"a", b"text"));
        assert_ne!(digest >> 64, digest & u128::from(u64::MAX), "both halves are used");
    }

    #[test]
    fn pairs_are_told_apart_wherever_they_are_cut() {
        let secret = Secret::random();
        let pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")];
        let digests: std::collections::HashSet<_> =
            pairs.iter().map(|(first, second)| secret.digest_pair(first.as_bytes(), second.as_bytes())).collect();
        assert_eq!(digests.len(), pairs.len());
    }
}
