//! The `Date` field (RFC 9110 §5.6.7), rendered once a second per thread.

use std::cell::Cell;
use std::time::SystemTime;
use torana_core::civil::http_date;

thread_local! {
    static DATE: Cell<(u64, [u8; 29])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

/// Brings the date up to now. Called by the worker's sweep.
pub fn refresh(wall: SystemTime) {
    let seconds = wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with(|date| {
        if date.get().0 != seconds {
            date.set((seconds, http_date(seconds)));
        }
    });
}

/// The value of `Date`.
#[must_use]
pub fn value() -> [u8; 29] {
    DATE.with(|date| {
        if date.get().0 == 0 {
            refresh(SystemTime::now());
        }
        date.get().1
    })
}
