//! The way in: a copy, the target, or waiting for who asks it for the same.

use super::conditions::Conditions;
use super::entry::Entry;
use super::flight::{Joined, Lead};
use super::store::Key;
use super::{
    BYPASS, COLLAPSED, Fetch, HIT, Inner, MISS, ONLY_IF_CACHED, Passed, Question, REFRESHED, STALE, Wish, answer, time,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::body::{Body, Progress};
use torana_core::cache_control::Directives;
use torana_core::exchange::outbound::Outbound;
use torana_core::exchange::{Exchange, Upgrade};
use torana_core::head::{Fields, Method};
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::store::Position;
use torana_core::verdict::LocalBoxFuture;

/// What becomes of a request.
pub(super) enum Asked {
    /// It goes to the target.
    Go(Result<Box<Fetch>, Passed>),
    Answer(Box<Reply>),
    Reject(Rejection),
    /// Somebody asks for the same. When the future is over, [`Inner::ask_again`].
    Wait(Box<Question>, LocalBoxFuture<'static, ()>),
    /// The store may have it. When that has been seen, [`Inner::ask_again`].
    Look(Box<Question>, Option<Lead>),
}

/// What has been tried for a question.
pub(super) enum Turn {
    /// Nothing.
    First,
    /// It has waited for another, and will not do so again.
    Waited,
    /// It has looked into the store, maybe for others who wait.
    Looked { lead: Option<Lead>, has_found: bool },
}

impl Turn {
    /// How a copy was come by, for `Cache-Status`.
    fn told(&self) -> &'static str {
        match self {
            Turn::First | Turn::Looked { has_found: false, .. } => "hit",
            Turn::Waited => "hit; collapsed",
            Turn::Looked { has_found: true, .. } => "hit; detail=store",
        }
    }
}

/// What there is for a question.
enum Found {
    Usable(Arc<Entry>),
    /// Usable while the target is asked.
    Meanwhile(Arc<Entry>),
    /// Usable if the target says so.
    Stale(Arc<Entry>),
    /// Nothing; why.
    Nothing(&'static str),
}

thread_local! {
    /// Where keys are put together.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Inner {
    pub(super) fn ask(self: &Arc<Self>, exchange: &mut Exchange, now: Instant) -> Asked {
        if let Some(why) = bypass(exchange).or_else(|| self.key.cannot_tell(exchange).then_some("bypass")) {
            self.tally.count(&BYPASS);
            return Asked::Go(Err(Passed(why)));
        }
        let route = exchange.route.zip(exchange.outbound.as_deref());
        let route = route.map_or("", |(route, outbound)| outbound.route_name(route));
        let mut key = KEY.take();
        key.clear();
        let uri = self.key.of(exchange, &self.store, route, &mut key);
        let fields = &exchange.head.fields;
        let wish = Wish {
            uri,
            conditions: Conditions::of(exchange.head.method, fields),
            said: if self.heeds_requests { Directives::of_request(fields) } else { Directives::default() },
            credentials: self.key.credentials(exchange),
        };
        let looked = self.look(&key, &wish, fields, now);
        let asked = match looked.0 {
            // No key is kept of what is answered at once.
            Found::Usable(entry) => self.hit(&wish, &entry, now, Turn::First.told()),
            _ => self.decide(exchange, Question { key: Key::from(&*key), wish }, looked, now, Turn::First),
        };
        KEY.replace(key);
        asked
    }

    /// [`ask`](Inner::ask) for who has tried something.
    pub(super) fn ask_again(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        question: Question,
        now: Instant,
        turn: Turn,
    ) -> Asked {
        let looked = self.look(&question.key, &question.wish, &exchange.head.fields, now);
        self.decide(exchange, question, looked, now, turn)
    }

    /// Answers with a copy that may be used as it is.
    fn hit(&self, wish: &Wish, entry: &Entry, now: Instant, status: &str) -> Asked {
        let is_fresh = entry.staleness(now).is_none();
        self.tally.count(if is_fresh { &HIT } else { &STALE });
        let label = if is_fresh { "HIT" } else { "STALE" };
        Asked::Answer(Box::new(answer(&wish.conditions, entry, now, label, status)))
    }

    /// What becomes of a request for which there is this.
    fn decide(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        question: Question,
        (found, is_unkept): (Found, bool),
        now: Instant,
        turn: Turn,
    ) -> Asked {
        let is_first = matches!(turn, Turn::First);
        let has_waited = matches!(turn, Turn::Waited);
        let stale = match found {
            Found::Usable(entry) => return self.hit(&question.wish, &entry, now, turn.told()),
            Found::Meanwhile(entry) => {
                self.tally.count(&STALE);
                let reply = answer(&question.wish.conditions, &entry, now, "STALE", "hit");
                self.refresh(exchange, question, entry, now);
                return Asked::Answer(Box::new(reply));
            }
            Found::Stale(entry) => Ok(entry),
            Found::Nothing(why) => Err(why),
        };
        let may_look = is_first && self.shared.is_some() && !question.wish.said.no_cache && !is_unkept;
        if question.wish.said.only_if_cached {
            return if may_look {
                Asked::Look(Box::new(question), None)
            } else {
                Asked::Reject(Rejection::new(&ONLY_IF_CACHED))
            };
        }
        let why = stale.as_ref().err().copied().unwrap_or("stale");
        let stale = stale.ok();
        // A reply to part of it is none to the whole, and a reply to somebody is
        // none to everybody: nobody waits for what will not be kept.
        let asks_for_whole =
            !question.wish.conditions.has_range() || stale.as_ref().is_some_and(|entry| entry.has_validator());
        let may_keep = exchange.head.method == Method::Get && asks_for_whole && !question.wish.said.no_store;
        let may_share = self.key.per_identity || !question.wish.credentials.any() || stale.is_some();
        let mut lead = match turn {
            Turn::Looked { lead, .. } => lead,
            Turn::First | Turn::Waited => None,
        };
        if let Some(wait) = self.collapse.filter(|_| may_keep && may_share && !is_unkept && is_first) {
            match Lead::or_follow(&self.store, &question.key) {
                Joined::Lead(first) => lead = Some(first),
                Joined::Follow(follow) => {
                    if let Some(outbound) = exchange.outbound.as_deref() {
                        self.tally.count(&COLLAPSED);
                        let most = outbound.sleep(wait);
                        let wait = Box::pin(async move {
                            follow.wait(most).await;
                        });
                        return Asked::Wait(Box::new(question), wait);
                    }
                }
            }
        }
        if may_look {
            return Asked::Look(Box::new(question), lead);
        }
        self.tally.count(&MISS);
        let request = if may_keep { exchange.head.fields.clone() } else { Fields::default() };
        let validates = stale.as_ref().is_some_and(|entry| validate(entry, &mut exchange.head.fields));
        let fetch = Fetch {
            question,
            request,
            asked: now,
            heard: self.heard(exchange.outbound.as_ref()),
            stale,
            validates,
            may_keep,
            why,
            lead,
            collapsed: has_waited,
            is_beside: false,
        };
        Asked::Go(Ok(Box::new(fetch)))
    }

    /// What is to be remembered of other gateways when the target is asked.
    fn heard(&self, outbound: Option<&Rc<dyn Outbound>>) -> Option<(Position, Rc<dyn Outbound>)> {
        Some((self.shared.as_ref()?.position(), outbound?.clone()))
    }

    /// What there is under `key`, and whether it is known that nothing of it
    /// is kept.
    fn look(&self, key: &[u8], wish: &Wish, request: &Fields, now: Instant) -> (Found, bool) {
        let Some(resource) = self.store.get(key) else { return (Found::Nothing("uri-miss"), false) };
        let is_unkept = resource.unkept_until.is_some_and(|until| now < until);
        let Some(entry) = resource.select(request) else {
            let why = if resource.variants.is_empty() { "uri-miss" } else { "vary-miss" };
            return (Found::Nothing(why), is_unkept);
        };
        if self.store.is_outdated(wish.uri, entry) {
            return (Found::Nothing("uri-miss"), is_unkept);
        }
        if !self.may_have(wish, entry) {
            return (Found::Nothing("request"), is_unkept);
        }
        (judge(entry, &wish.said, now), is_unkept)
    }

    /// Whether who brings these credentials may be given `entry`.
    fn may_have(&self, wish: &Wish, entry: &Entry) -> bool {
        self.key.per_identity || entry.open.is_to(wish.credentials)
    }

    /// Asks the target in the background, unless somebody does already.
    fn refresh(self: &Arc<Self>, exchange: &Exchange, question: Question, stale: Arc<Entry>, now: Instant) {
        let Some(outbound) = exchange.outbound.clone() else { return };
        let Some(lead) = Lead::alone(&self.store, &question.key) else { return };
        self.tally.count(&REFRESHED);
        let mut again = exchange.again(now);
        again.head.set_method(b"GET");
        strip_conditions(&mut again.head.fields);
        let validates = validate(&stale, &mut again.head.fields);
        let wish = Wish { conditions: Conditions::default(), said: Directives::default(), ..question.wish };
        let question = Question { wish, ..question };
        let fetch = Fetch {
            question,
            request: exchange.head.fields.clone(),
            asked: now,
            heard: self.heard(Some(&outbound)),
            stale: Some(stale),
            validates,
            may_keep: true,
            why: "stale",
            lead: Some(lead),
            collapsed: false,
            is_beside: true,
        };
        let inner = Arc::clone(self);
        let read = move |mut reply: Reply| -> LocalBoxFuture<'static, ()> {
            // What it would be answered is for nobody.
            drop(Inner::settle(&inner, fetch, &mut reply, time::now()));
            Box::pin(drain(reply.body))
        };
        outbound.ask_again(again, Box::new(read));
    }
}

/// Why a request is not looked up, as `Cache-Status` has it.
fn bypass(exchange: &Exchange) -> Option<&'static str> {
    let fields = &exchange.head.fields;
    if !matches!(exchange.head.method, Method::Get | Method::Head) {
        return Some("method");
    }
    // With `If-Match` the target's state is asked about, not a copy's.
    let is_special = fields.contains(KnownName::IfMatch) || fields.contains(KnownName::IfUnmodifiedSince);
    let leaves_http = matches!(exchange.upgrade, Upgrade::To(_));
    (is_special || leaves_http || !exchange.body.is_empty()).then_some("bypass")
}

