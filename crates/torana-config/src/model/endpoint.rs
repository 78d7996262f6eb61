//! Where an upstream answers.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use torana_core::diagnostic::{Misfit, did_you_mean, quoted};
use torana_core::written::Spanned;

const EXPECTED: &str = "a URL such as `http://10.0.0.7:3000` or `unix:/run/app.sock`";

/// How to speak to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP/1.1.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 without TLS, started at once (prior knowledge, RFC 9113 §3.3).
    H2c,
    /// HTTP/1.1 over a Unix domain socket.
    Unix,
}

impl Scheme {
    /// As it is written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::Unix => "unix",
        }
    }
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A host name in lower case or an IP address (IPv6 without brackets), and a port.
    Network {
        /// Name or address.
        host: String,
        /// Port; 80 and 443 where the URL names none.
        port: u16,
    },
    /// The absolute path of a Unix domain socket.
    Unix(PathBuf),
}

/// The address of one endpoint: scheme, host and port, and nothing else.
///
/// A path is refused because joining it to the request's path is what `rewrite.add_prefix` says
/// openly; user names and passwords are refused because URLs end up in logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointUrl {
    /// How to speak.
    pub scheme: Scheme,
    /// What to connect to.
    pub origin: Origin,
}

impl FromStr for EndpointUrl {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        let misfit =
            |which: &str| Misfit::new(EXPECTED, format!("{}, {which}", quoted(text))).code("config.endpoint_url");
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.contains('\0') {
                return Err(misfit("whose path is not absolute"));
            }
            return Ok(Self { scheme: Scheme::Unix, origin: Origin::Unix(path.into()) });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let hint = format!("write `http://{text}`");
            return Err(misfit("which has no scheme").hint(hint));
        };
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Scheme::Http, Some(80)),
            "https" => (Scheme::Https, Some(443)),
            "h2c" => (Scheme::H2c, Some(80)),
            other => {
                let hint = match (other, did_you_mean(other, ["http", "https", "h2c", "unix"])) {
                    ("h2" | "grpcs", _) => "write `https`, and `protocol: http2` in the upstream".to_owned(),
                    ("ws" | "grpc", _) => "write `http` for WebSockets, `h2c` for gRPC".to_owned(),
                    ("wss", _) => "write `https`: WebSockets pass through it".to_owned(),
                    (_, Some(near)) => format!("did you mean `{near}`?"),
                    _ => "the schemes are `http`, `https`, `h2c` and `unix`".to_owned(),
                };
                return Err(misfit(&format!("whose scheme {} is unknown", quoted(other))).hint(hint));
            }
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(misfit("which holds a user name or password")
                .hint("remove it: URLs end up in logs; send credentials in a header"));
        }
        if !tail.is_empty() && tail != "/" {
            let hint = if tail.starts_with('/') {
                "remove the path; `rewrite: { add_prefix: … }` in the route puts one in front of the request's path"
            } else {
                "remove everything after the port"
            };
            return Err(misfit("which has more than scheme, host and port").hint(hint));
        }
        let origin = authority_of(authority, default_port).map_err(|which| misfit(&which))?;
        Ok(Self { scheme, origin })
    }
}

fn authority_of(authority: &str, default_port: Option<u16>) -> Result<Origin, String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("whose `[` is not closed")?;
            host.parse::<Ipv6Addr>().map_err(|_| format!("whose {} is not an IPv6 address", quoted(host)))?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or("with text after `]`")?) })
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("whose IPv6 address needs `[` and `]`".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("which has no host".to_owned());
    }
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.len() > 253 || !host.chars().all(in_name) {
        return Err(format!("whose host {} is not a name or an address", quoted(host)));
    }
    let port = match port {
        None => default_port.ok_or("which has no port")?,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => {
                return Err(format!("whose port {} is not a number from 1 to 65535", quoted(port)));
            }
        },
    };
    Ok(Origin::Network { host: host.to_ascii_lowercase(), port })
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Unix(path) => write!(f, "unix:{}", path.display()),
            Origin::Network { host, port } if host.contains(':') => {
                write!(f, "{}://[{host}]:{port}", self.scheme.as_str())
            }
            Origin::Network { host, port } => write!(f, "{}://{host}:{port}", self.scheme.as_str()),
        }
    }
}

