//! Runs the real `torana` binary between a client and origins that the tests
//! control byte by byte.
//!
//! | module | is |
//! |---|---|
//! | [`gateway`] | the process under test, its configuration, log and metrics |
//! | [`origin`] | what stands behind it: raw-socket HTTP/1.1 servers that record what they get |
//! | [`client`] | what stands before it: exact bytes out, replies in |
//! | [`both`] | one request over either protocol |
//! | [`door`] | what holds requests up until a test opens it |
//! | [`dns`] | a name server that answers what a test says |
//! | [`http2`] | the same two for HTTP/2 |
//! | [`redis`] | a Redis server of the test's own |
//! | [`token`] | an issuer of tokens |
//! | [`tls`] | certificates for a test, and TLS clients |
//! | [`scenario`] | tests that are data: `scenarios/**/*.yaml` |
//! | [`wire`] | the reader of HTTP/1.1 messages that client and origin share |
//!
//! Rules: nothing sleeps for a fixed time and hopes; everything waits for a
//! condition, with [`DEADLINE`]. Ports are found free ([`ports`]), nothing
//! leaves the loopback device. No `torana-*` crate is used: a mistake of the
//! codec must not be made a second time by its test.

pub mod both;
pub mod client;
pub mod dir;
pub mod dns;
pub mod door;
pub mod gateway;
pub mod http2;
pub mod origin;
pub mod ports;
pub mod redis;
pub mod scenario;
pub mod stream;
pub mod tls;
pub mod token;
pub mod wire;

use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Generous: a debug build on
/// a busy machine is slow, and only a failing test ever waits for it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks `attempt` again and again until it has an answer.
///
/// # Panics
/// After [`DEADLINE`], naming `what` was waited for.
pub fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
