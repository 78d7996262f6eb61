//! A request that is sent again is answered again, and not done again.
//!
//! The draft (draft-ietf-httpapi-idempotency-key-header-07) says what clients
//! send; here is what is kept of it: under a digest of caller and key, first a
//! mark that somebody is at it, then the reply. Both carry a fingerprint of the
//! request, so that a key used twice for different things is found out.

mod record;
mod tee;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use record::{Fingerprint, Record};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use tee::Tee;
use torana_core::body::{Body, CollectError};
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::{Method, MethodSet, Status};
use torana_core::identity::Identity;
use torana_core::names::{HeaderName, KnownName};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::{Site, find_store, keep};
use torana_core::stage::Stage;
use torana_core::store::memory_blobs::MemoryBlobs;
use torana_core::store::{Blobs, Soon, Store, StoreError};
use torana_core::units::{ByteSize, Duration};
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// A request of the same key is not done yet.
    IN_FLIGHT = "idempotency.in_flight" 409 Caller IfSafe "A request with this idempotency key is being worked on.";
    /// The key was used for another request.
    MISMATCH = "idempotency.mismatch" 422 Caller Never "This idempotency key was used for another request.";
    /// The key is needed.
    NO_KEY = "idempotency.no_key" 400 Caller Never "The request needs an Idempotency-Key header.";
    /// The key cannot be one.
    BAD_KEY = "idempotency.bad_key" 400 Caller Never "The Idempotency-Key is not one: 1 to 255 visible characters, once.";
    /// The body is too long to compare it.
    TOO_LARGE = "idempotency.too_large" 413 Caller Never "The body is too large for a request with an idempotency key.";
    /// The store is down.
    NO_STORE = "idempotency.no_store" 503 Gateway Always "Repeated requests cannot be recognised right now.";
}

torana_core::events! {
    KEPT = "kept" "A reply was kept for repetitions of its request.";
    REPLAYED = "replayed" "A repeated request was answered with the kept reply.";
    IN_PROGRESS = "in_progress" "A request was refused because one of its key was under way.";
    MISMATCHED = "mismatched" "A request was refused because its key was used for another.";
    NOT_KEPT = "not_kept" "A reply was not kept: its status says that it may be repeated, or it is too long.";
    STORE_FAILED = "store_failed" "The store did not answer in time, or with an error.";
}

/// Answers a request that is sent again with the same `Idempotency-Key` with the reply of the first, marked with
/// `Idempotency-Replayed: true`, in place of doing it again. While the first is under way, repetitions get 409; the same key
/// for another request (method, target, media type or body) gets 422.
///
/// Keys are the caller's own: of who it proved to be, or else of its `Authorization`, or else of its address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Idempotency")]
pub struct Config {
    /// Methods it is for. Default `POST` and `PATCH`.
    pub methods: OneOrMany<Spanned<String>>,
    /// Refuse requests of these methods without a key, with 400. Default: they pass, and are not protected.
    pub required: bool,
    /// How long replies are kept. Default `24h`.
    pub ttl: Spanned<Duration>,
    /// How long a request counts as under way if nothing is heard of it, because its client or its gateway went away. After
    /// that it may be sent again. Default `1m`.
    pub in_flight_ttl: Spanned<Duration>,
    /// Request bodies that are compared; longer ones are refused with 413. They are read before the request is sent on.
    /// Default `64KiB`.
    pub request_bytes: Spanned<ByteSize>,
    /// Reply bodies that are kept; longer ones pass and are not. Default `256KiB`.
    pub reply_bytes: Spanned<ByteSize>,
    /// Keep replies with a status of 500 and above too. Default: they may be tried again. Replies with 408, 409, 425 and 429,
    /// and those that the gateway makes itself, are never kept.
    pub keep_errors: bool,
    /// Where replies are kept: `memory`, or a name under `stores`. Default `memory`: a request that is sent again to another
    /// gateway is done again.
    pub store: Spanned<String>,
    /// How much is kept in `memory`; with more, the oldest is forgotten. Default `64MiB`.
    pub memory_bytes: Spanned<ByteSize>,
    /// What is done while the store is down. Default `closed`.
    pub on_store_failure: OnStoreFailure,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            methods: OneOrMany(vec!["POST".into(), "PATCH".into()]),
            required: false,
            ttl: Duration::from_secs(86_400).into(),
            in_flight_ttl: Duration::from_secs(60).into(),
            request_bytes: ByteSize::kib(64).into(),
            reply_bytes: ByteSize::kib(256).into(),
            keep_errors: false,
            store: torana_core::store::MEMORY.into(),
            memory_bytes: ByteSize::mib(64).into(),
            on_store_failure: OnStoreFailure::Closed,
        }
    }
}

