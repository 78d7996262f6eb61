//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>) and random ids.

/// The identity of a span.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TraceContext {
    /// 16 bytes shared by the whole trace.
    pub trace: u128,
    /// 8 bytes of this span.
    pub span: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Parses a `traceparent` value; `None` when it is not valid, in which
    /// case the specification starts a new trace.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<TraceContext> {
        let text = std::str::from_utf8(value).ok()?;
        let bytes = text.as_bytes();
        // Later versions may be longer, separated by a further dash (§4.3).
        let known = bytes.len() == 55 || (bytes.len() > 55 && !text.starts_with("00") && bytes.get(55) == Some(&b'-'));
        if !known || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' || text.starts_with("ff") {
            return None;
        }
        let lower_hex = |range: std::ops::Range<usize>| {
            text.get(range).filter(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        };
        lower_hex(0..2)?;
        let trace = u128::from_str_radix(lower_hex(3..35)?, 16).ok()?;
        let span = u64::from_str_radix(lower_hex(36..52)?, 16).ok()?;
        let flags = u8::from_str_radix(lower_hex(53..55)?, 16).ok()?;
        (trace != 0 && span != 0).then_some(TraceContext { trace, span, sampled: flags & 1 == 1 })
    }

    /// The `traceparent` value.
    #[must_use]
    pub fn to_traceparent(self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], self.trace);
        hex(&mut text[36..52], u128::from(self.span));
        text[54] = if self.sampled { b'1' } else { b'0' };
        text
    }

    /// The trace id in its 32 digits, as [`to_traceparent`](Self::to_traceparent) has it.
    #[must_use]
    pub fn trace_digits(self) -> [u8; 32] {
        let mut text = [0; 32];
        hex(&mut text, self.trace);
        text
    }
}

/// Writes the low digits of `value` as lower-case hexadecimal into all of
/// `out`, an even number of digits.
fn hex(out: &mut [u8], value: u128) {
    const PAIRS: [[u8; 2]; 256] = {
        let mut pairs = [[0; 2]; 256];
        let mut i = 0;
        while i < 256 {
            pairs[i] = [b"0123456789abcdef"[i >> 4], b"0123456789abcdef"[i & 15]];
            i += 1;
        }
        pairs
    };
    for (pair, byte) in out.rchunks_exact_mut(2).zip(value.to_le_bytes()) {
        pair.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
}

/// Ids that need to be unique, not secret: SplitMix64 (Steele, Lea, Flood,
/// "Fast splittable pseudorandom number generators", 2014) seeded by the
/// operating system. A cryptographic generator would cost more than routing.
#[derive(Debug)]
pub struct IdSource(u64);

impl IdSource {
    /// A source with its own sequence; `seed` comes from the system's generator.
    #[must_use]
    pub const fn new(seed: u64) -> IdSource {
        IdSource(seed)
    }

    /// A source seeded by the standard library's per-process random keys.
    #[must_use]
    pub fn random() -> IdSource {
        use std::hash::{BuildHasher, RandomState};
        IdSource(RandomState::new().hash_one(std::process::id()))
    }

    /// The next 64 bits.
    #[must_use]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next 128 bits.
    #[must_use]
    pub const fn next_u128(&mut self) -> u128 {
        (self.next() as u128) << 64 | self.next() as u128
    }

    /// Appends a fresh id of 32 hexadecimal digits.
    pub fn write_id(&mut self, out: &mut String) {
        let mut text = [0; 32];
        hex(&mut text, self.next_u128());
        // Hexadecimal digits are ASCII.
        out.push_str(std::str::from_utf8(&text).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specification_s_example_round_trips() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert!(context.sampled);
        assert_eq!(&context.to_traceparent(), EXAMPLE);
    }

    #[test]
    fn invalid_values_start_a_new_trace() {
        for bad in [
            &b""[..],
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            b"00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-\xc3\xa9f92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        assert!(TraceContext::parse(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra").is_some());
    }

    #[test]
    fn ids_differ() {
        let mut ids = IdSource::random();
        let (mut a, mut b) = (String::new(), String::new());
        ids.write_id(&mut a);
        ids.write_id(&mut b);
        assert_ne!(a, b);
        assert_eq!(a.len(), 32);
    }
}
