//! A gateway without sockets: fake policies, targets and upstreams.

use crate::compile::{Registries, Source, compile};
use crate::forwarder::{Forwarder, PoolSample};
use crate::log::{LogBatch, LogSink};
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::swap::PlanCell;
use crate::worker::WorkerPlane;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use torana_config::{Kinds, load_text};
use torana_core::body::Body;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::head::Status;
use torana_core::names::HeaderName;
use torana_core::outbound::OutboundRequest;
use torana_core::policy::{Policy, PolicyEntry};
use torana_core::refusal::Rejection;
use torana_core::reply::{Reply, ReplyFields};
use torana_core::rewrite;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::store::nowhere::Nowhere;
use torana_core::store::{Store, StoreEntry, StoreKind};
use torana_core::target::{Answer, Names, Target, TargetEntry, UpstreamId, Way, find_upstream};
use torana_core::testing;
use torana_core::verdict::{Decision, LocalBoxFuture, Verdict};
use torana_core::written::{KindSchema, Spanned, Written};
use torana_net::service::Service;
use torana_upstream::spec::UpstreamSpec;
use torana_upstream::state::{State, Watch};

torana_core::refusals! {
    /// What a probe refuses with.
    PROBE = "probe.refused" 403 Gateway Never "The probe says no.";
    /// What the fake upstream fails with.
    BROKEN = "upstream.broken" 502 Upstream IfSafe "The fake upstream is broken.";
}

thread_local! {
    static EVENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn event(text: String) {
    EVENTS.with_borrow_mut(|events| events.push(text));
}

/// What probes have seen on this thread since the last call.
pub(crate) fn events() -> Vec<String> {
    EVENTS.take()
}

/// A policy that tells when it runs and does what its configuration says.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {
    id: String,
    /// `refuse`, `answer`, `panic`, `wait` (and then go on), `hang`, `move`
    /// (set the path to forward), `watch` (see what is forwarded).
    #[serde(default)]
    request: String,
    /// The same for the way back.
    #[serde(default)]
    response: String,
    #[serde(default)]
    owns: Vec<String>,
    /// URLs it means to ask.
    #[serde(default)]
    asks: Vec<Spanned<String>>,
    #[serde(skip)]
    owned: Vec<HeaderName>,
}

impl Probe {
    fn decide(&self, what: &str) -> Verdict<'static> {
        match what {
            "refuse" => Rejection::new(&PROBE).because("as told").into(),
            "answer" => Reply::with_body(Status::ACCEPTED, "text/plain", "probe").into(),
            "panic" => panic!("probe {} panics", self.id),
            "wait" => Verdict::Wait(Box::pin(async {
                tokio::task::yield_now().await;
                Decision::Continue
            })),
            "panic_later" => Verdict::Wait(Box::pin(async {
                tokio::task::yield_now().await;
                panic!("later")
            })),
            "hang" => Verdict::Wait(Box::pin(std::future::pending())),
            _ => Verdict::CONTINUE,
        }
    }
}

impl Policy for Probe {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        event(format!("{} request {}", self.id, exchange.target().path()));
        if self.request == "move" {
            exchange.forward.path.push_str("/moved");
        }
        self.decide(&self.request)
    }

    fn on_response<'a>(&'a self, _: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        event(format!("{} response {}", self.id, reply.head.status.code()));
        self.decide(&self.response)
    }

    fn sees_forwarding(&self) -> bool {
        self.request == "watch"
    }

    fn on_forward(&self, exchange: &mut Exchange) {
        event(format!("{} forwards {}", self.id, exchange.forward_path()));
    }

    fn wrap_request(&self, _: &Exchange, body: Body) -> Body {
        event(format!("{} wraps request", self.id));
        body
    }

    fn wrap_response(&self, _: &Exchange, body: Body) -> Body {
        event(format!("{} wraps response", self.id));
        body
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.owned
    }

    fn on_end(&self, _: &Exchange) {
        event(format!("{} end", self.id));
    }
}

