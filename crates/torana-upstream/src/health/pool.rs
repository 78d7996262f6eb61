//! What the endpoints of one upstream have in common: who belongs to it, how
//! many are usable, how many may be ejected.
//!
//! A pool outlives plans: the first plan that has the upstream makes it, later
//! ones take it over. Standings change only here, under one lock, so the counts
//! are exact, the ejection budget holds whatever workers do at the same moment,
//! and events come in the order in which they took effect. The lock is taken
//! when something changes, which is rare, and never by a request that
//! succeeds.

use super::active::Verdict;
use super::event::{Event, Observer, Reason};
use super::panic::is_panic;
use super::passive::ejection_budget;
use super::spec::{HealthSpec, PassiveSpec};
use super::standing::{Standing, Why};
use super::state::{EndpointHealth, LISTED};
use crate::outcome::Fault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The endpoints of an upstream in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// All endpoints.
    pub total: u32,
    /// Those that are neither drained nor waiting for their first probe.
    pub candidates: u32,
    /// Those that nothing speaks against.
    pub usable: u32,
    /// Those that are ejected now.
    pub ejected: u32,
    /// Ejections ever.
    pub ejections: u64,
    /// Ejections that the budget did not allow.
    pub ejections_refused: u64,
}

pub(super) struct Pool {
    name: Arc<str>,
    observer: Arc<dyn Observer>,
    origin: Instant,
    /// Twice the number of changes so far, and one more in panic.
    mode: AtomicU64,
    /// Milliseconds from the origin at which an ejection ends; `u64::MAX`: none.
    next_release: AtomicU64,
    members: Mutex<Members>,
}

struct Members {
    endpoints: Vec<Arc<EndpointHealth>>,
    spec: HealthSpec,
    counts: Counts,
}

/// What an ejection is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// Failures in a row.
    InARow(Fault),
    /// Requests and failures within a window.
    Share(u64, u64, Fault),
}

impl Pool {
    pub(super) fn new(name: &Arc<str>, spec: &HealthSpec, observer: &Arc<dyn Observer>, now: Instant) -> Arc<Pool> {
        Arc::new(Pool {
            name: name.clone(),
            observer: observer.clone(),
            origin: now,
            mode: AtomicU64::new(0),
            next_release: AtomicU64::new(u64::MAX),
            members: Mutex::new(Members { endpoints: Vec::new(), spec: spec.clone(), counts: Counts::default() }),
        })
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) const fn origin(&self) -> Instant {
        self.origin
    }

    /// Whether health is set aside. One load.
    pub(super) fn panics(&self) -> bool {
        self.mode.load(Ordering::Relaxed) & 1 == 1
    }

