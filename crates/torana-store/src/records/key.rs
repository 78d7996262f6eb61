//! Keys as they are given away: `trn_<id>_<secret><checksum>`.
//!
//! The beginning is for scanners of source code and logs, the id for people and
//! listings, the checksum for telling a typing error without asking anybody.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use torana_core::consumer::Digest;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 47 bits: to tell keys apart.
const ID: usize = 8;

/// 256 bits.
const SECRET: usize = 43;

/// 35 bits.
const CHECKSUM: usize = 6;

/// A key that is shown once.
pub(super) struct Made {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) digest: Digest,
}

/// A new key; `None` if the system has no randomness to give.
pub(super) fn make() -> Option<Made> {
    let id = letters(ID)?;
    let mut key = format!("trn_{id}_{}", letters(SECRET)?);
    key.push_str(&checksum(&key));
    Some(Made { id, digest: digest_of(&key), key })
}

/// What is kept of a key.
pub(super) fn digest_of(key: &str) -> Digest {
    let mut bytes = [0; 32];
    // It is that long.
    bytes.iter_mut().zip(digest(&SHA256, key.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    Digest(bytes)
}

fn letters(count: usize) -> Option<String> {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut bytes = [0; 64];
        rand::fill(&mut bytes).ok()?;
        // Those beyond a multiple of 62 would make some letters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(LETTERS[usize::from(byte % 62)]));
        text.extend(fair.take(count - text.len()));
    }
    Some(text)
}

fn checksum(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let mut number = hash.as_ref().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut letters = String::with_capacity(CHECKSUM);
    for _ in 0..CHECKSUM {
        letters.push(char::from(LETTERS[usize::try_from(number % 62).unwrap_or(0)]));
        number /= 62;
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_form_that_can_be_checked() {
        let made = make().unwrap();
        let (rest, check) = made.key.split_at(made.key.len() - CHECKSUM);
        assert_eq!(checksum(rest), check);
        assert!(made.key.starts_with(&format!("trn_{}_", made.id)));
        assert_eq!(made.key.len(), 4 + ID + 1 + SECRET + CHECKSUM);
        assert!(made.key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        assert_eq!(made.digest, digest_of(&made.key));
        assert_ne!(make().unwrap().key, made.key);
    }
}
