//! Where an upstream's endpoints are looked up.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use torana_core::units::Duration;
use torana_core::written::{OneOrMany, Spanned};

use super::Scheme;

/// A source of endpoints that come and go: exactly one of `dns` and `file`.
///
/// Endpoints that a source lists no more get no new requests, and those under way end. An answer that is an
/// error or empty changes nothing: the last good one holds. Of one answer at most 256 endpoints are taken.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    /// A name in DNS.
    #[serde(default)]
    pub dns: Option<Spanned<Dns>>,
    /// A file: a YAML, TOML or JSON file with a list of endpoints under `endpoints`, or, but for TOML, just the
    /// list. It is read again when it changes. `${…}` references are not expanded in it. The path is relative to
    /// the file it is written in.
    #[serde(default)]
    pub file: Option<Spanned<PathBuf>>,
}

/// Endpoints from DNS: the addresses of a `name`, or the targets of an `srv` record. Exactly one of the two.
///
/// The answer is asked for again when its TTL is over, on a thread of its own. `Host` and the name that certificates
/// are verified by are what is written here, never what an answer says.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// Host name whose A and AAAA records are the endpoints.
    #[serde(default)]
    pub name: Option<Spanned<String>>,
    /// Name of SRV records, `_http._tcp.users.internal`. Their ports, weights and priorities hold; endpoints of a
    /// higher-numbered priority are used only while none of a lower one is usable.
    #[serde(default)]
    pub srv: Option<Spanned<String>>,
    /// Port of the addresses of `name`. Default: the scheme's, 80 or 443.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<Spanned<u16>>,
    /// How to speak to the endpoints: `http`, `https` or `h2c`. Default `http`.
    #[serde(default)]
    pub scheme: Spanned<DnsScheme>,
    /// Share of the requests of each address of `name`, in relation to other endpoints. Default 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    pub weight: Option<Spanned<u32>>,
    /// Name servers to ask, IP addresses with or without a port: `10.0.0.53`, `127.0.0.1:5353`. Default: those of the
    /// system (`/etc/resolv.conf`), with its search domains.
    #[serde(default)]
    pub resolvers: OneOrMany<Spanned<String>>,
    /// An answer is not asked for again before this time, whatever its TTL; also the pause after a failure, which is
    /// doubled with every other, to 30 s. Default `5s`.
    #[serde(default = "five_seconds")]
    pub min_ttl: Spanned<Duration>,
    /// An answer is asked for again after this time, whatever its TTL. Default `5m`.
    #[serde(default = "five_minutes")]
    pub max_ttl: Spanned<Duration>,
}

fn five_seconds() -> Spanned<Duration> {
    Duration::from_secs(5).into()
}

fn five_minutes() -> Spanned<Duration> {
    Duration::from_secs(300).into()
}

/// How to speak to endpoints from DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsScheme {
    /// Plain HTTP/1.1.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 without TLS.
    H2c,
}

impl DnsScheme {
    /// The scheme of the endpoints' URLs.
    #[must_use]
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Http => Scheme::Http,
            Self::Https => Scheme::Https,
            Self::H2c => Scheme::H2c,
        }
    }
}

impl fmt::Display for DnsScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme().as_str())
    }
}

impl Dns {
    /// The address of a name server; `None`: it is none.
    #[must_use]
    pub fn resolver(text: &str) -> Option<SocketAddr> {
        let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53))).ok();
        address.filter(|address| address.port() != 0 && !address.ip().is_unspecified())
    }

    /// The host that stands for all endpoints: `name`, or `srv` without what begins with `_`.
    #[must_use]
    pub fn host(&self) -> &str {
        let name = self.name.as_ref().or(self.srv.as_ref()).map_or("", |name| name.as_str());
        let mut host = name.trim_end_matches('.');
        while let Some((_, rest)) = host.split_once('.').filter(|(label, _)| label.starts_with('_')) {
            host = rest;
        }
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_addresses_with_or_without_a_port() {
        let shown = |text| Dns::resolver(text).map(|address| address.to_string());
        assert_eq!(shown("10.0.0.53").as_deref(), Some("10.0.0.53:53"));
        assert_eq!(shown("127.0.0.1:5353").as_deref(), Some("127.0.0.1:5353"));
        assert_eq!(shown("::1").as_deref(), Some("[::1]:53"));
        assert_eq!(shown("[::1]:5353").as_deref(), Some("[::1]:5353"));
        for text in ["", "dns.internal", "10.0.0.53:0", "0.0.0.0"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
