//! Which endpoint a request would be sent to, and why, without sending it.
//!
//! The same gates in the same order as those of an attempt, looked at instead of passed: nothing is drawn, no turn is
//! taken, no breaker asked for a permit. What belongs to one worker, turns and loads, is not known here; where it
//! decides, endpoints have shares instead of one being chosen.

use crate::attempt::key_of;
use crate::balance::{Algorithm, Balancer, Binding, Candidates, Load};
use crate::breaker::{OPEN, Phase};
use crate::spec::UpstreamSpec;
use crate::state::State;
use crate::upstream::NO_ENDPOINT;
use std::sync::Arc;
use std::time::Instant;
use torana_core::exchange::Exchange;
use torana_core::names::KnownName;

/// What would become of a request to an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// How endpoints are chosen, as in the configuration.
    pub algorithm: &'static str,
    /// The endpoint it would go to; `None` if it cannot be told, or nobody may be asked.
    pub chosen: Option<usize>,
    /// What decides.
    pub why: Why,
    /// All endpoints, by position.
    pub endpoints: Vec<Prospect>,
    /// Whether health is set aside because too few endpoints are usable.
    pub panic: bool,
}

/// What decides about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The client's sticky cookie names it.
    Sticky,
    /// No other may be asked.
    OnlyOne,
    /// It has the request's key, unless it is above the bound on load.
    Key,
    /// A worker's turn: each has its own.
    Turn,
    /// A draw, by weight.
    Draw,
    /// Two are drawn by weight; the one with fewer requests under way on the worker.
    FewerRequests,
    /// Two are drawn by weight; the one that is expected to answer sooner.
    SoonerAnswer,
    /// Nobody may be asked: the code of the refusal.
    Refused(&'static str),
}

impl Why {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Sticky => "the sticky cookie is bound to it",
            Why::OnlyOne => "no other endpoint may be asked",
            Why::Key => "the hash of the request's key leads to it, unless it has too much to do",
            Why::Turn => "by turns, in proportion to weights; each worker has turns of its own",
            Why::Draw => "drawn at random, in proportion to weights",
            Why::FewerRequests => "of two drawn in proportion to weights, the one with fewer requests under way",
            Why::SoonerAnswer => "of two drawn in proportion to weights, the one expected to answer sooner",
            Why::Refused(code) => code,
        }
    }
}

/// How an endpoint stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Prospect {
    /// Its name.
    pub name: Arc<str>,
    /// Its weight.
    pub weight: u32,
    /// Whether its health lets it be asked.
    pub usable: bool,
    /// What speaks against it.
    pub out: Vec<&'static str>,
    /// The phase of the breaker before it.
    pub breaker: Option<Phase>,
    /// Its part of requests like this one, from 0 to 1, if loads are equal.
    pub share: f64,
}

/// The endpoints, with nothing under way.
struct Field<'a> {
    prospects: &'a [Prospect],
    refused: &'a [bool],
    idle: Load,
}

impl Candidates for Field<'_> {
    fn load(&self, _: usize) -> &Load {
        &self.idle
    }

    fn usable(&self, index: usize) -> bool {
        self.prospects.get(index).is_some_and(|prospect| prospect.usable) && self.refused.get(index) == Some(&false)
    }
}

