//! A PROXY protocol header: bounded, and the reading depends neither on how the bytes were split nor on what
//! follows the header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_protocol::{MAX_HEADER, Parsed, parse};

// Taken in by path: the module stands alone, and depending on torana-net would
// mean building TLS with sanitizers for every fuzz target.
#[path = "../../crates/torana-net/src/proxy_protocol.rs"]
mod proxy_protocol;

fuzz_target!(|input: &[u8]| {
    check(input);
    // A fuzzer hardly ever guesses twelve bytes at once.
    check(&[b"\r\n\r\n\0\r\nQUIT\n", input].concat());
});

fn check(input: &[u8]) {
    let whole = parse(input);
    let decided = (0..=input.len()).map(|end| (end, parse(&input[..end]))).find(|(_, it)| *it != Ok(Parsed::Partial));
    match decided {
        None => assert!(input.len() < MAX_HEADER && whole == Ok(Parsed::Partial)),
        Some((end, answer)) => {
            assert_eq!(answer, whole);
            if let Ok(Parsed::Complete { consumed, source, destination }) = answer {
                assert_eq!(consumed, end);
                assert_eq!(source.is_some(), destination.is_some());
                let canonical = |ip: std::net::IpAddr| ip.to_canonical() == ip;
                assert!(source.is_none_or(|it| canonical(it.ip())));
                assert!(destination.is_none_or(|it| canonical(it.ip())));
            }
        }
    }
}
