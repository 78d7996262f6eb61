//! Asks somebody else whether the caller may.

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration as StdDuration, Instant};
use torana_core::ask::Ask;
use torana_core::deadline::Deadline;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, Status};
use torana_core::identity::{Facts, Names};
use torana_core::names::{HeaderName, KnownName};
use torana_core::outbound::{OutboundRequest, within};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::reserved::not_ownable;
use torana_core::site::{Service, Site};
use torana_core::stage::Stage;
use torana_core::units::{ByteSize, Duration};
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// The service that was asked says no, without a reply of its own to pass on.
    DENIED = "forward_auth.denied" 403 Caller Never "This is not allowed.";
    /// The service that decides cannot be asked, so nobody can be let in.
    UNAVAILABLE = "forward_auth.unavailable" 503 Gateway IfSafe "Authentication is not available at the moment.";
}

torana_core::events! {
    ALLOWED = "allowed" "The service let a request through.";
    REFUSED = "refused" "The service refused a request.";
    FAILED = "failed" "The service could not be asked; the request was refused.";
}

/// Asks a service whether a request may go on, and by whom it is.
///
/// The service gets a GET request with the headers of `request_headers`, and
/// with `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` (path and query as the
/// gateway reads them) and `-For`. The body stays here. If it answers with
/// 2xx, the request goes on, with the headers of `copy_headers` from the answer.
///
/// An answer of 401, 403 or a redirect goes to the client, with those of its
/// headers that such answers need; any other 4xx is 403. If the service does
/// not answer, or answers otherwise, the request is refused with 503: it never
/// goes on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whom to ask: a URL, or `{ upstream, path }`.
    pub ask: Ask,
    /// Headers of the request that the service gets. Default `Authorization` and `Cookie`.
    #[serde(default = "credentials")]
    pub request_headers: OneOrMany<Spanned<String>>,
    /// Headers of its answer that the upstream gets, such as `Remote-User`. What clients send under
    /// these names, in any spelling, is removed on every route.
    #[serde(default)]
    pub copy_headers: OneOrMany<Spanned<String>>,
    /// The header of its answer that names the caller, for the log, limits and other policies.
    /// Inside `any_of` it is needed: without a name nothing is proven.
    #[serde(default)]
    pub subject: Option<Spanned<String>>,
    /// The header of its answer that lists the caller's roles, with commas between them.
    #[serde(default)]
    pub roles: Option<Spanned<String>>,
    /// How long to wait for the answer. Default `5s`.
    #[serde(default = "five_seconds")]
    pub timeout: Spanned<Duration>,
    /// The longest answer that is passed on to the client. Default 64KiB.
    #[serde(default = "answer_bytes")]
    pub max_answer: ByteSize,
}

fn credentials() -> OneOrMany<Spanned<String>> {
    OneOrMany(vec!["Authorization".into(), "Cookie".into()])
}

fn five_seconds() -> Spanned<Duration> {
    Duration::from_secs(5).into()
}

fn answer_bytes() -> ByteSize {
    ByteSize::kib(64)
}

/// The policy `forward_auth`.
pub struct ForwardAuth {
    service: Service,
    sent: Vec<HeaderName>,
    copied: Vec<HeaderName>,
    subject: Option<HeaderName>,
    roles: Option<HeaderName>,
    timeout: StdDuration,
    longest: usize,
    tally: Arc<Tally>,
}

/// What the gateway knows about the request and the service may know too.
const KNOWN: [KnownName; 5] = [
    KnownName::XForwardedFor,
    KnownName::XForwardedProto,
    KnownName::XForwardedHost,
    KnownName::XRequestId,
    KnownName::Traceparent,
];

/// What an answer that goes to the client may say. Everything else is between
/// the service and the gateway.
const PASSED: [KnownName; 7] = [
    KnownName::Location,
    KnownName::WwwAuthenticate,
    KnownName::SetCookie,
    KnownName::ContentType,
    KnownName::ContentLanguage,
    KnownName::CacheControl,
    KnownName::RetryAfter,
];

