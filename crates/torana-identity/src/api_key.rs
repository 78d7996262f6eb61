//! API keys: who the caller is, by a key that the gateway knows the digest of.
//!
//! A request costs one digest and a look-up, and allocates nothing.

use crate::{refuses, unix_now};
use aws_lc_rs::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::consumer::{Consumer, Digest, FoundKey, NotHere, Unavailable};
use torana_core::credential::{Found, Place, find};
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::names::{HeaderName, KnownName};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::Verdict;
use torana_core::welcome::Welcome;
use torana_core::written::{OneOrMany, Spanned, Written};

#[cfg(test)]
mod tests;

torana_core::refusals! {
    /// No key where one is needed.
    MISSING = "api_key.missing" 401 Caller Never "Authentication is required." error "No API key provided";
    /// A key that nobody has; what callers are told of all that follow, too.
    UNKNOWN = "api_key.unknown" 401 Caller Never "The API key is not valid." error "Invalid API key";
    /// More than one key: which of them is meant is anybody's guess.
    AMBIGUOUS = "api_key.ambiguous" 401 Caller Never "There is more than one API key." as UNKNOWN;
    /// A key that has ended.
    EXPIRED = "api_key.expired" 401 Caller Never "The API key has expired." as UNKNOWN;
    /// A key that was taken back.
    REVOKED = "api_key.revoked" 401 Caller Never "The API key was taken back." as UNKNOWN;
    /// A key that is switched off, or whose consumer is.
    INACTIVE = "api_key.inactive" 401 Caller Never "The API key is switched off." as UNKNOWN;
    /// A good key, but its consumer may not use this route, or not from this address.
    NOT_HERE = "api_key.not_here" 403 Caller Never "The API key is not valid here." error "Forbidden";
    /// Keys that were made while the gateway ran cannot be known, so none of them counts.
    UNAVAILABLE = "api_key.unavailable" 503 Gateway IfSafe "Authentication is not available at the moment.";
}

/// Longer than any key of the configuration.
const LONGEST: usize = 4096;

/// Admits callers with an API key: one of `consumers`, or one that was made while the gateway ran.
///
/// Of keys only SHA-256 digests are kept. A request without a key is refused, unless `optional` says otherwise; one with
/// a key that does not count is always refused. Callers are not told what is wrong with a key; the log is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where keys stand: a place, or a list of places, each `{ header: NAME }`, `{ header: NAME, scheme: WORD }`,
    /// `{ cookie: NAME }` or `{ query: NAME }`. A request with keys in two of them is refused. In a query keys get into
    /// logs and histories of others. Default: the header `X-API-Key`, and `Authorization: ApiKey …`.
    #[serde(default)]
    pub from: OneOrMany<Spanned<PlaceConfig>>,
    /// Whether upstreams get the key. Default `false`: it is taken out of the request.
    #[serde(default)]
    pub forward_key: bool,
    /// Whether requests without a key are let through, without an identity. Default `false`.
    #[serde(default)]
    pub optional: bool,
    /// The plan of consumers that have none, such as one with 100 requests per hour. Default: none.
    #[serde(default)]
    pub default_plan: Option<Spanned<String>>,
    /// A header that tells upstreams the name of the consumer, such as `X-Consumer`. What clients send under this name is
    /// removed on every route. Default: none.
    #[serde(default)]
    pub consumer_header: Option<Spanned<String>>,
}

/// A place that keys may stand in: a header, a cookie or a parameter of the query.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceConfig {
    /// A header.
    #[serde(default)]
    pub header: Option<Spanned<String>>,
    /// What stands before the key in the header, such as `ApiKey`. Default: nothing.
    #[serde(default)]
    pub scheme: Option<Spanned<String>>,
    /// A cookie.
    #[serde(default)]
    pub cookie: Option<Spanned<String>>,
    /// A parameter of the query.
    #[serde(default)]
    pub query: Option<Spanned<String>>,
}

/// The policy `api_key`.
pub struct ApiKey {
    places: Vec<Place>,
    forward_key: bool,
    optional: bool,
    welcome: Welcome,
}

impl PolicyKind for ApiKey {
    const NAME: &'static str = "api_key";
    const STAGE: Stage = Stage::Identify;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let welcome = Welcome::new(Self::NAME, config.consumer_header.as_ref(), config.default_plan.as_ref(), site);
        let mut places = Vec::new();
        for place in &*config.from {
            match read_place(place) {
                Ok(place) => places.push(place),
                Err(problem) => problems.push(*problem),
            }
        }
        if config.from.is_empty() {
            places.push(Place::Header { name: KnownName::XApiKey.into(), scheme: None });
            places.push(Place::Header { name: KnownName::Authorization.into(), scheme: Some("ApiKey".into()) });
        }
        match welcome {
            Ok(welcome) if problems.is_empty() => {
                let Config { forward_key, optional, .. } = config;
                Ok(Arc::new(ApiKey { places, forward_key, optional, welcome }))
            }
            welcome => Err(problems.into_iter().chain(welcome.err().into_iter().flatten()).collect()),
        }
    }
}

