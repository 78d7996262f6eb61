//! A request target: whatever is admitted is canonical, canonicalising it again changes nothing, and what a rewrite
//! makes of it stays within the subtree it was given.
//!
//! Input: the raw target, then perhaps a zero byte and the `Host`, which no raw target can contain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torana_core::canonical::{CanonicalTarget, TargetForm, canonical_host, canonical_path, is_within};
use torana_core::head::{Head, Version};
use torana_core::names::KnownName;

const VERSIONS: [Version; 3] = [Version::Http10, Version::Http11, Version::Http2];
const METHODS: [&[u8]; 3] = [b"GET", b"OPTIONS", b"CONNECT"];

fn admit(version: Version, method: &[u8], raw: &[u8], host: &[u8]) -> Option<CanonicalTarget> {
    let mut head = Head::default();
    head.version = version;
    head.set_method(method);
    head.set_raw_target(raw);
    if version == Version::Http2 {
        head.set_raw_authority(host);
    } else {
        // A value that cannot stand in a header never gets this far.
        head.fields.append(KnownName::Host, host).ok()?;
    }
    let mut target = CanonicalTarget::default();
    match target.admit(&head, false) {
        Ok(()) => Some(target),
        Err(error) => {
            assert!(target.path().is_empty() && target.authority().is_empty(), "half-read after {error:?}");
            assert!(!error.code().is_empty() && !error.message().is_empty());
            None
        }
    }
}

/// What the matcher, the policies and the upstream may rely on.
fn check_path(path: &str) {
    assert!(path.starts_with('/'), "{path}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
    for bad in ["//", "\\", ";", "#", "?"] {
        assert!(!path.contains(bad), "{path} has {bad}");
    }
    for (at, _) in path.match_indices('%') {
        let escape = path.get(at + 1..at + 3).expect("an escape has two digits");
        let value = u8::from_str_radix(escape, 16).expect("both hexadecimal");
        assert_eq!(escape, escape.to_ascii_uppercase());
        assert!(value >= 0x20 && value != 0x7f && value != b'/' && value != b'\\', "{path}");
        assert!(!value.is_ascii_alphanumeric() && !b"-._~".contains(&value), "{path}");
    }
    let mut again = String::new();
    assert_eq!(canonical_path(path.as_bytes(), &mut again), Ok(()));
    assert_eq!(again, path, "configuration reads paths as requests do");
}

fn check(target: &CanonicalTarget) {
    assert_eq!(target.form(), TargetForm::Origin);
    check_path(target.path());
    if let Some(query) = target.query() {
        assert!(query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{query:?}");
    }
    assert_eq!(target.authority(), target.authority().to_ascii_lowercase());
    let again = admit(Version::Http11, b"GET", target.path_and_query().as_bytes(), target.authority().as_bytes())
        .expect("what is canonical is admitted");
    assert_eq!((again.path_and_query(), again.authority()), (target.path_and_query(), target.authority()));
}

fn check_rewrite(target: &CanonicalTarget, path: &[u8]) {
    let mut out = CanonicalTarget::default();
    for within in ["/", "/a", "/a/b"] {
        if target.rewrite_path(path, within, &mut out).is_ok() {
            check_path(out.path());
            assert!(is_within(out.path(), within), "{} left {within}", out.path());
            assert_eq!(out.query(), target.query());
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let (raw, host) = match input.iter().position(|&byte| byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &b"h"[..]),
    };
    for version in VERSIONS {
        for method in METHODS {
            let Some(target) = admit(version, method, raw, host) else { continue };
            if target.form() == TargetForm::Origin && !target.authority().is_empty() {
                check(&target);
            }
        }
    }
    if let Some(target) = admit(Version::Http11, b"GET", b"/x?q=1", b"h") {
        check_rewrite(&target, raw);
        check_rewrite(&target, &[b"/a/", raw].concat());
    }
    let mut name = String::new();
    if canonical_host(host, &mut name).is_ok() {
        let mut again = String::new();
        assert_eq!(canonical_host(name.as_bytes(), &mut again), Ok(()));
        assert_eq!(again, name);
    }
});
