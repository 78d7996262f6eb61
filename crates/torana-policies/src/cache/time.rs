//! The time, which tests move.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use torana_core::exchange::Exchange;

#[cfg(test)]
thread_local! {
    /// How far tests are ahead.
    pub(super) static AHEAD: std::cell::Cell<std::time::Duration> = const { std::cell::Cell::new(std::time::Duration::ZERO) };
}

pub(super) fn now() -> Instant {
    #[cfg(test)]
    return Instant::now() + AHEAD.get();
    #[cfg(not(test))]
    Instant::now()
}

/// When an exchange began, which is now for all that a cache cares.
pub(super) fn of(exchange: &Exchange) -> Instant {
    #[cfg(test)]
    return exchange.notes.started + AHEAD.get();
    #[cfg(not(test))]
    exchange.notes.started
}

/// The wall clock.
pub(super) fn system() -> SystemTime {
    #[cfg(test)]
    return SystemTime::now() + AHEAD.get();
    #[cfg(not(test))]
    SystemTime::now()
}

/// Seconds of the wall clock.
pub(super) fn wall() -> u64 {
    system().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
