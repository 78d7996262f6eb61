//! What can be written under `cache`.

use super::Inner;
use super::freshness::Rules;
use super::key::KeyRules;
use super::shared::Shared;
use super::store::Store;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::Tally;
use torana_core::names::HeaderName;
use torana_core::store::MEMORY;
use torana_core::units::{ByteSize, Duration};
use torana_core::written::{OneOrMany, Spanned};

/// Keeps replies in memory and answers with them, by the rules for shared caches (RFC 9111).
///
/// Only what says that it may be kept is: `Cache-Control: max-age`, `s-maxage`, `Expires`. What is `private`, `no-store`, sets a
/// cookie or varies with everything is not, whatever stands here. Requests with credentials (`Authorization`, `Cookie`,
/// `X-API-Key`, a client certificate, an identity that a policy has proven) get and leave only copies that the target calls
/// `public` or gives an `s-maxage`; for `Authorization` alone `must-revalidate` will do, too.
///
/// It runs behind all checks and limits, so a copy is given to nobody who would have been refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most memory for copies, over all workers; what is asked for least goes first. Of each `cache` that is written: one
    /// under the top `policies` is shared by all routes. Default `64MiB`.
    pub memory: Spanned<ByteSize>,
    /// The largest body that is kept, at most a sixteenth of `memory`. Default `1MiB`.
    pub max_object: Spanned<ByteSize>,
    /// Which of `stores` keeps copies besides, for all gateways that share it: what one has fetched, the others need not, and
    /// what is purged at one is purged at all within two seconds. While it cannot be reached, each goes on with its memory. How much it may keep
    /// is its own to limit (`maxmemory` of Redis). Default `memory`: none.
    pub store: Spanned<String>,
    /// Keeps good replies (200, 203, 204, 300, 301, 308) for so long, whatever they say about their freshness, or if they
    /// say nothing. `no-store`, `no-cache`, `private` and cookies are heeded all the same.
    pub ttl: Option<Duration>,
    /// Keeps 404 and 410 for so long if they do not say themselves.
    pub negative_ttl: Option<Duration>,
    /// For how long a copy that is not fresh any more is still given out while the target is asked in the background, for
    /// replies that do not say themselves (`stale-while-revalidate`, RFC 5861). Default: not at all.
    pub stale_while_revalidate: Duration,
    /// The same while the target fails: 500, 502, 503 and 504, be it the gateway that says so (`stale-if-error`). Default:
    /// not at all.
    pub stale_if_error: Duration,
    /// Whether only one of those who ask for the same at the same time is sent to the target, and the others get its copy.
    /// Default: yes.
    pub collapse: bool,
    /// How long the others wait before they go themselves. Default `5s`.
    pub collapse_wait: Duration,
    /// Whether to guess how long a reply is fresh that has only `Last-Modified`: a tenth of the time since, a day at most.
    /// Default: no, since APIs that say nothing seldom mean it.
    pub heuristics: bool,
    /// Whether every caller has copies of its own, by identity or credentials. Then replies to requests with credentials are
    /// kept without `public`; `private` ones are still not. Default: yes with `ttl`, else no.
    pub per_identity: Option<bool>,
    /// Whether cookies of requests mean nothing to the target, so that they are no credentials. Default: no.
    pub ignore_cookies: bool,
    /// Whether replies that set cookies are kept, without the cookies. Default: no.
    pub strip_set_cookie: bool,
    /// Headers of requests that are credentials besides those that are known to be.
    pub credentials: OneOrMany<Spanned<String>>,
    /// Headers of requests that the target looks at without saying so in `Vary`.
    pub headers: OneOrMany<Spanned<String>>,
    /// Which query parameters tell copies apart. Default: all, in their order.
    pub query: Query,
    /// Whether to give copies an `ETag` that have none. The first reply is on its way before there is one. Default: no.
    pub etag: bool,
    /// Whether requests are heeded that want no copy, or none of some age (`no-cache`, `max-age`, `no-store`). Default: yes.
    pub heed_requests: bool,
    /// Headers of replies that hold tags to purge by, between commas or blanks. They are not passed on. Default: `Cache-Tag`
    /// and `Surrogate-Key`.
    pub tags: OneOrMany<Spanned<String>>,
}

