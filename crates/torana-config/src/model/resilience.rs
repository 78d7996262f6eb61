//! How an upstream's endpoints are chosen and watched, and what happens when they fail.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use torana_core::diagnostic::{Misfit, quoted};
use torana_core::units::{ByteSize, Duration, Percent};
use torana_core::written::{OneOrMany, Spanned};

use super::{Respond, Switch};

/// How the endpoint of a request is chosen: one word, or a map for the way that needs more.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each in turn, in proportion to the weights, evenly spread. The default.
    #[default]
    RoundRobin,
    /// Of two drawn at random, the one with fewer requests under way for its weight.
    LeastRequest,
    /// Of two drawn at random, the one whose recent latency times its requests under way is lower.
    PeakEwma,
    /// At random, in proportion to the weights.
    Random,
    /// The same key goes to the same endpoint as long as that one is there.
    ConsistentHash(Box<ConsistentHash>),
}

/// What decides the endpoint, and how far. Exactly one of `header`, `cookie`, `client` and `path`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistentHash {
    /// The value of this header. Requests without it are spread at random.
    #[serde(default)]
    pub header: Option<Spanned<String>>,
    /// The value of this cookie. Requests without it are spread at random.
    #[serde(default)]
    pub cookie: Option<Spanned<String>>,
    /// `true`: the client's address.
    #[serde(default)]
    pub client: Option<Spanned<bool>>,
    /// `true`: the path, without the query.
    #[serde(default)]
    pub path: Option<Spanned<bool>>,
    /// Most requests an endpoint may have under way, as a multiple of the average in percent; a key
    /// whose endpoint is full goes to the next. 0 turns the bound off. Default 125.
    #[serde(default = "hundred_twenty_five")]
    #[schemars(range(max = 1000))]
    pub bound: Spanned<u16>,
}

fn hundred_twenty_five() -> Spanned<u16> {
    125.into()
}

/// A cookie that leads a client to the endpoint it had before.
///
/// The cookie holds a keyed digest of the endpoint, not its address. When the endpoint is gone or out,
/// the request goes to another one and the cookie is set anew.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// Name of the cookie.
    pub cookie: Spanned<String>,
    /// Secret of the digest, at least 16 bytes; the same on all gateways of a fleet. Default: a random
    /// one per process, so that clients may change their endpoint once when the gateway restarts.
    #[serde(default)]
    pub secret: Option<Spanned<String>>,
    /// How long clients keep the cookie. Default: until the browser closes.
    #[serde(default)]
    pub max_age: Option<Spanned<Duration>>,
    /// `lax`, `strict` or `none`. Default `lax`. `none` makes the cookie `Secure`.
    #[serde(default)]
    pub same_site: SameSite,
}

impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cookie, max_age, same_site, secret: _ } = self;
        let mut shown = f.debug_struct("Sticky");
        shown.field("cookie", cookie).field("max_age", max_age).field("same_site", same_site).finish_non_exhaustive()
    }
}

/// Whether a cookie goes along with requests from other sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// With links only.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always.
    None,
}

/// How endpoints are watched: by probes (`path`, `tcp` or `grpc`) and by what requests meet (`passive`).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Probe by requests for this path. Default: no probes.
    pub path: Option<Spanned<String>>,
    /// `true`: probe by connecting, TLS included.
    pub tcp: Option<Spanned<bool>>,
    /// Probe by `grpc.health.v1.Health/Check` for this service; empty asks about the server.
    pub grpc: Option<Spanned<String>>,
    /// Method of the probe. Default `GET`.
    pub method: Option<Spanned<String>>,
    /// `Host` of the probe. Default: the endpoint's.
    pub host: Option<Spanned<String>>,
    /// Statuses that pass: `200`, or a range, `200-399`. Default `200-399`.
    pub status: OneOrMany<Spanned<StatusText>>,
    /// Text that has to be in the first 64 KiB of the body.
    pub body_contains: Option<Spanned<String>>,
    /// Another port to probe. Default: the endpoint's.
    #[schemars(range(min = 1))]
    pub port: Option<Spanned<u16>>,
    /// From one probe to the next, give or take a tenth; 1 s while a verdict is about to change. Default
    /// `5s`.
    pub interval: Option<Spanned<Duration>>,
    /// For one probe. Default `1s`.
    pub timeout: Option<Spanned<Duration>>,
    /// Probes in a row that bring an endpoint back. Default 2.
    #[schemars(range(min = 1))]
    pub healthy_threshold: Option<Spanned<u32>>,
    /// Probes in a row that put an endpoint out. Default 3.
    #[schemars(range(min = 1))]
    pub unhealthy_threshold: Option<Spanned<u32>>,
    /// Whether a new endpoint has to pass a probe before it is used. Default `false`.
    pub require: bool,
    /// Ejection of endpoints on which requests fail; `false` turns it off. Default: on.
    pub passive: Switch<Passive>,
    /// When fewer endpoints than this are usable, health is set aside and all are used. `0%` turns that off.
    /// Default `50%`.
    pub panic_threshold: Spanned<Percent>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            tcp: None,
            grpc: None,
            method: None,
            host: None,
            status: OneOrMany::default(),
            body_contains: None,
            port: None,
            interval: None,
            timeout: None,
            healthy_threshold: None,
            unhealthy_threshold: None,
            require: false,
            passive: Switch::default(),
            panic_threshold: Percent::new(50).into(),
        }
    }
}

