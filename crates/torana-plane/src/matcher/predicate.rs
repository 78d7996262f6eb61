//! What of a request is compared after host and path.

use super::{MediaPattern, Methods, Request, RoutePattern};
use ipnet::IpNet;
use std::borrow::Cow;
use torana_core::captures::Captures;
use torana_core::cookie;
use torana_core::names::{HeaderName, KnownName};
use torana_core::query::{self, Decoded};
use torana_expr::regex::Regex;
use torana_expr::{Expr, Fault, Subject};

/// What a header's or query parameter's value must be. Case-sensitive.
///
/// Where a name has several values, one that fits is enough: each value is
/// looked at by itself, never joined with its siblings (CVE-2026-26308), and a
/// comma within a header's value does not split it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// There is one, whatever it says.
    Present,
    /// There is none.
    Absent,
    /// This text.
    Exact(Box<str>),
    /// One of these texts.
    OneOf(Vec<Box<str>>),
    /// Begins with this text.
    Prefix(Box<str>),
    /// Ends with this text.
    Suffix(Box<str>),
    /// Holds this text.
    Contains(Box<str>),
    /// The whole of it matches.
    Regex(Box<Regex>),
}

/// A value: its bytes one by one, and as a whole.
trait Value: Iterator<Item = u8> + Clone {
    /// All of it; copied only where it has to be decoded.
    fn whole(&self) -> Cow<'_, [u8]>;
}

/// The value of a field or cookie, as it was sent.
#[derive(Clone)]
struct Raw<'a>(&'a [u8]);

impl Iterator for Raw<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

impl Value for Raw<'_> {
    fn whole(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0)
    }
}

impl Value for Decoded<'_> {
    fn whole(&self) -> Cow<'_, [u8]> {
        self.clone().into()
    }
}

impl ValueMatch {
    fn holds<V: Value>(&self, mut values: impl Iterator<Item = V>) -> bool {
        match self {
            ValueMatch::Present => values.next().is_some(),
            ValueMatch::Absent => values.next().is_none(),
            _ => values.any(|value| self.fits(value)),
        }
    }

    fn fits<V: Value>(&self, mut value: V) -> bool {
        match self {
            ValueMatch::Present => true,
            ValueMatch::Absent => false,
            ValueMatch::Exact(text) => value.eq(text.bytes()),
            ValueMatch::OneOf(texts) => texts.iter().any(|text| value.clone().eq(text.bytes())),
            ValueMatch::Prefix(text) => begins_with(value, text),
            ValueMatch::Suffix(text) => {
                let length = value.clone().count();
                length >= text.len() && value.skip(length - text.len()).eq(text.bytes())
            }
            ValueMatch::Contains(text) => loop {
                if begins_with(value.clone(), text) {
                    return true;
                }
                if value.next().is_none() {
                    return false;
                }
            },
            ValueMatch::Regex(regex) => regex.is_match(&value.whole()),
        }
    }

    /// Whether every list of values that fits `self` fits `other`. May answer
    /// `false` where it is too much trouble to see.
    pub(super) fn implies(&self, other: &ValueMatch) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (ValueMatch::Absent, _) | (_, ValueMatch::Absent) => false,
            (_, ValueMatch::Present) => true,
            (ValueMatch::Exact(text), other) => other.fits(Raw(text.as_bytes())),
            (ValueMatch::OneOf(texts), other) => texts.iter().all(|text| other.fits(Raw(text.as_bytes()))),
            (ValueMatch::Prefix(text), ValueMatch::Prefix(_) | ValueMatch::Contains(_))
            | (ValueMatch::Suffix(text), ValueMatch::Suffix(_) | ValueMatch::Contains(_))
            | (ValueMatch::Contains(text), ValueMatch::Contains(_)) => other.fits(Raw(text.as_bytes())),
            _ => false,
        }
    }
}

fn begins_with(mut value: impl Iterator<Item = u8>, text: &str) -> bool {
    text.bytes().all(|byte| value.next() == Some(byte))
}

