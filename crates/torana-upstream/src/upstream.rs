//! An upstream on one worker.

use crate::balance::{Balancer, Load};
use crate::ceiling::{Lane, Place};
use crate::endpoint::Endpoint;
use crate::hedge::{HedgeCounts, Hedger};
use crate::retry::Budget;
use crate::spec::UpstreamSpec;
use crate::state::State;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use torana_core::deadline::Deadline;
use torana_core::refusal::Rejection;
use torana_core::trace::IdSource;
use torana_net::timer;

torana_core::refusals! {
    /// The plan has no upstream at this position: a fault of the gateway.
    NO_UPSTREAM = "internal.no_upstream" 500 Gateway Never "The gateway is misconfigured.";
    /// No endpoint of the upstream may be asked: all are drained, or have refused this request already.
    NO_ENDPOINT = "upstream.unavailable" 503 Gateway Never "The service is not available at the moment.";
    /// No endpoint of the upstream is known: none of its sources has answered since the gateway started.
    UNDISCOVERED = "upstream.undiscovered" 503 Gateway Never "The service is not available at the moment.";
}

/// An upstream on one worker.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) spec: Arc<UpstreamSpec>,
    pub(crate) state: Arc<State>,
    pub(crate) endpoints: Vec<Rc<Endpoint>>,
    pub(crate) balancer: Balancer,
    pub(crate) budget: Rc<Budget>,
    pub(crate) random: RefCell<IdSource>,
    /// Whether somebody wants to know how long answers take, to the
    /// microsecond; otherwise the coarse clock will do.
    pub(crate) timed: bool,
    /// Whether requests under way are counted by endpoint.
    pub(crate) counted: bool,
    /// Sends requests to two endpoints at the same time.
    pub(crate) hedger: Option<Rc<Hedger>>,
    /// The way to the upstream's ceiling.
    pub(crate) lane: Option<Rc<Lane>>,
    /// The same upstream in the newest plan; nobody while this is it. All of
    /// them share it, so that one an old request holds on to does not hold on
    /// to those in between.
    newest: Rc<RefCell<Weak<Upstream>>>,
}

impl Upstream {
    pub(crate) fn new(spec: &Arc<UpstreamSpec>, state: &Arc<State>, before: Option<&Upstream>) -> Rc<Upstream> {
        let now = timer::coarse_now();
        // By name: a scan for each of many would be felt where endpoints come
        // and go. Of those of one name the first is found, as ever.
        let mut known: HashMap<&str, &Rc<Endpoint>> = HashMap::new();
        for endpoint in before.iter().flat_map(|before| &before.endpoints).filter(|known| known.is_open()) {
            known.entry(endpoint.name()).or_insert(endpoint);
        }
        let endpoints = spec.endpoints.iter().map(|wanted| {
            let known = known.get(&*wanted.name).copied().filter(|known| known.fits(spec, wanted));
            // One that joins others starts slowly; when all are new there is
            // nobody to spare it.
            let joins = before.is_some_and(|before| !before.endpoints.is_empty());
            let load = if joins { Load::joining(now) } else { Load::new() };
            known.cloned().unwrap_or_else(|| Endpoint::new(spec, wanted, load))
        });
        let mut random = IdSource::random();
        let budget = match before {
            Some(before) if before.spec.retry.budget == spec.retry.budget => before.budget.clone(),
            _ => Rc::new(Budget::new(spec.retry.budget, now)),
        };
        let hedger = match before {
            Some(before) if before.spec.hedge == spec.hedge => before.hedger.clone(),
            _ => spec.hedge.map(|spec| Rc::new(Hedger::new(spec, now))),
        };
        Rc::new(Upstream {
            hedger,
            endpoints: endpoints.collect(),
            balancer: Balancer::new(state.roster().clone(), random.next()),
            budget,
            timed: spec.wants_latency(),
            counted: spec.wants_load(),
            lane: lane(spec, state),
            random: RefCell::new(random),
            spec: spec.clone(),
            state: state.clone(),
            newest: before.map(|before| before.newest.clone()).unwrap_or_default(),
        })
    }

    /// This upstream goes on as `next`, or not at all: endpoints that are not
    /// part of it any more get no new requests.
    pub(crate) fn give_way(&self, next: Option<&Rc<Upstream>>) {
        for endpoint in &self.endpoints {
            let stays = |next: &Rc<Upstream>| next.endpoints.iter().any(|other| Rc::ptr_eq(other, endpoint));
            if !next.is_some_and(stays) {
                endpoint.retire();
            }
        }
        *self.newest.borrow_mut() = next.map(Rc::downgrade).unwrap_or_default();
    }

    /// As it is in the newest plan; `None`: this is it, or it is there no more.
    pub(crate) fn newest(&self) -> Option<Rc<Upstream>> {
        self.newest.borrow().upgrade().filter(|newest| !std::ptr::eq(&raw const **newest, self))
    }

    /// What it was made of.
    #[must_use]
    pub const fn spec(&self) -> &Arc<UpstreamSpec> {
        &self.spec
    }

    /// What its workers share.
    #[must_use]
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Its endpoints, as written.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(|endpoint| &**endpoint)
    }

    /// Its retries in numbers, on this worker.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Its hedges in numbers, on this worker.
    #[must_use]
    pub fn hedges(&self) -> HedgeCounts {
        self.hedger.as_ref().map(|hedger| hedger.counts()).unwrap_or_default()
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(timer::coarse_now(), self.spec.timeout)
    }

    /// A place under the upstream's ceiling, if it has one.
    pub(crate) async fn place(&self, deadline: Deadline) -> Result<Option<Place>, Rejection> {
        match &self.lane {
            None => Ok(None),
            Some(lane) => match lane.try_enter() {
                Some(place) => Ok(Some(place)),
                // Boxed: waiting is rare.
                None => Box::pin(lane.enter(deadline)).await.map(Some),
            },
        }
    }
}

/// This worker's way to the ceiling of `spec`, whose limit holds from now on.
fn lane(spec: &UpstreamSpec, state: &State) -> Option<Rc<Lane>> {
    let (spec, ceiling) = (spec.ceiling.as_ref()?, state.ceiling()?);
    ceiling.resize(spec.most);
    Some(Lane::new(ceiling, spec))
}