impl PolicyKind for ForwardAuth {
    const NAME: &'static str = "forward_auth";
    const STAGE: Stage = Stage::Identify;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut name = |written: &Spanned<String>, why_not: fn(&HeaderName) -> Option<&'static str>| {
            let problem = |message: &str, hint: &str| {
                let message = format!("{} {message}", written.shown());
                Diagnostic::error("forward_auth.header", message).at(written.span).hint(hint)
            };
            let name = HeaderName::new(written);
            match name.as_ref().map(why_not) {
                None => problems.push(problem("is not a header name", "letters, digits and `-`")),
                Some(Some(hint)) => problems.push(problem("cannot be copied", hint)),
                Some(None) => return name,
            }
            None
        };
        let sent = config.request_headers.iter().filter_map(|written| name(written, not_sendable)).collect();
        let copied = config.copy_headers.iter().filter_map(|written| name(written, not_ownable)).collect();
        let any = |_: &HeaderName| None;
        let subject = config.subject.as_ref().and_then(|written| name(written, any));
        let roles = config.roles.as_ref().and_then(|written| name(written, any));
        if config.timeout.is_zero() {
            let problem = Diagnostic::error("forward_auth.timeout", "there is no time to wait for an answer");
            problems.push(problem.at(config.timeout.span).hint("write a time such as `5s`"));
        }
        let service = config.ask.service(site).map_err(|problem| problems.push(*problem)).ok();
        match service {
            Some(service) if problems.is_empty() => Ok(Arc::new(ForwardAuth {
                service,
                sent,
                copied,
                subject,
                roles,
                timeout: config.timeout.std(),
                longest: config.max_answer.as_usize(),
                tally: site.tally(),
            })),
            _ => Err(problems),
        }
    }
}

/// Why a request header cannot be handed to the service, if it cannot.
fn not_sendable(name: &HeaderName) -> Option<&'static str> {
    match name {
        HeaderName::Known(known) if known.is_hop_by_hop() => Some("it concerns one connection only (RFC 9110 §7.6.1)"),
        HeaderName::Known(KnownName::ContentLength | KnownName::Expect | KnownName::Host) => {
            Some("the request to the service has one of its own")
        }
        _ => None,
    }
}

impl Policy for ForwardAuth {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        Verdict::Wait(Box::pin(async move {
            match self.ask(exchange).await {
                Ok(decision) => decision,
                Err(why) => {
                    self.tally.count(&FAILED);
                    let rejection = Rejection::new(&UNAVAILABLE).because(why);
                    Decision::Reject(rejection.with_field(KnownName::RetryAfter, b"1"))
                }
            }
        }))
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.copied
    }

    fn explain(&self, _: &mut Exchange) -> Option<String> {
        // The query may be how the service knows the gateway.
        let path = self.service.path_and_query.split('?').next().unwrap_or_default();
        Some(format!("would ask `{path}`"))
    }
}

impl ForwardAuth {
    /// The request to the service.
    fn request(&self, exchange: &Exchange) -> OutboundRequest {
        let from = &exchange.head.fields;
        let mut fields = Fields::default();
        // What stands in a request already can stand in another.
        let mut add = |name: &[u8], value: &[u8]| {
            let _ = fields.append_text(name, value);
        };
        for name in &self.sent {
            from.values(name).for_each(|value| add(name.as_str().as_bytes(), value));
        }
        for name in KNOWN.into_iter().filter(|name| !self.sent.contains(&(*name).into())) {
            from.get_all(name).for_each(|value| add(name.as_str().as_bytes(), value));
        }
        add(b"x-forwarded-method", exchange.head.method_text().as_bytes());
        // Without credentials that another policy took out of the query.
        let query = exchange.forward_query().map_or(["", ""], |query| ["?", query]);
        add(b"x-forwarded-uri", [exchange.target().path(), query[0], query[1]].concat().as_bytes());
        OutboundRequest {
            path_and_query: self.service.path_and_query.clone(),
            fields,
            deadline: exchange.deadline.earlier(Deadline::after(Instant::now(), self.timeout)),
            ..OutboundRequest::default()
        }
    }

