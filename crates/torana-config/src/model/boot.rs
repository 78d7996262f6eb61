//! The top of the configuration and everything about the process itself: workers, listeners, admin,
//! logs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use torana_core::units::{Duration, Network};
use torana_core::written::Spanned;

use super::{Consumer, ConsumerPlan, KindUse, LimitValues, Limits, ListenAddress, Route, StoreUse, Switch, Upstream};

/// The configuration of a Torana gateway.
///
/// Any text may hold `${env:NAME}`, `${env:NAME:-default}` or `${file:path}`, and a number, `true` or
/// `false` may be one of them as a whole; write `$${` for a plain `${`. Such references are expanded
/// once, never shown expanded, and are an error if what they name does not exist.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Number of worker threads; each has its own event loop, connections and upstream pools.
    /// Default: the number of cores the process may use (cgroup quotas and CPU affinity count).
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<Spanned<u32>>,
    /// Where to accept connections. At least one is needed.
    pub listeners: Vec<Spanned<Listener>>,
    /// The admin interface: health, metrics, the running configuration, reload. `false` turns it
    /// off. Default: on, at `127.0.0.1:9901`.
    pub admin: Switch<Admin>,
    /// Peers whose word is taken: their `X-Forwarded-*`, `Forwarded`, `traceparent` and
    /// `X-Request-Id` headers are believed and continued. From anyone else these headers are
    /// replaced. Default: nobody.
    pub trusted_proxies: Vec<Spanned<Network>>,
    /// Limits on what clients may use up, for every listener.
    pub limits: Limits,
    /// One line of JSON per request. `false` turns it off. Default: on, to standard output.
    pub access_log: Switch<AccessLog>,
    /// How the gateway stops.
    pub shutdown: Shutdown,
    /// How a new process takes over from this one.
    pub upgrade: Upgrade,
    /// Groups of endpoints that requests are sent to, by name.
    pub upstreams: BTreeMap<Spanned<String>, Spanned<Upstream>>,
    /// Where state is kept that several gateways share, by name: counters of `rate_limit`, replies of
    /// `cache` and `idempotency`. Policies name one with their key `store`; `memory` is the memory of
    /// this process and always there. Default: no other.
    pub stores: BTreeMap<Spanned<String>, Spanned<StoreUse>>,
    /// What is done with which request. The most specific match wins, whatever the order.
    #[serde(deserialize_with = "shared")]
    #[schemars(with = "Vec<Spanned<Route>>")]
    pub routes: Vec<Arc<Spanned<Route>>>,
    /// Policies for every route, before the route's own.
    pub policies: Vec<Spanned<KindUse>>,
    /// Callers that the gateway itself holds credentials of: keys, passwords, signing keys, certificates. Policies such
    /// as `api_key` admit them. More can be made while the gateway runs; where both have a name, this one counts.
    pub consumers: Vec<Spanned<Consumer>>,
    /// What consumers get, by the name of the plan: under the name of a policy, what that reads there, such as the
    /// limits of `rate_limit`.
    pub plans: BTreeMap<Spanned<String>, Spanned<ConsumerPlan>>,
    /// Directory for what is made while the gateway runs and has to outlive it: keys and consumers made through the
    /// admin interface. Relative to the file it is written in; it is made if it does not exist, for the gateway's
    /// own user only. Gateways of one machine may share it. Changes with the next start. Default: none, and no keys
    /// can be made.
    pub state_dir: Option<Spanned<PathBuf>>,
    /// More files to read, relative to this one: paths, directories, or patterns with `*` and `?`.
    /// Lists are joined, upstreams are united, and whatever else is set in two files is an error. A
    /// path that does not exist is an error; a pattern that matches nothing is a warning.
    pub include: Vec<Spanned<String>>,
}

/// Items that configurations loaded one after the other have in common.
fn shared<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<Arc<T>>, D::Error> {
    Ok(Vec::<T>::deserialize(deserializer)?.into_iter().map(Arc::new).collect())
}

impl Config {
    /// The limits in force on a listener.
    #[must_use]
    pub fn limits_of(&self, listener: &Listener) -> LimitValues {
        LimitValues::default().with(&self.limits).with(&listener.limits)
    }
}