fn build_probe(written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
    let mut probe: Probe = written.decode()?;
    if probe.id == "unbuildable" {
        // Not even a diagnostic: the worst a kind can do.
        return Err(Vec::new());
    }
    let problems: Vec<_> =
        probe.asks.iter().filter_map(|url| site.service(url).err()).map(|problem| *problem).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    probe.owned = probe.owns.iter().filter_map(|name| HeaderName::new(name)).collect();
    Ok(Arc::new(probe))
}

fn probe_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Probe>()
}

const fn probe(name: &'static str, stage: Stage) -> PolicyEntry {
    PolicyEntry { name, stage, refusals: &[], events: &[], operations: &[], schema: probe_schema, build: build_probe }
}

/// Probes of three stages.
pub(crate) const POLICIES: &[PolicyEntry] =
    &[probe("early", Stage::Intake), probe("middle", Stage::Authorize), probe("late", Stage::Serve)];

/// Answers as its kind says.
struct FakeTarget(&'static str, Option<UpstreamId>, String);

impl Target for FakeTarget {
    fn answer<'a>(&'a self, _: &'a mut Exchange) -> Answer<'a> {
        match (self.0, self.1) {
            (_, Some(id)) => Answer::Forward(id),
            ("redirect", _) => panic!("this target panics"),
            _ => Answer::Now(Box::new(Reply::with_body(Status::OK, "text/plain", "pong"))),
        }
    }

    fn describe(&self) -> String {
        format!("{} {}", self.0, self.2)
    }

    fn upstreams(&self) -> Vec<UpstreamId> {
        self.1.into_iter().collect()
    }
}

fn build_upstream(written: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
    let name = written.as_str().unwrap_or_default().to_owned();
    Ok(Arc::new(FakeTarget("upstream", names.upstream(&name), name)))
}

fn build_other(kind: &'static str) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
    Ok(Arc::new(FakeTarget(kind, None, String::new())))
}

/// A target with two ways: 0 leads to the upstream it names as the route says;
/// 1 has the rewrite it is configured with, and marks replies. The request says
/// which in `x-way`; of `no` it is refused.
struct FakeWays([Way; 2]);

impl Target for FakeWays {
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Answer<'a> {
        let name = HeaderName::new("x-way").unwrap();
        match exchange.head.fields.values(&name).next() {
            Some(b"no") => Answer::Reject(Rejection::new(&PROBE).with_detail("There are 0 and 1.")),
            Some(digit) => Answer::ForwardBy(usize::from(digit[0] - b'0')),
            None => Answer::ForwardBy(0),
        }
    }

    fn describe(&self) -> String {
        "ways".to_owned()
    }

    fn ways(&self) -> &[Way] {
        &self.0
    }
}

fn build_ways(written: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
    let name = written.get("to").and_then(Written::as_spanned).unwrap();
    let upstream = find_upstream(&name, names).map_err(|problem| vec![*problem])?;
    let config: rewrite::Config = written.get("rewrite").unwrap().decode()?;
    let mut problems = Vec::new();
    let path = rewrite::path(&config, &names.path(), &mut problems);
    let host = config.host.as_ref().map(|host| rewrite::host(Some(host), &mut problems));
    let mut reply = ReplyFields::default();
    reply.set(HeaderName::new("sunset").unwrap(), b"soon").unwrap();
    reply.vary(HeaderName::new("x-way").unwrap());
    names.warn(Diagnostic::warning("fake.warning", format!("{} of {}", names.path().pattern, names.route())));
    Ok(Arc::new(FakeWays([Way::to(upstream), Way { upstream, rewrite: path, host, reply }])))
}

fn any(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!(true)
}

