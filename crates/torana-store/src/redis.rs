//! Redis, Valkey and what else speaks their protocol.
//!
//! Every worker has one connection of its own, over which its requests are
//! pipelined ([`link`]). Whatever is decided is decided by one script in one
//! step ([`counters`]), whose keys share a hash tag, so that they are on one
//! node wherever they are. Nothing here waits longer than `timeout`; a store
//! that is down is not asked again before its back-off is over, and costs a
//! request nothing meanwhile.

mod blobs;
mod counters;
mod journal;
mod link;

use counters::Script;
use link::Settings;
use redis::{ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::store::{Blobs, Counters, Journal, Store, StoreKind};
use torana_core::units::Duration;
use torana_core::written::{Spanned, Written};

/// A Redis server of version 7 or newer, or a Valkey server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is: `redis://host:6379`, `rediss://…` with TLS, `unix:///path`; a number behind a
    /// slash is the database: `redis://host:6379/2`. User name and password have keys of their own.
    pub url: Spanned<String>,
    /// User name (Redis ACL). Default: none.
    #[serde(default)]
    pub username: Option<Spanned<String>>,
    /// Password, best as a reference: `${env:REDIS_PASSWORD}`. Default: none.
    #[serde(default)]
    pub password: Option<Spanned<String>>,
    /// How long an answer may take. Later ones are taken for none, and the policy does what it is
    /// configured to do without the store. 0 is refused. Default `50ms`.
    #[serde(default = "fifty_millis")]
    pub timeout: Spanned<Duration>,
    /// How long it may take to connect, beside the requests: they wait for at most `timeout`.
    /// Default `1s`.
    #[serde(default = "second")]
    pub connect_timeout: Spanned<Duration>,
    /// What all keys begin with. Gateways that share counters have the same. Default `torana:`.
    #[serde(default = "torana")]
    pub prefix: Spanned<String>,
    /// Authorities to trust instead of the system's, as PEM: `${file:redis-ca.pem}`. Only with
    /// `rediss://`.
    #[serde(default)]
    pub ca: Option<Spanned<String>>,
}

fn fifty_millis() -> Spanned<Duration> {
    Duration::from_millis(50).into()
}

fn second() -> Spanned<Duration> {
    Duration::from_secs(1).into()
}

fn torana() -> Spanned<String> {
    "torana:".into()
}

/// The store `redis`.
pub struct Redis {
    settings: Arc<Settings>,
    script: Script,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client knows the password.
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl StoreKind for Redis {
    const NAME: &'static str = "redis";
    type Config = Config;

    fn build(config: Config, _: &Written) -> Result<Arc<dyn Store>, Vec<Diagnostic>> {
        Ok(Arc::new(Redis::open(&config).map_err(|problem| vec![*problem])?))
    }
}

impl Redis {
    /// The store, not yet connected.
    ///
    /// # Errors
    /// What is wrong with `config`.
    pub fn open(config: &Config) -> Result<Redis, Box<Diagnostic>> {
        for timeout in [&config.timeout, &config.connect_timeout] {
            if timeout.is_zero() {
                let message = "a store that may take no time has no answers";
                return Err(Box::new(Diagnostic::error("config.zero_timeout", message).at(timeout.span)));
            }
        }
        let info = connection_info(config)?;
        // Text without a certificate in it would mean to trust nobody.
        let is_usable = |ca: &str| ca.contains("-----BEGIN CERTIFICATE-----") && config.url.starts_with("rediss:");
        if let Some(ca) = config.ca.as_ref().filter(|ca| !is_usable(ca)) {
            return Err(ca_problem(ca.span));
        }
        let client = match &config.ca {
            None => redis::Client::open(info),
            Some(ca) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(ca.as_bytes().to_vec()) };
                redis::Client::build_with_tls(info, certificates)
            }
        };
        let client = client.map_err(|_| ca_problem(config.ca.as_ref().map_or(config.url.span, |ca| ca.span)))?;
        let settings =
            Settings::new(client, config.timeout.std(), config.connect_timeout.std(), config.prefix.as_str());
        Ok(Redis { settings: Arc::new(settings), script: Script::new() })
    }
}

fn ca_problem(span: Span) -> Box<Diagnostic> {
    let hint = "`ca` is one or more certificates as PEM, and goes with `rediss://`";
    Box::new(Diagnostic::error("store.ca", "the authorities cannot be used").at(span).hint(hint))
}

fn connection_info(config: &Config) -> Result<ConnectionInfo, Box<Diagnostic>> {
    let problem = |message: &str, hint: &'static str| {
        Box::new(Diagnostic::error("store.url", message.to_owned()).at(config.url.span).hint(hint))
    };
    // Its text is shown; that of the keys is not.
    let authority = config.url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(rest));
    if authority.contains('@') {
        let hint = "write them under `username` and `password`";
        return Err(problem("a URL is shown to people, so it may not hold user name and password", hint));
    }
    let hint = "write one such as `redis://127.0.0.1:6379`";
    let info = config.url.as_str().into_connection_info();
    let info = info.map_err(|_| problem(&format!("{} is no URL of a Redis", config.url.shown()), hint))?;
    let mut redis = info.redis_settings().clone();
    if let Some(username) = &config.username {
        redis = redis.set_username(username.as_str());
    }
    if let Some(password) = &config.password {
        redis = redis.set_password(password.as_str());
    }
    Ok(info.set_redis_settings(redis))
}

impl Store for Redis {
    fn counters(&self) -> &dyn Counters {
        self
    }

    fn blobs(&self) -> &dyn Blobs {
        self
    }

    fn journal(&self) -> &dyn Journal {
        self
    }
}
