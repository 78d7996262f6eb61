//! Sends exchanges to upstreams.

use crate::attempt::Tries;
use crate::balance::InFlight;
use crate::ceiling::{self, Place};
use crate::endpoint::BODY_IDLE;
use crate::hedge::Hedger;
use crate::held::hold;
use crate::outbound;
use crate::replay::Replay;
use crate::retry::Trigger;
use crate::spec::{Fallback, UpstreamSpec};
use crate::state::State;
use crate::time_left;
pub use crate::upstream::Upstream;
use crate::upstream::{NO_ENDPOINT, NO_UPSTREAM, UNDISCOVERED};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use torana_core::exchange::{Exchange, Upgrade};
use torana_core::names::KnownName;
use torana_core::outbound::OutboundRequest;
use torana_core::refusal::{Origin, Rejection};
use torana_core::reply::Reply;
use torana_core::target::{Answer, UpstreamId};
use torana_net::client::h1::Outgoing;
use torana_net::timer;

/// The upstreams of one plan on one worker.
#[derive(Debug, Default)]
pub struct Upstreams {
    list: Vec<Rc<Upstream>>,
}

/// Finds upstreams by name: most are where they were in the plan before.
struct Places<'a> {
    list: &'a [Rc<Upstream>],
    /// Made when one is not.
    by_name: Option<HashMap<&'a str, &'a Rc<Upstream>>>,
}

impl<'a> Places<'a> {
    fn find(&mut self, place: usize, name: &str) -> Option<&'a Rc<Upstream>> {
        if let Some(known) = self.list.get(place).filter(|known| *known.spec.name == *name) {
            return Some(known);
        }
        let list = self.list;
        let by_name = self.by_name.get_or_insert_with(|| list.iter().map(|known| (&*known.spec.name, known)).collect());
        by_name.get(name).copied()
    }
}

impl Upstreams {
    /// The upstreams of the next plan, each with what is known about it. What
    /// has not changed is shared with this one: whole upstreams, or endpoints
    /// with their pools.
    #[must_use]
    pub fn succeed(&self, specs: &[Arc<UpstreamSpec>], states: &[Arc<State>]) -> Upstreams {
        let mut places = Places { list: &self.list, by_name: None };
        let list: Vec<Rc<Upstream>> = specs
            .iter()
            .zip(states)
            .enumerate()
            .map(|(place, (spec, state))| match places.find(place, &spec.name) {
                Some(known) if Arc::ptr_eq(&known.state, state) => Rc::clone(known),
                known => Upstream::new(spec, state, known.map(|known| &**known)),
            })
            .collect();
        let mut places = Places { list: &list, by_name: None };
        for (place, known) in self.list.iter().enumerate() {
            let next = places.find(place, &known.spec.name);
            if !next.is_some_and(|next| Rc::ptr_eq(next, known)) {
                known.give_way(next);
            }
        }
        Upstreams { list }
    }

