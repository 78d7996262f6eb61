//! Bodies into other bodies: jq programs, and JSON from and to XML.

mod config;
mod variables;
mod xml;

#[cfg(test)]
mod tests;

pub use config::{Config, Format, Malformed, ReplyShape, RequestShape};

use bytes::Bytes;
use std::sync::Arc;
use torana_core::body::Body;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, Method};
use torana_core::outbound::Outbound;
use torana_core::payload::{self, Media, Statuses};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{Spanned, Written};
use torana_reshape::{self as reshape, Fault, Reshape, TextFault, Val};
use variables::Variables;

torana_core::refusals! {
    /// The body is not what its type says, has two readings, or is compressed.
    REQUEST = "transform.request" 400 Caller Never "The body of the request cannot be read.";
    /// The program had no result for it.
    UNFIT = "transform.unfit" 422 Caller Never "The body of the request is not what is expected here.";
    /// It is longer than `max_body`.
    TOO_LONG = "transform.too_long" 413 Caller Never "The body of the request is too long.";
    /// The upstream's reply cannot be read, or the program had no result for it.
    BODY = "transform.body" 502 Upstream IfSafe "The upstream's reply could not be used.";
    /// It would take too long, or too many others are being changed.
    BUSY = "transform.busy" 503 Gateway IfSafe "The message could not be processed.";
}

torana_core::events! {
    CHANGED = "changed" "A body was changed.";
    OTHER_TYPE = "other_type" "A body was left as it is, since it is of another type.";
    PASSED = "passed" "A reply that cannot be read was passed on, since `malformed` says so.";
    FAILED = "failed" "A body could not be changed.";
}

/// The policy `transform`.
pub struct Transform {
    request: Option<Pipeline>,
    response: Option<(Pipeline, Statuses, Malformed)>,
    most: usize,
    variables: Variables,
    tally: Arc<Tally>,
}

impl PolicyKind for Transform {
    const NAME: &'static str = "transform";
    const STAGE: Stage = Stage::Shape;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        if config.request.is_none() && config.response.is_none() && site.is_whole() {
            let message = "this transformation changes nothing";
            let hint = "`request: '…'`, `response: '…'`, or both";
            problems.push(Diagnostic::error("transform.nothing", message).at(written.span).hint(hint));
        }
        let request = config.request.as_ref().and_then(|shape| {
            pipeline(shape, (shape.jq.as_ref(), shape.from, shape.to, shape.force), site, &mut problems)
        });
        let response = config.response.as_ref().and_then(|shape| {
            let pipeline = pipeline(shape, (shape.jq.as_ref(), shape.from, shape.to, shape.force), site, &mut problems);
            let statuses = Statuses::written(&shape.status, "transform.status", &mut problems);
            Some((pipeline?, statuses, shape.malformed))
        });
        let most = payload::max_body(&config.max_body, "transform.max_body", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Transform { request, response, most, variables: Variables::new(site), tally: site.tally() }))
    }
}

/// From bytes to bytes.
#[derive(Clone)]
struct Pipeline {
    from: Format,
    program: Option<Reshape>,
    to: Format,
    forced: bool,
    /// Whether the program reads `$request`.
    reads_request: bool,
}

fn pipeline<T>(
    shape: &Spanned<T>,
    (jq, from, to, forced): (Option<&Spanned<String>>, Format, Format, bool),
    site: &dyn Site,
    problems: &mut Vec<Diagnostic>,
) -> Option<Pipeline> {
    let Some(jq) = jq else {
        if from == to && site.is_whole() {
            let message = "this changes nothing: there is no program, and no conversion";
            problems.push(Diagnostic::error("transform.nothing", message).at(shape.span).hint("`jq: …`"));
        }
        return Some(Pipeline { from, program: None, to, forced, reads_request: false });
    };
    match Reshape::compile(jq, &["$request"]) {
        Ok(program) => {
            Some(Pipeline { from, program: Some(program), to, forced, reads_request: jq.contains("$request") })
        }
        Err(error) => {
            let line = jq.get(..error.offset).map_or(0, |before| before.matches('\n').count());
            let line = if line > 0 { format!(" (line {} of the program)", line + 1) } else { String::new() };
            let message =
                if jq.raw().is_some() { "the program does not compile".to_owned() } else { error.message + &line };
            let hint = Some(error.hint).filter(|hint| !hint.is_empty());
            problems.push(Diagnostic::error("transform.jq", message).at(jq.span_from(error.offset)).maybe_hint(hint));
            None
        }
    }
}

impl Pipeline {
    fn takes(&self, fields: &Fields) -> bool {
        let media = payload::media(fields);
        self.forced || matches!((self.from, media), (Format::Json, Media::Json) | (Format::Xml, Media::Xml))
    }

    /// What the new body is, if that is not what it was.
    fn media_type(&self) -> Option<&'static [u8]> {
        match (self.from, self.to) {
            (Format::Json, Format::Json) | (Format::Xml, Format::Xml) => None,
            (_, Format::Json) => Some(b"application/json"),
            (_, Format::Xml) => Some(b"application/xml; charset=utf-8"),
        }
    }

    async fn run(
        self,
        worker: Option<&dyn Outbound>,
        bytes: Bytes,
        variables: Vec<Val>,
        most: usize,
    ) -> Result<Vec<u8>, TextFault> {
        let size = bytes.len();
        let work = move |budget| {
            let mut value = match self.from {
                Format::Json => reshape::read(&bytes)?,
                Format::Xml => xml::read(&bytes).map_err(TextFault::Other)?,
            };
            if let Some(program) = &self.program {
                value = program.run(value, variables.clone(), budget)?;
            }
            let mut out = Vec::with_capacity(bytes.len());
            match self.to {
                Format::Json => reshape::write(&value, most, &mut out)?,
                Format::Xml => xml::write(&value, most, &mut out)?,
            }
            Ok(out)
        };
        reshape::with_budget(worker, size, work).await
    }
}

