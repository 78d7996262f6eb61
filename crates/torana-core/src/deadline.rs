//! By when something must be done.

use std::time::{Duration, Instant};

/// A point in time, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No deadline.
    pub const NONE: Deadline = Deadline(None);

    /// `after` from `now`; a zero or unrepresentably long duration is none.
    #[must_use]
    pub fn after(now: Instant, after: Duration) -> Deadline {
        if after.is_zero() { Deadline::NONE } else { Deadline(now.checked_add(after)) }
    }

    /// The instant, if there is one.
    #[must_use]
    pub const fn instant(self) -> Option<Instant> {
        self.0
    }

    /// The earlier of both.
    #[must_use]
    pub fn earlier(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Deadline(Some(a.min(b))),
            (a, b) => Deadline(a.or(b)),
        }
    }

    /// What is left at `now`; `None` without a deadline.
    #[must_use]
    pub fn left(self, now: Instant) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now))
    }

    /// Whether it has passed at `now`.
    #[must_use]
    pub fn passed(self, now: Instant) -> bool {
        self.0.is_some_and(|at| at <= now)
    }
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Deadline(Some(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_deadline_wins_and_none_never_does() {
        let now = Instant::now();
        let (soon, late) = (Deadline::after(now, Duration::from_secs(1)), Deadline::after(now, Duration::from_secs(9)));
        assert_eq!(soon.earlier(late), soon);
        assert_eq!(late.earlier(Deadline::NONE), late);
        assert_eq!(Deadline::NONE.earlier(Deadline::NONE), Deadline::NONE);
        assert_eq!(Deadline::after(now, Duration::ZERO), Deadline::NONE);
        assert!(soon.passed(now + Duration::from_secs(1)) && !soon.passed(now));
        assert_eq!(Deadline::after(now, Duration::MAX), Deadline::NONE);
    }
}
