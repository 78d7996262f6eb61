//! Eight bytes at a time, as a word.

pub(super) const STEP: usize = 8;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const COLONS: u64 = 0x3a3a_3a3a_3a3a_3a3a;
const SPACE: u64 = 0x2020_2020_2020_2020;
const DEL: u64 = 0x7f7f_7f7f_7f7f_7f7f;

// The classic searches for a zero byte and for a byte below a bound: a borrow
// can only make a false hit above a true one.

pub(super) fn colons(bytes: &[u8; STEP]) -> u32 {
    let word = u64::from_le_bytes(*bytes) ^ COLONS;
    first(word.wrapping_sub(LOW) & !word & HIGH)
}

pub(super) fn controls(bytes: &[u8; STEP]) -> u32 {
    let word = u64::from_le_bytes(*bytes);
    let del = word ^ DEL;
    first((word.wrapping_sub(SPACE) & !word | del.wrapping_sub(LOW) & !del) & HIGH)
}

/// The bit of the first hit.
const fn first(hits: u64) -> u32 {
    if hits == 0 { 0 } else { 1_u32.wrapping_shl(hits.trailing_zeros().wrapping_shr(3)) }
}
