//! Sends copies of requests to another upstream, and may compare the answers.
//!
//! A copy is work beside its exchange: the main request does not wait for it,
//! is not held up by it, and does not fail with it. Its body is copied while it
//! streams to where it belongs, so the copy is sent when the main upstream has
//! read it, and given up when it is too long or breaks off. Copies are the first
//! thing to go when there is too much to do.

mod compare;
mod tee;

use bytes::Bytes;
use compare::{Compare, Pair};
use schemars::JsonSchema;
use serde::Deserialize;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tee::{Copied, tee};
use torana_core::body::{Body, BodyError, Progress};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::event::{Event, Tally};
use torana_core::exchange::{Exchange, Upgrade};
use torana_core::head::{Method, MethodSet, ReplyHead};
use torana_core::names::{HeaderName, KnownName};
use torana_core::outbound::{Outbound, OutboundRequest, within};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::reply::Reply;
use torana_core::rewrite::ForwardHost;
use torana_core::site::{Site, UpstreamId, find_upstream, keep};
use torana_core::stage::Stage;
use torana_core::trace::IdSource;
use torana_core::units::{ByteSize, Duration, Percent};
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::events! {
    SENT = "sent" "A copy was sent.";
    SHED = "shed" "No copy was sent, since `max_active` others were under way.";
    TOO_LONG = "too_long" "No copy was sent, since the body is longer than `body_bytes`.";
    BROKEN = "broken" "No copy was sent, since the body was not read to its end.";
    ANSWERED = "answered" "A copy was answered.";
    FAILED = "failed" "A copy was not answered, or not in time.";
    SAME = "same" "Both answers are the same in all that is compared.";
    STATUS_DIFFERS = "status_differs" "The answers have different statuses.";
    HEADERS_DIFFER = "headers_differ" "The answers differ in one of the headers that are compared.";
    BODY_DIFFERS = "body_differs" "The bodies of the answers differ.";
    BODY_SKIPPED = "body_skipped" "The bodies were not compared: one is too long, or they are compressed.";
    UNCOMPARED = "uncompared" "There was nothing to compare: one of the answers is missing or broke off.";
}

/// The header that copies have.
const MARKER: &str = "x-torana-mirror";

/// Of an answer, so many bytes are read; then its connection is closed.
const READ_MOST: usize = 1 << 20;

/// Sends copies of requests to another upstream. Its answers are read and dropped.
///
/// A copy has the method, the rewritten path, the query, the headers (credentials among them) and the body of the request
/// as it is forwarded, and `x-torana-mirror: 1`, which clients cannot send. Requests that the gateway answers itself are not
/// copied, nor are upgrades. The main request never waits for a copy and never fails with it. The other upstream's health,
/// breaker, retries and ceiling are its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The upstream that gets the copies.
    pub upstream: Spanned<String>,
    /// Share of the requests that are copied. Default `100%`.
    #[serde(default = "all")]
    pub percent: Percent,
    /// Methods that are copied. Default `GET`, `HEAD` and `OPTIONS`, which change nothing: with any other, the upstream has
    /// to know by the header that it must not act.
    #[serde(default)]
    pub methods: OneOrMany<Spanned<String>>,
    /// Longest body that is copied. A longer one is forwarded as ever, and its copy given up. Default `64KiB`.
    #[serde(default = "kib64")]
    pub body_bytes: Spanned<ByteSize>,
    /// Most copies at a time, over all workers: those that are being made or sent. The others are not sent. Default 100.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_active: Spanned<u32>,
    /// Time for a copy, from sending it to the end of its answer. Default `10s`.
    #[serde(default = "ten_seconds")]
    pub timeout: Spanned<Duration>,
    /// Compare the answers of both upstreams and count what differs, as events of this policy. Default: no comparison.
    #[serde(default)]
    pub compare: Option<Comparison>,
}

/// What is compared of two answers. Clients always get that of the main upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "MirrorComparison")]
pub struct Comparison {
    /// The statuses. Default `true`.
    pub status: bool,
    /// These headers, with all their values.
    pub headers: Vec<Spanned<String>>,
    /// The bodies: as JSON if both are, otherwise byte for byte. Compressed ones are not. Default: no bodies.
    pub json: Option<Json>,
    /// Longest body that is compared. Default `64KiB`, at most `1MiB`.
    pub body_bytes: Spanned<ByteSize>,
}

/// How bodies are compared.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "MirrorJson")]
pub struct Json {
    /// What may differ, or be missing: JSON pointers such as `/meta/served_at`, with `*` for every member or element:
    /// `/items/*/etag`.
    pub ignore: Vec<Spanned<String>>,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { status: true, headers: Vec::new(), json: None, body_bytes: kib64() }
    }
}

