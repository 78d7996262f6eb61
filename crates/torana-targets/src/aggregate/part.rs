//! One part: the request it is, and the value it has.

use super::kept::{self, Keeping};
use super::template::{Facts, Fault, Template};
use super::{CACHED, KEPT};
use bytes::Bytes;
use std::time::{Duration, Instant};
use torana_core::body::{Body, CollectError};
use torana_core::deadline::Deadline;
use torana_core::event::Tally;
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, Method, ReplyHead, Status};
use torana_core::names::{HeaderName, KnownName};
use torana_core::outbound::{Outbound, OutboundRequest, within};
use torana_core::query;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::site::UpstreamId;
use torana_core::store::memory_blobs::MemoryBlobs;
use torana_core::trace::{IdSource, TraceContext};
use torana_expr::{Expr, Subject};
use torana_reshape::{self as reshape, Budget, Reshape, Val};

/// A part, ready to be asked for.
pub(super) struct Part {
    pub(super) name: Box<str>,
    pub(super) upstream: UpstreamId,
    pub(super) upstream_name: Box<str>,
    pub(super) method: Method,
    pub(super) path: Template,
    pub(super) query: Vec<Parameter>,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: Option<Json>,
    pub(super) required: bool,
    pub(super) default: Val,
    pub(super) timeout: Option<Duration>,
    pub(super) when: Option<When>,
    pub(super) select: Option<Reshape>,
    /// Empty: 200 to 299.
    pub(super) success: Vec<Status>,
    pub(super) pass_status: Vec<Status>,
    pub(super) body_bytes: usize,
    pub(super) keeping: Option<Keeping>,
    /// The positions of the parts it waits for.
    pub(super) needs: Vec<usize>,
}

/// A query parameter.
pub(super) struct Parameter {
    /// Percent-encoded.
    pub(super) name: Box<str>,
    /// `None`: it has no `=`.
    pub(super) value: Option<Template>,
    /// Whether what is written out in the value is percent-encoded already.
    pub(super) is_encoded: bool,
}

/// A condition.
pub(super) enum When {
    /// On the request.
    Request(Expr),
    /// On the other parts.
    Parts(Reshape),
}

/// JSON with templates for texts.
pub(super) enum Json {
    Fixed(Val),
    Text(Template),
    List(Vec<Json>),
    Object(Vec<(Val, Json)>),
}

/// What a service gave.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) value: Val,
    /// How long its answer is as text.
    pub(super) size: usize,
}

/// Why a part has no value.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: Why,
    /// The status that the service answered, if that is the trouble.
    pub(super) status: Option<Status>,
    /// For the log.
    pub(super) cause: Box<str>,
}

/// The same in a word, which clients may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What the request is made of is missing or does not fit.
    Input,
    /// The service was not reached, or not asked.
    Unavailable,
    /// It took too long.
    Timeout,
    /// The service answered a status that is no success.
    Status,
    /// The answer is too long.
    TooLong,
    /// The answer is not JSON.
    NotJson,
    /// The answer is not what `select` expects.
    Select,
}

impl Why {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Why::Input => "input",
            Why::Unavailable => "unavailable",
            Why::Timeout => "timeout",
            Why::Status => "status",
            Why::TooLong => "too_long",
            Why::NotJson => "not_json",
            Why::Select => "select",
        }
    }
}

impl Failure {
    fn new(why: Why, cause: impl std::fmt::Display) -> Failure {
        Failure { why, status: None, cause: cause.to_string().into() }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        match fault {
            Fault::Missing(name) => Failure::new(Why::Input, format_args!("`{{{name}}}` is missing")),
            Fault::Unfit(why) => Failure::new(Why::Input, why),
        }
    }
}

/// Headers of the request that parts get whatever the configuration says: what
/// the gateway itself says of the request.
const PASSED: &[KnownName] = &[
    KnownName::Tracestate,
    KnownName::Baggage,
    KnownName::XRequestId,
    KnownName::XForwardedFor,
    KnownName::XForwardedHost,
    KnownName::XForwardedPort,
    KnownName::XForwardedProto,
    KnownName::Forwarded,
    KnownName::XRealIp,
];

/// The fields that all parts begin with; `named` are passed on besides.
pub(super) fn passed(exchange: &Exchange, named: &[HeaderName]) -> Fields {
    let mut fields = Fields::default();
    fields.set_own(KnownName::Accept, b"application/json");
    let from = &exchange.head.fields;
    let always = PASSED.iter().map(|name| HeaderName::Known(*name));
    for name in always.chain(named.iter().cloned()) {
        if name == HeaderName::Known(KnownName::Accept) {
            fields.remove(&name);
        }
        for value in from.values(&name) {
            // Checked when it arrived.
            let _ = fields.append(name.clone(), value);
        }
    }
    fields
}

/// Longest body of a request: what it is made of is no longer than that.
const MOST_BODY: usize = 1 << 20;

/// Sets the spans of parts apart from other uses of the exchange's.
const SALT: u64 = 0x6167_6772_6567_6174;

