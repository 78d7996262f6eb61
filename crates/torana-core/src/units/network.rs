//! Ranges of IP addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::de::{self, Deserialize, Deserializer};

use super::{found, text_scalar};
use crate::diagnostic::Misfit;

pub(super) const FORMAT: &str = "torana-network";
pub(super) const EXPECTED: &str = "an IP address or a network such as `10.0.0.0/8`";

/// An IP network, `10.0.0.0/8` or `fd00::/8`; a single address means just that address.
///
/// Bits behind the prefix have to be zero: `10.1.2.3/8` is an error, since it is unclear which part
/// was meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

text_scalar!(Network, "Network", {
    "type": "string",
    "format": "torana-network",
    "description": "An IP network, `10.0.0.0/8` or `fd00::/8`; a single address means just that address.",
    "examples": ["10.0.0.0/8", "192.0.2.7", "fd00::/8"],
    "x-torana-expects": "an IP address or a network such as `10.0.0.0/8`"
});

impl Network {
    /// Whether `address` is in this network. An IPv4 address mapped into IPv6 (`::ffff:10.0.0.1`)
    /// counts as the IPv4 address it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The network as such.
    #[must_use]
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl From<IpNet> for Network {
    fn from(net: IpNet) -> Self {
        Self(canonical(net.trunc()))
    }
}

/// The IPv4 network that one of mapped addresses is (`::ffff:10.0.0.0/104`):
/// addresses are compared as what they are, and none would ever be in it.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(mapped) = net else { return net };
    let v4 = mapped.network().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(net, IpNet::V4)
}

impl FromStr for Network {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(canonical(address.into())));
        }
        let misfit = |which: &str| Misfit::new(EXPECTED, found(text, which));
        let Ok(net) = text.parse::<IpNet>() else {
            return Err(match text.split_once('/') {
                Some((address, prefix)) if address.parse::<IpAddr>().is_ok() => {
                    misfit(&format!("whose prefix length {} is not possible", crate::diagnostic::quoted(prefix)))
                }
                _ => misfit("which is neither"),
            });
        };
        if net.trunc() != net {
            let hint = format!("write `{}`, or `{}` for this one address", net.trunc(), net.addr());
            return Err(misfit("which has bits behind the prefix").hint(hint));
        }
        Ok(Self(canonical(net)))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_single_addresses() {
        let network: Network = "10.0.0.0/8".parse().unwrap();
        assert!(network.contains("10.255.0.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.1.1".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        let one: Network = "192.0.2.7".parse().unwrap();
        assert!(one.contains("192.0.2.7".parse().unwrap()) && !one.contains("192.0.2.8".parse().unwrap()));
        assert_eq!(one.to_string(), "192.0.2.7/32");
        assert!("fd00::/8".parse::<Network>().unwrap().contains("fd12::1".parse().unwrap()));
    }

    #[test]
    fn mapped_addresses_are_what_they_are_as_networks_too() {
        for (written, inside, outside) in [
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("::ffff:0:0/96", "203.0.113.1", "fd00::1"),
            ("::/0", "fd00::1", "10.0.0.1"),
        ] {
            let network: Network = written.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{written}");
            assert!(!network.contains(outside.parse().unwrap()), "{written}");
        }
        assert_eq!("::ffff:10.0.0.0/104".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_is_refused_says_why() {
        let misfit = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(
            misfit("10.1.2.3/8").hint.as_deref(),
            Some("write `10.0.0.0/8`, or `10.1.2.3` for this one address")
        );
        assert_eq!(misfit("10.0.0.0/33").found, "`10.0.0.0/33`, whose prefix length `33` is not possible");
        assert_eq!(misfit("private").found, "`private`, which is neither");
    }
}
