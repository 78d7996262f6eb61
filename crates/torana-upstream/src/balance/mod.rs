//! Which endpoint an attempt goes to.
//!
//! | `algorithm` | picks | called elsewhere |
//! |---|---|---|
//! | `round_robin` | by turns, in proportion to weights | Envoy `ROUND_ROBIN`, nginx default, HAProxy `roundrobin`, Traefik `wrr`, Kong `round-robin` |
//! | `least_request` | the one of two with fewer requests under way | Envoy `LEAST_REQUEST`, nginx `random two least_conn`, HAProxy `random(2)`, Traefik `p2c` |
//! | `peak_ewma` | the one of two that is expected to answer sooner | Linkerd, Finagle, ingress-nginx and APISIX `ewma`; Traefik `leasttime`, Kong `latency` |
//! | `random` | at random, in proportion to weights | Envoy `RANDOM`, nginx `random` |
//! | `consistent_hash` | by a key, within a bound on load | Envoy `RING_HASH`, `MAGLEV`; nginx `hash … consistent`, HAProxy `hash-type consistent`, Kong `consistent-hashing`, Traefik `hrw` |
//!
//! For all of them:
//!
//! * A weight of 0 drains: the endpoint gets nothing new, whatever becomes of
//!   the others. It is still found by [`Sticky`], so sessions that are bound to
//!   it can end there, as with HAProxy.
//! * [`Candidates::usable`] is the last word. Health, ejection, draining and
//!   what this request has tried already come together there, and an endpoint
//!   that is not usable is never picked. The usable ones keep their proportions
//!   among each other.
//! * Loads are those of one worker: a request is balanced by what its worker
//!   knows. With `w` workers an endpoint may have `w` times what the bound of
//!   `consistent_hash` says, of `w` times the requests.
//! * A pick allocates nothing.
//!
//! What a pick costs in instructions, by number of endpoints, all of them
//! usable, random numbers included; `cost_tests.rs` has the time it takes:
//!
//! | | 3 | 100 | 1000 | |
//! |---|---|---|---|---|
//! | `round_robin` | 40 | 40 | 40 | O(1) |
//! | … if weights add up to more than 4096 | 300 | 630 | 780 | O(log n) |
//! | `random` | 45 | 45 | 45 | O(1) |
//! | `least_request` | 240 | 200 | 200 | O(1) |
//! | `peak_ewma` | 420 | 380 | 380 | O(1) |
//! | `consistent_hash` | 50 | 50 | 50 | O(1) |
//! | … with a bound, while the endpoint of the key is busy | 140 | 1,900 | 18,000 | O(n) |
//!
//! While most endpoints are unusable, a pick may look at all of them.

mod alias;
mod consistent_hash;
mod hash;
mod load;
mod round_robin;
mod slow_start;
mod sticky;
mod two_choices;

pub use hash::hash_key;
pub use load::{InFlight, Load};
pub use slow_start::SlowStart;
pub use sticky::{Binding, SameSite, Sticky, StickySecret, StickySpec};

use alias::Alias;
use consistent_hash::Slots;
use round_robin::{Round, RoundRobin};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How endpoints are chosen, as compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceSpec {
    /// By what they are chosen.
    pub algorithm: Algorithm,
    /// How new endpoints are brought to their full share; nothing: at once.
    /// `consistent_hash` does without: half a share of a key is no use.
    pub slow_start: Option<SlowStart>,
}

/// By what endpoints are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// By turns.
    RoundRobin,
    /// By requests under way.
    LeastRequest,
    /// By requests under way and latency.
    PeakEwma {
        /// How fast latencies and failures are forgotten: by 1/e in this time;
        /// not zero. [`PEAK_EWMA_DECAY`] unless there is a reason.
        decay: Duration,
    },
    /// At random.
    Random,
    /// By key; at random for requests without one.
    ConsistentHash {
        /// How many times its share of the requests under way an endpoint may
        /// have, at least 1; nothing: any number. [`HASH_BOUND`] unless there
        /// is a reason.
        bound: Option<f64>,
    },
}

/// The usual decay of `peak_ewma`, that of Finagle and Linkerd.
pub const PEAK_EWMA_DECAY: Duration = Duration::from_secs(10);

/// The usual bound of `consistent_hash`.
pub const HASH_BOUND: f64 = 1.25;

/// An endpoint as the balancer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What makes it the same endpoint in another process or after a reload:
    /// its URL, or what discovery calls it. Keys and cookies are bound to this.
    pub identity: Arc<str>,
    /// Its share of the requests, in relation to that of others; 0 for none.
    pub weight: u16,
}

/// The endpoints of an upstream and what is derived from them: immutable, and
/// shared by all workers. For `consistent_hash` it takes some eight milliseconds
/// to make, so it is made where plans are compiled and not by workers.
#[derive(Debug)]
pub struct Roster {
    spec: BalanceSpec,
    members: Box<[Member]>,
    weights: Box<[u16]>,
    /// Of the weights that are not zero, in 65,536ths.
    mean_weight: f64,
    alias: Option<Alias>,
    round: Option<Round>,
    slots: Option<Slots>,
}

/// Chooses endpoints on one worker.
#[derive(Debug)]
pub struct Balancer {
    roster: Arc<Roster>,
    way: Way,
}

