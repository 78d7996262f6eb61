//! Checks requests and replies against JSON Schemas.
//!
//! What is checked is what goes on: the body is read once, strictly
//! ([`torana_core::json`]), so there is no second reading of it behind the
//! check. Errors name the field and what is expected of it, never what was
//! there.

mod schema;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use schema::Schema;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::Status;
use torana_core::json;
use torana_core::outbound::Outbound;
use torana_core::payload::{self, Media, Statuses};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::query;
use torana_core::refusal::{FieldError, Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::ByteSize;
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{OneOrMany, Spanned, Written};
use torana_reshape::{TextFault, with_budget};

torana_core::refusals! {
    /// A part of the request does not match its schema; `errors` in the reply says which.
    REQUEST = "validate.request" 422 Caller Never "The request is not what is expected.";
    /// The body is not JSON, has a member twice, or is nested more than 128 levels.
    MALFORMED = "validate.malformed" 400 Caller Never "The body of the request is not JSON that can be read.";
    /// The body is not said to be JSON, or is compressed.
    MEDIA_TYPE = "validate.media_type" 415 Caller Never "The body of the request has to be JSON.";
    /// It is longer than `max_body`.
    TOO_LONG = "validate.too_long" 413 Caller Never "The body of the request is too long.";
    /// The upstream's reply does not match its schema; the log says where.
    RESPONSE = "validate.response" 502 Upstream IfSafe "The upstream's reply is not what was expected.";
    /// Too many others are being checked.
    BUSY = "validate.busy" 503 Gateway IfSafe "The message could not be processed.";
}

torana_core::events! {
    VALID = "valid" "A request matched its schemas.";
    INVALID = "invalid" "A request did not match, or could not be read.";
    VALID_REPLY = "valid_reply" "A reply matched its schema.";
    INVALID_REPLY = "invalid_reply" "A reply did not match, or could not be read.";
}

/// Checks bodies, parameters and replies against JSON Schemas: drafts 4, 6, 7, 2019-09 and 2020-12, as `$schema` says;
/// without it 2020-12.
///
/// A schema is written in place, or in a file of JSON: `${file:user.schema.json}`. References lead to places within it;
/// nothing is fetched. Patterns are matched in linear time and have no look-around.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Schema of the request's body.
    #[serde(default)]
    pub body: Option<Written>,
    /// Requests without a body are let through without the check. Default: they are refused.
    #[serde(default)]
    pub body_optional: bool,
    /// Schema of the query, an object. Numbers, booleans and lists are read as the types in its `properties` say; a
    /// parameter that is sent several times is a list.
    #[serde(default)]
    pub query: Option<Written>,
    /// The same for what the route's path captures.
    #[serde(default)]
    pub params: Option<Written>,
    /// What replies are to be. Upstreams are asked for the whole of them, uncompressed.
    #[serde(default)]
    pub response: Option<Spanned<ReplyCheck>>,
    /// What is done with what does not match. Default `enforce`.
    #[serde(default)]
    pub mode: Mode,
    /// Status of the reply to requests that do not match. Default 422.
    #[serde(default)]
    #[schemars(range(min = 400, max = 499))]
    pub status: Option<Spanned<u16>>,
    /// Longest body that is checked; longer ones are refused. Default 1 MiB, at most 16 MiB.
    #[serde(default = "payload::one_mib")]
    pub max_body: Spanned<ByteSize>,
}

/// What replies are to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ValidateResponse")]
pub struct ReplyCheck {
    /// Schema of the body.
    pub body: Written,
    /// Statuses of the replies that are checked: `200`, `2xx`. Default `2xx`.
    #[serde(default)]
    pub status: OneOrMany<Spanned<String>>,
}

/// What is done with what does not match.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ValidateMode")]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is counted, and stands in the log as the cause; nothing is refused but JSON that is too long.
    Observe,
}

