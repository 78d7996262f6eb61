//! Where a listener listens.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use torana_core::diagnostic::{Misfit, quoted};

const EXPECTED: &str = "an address such as `127.0.0.1:8080`, `[::1]:8080`, `:8080` or `unix:/run/torana.sock`";

/// Where to accept connections: `127.0.0.1:8080`, `[::1]:8080`, `:8080` for all interfaces in both
/// IPv4 and IPv6, or `unix:/run/torana.sock`. Host names are not resolved: a listener must not
/// depend on DNS. Port 0 lets the system choose a free port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// One IP address, or all of one family if it is `0.0.0.0`. `[::]` takes IPv4 connections too.
    Tcp(SocketAddr),
    /// All interfaces, IPv6 and IPv4: `:8080`.
    AnyInterface(u16),
    /// A Unix domain socket at an absolute path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The address and port to bind; `[::]` (both families) for all interfaces, `None` for a Unix
    /// socket.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::AnyInterface(port) => Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port)),
            Self::Unix(_) => None,
        }
    }

    /// Whether only this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::AnyInterface(_) => false,
            Self::Unix(_) => true,
        }
    }

    /// Whether both cannot be bound at once: the same port on addresses of which one includes the
    /// other.
    ///
    /// Port 0 never overlaps. On Linux two of our own processes may share a port (`SO_REUSEPORT`),
    /// so the system would not complain: connections would land on either listener by chance.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        if let (Self::Unix(one), Self::Unix(other)) = (self, other) {
            return one == other;
        }
        let (Some(one), Some(other)) = (self.socket(), other.socket()) else {
            return false;
        };
        if one.port() != other.port() || one.port() == 0 {
            return false;
        }
        let includes = |wide: IpAddr, narrow: IpAddr| match wide {
            IpAddr::V6(wide) if wide.is_unspecified() => true,
            IpAddr::V4(wide) if wide.is_unspecified() => narrow.to_canonical().is_ipv4(),
            _ => wide == narrow,
        };
        let (one, other) = (one.ip().to_canonical(), other.ip().to_canonical());
        includes(one, other) || includes(other, one)
    }
}

impl FromStr for ListenAddress {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        let misfit = |which: &str| Misfit::new(EXPECTED, format!("{}{which}", quoted(text))).code("config.address");
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') && !path.contains('\0') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(misfit(", whose path is not absolute"))
            };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address));
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            let hint = format!("add a port: `{}`", SocketAddr::new(ip, 8080));
            return Err(misfit(", which has no port").hint(hint));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let hint = match text.parse::<u16>() {
                Ok(port) => format!("write `:{port}` for all interfaces, `127.0.0.1:{port}` for this machine only"),
                Err(_) => "write an IP address and a port".to_owned(),
            };
            return Err(misfit("").hint(hint));
        };
        match port.parse::<u16>() {
            Err(_) => Err(misfit(&format!(", whose port {} is not a number up to 65535", quoted(port)))),
            Ok(port) if host.is_empty() || host == "*" => Ok(Self::AnyInterface(port)),
            Ok(port) if host == "localhost" => {
                let hint = format!("write `127.0.0.1:{port}`, `[::1]:{port}`, or a listener for each");
                Err(misfit(", whose host is a name").hint(hint))
            }
            Ok(port) if host.contains("://") => {
                Err(misfit(", which is a URL").hint(format!("write `127.0.0.1:{port}`; `tls` makes it HTTPS")))
            }
            Ok(_) => Err(misfit(", whose host is not an IP address").hint("host names are not resolved here")),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::AnyInterface(port) => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "Where to accept connections: an IP address and port, `:8080` for all interfaces in both \
                IPv4 and IPv6, or `unix:` and an absolute path. Host names are not resolved. Port 0 lets the system \
                choose.",
            "examples": ["127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/torana.sock"],
            "x-torana-expects": EXPECTED,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_parses_and_prints_back() {
        for text in ["127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/torana.sock", "0.0.0.0:0"] {
            assert_eq!(address(text).to_string(), text);
        }
        assert_eq!(address("*:80"), ListenAddress::AnyInterface(80));
    }

    #[test]
    fn what_is_refused_says_why() {
        let found = |text: &str| text.parse::<ListenAddress>().unwrap_err().found;
        assert_eq!(found("localhost:80"), "`localhost:80`, whose host is a name");
        assert_eq!(found("127.0.0.1"), "`127.0.0.1`, which has no port");
        assert_eq!(found("::1"), "`::1`, which has no port");
        assert_eq!(found("127.0.0.1:99999"), "`127.0.0.1:99999`, whose port `99999` is not a number up to 65535");
        assert_eq!(found("unix:run.sock"), "`unix:run.sock`, whose path is not absolute");
        assert_eq!(found("http://1.2.3.4:80"), "`http://1.2.3.4:80`, which is a URL");
        assert_eq!(found("8080"), "`8080`");
    }

    #[test]
    fn overlap_follows_what_the_system_binds() {
        let overlap = |one: &str, other: &str| {
            assert_eq!(address(one).overlaps(&address(other)), address(other).overlaps(&address(one)));
            address(one).overlaps(&address(other))
        };
        assert!(overlap("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlap("[::]:80", "127.0.0.1:80"));
        assert!(overlap(":80", "[::1]:80"));
        assert!(overlap(":80", "0.0.0.0:80"));
        assert!(overlap("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
        assert!(overlap("unix:/a", "unix:/a"));
        assert!(!overlap("0.0.0.0:80", "[::1]:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!overlap(":0", ":0"));
        assert!(!overlap("unix:/a", ":80"));
    }
}
