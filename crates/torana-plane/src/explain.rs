//! Why a request would get the answer it would get, without sending it.
//!
//! Admission, matching, the target's choice and rewriting are the very steps of
//! the request path, run on a plan; only policies are not run: they are named, and
//! say what they would do ([`explain`](torana_core::policy::Policy::explain)).

use crate::log::{self, LogSink};
use crate::matcher::{Facts, Outcome as Matched, Rule};
use crate::metrics::Metrics;
use crate::path::{self, Preview};
use crate::plan::{Link, Plan, Route};
use crate::tools::Tools;
use serde::Serialize;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;
use torana_core::clock::SystemClock;
use torana_core::exchange::{Connection, Exchange, Tls};
use torana_core::refusal::Rejection;
use torana_core::target::UpstreamId;
use torana_core::trace::IdSource;
use torana_upstream::breaker::Phase;
use torana_upstream::forecast::{Forecast, Prospect, forecast};

/// A hypothetical request.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Its method.
    pub method: &'a str,
    /// `http://host/path?query`; a scheme of `https` means over TLS. Without
    /// scheme and host, `/path`, the host is `localhost` unless a `Host`
    /// header names another.
    pub url: &'a str,
    /// Its headers, as a client would write them.
    pub headers: &'a [(String, String)],
    /// Where it would come from.
    pub client_ip: IpAddr,
}

/// What would become of it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The request as the gateway reads it; `None` if it cannot be read.
    pub request: Option<Asked>,
    /// The client's address after trusted proxies had their say.
    pub client_ip: IpAddr,
    /// What happens to it.
    pub outcome: Outcome,
    /// Every route and the rule that decided about it; the candidates first,
    /// in the order they were tried.
    pub candidates: Vec<Candidate>,
    /// The winner's policies, in the order they would run.
    pub policies: Vec<Step>,
    /// The winner's target, in one line.
    pub target: Option<String>,
    /// The request as an upstream would get it, before policies change it;
    /// `None` where none would.
    pub forwarded: Option<Forwarded>,
    /// Which of the upstream's endpoints it would be sent to; `None` where it
    /// goes to no upstream, or nothing runs.
    pub endpoint: Option<Chosen>,
}

/// The endpoint of a request, and why it.
#[derive(Clone, Debug, Serialize)]
pub struct Chosen {
    /// Its name; `None` if that is left to chance, or if none may be asked.
    pub name: Option<String>,
    /// What decides, in words; the reason code if none may be asked.
    pub why: &'static str,
    /// How endpoints are chosen.
    pub algorithm: &'static str,
    /// Whether health is set aside because too few endpoints are usable.
    pub panic: bool,
    /// All of them.
    pub endpoints: Vec<EndpointStanding>,
}

/// How an endpoint stands.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStanding {
    /// Its name.
    pub endpoint: String,
    /// Its weight.
    pub weight: u32,
    /// Whether its health lets it be asked.
    pub usable: bool,
    /// What speaks against it.
    pub out: Vec<&'static str>,
    /// The phase of the breaker before it, if it has one.
    pub breaker: Option<&'static str>,
    /// Its part of requests like this one, from 0 to 1, loads being equal.
    pub share: f64,
}

/// A request in its canonical form.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host, without port.
    pub host: String,
    /// The canonical path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
}

/// What happens to a request.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// This route serves it.
    Route {
        /// Its name.
        name: String,
    },
    /// The gateway answers by itself, before any route.
    Answered {
        /// The status.
        status: u16,
    },
    /// It is refused: before a policy sees it, or by the target.
    Refused {
        /// The reason code.
        code: &'static str,
        /// The status.
        status: u16,
        /// What the caller is told.
        message: Cow<'static, str>,
        /// What the log says.
        cause: Option<String>,
    },
}

/// A route and the rule that decided about it.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// The route's name.
    pub route: String,
    /// Its path pattern.
    pub path: String,
    /// Whether it serves the request.
    pub wins: bool,
    /// What decided, in words.
    pub rule: String,
}

/// A policy in a chain.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The stage it runs in.
    pub stage: &'static str,
    /// Its name.
    pub policy: &'static str,
    /// What it would make of the request, where it can tell without asking
    /// anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