impl Part {
    /// Whether it is to be asked for.
    pub(super) fn is_wanted(
        &self,
        facts: Facts<'_>,
        names: &[String],
        others: impl FnOnce() -> Val,
    ) -> Result<bool, Failure> {
        match &self.when {
            None => Ok(true),
            // Something in it that is missing: then it does not hold.
            Some(When::Request(expr)) => Ok(expr.holds(&Subject::of(facts.exchange, names)).unwrap_or(false)),
            Some(When::Parts(program)) => match program.run(others(), Vec::new(), Budget::INLINE) {
                Ok(value) => Ok(!matches!(value, Val::Null | Val::Bool(false))),
                Err(reshape::Fault::Nothing) => Ok(false),
                Err(cause) => Err(Failure::new(Why::Input, format_args!("`when`: {cause}"))),
            },
        }
    }

    /// The request; `span` is its number among those of the exchange.
    pub(super) fn request(&self, facts: Facts<'_>, passed: &Fields, span: u64) -> Result<OutboundRequest, Failure> {
        let mut path_and_query = self.path.path(facts)?;
        let mut separator = '?';
        for parameter in &self.query {
            let length = path_and_query.len();
            path_and_query.push(separator);
            path_and_query.push_str(&parameter.name);
            if let Some(value) = &parameter.value {
                path_and_query.push('=');
                match value.query(facts, parameter.is_encoded, &mut path_and_query) {
                    Ok(()) => {}
                    Err(Fault::Missing(_)) => {
                        path_and_query.truncate(length);
                        continue;
                    }
                    Err(fault) => return Err(fault.into()),
                }
            }
            separator = '&';
        }
        let mut fields = passed.clone();
        if let Some(keeping) = &self.keeping {
            keeping.hide(&mut fields);
        }
        if facts.exchange.head.fields.contains(KnownName::Traceparent) {
            let trace = facts.exchange.trace;
            let span = IdSource::new(trace.span ^ SALT.wrapping_add(span)).next().max(1);
            fields.set_own(KnownName::Traceparent, &TraceContext { span, ..trace }.to_traceparent());
        }
        for (name, template) in &self.headers {
            let value = match template.bytes(facts) {
                Ok(value) => value,
                Err(Fault::Missing(_)) => continue,
                Err(fault) => return Err(fault.into()),
            };
            if fields.set(name.clone(), &value).is_err() {
                let cause = format!("what is put into the header `{}` cannot stand there", name.as_str());
                return Err(Failure::new(Why::Input, cause));
            }
        }
        let mut body = Body::Empty;
        if let Some(json) = &self.body {
            let mut text = Vec::new();
            let written = reshape::write(&json.value(facts)?, MOST_BODY, &mut text);
            written.map_err(|fault| Failure::new(Why::Input, format_args!("its body: {fault}")))?;
            body = Bytes::from(text).into();
            if !fields.contains(KnownName::ContentType) {
                fields.set_own(KnownName::ContentType, b"application/json");
            }
        }
        Ok(OutboundRequest { method: self.method, path_and_query, host: None, fields, body, deadline: Deadline::NONE })
    }

    /// What `request` is called among the answers that are kept; `None`: its
    /// answer is not.
    pub(super) fn question(&self, request: &OutboundRequest, exchange: &Exchange) -> Option<Vec<u8>> {
        self.keeping.as_ref()?.question(&self.upstream_name, request, exchange)
    }

    /// Takes the answer that is kept, or sends the request and reads what comes
    /// back. `latest` is when all is to be done.
    pub(super) async fn fetch(
        &self,
        tools: Tools<'_>,
        mut request: OutboundRequest,
        question: Option<Vec<u8>>,
        now: Instant,
        latest: Deadline,
    ) -> Result<Fetched, Failure> {
        let own = self.timeout.map_or(Deadline::NONE, |time| Deadline::after(now, time));
        request.deadline = latest.earlier(own);
        let left = request.deadline.left(now);
        let found = question.as_deref().and_then(|question| kept::find(tools.kept, question));
        let work = async {
            if let Some((_, bytes)) = found.filter(|(status, _)| self.is_success(*status)) {
                tools.tally.count(&CACHED);
                return self.value(tools.outbound, bytes).await;
            }
            let reply = tools.outbound.send(self.upstream, request).await.map_err(not_reached)?;
            self.read(tools, reply, question.as_deref()).await
        };
        match left {
            None => work.await,
            Some(left) => within(tools.outbound, left, work)
                .await
                .unwrap_or_else(|| Err(Failure::new(Why::Timeout, format_args!("it took more than {left:?}")))),
        }
    }

    fn is_success(&self, status: Status) -> bool {
        match &self.success[..] {
            [] => (200..300).contains(&status.code()),
            listed => listed.contains(&status),
        }
    }

