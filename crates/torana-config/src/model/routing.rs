//! Upstreams and routes: which request goes where, and what happens on the way.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use torana_core::rewrite::Config as Rewrite;
use torana_core::units::{ByteSize, Duration};
use torana_core::written::{Entry, KindUse, OneOrMany, Spanned, Written, others};

use super::{Balance, Breaker, Concurrency, Discover, Endpoint, Fallback, Health, Hedge, Match, Retry, Sticky};

/// Endpoints that serve the same thing; a request goes to one of them.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where it answers: URLs, or maps with `url` and `weight` or `drain`. At least one, unless there is `discover`. A
    /// host name is resolved each time a connection is opened.
    #[serde(default)]
    pub endpoints: Vec<Spanned<Endpoint>>,
    /// Sources of more endpoints, which come and go with what the source says: names in DNS, or files. Default: none.
    #[serde(default)]
    pub discover: OneOrMany<Spanned<Discover>>,
    /// Time from the first attempt to send the request to the head of the response: connecting,
    /// repetitions and the waits between them count. What is left of the route's or the listener's
    /// limit is the limit if that is less. `0s` means no limit. Default `60s`.
    #[serde(default = "minute")]
    pub timeout: Spanned<Duration>,
    /// Time to establish a connection, TLS handshake included. 0 is refused. Default `5s`.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Spanned<Duration>,
    /// Name of a request header that tells the service how many milliseconds are left for the head of
    /// its response: the least of this `timeout`, `retry.per_try_timeout` and the limits of route and
    /// listener, less what has passed. Written anew for each attempt; what clients send under this
    /// name does not get through. Envoy's is `x-envoy-expected-rq-timeout-ms`. Default: none, since a
    /// service that does not expect it may misread it. `grpc-timeout` of gRPC callers needs no
    /// header here: it limits the whole call and always tells what is left.
    #[serde(default)]
    pub deadline_header: Option<Spanned<String>>,
    /// How long an unused connection is kept for the next request. Shorter than the endpoint's own
    /// idle timeout is best: a connection the endpoint has just closed fails the request. Default
    /// `60s`.
    #[serde(default = "minute")]
    pub idle_timeout: Spanned<Duration>,
    /// Unused connections kept, per worker and endpoint. 0 means a new connection for each request.
    /// Default 256: what one busy HTTP/2 client can ask for at once.
    #[serde(default = "two_hundred_fifty_six")]
    #[schemars(range(max = 100_000))]
    pub max_idle: u32,
    /// Version of HTTP. `auto` is HTTP/1.1, except that `https` offers HTTP/2 by ALPN and `h2c` is
    /// HTTP/2. Default `auto`.
    #[serde(default)]
    pub protocol: Spanned<Protocol>,
    /// TLS towards `https` endpoints. Default: the system's authorities, the endpoint's host name,
    /// no client certificate. Verification cannot be turned off.
    #[serde(default)]
    pub tls: Option<Spanned<UpstreamTls>>,
    /// How the endpoint of a request is chosen: `round_robin`, `least_request`, `peak_ewma`, `random`, or
    /// `consistent_hash` with what is hashed. Default `round_robin`.
    #[serde(default)]
    pub balance: Spanned<Balance>,
    /// Over how long an endpoint that joins or comes back is brought to its full share. Default `0s`: at once.
    #[serde(default)]
    pub slow_start: Option<Spanned<Duration>>,
    /// A cookie that leads a client to the endpoint it had before.
    #[serde(default)]
    pub sticky: Option<Spanned<Sticky>>,
    /// How endpoints are watched. Default: no probes; an endpoint on which five requests in a row fail is left
    /// out for half a minute.
    #[serde(default)]
    pub health: Spanned<Health>,
    /// When the upstream is left alone because it fails. Default: never.
    #[serde(default)]
    pub breaker: Option<Spanned<Breaker>>,
    /// Most requests at a time. Default: no limit.
    #[serde(default)]
    pub concurrency: Option<Spanned<Concurrency>>,
    /// When a failed request is sent again. Default: only one that could not be sent, to another endpoint.
    #[serde(default)]
    pub retry: Option<Spanned<Retry>>,
    /// When a request that is slow is sent to another endpoint as well. Default: never.
    #[serde(default)]
    pub hedge: Option<Spanned<Hedge>>,
    /// Who answers when the upstream cannot: tried in order.
    #[serde(default)]
    pub fallback: OneOrMany<Spanned<Fallback>>,
}

fn minute() -> Spanned<Duration> {
    Duration::from_secs(60).into()
}

fn five_seconds() -> Spanned<Duration> {
    Duration::from_secs(5).into()
}

fn two_hundred_fifty_six() -> u32 {
    256
}

/// A version of HTTP towards an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// What the scheme and ALPN decide.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; with `http` endpoints by prior knowledge.
    Http2,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        })
    }
}

