//! Adds what the gateway knows to messages: who is calling, what the path
//! captured, anything an expression computes.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::forwarded::is_forwarding_spelling;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName, is_value_byte};
use torana_core::payload::{self, Media};
use torana_core::pointer;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::query;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::ByteSize;
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{Spanned, Written};
use torana_expr::{Expr, Parts, Subject, Value};
use torana_reshape::{self as reshape, TextFault, Val, with_budget};

torana_core::refusals! {
    /// A value cannot be computed, and `missing` says `refuse`.
    MISSING = "enrich.missing" 400 Caller Never "The request lacks something that is needed.";
    /// The body is not the JSON object that members can be added to.
    BODY = "enrich.body" 400 Caller Never "The body of the request cannot be read.";
    /// It is longer than `max_body`.
    TOO_LONG = "enrich.too_long" 413 Caller Never "The body of the request is too long.";
    /// Too many others are being changed.
    BUSY = "enrich.busy" 503 Gateway IfSafe "The message could not be processed.";
}

torana_core::events! {
    ADDED = "added" "A request went on with what could be computed.";
    LEFT_OUT = "left_out" "A value could not be computed and was left out.";
    REFUSED = "refused" "A request was refused.";
}

/// Puts computed values into headers and JSON bodies. Values are expressions in CEL, as in `when`: `identity.subject`,
/// `captures["id"]`, `"v" + headers["x-minor"]`; a text of its own stands in quotes: `'"1.0"'`.
///
/// A header that is set holds nothing else: what was there is removed even when the value cannot be computed. Headers
/// made from `identity` belong to the gateway: what clients send under these names is removed on every route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What requests get before they are sent to the target.
    #[serde(default)]
    pub request: RequestValues,
    /// What replies get.
    #[serde(default)]
    pub response: ReplyValues,
    /// What is done when a value cannot be computed, since a part of the request is missing. Default `leave_out`.
    #[serde(default)]
    pub missing: Missing,
    /// Longest body that members are added to; longer ones are refused. Default 1 MiB, at most 16 MiB.
    #[serde(default = "payload::one_mib")]
    pub max_body: Spanned<ByteSize>,
}

