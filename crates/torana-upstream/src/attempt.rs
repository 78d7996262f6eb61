//! How often, where and when one request is sent.
//!
//! Every attempt passes the same gates in the same order: the endpoint's turn,
//! its health, the breaker. What came of it is told to all who keep count, by
//! whose doing it was.

use crate::balance::{Binding, Candidates, InFlight, Load, hash_key};
use crate::breaker::{Breaker, Permit};
use crate::outcome::Outcome;
use crate::replay::Replay;
use crate::retry::{self, Facts, Failed, Verdict, Where, retry_after};
use crate::spec::HashOn;
use crate::upstream::{NO_ENDPOINT, UNDISCOVERED, Upstream};
use std::time::{Duration, Instant, SystemTime};
use torana_core::cookie;
use torana_core::deadline::Deadline;
use torana_core::exchange::Exchange;
use torana_core::head::Method;
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_net::client::h1::Failure;
use torana_net::timer;

/// Most endpoints one request goes to.
const MOST_TRIED: usize = 12;

/// An attempt about to be made.
pub(crate) struct Call<'a> {
    /// Its endpoint.
    pub(crate) index: usize,
    /// Whether it has to be on a new connection.
    pub(crate) fresh: bool,
    /// By when the head of its reply must be there.
    pub(crate) deadline: Deadline,
    /// Whether that is because of a limit of the upstream's own.
    own_deadline: bool,
    started: Instant,
    permit: Option<Permit<&'a Breaker>>,
    /// Counts it as under way on its endpoint, where that decides something.
    pub(crate) in_flight: Option<InFlight>,
}

impl Call<'_> {
    /// Whether a breaker sends it to find out whether all is well again.
    pub(crate) fn is_probe(&self) -> bool {
        self.permit.as_ref().is_some_and(Permit::is_probe)
    }
}

/// What is known about the attempts of one request.
pub(crate) struct Tries<'a> {
    upstream: &'a Upstream,
    method: Method,
    key: Option<u64>,
    bound: Option<Binding>,
    /// The endpoint of the last attempt.
    index: usize,
    /// Whether the next attempt goes there again, on a new connection.
    again: bool,
    /// Whether no attempt has been made.
    first: bool,
    tried: Tried,
    retries: u32,
    /// By when all of this must have led to a reply.
    deadline: Deadline,
    own_deadline: bool,
    /// Why the last attempt failed.
    last: Option<Box<Rejection>>,
}

/// Endpoints that have had their turn.
#[derive(Default)]
struct Tried {
    list: [u16; MOST_TRIED],
    count: u8,
}

impl Tried {
    fn add(&mut self, index: usize) {
        if self.has(index) {
            return;
        }
        if let Some(place) = self.list.get_mut(usize::from(self.count)) {
            *place = u16::try_from(index).unwrap_or(u16::MAX);
            self.count += 1;
        }
    }

    fn has(&self, index: usize) -> bool {
        // Nothing has been tried when most requests ask.
        self.list.iter().take(usize::from(self.count)).any(|tried| usize::from(*tried) == index)
    }
}

/// The endpoints as one request sees them.
struct Field<'a> {
    upstream: &'a Upstream,
    tried: &'a Tried,
}

impl Candidates for Field<'_> {
    fn load(&self, index: usize) -> &Load {
        self.upstream.endpoints[index].load()
    }

    fn usable(&self, index: usize) -> bool {
        !self.tried.has(index) && self.upstream.state.health().is_usable(index)
    }
}

impl<'a> Tries<'a> {
    /// Before the first attempt to send `exchange`.
    pub(crate) fn new(upstream: &'a Upstream, exchange: &Exchange, bound: Option<Binding>) -> Tries<'a> {
        let key = upstream.spec.hash_on.as_ref().and_then(|on| key_of(on, exchange));
        Tries::start(upstream, exchange.head.method, exchange.deadline, key, bound)
    }

    /// The same for a request of the gateway's own.
    pub(crate) fn start(
        upstream: &'a Upstream,
        method: Method,
        deadline: Deadline,
        key: Option<u64>,
        bound: Option<Binding>,
    ) -> Tries<'a> {
        let own = upstream.deadline();
        let earlier = deadline.earlier(own);
        if upstream.spec.retry.budget.is_some() {
            upstream.budget.deposit(timer::coarse_now());
        }
        Tries {
            upstream,
            method,
            key,
            bound,
            index: 0,
            again: false,
            first: true,
            tried: Tried::default(),
            retries: 0,
            deadline: earlier,
            own_deadline: earlier == own,
            last: None,
        }
    }

    /// The endpoint of the last attempt.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// What the client's cookie says.
    pub(crate) const fn bound(&self) -> Option<Binding> {
        self.bound
    }