/// Which query parameters tell copies apart.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "CacheQuery")]
pub struct Query {
    /// Those that do not: `utm_*` stands for all that begin so.
    pub ignore: OneOrMany<String>,
    /// The only ones that do.
    pub keep: Option<OneOrMany<String>>,
    /// Whether their order means nothing. Default: no.
    pub sort: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            memory: ByteSize::mib(64).into(),
            max_object: ByteSize::mib(1).into(),
            store: MEMORY.into(),
            ttl: None,
            negative_ttl: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            collapse: true,
            collapse_wait: Duration::from_secs(5),
            heuristics: false,
            per_identity: None,
            ignore_cookies: false,
            strip_set_cookie: false,
            credentials: OneOrMany::default(),
            headers: OneOrMany::default(),
            query: Query::default(),
            etag: false,
            heed_requests: true,
            tags: OneOrMany(vec!["cache-tag".to_owned().into(), "surrogate-key".to_owned().into()]),
        }
    }
}

/// A configuration without mistakes.
pub(super) struct Checked {
    pub(super) memory: u64,
    pub(super) key: KeyRules,
    pub(super) store: Spanned<String>,
    tags: Vec<HeaderName>,
    config: Config,
}

/// Looks for mistakes.
pub(super) fn check(config: Config) -> Result<Checked, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut names = |list: &OneOrMany<Spanned<String>>| -> Vec<HeaderName> {
        let read = |written: &Spanned<String>| {
            let name = HeaderName::new(written);
            if name.is_none() {
                let message = format!("{} is not a header name", written.shown());
                problems.push(Diagnostic::error("cache.header", message).at(written.span));
            }
            name
        };
        list.iter().filter_map(read).collect()
    };
    let (credentials, headers, tags) = (names(&config.credentials), names(&config.headers), names(&config.tags));
    let (memory, object) = (config.memory.bytes(), config.max_object.bytes());
    let largest = Store::largest(memory);
    if object > largest {
        let message = format!("an object of {object} bytes does not fit into this memory: at most {largest} do");
        let hint = "it is kept in parts, and an object has to fit into half of one: raise `memory` to sixteen times `max_object`";
        problems.push(
            Diagnostic::error("cache.max_object", message)
                .at(if config.max_object.span == torana_core::diagnostic::Span::NONE {
                    config.memory.span
                } else {
                    config.max_object.span
                })
                .hint(hint),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let key = KeyRules {
        ignore: config.query.ignore.iter().cloned().collect(),
        keep: config.query.keep.as_ref().map(|keep| keep.iter().cloned().collect()),
        sort: config.query.sort,
        headers,
        credentials,
        per_identity: config.per_identity.unwrap_or(config.ttl.is_some()),
        ignore_cookies: config.ignore_cookies,
    };
    Ok(Checked { memory, key, store: config.store.clone(), tags, config })
}

impl Checked {
    pub(super) fn into_inner(self, store: Arc<Store>, shared: Option<Shared>, tally: Arc<Tally>) -> Inner {
        let Checked { key, tags, config, .. } = self;
        Inner {
            store,
            shared,
            rules: Rules {
                ttl: config.ttl.map(Duration::std),
                negative_ttl: config.negative_ttl.map(Duration::std),
                heuristics: config.heuristics,
            },
            key,
            most_bytes: config.max_object.as_usize(),
            while_revalidate: config.stale_while_revalidate.std(),
            if_error: config.stale_if_error.std(),
            collapse: config.collapse.then(|| config.collapse_wait.std()),
            strips_cookies: config.strip_set_cookie,
            makes_etags: config.etag,
            heeds_requests: config.heed_requests,
            tags,
            tally,
        }
    }
}