/// What requests get.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "EnrichRequest")]
pub struct RequestValues {
    /// Headers by name.
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Parameters of the query by name. Those that the client sent under these names are removed.
    pub query: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Members of the body, by place: `/meta/user`. Objects on the way are made. Bodies that are not JSON, and requests
    /// without, stay as they are.
    pub body: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// What replies get.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "EnrichResponse")]
pub struct ReplyValues {
    /// Headers by name.
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// What is done about values that cannot be computed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EnrichMissing")]
pub enum Missing {
    /// The message goes without it.
    #[default]
    LeaveOut,
    /// The request is refused with `enrich.missing`; replies go without it.
    Refuse,
}

/// The way to a member, by names.
type Steps = Box<[Box<str>]>;

/// The policy `enrich`.
pub struct Enrich {
    request: Vec<(HeaderName, Expr)>,
    response: Vec<(HeaderName, Expr)>,
    query: Vec<(Box<str>, Expr)>,
    body: Vec<(Steps, Expr)>,
    owned: Vec<HeaderName>,
    captures: Box<[String]>,
    missing: Missing,
    most: usize,
    tally: Arc<Tally>,
}

impl PolicyKind for Enrich {
    const NAME: &'static str = "enrich";
    const STAGE: Stage = Stage::Shape;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let request = headers(&config.request.headers, site, &mut problems);
        let response = headers(&config.response.headers, site, &mut problems);
        let parameters = config.request.query.iter();
        let query: Vec<(Box<str>, Expr)> = parameters
            .filter_map(|(name, value)| Some((name.as_str().into(), expression(value, site, &mut problems)?)))
            .collect();
        let mut body = Vec::new();
        for (place, value) in &config.request.body {
            let steps = steps(place);
            if steps.is_none() {
                let message = format!("{} is no place in a JSON object", place.shown());
                problems.push(Diagnostic::error("enrich.place", message).at(place.span).hint("`/meta/user`"));
            }
            body.extend(steps.zip(expression(value, site, &mut problems)));
        }
        let is_empty = config.request.headers.is_empty()
            && config.response.headers.is_empty()
            && config.request.body.is_empty()
            && config.request.query.is_empty();
        if is_empty && site.is_whole() {
            let hint = "`request: { headers: { x-user: identity.subject } }`";
            problems.push(Diagnostic::error("enrich.nothing", "this adds nothing").at(written.span).hint(hint));
        }
        let most = payload::max_body(&config.max_body, "enrich.max_body", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let owned = request.iter().filter(|(_, value)| value.parts().contains(Parts::IDENTITY));
        Ok(Arc::new(Enrich {
            owned: owned.map(|(name, _)| name.clone()).collect(),
            request,
            response,
            query,
            body,
            captures: site.captured_names().into(),
            missing: config.missing,
            most,
            tally: site.tally(),
        }))
    }
}

fn headers(
    written: &BTreeMap<Spanned<String>, Spanned<String>>,
    site: &dyn Site,
    problems: &mut Vec<Diagnostic>,
) -> Vec<(HeaderName, Expr)> {
    let mut all = Vec::new();
    for (name, value) in written {
        let header = HeaderName::new(name).filter(|header| !is_owned(header));
        if header.is_none() {
            let message = format!("{} is not a header that can be set here", name.shown());
            let hint = "headers of the connection, of framing, of forwarding and `Host` are the gateway's";
            problems.push(Diagnostic::error("enrich.header", message).at(name.span).hint(hint));
        }
        all.extend(header.zip(expression(value, site, problems)));
    }
    all
}

fn is_owned(header: &HeaderName) -> bool {
    const OWNED: [KnownName; 6] = [
        KnownName::ContentLength,
        KnownName::Host,
        KnownName::Expect,
        KnownName::XRequestId,
        KnownName::Traceparent,
        KnownName::Tracestate,
    ];
    let text = header.as_str();
    let is_known = matches!(header, HeaderName::Known(known) if known.is_hop_by_hop() || OWNED.contains(known));
    is_known || is_forwarding_spelling(text.as_bytes()) || text.replace('_', "-") == "x-request-id"
}

fn expression(written: &Spanned<String>, site: &dyn Site, problems: &mut Vec<Diagnostic>) -> Option<Expr> {
    let compiled = torana_expr::Written::of(site, "enrich.value").expression(written);
    compiled.map_err(|problem| problems.push(*problem)).ok()
}

fn steps(place: &str) -> Option<Steps> {
    let place = place.strip_prefix('/').filter(|rest| !rest.is_empty())?;
    let steps: Steps = place.split('/').map(pointer::name).collect();
    (steps.len() <= 16).then_some(steps)
}

/// Why a message does not get a value.
struct Lack(String);

impl Enrich {
    fn value(&self, expr: &Expr, exchange: &Exchange) -> Result<Val, Lack> {
        let subject = Subject::of(exchange, &self.captures);
        match expr.evaluate(&subject) {
            Ok(Value::Text(text)) => Ok(reshape::text(&text)),
            Ok(Value::Bool(value)) => Ok(Val::Bool(value)),
            Ok(Value::Int(value)) => Ok(Val::from(isize::try_from(value).unwrap_or(isize::MAX))),
            Err(fault) => Err(Lack(fault.to_string())),
        }
    }

    /// The value as it stands in a header.
    fn text(&self, expr: &Expr, exchange: &Exchange) -> Result<Vec<u8>, Lack> {
        let text = shown(&self.value(expr, exchange)?);
        // What a client sent may be in it, decoded.
        if text.iter().copied().all(is_value_byte) { Ok(text) } else { Err(Lack("it cannot stand in a header".into())) }
    }

    /// What stands in the places of `list`; the first that is lacking ends it
    /// where that is refused.
    fn values<'p, P, T>(
        &self,
        list: &'p [(P, Expr)],
        missing: Missing,
        value: impl Fn(&Expr) -> Result<T, Lack>,
    ) -> Result<Vec<(&'p P, Option<T>)>, Lack> {
        let one = |(place, expr): &'p (P, Expr)| match value(expr) {
            Ok(value) => Ok((place, Some(value))),
            Err(why) if missing == Missing::Refuse => Err(why),
            Err(_) => {
                self.tally.count(&LEFT_OUT);
                Ok((place, None))
            }
        };
        list.iter().map(one).collect()
    }

    /// Adds to a request's head; answers what its body gets.
    fn on_head(&self, exchange: &mut Exchange) -> Result<Vec<(Steps, Val)>, Lack> {
        let headers = self.values(&self.request, self.missing, |expr| self.text(expr, exchange))?;
        let takes_members =
            !self.body.is_empty() && !exchange.body.is_empty() && payload::media(&exchange.head.fields) == Media::Json;
        let body = if takes_members { &self.body[..] } else { &[] };
        let members = self.values(body, self.missing, |expr| self.value(expr, exchange))?;
        let parameters = self.values(&self.query, self.missing, |expr| Ok(shown(&self.value(expr, exchange)?)))?;
        if !parameters.is_empty() {
            let query = with_parameters(exchange.forward_query().unwrap_or_default(), &parameters);
            exchange.forward.query = Some(query.into());
        }
        set(&mut exchange.head.fields, headers);
        Ok(members.into_iter().filter_map(|(steps, value)| Some((steps.clone(), value?))).collect())
    }