/// What is done with requests that nobody can recognise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "IdempotencyOnStoreFailure")]
pub enum OnStoreFailure {
    /// Those with a key are refused with 503: they are never done twice.
    #[default]
    Closed,
    /// They pass without protection.
    Open,
}

/// The policy `idempotency`.
pub struct Idempotency {
    owner: Box<str>,
    methods: MethodSet,
    is_required: bool,
    ttl: std::time::Duration,
    in_flight_ttl: std::time::Duration,
    request_bytes: usize,
    reply_bytes: usize,
    keeps_errors: bool,
    place: Place,
    passes_without_store: bool,
    tally: Arc<Tally>,
}

/// Where replies are kept.
#[derive(Clone)]
enum Place {
    Memory(Arc<MemoryBlobs>),
    Store(Arc<dyn Store>),
}

impl Place {
    fn blobs(&self) -> &dyn Blobs {
        match self {
            Place::Memory(blobs) => &**blobs,
            Place::Store(store) => store.blobs(),
        }
    }
}

/// A request that is the first of its key.
#[derive(Clone, Copy)]
struct First {
    key: Key,
    fingerprint: Fingerprint,
}

/// The head of a reply whose body is still to come.
struct Begun {
    key: Key,
    record: Vec<u8>,
}

type Key = [u8; 32];

impl PolicyKind for Idempotency {
    const NAME: &'static str = "idempotency";
    const STAGE: Stage = Stage::Serve;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut methods = MethodSet::default();
        for name in &*config.methods {
            match Method::from_bytes(name.as_bytes()) {
                Method::Extension => {
                    let message = format!("{} is not a method that could be repeated", name.shown());
                    problems.push(Diagnostic::error("idempotency.method", message).at(name.span));
                }
                method => methods.insert(method),
            }
        }
        for time in [&config.ttl, &config.in_flight_ttl] {
            if time.is_zero() {
                let message = "what is kept for no time is of no use";
                problems.push(Diagnostic::error("config.zero_timeout", message).at(time.span));
            }
        }
        let most = config.memory_bytes.as_usize();
        let place = match find_store(&config.store, site) {
            Ok(Some(store)) => Some(Place::Store(store)),
            Ok(None) => Some(Place::Memory(keep(site, &format!("memory {most}"), || MemoryBlobs::new(most)))),
            Err(problem) => {
                problems.push(*problem);
                None
            }
        };
        let Some(place) = place.filter(|_| problems.is_empty()) else { return Err(problems) };
        Ok(Arc::new(Idempotency {
            owner: site.owner().into(),
            methods,
            is_required: config.required,
            ttl: config.ttl.std(),
            in_flight_ttl: config.in_flight_ttl.std(),
            request_bytes: config.request_bytes.as_usize(),
            reply_bytes: config.reply_bytes.as_usize(),
            keeps_errors: config.keep_errors,
            place,
            passes_without_store: config.on_store_failure == OnStoreFailure::Open,
            tally: site.tally(),
        }))
    }
}

impl Policy for Idempotency {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if !self.methods.contains(exchange.head.method) {
            return Verdict::CONTINUE;
        }
        let key = match exchange.head.fields.get_single(KnownName::IdempotencyKey) {
            Ok(Some(key)) if is_key(key) => self.key(exchange, key),
            Ok(None) if self.is_required => return Rejection::new(&NO_KEY).into(),
            Ok(None) => return Verdict::CONTINUE,
            _ => return Rejection::new(&BAD_KEY).into(),
        };
        if exchange.body.remaining().is_some_and(|length| length > self.request_bytes as u64) {
            return Rejection::new(&TOO_LARGE).into();
        }
        Verdict::Wait(Box::pin(async move {
            let body = match std::mem::take(&mut exchange.body).collect_capped(self.request_bytes).await {
                Ok(body) => body,
                Err(CollectError::TooLong) => return Decision::Reject(Rejection::new(&TOO_LARGE)),
                Err(CollectError::Source(error)) => return Decision::Reject(error.into()),
            };
            exchange.body = body.clone().into();
            let fingerprint = fingerprint(exchange, &body);
            let mark = Record::in_flight(fingerprint);
            match self.place.blobs().add(&key, mark, self.in_flight_ttl).get().await {
                Ok(None) => {
                    exchange.carried.put(self, First { key, fingerprint });
                    Decision::Continue
                }
                Ok(Some(known)) => self.again(&known, fingerprint, exchange.head.method),
                Err(error) => self.without_store(exchange, &error),
            }
        }))
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let Some(First { key, fingerprint }) = exchange.carried.get::<First>(self).copied() else {
            return Verdict::CONTINUE;
        };
        let is_ours = exchange.notes.code.is_some() || reply.tunnel.is_some();
        let is_long = reply.body.remaining().is_some_and(|length| length > self.reply_bytes as u64);
        if is_ours || is_long || !self.is_final(reply.head.status) {
            self.tally.count(&NOT_KEPT);
            return settle(self.place.blobs().delete(&key));
        }
        let record = Record::of_reply(fingerprint, &reply.head);
        if reply.body.is_empty() {
            self.tally.count(&KEPT);
            return settle(self.place.blobs().put(&key, record.into(), self.ttl, &[]));
        }
        exchange.carried.put(self, Begun { key, record });
        Verdict::CONTINUE
    }

    fn wrap_response(&self, exchange: &Exchange, body: Body) -> Body {
        match exchange.carried.get::<Begun>(self) {
            Some(Begun { key, record }) => Tee::wrap(self, *key, record.clone(), body),
            None => body,
        }
    }
}

