//! Whether a failed request is sent again, and when.
//!
//! [`RetrySpec::decide`] is the whole policy, a pure function of what failed,
//! what can be sent again and what time and budget are left. In order:
//!
//! 1. **Condition**: the failure is of a kind listed in `on`.
//! 2. **Replayable**: the method is idempotent (RFC 9110 §9.2.2) or the
//!    operator says that repeating does no harm, and the body is still at
//!    hand. If *nothing was sent*, any method may go elsewhere: a connection
//!    that was not made or a stream that was refused (RFC 9113 §8.7) has done
//!    nothing (POST retried after a 5xx: traefik/traefik#8990).
//! 3. **Attempts**: `attempts` counts retries, not sends, as Envoy's
//!    `num_retries` does: 2 means up to three requests.
//! 4. **Deadline**: never past the request's; a retry that could only start
//!    then is not made. `Retry-After` (503, 429) is honoured if it is short.
//! 5. **Budget**: see [`Budget`].
//!
//! Two retries are free of the budget and of waiting. A pooled connection that
//! turns out to be closed says nothing about the upstream: once more on a
//! fresh one, at the same endpoint, not counted as an attempt either (nginx,
//! HAProxy and every pool do). And the first time an endpoint cannot be
//! reached at all, another one is asked at once (HAProxy's `redispatch`): no
//! request was amplified, and with one of three endpoints dead, a budget of
//! 20 % would fail requests that two healthy ones could serve.
//!
//! **Back-off** is exponential with full jitter: anywhere between nothing and
//! `base · 2ⁿ`, at most `max` (Brooker, "Exponential Backoff And Jitter", AWS
//! 2015; Envoy's 25 ms and ten times that). Clients that failed together do
//! not come back together.
//!
//! **Cost**: deciding is some dozen instructions and happens on failures only;
//! the budget's share of every request is one comparison and one increment.

mod after;
mod backoff;
mod budget;
mod trigger;

#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod tests;

pub use after::retry_after;
pub use backoff::Backoff;
pub use budget::{Budget, BudgetCounts, BudgetSpec};
pub use trigger::{Failed, Trigger, Triggers};

use std::time::{Duration, Instant};
use torana_core::deadline::Deadline;
use torana_core::head::Method;

/// When to send again, as compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySpec {
    /// Most retries of one request, the first send not counted.
    pub attempts: u32,
    /// Which failures are worth one.
    pub on: Triggers,
    /// How long one send may take, the head of its reply included; none: as
    /// long as the request has.
    pub per_try_timeout: Option<Duration>,
    /// How long to wait before the next.
    pub backoff: Backoff,
    /// The longest `Retry-After` that is waited for; a longer one ends the
    /// retries, since the upstream has said that they would be in vain.
    pub retry_after_max: Duration,
    /// Whether methods that are not idempotent are sent again after they may
    /// have been processed.
    pub non_idempotent: bool,
    /// The share of the traffic that retries may be; none: unlimited.
    pub budget: Option<BudgetSpec>,
}

impl RetrySpec {
    /// What is not written: 2 retries (Envoy Gateway) for connections that
    /// fail or break, per-try timeouts, 502, 503 and 504, within the budget.
    pub const DEFAULT: RetrySpec = RetrySpec {
        attempts: 2,
        on: Triggers::DEFAULT,
        per_try_timeout: None,
        backoff: Backoff::DEFAULT,
        retry_after_max: Duration::from_secs(1),
        non_idempotent: false,
        budget: Some(BudgetSpec::DEFAULT),
    };

    /// By when the reply's head of a send that starts at `now` must be there.
    #[must_use]
    pub fn try_deadline(&self, now: Instant, overall: Deadline) -> Deadline {
        overall.earlier(self.per_try_timeout.map_or(Deadline::NONE, |timeout| Deadline::after(now, timeout)))
    }

