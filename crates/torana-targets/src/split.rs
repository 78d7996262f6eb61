//! Sends requests to several upstreams by weight: a canary, a migration step by
//! step, an experiment.
//!
//! Without `by`, each request draws a part for itself. With it, callers stay
//! where they are: the part follows from the caller's key, the route's name and
//! the parts, by a hash without a seed, so that all workers, restarts and
//! replicas agree and nothing has to be remembered.
//!
//! # Why weights can change under way
//!
//! The parts race. For a given caller each draws a time from the exponential
//! distribution whose rate is its weight, from a hash of the caller and the
//! part's upstream, and the first to arrive wins: weighted rendezvous hashing
//! (Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005).
//!
//! * A part wins with the probability `weight / sum of all weights`.
//! * A part's time depends on nothing but its own weight. If one grows, it
//!   arrives earlier and may overtake the winner; among the others nothing
//!   changes. So callers move to the part that grew, exactly as many as its new
//!   share is larger, and nobody moves between the others. The same holds for a
//!   part that shrinks, is added or is removed, and the order does not matter.
//! * Laying the parts side by side on a line, as is often done, has the first
//!   property and not the second: all borders behind a part that grows move.
//!
//! The hash is salted with the route's name: being early in one split says
//! nothing about others.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use torana_core::cookie;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName};
use torana_core::target::{Answer, Names, Target, TargetKind, UpstreamId, find_upstream};
use torana_core::trace::IdSource;
use torana_core::written::{Spanned, Written};

#[cfg(test)]
mod tests;

/// Several upstreams that share the requests by weight. A list of parts, or a
/// map with `by` and `parts` where callers are to stay with their part.
#[derive(Debug)]
pub struct Config {
    by: Option<By>,
    parts: Vec<Part>,
}

/// A split in which callers stay with their part: the same key always leads to
/// the same one, on every instance of the gateway.
///
/// When a weight is raised, only callers of the new share move, and they move
/// to that part; nobody moves between the others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StickySplit")]
struct Sticky {
    /// What a caller is known by: `client`, `{ header: NAME }` or
    /// `{ cookie: NAME }`. A request without the header or cookie is known by
    /// its address.
    by: By,
    /// The parts.
    #[schemars(length(min = 1))]
    parts: Vec<Part>,
}

/// What a caller is known by in a split.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SplitBy")]
enum By {
    /// The client's address; of an IPv6 address the first 64 bits, since
    /// machines change the rest.
    Client,
    /// The value of this header.
    Header(Spanned<String>),
    /// The value of this cookie.
    Cookie(Spanned<String>),
}

/// A part of a split.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SplitPart")]
struct Part {
    /// The upstream.
    upstream: Spanned<String>,
    /// Share of the requests, relative to the other parts: 95 and 5 are 95 % and
    /// 5 %, and so are 19 and 1. 0: none. Default 1.
    #[serde(default = "one")]
    #[schemars(range(max = 1_000_000))]
    weight: u32,
}

fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of parts, or a map with `by` and `parts`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Config, A::Error> {
                let parts = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Config { by: None, parts })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
                let Sticky { by, parts } = Sticky::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Config { by: Some(by), parts })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Config {
    fn schema_name() -> Cow<'static, str> {
        "Split".into()
    }

    fn schema_id() -> Cow<'static, str> {
        concat!(module_path!(), "::Config").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let part = generator.subschema_for::<Part>();
        let sticky = generator.subschema_for::<Sticky>();
        schemars::json_schema!({
            "description": "Several upstreams that share the requests by weight: a list of parts, where each request \
                draws one for itself, or a map with `by` and `parts`, where callers stay with theirs.",
            "anyOf": [{ "type": "array", "items": part, "minItems": 1 }, sticky]
        })
    }
}

/// The target `split`.
pub struct Split {
    key: Option<Key>,
    /// Of the route's name.
    salt: u64,
    /// The parts that have a weight, but for the last of them.
    others: Vec<Weighed>,
    last: Weighed,
    shown: String,
}

/// What a caller is known by.
enum Key {
    Client,
    Header(HeaderName),
    Cookie(Box<[u8]>),
}

struct Weighed {
    upstream: UpstreamId,
    /// Of the upstream's name, which stays when the configuration changes.
    salt: u64,
    weight: u32,
    /// The sum of the weights up to and with this one.
    sum: u64,
}

impl TargetKind for Split {
    const NAME: &'static str = "split";
    type Config = Config;

    fn build(config: Config, written: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let key = config.by.as_ref().map(key).transpose().map_err(|problem| problems.push(*problem));
        let mut parts = parts(&config.parts, names, &mut problems);
        let last = parts.pop();
        if last.is_none() && problems.is_empty() {
            let problem = Diagnostic::error("split.no_weight", "no part of the split has a weight");
            problems.push(problem.at(written.span).hint("give one of them a `weight` above 0"));
        }
        match (key, last) {
            (Ok(key), Some(last)) if problems.is_empty() => {
                let salt = hash(0, names.route().as_bytes());
                Ok(Arc::new(Split { key, salt, others: parts, last, shown: shown(&config) }))
            }
            _ => Err(problems),
        }
    }
}