    /// All upstreams, by position.
    pub fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.list.iter().map(|upstream| &**upstream)
    }

    /// Closes connections that have waited too long or are gone, and ends
    /// ejections. To be called about once a second.
    pub fn tend(&self, now: Instant) {
        for upstream in &self.list {
            upstream.state.health().tend(now);
            for (index, endpoint) in upstream.endpoints.iter().enumerate() {
                endpoint.tend(now);
                endpoint.set_out(!upstream.state.health().is_usable(index), now);
                if upstream.state.health().standing(index).is_drained() {
                    endpoint.rest();
                }
            }
        }
    }

    /// Sends the exchange as it stands and returns the reply, its body still
    /// to come. Keeps to `exchange.deadline`.
    ///
    /// # Errors
    /// Neither the upstream nor what stands in for it gave a reply.
    pub async fn forward(&self, id: UpstreamId, exchange: &mut Exchange) -> Result<Reply, Rejection> {
        let Some(upstream) = self.list.get(id.0 as usize) else {
            return Err(Rejection::new(&NO_UPSTREAM));
        };
        if let Upgrade::To(protocol) = &exchange.upgrade {
            exchange.head.fields.set_own(KnownName::Upgrade, protocol);
        }
        let body = std::mem::take(&mut exchange.body);
        let mut replay = Replay::new(body, upstream.spec.replay_bytes);
        let mut result = upstream.serve(exchange, &mut replay).await;
        if result.is_err()
            && upstream.may_go_on(&result, &replay)
            && let Some(newest) = upstream.newest()
        {
            // Boxed, as below.
            result = Box::pin(newest.serve(exchange, &mut replay)).await;
        }
        if upstream.spec.fallback.is_empty() || !upstream.has_failed(&result) {
            return result;
        }
        // Boxed: rare, and what leads to it should not make every request larger.
        Box::pin(self.fall_back(upstream, exchange, replay, result)).await
    }

    /// Asks those who stand in for `upstream`, in order, until one can answer.
    async fn fall_back(
        &self,
        upstream: &Upstream,
        exchange: &mut Exchange,
        mut replay: Replay,
        mut result: Result<Reply, Rejection>,
    ) -> Result<Reply, Rejection> {
        for fallback in &upstream.spec.fallback {
            if let Err(rejection) = &result {
                // The log tells why somebody else answers.
                let why = format!("{}: {}", upstream.spec.name, rejection.refusal.code);
                exchange.notes.cause = Some(why.into());
            }
            let other = match fallback {
                Fallback::Answer(fixed) => {
                    // What the gateway answers itself has a reason.
                    exchange.notes.code = result.as_ref().err().map(|rejection| rejection.refusal.code);
                    match fixed.target.answer(exchange) {
                        Answer::Now(reply) => return Ok(*reply),
                        Answer::Reject(rejection) => return Err(rejection),
                        // No other kind is compiled into a fallback.
                        Answer::Wait(_) | Answer::Forward(_) | Answer::ForwardBy(_) => continue,
                    }
                }
                Fallback::Upstream(name) => self.list.iter().position(|other| other.spec.name == *name),
            };
            let Some((position, other)) = other.and_then(|position| Some((position, self.list.get(position)?))) else {
                continue;
            };
            let harmless =
                !replay.is_sent() || exchange.head.method.is_idempotent() || upstream.spec.retry.non_idempotent;
            if !replay.is_there() || !harmless {
                // The request cannot be sent again; a fixed answer may follow.
                continue;
            }
            exchange.notes.upstream = u32::try_from(position).ok().map(UpstreamId);
            result = other.serve(exchange, &mut replay).await;
            if !other.has_failed(&result) {
                return result;
            }
        }
        result
    }

    /// Sends a request of the gateway's own.
    pub fn send(
        &self,
        id: UpstreamId,
        request: OutboundRequest,
    ) -> impl Future<Output = Result<Reply, Rejection>> + use<> {
        let upstream = self.list.get(id.0 as usize).cloned();
        async move {
            let upstream = upstream.ok_or_else(|| Rejection::new(&NO_UPSTREAM))?;
            outbound::send(&upstream, request).await
        }
    }
}

