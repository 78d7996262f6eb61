//! Whether this worker is on its way out.

use crate::timer;
use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static ANNOUNCED: Cell<bool> = const { Cell::new(false) };
    static DRAINING: Cell<Option<Instant>> = const { Cell::new(None) };
    static CUT: Cell<bool> = const { Cell::new(false) };
}

/// Says with every reply from now on that its connection ends: clients go
/// elsewhere with their next request before idle connections are closed.
pub fn announce() {
    ANNOUNCED.set(true);
}

/// Whether replies end their connections.
#[must_use]
pub fn announced() -> bool {
    ANNOUNCED.get() || active()
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

/// Ends what is still in progress, each exchange with its line in the log:
/// replies that have not begun become 503, others break off.
pub fn cut() {
    CUT.set(true);
    timer::wake_all();
}

/// Whether exchanges in progress end now.
#[must_use]
pub fn is_cut() -> bool {
    CUT.get()
}

/// Whether the time to drain is over.
#[must_use]
pub fn expired() -> bool {
    DRAINING.get().is_some_and(|until| until <= timer::coarse_now())
}