fn key(by: &By) -> Result<Key, Box<Diagnostic>> {
    let problem = |code: &'static str, message: String, name: &Spanned<String>| {
        Box::new(Diagnostic::error(code, message).at(name.span))
    };
    match by {
        By::Client => Ok(Key::Client),
        By::Header(name) => match HeaderName::new(name) {
            None => Err(problem("split.header", format!("{} is not a header name", name.shown()), name)),
            Some(HeaderName::Known(known)) if known.is_hop_by_hop() => {
                let message = format!("the header {} says nothing about a caller", name.shown());
                let hint = "it concerns one connection only and is removed before (RFC 9110 §7.6.1)";
                Err(Box::new(problem("split.header", message, name).hint(hint)))
            }
            Some(name) => Ok(Key::Header(name)),
        },
        // A cookie's name is a token too (RFC 6265 §4.1.1).
        By::Cookie(name) if HeaderName::new(name).is_none() => {
            Err(problem("split.cookie", format!("{} is not the name of a cookie", name.shown()), name))
        }
        By::Cookie(name) => Ok(Key::Cookie(name.as_bytes().into())),
    }
}

/// The parts that have a weight.
fn parts(written: &[Part], names: &dyn Names, problems: &mut Vec<Diagnostic>) -> Vec<Weighed> {
    let mut parts = Vec::new();
    let mut sum = 0;
    for (index, part) in written.iter().enumerate() {
        if let Some(first) = written.iter().take(index).find(|first| first.upstream == part.upstream) {
            let message = format!("the upstream {} is in two parts", part.upstream.shown());
            let problem = Diagnostic::error("split.duplicate", message).label(part.upstream.span, "second");
            problems.push(problem.also(first.upstream.span, "first").hint("make one part of them with both weights"));
        }
        let upstream = match find_upstream(&part.upstream, names) {
            Ok(upstream) => upstream,
            Err(problem) => {
                problems.push(*problem);
                continue;
            }
        };
        if part.weight > 0 {
            sum += u64::from(part.weight);
            parts.push(Weighed { upstream, salt: hash(0, part.upstream.as_bytes()), weight: part.weight, sum });
        }
    }
    parts
}

fn shown(config: &Config) -> String {
    let name = |name: &Spanned<String>| name.raw().unwrap_or(name).to_owned();
    let parts: Vec<String> =
        config.parts.iter().map(|part| format!("{} {}", name(&part.upstream), part.weight)).collect();
    let by = match &config.by {
        None => String::new(),
        Some(By::Client) => " by client".to_owned(),
        Some(By::Header(header)) => format!(" by header {}", name(header)),
        Some(By::Cookie(cookie)) => format!(" by cookie {}", name(cookie)),
    };
    format!("split {}{by}", parts.join(", "))
}

impl Split {
    fn part(&self, exchange: &Exchange) -> &Weighed {
        match &self.key {
            // As good as a die: fresh and random for each exchange.
            None => self.at(exchange.trace.span),
            Some(key) => self.winner(key.hash(self.salt, exchange)),
        }
    }

    /// The part at `die` of 2⁶⁴ on a line on which all lie side by side.
    fn at(&self, die: u64) -> &Weighed {
        let point = (u128::from(die) * u128::from(self.last.sum)) >> 64;
        self.others.iter().find(|part| u128::from(part.sum) > point).unwrap_or(&self.last)
    }

    /// The part that wins the race for `caller`.
    fn winner(&self, caller: u64) -> &Weighed {
        let mut first = (self.last.arrival(caller), &self.last);
        for part in &self.others {
            let arrival = part.arrival(caller);
            if arrival < first.0 {
                first = (arrival, part);
            }
        }
        first.1
    }
}

impl Weighed {
    /// When it arrives: exponentially distributed with its weight as the rate,
    /// the inverse of the distribution function at a hash.
    fn arrival(&self, caller: u64) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        #[expect(clippy::cast_precision_loss, reason = "what is left has the 53 bits of an f64")]
        let uniform = ((mix(caller ^ self.salt) >> 11) + 1) as f64 / STEPS;
        -uniform.ln() / f64::from(self.weight)
    }
}

impl Key {
    fn hash(&self, salt: u64, exchange: &Exchange) -> u64 {
        let fields = &exchange.head.fields;
        let said = match self {
            Key::Client => None,
            Key::Header(name) => {
                let mut values = fields.values(name).filter(|value| !value.is_empty()).peekable();
                // All of them: which one counts is the upstream's business.
                values.peek().is_some().then(|| values.fold(salt, hash))
            }
            Key::Cookie(name) => first_cookie(fields, name).map(|value| hash(salt, value)),
        };
        said.unwrap_or_else(|| match exchange.client_ip {
            IpAddr::V4(ip) => hash(salt, &ip.octets()),
            IpAddr::V6(ip) => hash(salt, &ip.octets()[..8]),
        })
    }
}

/// The value of the first cookie called `name`, which is the most specific one
/// (RFC 6265 §5.4).
fn first_cookie<'f>(fields: &'f Fields, name: &[u8]) -> Option<&'f [u8]> {
    let mut pairs = fields.get_all(KnownName::Cookie).flat_map(cookie::pairs);
    pairs.find_map(|(known, value)| (known == name && !value.is_empty()).then_some(value))
}

/// Adds `bytes` to a hash. Callers' cohorts depend on it: it must never change.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut hash = words.iter().fold(seed, |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    hash = mix(hash ^ u64::from_le_bytes(last));
    // So that `a` and `a\0` differ.
    mix(hash ^ bytes.len() as u64)
}

/// A permutation of words in which every bit depends on every other: a step of
/// SplitMix64.
fn mix(word: u64) -> u64 {
    IdSource::new(word).next()
}

impl Target for Split {
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Answer<'a> {
        Answer::Forward(self.part(exchange).upstream)
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }

    fn upstreams(&self) -> Vec<UpstreamId> {
        self.others.iter().chain([&self.last]).map(|part| part.upstream).collect()
    }
}