/// The first predicate of a route that a request fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mismatch {
    Method,
    /// By position in the pattern.
    Header(usize),
    /// By position in the pattern.
    Query(usize),
    /// By position in the pattern.
    Cookie(usize),
    ContentType,
    Client,
    When,
}

/// A route's predicates. The one place that decides them: matching,
/// explaining and the 405 all ask here.
#[derive(Debug)]
pub(super) struct Predicates {
    pub(super) methods: Methods,
    headers: Box<[(HeaderName, ValueMatch)]>,
    query: Box<[(String, ValueMatch)]>,
    /// Behind one pointer: routes without them, the most, pay for one look.
    more: Option<Box<More>>,
}

#[derive(Debug)]
struct More {
    cookies: Box<[(String, ValueMatch)]>,
    content_types: Box<[MediaPattern]>,
    clients: Box<[IpNet]>,
    when: Option<When>,
}

/// An expression and the names of what the route's path captures.
#[derive(Debug)]
struct When {
    expr: Expr,
    names: Vec<String>,
}

impl When {
    fn holds<'a>(&'a self, request: &Request<'a>, captures: &'a Captures) -> Result<bool, Fault<'a>> {
        let facts = request.facts;
        self.expr.holds(&Subject {
            target: facts.target,
            head: facts.head,
            client_ip: *facts.client_ip,
            tls: facts.tls,
            // Routes are matched before anyone is asked who they are.
            identity: None,
            captures,
            names: &self.names,
        })
    }
}

impl Predicates {
    pub(super) fn new(pattern: &RoutePattern) -> Predicates {
        let more = (pattern.others() > 0).then(|| {
            let when = pattern.when.clone().map(|expr| When { expr, names: pattern.path.names().to_vec() });
            Box::new(More {
                cookies: pattern.cookies.as_slice().into(),
                content_types: pattern.content_types.as_slice().into(),
                clients: pattern.clients.as_slice().into(),
                when,
            })
        });
        Predicates {
            methods: pattern.methods.clone(),
            headers: pattern.headers.as_slice().into(),
            query: pattern.query.as_slice().into(),
            more,
        }
    }

    pub(super) fn check(&self, request: &Request<'_>, captures: &Captures) -> Result<(), Mismatch> {
        if !self.methods.allow(request) {
            return Err(Mismatch::Method);
        }
        self.check_all_but_method(request, captures)
    }

    pub(super) fn check_all_but_method(&self, request: &Request<'_>, captures: &Captures) -> Result<(), Mismatch> {
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let holds = match name {
                HeaderName::Known(known) => value.holds(request.fields.get_all(*known).map(Raw)),
                HeaderName::Other(_) => value.holds(request.fields.values(name).map(Raw)),
            };
            if !holds {
                return Err(Mismatch::Header(index));
            }
        }
        for (index, (name, value)) in self.query.iter().enumerate() {
            let values = query::pairs(request.query.unwrap_or_default())
                .filter(|(given, _)| given.clone().eq(name.bytes()))
                .map(|(_, value)| value);
            if !value.holds(values) {
                return Err(Mismatch::Query(index));
            }
        }
        match &self.more {
            None => Ok(()),
            Some(more) => more.check(request, captures),
        }
    }

    /// Why `when` has no value for this request; `None` if it has one.
    pub(super) fn fault(&self, request: &Request<'_>, captures: &Captures) -> Option<String> {
        let when = self.more.as_ref()?.when.as_ref()?;
        when.holds(request, captures).err().map(|fault| fault.to_string())
    }
}