/// Says where `exchange` would go at `now`, if it were sent to the upstream of `spec`.
#[must_use]
pub fn forecast(spec: &UpstreamSpec, state: &State, exchange: &Exchange, now: Instant) -> Forecast {
    let health = state.health();
    let refuses = |index: usize| {
        state.breaker(index).map(|breaker| breaker.snapshot(now)).map(|seen| {
            let is_shut = match seen.phase {
                Phase::Open => seen.opens_for.is_some_and(|left| !left.is_zero()),
                Phase::ForcedOpen => true,
                // Some requests pass; this may be one.
                Phase::HalfOpen | Phase::Recovering | Phase::Closed | Phase::ForcedClosed => false,
            };
            (seen.phase, is_shut)
        })
    };
    let breakers: Vec<Option<(Phase, bool)>> = (0..spec.endpoints.len()).map(refuses).collect();
    let is_shut = |index: usize| breakers.get(index).copied().flatten().is_some_and(|(_, is_shut)| is_shut);
    let prospects = spec.endpoints.iter().enumerate().map(|(index, endpoint)| Prospect {
        name: endpoint.name.clone(),
        weight: endpoint.weight,
        usable: health.is_usable(index),
        out: health.standing(index).reasons().map(crate::health::standing::Why::as_str).collect(),
        breaker: breakers.get(index).copied().flatten().map(|(phase, _)| phase),
        share: 0.0,
    });
    let mut prospects: Vec<Prospect> = prospects.collect();
    // One breaker for all refuses whatever is chosen; one each are passed by.
    let refused: Vec<bool> = (0..prospects.len()).map(|index| state.breaks_by_endpoint() && is_shut(index)).collect();
    let field = Field { prospects: &prospects, refused: &refused, idle: Load::new() };
    let bound = state.sticky().and_then(|sticky| sticky.find(exchange.head.fields.get_all(KnownName::Cookie)));
    let (chosen, why) = choose(spec, state, exchange, &field, bound, now);
    let open: Vec<bool> = (0..prospects.len()).map(|index| field.usable(index)).collect();
    let (chosen, why) = match why {
        Why::Refused(_) if refused.contains(&true) => (None, Why::Refused(OPEN.code)),
        Why::Refused(_) => (None, why),
        _ if !state.breaks_by_endpoint() && is_shut(0) => (None, Why::Refused(OPEN.code)),
        _ => (chosen, why),
    };
    share_out(&mut prospects, &open, chosen, why);
    Forecast { algorithm: name_of(spec.balance.algorithm), chosen, why, endpoints: prospects, panic: health.panics() }
}

fn choose(
    spec: &UpstreamSpec,
    state: &State,
    exchange: &Exchange,
    field: &Field<'_>,
    bound: Option<Binding>,
    now: Instant,
) -> (Option<usize>, Why) {
    if let Some(bound) = bound.filter(|bound| field.usable(bound.index)) {
        return (Some(bound.index), Why::Sticky);
    }
    let mut usable = (0..spec.endpoints.len()).filter(|index| field.usable(*index));
    let why = match (usable.next(), usable.next()) {
        (None, _) => return (None, Why::Refused(NO_ENDPOINT.code)),
        (Some(only), None) => return (Some(only), Why::OnlyOne),
        _ => match spec.balance.algorithm {
            Algorithm::RoundRobin => Why::Turn,
            Algorithm::LeastRequest => Why::FewerRequests,
            Algorithm::PeakEwma { .. } => Why::SoonerAnswer,
            Algorithm::Random => Why::Draw,
            Algorithm::ConsistentHash { .. } => match spec.hash_on.as_ref().and_then(|on| key_of(on, exchange)) {
                // A balancer of our own: a key leads to the same endpoint with every one.
                key @ Some(_) => {
                    let balancer = Balancer::new(state.roster().clone(), 0);
                    return (balancer.pick(field, key, now, &mut || 0), Why::Key);
                }
                None => Why::Draw,
            },
        },
    };
    (None, why)
}

/// All to the one that is chosen, or by weight to those that may be.
fn share_out(prospects: &mut [Prospect], open: &[bool], chosen: Option<usize>, why: Why) {
    if matches!(why, Why::Refused(_)) {
        return;
    }
    let counts = |index: usize| chosen.map_or(open.get(index) == Some(&true), |chosen| chosen == index);
    let weight = |index: usize, prospect: &Prospect| if counts(index) { f64::from(prospect.weight) } else { 0.0 };
    let all: f64 = prospects.iter().enumerate().map(|(index, prospect)| weight(index, prospect)).sum();
    for (index, prospect) in prospects.iter_mut().enumerate().filter(|_| all > 0.0) {
        prospect.share = weight(index, prospect) / all;
    }
}

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "round_robin",
        Algorithm::LeastRequest => "least_request",
        Algorithm::PeakEwma { .. } => "peak_ewma",
        Algorithm::Random => "random",
        Algorithm::ConsistentHash { .. } => "consistent_hash",
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
