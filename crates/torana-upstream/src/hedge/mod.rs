//! A second attempt before the first has failed: most slow answers are one
//! endpoint's bad moment, and another would have answered long ago (Dean and
//! Barroso, "The Tail at Scale", CACM 2013).
//!
//! When the head of a reply is not there after [`HedgeSpec::after`], the request
//! is sent to another endpoint as well. The first reply wins; the other attempt
//! is given up and its connection closed, or on HTTP/2 its stream reset. That is
//! nobody's fault: neither health nor breaker hears of it.
//!
//! * **Which requests**: methods that are safe (RFC 9110 §9.2.1), without a body
//!   and without a wish to upgrade. Idempotent ones that are not safe are not
//!   among them: two at the same time are not one after the other.
//! * **How many**: within the budget of retries ([`Budget`](crate::retry::Budget)),
//!   so that an upstream that is slow for everybody gets no more than that share
//!   on top; never while a breaker is probing, and never above a ceiling.
//! * **Which reply**: one that `retry.on` lists does not win while another
//!   attempt is under way.
//!
//! A reply that is late by a quantile of what was observed is rare by
//! definition: with `p95`, one request in twenty is sent twice. What is observed
//! are first attempts only, a cancelled one with the time it had by then, or
//! the quantile would sink with every slow answer that was cut off.

mod quantile;

#[cfg(test)]
mod sim_tests;

use crate::replay::Replay;
use quantile::Latencies;
use std::cell::RefCell;
use std::time::{Duration, Instant};
use torana_core::exchange::{Exchange, Upgrade};
use torana_core::metric::Counter;
use torana_core::units::Percent;

/// When a second attempt is made, as compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HedgeSpec {
    /// How long the attempt before has had.
    pub after: After,
    /// Most attempts besides the first, at least 1.
    pub most: u32,
}

/// How long the first attempt has on its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// So long.
    Time(Duration),
    /// As long as this share of recent replies took at most.
    Quantile(Percent),
}

/// The hedging of one upstream on one worker.
#[derive(Debug)]
pub(crate) struct Hedger {
    spec: HedgeSpec,
    latencies: Option<RefCell<Latencies>>,
    sent: Counter,
    won: Counter,
}

/// Hedges so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HedgeCounts {
    /// Attempts made beside another.
    pub sent: u64,
    /// Those whose reply was the first.
    pub won: u64,
}

impl Hedger {
    pub(crate) fn new(spec: HedgeSpec, now: Instant) -> Hedger {
        let latencies = match spec.after {
            After::Time(_) => None,
            After::Quantile(quantile) => Some(RefCell::new(Latencies::new(quantile, now))),
        };
        Hedger { spec, latencies, sent: Counter::default(), won: Counter::default() }
    }

    pub(crate) const fn spec(&self) -> &HedgeSpec {
        &self.spec
    }

    pub(crate) fn counts(&self) -> HedgeCounts {
        HedgeCounts { sent: self.sent.value(), won: self.won.value() }
    }

    /// An attempt is made beside another.
    pub(crate) fn count_sent(&self) {
        self.sent.add(1);
    }

    /// It was the first to get a reply.
    pub(crate) fn count_won(&self) {
        self.won.add(1);
    }

    /// Whether it does no harm to send the exchange twice at the same time.
    pub(crate) fn is_for(exchange: &Exchange, replay: &Replay) -> bool {
        exchange.head.method.is_safe() && replay.is_empty() && matches!(exchange.upgrade, Upgrade::No)
    }

    /// How long to wait for a reply before another attempt is made; `None`: too
    /// little is known.
    pub(crate) fn delay(&self, now: Instant) -> Option<Duration> {
        match (self.spec.after, &self.latencies) {
            (After::Time(time), _) => Some(time),
            (After::Quantile(_), latencies) => latencies.as_ref()?.borrow_mut().estimate(now),
        }
    }

    /// A first attempt got its reply after `took`, or had not when it was
    /// cancelled.
    pub(crate) fn observe(&self, took: Duration, now: Instant) {
        if let Some(latencies) = &self.latencies {
            latencies.borrow_mut().observe(took, now);
        }
    }
}