fn all() -> Percent {
    Percent::WHOLE
}

fn kib64() -> Spanned<ByteSize> {
    ByteSize::kib(64).into()
}

fn hundred() -> Spanned<u32> {
    100.into()
}

fn ten_seconds() -> Spanned<Duration> {
    Duration::from_secs(10).into()
}

/// The policy `mirror`.
pub struct Mirror {
    upstream: UpstreamId,
    share: Percent,
    methods: MethodSet,
    most_bytes: usize,
    most: u32,
    timeout: std::time::Duration,
    compare: Option<Arc<Compare>>,
    marker: [HeaderName; 1],
    active: Arc<AtomicU32>,
    tally: Arc<Tally>,
}

/// Sets its draws apart from those of others that draw from the same span.
const SALT: u64 = 0x6d69_7272_6f72_0000;

impl PolicyKind for Mirror {
    const NAME: &'static str = "mirror";
    const STAGE: Stage = Stage::Serve;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let upstream = find_upstream(&config.upstream, site).map_err(|problem| problems.push(*problem)).ok();
        let methods = methods(&config.methods, &mut problems);
        if config.timeout.is_zero() {
            let message = "`timeout` cannot be `0s`: no copy could be answered";
            problems.push(Diagnostic::error("config.zero_timeout", message).at(config.timeout.span));
        }
        let compare = config.compare.as_ref().map(|compare| Arc::new(comparison(compare, &mut problems)));
        let marker = HeaderName::new(MARKER);
        let (Some(upstream), Some(marker), true) = (upstream, marker, problems.is_empty()) else {
            return Err(problems);
        };
        Ok(Arc::new(Mirror {
            upstream,
            share: config.percent,
            methods,
            most_bytes: config.body_bytes.as_usize(),
            most: config.max_active.value,
            timeout: config.timeout.std(),
            compare,
            marker: [marker],
            active: keep(site, "active", AtomicU32::default),
            tally: site.tally(),
        }))
    }
}

fn methods(written: &[Spanned<String>], problems: &mut Vec<Diagnostic>) -> MethodSet {
    let mut methods = MethodSet::default();
    if written.is_empty() {
        [Method::Get, Method::Head, Method::Options].into_iter().for_each(|method| methods.insert(method));
    }
    for name in written {
        match Method::from_bytes(name.as_bytes()) {
            Method::Extension | Method::Connect => {
                let message = format!("{} is not a method to copy", name.shown());
                let near = did_you_mean(name, Method::NAMED.iter().map(|method| method.as_str()));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                problems.push(Diagnostic::error("mirror.method", message).at(name.span).maybe_hint(hint));
            }
            method => methods.insert(method),
        }
    }
    methods
}

fn comparison(written: &Comparison, problems: &mut Vec<Diagnostic>) -> Compare {
    let headers = written.headers.iter().filter_map(|name| {
        let known = HeaderName::new(name);
        if known.is_none() {
            let message = format!("{} is not a header name", name.shown());
            problems.push(Diagnostic::error("mirror.header", message).at(name.span));
        }
        known
    });
    let headers = headers.collect();
    if written.body_bytes.as_usize() > READ_MOST {
        let message = format!("{} is more than can be compared while requests are served", written.body_bytes.shown());
        problems
            .push(Diagnostic::error("mirror.body_bytes", message).at(written.body_bytes.span).hint("at most `1MiB`"));
    }
    let json = written.json.as_ref().map(|json| {
        let pointers = json.ignore.iter().filter_map(|text| {
            let pointer = compare::pointer(text);
            if pointer.is_none() {
                let message = format!("{} does not lead into a JSON value", text.shown());
                let hint = "a pointer such as `/meta/served_at` or `/items/*/etag`";
                problems.push(Diagnostic::error("mirror.ignore", message).at(text.span).hint(hint));
            }
            pointer
        });
        pointers.collect()
    });
    Compare { status: written.status, headers, json, most: written.body_bytes.as_usize() }
}

impl Policy for Mirror {
    fn sees_forwarding(&self) -> bool {
        true
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.marker
    }

