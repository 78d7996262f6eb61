//! Whether this worker is on its way out.

use crate::timer;
use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static DRAINING: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Starts draining: idle connections close now, busy ones after their reply,
/// tunnels after `grace`.
pub fn begin(grace: Duration) {
    if !active() {
        let now = timer::now();
        DRAINING.set(Some(now.checked_add(grace).unwrap_or(now)));
    }
    timer::wake_all();
}

/// Whether the worker drains.
#[must_use]
pub fn active() -> bool {
    DRAINING.get().is_some()
}

/// Whether the time to drain is over.
#[must_use]
pub fn expired() -> bool {
    DRAINING.get().is_some_and(|until| until <= timer::coarse_now())
}
