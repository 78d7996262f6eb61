//! What of a request is compared after host and path.

use super::{Methods, Request};
use torana_core::names::HeaderName;
use torana_core::query;

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
}

impl ValueMatch {
    fn holds<V: Iterator<Item = u8> + Clone>(&self, mut values: impl Iterator<Item = V>) -> bool {
        match self {
            ValueMatch::Present => values.next().is_some(),
            ValueMatch::Absent => values.next().is_none(),
            _ => values.any(|value| self.fits(value)),
        }
    }

    fn fits<V: Iterator<Item = u8> + Clone>(&self, mut value: V) -> bool {
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
            (ValueMatch::Exact(text), other) => other.fits(text.bytes()),
            (ValueMatch::OneOf(texts), other) => texts.iter().all(|text| other.fits(text.bytes())),
            (ValueMatch::Prefix(text), ValueMatch::Prefix(_) | ValueMatch::Contains(_))
            | (ValueMatch::Suffix(text), ValueMatch::Suffix(_) | ValueMatch::Contains(_))
            | (ValueMatch::Contains(text), ValueMatch::Contains(_)) => other.fits(text.bytes()),
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
}

/// A route's predicates. The one place that decides them: matching,
/// explaining and the 405 all ask here.
#[derive(Debug)]
pub(super) struct Predicates {
    pub(super) methods: Methods,
    headers: Box<[(HeaderName, ValueMatch)]>,
    query: Box<[(String, ValueMatch)]>,
}

impl Predicates {
    pub(super) fn new(
        methods: &Methods,
        headers: &[(HeaderName, ValueMatch)],
        query: &[(String, ValueMatch)],
    ) -> Predicates {
        Predicates { methods: methods.clone(), headers: headers.into(), query: query.into() }
    }

    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), Mismatch> {
        if !self.methods.allow(request) {
            return Err(Mismatch::Method);
        }
        self.check_all_but_method(request)
    }

    pub(super) fn check_all_but_method(&self, request: &Request<'_>) -> Result<(), Mismatch> {
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let holds = match name {
                HeaderName::Known(known) => value.holds(request.fields.get_all(*known).map(bytes)),
                HeaderName::Other(_) => value.holds(request.fields.values(name).map(bytes)),
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
        Ok(())
    }
}

fn bytes(value: &[u8]) -> impl Iterator<Item = u8> + Clone {
    value.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(value: &ValueMatch, values: &[&str]) -> bool {
        value.holds(values.iter().map(|value| value.bytes()))
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
    }

    #[test]
    fn implication_is_sound() {
        use ValueMatch::{Absent, Contains, Exact, OneOf, Prefix, Present, Suffix};
        let texts = ["", "a", "b", "ab", "ba", "aba"];
        let mut all = vec![Present, Absent, OneOf(vec![]), OneOf(vec!["a".into(), "ab".into()])];
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
