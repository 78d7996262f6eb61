//! Support for tests of policies and targets: requests and replies as text.
//!
//! Everything in here panics on what a test should not have written, and runs
//! futures that are ready when polled; nothing of the gateway uses it.

mod worker;

pub use worker::TestWorker;

use crate::canonical::CanonicalTarget;
use crate::consumer::{Consumers, Nobody};
use crate::diagnostic::{Diagnostic, Span};
use crate::event::{Event, Tally};
use crate::exchange::{Connection, Exchange};
use crate::head::{Fields, Status};
use crate::names::{HeaderName, KnownName};
use crate::operation::{Operate, Operation};
use crate::policy::{self, Policy, PolicyEntry};
use crate::reply::Reply;
use crate::rewrite::RoutePath;
use crate::site::{self, EVERYBODY, Keepsakes, Kept, Service, Site};
use crate::store::Store;
use crate::target::{Answer, Names, Target, TargetEntry, UpstreamId};
use crate::verdict::{Decision, Verdict};
use crate::written::{Entry, KindUse, Node, Spanned, Written};
use serde_json::Value;
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// The address test requests come from.
pub const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000);

/// A connection of [`CLIENT`] to the listener `test`, in the clear.
#[must_use]
pub fn connection() -> Rc<Connection> {
    Rc::new(Connection { listener: "test".into(), peer: Some(CLIENT), local: None, tls: None })
}

/// A request as it arrives, before admission: a request line, header lines,
/// and after an empty line the body.
///
/// ```
/// let exchange = torana_core::testing::raw_exchange("POST /x?a=1 HTTP/1.1\nHost: a\n\nbody");
/// assert_eq!(exchange.head.raw_target(), b"/x?a=1");
/// ```
///
/// # Panics
/// The text is no request.
#[must_use]
pub fn raw_exchange(text: &str) -> Exchange {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let line: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let [method, target, ..] = line[..] else { panic!("a request begins with `GET /path HTTP/1.1`") };
    let mut exchange = Exchange::new(connection(), Instant::now());
    exchange.head.set_method(method.as_bytes());
    exchange.head.set_raw_target(target.as_bytes());
    exchange.head.fields = fields(lines);
    exchange.body = body.as_bytes().to_vec().into();
    exchange
}

/// [`raw_exchange`] with its target admitted, as policies see it.
///
/// # Panics
/// The text is no request, or one that is refused.
#[must_use]
pub fn exchange(text: &str) -> Exchange {
    let mut exchange = raw_exchange(text);
    if let Err(error) = exchange.admit() {
        panic!("the target of the test's request is refused: {error}");
    }
    exchange
}

/// A reply from text: a status, header lines, and after an empty line the body.
///
/// # Panics
/// The text is no reply.
#[must_use]
pub fn reply(text: &str) -> Reply {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let code = lines.next().and_then(|line| line.trim().parse().ok()).and_then(Status::new);
    let Some(status) = code else { panic!("a reply begins with its status") };
    let mut reply = Reply::new(status);
    reply.head.fields = fields(lines);
    reply.body = body.as_bytes().to_vec().into();
    reply
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Fields {
    let mut fields = Fields::default();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { panic!("`{line}` is no header line") };
        if fields.append_text(name.as_bytes(), value.trim().as_bytes()).is_err() {
            panic!("`{line}` is no header line");
        }
    }
    fields
}

/// Configuration from JSON, without places in a file.
///
/// # Panics
/// The text is not JSON.
#[must_use]
pub fn written(json: &str) -> Written {
    match serde_json::from_str(json) {
        Ok(value) => of_json(value),
        Err(error) => panic!("the test's configuration is not JSON: {error}"),
    }
}

fn of_json(value: Value) -> Written {
    let node = match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(value),
        Value::Number(number) => match number.as_i128() {
            Some(number) => Node::Int(number),
            None => Node::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Node::String(text),
        Value::Array(items) => Node::List(items.into_iter().map(of_json).collect()),
        Value::Object(entries) => Node::Map(
            entries.into_iter().map(|(key, value)| Entry { key: key.into(), value: of_json(value) }).collect(),
        ),
    };
    Written::new(node, Span::NONE)
}

