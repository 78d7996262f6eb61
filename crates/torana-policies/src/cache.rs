//! A shared cache for replies (RFC 9111), in the memory of the gateway and, if
//! there is one, in a store that several gateways share.
//!
//! | file | has |
//! |---|---|
//! | `config.rs` | what can be written |
//! | `key.rs` | what a reply is kept under, and who calls |
//! | `freshness.rs` | how long a reply may be kept, by what it says ([`torana_core::cache_control`]) |
//! | `entry.rs` | a kept reply and which requests it answers |
//! | `conditions.rs` | 304 and parts |
//! | `ask.rs` | the way in: answer, ask the target, or wait for who does |
//! | `settle.rs` | the way back: keep, use again, or pass on |
//! | `flight.rs`, `store.rs`, `tee.rs` | one asks for all; memory; copying bodies |
//! | `shared.rs`, `stored.rs` | the tier behind the memory, and what is in it |
//!
//! What would be wrong is worse than what is slow: a reply that might be
//! somebody's own is not kept, and whoever brings credentials gets nothing that
//! does not say that it is for everybody.

mod ask;
mod conditions;
mod config;
mod entry;
mod flight;
mod freshness;
mod key;
mod purge;
mod settle;
mod shared;
mod store;
mod stored;
mod tee;
mod time;

#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod tests;

pub use config::Config;

use ask::{Asked, Turn};
use conditions::Conditions;
use entry::Entry;
use flight::Lead;
use freshness::Rules;
use key::{Credentials, KeyRules};
use purge::{Meant, PURGE, Purge};
use settle::Draft;
use shared::{Heard, Listen, Shared};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Key, Store};
use torana_core::cache_control::Directives;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::exchange::outbound::Outbound;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName};
use torana_core::operation::Operation;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::Refusal;
use torana_core::reply::Reply;
use torana_core::site::{Site, find_store, keep};
use torana_core::stage::Stage;
use torana_core::store::{Position, StoreError};
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::Written;

torana_core::refusals! {
    /// A request said `only-if-cached`, and nothing that it may have is kept.
    ONLY_IF_CACHED = "cache.only_if_cached" 504 Caller Never "No copy is kept that this request may have.";
}

torana_core::events! {
    HIT = "hit" "A request was answered with a fresh copy.";
    STALE = "stale" "A request was answered with a stale copy, while or because the target could not be asked.";
    REVALIDATED = "revalidated" "The target said that a stale copy is still right.";
    MISS = "miss" "The target was asked since there was no copy, or none that could be used.";
    BYPASS = "bypass" "A request was not looked up: for its method, or what it asks for.";
    COLLAPSED = "collapsed" "A request waited for another that asked for the same.";
    STORED = "stored" "A reply was kept.";
    REFRESHED = "refreshed" "The target was asked in the background.";
    INVALIDATED = "invalidated" "A request changed something, and copies of it are not used any more.";
    PURGED = "purged" "Somebody purged copies by hand.";
    STORE_HIT = "store_hit" "A copy that was not in memory was found in the store.";
    STORE_KEPT = "store_kept" "A copy was put into the store.";
    STORE_FAILED = "store_failed" "The store did not do what it was asked; the request went on without it.";
}

/// The policy `cache`.
pub struct Cache(Arc<Inner>);

/// What exchanges, bodies under way and the background share.
struct Inner {
    store: Arc<Store>,
    /// The tier behind it.
    shared: Option<Shared>,
    rules: Rules,
    key: KeyRules,
    /// Largest body that is kept.
    most_bytes: usize,
    while_revalidate: Duration,
    if_error: Duration,
    /// How long to wait for who asks for the same; `None`: nobody waits.
    collapse: Option<Duration>,
    strips_cookies: bool,
    makes_etags: bool,
    /// Whether requests say whether a copy will do.
    heeds_requests: bool,
    tags: Vec<HeaderName>,
    tally: Arc<Tally>,
}

/// What a request asks for, as the cache sees it.
struct Question {
    key: Key,
    wish: Wish,
}

/// The same without the key.
struct Wish {
    /// The place of its URI among the store's moments.
    uri: usize,
    conditions: Conditions,
    said: Directives,
    credentials: Credentials,
}