impl Serialize for EndpointUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EndpointUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for EndpointUrl {
    fn schema_name() -> Cow<'static, str> {
        "EndpointUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "Scheme, host and port of an endpoint. `http` is HTTP/1.1, `https` is TLS, `h2c` is HTTP/2 \
                without TLS, `unix:` and an absolute path is HTTP/1.1 over a Unix socket. No path, user name or query.",
            "examples": ["http://10.0.0.7:3000", "https://api.internal.example", "h2c://[::1]:50051", "unix:/run/app.sock"],
            "x-torana-expects": EXPECTED,
        })
    }
}

/// One endpoint of an upstream: its URL, or a map with `url` and `weight` or `drain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it answers.
    pub url: Spanned<EndpointUrl>,
    /// Its share of the requests in relation to the others. Default 1; 0 keeps it configured
    /// without traffic.
    pub weight: u32,
    /// Whether it gets no new requests, though it is listed, probed and shown. Default `false`.
    pub drain: bool,
}

/// An endpoint with more than a URL.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EndpointWithWeight")]
struct Full {
    /// Where it answers.
    url: Spanned<EndpointUrl>,
    /// Its share of the requests in relation to the others. Default 1; 0 keeps it configured
    /// without traffic.
    #[serde(default = "one")]
    #[schemars(range(max = 10_000))]
    weight: u32,
    /// `true`: it gets no new requests, though it is listed, probed and shown; those under way end. Default `false`.
    #[serde(default)]
    drain: bool,
}

fn one() -> u32 {
    1
}

enum Form {
    Url(EndpointUrl),
    Full(Full),
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Form;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Form, E> {
                text.parse().map(Form::Url).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Form, A::Error> {
                Full::deserialize(MapAccessDeserializer::new(map)).map(Form::Full)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Spanned::<Form>::deserialize(deserializer)?;
        let (span, raw) = (form.span, form.raw().map(str::to_owned));
        Ok(match form.value {
            Form::Url(url) => Self { url: Spanned::new(url, span).written_as(raw.as_deref()), weight: 1, drain: false },
            Form::Full(Full { url, weight, drain }) => Self { url, weight, drain },
        })
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let url = generator.subschema_for::<EndpointUrl>();
        let full = generator.subschema_for::<Full>();
        schemars::json_schema!({
            "description": "An endpoint: its URL, or a map with `url` and `weight` or `drain`.",
            "anyOf": [url, full]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        text.parse::<EndpointUrl>().map(|url| url.to_string()).map_err(|misfit| misfit.found)
    }

    #[test]
    fn schemes_ports_and_sockets() {
        assert_eq!(parse("http://10.0.0.7:3000"), Ok("http://10.0.0.7:3000".into()));
        assert_eq!(parse("HTTPS://Api.Example/"), Ok("https://api.example:443".into()));
        assert_eq!(parse("h2c://[::1]:50051"), Ok("h2c://[::1]:50051".into()));
        assert_eq!(parse("http://[::1]"), Ok("http://[::1]:80".into()));
        assert_eq!(parse("unix:/run/app.sock"), Ok("unix:/run/app.sock".into()));
        assert_eq!(parse("unix:///run/app.sock"), Ok("unix:/run/app.sock".into()));
    }

    #[test]
    fn what_is_refused_says_why() {
        let why = |text: &str| parse(text).unwrap_err().rsplit_once("`, ").unwrap().1.to_owned();
        assert_eq!(why("10.0.0.7:3000"), "which has no scheme");
        assert_eq!(why("http://u:p@h"), "which holds a user name or password");
        assert_eq!(why("http://h/v1"), "which has more than scheme, host and port");
        assert_eq!(why("http://h?x=1"), "which has more than scheme, host and port");
        assert_eq!(why("http://"), "which has no host");
        assert_eq!(why("http://:80"), "which has no host");
        assert_eq!(why("http://::1:80"), "whose IPv6 address needs `[` and `]`");
        assert_eq!(why("http://[::1"), "whose `[` is not closed");
        assert_eq!(why("unix:app.sock"), "whose path is not absolute");
        assert!(parse("http://h:0").unwrap_err().ends_with("is not a number from 1 to 65535"));
        assert!(parse("http://a b").unwrap_err().ends_with("is not a name or an address"));
        assert!(parse("ftp://h").unwrap_err().ends_with("is unknown"));
    }

    #[test]
    fn schemes_people_try_get_a_doable_hint() {
        let hint = |text: &str| text.parse::<EndpointUrl>().unwrap_err().hint.unwrap();
        assert_eq!(hint("httsp://h"), "did you mean `https`?");
        assert_eq!(hint("wss://h"), "write `https`: WebSockets pass through it");
        assert_eq!(hint("app:3000"), "write `http://app:3000`");
    }
}