    /// The next attempt.
    ///
    /// # Errors
    /// There is nobody to send it to: why the attempt before failed, or that
    /// no endpoint is there.
    pub(crate) fn next(&mut self) -> Result<Call<'a>, Rejection> {
        let now = timer::coarse_now();
        let fresh = std::mem::take(&mut self.again);
        loop {
            if !fresh {
                self.index = self.pick(now).ok_or_else(|| self.over())?;
            }
            let permit = match self.upstream.state.breaker(self.index).map(|breaker| breaker.admit(now)) {
                None => None,
                Some(Ok(permit)) => Some(permit),
                // Its neighbours may be well.
                Some(Err(rejected)) if self.upstream.state.breaks_by_endpoint() && !fresh => {
                    self.tried.add(self.index);
                    self.last.get_or_insert_with(|| Box::new(rejected.into()));
                    if usize::from(self.tried.count) == MOST_TRIED {
                        return Err(self.over());
                    }
                    continue;
                }
                Some(Err(rejected)) => return Err(rejected.into()),
            };
            let call = self.call(self.index, fresh, permit, now);
            self.first = false;
            return Ok(call);
        }
    }

    #[inline]
    fn call(&self, index: usize, fresh: bool, permit: Option<Permit<&'a Breaker>>, now: Instant) -> Call<'a> {
        let deadline = self.upstream.spec.retry.try_deadline(now, self.deadline);
        Call {
            index,
            fresh,
            deadline,
            // What earlier attempts have used up is not this one's fault.
            own_deadline: (self.own_deadline && self.first) || deadline != self.deadline,
            started: if self.upstream.timed { timer::now() } else { now },
            permit,
            in_flight: self.upstream.counted.then(|| self.upstream.endpoints[index].load().begin()),
        }
    }

    /// Another attempt while the last one is under way; `None`: there is nobody
    /// else, or the budget is used up.
    pub(crate) fn hedge(&mut self) -> Option<Call<'a>> {
        let now = timer::now();
        if self.deadline.passed(now) {
            return None;
        }
        self.tried.add(self.index);
        let index = self.pick(now)?;
        let permit = match self.upstream.state.breaker(index).map(|breaker| breaker.admit(now)) {
            None => None,
            // A breaker that is not sure is to be asked about one request at a time.
            Some(Ok(permit)) if permit.is_probe() => return None,
            Some(Ok(permit)) => Some(permit),
            Some(Err(_)) => return None,
        };
        if !self.upstream.budget.withdraw(now) {
            return None;
        }
        self.index = index;
        Some(self.call(index, false, permit, now))
    }

    /// What is told next is about the attempt on this endpoint.
    pub(crate) const fn turn_to(&mut self, index: usize) {
        self.index = index;
    }

    /// An attempt failed while another is under way.
    pub(crate) fn lost(&mut self, call: Call<'a>, failure: Failure) {
        let outcome = Self::charge(&call, &failure);
        self.tell(call, outcome);
        self.last = Some(Box::new(failure.rejection));
    }

    /// A reply came that is not passed on, since another attempt is under way.
    pub(crate) fn told(&self, call: Call<'a>, reply: &Reply) {
        self.tell(call, Outcome::Replied(reply.head.status));
    }

    /// An attempt was given up because another was quicker: nobody's fault.
    pub(crate) fn cancelled(&self, call: Call<'a>) {
        self.tell(call, Outcome::Local);
    }

    fn charge(call: &Call<'a>, failure: &Failure) -> Outcome {
        let outcome = Outcome::of_failure(failure);
        // An endpoint that took all of the time to connect had that time.
        let is_cut = !call.own_deadline && call.deadline.passed(timer::now());
        if is_cut { outcome.cut_short() } else { outcome }
    }

    fn pick(&self, now: Instant) -> Option<usize> {
        let field = Field { upstream: self.upstream, tried: &self.tried };
        if let Some(bound) = self.bound
            && field.usable(bound.index)
        {
            return Some(bound.index);
        }
        let mut random = || self.upstream.random.borrow_mut().next();
        self.upstream.balancer.pick(&field, self.key, now, &mut random)
    }

    /// Why there is no other attempt.
    pub(crate) fn over(&mut self) -> Rejection {
        let none = if self.upstream.endpoints.is_empty() { &UNDISCOVERED } else { &NO_ENDPOINT };
        self.last.take().map_or_else(|| Rejection::new(none), |last| *last)
    }

    /// Tells of the reply to `call` to those who keep count. Answers how long to
    /// wait for another attempt in its place; `None`: it is the reply to pass on.
    pub(crate) fn replied(&mut self, call: Call<'a>, reply: &Reply, replay: &mut Replay) -> Option<Duration> {
        replay.set_sent();
        let is_probe = call.is_probe();
        let status = reply.head.status;
        self.tell(call, Outcome::Replied(status));
        // What most requests come to: one comparison.
        if status.code() < 400 || is_probe || !self.upstream.spec.retry.on.has(retry::Trigger::Status(status.code())) {
            return None;
        }
        let asked = reply.head.fields.get(KnownName::RetryAfter);
        let asked = asked.and_then(|value| retry_after(value, SystemTime::now()));
        // The connection goes with the reply: reading it to its end would make
        // the next attempt wait.
        self.decide(Failed::Status { status: status.code(), retry_after: asked }, replay)
    }

    /// Tells of the failure of `call`. Answers how long to wait for another
    /// attempt.
    ///
    /// # Errors
    /// There is not going to be one.
    pub(crate) fn failed(
        &mut self,
        call: Call<'a>,
        failure: Failure,
        replay: &mut Replay,
    ) -> Result<Duration, Rejection> {
        let outcome = Self::charge(&call, &failure);
        let is_probe = call.is_probe();
        let failed = Failed::of(&failure, call.fresh);
        self.tell(call, outcome);
        if !failure.unprocessed {
            replay.set_sent();
        }
        replay.give_back(failure.body);
        self.last = Some(Box::new(failure.rejection));
        // A connection that was closed while it waited answers no probe.
        let is_over = is_probe && !matches!(failed, Failed::Stale);
        let wait = if is_over { None } else { self.decide(failed, replay) };
        wait.ok_or_else(|| self.over())
    }

    fn tell(&self, call: Call<'a>, outcome: Outcome) {
        let upstream = self.upstream;
        let now = self.now();
        upstream.state.health().report(call.index, outcome, now);
        if call.permit.is_none() && !upstream.counted {
            return;
        }
        let took = now.saturating_duration_since(call.started);
        if let Some(permit) = call.permit {
            permit.report(outcome, took, now);
        }
        if upstream.counted && outcome != Outcome::Local {
            let failed = !matches!(outcome, Outcome::Replied(status) if status.code() < 500);
            upstream.balancer.observe(upstream.endpoints[call.index].load(), now, took, failed);
        }
    }

    /// The time, as exactly as somebody needs it.
    fn now(&self) -> Instant {
        if self.upstream.timed { timer::now() } else { timer::coarse_now() }
    }

    /// How long to wait for the next attempt; `None`: there is none.
    #[cold]
    fn decide(&mut self, failed: Failed, replay: &Replay) -> Option<Duration> {
        let upstream = self.upstream;
        let now = self.now();
        let facts = Facts {
            failed,
            retries: self.retries,
            replay: match retry::Replay::of(self.method, replay.is_there()) {
                retry::Replay::NotIdempotent if !replay.is_sent() => retry::Replay::Safe,
                known => known,
            },
            elsewhere: usize::from(self.tried.count) + usize::from(!self.tried.has(self.index))
                < upstream.endpoints.len(),
            left: self.deadline.left(now),
        };
        let mut random = || upstream.random.borrow_mut().next();
        match upstream.spec.retry.decide(&facts, &upstream.budget, now, &mut random) {
            Verdict::Again { after, at: Where::SameFresh } => {
                self.again = true;
                Some(after)
            }
            Verdict::Again { after, at: Where::Elsewhere } => {
                self.retries += 1;
                self.tried.add(self.index);
                if self.nobody_left() {
                    // Better the same endpoint again than none.
                    self.tried = Tried::default();
                }
                Some(after)
            }
            Verdict::GiveUp(_) => None,
        }
    }

    fn nobody_left(&self) -> bool {
        let field = Field { upstream: self.upstream, tried: &self.tried };
        !(0..self.upstream.endpoints.len()).any(|index| field.usable(index))
    }
}

/// What a consistent hash of this request is taken of.
pub(crate) fn key_of(on: &HashOn, exchange: &Exchange) -> Option<u64> {
    match on {
        HashOn::Header(name) => exchange.head.fields.values(name).next().map(hash_key),
        HashOn::Cookie(name) => {
            let mut pairs = exchange.head.fields.get_all(KnownName::Cookie).flat_map(cookie::pairs);
            pairs.find_map(|(known, value)| (known == name.as_bytes()).then(|| hash_key(value)))
        }
        HashOn::Client => Some(match exchange.client_ip {
            std::net::IpAddr::V4(ip) => hash_key(&ip.octets()),
            std::net::IpAddr::V6(ip) => hash_key(&ip.octets()),
        }),
        HashOn::Path => Some(hash_key(exchange.target().path().as_bytes())),
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
