//! Makes one answer of several services' answers: a dashboard, a page of a
//! mobile client.
//!
//! The parts are a graph: who refers to whom decides the order, all else is at
//! the same time. It is drawn when the configuration is read, so a cycle, a
//! name that nothing has or a part that nobody uses is found there, and a
//! request does nothing but follow it.
//!
//! What clients get does not depend on who answers first: parts are known by
//! their place in the configuration, in the answer, in the list of failures and
//! in the program that makes the answer.

mod compile;
mod graph;
mod kept;
mod part;
mod reads;
mod template;
#[cfg(test)]
mod tests;
mod variants;
mod written;

use bytes::Bytes;
use graph::{Broken, Collected, Graph};
use part::Tools;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::deadline::Deadline;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::{Method, Status};
use torana_core::names::{HeaderName, KnownName};
use torana_core::outbound::Outbound;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::{Reply, ReplyFields};
use torana_core::store::memory_blobs::MemoryBlobs;
use torana_core::target::{Answer, Names, Target, TargetKind, UpstreamId};
use torana_core::written::Written;
use torana_expr::{Expr, Subject};
use torana_reshape::{self as reshape, Reshape, Val};
pub use written::Config;

torana_core::refusals! {
    /// A part that the answer cannot do without failed.
    PART_FAILED = "aggregate.part_failed" 502 Upstream IfSafe "A service that the answer depends on did not give its part.";
    /// The parts are there, and `response` makes no answer of them.
    RESPONSE = "aggregate.response" 502 Upstream IfSafe "No answer could be made of what the services gave.";
}

torana_core::events! {
    COMPLETE = "complete" "All parts were there, or were not to be asked.";
    PARTIAL = "partial" "The default stood for a part that failed.";
    KEPT = "kept" "The answer to a part was kept.";
    CACHED = "cached" "A part was answered with a kept copy.";
    FAILED = "failed" "A required part failed, or no answer could be made of the parts.";
}

/// The header that names the parts that failed.
const PARTIAL_HEADER: &str = "x-torana-partial";

/// Longest answer.
const MOST_BYTES: usize = 16 << 20;

/// The target `aggregate`.
pub struct Aggregate {
    base: Shape,
    variants: Vec<Variant>,
    /// The names of what the route's path captures.
    captures: Vec<String>,
    status: Status,
    partial_status: Status,
    errors: bool,
    timeout: Option<Duration>,
    partial: HeaderName,
    /// What decides over the variant.
    vary: Vec<ReplyFields>,
    tally: Arc<Tally>,
    /// Answers that parts keep.
    kept: Arc<MemoryBlobs>,
    shown: String,
}

/// The parts, and what is made of them.
struct Shape {
    graph: Graph,
    response: Option<Reshape>,
}

/// Another shape for some requests.
struct Variant {
    when: Expr,
    shape: Shape,
}

impl TargetKind for Aggregate {
    const NAME: &'static str = "aggregate";
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
        variants::build(&config, written, names).map(|aggregate| Arc::new(aggregate) as _)
    }
}

impl Target for Aggregate {
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Answer<'a> {
        Answer::Wait(Box::pin(self.make(exchange)))
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }

    fn upstreams(&self) -> Vec<UpstreamId> {
        let shapes = std::iter::once(&self.base).chain(self.variants.iter().map(|variant| &variant.shape));
        let mut upstreams = Vec::new();
        for part in shapes.flat_map(|shape| &shape.graph.parts) {
            if !upstreams.contains(&part.upstream) {
                upstreams.push(part.upstream);
            }
        }
        upstreams
    }
}

impl Aggregate {
    async fn make(&self, exchange: &mut Exchange) -> Result<Reply, Rejection> {
        let shape = self.shape(exchange);
        let Some(outbound) = exchange.outbound.clone() else {
            return Err(Rejection::new(&PART_FAILED).because("there is nothing to ask services with"));
        };
        let latest = self.latest(exchange, Instant::now());
        let tools = Tools { outbound: &*outbound, kept: &self.kept, tally: &self.tally };
        let collected = shape.graph.collect(exchange, &self.captures, tools, latest).await;
        let result = match collected {
            Ok(collected) => self.reply(shape, &*outbound, collected, exchange).await,
            Err(broken) => Err(rejection(&shape.graph, &broken)),
        };
        match &result {
            Ok(reply) if reply.head.fields.values(&self.partial).next().is_none() => self.tally.count(&COMPLETE),
            Ok(_) => self.tally.count(&PARTIAL),
            Err(_) => self.tally.count(&FAILED),
        }
        result
    }

