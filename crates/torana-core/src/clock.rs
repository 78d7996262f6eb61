//! Time as the gateway reads it, so that tests can hold it.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// A source of time.
pub trait Clock {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// Wall-clock time, for dates in messages and logs.
    fn wall(&self) -> SystemTime;
    /// What [`wall`](Clock::wall) was at a moment that has just been.
    fn wall_at(&self, moment: Instant) -> SystemTime {
        let _ = moment;
        self.wall()
    }
}

thread_local! {
    /// One moment by both of the machine's clocks.
    static BOTH: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// For so long the two clocks are taken to run alike: somebody who sets the one
/// on the wall is noticed soon.
const ALIKE: Duration = Duration::from_millis(100);

/// What the clock on the wall showed at `moment`, which has just been. Reading
/// that clock costs more than counting on from when it was last read.
#[must_use]
pub fn wall_at(moment: Instant) -> SystemTime {
    if let Some((instant, wall)) = BOTH.get()
        && let Some(since) = moment.checked_duration_since(instant)
        && since < ALIKE
    {
        return wall + since;
    }
    let (instant, wall) = (Instant::now(), SystemTime::now());
    BOTH.set(Some((instant, wall)));
    match instant.checked_duration_since(moment) {
        Some(ago) => wall.checked_sub(ago).unwrap_or(wall),
        None => wall,
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn wall_at(&self, moment: Instant) -> SystemTime {
        wall_at(moment)
    }
}

/// A clock that moves when told to.
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    elapsed: Cell<Duration>,
}

impl ManualClock {
    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        self.elapsed.set(self.elapsed.get() + by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        ManualClock { start: Instant::now(), elapsed: Cell::default() }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.start + self.elapsed.get()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.elapsed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_counted_on_and_read_again() {
        let near = |one: SystemTime, other: SystemTime| {
            let apart = one.duration_since(other).or_else(|_| other.duration_since(one)).unwrap_or_default();
            assert!(apart < Duration::from_secs(5), "{apart:?}");
        };
        let now = Instant::now();
        near(wall_at(now), SystemTime::now());
        // Counted on from the same reading: exactly as far apart as the moments are.
        let (first, later) = (wall_at(now), wall_at(now + Duration::from_millis(7)));
        assert!(later.duration_since(first).is_ok_and(|apart| apart <= Duration::from_millis(8)));
        // A minute ago lies before what was read, an hour ahead behind what counts as alike.
        let Some(before) = now.checked_sub(Duration::from_secs(60)) else { return };
        near(wall_at(before) + Duration::from_secs(60), SystemTime::now());
        near(wall_at(now + Duration::from_secs(3600)), SystemTime::now());
    }
}
