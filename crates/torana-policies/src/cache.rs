//! A shared cache for replies (RFC 9111), in the memory of the gateway.
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
mod store;
mod tee;
mod time;

#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod tests;

pub use config::Config;

use ask::Asked;
use conditions::Conditions;
use entry::Entry;
use flight::Lead;
use freshness::Rules;
use key::{Credentials, KeyRules};
use purge::{PURGE, Purge};
use settle::Draft;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Key, Store};
use torana_core::cache_control::Directives;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName};
use torana_core::operation::Operation;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::Refusal;
use torana_core::reply::Reply;
use torana_core::site::{Site, keep};
use torana_core::stage::Stage;
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
}

/// The policy `cache`.
pub struct Cache(Arc<Inner>);

/// What exchanges, bodies under way and the background share.
struct Inner {
    store: Arc<Store>,
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
    names: Names,
    tally: Arc<Tally>,
}

/// Header names that are not among the known.
struct Names {
    x_cache: HeaderName,
    cache_status: HeaderName,
}

/// What a request asks for, as the cache sees it.
struct Question {
    key: Key,
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
        let name = format!("store {} {:?}", checked.memory, checked.key);
        let store = keep(site, &name, || Arc::new(Store::new(checked.memory)));
        let inner = Arc::new(checked.into_inner(Arc::clone(&store), site.tally())?);
        site.offer(&PURGE, Arc::new(Purge(Arc::clone(&inner))));
        Ok(Arc::new(Cache(inner)))
    }
}

impl Policy for Cache {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        match self.0.ask(exchange, time::now()) {
            Asked::Go(Ok(fetch)) => exchange.carried.put(self, fetch),
            Asked::Go(Err(passed)) => exchange.carried.put(self, passed),
            Asked::Answer(reply) => return (*reply).into(),
            Asked::Reject(rejection) => return rejection.into(),
            Asked::Wait(question, wait) => {
                return Verdict::Wait(Box::pin(async move {
                    wait.await;
                    match self.0.ask_again(exchange, *question, time::now()) {
                        Asked::Answer(reply) => return Decision::Answer(reply),
                        Asked::Reject(rejection) => return Decision::Reject(rejection),
                        Asked::Go(Ok(fetch)) => exchange.carried.put(self, fetch),
                        // Those who have waited do not wait again.
                        Asked::Go(Err(_)) | Asked::Wait(..) => {}
                    }
                    Decision::Continue
                }));
            }
        }
        Verdict::CONTINUE
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let now = time::now();
        self.0.invalidate(exchange, reply, now);
        if let Some(fetch) = exchange.carried.take::<Box<Fetch>>(self) {
            if let Some(other) = Inner::settle(&self.0, *fetch, reply, now) {
                return other.into();
            }
        } else if let Some(Passed(why)) = exchange.carried.take::<Passed>(self) {
            self.0.say(reply, "BYPASS", &format!("torana; fwd={why}"));
        }
        Verdict::CONTINUE
    }
}

impl Inner {
    /// A reply made of `entry` for who asked `question`.
    fn answer(&self, question: &Question, entry: &Entry, now: Instant, label: &str, status: &str) -> Reply {
        let mut reply = question.conditions.answer(entry);
        let age = entry.age(now).as_secs();
        let left = i128::from(entry.lifetime.as_secs()) - i128::from(age);
        let fields = &mut reply.head.fields;
        fields.set_own(KnownName::Age, age.to_string().as_bytes());
        self.say(&mut reply, label, &format!("torana; {status}; ttl={left}"));
        reply
    }

    /// Says what became of a request (RFC 9211), and the same in a word.
    fn say(&self, reply: &mut Reply, label: &str, status: &str) {
        let fields = &mut reply.head.fields;
        // Digits and words of ours.
        let _ = fields.set(self.names.x_cache.clone(), label.as_bytes());
        let _ = fields.append(self.names.cache_status.clone(), status.as_bytes());
    }
}