    fn shape(&self, exchange: &Exchange) -> &Shape {
        let subject = Subject::of(exchange, &self.captures);
        let holds = |variant: &&Variant| variant.when.holds(&subject).unwrap_or(false);
        self.variants.iter().find(holds).map_or(&self.base, |variant| &variant.shape)
    }

    /// By when all parts are to be there: early enough to say so before the
    /// exchange's own time is over.
    fn latest(&self, exchange: &Exchange, now: Instant) -> Deadline {
        let whole = match exchange.deadline.left(now) {
            None => Deadline::NONE,
            Some(left) => Deadline::from(now + (left - left / 20)),
        };
        whole.earlier(self.timeout.map_or(Deadline::NONE, |time| Deadline::after(now, time)))
    }

    async fn reply(
        &self,
        shape: &Shape,
        worker: &dyn Outbound,
        collected: Collected,
        exchange: &mut Exchange,
    ) -> Result<Reply, Rejection> {
        let Collected { values, size, failures } = collected;
        let parts = &shape.graph.parts;
        let members = parts.iter().zip(values);
        let members = members.map(|(part, value)| (reshape::text(&part.name), value.unwrap_or_default()));
        let mut answer = Val::obj(members.collect());
        let unmade = |fault: reshape::Fault| Rejection::new(&RESPONSE).because(format_args!("`response`: {fault}"));
        if let Some(response) = &shape.response {
            answer = response.apply(Some(worker), answer, size, Vec::new()).await.map_err(unmade)?;
        }
        if self.errors {
            answer =
                with_errors(answer, failures.iter().map(|(index, failure)| (&*parts[*index].name, failure.why.word())));
        }
        let write = move || {
            let mut text = Vec::new();
            reshape::write(&answer, MOST_BYTES, &mut text).map(|()| text)
        };
        let text = reshape::beside(Some(worker), size, write).await.and_then(|text| text).map_err(unmade)?;
        let mut reply = Reply::new(if failures.is_empty() { self.status } else { self.partial_status });
        let fields = &mut reply.head.fields;
        if !reply.head.status.is_bodiless() {
            fields.set_own(KnownName::ContentType, b"application/json");
            if exchange.head.method == Method::Head {
                fields.set_own(KnownName::ContentLength, text.len().to_string().as_bytes());
            } else {
                reply.body = Bytes::from(text).into();
            }
        }
        self.vary.iter().for_each(|vary| vary.write(fields));
        if !failures.is_empty() {
            let names: Vec<&str> = failures.iter().map(|(index, _)| &*parts[*index].name).collect();
            // Names of parts are words.
            let _ = fields.set(self.partial.clone(), names.join(",").as_bytes());
            // Nobody is to be told of the trouble when it is over.
            fields.set_own(KnownName::CacheControl, b"no-store");
            let causes = failures.iter().map(|(index, failure)| told(&parts[*index], failure));
            exchange.notes.cause = Some(causes.collect::<Vec<_>>().join("; ").into());
        }
        Ok(reply)
    }
}

/// The answer with the list of errors; one that is no object stays as it is.
fn with_errors<'a>(answer: Val, failures: impl Iterator<Item = (&'a str, &'static str)>) -> Val {
    let Val::Obj(members) = answer else { return answer };
    let error = |(part, code): (&str, &str)| {
        let members = [("part", part), ("code", code)];
        Val::obj(members.into_iter().map(|(name, value)| (reshape::text(name), reshape::text(value))).collect())
    };
    let errors = (reshape::text("errors"), failures.map(error).collect::<Val>());
    Val::obj(members.iter().map(|(name, value)| (name.clone(), value.clone())).chain([errors]).collect())
}

fn rejection(graph: &Graph, broken: &Broken) -> Rejection {
    let part = &graph.parts[broken.part];
    let rejection = Rejection::new(&PART_FAILED).because(told(part, &broken.failure));
    match broken.failure.status {
        Some(status) if part.pass_status.contains(&status) => rejection.with_status(status),
        _ if broken.is_timeout() => rejection.with_status(GATEWAY_TIMEOUT),
        _ => rejection,
    }
}

const GATEWAY_TIMEOUT: Status = match Status::new(504) {
    Some(status) => status,
    None => Status::OK,
};

/// A failure as the log has it.
fn told(part: &part::Part, failure: &part::Failure) -> String {
    format!("part `{}` ({}): {}", part.name, part.upstream_name, failure.cause)
}