/// An algorithm and its state.
#[derive(Debug)]
enum Way {
    RoundRobin(RoundRobin),
    LeastRequest,
    PeakEwma { decay: Duration },
    Random,
    ConsistentHash { bound: Option<f64> },
}

/// What a balancer asks about endpoints, by their positions in the roster.
/// Both are asked often and have to be cheap.
pub trait Candidates {
    /// The load of an endpoint.
    fn load(&self, index: usize) -> &Load;
    /// Whether the request may go there. The answer must not change during a
    /// pick.
    fn usable(&self, index: usize) -> bool;
}

/// What is looked at during one pick.
struct View<'a, C> {
    roster: &'a Roster,
    candidates: &'a C,
    now: Instant,
}

impl Roster {
    /// Prepares for choosing among these endpoints.
    #[must_use]
    pub fn new(spec: BalanceSpec, members: impl IntoIterator<Item = Member>) -> Roster {
        let members: Box<[Member]> = members.into_iter().collect();
        let weights: Box<[u16]> = members.iter().map(|member| member.weight).collect();
        let alias = Alias::new(&weights);
        let (mut round, mut slots) = (None, None);
        match spec.algorithm {
            _ if alias.is_none() => {}
            Algorithm::RoundRobin => round = Some(Round::new(&weights)),
            Algorithm::ConsistentHash { .. } => slots = Some(Slots::new(&members)),
            Algorithm::LeastRequest | Algorithm::PeakEwma { .. } | Algorithm::Random => {}
        }
        Roster { spec, mean_weight: mean(&weights) * 65_536.0, members, weights, alias, round, slots }
    }

    /// The endpoints, by position.
    #[must_use]
    pub const fn members(&self) -> &[Member] {
        &self.members
    }

    /// How they are chosen.
    #[must_use]
    pub const fn spec(&self) -> &BalanceSpec {
        &self.spec
    }
}

/// By what it was made from: the rest follows.
impl PartialEq for Roster {
    fn eq(&self, other: &Roster) -> bool {
        self.spec == other.spec && self.members == other.members
    }
}

impl Balancer {
    /// A balancer for one worker. `seed` is random and decides where rotations
    /// begin, so that workers do not all begin with the same endpoint.
    #[must_use]
    pub fn new(roster: Arc<Roster>, seed: u64) -> Balancer {
        let way = match (roster.spec.algorithm, &roster.round) {
            (Algorithm::RoundRobin, Some(round)) => Way::RoundRobin(RoundRobin::new(round, seed)),
            (Algorithm::LeastRequest, _) => Way::LeastRequest,
            (Algorithm::PeakEwma { decay }, _) => Way::PeakEwma { decay },
            (Algorithm::ConsistentHash { bound }, _) => Way::ConsistentHash { bound },
            // Without a round there is nobody to pick.
            (Algorithm::Random | Algorithm::RoundRobin, _) => Way::Random,
        };
        Balancer { roster, way }
    }

    /// The endpoints it chooses from.
    #[must_use]
    pub const fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The position of the endpoint for one attempt; nothing if none is usable
    /// or all that are have weight 0.
    ///
    /// `key` is that of [`hash_key`], and only `consistent_hash` asks for it.
    /// For a retry, `candidates` leaves out what has been tried; the same key
    /// then leads to the same second endpoint everywhere.
    pub fn pick(
        &self,
        candidates: &impl Candidates,
        key: Option<u64>,
        now: Instant,
        random: &mut impl FnMut() -> u64,
    ) -> Option<usize> {
        let alias = self.roster.alias.as_ref()?;
        let view = View { roster: &self.roster, candidates, now };
        match (&self.way, key, &self.roster.slots) {
            (Way::RoundRobin(turns), ..) => turns.pick(&view, random),
            (Way::LeastRequest, ..) => two_choices::least_request(&view, alias, random),
            (Way::PeakEwma { decay }, ..) => two_choices::peak_ewma(&view, alias, *decay, random),
            (Way::ConsistentHash { bound }, Some(key), Some(slots)) => slots.pick(&view, key, *bound),
            (Way::Random | Way::ConsistentHash { .. }, ..) => Some(alias.draw(&view, None, random)?.index),
        }
    }

    /// Notes how an attempt went: how long the head of the reply took, or how
    /// long it took to fail. What counts as failed is for the caller to say;
    /// it should not be what the gateway itself refused or gave up. Attempts
    /// whose client left are not to be noted at all.
    ///
    /// Only `peak_ewma` wants to know; nothing is spent for the others.
    pub fn observe(&self, load: &Load, now: Instant, took: Duration, failed: bool) {
        if let Way::PeakEwma { decay } = self.way {
            load.observe(now, took, failed, decay);
        }
    }
}

impl<C> View<'_, C> {
    fn indices(&self) -> std::ops::Range<usize> {
        0..self.roster.weights.len()
    }
}

/// The mean of the weights that are not zero.
fn mean(weights: &[u16]) -> f64 {
    let used = weights.iter().filter(|weight| **weight > 0);
    let (sum, count) = used.fold((0.0, 0.0), |(sum, count), weight| (sum + f64::from(*weight), count + 1.0));
    if count > 0.0 { sum / count } else { 1.0 }
}

#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
