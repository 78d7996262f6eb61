//! What an upstream's health promises, one promise at a time.

mod reloads;
mod standings;

use super::UpstreamHealth;
use super::active::Verdict;
use super::event::{Event, Observer, Unobserved};
use super::spec::{ActiveSpec, Check, HealthSpec};
use super::state::ProbeNote;
use crate::outcome::Outcome;
use crate::spec::{Address, EndpointSpec};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use torana_core::head::Status;

/// Keeps what it is told.
#[derive(Default)]
pub(super) struct Events(Mutex<Vec<Event>>);

impl Observer for Events {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    /// What happened since the last time, as `b: usable -> ejected (reason)`.
    pub(super) fn take(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        let told = events.iter().map(|event| match event {
            Event::Endpoint { endpoint, from, to, reason, .. } => format!("{endpoint}: {from} -> {to} ({reason:?})"),
            Event::Panic { on, usable, candidates, .. } => format!("panic {on}: {usable} of {candidates}"),
        });
        told.collect()
    }

    /// The last reason and what was seen.
    pub(super) fn words(&self) -> String {
        match self.0.lock().unwrap().last() {
            Some(Event::Endpoint { words, .. }) => words.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn endpoint(name: &str) -> EndpointSpec {
    EndpointSpec {
        name: name.into(),
        address: Address::Name(name.into(), 80),
        authority: name.into(),
        secure: false,
        prior_knowledge: false,
        weight: 1,
        drain: false,
    }
}

/// Endpoints `e0`, `e1`, …
pub(super) fn endpoints(count: usize) -> Vec<EndpointSpec> {
    (0..count).map(|index| endpoint(&format!("e{index}"))).collect()
}

pub(super) fn quiet() -> Arc<dyn Observer> {
    Arc::new(Unobserved)
}

const BAD: Outcome = Outcome::Replied(Status::SERVICE_UNAVAILABLE);
const GOOD: Outcome = Outcome::Replied(Status::OK);
const SECOND: Duration = Duration::from_secs(1);

fn active() -> HealthSpec {
    HealthSpec { active: Some(ActiveSpec::new(Check::Tcp)), ..HealthSpec::default() }
}

/// An upstream `u` with a clock.
struct Bench {
    health: Arc<UpstreamHealth>,
    events: Arc<Events>,
    now: Instant,
}

impl Bench {
    fn new(count: usize, spec: &HealthSpec) -> Bench {
        let (events, now) = (Arc::<Events>::default(), Instant::now());
        let observer: Arc<dyn Observer> = events.clone();
        Bench { health: UpstreamHealth::new(&"u".into(), &endpoints(count), spec, None, &observer, now), events, now }
    }

    /// The view of the next plan, not yet in force.
    fn next(&self, endpoints: &[EndpointSpec], spec: &HealthSpec) -> Arc<UpstreamHealth> {
        UpstreamHealth::new(&"u".into(), endpoints, spec, Some(&self.health), &quiet(), self.now)
    }

    fn reload(&mut self, endpoints: &[EndpointSpec], spec: &HealthSpec) {
        self.health = self.next(endpoints, spec);
        self.health.adopt(self.now);
    }

    fn report(&self, index: usize, outcome: Outcome, times: usize) {
        for _ in 0..times {
            self.health.report(index, outcome, self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.health.tend(self.now);
    }

    fn probe(&self, index: usize, verdict: Verdict) {
        let note = ProbeNote {
            at: self.now,
            passed: Some(verdict == Verdict::Healthy),
            words: "seen".into(),
            passes: 2,
            failures: 3,
        };
        self.health.probed(index, &note, verdict);
    }

    /// Usable endpoints as ones.
    fn usable(&self) -> String {
        let ones = (0..self.health.endpoints().len()).map(|index| if self.health.is_usable(index) { '1' } else { '0' });
        ones.collect()
    }
}