/// Ejection of endpoints on which requests fail: no connection, no answer in time, broken answers, and
/// the statuses named here. What the client or the gateway itself did is never charged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Passive {
    /// Failures in a row that eject an endpoint. Default 5; 0 turns this trigger off.
    pub failures: u32,
    /// Statuses that count as failures. Default `502-504`.
    pub status: OneOrMany<Spanned<StatusText>>,
    /// Share of failed requests within 10 s, of at least 50, that ejects an endpoint. Default: off.
    pub failure_ratio: Option<Spanned<Percent>>,
    /// How long the first ejection lasts; those that follow closely last longer, up to `max_eject_for`.
    /// Default `30s`.
    pub eject_for: Spanned<Duration>,
    /// No ejection lasts longer. Default `5m`.
    pub max_eject_for: Spanned<Duration>,
    /// Most endpoints ejected at a time; one of two or more always may be. Default `10%`.
    pub max_ejected: Spanned<Percent>,
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            failures: 5,
            status: OneOrMany::default(),
            failure_ratio: None,
            eject_for: Duration::from_secs(30).into(),
            max_eject_for: Duration::from_secs(300).into(),
            max_ejected: Percent::new(10).into(),
        }
    }
}

/// Stops sending to an upstream that fails, and tries it again with care.
///
/// It opens after `failures` in a row, when at least `failure_ratio` of the requests of a `window` failed, or
/// when `slow` says so; at least one of the three. Failed are requests without an answer and those answered 5xx
/// (but 501 and 505); what the client did never counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row that open it.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub failures: Option<Spanned<u32>>,
    /// Share of failures within `window` that opens it.
    #[serde(default)]
    pub failure_ratio: Option<Spanned<Percent>>,
    /// Opens on slow answers.
    #[serde(default)]
    pub slow: Option<Spanned<Slow>>,
    /// How far back the shares look. Default `10s`.
    #[serde(default = "ten_seconds")]
    pub window: Spanned<Duration>,
    /// Fewer requests than this in a window decide nothing. Default 20.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 30_000))]
    pub min_requests: Spanned<u32>,
    /// How long it stays open the first time; twice as long each time it opens again at once, up to
    /// `max_open_for`. Default `30s`.
    #[serde(default = "thirty_seconds")]
    pub open_for: Spanned<Duration>,
    /// The longest it stays open. Default `5m`.
    #[serde(default = "five_minutes")]
    pub max_open_for: Spanned<Duration>,
    /// Requests let through afterwards to see whether the upstream is back; all have to succeed. Default 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub probes: Spanned<u16>,
    /// Over how long the requests come back after that; `0s` is at once. Default `10s`.
    #[serde(default = "ten_seconds")]
    pub recovery: Spanned<Duration>,
    /// Whether the `upstream` has one breaker or each `endpoint` has its own. Default `upstream`.
    #[serde(default)]
    pub scope: BreakerScope,
}

/// What a breaker is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerScope {
    /// All endpoints together.
    #[default]
    Upstream,
    /// Each endpoint on its own.
    Endpoint,
}

/// When answers are slow, and how many may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// An answer that took longer to begin is slow.
    pub over: Spanned<Duration>,
    /// Share of slow answers that opens the breaker.
    pub ratio: Spanned<Percent>,
}

/// When a failed request is sent again.
///
/// Only requests that may be repeated are: idempotent methods (RFC 9110 §9.2.2) whose body has not been sent or
/// has been kept. A request of which nothing was sent is always safe.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How often a request may be sent again. Default 2.
    #[schemars(range(max = 10))]
    pub attempts: u8,
    /// What is worth another attempt: `connect` (no connection), `reset` (broken off before an answer), `timeout`
    /// (`per_try_timeout` passed), a status, or `5xx`. Default `[connect, reset, 502, 503, 504]`.
    pub on: OneOrMany<Spanned<StatusText>>,
    /// Time for one attempt. Default: what is left of the upstream's `timeout`.
    pub per_try_timeout: Option<Spanned<Duration>>,
    /// Wait before the first repetition, at most; it doubles each time, and each wait is drawn at random from nothing
    /// to it. Default `25ms`.
    pub backoff: Spanned<Duration>,
    /// The longest such wait. Default `250ms`.
    pub max_backoff: Spanned<Duration>,
    /// Repetitions in relation to requests, besides three a second that are always allowed. Default `20%`.
    pub budget: Spanned<Percent>,
    /// Repeat methods such as POST too: only for services that take the same request twice as once. Default `false`.
    pub non_idempotent: bool,
    /// Most bytes of a request body kept for a repetition; a longer one is sent once. Default `64KiB`.
    pub body_bytes: Spanned<ByteSize>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: OneOrMany::default(),
            per_try_timeout: None,
            backoff: Duration::from_millis(25).into(),
            max_backoff: Duration::from_millis(250).into(),
            budget: Percent::new(20).into(),
            non_idempotent: false,
            body_bytes: ByteSize::kib(64).into(),
        }
    }
}

