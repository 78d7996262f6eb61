//! Two attempts at the same time, and the first reply; see [`hedge`](crate::hedge).

use crate::attempt::{Call, Tries};
use crate::balance::InFlight;
use crate::ceiling::Place;
use crate::endpoint::BODY_IDLE;
use crate::hedge::Hedger;
use crate::replay::Replay;
use crate::retry::Trigger;
use crate::time_left;
use crate::upstream::Upstream;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::Sleep;
use torana_core::body::Body;
use torana_core::exchange::{Exchange, Notes};
use torana_core::head::{Fields, Method};
use torana_core::interim::Interim;
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::verdict::LocalBoxFuture;
use torana_net::client::h1::{Failure, Outgoing};
use torana_net::timer;

/// A request of its own: attempts at the same time cannot share one whose
/// `Host` depends on the endpoint.
struct Copied {
    method: Method,
    text: String,
    target: String,
    fields: Fields,
    interim: Option<Rc<dyn Interim>>,
}

/// An attempt under way.
struct Runner<'a> {
    call: Call<'a>,
    attempt: LocalBoxFuture<'a, Ended>,
    started: Instant,
    is_first: bool,
    /// Its place under the ceiling; the first has the request's.
    _place: Option<Place>,
}

struct Ended {
    result: Result<Reply, Failure>,
    connected: Option<Instant>,
}

/// What a round of attempts came to.
enum Round {
    /// A reply to pass on, and what counts it as under way.
    Won(Reply, Option<InFlight>),
    /// Another round after this time.
    Again(Duration),
}