/// Whether a copy will do (RFC 9111 §4, §5.2.1).
fn judge(entry: &Arc<Entry>, said: &Directives, now: Instant) -> Found {
    let age = entry.age(now);
    let seconds = Duration::from_secs;
    let is_too_old = said.max_age.is_some_and(|most| age > seconds(most));
    let ends_too_soon = said.min_fresh.is_some_and(|least| entry.lifetime.saturating_sub(age) < seconds(least));
    if entry.no_cache || said.no_cache || is_too_old || ends_too_soon {
        return Found::Stale(Arc::clone(entry));
    }
    let Some(stale) = entry.staleness(now) else { return Found::Usable(Arc::clone(entry)) };
    if entry.must_revalidate {
        return Found::Stale(Arc::clone(entry));
    }
    if said.max_stale.is_some_and(|most| stale <= seconds(most)) {
        return Found::Usable(Arc::clone(entry));
    }
    if stale < entry.while_revalidate {
        return Found::Meanwhile(Arc::clone(entry));
    }
    Found::Stale(Arc::clone(entry))
}

/// Asks whether `entry` is still right in place of what the client asked
/// (RFC 9111 §4.3.1); tells whether that can be asked.
fn validate(entry: &Entry, request: &mut Fields) -> bool {
    if !entry.has_validator() {
        return false;
    }
    strip_conditions(request);
    // They stood in a head that was parsed.
    if let Some(etag) = entry.etag() {
        let _ = request.set(KnownName::IfNoneMatch, etag);
    }
    if let Some(modified) = entry.last_modified() {
        let _ = request.set(KnownName::IfModifiedSince, modified);
    }
    true
}

fn strip_conditions(request: &mut Fields) {
    for name in [KnownName::IfNoneMatch, KnownName::IfModifiedSince, KnownName::IfRange, KnownName::Range] {
        request.remove_known(name);
    }
}

/// Reads a body that nobody waits for.
async fn drain(mut body: Body) {
    while let Ok(Progress::Data) = std::future::poll_fn(|cx| body.poll_data(cx)).await {
        let count = body.data().len();
        body.consume(count);
    }
    body.finish();
}