/// Builds a policy from `config` (JSON), runs `request` and, if it got
/// through, `upstream_reply` through it, and returns everything that can be
/// seen: the request as it goes on, what was decided, the reply as it goes back.
#[must_use]
pub fn transcript(entry: &PolicyEntry, config: &str, request: &str, upstream_reply: &str) -> String {
    let names = TestNames::new("test", "/*").counting(entry.events);
    match (entry.build)(&written(config), &names) {
        Ok(policy) => {
            let mut out = show_diagnostics(&names.warnings.take());
            out.push_str(&run(&*policy, &mut exchange(request), reply(upstream_reply)));
            show_counts(&names.tally(), &mut out);
            out
        }
        Err(diagnostics) => show_diagnostics(&diagnostics),
    }
}

/// The second half of [`transcript`], for a policy made otherwise.
pub fn run(policy: &dyn Policy, exchange: &mut Exchange, upstream_reply: Reply) -> String {
    let mut out = String::new();
    let decision = ready(policy.on_request(exchange));
    let mut reply = match decision {
        Decision::Continue => {
            show_request(exchange, &mut out);
            upstream_reply
        }
        Decision::Answer(reply) => {
            out.push_str("answered\n");
            *reply
        }
        Decision::Reject(rejection) => {
            let _ = writeln!(out, "rejected {} {}", rejection.refusal.code, rejection.refusal.status.code());
            let mut reply = Reply::new(rejection.status.unwrap_or(rejection.refusal.status));
            if let Some(fields) = rejection.fields {
                reply.head.fields = *fields;
            }
            reply
        }
    };
    match ready(policy.on_response(exchange, &mut reply)) {
        Decision::Continue => {}
        Decision::Answer(other) => reply = *other,
        Decision::Reject(rejection) => {
            let _ = writeln!(out, "reply rejected {}", rejection.refusal.code);
        }
    }
    policy.on_end(exchange);
    show_reply(&reply, &mut out);
    out
}

/// Builds a target from `config` (JSON) and shows what it answers to
/// `request`, whose route's path is `captures`: name and captured text, which
/// must be in the request's path.
#[must_use]
pub fn target_transcript(entry: &TargetEntry, config: &str, captures: &[(&str, &str)], request: &str) -> String {
    let segment = |name: &&str| if *name == "rest" { "/*".to_owned() } else { format!("/{{{name}}}") };
    let path: String = captures.iter().map(|(name, _)| segment(name)).collect();
    let names = TestNames::new("test", &path);
    let target = match (entry.build)(&written(config), &names) {
        Ok(target) => target,
        Err(diagnostics) => return show_diagnostics(&diagnostics),
    };
    let mut exchange = exchange(request);
    for (_, text) in captures {
        let Some(start) = exchange.target().path().find(text) else { panic!("the path does not hold `{text}`") };
        exchange.captures.push(start, start + text.len());
    }
    let mut out = show_diagnostics(&names.warnings.take());
    let _ = writeln!(out, "{}", target.describe());
    show_answer(&*target, &mut exchange, &mut out);
    out
}

