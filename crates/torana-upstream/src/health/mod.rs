//! Which endpoints can be trusted with a request.
//!
//! Three things speak against an endpoint, each on its own: **probes** say that
//! it does not work ([`active`]), **requests** failed on it and it was ejected
//! for a while ([`passive`]), or a **person** has drained it. It is usable when
//! nothing does; if too few are, probes and ejections are set aside ([`mod@panic`]).
//! This is Envoy's model (active health checking, outlier detection, panic
//! threshold), with its names where it has one. What differs, and why:
//!
//! * An ejection lasts its time. In Envoy a passed probe ends it
//!   (`successful_active_health_check_uneject_host`); here requests outweigh
//!   probes, for the endpoint whose health page is fine and whose work is not
//!   is what ejection is for.
//! * A probe that could not be made, for want of a socket, say, is no failure.
//! * Panic does not use what a person has drained.
//! * What is out is not judged: requests that end on an ejected, drained or
//!   unhealthy endpoint, or reach it in panic, change nothing.
//!
//! | default | here | Envoy Gateway | Kong | nginx |
//! |---|---|---|---|---|
//! | probes | off until a path is given; 5s, out after 3, back after 2 | 3s, 3, 1 | off | paid |
//! | ejection | 5 failures in a row | 5 | off | 1 in 10s |
//! | for | 30s × ejections, at most 300s | 30s ×, 300s | until probed | 10s |
//! | of at most | 10 %, one of two | 10 % | all | all but the last |
//! | panic below | 50 % usable | 50 % | – | – |
//!
//! # Who holds what
//!
//! An [`UpstreamHealth`] is the view one plan has of an upstream: its spec, and
//! the health of its endpoints by position. A reload makes a new view from the
//! previous one; endpoints that are still there keep their [`EndpointHealth`],
//! and all views of an upstream share one pool with the counts. Making a view
//! changes nothing yet: [`adopt`](UpstreamHealth::adopt) does, when the plan is
//! put in force. So a plan that is thrown away leaves no trace, and workers that
//! are still at the previous plan report into the same state.
//!
//! # What a call costs
//!
//! | call | when all is well | otherwise |
//! |---|---|---|
//! | [`is_usable`](UpstreamHealth::is_usable) | one load | two |
//! | [`version`](UpstreamHealth::version), [`panics`](UpstreamHealth::panics) | one load | one |
//! | [`report`](UpstreamHealth::report) | two loads | an addition; a lock when that ejects |
//! | `report` with `failure_percentage` | and a compare-and-swap | the same |
//! | [`tend`](UpstreamHealth::tend) | one load | a lock while ejections end |
//!
//! Nothing of this allocates, except where a standing changes.

pub mod active;
pub mod event;
pub mod panic;
pub mod passive;
mod pool;
pub mod probe;
#[cfg(test)]
mod simulations;
pub mod standing;
pub mod state;
#[cfg(test)]
mod tests;

use crate::outcome::Outcome;
use crate::spec::EndpointSpec;
pub use crate::spec::health as spec;
use active::Verdict;
use event::Observer;
use passive::{Silent, fault_of, is_too_many};
pub use pool::Counts;
use pool::{Cause, Pool};
use spec::HealthSpec;
use standing::{Standing, Why};
use state::{EndpointHealth, EndpointSnapshot, ProbeNote};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// The health of an upstream as one plan sees it.
pub struct UpstreamHealth {
    spec: HealthSpec,
    endpoints: Box<[Arc<EndpointHealth>]>,
    /// By position: whether it is listed as drained.
    drained: Box<[bool]>,
    pool: Arc<Pool>,
}

/// Everything there is to say about an upstream's health at one moment.
#[derive(Clone, Debug)]
pub struct UpstreamSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints in numbers.
    pub counts: Counts,
    /// Whether health is set aside.
    pub panic: bool,
    /// Its endpoints, as written.
    pub endpoints: Vec<EndpointSnapshot>,
}

impl UpstreamHealth {
    /// The health of the upstream `name` under `spec`.
    ///
    /// `previous` is the health of the upstream of that name until now, if
    /// there was one: endpoints that are still there keep what is known about
    /// them. Nothing is changed before [`adopt`](Self::adopt); only without
    /// `previous` is there nobody to disturb, and the view is in force at once.
    #[must_use]
    pub fn new(
        name: &Arc<str>,
        endpoints: &[EndpointSpec],
        spec: &HealthSpec,
        previous: Option<&UpstreamHealth>,
        observer: &Arc<dyn Observer>,
        now: Instant,
    ) -> Arc<UpstreamHealth> {
        let mut known: HashMap<&str, Vec<&Arc<EndpointHealth>>> = HashMap::new();
        for endpoint in previous.iter().flat_map(|previous| previous.endpoints.iter().rev()) {
            known.entry(endpoint.name()).or_default().push(endpoint);
        }
        let require = spec.active.as_ref().is_some_and(|active| active.require);
        let fresh = if require { Standing::USABLE.with(Why::Unchecked) } else { Standing::USABLE };
        let drained: Box<[bool]> = endpoints.iter().map(|endpoint| endpoint.drain).collect();
        let endpoints: Box<[_]> = endpoints
            .iter()
            .map(|spec| {
                // Taken away as it is found: an endpoint listed twice is two.
                let of_name = known.get_mut(&*spec.name);
                let kept = of_name.and_then(|list| list.pop_if(|known| known.is_of(spec)));
                kept.cloned().unwrap_or_else(|| EndpointHealth::new(spec, fresh, now))
            })
            .collect();
        let pool = match previous {
            Some(previous) => previous.pool.clone(),
            None => {
                let pool = Pool::new(name, spec, observer, now);
                pool.adopt(&endpoints, &drained, spec, now);
                pool
            }
        };
        Arc::new(UpstreamHealth { spec: spec.clone(), endpoints, drained, pool })
    }

