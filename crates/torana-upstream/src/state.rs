//! What is known about an upstream, as opposed to what is configured.

use crate::balance::{Member, Roster, Sticky};
use crate::breaker::{self, Breaker};
use crate::ceiling::Ceiling;
use crate::discover::{self, Source, SourceSpec};
use crate::health::UpstreamHealth;
use crate::health::event::{Observer, Unobserved};
use crate::spec::{Scope, UpstreamSpec};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Who is told what happens to upstreams: the log and the metrics.
#[derive(Clone)]
pub struct Watch {
    /// Told of endpoints that go out and come back.
    pub health: Arc<dyn Observer>,
    /// Told of breakers that open and close.
    pub breaker: breaker::Observer,
}

impl Default for Watch {
    /// Nobody.
    fn default() -> Self {
        Watch { health: Arc::new(Unobserved), breaker: Arc::new(|_, _| {}) }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What is known about an upstream. Shared by all workers, and handed from plan
/// to plan: a reload neither brings back an endpoint that is out nor closes a
/// breaker.
#[derive(Debug)]
pub struct State {
    sources: Vec<Arc<Source>>,
    health: Arc<UpstreamHealth>,
    roster: Arc<Roster>,
    sticky: Option<Sticky>,
    breakers: Breakers,
    ceiling: Option<Arc<Ceiling>>,
}

/// None, one, or one for each endpoint.
#[derive(Debug)]
enum Breakers {
    None,
    Upstream(Arc<Breaker>),
    Endpoint(Box<[Arc<Breaker>]>),
}

impl State {
    /// The state of the upstream of `spec`, going on from that of the upstream
    /// of that name in the plan before.
    #[must_use]
    pub fn new(spec: &UpstreamSpec, previous: Option<&State>, watch: &Watch, now: Instant) -> Arc<State> {
        State::of(spec, State::sources_of(&spec.name, &spec.sources, previous, now), previous, watch, now)
    }

    /// The sources that an upstream of that name and these specs has: those of
    /// the plan before, where they ask the same.
    #[must_use]
    pub fn sources_of(
        upstream: &Arc<str>,
        specs: &[SourceSpec],
        previous: Option<&State>,
        now: Instant,
    ) -> Vec<Arc<Source>> {
        let known = |spec: &SourceSpec| previous?.sources.iter().find(|known| known.spec() == spec).cloned();
        specs.iter().map(|spec| known(spec).unwrap_or_else(|| Source::new(upstream, spec.clone(), now))).collect()
    }

    /// [`new`](State::new) with the sources at hand.
    #[must_use]
    pub fn of(
        spec: &UpstreamSpec,
        sources: Vec<Arc<Source>>,
        previous: Option<&State>,
        watch: &Watch,
        now: Instant,
    ) -> Arc<State> {
        let members = spec.endpoints.iter().map(|endpoint| Member {
            identity: endpoint.name.clone(),
            weight: u16::try_from(endpoint.weight).unwrap_or(u16::MAX),
        });
        let members: Vec<Member> = members.collect();
        // Preparing for a hash takes long: what says the same is kept.
        let roster = match previous.map(|before| &before.roster) {
            Some(known) if *known.spec() == spec.balance && *known.members() == *members => known.clone(),
            _ => Arc::new(Roster::new(spec.balance.clone(), members)),
        };
        let health = previous.map(|before| &*before.health);
        Arc::new(State {
            sources,
            health: UpstreamHealth::new(&spec.name, &spec.endpoints, &spec.health, health, &watch.health, now),
            sticky: spec.sticky.clone().map(|sticky| Sticky::new(sticky, roster.members())),
            breakers: breakers(spec, previous, watch, now),
            ceiling: spec.ceiling.map(|ceiling| match previous.and_then(State::ceiling) {
                Some(known) => known.clone(),
                None => Arc::new(Ceiling::new(ceiling.most)),
            }),
            roster,
        })
    }

    /// Where its endpoints are looked up.
    #[must_use]
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// The upstream of `spec`, whose state this is, with what its sources have
    /// found by now; `None`: nothing has changed.
    #[must_use]
    pub fn rediscovered(
        &self,
        spec: &UpstreamSpec,
        watch: &Watch,
        now: Instant,
    ) -> Option<(Arc<UpstreamSpec>, Arc<State>)> {
        if self.sources.is_empty() {
            return None;
        }
        let endpoints = discover::endpoints(&spec.fixed, &self.sources, spec.tls.is_some(), &|name| self.works(name));
        if endpoints == spec.endpoints {
            return None;
        }
        let spec = Arc::new(UpstreamSpec { endpoints, ..spec.clone() });
        let state = State::of(&spec, self.sources.clone(), Some(self), watch, now);
        Some((spec, state))
    }

    /// Whether the endpoint of that name is well, as far as is known.
    #[must_use]
    pub fn works(&self, name: &str) -> bool {
        let mut known = self.health.endpoints().iter().filter(|endpoint| **endpoint.name() == *name).peekable();
        known.peek().is_none() || known.any(|endpoint| endpoint.standing().is_usable())
    }

    /// The health of its endpoints.
    #[must_use]
    pub const fn health(&self) -> &Arc<UpstreamHealth> {
        &self.health
    }

    /// What balancers choose from.
    #[must_use]
    pub const fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The cookie that binds clients to endpoints.
    #[must_use]
    pub const fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_ref()
    }

    /// The places there are for requests.
    #[must_use]
    pub const fn ceiling(&self) -> Option<&Arc<Ceiling>> {
        self.ceiling.as_ref()
    }

    /// The breaker that requests to the endpoint at this position pass.
    #[must_use]
    pub fn breaker(&self, index: usize) -> Option<&Arc<Breaker>> {
        match &self.breakers {
            Breakers::None => None,
            Breakers::Upstream(breaker) => Some(breaker),
            Breakers::Endpoint(breakers) => breakers.get(index),
        }
    }

    /// All its breakers.
    #[must_use]
    pub fn breakers(&self) -> &[Arc<Breaker>] {
        match &self.breakers {
            Breakers::None => &[],
            Breakers::Upstream(breaker) => std::slice::from_ref(breaker),
            Breakers::Endpoint(breakers) => breakers,
        }
    }

    /// Whether endpoints have breakers of their own, so that another endpoint
    /// is worth asking when one refuses.
    #[must_use]
    pub const fn breaks_by_endpoint(&self) -> bool {
        matches!(self.breakers, Breakers::Endpoint(_))
    }
}

fn breakers(spec: &UpstreamSpec, previous: Option<&State>, watch: &Watch, now: Instant) -> Breakers {
    let Some((wanted, scope)) = &spec.breaker else { return Breakers::None };
    let known = |name: &str| previous?.breakers().iter().find(|breaker| **breaker.name() == *name);
    let make = |name: &Arc<str>| match known(name) {
        Some(breaker) => breaker.succeed(wanted, now),
        None => Arc::new(Breaker::new(name, wanted, now).observed_by(watch.breaker.clone())),
    };
    match scope {
        Scope::Upstream => Breakers::Upstream(make(&spec.name)),
        Scope::Endpoint => {
            let of_endpoint = |endpoint: &crate::spec::EndpointSpec| {
                // Names of upstreams hold no space.
                make(&format!("{} {}", spec.name, endpoint.name).into())
            };
            Breakers::Endpoint(spec.endpoints.iter().map(of_endpoint).collect())
        }
    }
}
