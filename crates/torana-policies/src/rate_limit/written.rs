//! The configuration.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use torana_core::diagnostic::Diagnostic;
use torana_core::site::Site;
use torana_core::store::quota;
use torana_core::units::Duration;
use torana_core::written::{OneOrMany, Spanned};

/// Limits how many requests each caller may send: one limit (`requests: 100, per: 1m`), or several
/// at once (`limits`). A request passes if all of them have room, and is charged to all or, if one
/// has none, to none; it is then refused with 429 and `Retry-After`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RateLimit")]
pub struct Config {
    /// How many requests, in place of `limits`.
    #[serde(default)]
    pub requests: Option<Spanned<u64>>,
    /// In which time.
    #[serde(default)]
    pub per: Option<Spanned<Duration>>,
    /// How they are counted. Default `gcra`.
    #[serde(default)]
    pub algorithm: Option<Spanned<Algorithm>>,
    /// How many at once, with `gcra` and `token_bucket`. Default: `requests`.
    #[serde(default)]
    pub burst: Option<Spanned<u64>>,
    /// Several limits, each with a name: up to 8. The strictest decides.
    #[serde(default)]
    pub limits: Vec<Spanned<Limit>>,
    /// Other limits for callers of a plan: its name, and one limit or several. Plans that are not
    /// listed here have those under `plans`, `rate_limit`. Callers without a plan, or with one that
    /// has no limits in either place, have the limits above.
    #[serde(default)]
    pub tiers: BTreeMap<Spanned<String>, OneOrMany<Spanned<Limit>>>,
    /// Whose requests are counted together: one part of a request, or several. Default `consumer`.
    #[serde(default = "consumer")]
    pub key: OneOrMany<Spanned<Key>>,
    /// What a request costs: a number, or an expression that gives one: `{ expr: "…" }`. What costs
    /// 0 or less is not counted; what has no value counts as 1. Default 1.
    #[serde(default)]
    pub cost: Option<Spanned<Cost>>,
    /// Hold requests back that come too early, for at most so long, in place of refusing them: with
    /// `gcra` and `token_bucket`. With `burst: 1` they leave evenly spaced. Default: refuse.
    #[serde(default)]
    pub delay: Option<Spanned<Duration>>,
    /// Only watch: count, and say in the metrics what would have been refused
    /// (`gateway_policy_events_total`, event `shadowed`), but refuse nothing and tell clients nothing.
    #[serde(default)]
    pub shadow: bool,
    /// Where it is counted: `memory`, or a name under `stores`, which several gateways share. Default
    /// `memory`: each gateway counts for itself, all its workers together.
    #[serde(default = "memory")]
    pub store: Spanned<String>,
    /// Take so many from the store at a time and spend them without asking it: far fewer questions,
    /// less exact. In any `per`, `requests` plus `lease` for each gateway may pass. Default: ask for
    /// each request, which is exact.
    #[serde(default)]
    #[schemars(range(min = 2, max = 100_000))]
    pub lease: Option<Spanned<u64>>,
    /// What is done while the store does not answer; never an error of its own.
    #[serde(default)]
    pub on_store_failure: OnStoreFailure,
    /// How many keys are counted in memory, about. With more, a new key takes the place of one whose
    /// limits are all there again, or of the least used of a few. Default 100000, some 20 MB.
    #[serde(default = "hundred_thousand")]
    #[schemars(range(min = 16, max = 100_000_000))]
    pub max_keys: Spanned<u64>,
    /// What replies say about the limits. Default `all`.
    #[serde(default)]
    pub headers: Headers,
}

impl Config {
    /// Takes the limits that `plans` says, where `tiers` says none.
    pub(super) fn add_plans(&mut self, site: &dyn Site) -> Result<(), Vec<Diagnostic>> {
        for name in site.plans() {
            let part = site.plan(name).and_then(|plan| plan.get("rate_limit"));
            if let Some(part) = part.filter(|_| !self.tiers.contains_key(name)) {
                self.tiers.insert(Spanned::new(name.to_owned(), part.span), part.decode()?);
            }
        }
        Ok(())
    }
}