impl Upstream {
    /// Sends the exchange to this upstream.
    async fn serve(&self, exchange: &mut Exchange, replay: &mut Replay) -> Result<Reply, Rejection> {
        if let Some(hedger) = &self.hedger
            && Hedger::is_for(exchange, replay)
        {
            // Boxed, so that requests of other upstreams have no room for it.
            return Box::pin(self.serve_hedged(hedger, exchange, replay)).await;
        }
        let bound = self.state.sticky().and_then(|sticky| sticky.find(exchange.head.fields.get_all(KnownName::Cookie)));
        let place = match &self.lane {
            None => None,
            Some(_) => self.place(exchange.deadline).await?,
        };
        let mut tries = Tries::new(self, &*exchange, bound);
        // An attempt that fails may have announced something: it did no harm.
        let interim = exchange.interim.clone();
        let upgrade = matches!(exchange.upgrade, Upgrade::To(_));
        let tells_time = self.spec.deadline_header.is_some() || exchange.head.fields.contains(KnownName::GrpcTimeout);
        loop {
            let mut call = tries.next()?;
            let Some(body) = replay.play() else { return Err(tries.over()) };
            let endpoint = &self.endpoints[call.index];
            exchange.write_host(&endpoint.spec().authority);
            if tells_time {
                let header = self.spec.deadline_header.as_ref();
                time_left::tell(&mut exchange.head.fields, header, call.deadline, exchange.end_by);
            }
            let (outgoing, notes) = exchange.outgoing();
            notes.attempts = notes.attempts.saturating_add(1);
            notes.endpoint = Some(endpoint.name().clone());
            let query = outgoing.query.map_or(["", ""], |query| ["?", query]);
            let request = Outgoing {
                method: outgoing.head.method,
                method_text: outgoing.head.method_text(),
                target: &[outgoing.path.as_bytes(), query[0].as_bytes(), query[1].as_bytes()],
                fields: &outgoing.head.fields,
                upgrade,
                deadline: call.deadline,
                body_idle: BODY_IDLE,
                interim: interim.as_deref(),
            };
            let wait = match endpoint.attempt(&request, body, call.fresh, notes).await {
                Ok(mut reply) => {
                    // Only the log asks, and it has asked before.
                    if notes.dispatched.is_some() {
                        notes.replied = Some(timer::now());
                    }
                    let in_flight = call.in_flight.take();
                    match tries.replied(call, &reply, replay) {
                        Some(wait) => wait,
                        None => {
                            replay.settle();
                            self.pass_on(&mut reply, &tries, exchange, place, in_flight);
                            return Ok(reply);
                        }
                    }
                }
                Err(failure) => tries.failed(call, failure, replay)?,
            };
            if !wait.is_zero() {
                // Boxed: rare, and an idle connection holds room for what is not.
                Box::pin(tokio::time::sleep(wait)).await;
            }
        }
    }

    /// Whether a request that failed can be sent to the endpoints the upstream
    /// has by now: those it had when the request came could not be reached.
    #[cold]
    fn may_go_on(&self, result: &Result<Reply, Rejection>, replay: &Replay) -> bool {
        !replay.is_sent() && replay.is_there() && self.has_failed(result)
    }

    /// Makes a reply hold what it takes until its end, and lets it say which
    /// endpoint its client has.
    #[inline]
    pub(crate) fn pass_on(
        &self,
        reply: &mut Reply,
        tries: &Tries<'_>,
        exchange: &Exchange,
        place: Option<Place>,
        in_flight: Option<InFlight>,
    ) {
        hold(reply, place, in_flight);
        if let Some(sticky) = self.state.sticky() {
            let tls = exchange.connection.is_secure();
            if let Some(cookie) = sticky.set_cookie(tries.index(), tries.bound(), tls) {
                // Its own words: name and attributes are checked when compiled.
                let _ = reply.head.fields.append(KnownName::SetCookie, cookie.as_bytes());
            }
        }
    }

    /// Whether somebody else should answer in its place: it gave no answer, or
    /// one that was worth another attempt.
    fn has_failed(&self, result: &Result<Reply, Rejection>) -> bool {
        match result {
            Ok(reply) => self.spec.retry.on.has(Trigger::Status(reply.head.status.code())),
            Err(rejection) => {
                let refusal = rejection.refusal;
                refusal.origin == Origin::Upstream
                    || [NO_ENDPOINT.code, UNDISCOVERED.code].contains(&refusal.code)
                    || ceiling::REFUSALS.iter().any(|known| known.code == refusal.code)
                    || crate::breaker::REFUSALS.iter().any(|known| known.code == refusal.code)
            }
        }
    }
}