    async fn body(&self, places: Vec<(Steps, Val)>, exchange: &mut Exchange) -> Result<(), Rejection> {
        payload::expect_plain(&exchange.head.fields, &BODY)?;
        let bytes = payload::collect(&mut exchange.body, self.most, &TOO_LONG).await?;
        let size = bytes.len();
        let work = move |_| {
            let mut root = reshape::read(&bytes)?;
            for (steps, value) in &places {
                put(&mut root, steps, value).ok_or(TextFault::Other("the body has something else in that place"))?;
            }
            let mut out = Vec::with_capacity(bytes.len() + 64);
            reshape::write(&root, usize::MAX, &mut out)?;
            Ok(out)
        };
        let worker = exchange.outbound.clone();
        let bytes = with_budget(worker.as_deref(), size, work).await.map_err(|fault| fault.rejection(&BODY, &BUSY))?;
        payload::replace_request(exchange, bytes, None);
        Ok(())
    }
}

/// A value as text.
fn shown(value: &Val) -> Vec<u8> {
    match value {
        Val::TStr(text) => text.to_vec(),
        other => other.to_string().into_bytes(),
    }
}

/// A query with these parameters in the place of those of the same names.
fn with_parameters(before: &str, parameters: &[(impl AsRef<str>, Option<Vec<u8>>)]) -> String {
    let is_owned = |pair: &&str| {
        let name = query::pairs(pair).next().map(|(name, _)| name);
        name.is_some_and(|name| parameters.iter().any(|(known, _)| name.clone().eq(known.as_ref().bytes())))
    };
    let kept = before.split('&').filter(|pair| !pair.is_empty() && !is_owned(pair));
    let mut all: Vec<String> = kept.map(str::to_owned).collect();
    let own = parameters.iter().filter_map(|(name, value)| Some((name.as_ref(), value.as_ref()?)));
    all.extend(own.map(|(name, value)| {
        let mut pair = String::new();
        query::encode(name.as_bytes(), &mut pair);
        pair.push('=');
        query::encode(value, &mut pair);
        pair
    }));
    all.join("&")
}

/// Puts a value into an object, making those on the way.
fn put(root: &mut Val, steps: &[Box<str>], value: &Val) -> Option<()> {
    let (last, way) = steps.split_last()?;
    let mut at = root;
    for step in way {
        let Val::Obj(members) = at else { return None };
        at = Arc::make_mut(members).entry(reshape::text(step)).or_insert_with(|| Val::obj([].into_iter().collect()));
    }
    let Val::Obj(members) = at else { return None };
    Arc::make_mut(members).insert(reshape::text(last), value.clone());
    Some(())
}

fn set(fields: &mut Fields, headers: Vec<(&HeaderName, Option<Vec<u8>>)>) {
    for (name, text) in headers {
        fields.remove(name);
        if let Some(text) = text {
            // Looked at when it was computed.
            let _ = fields.append(name.clone(), &text);
        }
    }
}

impl Policy for Enrich {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let places = match self.on_head(exchange) {
            Ok(places) => places,
            Err(Lack(why)) => {
                self.tally.count(&REFUSED);
                return Rejection::new(&MISSING).because(why).into();
            }
        };
        if places.is_empty() {
            self.tally.count(&ADDED);
            return Verdict::CONTINUE;
        }
        Verdict::Wait(Box::pin(async move {
            match self.body(places, exchange).await {
                Ok(()) => {
                    self.tally.count(&ADDED);
                    Decision::Continue
                }
                Err(rejection) => {
                    self.tally.count(&REFUSED);
                    Decision::Reject(rejection)
                }
            }
        }))
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        // A reply goes without what is missing, whatever is written.
        if let Ok(headers) = self.values(&self.response, Missing::LeaveOut, |expr| self.text(expr, exchange)) {
            set(&mut reply.head.fields, headers);
        }
        Verdict::CONTINUE
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::policy::entry;
    use torana_core::testing::{TestNames, exchange, ready, transcript, written};

    fn run(config: &str, request: &str) -> String {
        transcript(&entry::<Enrich>(), config, request, "200\nX-Version: 0")
    }

