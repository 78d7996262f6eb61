//! Password hashes as they are written.

use std::fmt;
use std::str::FromStr;

/// An argon2id hash in its usual notation (PHC string format):
/// `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
///
/// Its numbers decide how much memory and time a password costs, so they have
/// an upper bound; and a lower one, below which a stolen hash is soon guessed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: Box<str>,
    cost: Cost,
}

/// What verifying a password costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cost {
    /// KiB of memory.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PasswordHash {
    /// Salt and hash, in base64 without padding.
    #[must_use]
    pub fn salt_and_hash(&self) -> (&str, &str) {
        let mut parts = self.text.rsplit('$');
        let (hash, salt) = (parts.next(), parts.next());
        (salt.unwrap_or_default(), hash.unwrap_or_default())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }
}

impl FromStr for PasswordHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<PasswordHash, &'static str> {
        let mut parts = text.split('$');
        let (Some(""), Some(algorithm)) = (parts.next(), parts.next()) else {
            return Err("which is no hash");
        };
        if algorithm != "argon2id" {
            return Err("which is no argon2id hash");
        }
        if parts.next() != Some("v=19") {
            return Err("whose version is not 19");
        }
        let (Some(numbers), Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("which lacks a part");
        };
        let mut numbers = numbers.split(',');
        let mut number = |name: &str| -> Option<u32> { numbers.next()?.strip_prefix(name)?.parse().ok() };
        let (Some(memory), Some(passes), Some(lanes)) = (number("m="), number("t="), number("p=")) else {
            return Err("whose parameters are not `m=…,t=…,p=…`");
        };
        if numbers.next().is_some() {
            return Err("whose parameters are not `m=…,t=…,p=…`");
        }
        if !(4096..=1 << 20).contains(&memory) || !(1..=64).contains(&passes) || !(1..=16).contains(&lanes) {
            return Err("whose parameters are out of range");
        }
        let is_base64 = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        };
        // 8 to 48 bytes of salt, 16 to 64 of hash.
        if !is_base64(salt, 11..=64) || !is_base64(hash, 22..=86) {
            return Err("whose salt or hash is not one");
        }
        Ok(PasswordHash { text: text.into(), cost: Cost { memory, passes, lanes } })
    }
}

/// A hash can be tried out at leisure by who sees it.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$6T2T0h4pZ0uH9b7bK0bqGg8Zk1Yd6t0GkzqFf2m1l9Y";

    #[test]
    fn hashes_are_taken_apart() {
        let hash: PasswordHash = GOOD.parse().unwrap();
        assert_eq!((hash.cost(), hash.as_str()), (Cost { memory: 19456, passes: 2, lanes: 1 }, GOOD));
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("argon2id", "bcrypt"),
            ("v=19", "v=16"),
            ("m=19456", "m=8"),
            ("m=19456", "m=4194304"),
            ("t=2", "t=0"),
            ("t=2", "t=1000000"),
            ("p=1", "p=255"),
            ("p=1", "p=1,data=x"),
            ("c2FsdHNhbHRzYWx0", "c2Fs"),
            ("c2FsdHNhbHRzYWx0", "c2FsdHNhbHRz-Wx0"),
            ("$6T2T", "6T2T"),
            ("$argon2id", "argon2id"),
        ] {
            assert!(GOOD.replace(from, to).parse::<PasswordHash>().is_err(), "{to}");
        }
        assert!("hunter2".parse::<PasswordHash>().is_err() && "".parse::<PasswordHash>().is_err());
    }
}