    /// Whether a request that failed as in `facts` is sent again. A retry that
    /// is granted is taken from `budget`, so a verdict of [`Verdict::Again`]
    /// is to be followed.
    pub fn decide(&self, facts: &Facts, budget: &Budget, now: Instant, random: &mut impl FnMut() -> u64) -> Verdict {
        let Some(kind) = facts.failed.trigger() else { return Verdict::GiveUp(GiveUp::Condition) };
        if facts.left.is_some_and(|left| left.is_zero()) {
            return Verdict::GiveUp(GiveUp::Deadline);
        }
        let unsent = matches!(facts.failed, Failed::Unsent);
        match facts.replay {
            Replay::BodyGone => return Verdict::GiveUp(GiveUp::BodySent),
            Replay::NotIdempotent if !unsent && !self.non_idempotent => {
                return Verdict::GiveUp(GiveUp::NotIdempotent);
            }
            Replay::NotIdempotent | Replay::Safe => {}
        }
        if matches!(facts.failed, Failed::Stale) {
            return Verdict::Again { after: Duration::ZERO, at: Where::SameFresh };
        }
        if !self.on.has(kind) {
            return Verdict::GiveUp(GiveUp::Condition);
        }
        if facts.retries >= self.attempts {
            return Verdict::GiveUp(GiveUp::Attempts);
        }
        if unsent && facts.elsewhere && facts.retries == 0 {
            return Verdict::Again { after: Duration::ZERO, at: Where::Elsewhere };
        }
        let asked = match facts.failed {
            Failed::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if asked > self.retry_after_max {
            return Verdict::GiveUp(GiveUp::RetryAfter);
        }
        // The jitter comes on top of what was asked for, or everybody who was
        // told "1" would be back in the same instant.
        let after = asked.saturating_add(self.backoff.draw(facts.retries, random));
        if facts.left.is_some_and(|left| after >= left) {
            return Verdict::GiveUp(GiveUp::Deadline);
        }
        if !budget.withdraw(now) {
            return Verdict::GiveUp(GiveUp::Budget);
        }
        Verdict::Again { after, at: Where::Elsewhere }
    }
}

impl Default for RetrySpec {
    fn default() -> Self {
        RetrySpec::DEFAULT
    }
}

/// What is known when a request has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// How it failed.
    pub failed: Failed,
    /// Retries made so far, without those after a stale connection.
    pub retries: u32,
    /// Whether it can be sent again at all.
    pub replay: Replay,
    /// Whether there is an endpoint that it has not been sent to.
    pub elsewhere: bool,
    /// What is left until the request's deadline; `None` without one.
    pub left: Option<Duration>,
}

/// Whether a request can be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// Sending it twice does what sending it once does.
    Safe,
    /// It may have been processed, and its method is not idempotent.
    NotIdempotent,
    /// Part of its body was sent and not kept.
    BodyGone,
}

impl Replay {
    /// Of a request with this method; `body` tells whether its whole body is
    /// at hand: none, untouched or buffered.
    #[must_use]
    pub const fn of(method: Method, body: bool) -> Replay {
        match (body, method.is_idempotent()) {
            (false, _) => Replay::BodyGone,
            (true, true) => Replay::Safe,
            (true, false) => Replay::NotIdempotent,
        }
    }
}

/// What to do with a failed request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send it again.
    Again {
        /// After waiting for so long.
        after: Duration,
        /// To whom.
        at: Where,
    },
    /// Pass on what there is.
    GiveUp(GiveUp),
}

/// Who gets the next send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// The same endpoint on a new connection.
    SameFresh,
    /// Another endpoint, if there is one.
    Elsewhere,
}

/// Why a request is not sent again. Not a refusal: the caller gets the reply
/// or the failure that there is, and the log and the metrics get this.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GiveUp {
    /// The failure is not one to retry.
    Condition,
    /// The request may have been processed, and its method is not idempotent.
    NotIdempotent,
    /// Part of its body was sent and not kept.
    BodySent,
    /// All retries are used up.
    Attempts,
    /// The upstream wants to be left alone for longer than is waited.
    RetryAfter,
    /// The next send could not start before the deadline.
    Deadline,
    /// Too much of the traffic are retries.
    Budget,
}

impl GiveUp {
    /// All of them, for labels and documents.
    pub const ALL: [GiveUp; 7] = [
        GiveUp::Condition,
        GiveUp::NotIdempotent,
        GiveUp::BodySent,
        GiveUp::Attempts,
        GiveUp::RetryAfter,
        GiveUp::Deadline,
        GiveUp::Budget,
    ];

    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            GiveUp::Condition => "retry.condition",
            GiveUp::NotIdempotent => "retry.not_idempotent",
            GiveUp::BodySent => "retry.body_sent",
            GiveUp::Attempts => "retry.attempts",
            GiveUp::RetryAfter => "retry.retry_after",
            GiveUp::Deadline => "retry.deadline",
            GiveUp::Budget => "retry.budget",
        }
    }
}
