//! What a reply is kept under: never less than route, scheme, host, path and
//! query, and the caller where replies are kept for each.
//!
//! The parts are joined by a byte that none of them can hold, so that no two
//! requests share a key by running into each other.

use super::store::Store;
use torana_core::exchange::Exchange;
use torana_core::identity::Identity;
use torana_core::names::{HeaderName, KnownName, NameSet};

/// What of a request is part of the key.
#[derive(Debug, Default)]
pub(super) struct KeyRules {
    /// Parameters that mean nothing; a `*` at the end stands for any ending.
    pub(super) ignore: Vec<String>,
    /// The only ones that mean anything.
    pub(super) keep: Option<Vec<String>>,
    /// Whether their order means nothing.
    pub(super) sort: bool,
    /// Headers that the target looks at without saying so.
    pub(super) headers: Vec<HeaderName>,
    /// Headers that tell who calls, besides those that are known to.
    pub(super) credentials: Vec<HeaderName>,
    pub(super) per_identity: bool,
    /// Whether cookies tell nothing.
    pub(super) ignore_cookies: bool,
}

/// What a request brings to tell who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) authorization: bool,
    pub(super) others: bool,
}

impl Credentials {
    pub(super) const fn any(self) -> bool {
        self.authorization || self.others
    }
}

pub(super) const BETWEEN: u8 = 0;

/// Headers that tell who calls in any case, besides `Authorization`.
const OTHERS: NameSet = NameSet::of(&[KnownName::ProxyAuthorization, KnownName::XApiKey]);

impl KeyRules {
    /// Writes the key into `key`, which is empty; answers the place of the URI
    /// among the moments of `store`.
    pub(super) fn of(&self, exchange: &Exchange, store: &Store, route: &str, key: &mut Vec<u8>) -> usize {
        let target = exchange.target();
        key.reserve(192);
        for part in [route, target.scheme().as_str()] {
            key.extend_from_slice(part.as_bytes());
            key.push(BETWEEN);
        }
        let uri = key.len();
        self.push_uri(target.host(), target.effective_port(), target.path(), target.query(), key);
        let place = store.place(key.get(uri..).unwrap_or_default());
        key.push(BETWEEN);
        super::entry::push_selecting(&self.headers, &exchange.head.fields, key);
        if self.per_identity {
            self.push_caller(exchange, key);
        }
        place
    }

    /// Another URI, as it is within keys.
    pub(super) fn uri(&self, host: &str, port: u16, path_and_query: &str) -> Vec<u8> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let mut uri = Vec::new();
        self.push_uri(host, port, path, query, &mut uri);
        uri
    }

    fn push_uri(&self, host: &str, port: u16, path: &str, query: Option<&str>, key: &mut Vec<u8>) {
        push_authority(host, port, key);
        key.push(BETWEEN);
        key.extend_from_slice(path.as_bytes());
        key.push(BETWEEN);
        if let Some(query) = query {
            self.push_query(query, key);
        }
    }

    /// A query as keys have it.
    pub(super) fn query_of(&self, query: Option<&str>) -> Vec<u8> {
        let mut key = Vec::new();
        if let Some(query) = query {
            self.push_query(query, &mut key);
        }
        key
    }

    fn push_query(&self, query: &str, key: &mut Vec<u8>) {
        key.push(b'?');
        if self.ignore.is_empty() && self.keep.is_none() && !self.sort {
            key.extend_from_slice(query.as_bytes());
            return;
        }
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| self.means(pair)).collect();
        if self.sort {
            // Stable: the order of values of one name may mean something.
            pairs.sort_by_key(|pair| name(pair));
        }
        key.extend_from_slice(pairs.join("&").as_bytes());
    }

    fn means(&self, pair: &str) -> bool {
        let is_among = |list: &[String]| list.iter().any(|known| fits(known, name(pair)));
        !is_among(&self.ignore) && self.keep.as_deref().is_none_or(is_among)
    }

    fn push_caller(&self, exchange: &Exchange, key: &mut Vec<u8>) {
        if let Some(who) = exchange.identity.as_ref().and_then(Identity::who) {
            key.push(b'i');
            for which in who {
                // With lengths: what a token claims may hold any byte.
                key.extend_from_slice(&(which.len() as u64).to_be_bytes());
                key.extend_from_slice(which.as_bytes());
            }
        }
        for (name, value) in exchange.head.fields.iter() {
            if self.tells_who(&name) {
                key.push(BETWEEN);
                key.extend(name.text.iter().map(u8::to_ascii_lowercase));
                key.push(BETWEEN);
                key.extend_from_slice(value);
            }
        }
    }

    /// Whether replies are kept for each caller, and this one was proved without
    /// a name: its replies could be anybody's.
    pub(super) fn cannot_tell(&self, exchange: &Exchange) -> bool {
        self.per_identity && exchange.identity.as_ref().is_some_and(|identity| identity.who().is_none())
    }

    fn tells_who(&self, name: &torana_core::head::FieldName<'_>) -> bool {
        let is_known = name.known.is_some_and(|known| match known {
            KnownName::Authorization => true,
            KnownName::Cookie => !self.ignore_cookies,
            other => OTHERS.contains(other),
        });
        is_known || self.credentials.iter().any(|known| name.is(known))
    }

    /// What `exchange` brings.
    pub(super) fn credentials(&self, exchange: &Exchange) -> Credentials {
        let fields = &exchange.head.fields;
        let others = fields.contains_any(OTHERS)
            || (!self.ignore_cookies && fields.contains(KnownName::Cookie))
            || self.credentials.iter().any(|name| match name {
                HeaderName::Known(KnownName::Authorization) => false,
                HeaderName::Known(known) => fields.contains(*known),
                HeaderName::Other(_) => fields.may_have_unknown() && fields.values(name).next().is_some(),
            });
        Credentials {
            authorization: fields.contains(KnownName::Authorization),
            others: others || exchange.identity.is_some() || has_certificate(exchange),
        }
    }
}