/// The policy `validate`.
pub struct Validate {
    body: Option<Arc<Schema>>,
    body_optional: bool,
    query: Option<Schema>,
    params: Option<(Schema, Box<[String]>)>,
    response: Option<(Arc<Schema>, Statuses)>,
    mode: Mode,
    status: Option<Status>,
    most: usize,
    tally: Arc<Tally>,
}

impl PolicyKind for Validate {
    const NAME: &'static str = "validate";
    const STAGE: Stage = Stage::Shape;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut schema = |written: Option<&Written>| {
            written.and_then(|written| Schema::compile(written).map_err(|problem| problems.push(*problem)).ok())
        };
        let body = schema(config.body.as_ref()).map(Arc::new);
        let query = schema(config.query.as_ref());
        let params = schema(config.params.as_ref()).map(|schema| (schema, site.captured_names().into()));
        let reply = schema(config.response.as_ref().map(|check| &check.body)).map(Arc::new);
        let statuses = config.response.as_ref().map_or(&[][..], |check| &check.status);
        let statuses = Statuses::written(statuses, "validate.status", &mut problems);
        let is_empty =
            config.body.is_none() && config.query.is_none() && config.params.is_none() && config.response.is_none();
        if is_empty && site.is_whole() {
            let hint = "`body: …`, `query: …`, `params: …` or `response: { body: … }`";
            problems.push(Diagnostic::error("validate.nothing", "this checks nothing").at(written.span).hint(hint));
        }
        let most = payload::max_body(&config.max_body, "validate.max_body", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Validate {
            body,
            body_optional: config.body_optional,
            query,
            params,
            response: reply.map(|schema| (schema, statuses)),
            mode: config.mode,
            status: config.status.and_then(|status| Status::new(status.value)),
            most,
            tally: site.tally(),
        }))
    }
}

impl Validate {
    /// What is wrong with the parts that are there at once.
    fn head_errors(&self, exchange: &Exchange) -> Vec<FieldError> {
        let target = exchange.target();
        let mut errors = Vec::new();
        if let Some(schema) = &self.query {
            let text =
                |decoded: query::Decoded<'_>| String::from_utf8_lossy(&decoded.collect::<Vec<u8>>()).into_owned();
            let pairs = query::pairs(target.query().unwrap_or_default()).map(|(name, value)| (text(name), text(value)));
            errors.append(&mut schema.errors(&schema.object(pairs), "query"));
        }
        if let Some((schema, names)) = &self.params {
            let captures = names.iter().enumerate();
            let pairs = captures.map(|(index, name)| {
                let encoded = exchange.captures.get(target.path(), index);
                (name.clone(), String::from_utf8_lossy(&query::without_escapes(encoded.as_bytes())).into_owned())
            });
            errors.append(&mut schema.errors(&schema.object(pairs), "params"));
        }
        errors
    }

    /// The rejection of a request with these errors, if it has any.
    fn judged(&self, errors: Vec<FieldError>) -> Result<(), Rejection> {
        if errors.is_empty() {
            return Ok(());
        }
        let mut rejection = Rejection::new(&REQUEST).because(shown(&errors)).with_errors(errors);
        rejection.status = self.status;
        Err(rejection)
    }

    async fn request(&self, schema: &Arc<Schema>, exchange: &mut Exchange) -> Result<(), Rejection> {
        let mut errors = self.head_errors(exchange);
        if exchange.body.is_empty() {
            if !self.body_optional {
                errors.push(FieldError { field: "body".into(), message: "is required".into() });
            }
            return self.judged(errors);
        }
        let fields = &exchange.head.fields;
        // What cannot be checked is not held either: where this only observes, it passes as it comes.
        if payload::media(fields) != Media::Json || !payload::is_plain(fields) {
            return Err(Rejection::new(&MEDIA_TYPE));
        }
        let bytes = payload::collect(&mut exchange.body, self.most, &TOO_LONG).await?;
        exchange.body = bytes.clone().into();
        match checked(exchange.outbound.as_deref(), schema, bytes).await {
            Ok(mut found) => errors.append(&mut found),
            Err(fault) => return Err(fault.rejection(&MALFORMED, &BUSY)),
        }
        self.judged(errors)
    }