/// A request as it leaves the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Forwarded {
    /// The upstream.
    pub upstream: String,
    /// The method.
    pub method: String,
    /// The path, rewritten.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// All headers in order.
    pub headers: Vec<(String, String)>,
}

/// A question that is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// The URL has a scheme other than the two.
    #[error("`{0}` is not an `http://` or `https://` URL, nor a path")]
    Url(String),
    /// A method that is not a token.
    #[error("`{0}` is not a method")]
    Method(String),
    /// A header that no request can have.
    #[error("`{0}` is not a header that can be sent")]
    Header(String),
}

/// Explains what `plan` would do with a request.
///
/// # Errors
/// The question is not a request at all. One that the gateway would refuse is
/// explained, not an error.
pub fn explain(plan: &Plan, question: &Question<'_>) -> Result<Explanation, QuestionError> {
    explain_as(plan, question, false)
}

/// Explains what a gateway that runs would do with a request: `plan` is in
/// force, and how its endpoints stand counts. Nothing is changed by asking.
///
/// # Errors
/// As [`explain`].
pub fn explain_running(plan: &Plan, question: &Question<'_>) -> Result<Explanation, QuestionError> {
    explain_as(plan, question, true)
}

fn explain_as(plan: &Plan, question: &Question<'_>, is_running: bool) -> Result<Explanation, QuestionError> {
    let mut exchange = exchange(plan, question)?;
    let metrics = Metrics::new();
    let (worker, aside) = (metrics.add_worker(), metrics.aside());
    let tools = Tools::new(worker, LogSink::none(), IdSource::new(0), Rc::new(SystemClock), aside);
    let previewed = path::preview(plan, &tools, &mut exchange);
    let route = exchange.route.and_then(|id| plan.route(id)).filter(|_| previewed.is_ok());
    let (outcome, upstream) = match (previewed, route) {
        (Err(rejection), _) => (refused(&rejection), None),
        (Ok(Preview::Answered(reply)), _) => (Outcome::Answered { status: reply.head.status.code() }, None),
        (Ok(preview), Some(route)) => {
            let upstream = if let Preview::Forwarded(upstream) = preview { Some(upstream) } else { None };
            (Outcome::Route { name: route.name.to_string() }, upstream)
        }
        // Unrouted exchanges are refused.
        (Ok(_), None) => (refused(&Rejection::new(&crate::refusals::NOT_FOUND)), None),
    };
    let forecast = upstream.filter(|_| is_running).and_then(|upstream| forecast_of(plan, upstream, &exchange));
    let chosen = forecast.as_ref().and_then(|forecast| forecast.chosen);
    Ok(Explanation {
        request: asked(plan, &exchange),
        client_ip: exchange.client_ip,
        candidates: candidates(plan, &exchange),
        policies: route.map(|route| steps(route, &mut exchange)).unwrap_or_default(),
        target: route.map(|route| route.target.describe()),
        forwarded: upstream.and_then(|upstream| forwarded(plan, upstream, chosen, &mut exchange)),
        endpoint: forecast.map(shown),
        outcome,
    })
}

fn exchange(plan: &Plan, question: &Question<'_>) -> Result<Exchange, QuestionError> {
    let (secure, authority, target) = split(question.url)?;
    // The first listener of the right kind, for its limits.
    let listener =
        plan.listeners.iter().find(|listener| listener.listening.tls.is_some() == secure).or(plan.listeners.first());
    let tls = Tls { version: "TLSv1.3", server_name: None, client_chain: Vec::new() };
    let connection = Connection {
        listener: listener.map_or_else(|| "".into(), |listener| listener.name.clone()),
        peer: Some(SocketAddr::new(question.client_ip, 0)),
        local: None,
        tls: secure.then_some(tls),
    };
    let mut exchange = Exchange::new(Rc::new(connection), Instant::now());
    let is_method = !question.method.is_empty() && question.method.bytes().all(torana_core::names::is_token_byte);
    if !is_method {
        return Err(QuestionError::Method(question.method.to_owned()));
    }
    exchange.head.set_method(question.method.as_bytes());
    exchange.head.set_raw_target(target.as_bytes());
    let fields = &mut exchange.head.fields;
    let names_host = question.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if let Some(host) = authority.or((!names_host).then_some("localhost")) {
        fields.append_text(b"host", host.as_bytes()).map_err(|_| QuestionError::Url(question.url.to_owned()))?;
    }
    for (name, value) in question.headers {
        let added = fields.append_text(name.as_bytes(), value.as_bytes());
        added.map_err(|_| QuestionError::Header(name.clone()))?;
    }
    Ok(exchange)
}

