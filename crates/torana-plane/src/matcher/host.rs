//! Host patterns.

use super::PatternError;
use torana_core::canonical::{TargetError, canonical_host};

/// The hosts a route answers for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host, in canonical form.
    Exact(Box<str>),
    /// One or more labels before `.` and this name.
    Wildcard(Box<str>),
    /// Every host, and none.
    Any,
}

impl HostPattern {
    /// Reads `shop.example`, `*.shop.example`, `[2001:db8::1]` or `*`.
    ///
    /// # Errors
    /// What is no host, has a port, or a star in another place.
    pub fn parse(text: &str) -> Result<HostPattern, PatternError> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        let (is_wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let mut host = String::new();
        canonical_host(name.as_bytes(), &mut host).map_err(|error| explain(error, text, name))?;
        if is_wildcard && host.starts_with('[') {
            return Err(PatternError::new(
                format!("`{text}` puts a wildcard before an IP address"),
                "write the address alone",
            ));
        }
        let host = host.into_boxed_str();
        Ok(if is_wildcard { HostPattern::Wildcard(host) } else { HostPattern::Exact(host) })
    }

    /// Whether a canonical host matches.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => **name == *host,
            HostPattern::Wildcard(name) => host
                .strip_suffix(&**name)
                .and_then(|labels| labels.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
            HostPattern::Any => true,
        }
    }

    /// Rule 1 of the total order: less is more specific. The trie gets it from
    /// the order of its tables; this is what that is tested against. Wildcards that match
    /// the same host are suffixes of each other, so length decides.
    #[cfg(test)]
    pub(super) fn rank(&self) -> (u8, std::cmp::Reverse<usize>) {
        match self {
            HostPattern::Exact(_) => (0, std::cmp::Reverse(0)),
            HostPattern::Wildcard(name) => (1, std::cmp::Reverse(name.len())),
            HostPattern::Any => (2, std::cmp::Reverse(0)),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Wildcard(name) => write!(f, "*.{name}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

fn explain(error: TargetError, text: &str, name: &str) -> PatternError {
    let message = format!("`{text}` is not a host");
    let hint = if name.contains("://") {
        "write the host alone, without the scheme"
    } else if name.contains('/') {
        "write the host alone; the path goes into `path`"
    } else if name.contains('*') {
        "a wildcard stands for whole labels in front: `*.shop.example`"
    } else if !name.is_ascii() {
        "write international names as they travel, in punycode: `xn--…`"
    } else if !name.starts_with('[') && name.matches(':').count() > 1 {
        "an IPv6 address stands in brackets: `[::1]`"
    } else if error == TargetError::PortInvalid {
        "routes match the host without its port; leave the port out"
    } else {
        "a host has letters, digits, `-`, `_` and single dots"
    };
    PatternError::new(message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_requests_read_them() {
        assert_eq!(HostPattern::parse("Shop.Example."), Ok(HostPattern::Exact("shop.example".into())));
        assert_eq!(HostPattern::parse("*.Shop.Example"), Ok(HostPattern::Wildcard("shop.example".into())));
        assert_eq!(HostPattern::parse("[2001:DB8::0:1]"), Ok(HostPattern::Exact("[2001:db8::1]".into())));
        assert_eq!(HostPattern::parse("*"), Ok(HostPattern::Any));
        assert_eq!(HostPattern::parse("*.shop.example").unwrap().to_string(), "*.shop.example");
    }

    #[test]
    fn mistakes_get_the_hint_that_helps() {
        for (text, hint) in [
            ("shop.example:8080", "port"),
            ("http://shop.example", "scheme"),
            ("shop.example/api", "`path`"),
            ("a.*.example", "in front"),
            ("*shop.example", "in front"),
            ("bücher.example", "punycode"),
            ("2001:db8::1", "brackets"),
            ("a..b", "single dots"),
            ("", "single dots"),
            ("*.", "single dots"),
            ("*.[::1]", "address alone"),
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.hint.contains(hint), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_wildcard_wants_at_least_one_label() {
        let pattern = HostPattern::parse("*.shop.example").unwrap();
        assert!(pattern.matches("a.shop.example"));
        assert!(pattern.matches("a.b.shop.example"));
        for host in ["shop.example", ".shop.example", "ashop.example", "shop.example.evil", ""] {
            assert!(!pattern.matches(host), "{host}");
        }
    }
}