/// Sends a slow request to another endpoint as well, and takes the first answer.
///
/// Only `GET`, `HEAD`, `OPTIONS` and `TRACE` without a body are; never a request to upgrade. Hedges are part of the
/// budget of repetitions: `retry.budget`, or 20 % if there is no `retry`. The attempt that loses is broken off, and counts
/// against nobody. A ceiling (`concurrency`) counts both. Interim answers (1xx) are those of the first attempt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hedge {
    /// How long the first attempt has on its own: a time, or `p` and a percentage: `p95` is the time within which 95 % of
    /// the answers of the last minute began, as this worker has seen it; with fewer than 100 of them nothing is sent twice.
    /// Default `p95`.
    pub after: Spanned<HedgeAfter>,
    /// Most attempts besides the first, each after the same time again. Default 1.
    #[schemars(range(min = 1, max = 3))]
    pub most: u8,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { after: HedgeAfter::Quantile(Percent::new(95)).into(), most: 1 }
    }
}

/// How long an attempt has on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// So long.
    Time(Duration),
    /// As long as this share of recent answers took.
    Quantile(Percent),
}

const HEDGE_AFTER: &str = "a duration such as `200ms`, or a percentile from `p50` to `p99.99`";

impl FromStr for HedgeAfter {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        let Some(percentile) = text.strip_prefix('p') else { return text.parse().map(Self::Time) };
        let misfit = || Misfit::new(HEDGE_AFTER, quoted(text));
        let share: Percent = format!("{percentile}%").parse().map_err(|_| misfit())?;
        let is_late = (5000..10_000).contains(&share.hundredths());
        if is_late { Ok(Self::Quantile(share)) } else { Err(misfit()) }
    }
}

impl<'de> Deserialize<'de> for HedgeAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for HedgeAfter {
    fn schema_name() -> Cow<'static, str> {
        "HedgeAfter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A duration, or a percentile of recent answers.",
            "examples": ["200ms", "p95", "p99.9"],
            "x-torana-expects": HEDGE_AFTER,
        })
    }
}

/// A ceiling on what an upstream is asked at a time, over all workers. What comes above it waits for a place, first come,
/// first served, and is refused when the queue is full or it has waited too long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// Most requests under way, until the end of their answers.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Spanned<u32>,
    /// Requests that may wait, per worker; 0: none. Default 100.
    #[serde(default = "hundred")]
    #[schemars(range(max = 4096))]
    pub queue: Spanned<u32>,
    /// How long one may wait, give or take 50 ms. Default `100ms`.
    #[serde(default = "hundred_milliseconds")]
    pub queue_timeout: Spanned<Duration>,
}

/// A status, or a word or range for several: `503`, `5xx`, `200-399`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusText(String);

impl Deref for StatusText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StatusText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StatusText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = StatusText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status, or a word for several")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<StatusText, E> {
                Ok(StatusText(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, status: u64) -> Result<StatusText, E> {
                Ok(StatusText(status.to_string()))
            }

            fn visit_i64<E: Error>(self, status: i64) -> Result<StatusText, E> {
                Ok(StatusText(status.to_string()))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for StatusText {
    fn schema_name() -> Cow<'static, str> {
        "StatusText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": ["string", "integer"],
            "description": "A status, or a word or range for several.",
            "examples": [503, "5xx", "200-399"]
        })
    }
}

/// Who answers in the place of an upstream that cannot: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Another upstream.
    #[serde(default)]
    pub upstream: Option<Spanned<String>>,
    /// A fixed answer.
    #[serde(default)]
    pub respond: Option<Spanned<Respond>>,
}

fn ten_seconds() -> Spanned<Duration> {
    Duration::from_secs(10).into()
}

fn thirty_seconds() -> Spanned<Duration> {
    Duration::from_secs(30).into()
}

fn five_minutes() -> Spanned<Duration> {
    Duration::from_secs(300).into()
}

fn three() -> Spanned<u16> {
    3.into()
}

fn twenty() -> Spanned<u32> {
    20.into()
}

fn hundred() -> Spanned<u32> {
    100.into()
}

fn hundred_milliseconds() -> Spanned<Duration> {
    Duration::from_millis(100).into()
}
