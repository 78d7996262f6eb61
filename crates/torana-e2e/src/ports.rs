//! Ports for the gateway under test.
//!
//! The gateway's ports stand in its configuration, so they are chosen before
//! it binds them. A port found with `bind(0)` and released could be handed to
//! the next origin's `bind(0)` in between; these are therefore taken from
//! below the kernel's ephemeral range, where nobody gets one by chance. Each
//! is tried before it is used, and [`crate::gateway`] starts over with others
//! should a second test process have been faster.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 11_000;
/// Linux' ephemeral range starts at 32768.
const COUNT: u32 = 21_000;

/// A port nobody listens on.
///
/// # Panics
/// All are taken.
#[must_use]
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time start far from each other.
    let start = std::process::id().wrapping_mul(7919) % COUNT;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + (start + step) % COUNT).expect("the range is below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
