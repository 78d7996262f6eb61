//! Keys that an issuer publishes: fetched when they are needed, kept for as
//! long as it says, fetched again for a key that is not known.
//!
//! | what happens | what follows |
//! |---|---|
//! | no keys yet | the request fetches them; others wait for it |
//! | they are older than the issuer allows | one request fetches, others use what there is |
//! | a token names an unknown key | one request fetches, others with unknown keys wait for it; then no more for `cooldown` |
//! | fetching fails | the last good keys stay in use; without any, requests are refused (503), never let in |
//!
//! The state is shared by all workers and all policies that name the same
//! place, and survives reloads.

use super::key::KeySet;
use super::{FAILED, FETCHED, object};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use torana_core::body::CollectError;
use torana_core::cache_control::Directives;
use torana_core::deadline::Deadline;
use torana_core::event::Tally;
use torana_core::head::Fields;
use torana_core::names::KnownName;
use torana_core::outbound::{Outbound, OutboundRequest, within};
use torana_core::reply::Reply;
use torana_core::site::{Service, UpstreamId};

/// A fetch that takes longer has failed.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest reply that is read.
const LONGEST_REPLY: usize = 1 << 20;
/// How long keys are used where the issuer does not say.
const USUAL_AGE: Duration = Duration::from_secs(300);
/// Bounds of what it may say.
const SHORTEST_AGE: Duration = Duration::from_secs(30);
const LONGEST_AGE: Duration = Duration::from_secs(24 * 3600);
/// How soon the next request may try again where there are no keys at all.
const RETRY: Duration = Duration::from_secs(1);

/// Where keys are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A key set.
    Set(Service),
    /// What an issuer says about itself (OpenID Connect Discovery 1.0 §4); it
    /// names the key set, which has to be at the same origin.
    Discovery {
        /// The document.
        document: Service,
        /// The issuer, which the document has to name.
        issuer: Box<str>,
    },
}

/// The keys of one place.
#[derive(Default)]
pub(super) struct RemoteKeys {
    state: Mutex<State>,
    /// [`Known::version`] of the keys in use; 0 before there are any.
    version: AtomicU64,
    /// From when on, in seconds since 1970, the keys have to be looked at again
    /// before anything is believed because of them.
    look_at: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The last good ones.
    known: Option<Known>,
    /// When fetching was last begun.
    tried: Option<Instant>,
    /// When that was last because of an unknown key.
    forced: Option<Instant>,
    /// Why it last failed, if it did.
    failure: Option<Box<str>>,
    is_fetching: bool,
    /// How many fetches have ended.
    ended: u64,
    waiting: Vec<Waker>,
}

/// Keys as they were fetched.
#[derive(Clone)]
pub(super) struct Known {
    /// They.
    pub(super) keys: Arc<KeySet>,
    /// Changes when they do.
    pub(super) version: u64,
    /// The text they were read from, to tell whether they changed.
    text: Arc<[u8]>,
    fresh_until: Instant,
}

impl Known {
    /// Whether the issuer says that they should not be used any more.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now >= self.fresh_until
    }
}

/// How keys are fetched.
#[derive(Clone)]
pub(super) struct Manner {
    /// Not sooner after the last time.
    pub(super) cooldown: Duration,
    /// Where it is counted.
    pub(super) tally: Arc<Tally>,
}

/// Why there are no keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unavailable(pub(super) Box<str>);

/// What to do next.
enum Step {
    Use(Known),
    Fail(Unavailable),
    /// For the end of the fetch after so many.
    Wait(u64),
    /// And wait for it.
    Fetch(u64),
}

impl RemoteKeys {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys at hand, if they need not be fetched first.
    pub(super) fn at_hand(&self, now: Instant, cooldown: Duration) -> Option<Known> {
        let state = self.state();
        let known = state.known.as_ref()?;
        let is_enough = now < known.fresh_until || state.is_fetching || !state.may_try(now, cooldown);
        is_enough.then(|| known.clone())
    }

    /// The version of the keys in use; 0 before there are any.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Until when, in seconds since 1970, what was verified with these keys may
    /// be believed without looking at them.
    pub(super) fn look_at(&self) -> u64 {
        self.look_at.load(Ordering::Relaxed)
    }