impl Upstream {
    /// Sends an exchange that may be sent twice at the same time.
    pub(crate) async fn serve_hedged(
        &self,
        hedger: &Hedger,
        exchange: &mut Exchange,
        replay: &mut Replay,
    ) -> Result<Reply, Rejection> {
        let bound = self.state().sticky();
        let bound = bound.and_then(|sticky| sticky.find(exchange.head.fields.get_all(KnownName::Cookie)));
        let place = self.place(exchange.deadline).await?;
        let mut tries = Tries::new(self, exchange, bound);
        loop {
            let mut race = Race { upstream: self, hedger, runners: Vec::with_capacity(2), spare: None };
            race.start(tries.next()?, None, exchange);
            match race.run(&mut tries, exchange, replay).await? {
                Round::Won(mut reply, in_flight) => {
                    self.pass_on(&mut reply, &tries, exchange, place, in_flight);
                    return Ok(reply);
                }
                Round::Again(wait) if wait.is_zero() => {}
                Round::Again(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

/// The attempts of one round.
struct Race<'a> {
    upstream: &'a Upstream,
    hedger: &'a Hedger,
    runners: Vec<Runner<'a>>,
    /// A reply that did not win but is better than none, and its endpoint.
    spare: Option<(usize, Reply)>,
}

impl<'a> Race<'a> {
    fn start(&mut self, call: Call<'a>, place: Option<Place>, exchange: &mut Exchange) {
        let is_first = self.runners.is_empty();
        let endpoint = &self.upstream.endpoints[call.index];
        exchange.write_host(&endpoint.spec().authority);
        let header = self.upstream.spec().deadline_header.as_ref();
        time_left::tell(&mut exchange.head.fields, header, call.deadline, exchange.end_by);
        // What is announced by two is announced once.
        let interim = exchange.interim.clone().filter(|_| is_first);
        let (outgoing, notes) = exchange.outgoing();
        notes.attempts = notes.attempts.saturating_add(1);
        let query = outgoing.query.map_or(["", ""], |query| ["?", query]);
        let copied = Copied {
            method: outgoing.head.method,
            text: outgoing.head.method_text().to_owned(),
            target: [outgoing.path, query[0], query[1]].concat(),
            fields: outgoing.head.fields.clone(),
            interim,
        };
        let (deadline, fresh) = (call.deadline, call.fresh);
        let started = timer::now();
        let attempt = Box::pin(async move {
            let outgoing = Outgoing {
                method: copied.method,
                method_text: &copied.text,
                target: &[copied.target.as_bytes()],
                fields: &copied.fields,
                upgrade: false,
                deadline,
                body_idle: BODY_IDLE,
                interim: copied.interim.as_deref(),
            };
            let mut notes = Notes::new(started);
            let result = endpoint.attempt(&outgoing, Body::Empty, fresh, &mut notes).await;
            Ended { result, connected: notes.connected }
        });
        self.runners.push(Runner { call, attempt, started, is_first, _place: place });
    }

    async fn run(
        &mut self,
        tries: &mut Tries<'a>,
        exchange: &mut Exchange,
        replay: &mut Replay,
    ) -> Result<Round, Rejection> {
        let mut hedges = 0;
        let mut sleep = self.sleep();
        loop {
            let Some((position, ended)) = self.next(sleep.as_mut().map(Pin::as_mut)).await else {
                sleep = None;
                if self.hedge(tries, exchange) {
                    hedges += 1;
                    if hedges < self.hedger.spec().most {
                        sleep = self.sleep();
                    }
                }
                continue;
            };
            let runner = self.runners.swap_remove(position);
            match ended.result {
                Ok(reply) => {
                    if let Some(round) = self.replied(runner, reply, ended.connected, tries, exchange, replay) {
                        return Ok(round);
                    }
                }
                Err(failure) if self.runners.is_empty() => {
                    tries.turn_to(runner.call.index);
                    self.note(runner.call.index, exchange);
                    return match (tries.failed(runner.call, failure, replay), self.spare.take()) {
                        (Ok(wait), _) => Ok(Round::Again(wait)),
                        (Err(_), Some((index, reply))) => {
                            tries.turn_to(index);
                            self.note(index, exchange);
                            Ok(Round::Won(reply, None))
                        }
                        (Err(rejection), None) => Err(rejection),
                    };
                }
                // The other may still do it.
                Err(failure) => tries.lost(runner.call, failure),
            }
        }
    }

    /// The attempt that ends next; `None` when it is time for another.
    async fn next(&mut self, mut sleep: Option<Pin<&mut Sleep>>) -> Option<(usize, Ended)> {
        poll_fn(|cx| {
            for (position, runner) in self.runners.iter_mut().enumerate() {
                if let Poll::Ready(ended) = runner.attempt.as_mut().poll(cx) {
                    return Poll::Ready(Some((position, ended)));
                }
            }
            match &mut sleep {
                Some(sleep) => sleep.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn sleep(&self) -> Option<Pin<Box<Sleep>>> {
        let delay = self.hedger.delay(timer::now())?;
        Some(Box::pin(tokio::time::sleep(delay)))
    }

    /// Sends the request elsewhere as well, if that may be.
    fn hedge(&mut self, tries: &mut Tries<'a>, exchange: &mut Exchange) -> bool {
        if self.runners.iter().any(|runner| runner.call.is_probe()) {
            return false;
        }
        let place = match &self.upstream.lane {
            None => None,
            Some(lane) => match lane.try_enter() {
                Some(place) => Some(place),
                None => return false,
            },
        };
        let Some(call) = tries.hedge() else { return false };
        self.hedger.count_sent();
        self.start(call, place, exchange);
        true
    }

    /// A reply came. `None`: it is not the one that is passed on.
    fn replied(
        &mut self,
        mut runner: Runner<'a>,
        reply: Reply,
        connected: Option<Instant>,
        tries: &mut Tries<'a>,
        exchange: &mut Exchange,
        replay: &mut Replay,
    ) -> Option<Round> {
        let now = timer::now();
        if runner.is_first {
            self.hedger.observe(now.saturating_duration_since(runner.started), now);
        }
        let is_wanted = !self.upstream.spec().retry.on.has(Trigger::Status(reply.head.status.code()));
        if !is_wanted && !self.runners.is_empty() {
            let index = runner.call.index;
            tries.told(runner.call, &reply);
            self.spare = Some((index, reply));
            return None;
        }
        for other in self.runners.drain(..) {
            if other.is_first {
                self.hedger.observe(now.saturating_duration_since(other.started), now);
            }
            // Dropped with it: what it had begun to read is of no use to anyone.
            tries.cancelled(other.call);
        }
        if !runner.is_first {
            self.hedger.count_won();
        }
        self.note(runner.call.index, exchange);
        exchange.notes.connected = connected.or(exchange.notes.connected);
        if exchange.notes.dispatched.is_some() {
            exchange.notes.replied = Some(now);
        }
        tries.turn_to(runner.call.index);
        let in_flight = runner.call.in_flight.take();
        Some(match tries.replied(runner.call, &reply, replay) {
            Some(wait) => Round::Again(wait),
            None => Round::Won(reply, in_flight),
        })
    }

    fn note(&self, index: usize, exchange: &mut Exchange) {
        exchange.notes.endpoint = Some(self.upstream.endpoints[index].name().clone());
    }
}