    fn body(config: &str, request: &str) -> Result<String, &'static str> {
        let policy = (entry::<Enrich>().build)(&written(config), &TestNames::new("r", "/*").counting(EVENTS)).unwrap();
        let mut exchange = exchange(request);
        match ready(policy.on_request(&mut exchange)) {
            Decision::Reject(rejection) => Err(rejection.refusal.code),
            _ => Ok(String::from_utf8_lossy(exchange.body.data()).into_owned()),
        }
    }

    #[test]
    fn headers_get_computed_values_and_nothing_else() {
        let config = r#"{
            "request": { "headers": { "X-Tenant": "headers[\"x-team\"] + \"-\" + query[\"env\"]", "x-none": "cookies[\"a\"]" } },
            "response": { "headers": { "X-Version": "\"1.0\"" } } }"#;
        let shown = run(config, "GET /?env=p HTTP/1.1\nHost: a\nX-Team: t\nX-TENANT: forged\nX-None: forged");
        assert_eq!(
            shown,
            "GET /?env=p\nhost: a\nx-team: t\nx-tenant: t-p\n--\n200\nx-version: 1.0\n1 × added\n1 × left_out\n"
        );
    }

    #[test]
    fn what_a_client_sends_cannot_break_out_of_a_header() {
        let config = r#"{ "request": { "headers": { "x-a": "query[\"a\"]" } } }"#;
        let shown = run(config, "GET /?a=1%0d%0aX-B:%202 HTTP/1.1\nHost: a");
        assert_eq!(shown, "GET /?a=1%0d%0aX-B:%202\nhost: a\n--\n200\nx-version: 0\n1 × added\n1 × left_out\n");
    }

    #[test]
    fn parameters_replace_those_of_their_name() {
        let config =
            r#"{ "request": { "query": { "tenant": "headers[\"x-t\"]", "n": "1 + 1", "no": "cookies[\"a\"]" } } }"#;
        let shown = run(config, "GET /?a=b%20c&%74enant=forged&no=1&tenant HTTP/1.1\nHost: a\nX-T: a&b=c d");
        assert!(shown.starts_with("GET /?a=b%20c&n=2&tenant=a%26b%3Dc%20d\n"), "{shown}");
    }

    #[test]
    fn members_are_put_into_bodies() {
        let config =
            r#"{ "request": { "body": { "/meta/method": "method", "/n": "1 + 1", "/none": "cookies[\"a\"]" } } }"#;
        let post = |body: &str| format!("POST / HTTP/1.1\nHost: a\nContent-Type: application/json\n\n{body}");
        assert_eq!(body(config, &post(r#"{"a":1.10}"#)).as_deref(), Ok(r#"{"a":1.10,"meta":{"method":"POST"},"n":2}"#));
        assert_eq!(
            body(config, &post(r#"{"meta":{"a":1},"n":9}"#)).as_deref(),
            Ok(r#"{"meta":{"a":1,"method":"POST"},"n":2}"#)
        );
        for wrong in ["[]", "{\"meta\":1}", "{", "{\"a\":1,\"a\":2}"] {
            assert_eq!(body(config, &post(wrong)), Err("enrich.body"), "{wrong}");
        }
        assert_eq!(body(config, "POST / HTTP/1.1\nHost: a\n\n{").as_deref(), Ok("{"));
    }

    #[test]
    fn what_is_missing_may_refuse_the_request() {
        let config = r#"{ "request": { "headers": { "x-a": "query[\"a\"]" } }, "missing": "refuse" }"#;
        assert!(run(config, "GET / HTTP/1.1\nHost: a").starts_with("rejected enrich.missing 400\n"));
        assert!(run(config, "GET /?a=1&a=2 HTTP/1.1\nHost: a").starts_with("rejected enrich.missing 400\n"));
        assert!(run(config, "GET /?a=1 HTTP/1.1\nHost: a").starts_with("GET /"));
    }

    #[test]
    fn headers_about_the_caller_are_owned() {
        let config = r#"{ "request": { "headers": { "x-user": "identity.subject", "x-b": "path" } } }"#;
        let policy = (entry::<Enrich>().build)(&written(config), &TestNames::new("r", "/*").counting(EVENTS)).unwrap();
        let names: Vec<_> = policy.owned_headers().iter().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-user"]);
    }

    #[test]
    fn all_mistakes_at_once() {
        let config = r#"{ "request": { "headers": { "Host": "path", "x_forwarded_for": "path", "x-a": "nope", "x-b": "captures[\"rst\"]" },
                          "body": { "a": "path" } } }"#;
        let shown = run(config, "GET / HTTP/1.1\nHost: a");
        assert_eq!(shown.matches("error enrich.header").count(), 2, "{shown}");
        assert!(shown.contains("error enrich.place") && shown.contains("did you mean `rest`"), "{shown}");
        assert_eq!(shown.matches("error enrich.value").count(), 2, "{shown}");
        assert!(run("{}", "GET / HTTP/1.1\nHost: a").starts_with("error enrich.nothing"));
    }
}