/// TLS towards an upstream. Paths are relative to the file they are written in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM file with the authorities to trust instead of the system's.
    pub ca: Option<Spanned<PathBuf>>,
    /// PEM file with the certificate chain to show; needs `key`.
    pub cert: Option<Spanned<PathBuf>>,
    /// PEM file with the key of `cert`.
    pub key: Option<Spanned<PathBuf>>,
    /// Name to ask for (SNI) and to verify. Default: the host of the endpoint.
    pub server_name: Option<Spanned<String>>,
}

/// What is done with requests that match.
///
/// A route has exactly one target: `upstream`, `redirect`, `respond`, or a target this build adds.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name for logs, metrics and the admin interface; unique.
    pub name: Spanned<String>,
    /// Which requests. What is left out matches everything. A route without it is the default: it gets what no
    /// other route takes.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// What requests go through on the way, in order within each stage: names, or maps from a name
    /// to its configuration. The global `policies` come first.
    #[serde(default)]
    pub policies: Vec<Spanned<KindUse>>,
    /// Send the request to this upstream.
    #[serde(default)]
    pub upstream: Option<Spanned<String>>,
    /// Answer with a redirect.
    #[serde(default)]
    pub redirect: Option<Spanned<Redirect>>,
    /// Answer with a fixed response.
    #[serde(default)]
    pub respond: Option<Spanned<Respond>>,
    /// Change the request before it is sent to the target. Matching has been done by then.
    #[serde(default)]
    pub rewrite: Option<Spanned<Rewrite>>,
    /// Time from the end of the request head to the end of the response, in place of
    /// `limits.request_timeout`. `0s` means no limit.
    #[serde(default)]
    pub timeout: Option<Spanned<Duration>>,
    /// Bytes of a request body, in place of `limits.body_bytes`.
    #[serde(default)]
    pub body_bytes: Option<Spanned<ByteSize>>,
    /// The targets that this build adds: the keys that are none of the above. The schema decides
    /// which exist.
    #[serde(default, rename = "$others", deserialize_with = "other_targets")]
    #[schemars(skip)]
    pub targets: Vec<KindUse>,
}

fn other_targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KindUse>, D::Error> {
    let entries = others(deserializer)?;
    Ok(entries.into_iter().map(|Entry { key, value }| KindUse { name: key, config: value }).collect())
}

/// An answer that sends the client elsewhere: to another path or URL (`to`), or to the same one with
/// another scheme, host or port.
///
/// The host is the request's own or the one written here: nothing else in a request can choose it.
/// A redirect to the very address that was asked for is refused with `redirect.loop`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Where to: a path or an `http(s)` URL. `{name}` stands for what the pattern captured, `{rest}`
    /// for what `*` matched, in the path only. The query is kept unless this has its own. Default:
    /// the request's path.
    #[serde(default)]
    pub to: Option<Spanned<String>>,
    /// Change the scheme. Default: the client's, also where a trusted proxy ended its TLS.
    #[serde(default)]
    pub scheme: Option<Spanned<WebScheme>>,
    /// Change the host: a name, or an IP address. Default: the request's.
    #[serde(default)]
    pub host: Option<Spanned<String>>,
    /// Change the port. Default: the scheme's own where `scheme` is given, otherwise the request's.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<Spanned<u16>>,
    /// 301, 302, 303, 307 or 308. Default 308: permanent, and the method stays.
    #[serde(default = "permanent")]
    #[schemars(range(min = 300, max = 399))]
    pub status: Spanned<u16>,
}

fn permanent() -> Spanned<u16> {
    308.into()
}

/// A scheme that browsers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebScheme {
    /// Plain text.
    Http,
    /// Over TLS.
    Https,
}

impl std::fmt::Display for WebScheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Respond {
    /// Status, 200 to 599. Default 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: Spanned<u16>,
    /// Body as text; `text/plain` unless `headers` say otherwise. Default: empty.
    pub body: Option<Spanned<String>>,
    /// Body as JSON, `application/json`; instead of `body`.
    pub json: Option<Written>,
    /// Headers of the answer. `Content-Length` is the gateway's.
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200.into(), body: None, json: None, headers: BTreeMap::new() }
    }
}

/// A store: a map from its kind to the configuration its own crate reads.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreUse(pub KindUse);

impl<'de> Deserialize<'de> for StoreUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        KindUse::deserialize(deserializer).map(StoreUse)
    }
}

impl JsonSchema for StoreUse {
    fn schema_name() -> Cow<'static, str> {
        "StoreUse".into()
    }

    /// Any kind; [`crate::schema`] puts those of the build in its place.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "A store: a map from its kind to its configuration.",
            "type": "object", "minProperties": 1, "maxProperties": 1
        })
    }
}