    /// Puts this view in force: its endpoints are the upstream's now, and its
    /// spec holds. Ejections beyond what the new budget allows end, those that
    /// end soonest first.
    pub fn adopt(&self, now: Instant) {
        self.pool.adopt(&self.endpoints, &self.drained, &self.spec, now);
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.pool.name()
    }

    /// How its health is watched.
    #[must_use]
    pub const fn spec(&self) -> &HealthSpec {
        &self.spec
    }

    /// Whether requests may go to the endpoint at this position.
    #[must_use]
    pub fn is_usable(&self, index: usize) -> bool {
        let standing = self.standing(index);
        standing.is_usable() || (standing.is_candidate() && self.pool.panics())
    }

    /// What speaks against the endpoint at this position, panic or not; one
    /// that does not exist is drained.
    #[must_use]
    pub fn standing(&self, index: usize) -> Standing {
        match self.endpoints.get(index) {
            Some(endpoint) => endpoint.standing(),
            None => Standing::USABLE.with(Why::Drained),
        }
    }

    /// Whether health is set aside because too few endpoints are usable.
    #[must_use]
    pub fn panics(&self) -> bool {
        self.pool.panics()
    }

    /// Another number whenever [`is_usable`](Self::is_usable) may answer
    /// differently: what a balancer has derived from the answers holds until
    /// then.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.pool.version()
    }

    /// Tells what came of an attempt on the endpoint at this position.
    pub fn report(&self, index: usize, outcome: Outcome, now: Instant) {
        let (Some(passive), Some(endpoint)) = (&self.spec.passive, self.endpoints.get(index)) else { return };
        let fault = match fault_of(outcome, passive) {
            Ok(fault) => fault,
            Err(Silent) => return,
        };
        if !endpoint.standing().is_usable() {
            return;
        }
        let share = passive.failure_percentage.as_ref().map(|limit| {
            let elapsed = now.saturating_duration_since(self.pool.origin());
            (endpoint.window.count(fault.is_some(), elapsed, limit), limit)
        });
        let Some(fault) = fault else { return endpoint.forgive() };
        if passive.consecutive_failures > 0 && endpoint.strike() >= passive.consecutive_failures {
            self.pool.eject(endpoint, Cause::InARow(fault), passive, now);
        } else if let Some((counts, limit)) = share
            && is_too_many(counts, limit)
        {
            self.pool.eject(endpoint, Cause::Share(counts.0, counts.1, fault), passive, now);
        }
    }

    /// Ends ejections whose time is over. To be called now and then, by any
    /// worker or by all: an ejection lasts until the next call behind its end.
    pub fn tend(&self, now: Instant) {
        self.pool.tend(now);
    }

    /// Takes the endpoint at this position out (`on`) or puts it back. That
    /// holds until it is undone or the endpoint leaves the configuration.
    pub fn drain(&self, index: usize, on: bool, now: Instant) {
        if let Some(endpoint) = self.endpoints.get(index) {
            self.pool.drain(endpoint, on, now);
        }
    }

    /// The health of its endpoints, as written.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<EndpointHealth>] {
        &self.endpoints
    }

    /// Its endpoints in numbers. Takes the lock.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.pool.counts()
    }

    /// Everything about it. Not for the request path.
    #[must_use]
    pub fn snapshot(&self) -> UpstreamSnapshot {
        UpstreamSnapshot {
            name: self.name().clone(),
            counts: self.counts(),
            panic: self.panics(),
            endpoints: self.endpoints.iter().map(|endpoint| endpoint.snapshot()).collect(),
        }
    }

    /// A probe of the endpoint at this position has ended, and this is what
    /// its probes add up to.
    pub(crate) fn probed(&self, index: usize, note: &ProbeNote, verdict: Verdict) {
        let Some(endpoint) = self.endpoints.get(index) else { return };
        {
            let mut record = endpoint.record();
            record.probes.passed += u64::from(note.passed == Some(true));
            record.probes.failed += u64::from(note.passed == Some(false));
        }
        self.judged(index, note, verdict, note.at);
    }

    /// Heeds a verdict without a probe of this endpoint's own.
    pub(crate) fn judged(&self, index: usize, note: &ProbeNote, verdict: Verdict, now: Instant) {
        let Some(endpoint) = self.endpoints.get(index) else { return };
        {
            let mut record = endpoint.record();
            record.probe = Some(note.clone());
            record.verdict = verdict;
        }
        let words = match verdict {
            Verdict::Unhealthy => format!("{} failed in a row, the last: {}", note.failures, note.words),
            Verdict::Healthy | Verdict::Unknown => format!("{} passed in a row, the last: {}", note.passes, note.words),
        };
        self.pool.judge(endpoint, verdict, &words, now);
    }

    /// The verdict probes have come to so far.
    pub(crate) fn verdict(&self, index: usize) -> Verdict {
        self.endpoints.get(index).map_or(Verdict::Unknown, |endpoint| endpoint.record().verdict)
    }
}

impl std::fmt::Debug for UpstreamHealth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamHealth")
            .field("name", self.name())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