impl More {
    fn check(&self, request: &Request<'_>, captures: &Captures) -> Result<(), Mismatch> {
        for (index, (name, value)) in self.cookies.iter().enumerate() {
            let values = request
                .fields
                .get_all(KnownName::Cookie)
                .flat_map(cookie::pairs)
                .filter(|(given, _)| *given == name.as_bytes())
                .map(|(_, value)| Raw(value));
            if !value.holds(values) {
                return Err(Mismatch::Cookie(index));
            }
        }
        if !self.content_types.is_empty() {
            // Sent twice, it is not known what the body is.
            let sent = request.fields.get_single(KnownName::ContentType).ok().flatten();
            if !sent.is_some_and(|sent| self.content_types.iter().any(|pattern| pattern.matches(sent))) {
                return Err(Mismatch::ContentType);
            }
        }
        if !self.clients.is_empty() {
            let client = request.facts.client_ip.to_canonical();
            if !self.clients.iter().any(|network| network.contains(&client)) {
                return Err(Mismatch::Client);
            }
        }
        match &self.when {
            Some(when) if when.holds(request, captures) != Ok(true) => Err(Mismatch::When),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(value: &ValueMatch, values: &[&str]) -> bool {
        value.holds(values.iter().map(|value| Raw(value.as_bytes())))
    }

    #[test]
    fn each_kind_of_match() {
        use ValueMatch::{Absent, Contains, Exact, OneOf, Prefix, Present, Suffix};
        assert!(holds(&Present, &[""]) && !holds(&Present, &[]));
        assert!(holds(&Absent, &[]) && !holds(&Absent, &[""]));
        assert!(holds(&Exact("v2".into()), &["v1", "v2"]) && !holds(&Exact("v2".into()), &["v1, v2"]));
        assert!(!holds(&Exact("v2".into()), &["v", "2"]), "values are never joined");
        assert!(holds(&OneOf(vec!["a".into(), "b".into()]), &["b"]) && !holds(&OneOf(vec![]), &["b"]));
        assert!(holds(&Prefix("ab".into()), &["abc"]) && !holds(&Prefix("ab".into()), &["a"]));
        assert!(holds(&Suffix("bc".into()), &["abc"]) && !holds(&Suffix("abc".into()), &["bc"]));
        assert!(holds(&Contains("bc".into()), &["abcd"]) && !holds(&Contains("bd".into()), &["abcd"]));
        assert!(holds(&Contains("".into()), &[""]) && !holds(&Contains("".into()), &[]));
        assert!(!holds(&Exact("V2".into()), &["v2"]));
        let regex = |text: &str| ValueMatch::Regex(Box::new(Regex::whole(text).unwrap()));
        assert!(holds(&regex("v[0-9]+"), &["x", "v12"]) && !holds(&regex("v[0-9]+"), &["v12 "]));
        assert!(holds(&regex("(?i).*mobile.*"), &["iPhone Mobile/15E"]) && !holds(&regex(".*"), &[]));
    }

    #[test]
    fn implication_is_sound() {
        use ValueMatch::{Absent, Contains, Exact, OneOf, Prefix, Present, Suffix};
        let texts = ["", "a", "b", "ab", "ba", "aba"];
        let mut all = vec![Present, Absent, OneOf(vec![]), OneOf(vec!["a".into(), "ab".into()])];
        all.extend(["a*", "ab?a?", ".+"].map(|text| ValueMatch::Regex(Box::new(Regex::whole(text).unwrap()))));
        for text in texts {
            all.extend([Exact(text.into()), Prefix(text.into()), Suffix(text.into()), Contains(text.into())]);
        }
        // Every list of up to two values over a small alphabet.
        let mut lists: Vec<Vec<&str>> = vec![vec![]];
        lists.extend(texts.iter().map(|&a| vec![a]));
        lists.extend(texts.iter().flat_map(|&a| texts.iter().map(move |&b| vec![a, b])));
        let mut implied = 0;
        for one in &all {
            for other in &all {
                if one.implies(other) {
                    implied += 1;
                    for list in &lists {
                        assert!(!holds(one, list) || holds(other, list), "{one:?} {other:?} {list:?}");
                    }
                }
            }
        }
        assert!(implied > all.len() * 2);
    }
}