    /// The keys, fetched if there are none or they are too old.
    pub(super) async fn get(
        self: &Arc<Self>,
        source: &Source,
        outbound: &Rc<dyn Outbound>,
        manner: &Manner,
    ) -> Result<Known, Unavailable> {
        let asked = self.state().ended;
        loop {
            let step = self.step(Instant::now(), false, |state, now| match &state.known {
                Some(known) if now < known.fresh_until || state.is_fetching || state.ended > asked => {
                    Step::Use(known.clone())
                }
                Some(known) if !state.may_try(now, manner.cooldown) => Step::Use(known.clone()),
                None if state.is_fetching => Step::Wait(state.ended),
                None if state.ended > asked || !state.may_try(now, RETRY.min(manner.cooldown)) => {
                    let why =
                        state.failure.clone().unwrap_or_else(|| "the last attempt did not come to its end".into());
                    Step::Fail(Unavailable(why))
                }
                _ => Step::Fetch(state.ended),
            });
            match step {
                Step::Use(known) => return Ok(known),
                Step::Fail(why) => return Err(why),
                Step::Wait(ended) => self.next(ended).await,
                Step::Fetch(ended) => {
                    self.begin(source, outbound, manner);
                    self.next(ended).await;
                }
            }
        }
    }

    /// Keys fetched after `old`, for a token whose key is not in them; `old`
    /// itself if it is too soon to ask again, or asking failed.
    pub(super) async fn newer(
        self: &Arc<Self>,
        old: &Known,
        source: &Source,
        outbound: &Rc<dyn Outbound>,
        manner: &Manner,
    ) -> Known {
        let asked = self.state().ended;
        loop {
            let step = self.step(Instant::now(), true, |state, now| match &state.known {
                Some(known) if known.version != old.version => Step::Use(known.clone()),
                _ if state.ended > asked => Step::Use(old.clone()),
                _ if state.is_fetching => Step::Wait(state.ended),
                _ if !state.may_force(now, manner.cooldown) => Step::Use(old.clone()),
                _ => Step::Fetch(state.ended),
            });
            match step {
                Step::Use(known) => return known,
                Step::Fail(_) => return old.clone(),
                Step::Wait(ended) => self.next(ended).await,
                Step::Fetch(ended) => {
                    self.begin(source, outbound, manner);
                    self.next(ended).await;
                }
            }
        }
    }

    /// Decides under the lock; whoever is to fetch is the only one.
    fn step(&self, now: Instant, is_forced: bool, decide: impl FnOnce(&State, Instant) -> Step) -> Step {
        let mut state = self.state();
        let step = decide(&state, now);
        if matches!(step, Step::Fetch(_)) {
            self.look_at.store(super::unix_now().saturating_add(1), Ordering::Relaxed);
            state.is_fetching = true;
            state.tried = Some(now);
            if is_forced {
                state.forced = Some(now);
            }
        }
        step
    }