/// Whether over TLS, the authority, and path with query. Nothing is decoded:
/// the target stays as a client would send it.
fn split(url: &str) -> Result<(bool, Option<&str>, &str), QuestionError> {
    if url.starts_with('/') || url == "*" {
        return Ok((false, None, url));
    }
    let invalid = || QuestionError::Url(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(invalid()),
    };
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Ok((secure, Some(authority), if target.is_empty() { "/" } else { target }))
}

fn refused(rejection: &Rejection) -> Outcome {
    Outcome::Refused {
        code: rejection.refusal.code,
        status: rejection.refusal.status.code(),
        message: rejection.message(),
        cause: rejection.cause.as_deref().map(str::to_owned),
    }
}

fn asked(plan: &Plan, exchange: &Exchange) -> Option<Asked> {
    let target = exchange.target();
    (!target.path().is_empty()).then(|| Asked {
        method: exchange.head.method_text().to_owned(),
        scheme: target.scheme().as_str(),
        host: target.host().to_owned(),
        path: target.path().to_owned(),
        query: target.query().map(|query| log::redacted_query(query, &plan.credential_parameters)),
    })
}

fn candidates(plan: &Plan, exchange: &Exchange) -> Vec<Candidate> {
    if exchange.target().path().is_empty() {
        return Vec::new();
    }
    let explained = plan.matcher.explain(Facts::of(exchange));
    let winner = match explained.outcome {
        Matched::Matched(id) => Some(id),
        _ => None,
    };
    let candidate = |considered: &crate::matcher::Considered| {
        let route = plan.route(considered.route)?;
        Some(Candidate {
            route: route.name.to_string(),
            path: route.pattern.to_string(),
            wins: winner == Some(considered.route) && considered.rule == Rule::Wins,
            rule: considered.rule.to_string(),
        })
    };
    explained.considered.iter().filter_map(candidate).collect()
}

fn steps(route: &Route, exchange: &mut Exchange) -> Vec<Step> {
    let step =
        |link: &Link| Step { stage: link.stage.as_str(), policy: link.name, says: link.policy.explain(exchange) };
    route.chain.iter().map(step).collect()
}

fn forecast_of(plan: &Plan, upstream: UpstreamId, exchange: &Exchange) -> Option<Forecast> {
    let state = plan.states.get(upstream.0 as usize)?;
    Some(forecast(plan.upstream(upstream)?, state, exchange, Instant::now()))
}

fn shown(forecast: Forecast) -> Chosen {
    let name =
        forecast.chosen.and_then(|index| forecast.endpoints.get(index)).map(|endpoint| endpoint.name.to_string());
    let standing = |endpoint: &Prospect| EndpointStanding {
        endpoint: endpoint.name.to_string(),
        weight: endpoint.weight,
        usable: endpoint.usable,
        out: endpoint.out.clone(),
        breaker: endpoint.breaker.map(Phase::as_str),
        share: endpoint.share,
    };
    Chosen {
        name,
        why: forecast.why.as_str(),
        algorithm: forecast.algorithm,
        panic: forecast.panic,
        endpoints: forecast.endpoints.iter().map(standing).collect(),
    }
}