    async fn ask(&self, exchange: &mut Exchange) -> Result<Decision, String> {
        let outbound = exchange.outbound.clone().ok_or("there is no way out")?;
        let request = self.request(exchange);
        let reply = outbound.send(self.service.upstream, request).await;
        let reply = reply.map_err(|rejection| format!("{rejection:?}"))?;
        let status = reply.head.status.code();
        match status {
            200..=299 => {
                self.tally.count(&ALLOWED);
                self.admit(exchange, &reply.head.fields);
                // A short answer is read to its end, so that its connection
                // serves the next question; whether that works is no matter.
                if reply.body.remaining().is_some_and(|left| left <= SHORT) {
                    let _ = within(&*outbound, self.timeout, reply.body.collect_capped(self.longest)).await;
                }
                Ok(Decision::Continue)
            }
            301 | 302 | 303 | 307 | 308 | 401 | 403 => {
                let passed = within(&*outbound, self.timeout, self.pass(reply)).await;
                let reply = passed.ok_or("its answer took too long")??;
                self.tally.count(&REFUSED);
                exchange.notes.code = Some(DENIED.code);
                exchange.notes.cause = Some(format!("the service answered with {status}").into());
                Ok(Decision::Answer(Box::new(reply)))
            }
            400..=499 => {
                self.tally.count(&REFUSED);
                let why = format!("the service answered with {status}");
                Ok(Decision::Reject(Rejection::new(&DENIED).because(why)))
            }
            _ => Err(format!("the service answered with {status}")),
        }
    }

    /// Lets the request go on, with what the service says about it.
    fn admit(&self, exchange: &mut Exchange, answer: &Fields) {
        let fields = &mut exchange.head.fields;
        for name in &self.copied {
            // Even if the answer has none: what stands there is not the
            // service's (CVE-2026-30851).
            fields.remove(name);
            for value in answer.values(name) {
                // It was checked when it was read.
                let _ = fields.append_text(name.as_str().as_bytes(), value);
            }
        }
        let text = |name: &Option<HeaderName>| -> Option<String> {
            let mut values = answer.values(name.as_ref()?);
            // Of two no one is the caller.
            match (values.next(), values.next()) {
                (Some(only), None) => std::str::from_utf8(only).ok().map(|text| text.trim().to_owned()),
                _ => None,
            }
        };
        let Some(subject) = text(&self.subject).filter(|subject| !subject.is_empty()) else { return };
        let roles: Names = match text(&self.roles) {
            Some(list) => list.split(',').map(str::trim).filter(|role| !role.is_empty()).collect(),
            None => Names::default(),
        };
        let facts = Facts { subject: subject.into(), proven_by: Self::NAME, roles, ..Facts::default() };
        exchange.identity = Some(facts.into());
    }

    /// The answer as the client gets it.
    async fn pass(&self, answer: Reply) -> Result<Reply, String> {
        let Reply { head, body, .. } = answer;
        let body = body.collect_capped(self.longest).await.map_err(|error| format!("its answer: {error}"))?;
        let mut reply = Reply::new(Status::new(head.status.code()).unwrap_or(Status::FORBIDDEN));
        for name in PASSED {
            for value in head.fields.get_all(name) {
                let _ = reply.head.fields.append(name, value);
            }
        }
        if !reply.head.fields.contains(KnownName::CacheControl) {
            reply.head.fields.set_own(KnownName::CacheControl, b"no-store");
        }
        reply.body = body.into();
        Ok(reply)
    }
}

/// Up to so many bytes of an answer that says yes are read and forgotten.
const SHORT: u64 = 16 << 10;