/// `upstream` forwards, `respond` says pong, `redirect` panics, `ways` forwards
/// in two ways.
pub(crate) const TARGETS: &[TargetEntry] = &[
    TargetEntry { name: "upstream", refusals: &[], events: &[], schema: any, build: build_upstream },
    TargetEntry { name: "respond", refusals: &[], events: &[], schema: any, build: |_, _| build_other("respond") },
    TargetEntry { name: "redirect", refusals: &[], events: &[], schema: any, build: |_, _| build_other("redirect") },
    TargetEntry { name: "ways", refusals: &[], events: &[], schema: any, build: build_ways },
];

struct FakeStore;

/// How a [`FakeStore`] is configured.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FakeStoreConfig {
    #[serde(default)]
    #[allow(dead_code, reason = "what it says only has to be different")]
    number: u32,
}

impl StoreKind for FakeStore {
    const NAME: &'static str = "fake";
    type Config = FakeStoreConfig;

    fn build(_: FakeStoreConfig, _: &Written) -> Result<Arc<dyn Store>, Vec<Diagnostic>> {
        Ok(Arc::new(Nowhere))
    }
}

/// A kind of store that keeps nothing.
pub(crate) const STORES: &[StoreEntry] = &[torana_core::store::entry::<FakeStore>()];

pub(crate) const REGISTRIES: Registries<'_> = Registries { policies: POLICIES, targets: TARGETS, stores: STORES };

/// Upstreams that answer as they are told and remember what they were sent.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    names: Vec<Arc<str>>,
    pub(crate) sent: Rc<RefCell<Vec<String>>>,
    /// The reply as text; none fails.
    pub(crate) reply: Rc<RefCell<Option<String>>>,
}

impl Forwarder for Fake {
    fn succeed(&self, specs: &[Arc<UpstreamSpec>], _: &[Arc<State>]) -> Fake {
        Fake { names: specs.iter().map(|spec| spec.name.clone()).collect(), ..self.clone() }
    }

    async fn forward(&self, upstream: UpstreamId, exchange: &mut Exchange) -> Result<Reply, Rejection> {
        tokio::task::yield_now().await;
        let name = &self.names[upstream.0 as usize];
        let mut text = format!("{name}: {} {}", exchange.head.method_text(), exchange.forward_path());
        if let Some(query) = exchange.forward_query() {
            let _ = write!(text, "?{query}");
        }
        for (name, value) in exchange.head.fields.iter() {
            let name = String::from_utf8_lossy(name.text).into_owned();
            let _ = write!(text, "\n{name}: {}", String::from_utf8_lossy(value));
        }
        self.sent.borrow_mut().push(text);
        match &*self.reply.borrow() {
            Some(reply) => Ok(testing::reply(reply)),
            None => Err(Rejection::new(&BROKEN).because("connection refused")),
        }
    }

    fn send(&self, _: UpstreamId, _: OutboundRequest) -> LocalBoxFuture<'static, Result<Reply, Rejection>> {
        Box::pin(async { Ok(Reply::new(Status::OK)) })
    }

    fn sample(&self, each: &mut dyn FnMut(PoolSample)) {
        for upstream in &self.names {
            let (upstream, endpoint) = (upstream.clone(), "http://fake".into());
            each(PoolSample {
                upstream,
                endpoint,
                idle: 1,
                active: 0,
                opened: 3,
                requests: 7,
                failures: 2,
                retries: 1,
                retries_denied: 0,
                hedges: 0,
                hedges_won: 0,
            });
        }
    }
}

/// Compiles a configuration written as JSON; a listener `test` is added.
pub(crate) fn plan(config: &str, previous: Option<&Plan>) -> Result<Plan, Vec<Diagnostic>> {
    let mut config: serde_json::Value = serde_json::from_str(config).unwrap();
    config["listeners"] = serde_json::json!([{ "name": "test", "address": "127.0.0.1:0" }]);
    let (policies, targets) = kinds();
    let stores: Vec<_> = STORES.iter().map(|kind| KindSchema { name: kind.name, schema: kind.schema }).collect();
    let kinds = Kinds { policies: &policies, targets: &targets, stores: &stores };
    let none = std::collections::BTreeMap::new();
    let loaded = load_text("test.json".as_ref(), config.to_string(), &kinds, &none);
    let Ok(config) = &loaded.config else { return Err(loaded.diagnostics) };
    let compiled =
        compile(Source { config, checksum: "abc", watch: &Watch::default(), runtime: None }, REGISTRIES, previous);
    compiled.plan.ok_or(compiled.diagnostics)
}

