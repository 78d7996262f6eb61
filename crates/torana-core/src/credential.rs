//! Where a credential stands in a request, and taking it away from there.

use crate::cookie;
use crate::exchange::Exchange;
use crate::head::Fields;
use crate::names::{HeaderName, KnownName};
use crate::query;
use std::borrow::Cow;
use std::fmt::Write as _;

/// A place that a credential may stand in: a token, a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header, behind a scheme such as `Bearer` if there is one.
    Header {
        /// The header.
        name: HeaderName,
        /// The scheme.
        scheme: Option<Box<str>>,
    },
    /// A cookie.
    Cookie(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing.
    None,
    /// One token, and in which place.
    One(Cow<'a, [u8]>, usize),
    /// Several: which of them is meant is anybody's guess (RFC 6750 §2).
    Several,
}

/// Looks into all of `places`.
#[must_use]
pub fn find<'a>(places: &'a [Place], exchange: &'a Exchange) -> Found<'a> {
    let mut found = Found::None;
    for (index, place) in places.iter().enumerate() {
        let mut several = false;
        let mut take = |token: Cow<'a, [u8]>| match found {
            Found::None => found = Found::One(token, index),
            _ => several = true,
        };
        place.each(exchange, &mut take);
        if several {
            return Found::Several;
        }
    }
    found
}

impl Place {
    fn each<'a>(&'a self, exchange: &'a Exchange, take: &mut dyn FnMut(Cow<'a, [u8]>)) {
        let fields = &exchange.head.fields;
        match self {
            Place::Header { name, scheme } => {
                for value in fields.values(name) {
                    match scheme {
                        None => take(value.trim_ascii().into()),
                        Some(scheme) => after_scheme(value, scheme).into_iter().for_each(|token| take(token.into())),
                    }
                }
            }
            Place::Cookie(name) => {
                for (found, value) in fields.get_all(KnownName::Cookie).flat_map(cookie::pairs) {
                    if found == name.as_bytes() {
                        take(value.into());
                    }
                }
            }
            Place::Query(name) => {
                for (found, value) in query::pairs(exchange.target().query().unwrap_or_default()) {
                    if found.eq(name.bytes()) {
                        take(value.collect::<Vec<u8>>().into());
                    }
                }
            }
        }
    }

    /// Takes the token away, so that it goes no further than it has to: from
    /// cookie and query always, since both get around (into logs, into pages
    /// that are linked to), from a header unless `keep_header`.
    pub fn strip(&self, exchange: &mut Exchange, keep_header: bool) {
        match self {
            Place::Header { .. } if keep_header => {}
            Place::Header { name, .. } => exchange.head.fields.remove(name),
            Place::Cookie(name) => strip_cookie(&mut exchange.head.fields, name.as_bytes()),
            Place::Query(name) => {
                let query = exchange.forward_query().unwrap_or_default();
                exchange.forward.query = Some(without_parameter(query, name));
            }
        }
    }

    /// The parameter of the query that it is, if it is one.
    #[must_use]
    pub fn parameter(&self) -> Option<&str> {
        if let Place::Query(name) = self { Some(name) } else { None }
    }

    /// The place as explanations name it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = match self {
            Place::Header { name, .. } => write!(out, "header `{name}`"),
            Place::Cookie(name) => write!(out, "cookie `{name}`"),
            Place::Query(name) => write!(out, "query parameter `{name}`"),
        };
        out
    }
}

/// What stands behind `scheme` and a blank (RFC 9110 §11.4; the scheme in any
/// case).
fn after_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (said, rest) = value.split_at_checked(scheme.len())?;
    let is_scheme = said.eq_ignore_ascii_case(scheme.as_bytes()) && rest.first().is_none_or(|byte| *byte == b' ');
    is_scheme.then(|| rest.trim_ascii())
}

fn strip_cookie(fields: &mut Fields, name: &[u8]) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for field in fields.get_all(KnownName::Cookie) {
        let is_other = |pair: &&[u8]| cookie::pairs(pair).all(|(found, _)| found != name);
        let others: Vec<&[u8]> = field
            .split(|byte| *byte == b';')
            .filter(is_other)
            .map(<[u8]>::trim_ascii)
            .filter(|p| !p.is_empty())
            .collect();
        if !others.is_empty() {
            kept.push(others.join(&b"; "[..]));
        }
    }
    fields.remove_known(KnownName::Cookie);
    for value in kept {
        // It stood in this request already.
        let _ = fields.append(KnownName::Cookie, &value);
    }
}

fn without_parameter(query: &str, name: &str) -> Box<str> {
    let is_other = |pair: &&str| query::pairs(pair).all(|(found, _)| !found.eq(name.bytes()));
    query.split('&').filter(is_other).collect::<Vec<_>>().join("&").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::exchange;

    fn bearer() -> Place {
        Place::Header { name: KnownName::Authorization.into(), scheme: Some("Bearer".into()) }
    }

    #[test]
    fn a_token_is_found_where_it_may_stand_and_nowhere_else() {
        let places = [bearer(), Place::Cookie("t".into()), Place::Query("t".into())];
        let find = |request: &str| match find(&places, &exchange(request)) {
            Found::None => "none".to_owned(),
            Found::One(token, index) => format!("{index} {}", String::from_utf8_lossy(&token)),
            Found::Several => "several".to_owned(),
        };
        for (request, expected) in [
            ("GET / HTTP/1.1\nHost: a\nAuthorization: bEARER  abc ", "0 abc"),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer", "0 "),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Bearerabc", "none"),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Basic abc", "none"),
            ("GET / HTTP/1.1\nHost: a\nCookie: a=1; t=abc", "1 abc"),
            ("GET /?%74=a%62c&x=1 HTTP/1.1\nHost: a", "2 abc"),
            ("GET /?T=1 HTTP/1.1\nHost: a\nCookie: T=1; tt=2", "none"),
            ("GET /?t=a HTTP/1.1\nHost: a\nAuthorization: Bearer b", "several"),
            ("GET /?t=a&t=a HTTP/1.1\nHost: a", "several"),
            ("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer a\nAuthorization: Bearer b", "several"),
        ] {
            assert_eq!(find(request), expected, "{request}");
        }
    }

    #[test]
    fn what_is_taken_away_leaves_the_rest_as_it_was() {
        let mut asked = exchange(
            "GET /x?a=1&%74=secret&b=2&t HTTP/1.1\nHost: a\nAuthorization: Bearer x\nCookie: a=1; t=secret;b=2",
        );
        for place in [bearer(), Place::Cookie("t".into()), Place::Query("t".into())] {
            place.strip(&mut asked, false);
        }
        assert_eq!(asked.forward_query(), Some("a=1&b=2"));
        assert_eq!(asked.head.fields.get(KnownName::Cookie), Some(&b"a=1; b=2"[..]));
        assert!(!asked.head.fields.contains(KnownName::Authorization));
        let mut only = exchange("GET /x?t=secret HTTP/1.1\nHost: a\nCookie: t=secret");
        Place::Query("t".into()).strip(&mut only, true);
        Place::Cookie("t".into()).strip(&mut only, true);
        assert_eq!(only.forward_query(), None);
        assert!(!only.head.fields.contains(KnownName::Cookie));
    }
}
