//! What holds for every target that is admitted.

use super::tests::{admit, get, head, host};
use super::*;
use proptest::prelude::*;

/// Pieces that targets go wrong with.
const PIECES: [&[u8]; 40] = [
    b"/",
    b"/",
    b"/",
    b"/",
    b"/",
    b"/",
    b"/",
    b"a",
    b"a",
    b"b",
    b"admin",
    b"..",
    b"..",
    b".",
    b"%2e",
    b"%2E%2e",
    b"//",
    b"/../",
    b"/./",
    b"%252e",
    b"%41",
    b"%7e",
    b"%c3%a9",
    b"\xc3\xa9",
    b"<",
    b"%3f",
    b"%25",
    b"+",
    b"?",
    b"%2f",
    b"\\",
    b"%5c",
    b";",
    b"%3b",
    b"#",
    b"%00",
    b" ",
    b"%",
    b"%c0",
    b"\xae",
];

/// Many cases matter more here than shrinking them: a seeded generator is
/// fifty times faster than a strategy.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64* (Vigna 2016)
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

fn assert_canonical(target: &CanonicalTarget) {
    let path = target.path();
    assert!(path.starts_with('/'));
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
    for bad in ["//", "\\", ";", "#", "?"] {
        assert!(!path.contains(bad), "{path} has {bad}");
    }
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    for (at, _) in path.match_indices('%') {
        let escape = path.get(at + 1..at + 3).unwrap();
        let value = u8::from_str_radix(escape, 16).unwrap();
        let is_data = value >= 0x20 && value != 0x7f && value != b'/' && value != b'\\';
        assert!(is_data && !value.is_ascii_alphanumeric() && !b"-._~".contains(&value), "{path}");
        assert_eq!(escape, escape.to_ascii_uppercase());
    }
    assert_eq!(get(target.path_and_query().as_bytes()).as_ref(), Ok(target), "canonicalising again changes nothing");
    let mut again = String::new();
    assert_eq!(canonical_path(path.as_bytes(), &mut again), Ok(()));
    assert_eq!(again, path, "configuration reads paths as requests do");
}

#[test]
fn two_hundred_thousand_nasty_targets_come_out_canonical() {
    let mut random = Random(0x7072_6f6f_6600_0001);
    let mut raw = Vec::new();
    let (mut admitted, mut changed) = (0, 0);
    for _ in 0..200_000 {
        raw.clear();
        raw.push(b'/');
        // Most pieces are fatal sooner or later; short targets survive.
        for _ in 0..random.below(7) {
            raw.extend_from_slice(PIECES[random.below(PIECES.len())]);
        }
        if let Ok(target) = get(&raw) {
            assert_canonical(&target);
            admitted += 1;
            changed += u32::from(target.path_and_query().as_bytes() != raw);
        }
    }
    assert!(admitted > 50_000 && changed > 20_000, "{admitted} admitted, {changed} of them changed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        raw in prop::collection::vec(any::<u8>(), 0..40),
        version in prop::sample::select(vec![Version::Http10, Version::Http11, Version::Http2]),
        method in prop::sample::select(vec!["GET", "OPTIONS", "CONNECT"]),
        authority in prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
    ) {
        let mut request = head(version, method, &raw, &[b"h"]);
        if let Some(authority) = authority {
            request.set_raw_authority(&authority);
        }
        let _ = admit(&request);
        let mut slashed = vec![b'/'];
        slashed.extend_from_slice(&raw);
        if let Ok(target) = get(&slashed) {
            assert_canonical(&target);
        }
    }

    #[test]
    fn hosts_come_out_canonical(raw in "[a-cA-C.:0-9_@%-]{0,10}|\\[[0-9a-fA-F:.]{0,20}\\](:[0-9]{0,6})?") {
        if let Ok(canonical) = host(raw.as_bytes()) {
            assert_eq!(&canonical, &canonical.to_ascii_lowercase());
            assert_eq!(host(canonical.as_bytes()), Ok(canonical));
        }
    }
}