/// A place to accept connections.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Name for logs and metrics; unique. Default: the address as written.
    #[serde(default)]
    pub name: Option<Spanned<String>>,
    /// Where to listen.
    pub address: Spanned<ListenAddress>,
    /// Speak TLS. Default: plain HTTP.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Offer HTTP/2: by ALPN with TLS, by prior knowledge without. Default `true`.
    #[serde(default = "yes")]
    pub http2: bool,
    /// Expect a PROXY protocol header, version 1 or 2, from the proxies named. Default: none is
    /// expected, and one that comes is refused as a malformed request.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Accept a client when its first bytes are there, or after about a second (`TCP_DEFER_ACCEPT`,
    /// tcp(7)): a new connection costs less, and one that says nothing next to nothing. Switch it off
    /// where connections must be counted from the moment they are made. While it is on, a stop
    /// accepts for 0.1 s more, for clients about to speak; who has connected less than a second before
    /// and is silent for longer is reset. Means nothing on Unix sockets. Default `true`.
    #[serde(default = "yes")]
    pub defer_accept: bool,
    /// Limits that differ from the global ones on this listener.
    #[serde(default)]
    pub limits: Limits,
}

impl Listener {
    /// The name, or the address where none is given.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.as_ref().map_or_else(|| self.address.to_string(), |name| name.value.clone())
    }
}

pub(super) fn yes() -> bool {
    true
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates with their keys. The client's SNI picks the one whose names match; the first is
    /// used when none does. Changed files are reloaded.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Spanned<Certificate>>,
    /// Oldest version accepted. Default `"1.2"`. Quote it: YAML takes 1.2 for a number.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Ask clients for a certificate. Default: not asked.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
}

/// A certificate chain and its key, as PEM files. Paths are relative to the file they are written
/// in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub cert: Spanned<PathBuf>,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: Spanned<PathBuf>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Client certificates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// PEM file with the authorities that client certificates must come from.
    pub ca: Spanned<PathBuf>,
    /// Whether a client without a certificate may connect. Default `required`.
    #[serde(default)]
    pub mode: ClientAuthMode,
}

/// Whether a client certificate is needed. One that is shown has to be valid either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// Clients may connect without one.
    Optional,
    /// Clients without one are refused in the handshake.
    #[default]
    Required,
}

/// PROXY protocol (haproxy's `proxy-protocol.txt`, versions 1 and 2).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Peers that send the header; from them it is required. Other peers connect without one: a
    /// header from them would be a forged client address.
    #[schemars(length(min = 1))]
    pub trusted: Vec<Spanned<Network>>,
}

/// The admin interface.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens. Default `127.0.0.1:9901`. An address that other machines can reach needs a
    /// `token`. It speaks plain HTTP: between machines, put something in front that ends TLS and
    /// passes bytes on, or keep it on loopback and use an SSH tunnel.
    pub address: Spanned<ListenAddress>,
    /// What requests have to bring as `Authorization: Bearer …`, on every address including
    /// loopback; `/livez` and `/readyz` are answered without. At least 16 characters that a header
    /// can carry, best random ones and as a reference: `${env:TORANA_ADMIN_TOKEN}`. Default: none is
    /// asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Spanned<String>>,
    /// More names the interface answers to, without ports. Without them a request's `Host` has to be
    /// `localhost` or an IP address, since a name of somebody else's could be made to lead here (DNS
    /// rebinding).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Spanned<String>>,
    /// How many configurations that were in force are kept, in memory, to look at and to go back to:
    /// `/revisions`. Default 10.
    #[schemars(range(min = 1, max = 100))]
    pub revisions: Spanned<u32>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, hosts, revisions, token: _ } = self;
        let mut shown = f.debug_struct("Admin");
        shown.field("address", address).field("hosts", hosts).field("revisions", revisions).finish_non_exhaustive()
    }
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9901);
        Self { address: ListenAddress::Tcp(address).into(), token: None, hosts: Vec::new(), revisions: 10.into() }
    }
}

/// One line of JSON per request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// `stdout`, `stderr`, or the path of a file to append to, relative to the file it is written
    /// in. Default `stdout`.
    pub output: Spanned<String>,
    /// Whether lines are written. Default `true`; `access_log: false` is the same as `enabled:
    /// false`.
    pub enabled: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { output: "stdout".into(), enabled: true }
    }
}

/// How the gateway stops after SIGTERM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long requests in flight may take to finish before their connections are cut. Default
    /// `30s`.
    pub drain_timeout: Spanned<Duration>,
    /// How long to keep accepting connections after readiness turned to "no", so that load
    /// balancers notice first. Default `0s`.
    pub readiness_delay: Spanned<Duration>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain_timeout: Duration::from_secs(30).into(), readiness_delay: Duration::ZERO.into() }
    }
}

/// How a new process takes the listening sockets over, without a connection lost. SIGUSR2 does without
/// any of this: it starts the new process itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upgrade {
    /// Path of a Unix socket where `torana run --upgrade-from PATH` finds this gateway, relative to the file
    /// it is written in. Only the gateway's own user and root are served there, and only they may connect
    /// (mode `0600`): keep it in a directory nobody else can write to. Changes with the next start.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<Spanned<PathBuf>>,
}