    fn decide(&self, outcome: Result<(), Rejection>, exchange: &mut Exchange) -> Decision {
        let Err(rejection) = outcome else {
            self.tally.count(&VALID);
            return Decision::Continue;
        };
        self.tally.count(&INVALID);
        // What was only observed is there to go on with.
        let is_gone = [&TOO_LONG, &BUSY].iter().any(|refusal| refusal.code == rejection.refusal.code);
        if self.mode == Mode::Observe && !is_gone && REFUSALS.iter().any(|known| known.code == rejection.refusal.code) {
            exchange.notes.cause = Some(observed(&rejection));
            return Decision::Continue;
        }
        Decision::Reject(rejection)
    }

    async fn reply(
        &self,
        worker: Option<&dyn Outbound>,
        schema: &Arc<Schema>,
        reply: &mut Reply,
    ) -> Result<(), Rejection> {
        let fields = &reply.head.fields;
        if payload::media(fields) != Media::Json || !payload::is_plain(fields) {
            return Err(Rejection::new(&RESPONSE).because("the reply is not JSON, or is compressed"));
        }
        let bytes = payload::collect(&mut reply.body, self.most, &RESPONSE).await?;
        reply.body = bytes.clone().into();
        let errors = checked(worker, schema, bytes).await.map_err(|fault| fault.rejection(&RESPONSE, &BUSY))?;
        if errors.is_empty() { Ok(()) } else { Err(Rejection::new(&RESPONSE).because(shown(&errors))) }
    }
}

/// Reads and checks a body, aside if it is large.
async fn checked(
    worker: Option<&dyn Outbound>,
    schema: &Arc<Schema>,
    bytes: Bytes,
) -> Result<Vec<FieldError>, TextFault> {
    let schema = Arc::clone(schema);
    with_budget(worker, bytes.len(), move |_| Ok::<_, TextFault>(schema.errors(&json::read(&bytes)?, "body"))).await
}

/// Errors for the log: which fields, and what was expected.
fn shown(errors: &[FieldError]) -> String {
    let shown: Vec<_> = errors.iter().take(5).map(|error| format!("`{}` {}", error.field, error.message)).collect();
    let more = errors.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn observed(rejection: &Rejection) -> Box<str> {
    let cause = rejection.cause.as_deref().unwrap_or(rejection.refusal.message);
    format!("observed by the policy `validate`: {} ({cause})", rejection.refusal.code).into()
}

impl Policy for Validate {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if self.response.is_some() {
            payload::ask_for_plain(&mut exchange.head.fields);
        }
        let Some(schema) = &self.body else {
            if self.query.is_none() && self.params.is_none() {
                return Verdict::CONTINUE;
            }
            let outcome = self.judged(self.head_errors(exchange));
            return Verdict::Now(self.decide(outcome, exchange));
        };
        Verdict::Wait(Box::pin(async move {
            let outcome = self.request(schema, exchange).await;
            self.decide(outcome, exchange)
        }))
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let Some((schema, statuses)) = &self.response else { return Verdict::CONTINUE };
        let is_ours = exchange.notes.code.is_some();
        if is_ours || !statuses.contain(reply.head.status) || !payload::is_whole(exchange.head.method, reply) {
            return Verdict::CONTINUE;
        }
        let observes = self.mode == Mode::Observe;
        let length = reply.body.remaining();
        if observes && length.is_some_and(|length| length > self.most as u64) {
            self.tally.count(&INVALID_REPLY);
            return Verdict::CONTINUE;
        }
        Verdict::Wait(Box::pin(async move {
            let Err(rejection) = self.reply(exchange.outbound.as_deref(), schema, reply).await else {
                self.tally.count(&VALID_REPLY);
                return Decision::Continue;
            };
            self.tally.count(&INVALID_REPLY);
            if observes && !reply.body.is_empty() {
                exchange.notes.cause = Some(observed(&rejection));
                return Decision::Continue;
            }
            Decision::Reject(rejection)
        }))
    }
}