/// The kinds of [`REGISTRIES`] as loading knows them.
pub(crate) fn kinds() -> (Vec<KindSchema>, Vec<KindSchema>) {
    let policies = POLICIES.iter().map(|kind| KindSchema { name: kind.name, schema: kind.schema });
    let targets = TARGETS.iter().map(|kind| KindSchema { name: kind.name, schema: kind.schema });
    (policies.collect(), targets.collect())
}

/// A worker and what it talks to.
pub(crate) struct Gateway {
    pub(crate) cell: Arc<PlanCell>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) plane: WorkerPlane<Fake>,
    pub(crate) fake: Fake,
    log: Mutex<Receiver<LogBatch>>,
    runtime: tokio::runtime::Runtime,
}

/// Everything that can be seen of a finished exchange.
pub(crate) struct Seen {
    pub(crate) reply: Reply,
    /// The request as the upstream got it.
    pub(crate) sent: Option<String>,
    pub(crate) log: serde_json::Value,
    pub(crate) events: Vec<String>,
}

impl Gateway {
    pub(crate) fn new(config: &str) -> Gateway {
        let plan = plan(config, None).unwrap_or_else(|problems| panic!("{}", testing::show_diagnostics(&problems)));
        let cell = PlanCell::new(plan);
        let metrics = Metrics::new();
        let (sink, receiver) = LogSink::channel();
        let fake = Fake::default();
        *fake.reply.borrow_mut() = Some("200\nContent-Type: text/plain\n\nhello".to_owned());
        let plane = WorkerPlane::new(&cell, &fake, &metrics, sink);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Gateway { cell, metrics, plane, fake, log: Mutex::new(receiver), runtime }
    }

    /// Sends a request from start to end.
    pub(crate) fn send(&self, request: &str) -> Seen {
        self.send_exchange(testing::raw_exchange(request))
    }

    pub(crate) fn send_exchange(&self, mut exchange: Exchange) -> Seen {
        let reply = self.serve(&mut exchange);
        self.end(exchange, reply)
    }

    pub(crate) fn serve(&self, exchange: &mut Exchange) -> Reply {
        self.runtime.block_on(self.plane.serve(exchange))
    }

    pub(crate) fn end(&self, mut exchange: Exchange, reply: Reply) -> Seen {
        exchange.notes.response_bytes = reply.body.data().len() as u64;
        self.plane.account(&mut exchange, Instant::now());
        self.plane.housekeeping();
        let batch = self.log.lock().unwrap().try_recv().unwrap_or_default();
        let log = serde_json::from_slice(&batch.text).unwrap_or_default();
        Seen { reply, sent: self.fake.sent.borrow_mut().pop(), log, events: events() }
    }
}

impl Seen {
    pub(crate) fn status(&self) -> u16 {
        self.reply.head.status.code()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let name = HeaderName::new(name)?;
        let value = self.reply.head.fields.values(&name).next()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    pub(crate) fn code(&self) -> &str {
        self.log["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn body(&self) -> serde_json::Value {
        serde_json::from_slice(self.reply.body.data()).unwrap_or_default()
    }

    /// The values the upstream got under `name`, ignoring case.
    pub(crate) fn sent_headers(&self, name: &str) -> Vec<&str> {
        let lines = self.sent.as_deref().unwrap_or_default().lines().skip(1);
        lines.filter_map(|l| l.split_once(": ")).filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
    }
}