impl Idempotency {
    /// What a request is kept under. A digest: what clients send may be secret.
    fn key(&self, exchange: &Exchange, key: &[u8]) -> Key {
        let mut digest = Context::new(&SHA256);
        let mut add = |kind: u8, part: &[u8]| {
            digest.update(&[kind]);
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        add(0, self.owner.as_bytes());
        let who = exchange.identity.as_ref().and_then(Identity::who);
        match (who, exchange.head.fields.get(KnownName::Authorization)) {
            (Some(who), _) => who.into_iter().for_each(|which| add(1, which.as_bytes())),
            (None, Some(authorization)) => add(2, authorization),
            (None, None) => add(3, exchange.client_ip.to_string().as_bytes()),
        }
        add(4, key);
        let mut out = Key::default();
        out.iter_mut().zip(digest.finish().as_ref()).for_each(|(out, byte)| *out = *byte);
        out
    }

    /// What becomes of a request whose key is known.
    fn again(&self, known: &Bytes, fingerprint: Fingerprint, method: Method) -> Decision {
        match Record::read(known) {
            Some(record) if record.fingerprint != fingerprint => {
                self.tally.count(&MISMATCHED);
                Decision::Reject(Rejection::new(&MISMATCH))
            }
            Some(Record { reply: Some(mut reply), .. }) => {
                self.tally.count(&REPLAYED);
                if let Some(name) = HeaderName::new("idempotency-replayed") {
                    let _ = reply.head.fields.set(name, b"true");
                }
                if method == Method::Head {
                    reply.body = Body::Empty;
                }
                Decision::Answer(Box::new(reply))
            }
            // What cannot be read was written by another version: it is not
            // known whether that was done.
            Some(Record { reply: None, .. }) | None => {
                self.tally.count(&IN_PROGRESS);
                Decision::Reject(Rejection::new(&IN_FLIGHT).with_field(KnownName::RetryAfter, b"1"))
            }
        }
    }

    fn without_store(&self, exchange: &mut Exchange, error: &StoreError) -> Decision {
        self.tally.count(&STORE_FAILED);
        if self.passes_without_store {
            exchange.notes.cause.get_or_insert_with(|| format!("idempotency: {error}").into());
            return Decision::Continue;
        }
        Decision::Reject(Rejection::new(&NO_STORE).because(error).with_field(KnownName::RetryAfter, b"1"))
    }

    /// Whether a reply of this status settles its request.
    fn is_final(&self, status: Status) -> bool {
        match status.code() {
            0..=199 | 408 | 409 | 425 | 429 => false,
            200..=499 => true,
            _ => self.keeps_errors,
        }
    }
}

fn is_key(key: &[u8]) -> bool {
    (1..=255).contains(&key.len()) && key.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// What tells requests apart that have the same key.
fn fingerprint(exchange: &Exchange, body: &[u8]) -> Fingerprint {
    let mut digest = Context::new(&SHA256);
    let content_type = exchange.head.fields.get(KnownName::ContentType).unwrap_or_default();
    let query = exchange.target().query().unwrap_or_default();
    let parts = [exchange.head.method_text().as_bytes(), exchange.target().path().as_bytes(), query.as_bytes()];
    for part in parts.into_iter().chain([content_type, body]) {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let mut out = Fingerprint::default();
    out.iter_mut().zip(digest.finish().as_ref()).for_each(|(out, byte)| *out = *byte);
    out
}

/// Waits for a store. Whether it did what it was told changes nothing for this
/// reply: a mark that stays ends by itself.
fn settle<'a>(done: Soon<Result<(), StoreError>>) -> Verdict<'a> {
    match done {
        Soon::Now(_) => Verdict::CONTINUE,
        Soon::Later(future) => Verdict::Wait(Box::pin(async move {
            let _ = future.await;
            Decision::Continue
        })),
    }
}