impl Transform {
    async fn request(&self, pipeline: &Pipeline, exchange: &mut Exchange) -> Result<(), Rejection> {
        payload::expect_plain(&exchange.head.fields, &REQUEST)?;
        let variables = self.variables.of(exchange, pipeline.reads_request);
        let bytes = payload::collect(&mut exchange.body, self.most, &TOO_LONG).await?;
        let worker = exchange.outbound.clone();
        let shaped = pipeline.clone().run(worker.as_deref(), bytes, variables, self.most).await.map_err(|fault| {
            let refusal = match &fault {
                TextFault::Json(_) | TextFault::Other(_) => &REQUEST,
                TextFault::Fault(Fault::TooLong | Fault::TooLarge | Fault::Busy | Fault::Broken) => &BUSY,
                TextFault::Fault(Fault::Failed(_) | Fault::Nothing | Fault::Several) => &UNFIT,
            };
            Rejection::new(refusal).because(fault)
        })?;
        payload::replace_request(exchange, shaped, pipeline.media_type());
        Ok(())
    }

    /// Changes a reply, or says why not; then its body may be gone.
    async fn reply(
        &self,
        pipeline: &Pipeline,
        worker: Option<&dyn Outbound>,
        variables: Vec<Val>,
        reply: &mut Reply,
    ) -> Result<(), Unchanged> {
        let length = reply.body.remaining();
        if !payload::is_plain(&reply.head.fields) {
            return Err(Unchanged::Whole("the upstream compresses, although it was asked not to"));
        }
        if length.is_some_and(|length| length > self.most as u64) {
            return Err(Unchanged::Whole("the reply is longer than `max_body`"));
        }
        let bytes = payload::collect(&mut reply.body, self.most, &BODY).await.map_err(Unchanged::Gone)?;
        match pipeline.clone().run(worker, bytes.clone(), variables, self.most).await {
            Ok(shaped) => {
                payload::replace_reply(reply, shaped, pipeline.media_type());
                Ok(())
            }
            Err(fault @ TextFault::Fault(Fault::TooLong | Fault::Busy | Fault::Broken)) => {
                Err(Unchanged::Gone(Rejection::new(&BUSY).because(fault)))
            }
            Err(TextFault::Fault(fault)) => Err(Unchanged::Gone(Rejection::new(&BODY).because(fault))),
            Err(fault) => {
                reply.body = bytes.into();
                let why = match fault {
                    TextFault::Other(why) => why,
                    _ => "the reply is not JSON with one reading",
                };
                Err(Unchanged::Whole(why))
            }
        }
    }
}

/// A reply that was not changed.
enum Unchanged {
    /// It is as it was, since it cannot be read.
    Whole(&'static str),
    /// Its body is gone, or is not to be seen.
    Gone(Rejection),
}

impl Policy for Transform {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if self.response.is_some() {
            payload::ask_for_plain(&mut exchange.head.fields);
        }
        let Some(pipeline) = self.request.as_ref().filter(|_| !exchange.body.is_empty()) else {
            return Verdict::CONTINUE;
        };
        if !pipeline.takes(&exchange.head.fields) {
            self.tally.count(&OTHER_TYPE);
            return Verdict::CONTINUE;
        }
        Verdict::Wait(Box::pin(async move {
            match self.request(pipeline, exchange).await {
                Ok(()) => {
                    self.tally.count(&CHANGED);
                    Decision::Continue
                }
                Err(rejection) => {
                    self.tally.count(&FAILED);
                    Decision::Reject(rejection)
                }
            }
        }))
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let Some((pipeline, statuses, malformed)) = &self.response else { return Verdict::CONTINUE };
        let is_ours = exchange.notes.code.is_some();
        let is_head = exchange.head.method == Method::Head;
        if is_ours
            || !statuses.contain(reply.head.status)
            || !(is_head || payload::is_whole(exchange.head.method, reply))
        {
            return Verdict::CONTINUE;
        }
        if !is_head && matches!(reply.body, Body::Empty) {
            return Verdict::CONTINUE;
        }
        if !pipeline.takes(&reply.head.fields) {
            self.tally.count(&OTHER_TYPE);
            return Verdict::CONTINUE;
        }
        if is_head {
            payload::replace_head(&mut reply.head.fields, pipeline.media_type());
            return Verdict::CONTINUE;
        }
        let variables = self.variables.of(exchange, pipeline.reads_request);
        Verdict::Wait(Box::pin(async move {
            let worker = exchange.outbound.as_deref();
            let rejection = match self.reply(pipeline, worker, variables, reply).await {
                Ok(()) => {
                    self.tally.count(&CHANGED);
                    return Decision::Continue;
                }
                Err(Unchanged::Whole(_)) if *malformed == Malformed::Pass => {
                    self.tally.count(&PASSED);
                    return Decision::Continue;
                }
                Err(Unchanged::Whole(why)) => Rejection::new(&BODY).because(why),
                Err(Unchanged::Gone(rejection)) => rejection,
            };
            self.tally.count(&FAILED);
            Decision::Reject(rejection)
        }))
    }
}