    fn on_forward(&self, exchange: &mut Exchange) {
        if !self.methods.contains(exchange.head.method) || !matches!(exchange.upgrade, Upgrade::No) {
            return;
        }
        let mut random = IdSource::new(exchange.trace.span ^ SALT);
        if random.next() % 10_000 >= u64::from(self.share.hundredths()) {
            return;
        }
        let Some(outbound) = exchange.outbound.clone() else { return };
        let Some(active) = Active::enter(&self.active, self.most) else { return self.tally.count(&SHED) };
        let pair = self.compare.as_ref().map(|compare| Rc::new(Pair::new(compare, &self.tally)));
        let copy = Copy {
            upstream: self.upstream,
            request: self.request(exchange),
            timeout: self.timeout,
            outbound,
            pair: pair.clone(),
            tally: Arc::clone(&self.tally),
            _active: active,
        };
        if let Some(pair) = pair {
            exchange.carried.put(self, pair);
        }
        let body = std::mem::take(&mut exchange.body);
        exchange.body = tee(body, self.most_bytes, |copied| match copied {
            Copied::Whole(body) => copy.send(body),
            Copied::TooLong => copy.tally.count(&TOO_LONG),
            Copied::Broken => copy.tally.count(&BROKEN),
        });
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        if let Some(pair) = exchange.carried.get::<Rc<Pair>>(self) {
            pair.main_head(&reply.head, reply.body.is_empty());
        }
        Verdict::CONTINUE
    }

    fn wrap_response(&self, exchange: &Exchange, body: Body) -> Body {
        // Of another status, it is not the upstream's any more.
        let status = exchange.notes.status;
        let pair = exchange.carried.get::<Rc<Pair>>(self).filter(|pair| pair.wants_body(status));
        let Some(pair) = pair.map(Rc::clone) else { return body };
        tee(body, pair.most(), move |copied| match copied {
            Copied::Whole(body) => pair.main_body(status, Some(body)),
            Copied::TooLong => pair.main_body(status, None),
            Copied::Broken => {}
        })
    }
}

impl Mirror {
    /// The exchange's request as it is forwarded, without its body.
    fn request(&self, exchange: &Exchange) -> OutboundRequest {
        let query = exchange.forward_query().map_or(["", ""], |query| ["?", query]);
        let mut fields = exchange.head.fields.clone();
        fields.remove_known(KnownName::Host);
        for marker in &self.marker {
            // One digit can stand in a header.
            let _ = fields.set(marker.clone(), b"1");
        }
        OutboundRequest {
            method: exchange.head.method,
            path_and_query: [exchange.forward_path(), query[0], query[1]].concat(),
            host: match &exchange.forward.host {
                ForwardHost::Endpoint => None,
                ForwardHost::Preserve => {
                    Some(exchange.target().authority()).filter(|host| !host.is_empty()).map(Into::into)
                }
                ForwardHost::Fixed(host) => Some(host.as_ref().into()),
            },
            fields,
            ..OutboundRequest::default()
        }
    }
}

/// A copy of a request, until its answer has been read.
struct Copy {
    upstream: UpstreamId,
    request: OutboundRequest,
    timeout: std::time::Duration,
    outbound: Rc<dyn Outbound>,
    pair: Option<Rc<Pair>>,
    tally: Arc<Tally>,
    _active: Active,
}

impl Copy {
    /// Sends it with this body, beside everything else.
    fn send(mut self, body: Bytes) {
        self.request.body = body.into();
        self.tally.count(&SENT);
        let outbound = Rc::clone(&self.outbound);
        outbound.spawn(Box::pin(self.run()));
    }

    async fn run(mut self) {
        let sent = self.outbound.send(self.upstream, std::mem::take(&mut self.request));
        let most = self.pair.as_ref().map_or(0, |pair| pair.most());
        let answer = async {
            let reply = sent.await.ok()?;
            let body = read(reply.body, most).await.ok()?;
            Some((reply.head, body))
        };
        let answer: Option<Option<(Box<ReplyHead>, Option<Bytes>)>> =
            within(&*self.outbound, self.timeout, answer).await;
        let Some((head, body)) = answer.flatten() else { return self.tally.count(&FAILED) };
        self.tally.count(&ANSWERED);
        if let Some(pair) = &self.pair {
            pair.copy(&head, body);
        }
    }
}

/// Reads a body and keeps it if it is at most `most` bytes.
async fn read(mut body: Body, most: usize) -> Result<Option<Bytes>, BodyError> {
    let mut kept = Some(Vec::new());
    let mut length = 0;
    while let Progress::Data = poll_fn(|cx| body.poll_data(cx)).await? {
        let data = body.data();
        let count = data.len();
        length += count;
        if let Some(bytes) = kept.as_mut().filter(|_| length <= most) {
            bytes.extend_from_slice(data);
        } else {
            kept = None;
        }
        body.consume(count);
        if length > READ_MOST {
            return Ok(None);
        }
    }
    body.finish();
    Ok(kept.map(Bytes::from))
}

/// A copy that is being made or sent, until dropped.
struct Active(Arc<AtomicU32>);

impl Active {
    fn enter(active: &Arc<AtomicU32>, most: u32) -> Option<Active> {
        let raised = |now| if now < most { Some(now + 1) } else { None };
        active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised).ok()?;
        Some(Active(Arc::clone(active)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