fn forwarded(plan: &Plan, upstream: UpstreamId, chosen: Option<usize>, exchange: &mut Exchange) -> Option<Forwarded> {
    let upstream = plan.upstream(upstream)?;
    exchange.write_host(upstream.endpoints.get(chosen.unwrap_or(0)).map_or("", |endpoint| &endpoint.authority));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Explanations are pasted into tickets.
    let header = |name: String, value: String| match log::is_credential(&name) {
        true => (name, log::REDACTED.to_owned()),
        false => (name, value),
    };
    let headers = exchange.head.fields.iter().map(|(name, value)| header(text(name.text), text(value))).collect();
    Some(Forwarded {
        upstream: upstream.name.to_string(),
        method: exchange.head.method_text().to_owned(),
        path: exchange.forward_path().to_owned(),
        query: exchange.forward_query().map(|query| log::redacted_query(query, &plan.credential_parameters)),
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    const CONFIG: &str = r#"{
        "trusted_proxies": ["10.0.0.0/8"],
        "upstreams": { "users": { "endpoints": ["http://users.internal:3001"] } },
        "routes": [
            { "name": "rest", "match": { "path": "/api/*" }, "upstream": "users" },
            { "name": "users", "match": { "path": "/api/users/*", "methods": ["GET"] }, "upstream": "users",
              "policies": [ { "late": { "id": "b" } }, { "early": { "id": "a", "request": "refuse" } } ],
              "rewrite": { "strip_prefix": "/api", "host": "upstream" } },
            { "name": "other", "match": { "host": "other.example" }, "respond": {} }
        ]
    }"#;

    fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> Explanation {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let question = Question { method, url, headers: &headers, client_ip: [10, 0, 0, 1].into() };
        explain(&plan(CONFIG, None).unwrap(), &question).unwrap()
    }

    #[test]
    fn the_winner_the_losers_and_the_rewritten_request() {
        let answer = ask("GET", "http://Shop.example/api/./users/7?x=1", &[("X-Forwarded-For", "203.0.113.9")]);
        assert_eq!(answer.outcome, Outcome::Route { name: "users".into() });
        assert_eq!(answer.client_ip, IpAddr::from([203, 0, 113, 9]));
        let rules: Vec<_> = answer.candidates.iter().map(|c| (c.route.as_str(), c.wins, c.rule.as_str())).collect();
        assert_eq!(
            rules,
            [
                ("users", true, "wins"),
                ("rest", false, "matches, but the winner has a more specific path"),
                ("other", false, "the host does not match"),
            ]
        );
        let policies: Vec<_> = answer.policies.iter().map(|step| (step.stage, step.policy)).collect();
        assert_eq!(policies, [("intake", "early"), ("serve", "late")]);
        assert_eq!(answer.target.as_deref(), Some("upstream users"));
        let forwarded = answer.forwarded.unwrap();
        assert_eq!((forwarded.path.as_str(), forwarded.query.as_deref()), ("/users/7", Some("x=1")));
        let header =
            |wanted: &str| forwarded.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(header("host"), Some("users.internal:3001"));
        assert_eq!(header("x-forwarded-for"), Some("203.0.113.9, 10.0.0.1"));
    }

    #[test]
    fn refusals_are_explained_too() {
        let answer = ask("GET", "/a%2fb", &[]);
        assert!(matches!(answer.outcome, Outcome::Refused { code: "target.encoded_slash", status: 400, .. }));
        assert!(answer.request.is_none() && answer.candidates.is_empty() && answer.forwarded.is_none());
        let answer = ask("POST", "/nothing", &[]);
        assert!(matches!(answer.outcome, Outcome::Refused { code: "route.not_found", .. }));
        assert_eq!(answer.candidates.len(), 3);
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["outcome"]["kind"], "refused");
        assert_eq!(ask("OPTIONS", "*", &[]).outcome, Outcome::Answered { status: 204 });
    }

    #[test]
    fn what_is_no_request_is_no_question() {
        let plan = plan(CONFIG, None).unwrap();
        let client_ip = IpAddr::from([127, 0, 0, 1]);
        let ask = |method, url| explain(&plan, &Question { method, url, headers: &[], client_ip }).map(|_| ());
        assert_eq!(ask("GET", "ftp://a/"), Err(QuestionError::Url("ftp://a/".into())));
        assert_eq!(ask("G T", "/"), Err(QuestionError::Method("G T".into())));
        let headers = [("a b".to_owned(), "x".to_owned())];
        let question = Question { method: "GET", url: "/", headers: &headers, client_ip };
        assert_eq!(explain(&plan, &question).map(|_| ()), Err(QuestionError::Header("a b".into())));
    }
}