/// A question that went on to the target: what is to be done with the reply.
struct Fetch {
    question: Question,
    /// What the client said: what replies vary with.
    request: Fields,
    /// When the target was asked.
    asked: Instant,
    /// What had been heard of other gateways then, and who does something beside
    /// the exchange; nothing without a store.
    heard: Option<(Position, Rc<dyn Outbound>)>,
    /// What there was, but could not be used as it is.
    stale: Option<Arc<Entry>>,
    /// Whether the target was asked about that.
    validates: bool,
    /// Whether a reply to this may be kept.
    may_keep: bool,
    /// Why it went on, for `Cache-Status`.
    why: &'static str,
    lead: Option<Lead>,
    /// Whether it waited for another before.
    collapsed: bool,
    /// Whether nobody waits for the reply.
    is_beside: bool,
}

/// A request that was not looked up, and why.
struct Passed(&'static str);

impl PolicyKind for Cache {
    const NAME: &'static str = "cache";
    const STAGE: Stage = Stage::Serve;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    const OPERATIONS: &'static [&'static Operation] = &[&PURGE];
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let checked = config::check(config)?;
        // Copies are kept by this: what changes it makes them unfit.
        let name = format!("store {} {:?} {}", checked.memory, checked.key, *checked.store);
        let shared = find_store(&checked.store, site).map_err(|problem| vec![*problem])?;
        let shared =
            shared.map(|shared| Shared::new(shared, site.owner(), &checked.key, keep(site, &name, Heard::default)));
        let store = keep(site, &name, || Arc::new(Store::new(checked.memory)));
        let inner = Arc::new(checked.into_inner(Arc::clone(&store), shared, site.tally()));
        site.offer(&PURGE, Arc::new(Purge(Arc::clone(&inner))));
        Ok(Arc::new(Cache(inner)))
    }
}

impl Policy for Cache {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if self.0.has_to_listen(exchange) {
            return Verdict::Wait(Box::pin(async move {
                self.0.listen(exchange).await;
                let asked = self.0.ask(exchange, time::now());
                self.pursue(exchange, asked).await
            }));
        }
        let began = time::of(exchange);
        match self.0.ask(exchange, began) {
            asked @ (Asked::Wait(..) | Asked::Look(..)) => Verdict::Wait(Box::pin(self.pursue(exchange, asked))),
            Asked::Go(onward) => {
                self.carry(exchange, onward);
                Verdict::CONTINUE
            }
            Asked::Answer(reply) => (*reply).into(),
            Asked::Reject(rejection) => rejection.into(),
        }
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let changed = self.0.invalidate(exchange, reply);
        if let Some(fetch) = exchange.carried.take::<Box<Fetch>>(self) {
            if let Some(other) = Inner::settle(&self.0, *fetch, reply, time::now()) {
                return other.into();
            }
        } else if let Some(Passed(why)) = exchange.carried.take::<Passed>(self) {
            say(reply, "BYPASS", &format!("torana; fwd={why}"));
        }
        if let Some(shared) = self.0.shared.as_ref().filter(|_| !changed.is_empty()) {
            // Whoever asks next, wherever, gets what is there now.
            return Verdict::Wait(Box::pin(async move {
                let told = shared.changed(&self.0.store, &changed).await;
                self.0.went_on(exchange, told);
                Decision::Continue
            }));
        }
        Verdict::CONTINUE
    }
}

impl Cache {
    /// Has a request that goes to the target bring along what its reply is for.
    fn carry(&self, exchange: &mut Exchange, onward: Result<Box<Fetch>, Passed>) {
        match onward {
            Ok(fetch) => exchange.carried.put(self, fetch),
            Err(passed) => exchange.carried.put(self, passed),
        }
    }

    /// Waits for what a request has to wait for.
    async fn pursue(&self, exchange: &mut Exchange, mut asked: Asked) -> Decision {
        loop {
            let (question, turn) = match asked {
                Asked::Go(onward) => {
                    self.carry(exchange, onward);
                    return Decision::Continue;
                }
                Asked::Answer(reply) => return Decision::Answer(reply),
                Asked::Reject(rejection) => return Decision::Reject(rejection),
                Asked::Wait(question, wait) => {
                    wait.await;
                    (question, Turn::Waited)
                }
                Asked::Look(question, lead) => {
                    let has_found = self.0.look_in_store(exchange, &question).await;
                    (question, Turn::Looked { lead, has_found })
                }
            };
            asked = self.0.ask_again(exchange, *question, time::now(), turn);
        }
    }
}