    async fn read(&self, tools: Tools<'_>, reply: Reply, question: Option<&[u8]>) -> Result<Fetched, Failure> {
        let Reply { head, body, .. } = reply;
        if !self.is_success(head.status) {
            drain(body).await;
            let cause = format!("it answered {}", head.status.code());
            return Err(Failure { status: Some(head.status), ..Failure::new(Why::Status, cause) });
        }
        let is_json = check(&head);
        let bytes = match body.collect_capped(self.body_bytes).await {
            Ok(bytes) => bytes,
            Err(CollectError::TooLong) => {
                let cause = format!("its answer is longer than {} bytes", self.body_bytes);
                return Err(Failure::new(Why::TooLong, cause));
            }
            Err(CollectError::Source(error)) => {
                return Err(Failure::new(Why::Unavailable, format_args!("its answer broke off: {error}")));
            }
        };
        if !bytes.is_empty() {
            is_json.map_err(|cause| Failure::new(Why::NotJson, cause))?;
        }
        let fetched = self.value(tools.outbound, bytes.clone()).await?;
        // What has no value is asked for again.
        if let (Some(keeping), Some(question)) = (&self.keeping, question)
            && keeping.put(tools.kept, question, &head, &bytes)
        {
            tools.tally.count(&KEPT);
        }
        Ok(fetched)
    }

    /// The value of an answer.
    async fn value(&self, worker: &dyn Outbound, bytes: Bytes) -> Result<Fetched, Failure> {
        let size = bytes.len();
        if size == 0 {
            return Ok(Fetched { value: Val::Null, size });
        }
        let read = reshape::beside(Some(worker), size, move || reshape::read(&bytes)).await;
        let read = read.map_err(|fault| Failure::new(Why::Unavailable, format_args!("its answer: {fault}")))?;
        let mut value = read.map_err(|error| Failure::new(Why::NotJson, format_args!("its answer: {error}")))?;
        if let Some(select) = &self.select {
            let selected = select.apply(Some(worker), value, size, Vec::new()).await;
            value = selected.map_err(|fault| Failure::new(Why::Select, format_args!("`select`: {fault}")))?;
        }
        Ok(Fetched { value, size })
    }
}

/// What parts are asked for with.
#[derive(Clone, Copy)]
pub(super) struct Tools<'a> {
    pub(super) outbound: &'a dyn Outbound,
    pub(super) kept: &'a MemoryBlobs,
    pub(super) tally: &'a Tally,
}

fn not_reached(rejection: Rejection) -> Failure {
    let status = rejection.status.unwrap_or(rejection.refusal.status);
    let why = if status.code() == 504 { Why::Timeout } else { Why::Unavailable };
    match rejection.cause {
        Some(cause) => Failure::new(why, format_args!("{}: {cause}", rejection.refusal.code)),
        None => Failure::new(why, rejection.refusal.code),
    }
}

/// Whether a body is JSON by what its head says.
fn check(head: &ReplyHead) -> Result<(), String> {
    if let Some(coding) = head.fields.get(KnownName::ContentEncoding)
        && !coding.eq_ignore_ascii_case(b"identity")
    {
        return Err(format!(
            "its answer is compressed: `{}`, which was not asked for",
            String::from_utf8_lossy(coding)
        ));
    }
    let Some(said) = head.fields.get(KnownName::ContentType) else {
        return Err("its answer does not say that it is JSON: it has no `Content-Type`".to_owned());
    };
    let said = String::from_utf8_lossy(said);
    let media_type = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        return Ok(());
    }
    Err(format!("its answer is not JSON but `{media_type}`"))
}

/// Reads what is left of a short body, so that its connection can be used
/// again; a long one is not worth it.
async fn drain(body: Body) {
    const WORTH: usize = 16 * 1024;
    if body.remaining().is_some_and(|left| left <= WORTH as u64) {
        let _ = body.collect_capped(WORTH).await;
    }
}

impl Parameter {
    /// One of the configuration's `query`.
    pub(super) fn named(name: &str, value: Template) -> Parameter {
        let mut encoded = String::new();
        query::encode(name.as_bytes(), &mut encoded);
        Parameter { name: encoded.into(), value: Some(value), is_encoded: false }
    }
}

impl Json {
    fn value(&self, facts: Facts<'_>) -> Result<Val, Fault> {
        Ok(match self {
            Json::Fixed(value) => value.clone(),
            Json::Text(template) => template.value(facts)?,
            Json::List(items) => items.iter().map(|item| item.value(facts)).collect::<Result<Val, _>>()?,
            Json::Object(members) => {
                let members = members.iter().map(|(name, member)| Ok((name.clone(), member.value(facts)?)));
                Val::obj(members.collect::<Result<_, _>>()?)
            }
        })
    }

    /// The templates in it.
    pub(super) fn templates<'a>(&'a self, each: &mut dyn FnMut(&'a Template)) {
        match self {
            Json::Fixed(_) => {}
            Json::Text(template) => each(template),
            Json::List(items) => items.iter().for_each(|item| item.templates(each)),
            Json::Object(members) => members.iter().for_each(|(_, member)| member.templates(each)),
        }
    }
}