/// Appends what `target` answers; for a way to an upstream, with the path as
/// it is rewritten and the fields that a reply gets.
pub fn show_answer(target: &dyn Target, exchange: &mut Exchange, out: &mut String) {
    let index = match target.answer(exchange) {
        Answer::Now(reply) => return show_reply(&reply, out),
        Answer::Reject(rejection) => {
            let _ = write!(out, "rejected {} {}", rejection.refusal.code, rejection.refusal.status.code());
            let _ = writeln!(out, "{}", rejection.detail.map(|detail| format!(": {detail}")).unwrap_or_default());
            return rejection.fields.iter().for_each(|fields| show_fields(fields, out));
        }
        Answer::Forward(upstream) => {
            let _ = writeln!(out, "forward to {}", upstream.0);
            return;
        }
        Answer::Wait(_) => return out.push_str("waits\n"),
        Answer::ForwardBy(index) => index,
    };
    let Some(way) = target.ways().get(index) else { panic!("there is no way {index}") };
    let _ = write!(out, "forward to {}", way.upstream.0);
    if let Some(rewrite) = &way.rewrite {
        let (mut text, mut rewritten) = (String::new(), CanonicalTarget::default());
        let _ = match rewrite.apply(exchange.target(), &exchange.captures, &mut text, &mut rewritten) {
            Ok(()) => write!(out, " {}", rewritten.path_and_query()),
            Err(error) => write!(out, " refused: {error}"),
        };
    }
    if let Some(host) = &way.host {
        let _ = write!(out, ", host {host:?}");
    }
    out.push('\n');
    let mut fields = Fields::default();
    way.reply.write(&mut fields);
    show_fields(&fields, out);
}

/// A route for targets to be built for. It is matched by safe methods, its
/// policies own `x-user-id`, and there are the upstreams `users` (0), `orders`
/// (1) and `notes` (2).
pub struct TestNames {
    route: String,
    pattern: String,
    names: Vec<String>,
    owned: [HeaderName; 1],
    /// Whether safe methods are among those that it takes.
    pub safe: bool,
    /// The warnings so far.
    pub warnings: RefCell<Vec<Diagnostic>>,
    /// The stores there are; none at first.
    pub stores: BTreeMap<String, Arc<dyn Store>>,
    /// The kinds of policies that a policy may hold.
    pub policies: &'static [PolicyEntry],
    kept: Keepsakes,
    /// The operations that were offered, by name.
    pub offered: RefCell<Vec<(&'static str, Arc<dyn Operate>)>>,
    events: &'static [&'static Event],
    consumers: Arc<dyn Consumers>,
    plans: Vec<(&'static str, Written)>,
}

impl TestNames {
    /// The route called `route` with this path: `/api/{version}/*`.
    #[must_use]
    pub fn new(route: &str, path: &str) -> TestNames {
        let names = path.split('/').filter_map(|segment| match segment {
            "*" => Some("rest".to_owned()),
            segment => Some(segment.strip_prefix('{')?.strip_suffix('}')?.to_owned()),
        });
        TestNames {
            route: route.to_owned(),
            pattern: path.to_owned(),
            names: names.collect(),
            owned: [KnownName::XUserId.into()],
            safe: true,
            warnings: RefCell::default(),
            stores: BTreeMap::new(),
            policies: &[],
            kept: Keepsakes::default(),
            offered: RefCell::default(),
            events: &[],
            consumers: Arc::new(Nobody),
            plans: Vec::new(),
        }
    }

    /// The same for a policy that counts these.
    #[must_use]
    pub const fn counting(mut self, events: &'static [&'static Event]) -> TestNames {
        self.events = events;
        self
    }

    /// The same where there are these consumers.
    #[must_use]
    pub fn serving(mut self, consumers: Arc<dyn Consumers>) -> TestNames {
        self.consumers = consumers;
        self
    }

    /// The same where there is this plan (JSON).
    #[must_use]
    pub fn with_plan(mut self, name: &'static str, plan: &str) -> TestNames {
        self.plans.push((name, written(plan)));
        self
    }
}

impl Names for TestNames {
    fn route(&self) -> &str {
        &self.route
    }

    fn path(&self) -> RoutePath<'_> {
        RoutePath {
            pattern: &self.pattern,
            names: &self.names,
            has_rest: self.pattern.ends_with('*'),
            literal: self.pattern.split(['{', '*']).next().unwrap_or_default().trim_end_matches('/').to_owned(),
        }
    }

    fn takes_safe_methods(&self) -> bool {
        self.safe
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.owned
    }
}