fn has_certificate(exchange: &Exchange) -> bool {
    exchange.connection.tls.as_ref().is_some_and(|tls| !tls.client_chain.is_empty())
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

fn name(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

fn fits(known: &str, name: &str) -> bool {
    match known.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => known == name,
    }
}

/// The part of a key that is the URI: host and port, path, query.
pub(super) fn uri_of(key: &[u8]) -> &[u8] {
    let mut ends = key.iter().enumerate().filter(|(_, byte)| **byte == BETWEEN).map(|(at, _)| at);
    match (ends.nth(1), ends.nth(2)) {
        (Some(scheme), Some(query)) => key.get(scheme + 1..query).unwrap_or_default(),
        _ => &[],
    }
}

/// The authority as keys have it.
pub(super) fn authority(host: &str, port: u16) -> Vec<u8> {
    let mut text = Vec::new();
    push_authority(host, port, &mut text);
    text
}

fn push_authority(host: &str, port: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(host.as_bytes());
    port.to_be_bytes().into_iter().for_each(|byte| out.extend_from_slice(&hex(byte)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::testing::exchange;

    fn key(rules: &KeyRules, request: &str) -> Vec<u8> {
        let mut key = Vec::new();
        rules.of(&exchange(request), &Store::new(1 << 20), "route", &mut key);
        key
    }

    #[test]
    fn hosts_schemes_paths_and_queries_never_share_a_key() {
        let rules = KeyRules::default();
        let keys = [
            "GET /a HTTP/1.1\nHost: a",
            "GET /a HTTP/1.1\nHost: b",
            "GET /a HTTP/1.1\nHost: a:8080",
            "GET /a? HTTP/1.1\nHost: a",
            "GET /a?b HTTP/1.1\nHost: a",
            "GET /b HTTP/1.1\nHost: a",
            "GET /a/ HTTP/1.1\nHost: a",
        ]
        .map(|request| key(&rules, request));
        for (at, one) in keys.iter().enumerate() {
            assert!(keys.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
        assert_eq!(key(&rules, "GET /a HTTP/1.1\nHost: A:80"), keys[0], "spelled otherwise");
    }

    #[test]
    fn parameters_that_mean_nothing_are_no_part_of_it() {
        let rules = KeyRules { ignore: vec!["utm_*".into(), "sid".into()], sort: true, ..KeyRules::default() };
        let at = |query: &str| key(&rules, &format!("GET /a?{query} HTTP/1.1\nHost: a"));
        assert_eq!(at("b=1&a=2"), at("utm_source=x&a=2&sid=7&b=1"));
        assert_ne!(at("a=1&a=2"), at("a=2&a=1"));
        assert_ne!(at("sidx=1"), at("sidx=2"));
        let only = KeyRules { keep: Some(vec!["page".into()]), ..KeyRules::default() };
        let at = |query: &str| key(&only, &format!("GET /a?{query} HTTP/1.1\nHost: a"));
        assert_eq!(at("x=1&page=2"), at("page=2&y=3"));
        assert_ne!(at("page=2"), at("page=3"));
    }

    #[test]
    fn callers_are_apart_where_they_are_to_be() {
        let rules = KeyRules { per_identity: true, ..KeyRules::default() };
        let store = Store::new(1 << 20);
        let of = |fields: &str, subject: Option<&str>| {
            let mut exchange = exchange(&format!("GET /a HTTP/1.1\nHost: a{fields}"));
            exchange.identity = subject.map(|subject| Identity::new(subject, "jwt"));
            let mut key = Vec::new();
            rules.of(&exchange, &store, "route", &mut key);
            key
        };
        let keys = [
            of("", None),
            of("", Some("alice")),
            of("", Some("alice\0")),
            of("", Some("alice\0\0Cookie")),
            of("", Some("bob")),
            of("\nAuthorization: alice", None),
            of("\nCookie: alice", None),
            of("\nX-API-Key: alice", None),
            of("\nCookie: a\nCookie: b", None),
            of("\nCookie: ab", None),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn keys_tell_what_people_name() {
        let rules = KeyRules { per_identity: true, ..KeyRules::default() };
        let key = key(&rules, "GET /a/b?c=d HTTP/1.1\nHost: shop.example\nCookie: secret");
        assert_eq!(uri_of(&key), [&authority("shop.example", 80)[..], b"/a/b", b"?c=d"].join(&BETWEEN));
        assert_eq!(uri_of(&key), rules.uri("shop.example", 80, "/a/b?c=d"));
        assert!(uri_of(b"").is_empty() && uri_of(b"a\0b\0c").is_empty());
    }
}