    /// A number that is another after every change. One load.
    pub(super) fn version(&self) -> u64 {
        // Whoever sees the number sees the standings it stands for.
        self.mode.load(Ordering::Acquire)
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Standing and counts change together before anyone is told, so an
        // observer that panicked has left them in order.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `endpoints` the members, under `spec`. What the old configuration
    /// had against an endpoint and the new one would not is taken back.
    pub(super) fn adopt(&self, endpoints: &[Arc<EndpointHealth>], drained: &[bool], spec: &HealthSpec, now: Instant) {
        let mut members = self.lock();
        let members = &mut *members;
        for gone in &members.endpoints {
            gone.record().member = false;
        }
        members.endpoints = endpoints.to_vec();
        members.spec = spec.clone();
        let mut counts = Counts {
            ejections: members.counts.ejections,
            ejections_refused: members.counts.ejections_refused,
            ..Counts::default()
        };
        for endpoint in endpoints {
            endpoint.record().member = true;
            counts.total += 1;
            counts.add(endpoint.standing());
        }
        members.counts = counts;
        for endpoint in endpoints {
            let mut standing = endpoint.standing();
            if !spec.active.as_ref().is_some_and(|active| active.require) {
                standing = standing.without(Why::Unchecked);
            }
            if spec.active.is_none() {
                standing = standing.without(Why::Unhealthy);
                endpoint.record().verdict = Verdict::Unknown;
            }
            if spec.passive.is_none() && standing.has(Why::Ejected) {
                standing = standing.without(Why::Ejected);
                endpoint.record().ejections.release(now);
            }
            self.change(members, endpoint, standing, Reason::Configuration, "not watched for any more", now);
        }
        for (endpoint, drained) in endpoints.iter().zip(drained) {
            let standing = endpoint.standing();
            let (to, reason) = match drained {
                true => (standing.with(Why::Configured), Reason::Drained),
                false => (standing.without(Why::Configured), Reason::Undrained),
            };
            self.change(members, endpoint, to, reason, LISTED, now);
        }
        self.keep_to_the_budget(members, now);
        self.plan_release(members);
        self.publish(members);
    }

    /// Ends the ejections that end soonest until the rest is within budget.
    fn keep_to_the_budget(&self, members: &mut Members, now: Instant) {
        let over = members.counts.ejected.saturating_sub(members.budget());
        if over == 0 {
            return;
        }
        let mut ejected: Vec<(Option<Instant>, Arc<EndpointHealth>)> =
            members.ejected().map(|endpoint| (endpoint.record().ejections.until(), endpoint.clone())).collect();
        ejected.sort_by_key(|(until, _)| *until);
        for (_, endpoint) in ejected.into_iter().take(over as usize) {
            self.release(members, &endpoint, Reason::EjectionBudget, now);
        }
    }

    fn release(&self, members: &mut Members, endpoint: &EndpointHealth, reason: Reason, now: Instant) {
        endpoint.record().ejections.release(now);
        let to = endpoint.standing().without(Why::Ejected);
        let words = match reason {
            Reason::EjectionOver => "its time is over",
            _ => "fewer may be ejected",
        };
        self.change(members, endpoint, to, reason, words, now);
    }

    /// Ejects `endpoint`, if it is not out already and the budget allows it.
    pub(super) fn eject(&self, endpoint: &EndpointHealth, cause: Cause, spec: &PassiveSpec, now: Instant) {
        let mut members = self.lock();
        let members = &mut *members;
        // Several workers may come here for the same failures; the first one
        // has dealt with them.
        let is_due = match cause {
            Cause::InARow(_) => endpoint.strikes() >= spec.consecutive_failures,
            Cause::Share(..) => true,
        };
        if !is_due || !endpoint.standing().is_usable() || !endpoint.record().member {
            return;
        }
        let strikes = endpoint.strikes();
        endpoint.start_anew();
        let (Cause::InARow(fault) | Cause::Share(.., fault)) = cause;
        endpoint.record().last_fault = Some((fault, now));
        if members.counts.ejected >= members.budget() {
            members.counts.ejections_refused += 1;
            return;
        }
        let until = {
            let mut record = endpoint.record();
            record.times_ejected += 1;
            record.ejections.eject(now, spec)
        };
        members.counts.ejections += 1;
        self.next_release.fetch_min(self.millis_up(until), Ordering::Relaxed);
        let lasts = until - now;
        let (reason, words) = match cause {
            Cause::InARow(fault) => (
                Reason::ConsecutiveFailures,
                format!("{strikes} failures in a row, the last: {fault}; ejected for {lasts:?}"),
            ),
            Cause::Share(requests, failures, fault) => (
                Reason::FailurePercentage,
                format!("{failures} of {requests} requests failed, the last: {fault}; ejected for {lasts:?}"),
            ),
        };
        self.change(members, endpoint, endpoint.standing().with(Why::Ejected), reason, &words, now);
        self.publish(members);
    }

    /// Ends ejections whose time is over. One load when there are none.
    pub(super) fn tend(&self, now: Instant) {
        if self.millis(now) < self.next_release.load(Ordering::Relaxed) {
            return;
        }
        let mut members = self.lock();
        let members = &mut *members;
        let over =
            |endpoint: &&Arc<EndpointHealth>| endpoint.record().ejections.until().is_none_or(|until| until <= now);
        let over: Vec<Arc<EndpointHealth>> = members.ejected().filter(over).cloned().collect();
        for endpoint in &over {
            self.release(members, endpoint, Reason::EjectionOver, now);
        }
        self.plan_release(members);
        if !over.is_empty() {
            self.publish(members);
        }
    }

    /// Heeds what probes say. One load when that is not new.
    pub(super) fn judge(&self, endpoint: &EndpointHealth, verdict: Verdict, words: &str, now: Instant) {
        let judged = |standing: Standing| match verdict {
            Verdict::Unknown => standing,
            Verdict::Healthy => standing.without(Why::Unchecked).without(Why::Unhealthy),
            Verdict::Unhealthy => standing.without(Why::Unchecked).with(Why::Unhealthy),
        };
        let standing = endpoint.standing();
        if judged(standing) == standing {
            return;
        }
        let mut members = self.lock();
        // A probe may end after its configuration did.
        if members.spec.active.is_none() {
            return;
        }
        let reason = if verdict == Verdict::Healthy { Reason::ProbesPassed } else { Reason::ProbesFailed };
        self.change(&mut members, endpoint, judged(endpoint.standing()), reason, words, now);
        self.publish(&members);
    }

    /// Takes an endpoint out, or puts it back.
    pub(super) fn drain(&self, endpoint: &EndpointHealth, on: bool, now: Instant) {
        let mut members = self.lock();
        let standing = endpoint.standing();
        if on {
            self.change(&mut members, endpoint, standing.with(Why::Drained), Reason::Drained, "by request", now);
        } else {
            self.change(&mut members, endpoint, standing.without(Why::Drained), Reason::Undrained, "by request", now);
        }
        self.publish(&members);
    }

    /// The only place where a standing changes. Whoever calls it publishes when
    /// all is changed, so that panic neither begins nor ends half-way.
    fn change(
        &self,
        members: &mut Members,
        endpoint: &EndpointHealth,
        to: Standing,
        reason: Reason,
        words: &str,
        now: Instant,
    ) {
        let from = endpoint.standing();
        if from == to {
            return;
        }
        if to.is_usable() {
            endpoint.start_anew();
        }
        endpoint.set_standing(to);
        {
            let mut record = endpoint.record();
            record.since = now;
            record.cause = Some((reason, words.into()));
            if !record.member {
                return;
            }
        }
        members.counts.remove(from);
        members.counts.add(to);
        self.observer.observe(&Event::Endpoint {
            upstream: self.name.clone(),
            endpoint: endpoint.name().clone(),
            from,
            to,
            reason,
            words: words.into(),
            at: now,
        });
    }

    /// Lets the workers see that something has changed.
    fn publish(&self, members: &Members) {
        let Counts { usable, candidates, .. } = members.counts;
        let panic = is_panic(members.spec.panic_threshold, usable, candidates);
        let before = self.mode.load(Ordering::Relaxed);
        self.mode.store(((before >> 1) + 1) << 1 | u64::from(panic), Ordering::Release);
        if panic != (before & 1 == 1) {
            self.observer.observe(&Event::Panic { upstream: self.name.clone(), on: panic, usable, candidates });
        }
    }

    fn plan_release(&self, members: &Members) {
        let first = members.ejected().filter_map(|endpoint| endpoint.record().ejections.until()).min();
        self.next_release.store(first.map_or(u64::MAX, |until| self.millis_up(until)), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    /// Rounded up, so that what is due by this is over by the clock.
    fn millis_up(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

impl Members {
    fn ejected(&self) -> impl Iterator<Item = &Arc<EndpointHealth>> {
        self.endpoints.iter().filter(|endpoint| endpoint.standing().has(Why::Ejected))
    }

    /// How many endpoints may be ejected at once.
    fn budget(&self) -> u32 {
        self.spec.passive.as_ref().map_or(0, |passive| ejection_budget(passive.max_ejection_percent, self.counts.total))
    }
}

impl Counts {
    fn add(&mut self, standing: Standing) {
        self.candidates += u32::from(standing.is_candidate());
        self.usable += u32::from(standing.is_usable());
        self.ejected += u32::from(standing.has(Why::Ejected));
    }

    fn remove(&mut self, standing: Standing) {
        self.candidates -= u32::from(standing.is_candidate());
        self.usable -= u32::from(standing.is_usable());
        self.ejected -= u32::from(standing.has(Why::Ejected));
    }
}