/// A limit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RateLimitLimit")]
pub struct Limit {
    /// Its name, for headers and logs: letters, digits, `-`, `_` and `.`; unique. Default `default`.
    #[serde(default = "default")]
    pub name: Spanned<String>,
    /// How many requests; at a time, with `concurrency`.
    pub requests: Spanned<u64>,
    /// In which time. With `concurrency` and a store: after how long a place is free although nobody
    /// gave it back, because its gateway died; default `5m`. Needed otherwise.
    #[serde(default)]
    pub per: Option<Spanned<Duration>>,
    /// How they are counted. Default `gcra`.
    #[serde(default)]
    pub algorithm: Option<Spanned<Algorithm>>,
    /// How many at once, with `gcra` and `token_bucket`. Default: `requests`.
    #[serde(default)]
    pub burst: Option<Spanned<u64>>,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RateLimitAlgorithm")]
pub enum Algorithm {
    /// Room comes back steadily, one request each `per`/`requests`; `burst` at once. Two numbers per
    /// caller. The default.
    #[default]
    Gcra,
    /// The same thing under its other name: a bucket of `burst` tokens that is filled at `requests`
    /// per `per`. Both let exactly the same requests through.
    TokenBucket,
    /// So many in each window; windows begin with the clock (`1h`: on the hour, UTC). Around a
    /// boundary twice as many may pass.
    FixedWindow,
    /// As `fixed_window`, but with the share of the window before that the last `per` still covers.
    SlidingWindow,
    /// So many in any stretch of `per`, exactly. Remembers every request, so 10000 at most.
    SlidingLog,
    /// So many at a time.
    Concurrency,
}

impl Algorithm {
    pub(super) const fn counted(self) -> quota::Algorithm {
        match self {
            Algorithm::Gcra | Algorithm::TokenBucket => quota::Algorithm::Bucket,
            Algorithm::FixedWindow => quota::Algorithm::FixedWindow,
            Algorithm::SlidingWindow => quota::Algorithm::SlidingWindow,
            Algorithm::SlidingLog => quota::Algorithm::SlidingLog,
            Algorithm::Concurrency => quota::Algorithm::Concurrency,
        }
    }
}

/// A part of a request that tells callers apart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RateLimitKey")]
pub enum Key {
    /// The consumer that the caller proved to be, with whichever credential; else the name that was
    /// proved, of its issuer (`sub` and `iss` of a token); else the address.
    Consumer,
    /// The client's address; of IPv6 the first 64 bits, which one customer has all of.
    Client,
    /// The path.
    Path,
    /// A header; without it, the address.
    Header(Spanned<String>),
    /// A cookie; without it, the address.
    Cookie(Spanned<String>),
    /// The same for every request: one limit for all callers together.
    Constant(Spanned<String>),
    /// An expression in CEL that gives text, a number, or true or false, such as `identity.claims.tenant` or
    /// `captures["id"]`. Where it has no value, since a claim or a header is missing, the address is counted in its place.
    Expr(Spanned<String>),
}

/// What a request costs.
#[derive(Debug)]
pub enum Cost {
    /// Always the same.
    Fixed(u64),
    /// What an expression gives.
    Expr(Spanned<String>),
}

/// What is done while the store does not answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RateLimitOnStoreFailure")]
pub struct OnStoreFailure {
    /// How many gateways share the limits: each lets its share through meanwhile, counted in its own
    /// memory, at least one request. Default 1: each gateway the whole limit.
    #[schemars(range(min = 1, max = 100_000))]
    pub replicas: Option<Spanned<u64>>,
    /// For how long shares are counted. `0s`: not at all. Default: as long as the store is down.
    #[serde(rename = "for")]
    pub lasts: Option<Spanned<Duration>>,
    /// What comes after that. Default `open`.
    pub then: Then,
}

/// What is done with requests that nobody counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RateLimitThen")]
pub enum Then {
    /// They pass.
    #[default]
    Open,
    /// They are refused with 429.
    Closed,
}

/// What replies say about the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RateLimitHeaders")]
pub enum Headers {
    /// Both of the following.
    #[default]
    All,
    /// `RateLimit` and `RateLimit-Policy` with every limit (draft-ietf-httpapi-ratelimit-headers-10).
    Ietf,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds from now) of the limit with the least
    /// left; of several, also `X-RateLimit-Limit-NAME` and `X-RateLimit-Remaining-NAME` of each.
    Legacy,
    /// Nothing; refusals still have `Retry-After`.
    None,
}

fn consumer() -> OneOrMany<Spanned<Key>> {
    OneOrMany(vec![Key::Consumer.into()])
}

fn memory() -> Spanned<String> {
    torana_core::store::MEMORY.into()
}

fn default() -> Spanned<String> {
    "default".into()
}

fn hundred_thousand() -> Spanned<u64> {
    100_000.into()
}

mod cost {
    use super::Cost;
    use schemars::{JsonSchema, Schema, SchemaGenerator};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};
    use std::borrow::Cow;
    use torana_core::written::{Node, Written};

    impl<'de> Deserialize<'de> for Cost {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let written = Written::deserialize(deserializer)?;
            match &written.node {
                Node::Int(number) => {
                    let number = u64::try_from(*number).ok().filter(|number| *number <= 1_000_000);
                    number.map(Cost::Fixed).ok_or_else(|| D::Error::custom("expected a number up to 1000000"))
                }
                Node::Map(_) => match written.get("expr").and_then(Written::as_spanned) {
                    Some(expr) => Ok(Cost::Expr(expr)),
                    None => Err(D::Error::custom("expected a number, or `{ expr: … }`")),
                },
                _ => Err(D::Error::custom("expected a number, or `{ expr: … }`")),
            }
        }
    }

    impl JsonSchema for Cost {
        fn schema_name() -> Cow<'static, str> {
            "RateLimitCost".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            schemars::json_schema!({
                "description": "A number, or an expression that gives one.",
                "anyOf": [
                    { "type": "integer", "minimum": 0, "maximum": 1_000_000 },
                    {
                        "type": "object",
                        "properties": { "expr": { "type": "string", "description": "An expression that gives a whole number." } },
                        "required": ["expr"],
                        "additionalProperties": false
                    }
                ]
            })
        }
    }
}