thread_local! {
    /// Where what is added to a copy is put together.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A reply made of `entry` for who asks under these conditions.
fn answer(conditions: &Conditions, entry: &Entry, now: Instant, label: &str, status: &str) -> Reply {
    let mut reply = conditions.answer(entry);
    let age = entry.age(now).as_secs();
    let lifetime = entry.lifetime.as_secs();
    let (sign, left) = if lifetime < age { ("-", age - lifetime) } else { ("", lifetime - age) };
    let mut buffers = [itoa::Buffer::new(), itoa::Buffer::new()];
    let [age, left] = [age, left].map({
        let mut buffers = buffers.iter_mut();
        move |number| buffers.next().map_or("", |buffer| buffer.format(number))
    });
    let status = ["torana; ", status, "; ttl=", sign, left];
    let fields = &mut reply.head.fields;
    if fields.contains(KnownName::CacheStatus) {
        fields.set_own(KnownName::Age, age.as_bytes());
        say(&mut reply, label, &status.concat());
        return reply;
    }
    // All of it in one piece: most of what a hit costs is memory.
    let mut lines = LINES.take();
    lines.clear();
    let mut write = |name: KnownName, parts: &[&str]| {
        let texts = [name.as_str(), ": "];
        texts.iter().chain(parts).chain(&["\r\n"]).for_each(|part| lines.extend_from_slice(part.as_bytes()));
        (name, parts.iter().map(|part| part.len()).sum())
    };
    let names =
        [write(KnownName::Age, &[age]), write(KnownName::XCache, &[label]), write(KnownName::CacheStatus, &status)];
    fields.set_own_lines(&lines, &names);
    LINES.replace(lines);
    reply
}

/// Says what became of a request (RFC 9211), and the same in a word.
fn say(reply: &mut Reply, label: &str, status: &str) {
    let fields = &mut reply.head.fields;
    // Digits and words of ours.
    fields.set_own(KnownName::XCache, label.as_bytes());
    let _ = fields.append(KnownName::CacheStatus, status.as_bytes());
}

impl Inner {
    /// Whether other gateways have to be heard before anything is answered;
    /// otherwise that is done beside, if it is time.
    fn has_to_listen(self: &Arc<Self>, exchange: &Exchange) -> bool {
        let Some(shared) = &self.shared else { return false };
        match shared.should_listen(self.store.time(time::now())) {
            Listen::No => false,
            Listen::First => true,
            Listen::Beside(turn) => {
                if let Some(outbound) = exchange.outbound.as_deref() {
                    let inner = Arc::clone(self);
                    outbound.spawn(Box::pin(async move {
                        let _turn = turn;
                        if let Some(shared) = &inner.shared
                            && shared.listen(&inner.store).await.is_err()
                        {
                            inner.tally.count(&STORE_FAILED);
                        }
                    }));
                }
                false
            }
        }
    }

    async fn listen(&self, exchange: &mut Exchange) {
        if let Some(shared) = &self.shared {
            let heard = shared.listen(&self.store).await;
            self.went_on(exchange, heard);
        }
    }

    /// Looks in the store for what is not in memory; tells whether it is there.
    async fn look_in_store(&self, exchange: &mut Exchange, question: &Question) -> bool {
        let Some(shared) = &self.shared else { return false };
        let found = shared.look(&self.store, (&question.key, question.wish.uri), &exchange.head.fields).await;
        let has_found = matches!(found, Ok(true));
        if has_found {
            self.tally.count(&STORE_HIT);
        }
        self.went_on(exchange, found.map(drop));
        has_found
    }

    /// Puts a reply that was kept in memory into the store, beside the exchange.
    fn save(self: &Arc<Self>, fetch: &Fetch, entry: &Arc<Entry>) {
        let Some((since, outbound)) = &fetch.heard else { return };
        let (inner, entry, since) = (Arc::clone(self), Arc::clone(entry), *since);
        let (key, place) = (fetch.question.key.clone(), fetch.question.wish.uri);
        outbound.spawn(Box::pin(async move {
            let Some(shared) = &inner.shared else { return };
            match shared.save(&inner.store, (&key, place), &entry, since).await {
                Ok(true) => inner.tally.count(&STORE_KEPT),
                Ok(false) => {}
                Err(_) => inner.tally.count(&STORE_FAILED),
            }
        }));
    }

    async fn purge_shared(&self, meant: Meant) -> Result<(), StoreError> {
        match &self.shared {
            Some(shared) => {
                let purged = shared.purge(meant, &self.store).await;
                if purged.is_err() {
                    self.tally.count(&STORE_FAILED);
                }
                purged
            }
            None => Ok(()),
        }
    }

    /// A store that fails is told of, and nothing else.
    fn went_on(&self, exchange: &mut Exchange, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.tally.count(&STORE_FAILED);
            exchange.notes.cause.get_or_insert_with(|| format!("cache: {error}").into());
        }
    }
}