impl Site for TestNames {
    fn upstream(&self, name: &str) -> Option<UpstreamId> {
        let position = self.upstreams().iter().position(|known| *known == name)?;
        u32::try_from(position).ok().map(UpstreamId)
    }

    fn upstreams(&self) -> Vec<&str> {
        vec!["users", "orders", "notes"]
    }

    /// Number 9 stands for whatever is asked by URL.
    fn service(&self, url: &Spanned<String>) -> Result<Service, Box<Diagnostic>> {
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        Ok(Service { upstream: UpstreamId(9), path_and_query: format!("/{path}") })
    }

    fn captured_names(&self) -> &[String] {
        &self.names
    }

    fn owner(&self) -> &str {
        &self.route
    }

    fn store(&self, name: &str) -> Option<Arc<dyn Store>> {
        self.stores.get(name).cloned()
    }

    fn stores(&self) -> Vec<&str> {
        self.stores.keys().map(String::as_str).collect()
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn warn(&self, warning: Diagnostic) {
        self.warnings.borrow_mut().push(warning);
    }

    fn consumers(&self) -> Arc<dyn Consumers> {
        Arc::clone(&self.consumers)
    }

    fn plan(&self, name: &str) -> Option<&Written> {
        self.plans.iter().find(|(known, _)| *known == name).map(|(_, plan)| plan)
    }

    fn plans(&self) -> Vec<&str> {
        self.plans.iter().map(|(name, _)| *name).collect()
    }

    fn tally(&self) -> Arc<Tally> {
        site::keep(self, "events", || Tally::new(self.events))
    }

    fn offer(&self, operation: &'static Operation, operate: Arc<dyn Operate>) {
        self.offered.borrow_mut().push((operation.name, operate));
    }

    fn keep(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept {
        self.kept.keep(None, &self.route, name, kind, make)
    }

    fn share(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept {
        self.kept.keep(None, EVERYBODY, name, kind, make)
    }

    fn policy(&self, used: &KindUse) -> Result<Kept, Vec<Diagnostic>> {
        Ok(Arc::new(policy::build(self.policies, used, self)?))
    }
}

/// Appends what has been counted, an event a line.
pub fn show_counts(tally: &Tally, out: &mut String) {
    for (event, count) in tally.counts().filter(|(_, count)| *count > 0) {
        let _ = writeln!(out, "{count} × {}", event.name);
    }
}

/// The decision of a verdict that does not really wait.
///
/// # Panics
/// It does.
pub fn ready(verdict: Verdict<'_>) -> Decision {
    match verdict {
        Verdict::Now(decision) => decision,
        Verdict::Wait(future) => match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => decision,
            Poll::Pending => panic!("the policy waits for something the test does not have"),
        },
    }
}

/// Each diagnostic on a line: severity, code, message, hint.
#[must_use]
pub fn show_diagnostics(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let _ = write!(out, "{} {}: {}", diagnostic.severity, diagnostic.code, diagnostic.message);
        if let Some(hint) = &diagnostic.hint {
            let _ = write!(out, " ({hint})");
        }
        out.push('\n');
    }
    out
}

fn show_request(exchange: &Exchange, out: &mut String) {
    let head = &exchange.head;
    let query = exchange.forward_query().map(|query| format!("?{query}")).unwrap_or_default();
    let _ = writeln!(out, "{} {}{query}", head.method_text(), exchange.forward_path());
    show_fields(&head.fields, out);
    out.push_str("--\n");
}

fn show_reply(reply: &Reply, out: &mut String) {
    let _ = writeln!(out, "{}", reply.head.status.code());
    show_fields(&reply.head.fields, out);
    if !reply.body.data().is_empty() {
        let _ = writeln!(out, "\n{}", String::from_utf8_lossy(reply.body.data()));
    }
}

fn show_fields(fields: &Fields, out: &mut String) {
    for (name, value) in fields.iter() {
        let name = String::from_utf8_lossy(name.text).to_ascii_lowercase();
        let _ = writeln!(out, "{name}: {}", String::from_utf8_lossy(value));
    }
}