fn read_place(written: &Spanned<PlaceConfig>) -> Result<Place, Box<Diagnostic>> {
    let wrong = |message: String| Err(Box::new(Diagnostic::error("api_key.from", message).at(written.span)));
    let PlaceConfig { header, scheme, cookie, query } = &written.value;
    match (header, cookie, query) {
        (Some(header), None, None) => match HeaderName::new(header) {
            Some(name) if name == KnownName::Cookie.into() => {
                wrong("a key in a cookie is `{ cookie: NAME }`".to_owned())
            }
            Some(name) => Ok(Place::Header { name, scheme: scheme.as_ref().map(|scheme| scheme.as_str().into()) }),
            None => wrong(format!("{} is not the name of a header", header.shown())),
        },
        (None, Some(name), None) if scheme.is_none() && !name.is_empty() => Ok(Place::Cookie(name.as_str().into())),
        (None, None, Some(name)) if scheme.is_none() && !name.is_empty() => Ok(Place::Query(name.as_str().into())),
        _ => wrong("expected one of `header`, `cookie` and `query`; only `header` has a `scheme`".to_owned()),
    }
}

impl Policy for ApiKey {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        match self.judge(exchange) {
            Ok(Some((consumer, index))) => {
                if let Some(place) = self.places.get(index) {
                    place.strip(exchange, self.forward_key);
                }
                self.welcome.admit(exchange, &consumer);
                Verdict::CONTINUE
            }
            Ok(None) => Verdict::CONTINUE,
            Err(rejection) => challenge(rejection).into(),
        }
    }

    fn owned_headers(&self) -> &[HeaderName] {
        self.welcome.owned_headers()
    }

    fn credential_parameters(&self) -> Vec<&str> {
        self.places.iter().filter_map(Place::parameter).collect()
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        Some(match self.judge(exchange) {
            Ok(Some((consumer, _))) => {
                self.welcome.identify(exchange, &consumer);
                format!("the caller is `{}`", consumer.name)
            }
            Ok(None) => "anonymous: there is no key".to_owned(),
            Err(rejection) => refuses(&rejection),
        })
    }
}

impl ApiKey {
    /// Whose key the request brings, and in which place; `None`: it brings none
    /// and needs none.
    fn judge(&self, exchange: &Exchange) -> Result<Option<(Arc<Consumer>, usize)>, Rejection> {
        let (key, index) = match find(&self.places, exchange) {
            Found::None if self.optional => return Ok(None),
            Found::None => return Err(Rejection::new(&MISSING)),
            Found::Several => return Err(Rejection::new(&AMBIGUOUS)),
            Found::One(key, _) if key.len() > LONGEST => return Err(Rejection::new(&UNKNOWN).because("it is too long")),
            Found::One(key, index) => (key, index),
        };
        let Ok(digest) = digest(&SHA256, &key).as_ref().try_into().map(Digest) else {
            return Err(Rejection::new(&UNKNOWN));
        };
        let FoundKey { key, consumer } = match self.welcome.consumers().key(&digest) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(Rejection::new(&UNKNOWN)),
            Err(Unavailable) => return Err(Rejection::new(&UNAVAILABLE)),
        };
        let refuse =
            |refusal| Err(Rejection::new(refusal).because(format_args!("key `{}` of `{}`", key.id, consumer.name)));
        if key.revoked {
            return refuse(&REVOKED);
        }
        if !key.active {
            return refuse(&INACTIVE);
        }
        if key.expires.is_some_and(|expires| unix_now() >= expires) {
            return refuse(&EXPIRED);
        }
        match self.welcome.check(exchange, &consumer) {
            Ok(()) => Ok(Some((consumer, index))),
            Err(NotHere::Inactive) => refuse(&INACTIVE),
            Err(NotHere::Address | NotHere::Route) => refuse(&NOT_HERE),
        }
    }
}

/// A 401 says what would be accepted (RFC 9110 §11.6.1).
fn challenge(rejection: Rejection) -> Rejection {
    match rejection.refusal.status.code() {
        401 => rejection.with_field(KnownName::WwwAuthenticate, b"ApiKey"),
        503 => rejection.with_field(KnownName::RetryAfter, b"1"),
        _ => rejection,
    }
}
