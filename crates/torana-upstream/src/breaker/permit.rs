//! Leave to send, and its refusal.

use super::Breaker;
use super::phase::{Phase, Word};
use crate::outcome::{Judgement, Outcome};
use std::ops::Deref;
use std::time::{Duration, Instant};
use torana_core::names::KnownName;
use torana_core::refusal::{Refusal, Rejection};

/// A request was not admitted.
#[derive(Clone, Copy, Debug)]
pub struct Rejected {
    /// What the caller is told.
    pub refusal: &'static Refusal,
    /// After what time it is worth to try again, if that is known.
    pub retry_after: Option<Duration>,
}

impl From<Rejected> for Rejection {
    /// With `Retry-After` in whole seconds, rounded up.
    fn from(rejected: Rejected) -> Rejection {
        let rejection = Rejection::new(rejected.refusal);
        let Some(after) = rejected.retry_after else { return rejection };
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        rejection.with_field(KnownName::RetryAfter, seconds.max(1).to_string().as_bytes())
    }
}

/// Leave to send one request; borrowed or owned, by how it was asked for.
///
/// To be ended with [`Permit::report`]. Dropped without, it gives back what it
/// held and decides nothing.
#[must_use = "a permit that is dropped at once admits nothing"]
#[derive(Debug)]
pub struct Permit<B: Deref<Target = Breaker>> {
    breaker: B,
    word: Word,
    reported: bool,
}

impl<B: Deref<Target = Breaker>> Permit<B> {
    pub(super) const fn new(breaker: B, word: Word) -> Permit<B> {
        Permit { breaker, word, reported: false }
    }

    /// Tells how the request ended, and how long its reply's head took.
    pub fn report(mut self, outcome: Outcome, latency: Duration, now: Instant) {
        let good = match outcome.judge() {
            Judgement::Good => true,
            Judgement::Bad => false,
            // Dropped, it gives back its place.
            Judgement::Nothing => return,
        };
        self.reported = true;
        let slow = self.breaker.spec.slow.as_ref().is_some_and(|slow| latency > slow.over);
        self.breaker.record(self.word, good, slow, now);
    }

    /// Whether it was given to a probe: such a request is worth no retry and
    /// no hedge, it is to find out.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.word.phase() == Phase::HalfOpen
    }
}

impl<B: Deref<Target = Breaker>> Drop for Permit<B> {
    fn drop(&mut self) {
        if !self.reported {
            self.breaker.forgo(self.word);
        }
    }
}