    /// Waits until one more fetch has ended than `ended`.
    async fn next(&self, ended: u64) {
        poll_fn(|context| {
            let mut state = self.state();
            if state.ended > ended || !state.is_fetching {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Fetches beside the request: whether it is given up or not, others wait.
    fn begin(self: &Arc<Self>, source: &Source, outbound: &Rc<dyn Outbound>, manner: &Manner) {
        let (keys, source, way, manner) = (Arc::clone(self), source.clone(), Rc::clone(outbound), manner.clone());
        // Ends the fetch even where the work is dropped, with the worker.
        let ending = Ending(Arc::clone(self));
        outbound.spawn(Box::pin(async move {
            let fetched = within(&*way, FETCH_TIMEOUT, fetch(&source, &*way)).await;
            let fetched = fetched.unwrap_or_else(|| Err("the answer took too long".into()));
            keys.end(fetched, &manner);
            drop(ending);
        }));
    }

    fn end(&self, fetched: Result<Fetched, Box<str>>, manner: &Manner) {
        manner.tally.count(if fetched.is_ok() { &FETCHED } else { &FAILED });
        let now = Instant::now();
        let mut state = self.state();
        match fetched {
            Ok(fetched) => {
                let seconds = fetched.age.as_secs();
                let version = state.take_up(fetched, now);
                self.look_at.store(super::unix_now().saturating_add(seconds), Ordering::Relaxed);
                self.version.store(version, Ordering::Release);
            }
            Err(why) => {
                self.look_at
                    .store(super::unix_now().saturating_add(manner.cooldown.as_secs().max(1)), Ordering::Relaxed);
                state.failure = Some(why);
            }
        }
        state.ended += 1;
    }
}

impl State {
    /// Unknown keys have a cooldown of their own: an issuer may change its keys
    /// right after they were fetched for another reason.
    fn may_force(&self, now: Instant, after: Duration) -> bool {
        self.forced.is_none_or(|forced| now.saturating_duration_since(forced) >= after)
    }

    fn may_try(&self, now: Instant, after: Duration) -> bool {
        self.tried.is_none_or(|tried| now.saturating_duration_since(tried) >= after)
    }

    fn take_up(&mut self, fetched: Fetched, now: Instant) -> u64 {
        let Fetched { keys, text, age } = fetched;
        self.failure = None;
        let fresh_until = now + age;
        let known = match self.known.take() {
            Some(known) if *known.text == *text => Known { fresh_until, ..known },
            before => Known {
                keys: Arc::new(keys),
                version: before.map_or(1, |known| known.version + 1),
                text: text.into(),
                fresh_until,
            },
        };
        self.known.insert(known).version
    }
}

/// Lets everybody go on who waits.
struct Ending(Arc<RemoteKeys>);

impl Drop for Ending {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state();
            state.is_fetching = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

struct Fetched {
    keys: KeySet,
    text: Vec<u8>,
    age: Duration,
}

async fn fetch(source: &Source, outbound: &dyn Outbound) -> Result<Fetched, Box<str>> {
    let (upstream, path) = match source {
        Source::Set(service) => (service.upstream, service.path_and_query.clone()),
        Source::Discovery { document, issuer } => {
            let (_, text) = ask(document.upstream, document.path_and_query.clone(), outbound).await?;
            (document.upstream, discovered(&text, issuer)?)
        }
    };
    let (fields, text) = ask(upstream, path, outbound).await?;
    let set = object(&text).ok_or("the key set is not JSON")?;
    let keys = KeySet::of_jwks(&set).ok_or("the key set holds no key of use")?;
    Ok(Fetched { keys, text, age: age(&fields) })
}

async fn ask(upstream: UpstreamId, path: String, outbound: &dyn Outbound) -> Result<(Fields, Vec<u8>), Box<str>> {
    let mut fields = Fields::default();
    fields.set_own(KnownName::Accept, b"application/json");
    let deadline = Deadline::after(Instant::now(), FETCH_TIMEOUT);
    let request = OutboundRequest { path_and_query: path, fields, deadline, ..OutboundRequest::default() };
    let reply = outbound.send(upstream, request).await;
    let Reply { head, body, .. } = reply.map_err(|rejection| format!("{rejection:?}"))?;
    if head.status.code() != 200 {
        return Err(format!("the answer is {}", head.status.code()).into());
    }
    let text = body.collect_capped(LONGEST_REPLY).await.map_err(|error: CollectError| error.to_string())?;
    Ok((head.fields, text.to_vec()))
}

/// Path and query of the key set that a discovery document names.
fn discovered(document: &[u8], issuer: &str) -> Result<String, Box<str>> {
    let document = object(document).ok_or("the discovery document is not JSON")?;
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err("the discovery document is another issuer's".into());
    }
    let keys = text("jwks_uri").ok_or("the discovery document has no `jwks_uri`")?;
    let rest = keys.strip_prefix(origin(issuer)).filter(|rest| rest.starts_with('/'));
    let is_plain = |path: &&str| path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    match rest.filter(is_plain) {
        Some(path) => Ok(path.to_owned()),
        None => Err("the keys are at another origin than their issuer: write `jwks` instead of `discover`".into()),
    }
}

/// Scheme and authority of a URL.
pub(super) fn origin(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(authority..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| authority + at);
    url.get(..end).unwrap_or(url)
}

/// How long a reply may be used, by its `Cache-Control`, within bounds.
fn age(fields: &Fields) -> Duration {
    let said = Directives::of(fields);
    let seconds = if said.no_store || said.no_cache { Some(0) } else { said.max_age };
    seconds.map_or(USUAL_AGE, |seconds| Duration::from_secs(seconds).clamp(SHORTEST_AGE, LONGEST_AGE))
}

#[cfg(test)]
mod tests;
