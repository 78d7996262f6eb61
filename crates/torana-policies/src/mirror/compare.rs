//! Whether two replies say the same.

use super::{BODY_DIFFERS, BODY_SKIPPED, HEADERS_DIFFER, SAME, STATUS_DIFFERS, UNCOMPARED};
use bytes::Bytes;
use serde_json::Value;
use std::cell::RefCell;
use std::sync::Arc;
use torana_core::event::Tally;
use torana_core::head::{ReplyHead, Status};
use torana_core::names::{HeaderName, KnownName};
use torana_core::payload::{self, Media};
use torana_core::pointer;

/// What is compared.
#[derive(Default)]
pub(super) struct Compare {
    pub(super) status: bool,
    pub(super) headers: Vec<HeaderName>,
    /// Whether bodies are, and what of them is left out.
    pub(super) json: Option<Vec<Pointer>>,
    /// Most bytes of a body.
    pub(super) most: usize,
}

/// A path into a JSON value (RFC 6901), with `*` for any member or element.
pub(super) type Pointer = Vec<Step>;

/// A step of a [`Pointer`].
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// The member or the element of this name.
    Named(Box<str>),
    /// All of them.
    Any,
}

/// Reads a pointer; `None` if it is none, or the whole.
pub(super) fn pointer(text: &str) -> Option<Pointer> {
    let steps = text.strip_prefix('/')?.split('/').map(|step| match step {
        "*" => Step::Any,
        step => Step::Named(pointer::name(step)),
    });
    Some(steps.collect())
}

/// What one reply says, as far as it is compared.
struct Side {
    status: Status,
    headers: Vec<Vec<Vec<u8>>>,
    is_json: bool,
    is_encoded: bool,
    /// `None`: too long.
    body: Option<Bytes>,
}

/// The replies to a request and to its copy. Whoever comes second compares.
pub(super) struct Pair {
    compare: Arc<Compare>,
    tally: Arc<Tally>,
    sides: RefCell<Sides>,
}

#[derive(Default)]
struct Sides {
    /// The main reply, while its body is on its way.
    begun: Option<Side>,
    main: Option<Side>,
    copy: Option<Side>,
    is_done: bool,
}

impl Pair {
    pub(super) fn new(compare: &Arc<Compare>, tally: &Arc<Tally>) -> Pair {
        Pair { compare: Arc::clone(compare), tally: Arc::clone(tally), sides: RefCell::default() }
    }

    /// Most bytes of a body that are of interest.
    pub(super) fn most(&self) -> usize {
        if self.compare.json.is_some() { self.compare.most } else { 0 }
    }

    /// The head of the main reply; its body follows unless it `is_all`.
    pub(super) fn main_head(&self, head: &ReplyHead, is_all: bool) {
        let side = self.side(head);
        self.sides.borrow_mut().begun = Some(side);
        if is_all || self.compare.json.is_none() {
            self.main_body(head.status, Some(Bytes::new()));
        }
    }

    /// Whether the body of the main reply, of this status, is still wanted.
    pub(super) fn wants_body(&self, status: Status) -> bool {
        self.sides.borrow().begun.as_ref().is_some_and(|side| side.status == status)
    }

    /// The body of the main reply; `None`: too long.
    pub(super) fn main_body(&self, status: Status, body: Option<Bytes>) {
        let mut sides = self.sides.borrow_mut();
        if let Some(side) = sides.begun.take_if(|side| side.status == status) {
            sides.main = Some(Side { body, ..side });
            self.compare(&mut sides);
        }
    }

    /// The reply to the copy.
    pub(super) fn copy(&self, head: &ReplyHead, body: Option<Bytes>) {
        let side = Side { body, ..self.side(head) };
        let mut sides = self.sides.borrow_mut();
        sides.copy = Some(side);
        self.compare(&mut sides);
    }

    fn side(&self, head: &ReplyHead) -> Side {
        let values = |name: &HeaderName| head.fields.values(name).map(<[u8]>::to_vec).collect();
        Side {
            status: head.status,
            headers: self.compare.headers.iter().map(values).collect(),
            is_json: payload::media(&head.fields) == Media::Json,
            is_encoded: head.fields.contains(KnownName::ContentEncoding),
            body: None,
        }
    }

    fn compare(&self, sides: &mut Sides) {
        let (Some(main), Some(copy)) = (&sides.main, &sides.copy) else { return };
        if std::mem::replace(&mut sides.is_done, true) {
            return;
        }
        let mut is_same = true;
        let mut count = |differs: bool, event| {
            if differs {
                is_same = false;
                self.tally.count(event);
            }
        };
        count(self.compare.status && main.status != copy.status, &STATUS_DIFFERS);
        count(main.headers != copy.headers, &HEADERS_DIFFER);
        if let Some(ignored) = &self.compare.json {
            match same_body(main, copy, ignored) {
                Some(same) => count(!same, &BODY_DIFFERS),
                None => count(true, &BODY_SKIPPED),
            }
        }
        if is_same {
            self.tally.count(&SAME);
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.sides.borrow().is_done {
            self.tally.count(&UNCOMPARED);
        }
    }
}

/// Whether the bodies are the same; `None`: they cannot be compared.
fn same_body(main: &Side, copy: &Side, ignored: &[Pointer]) -> Option<bool> {
    let (one, other) = (main.body.as_ref()?, copy.body.as_ref()?);
    if one == other {
        return Some(true);
    }
    if main.is_encoded || copy.is_encoded {
        // The same text may be compressed in many ways.
        return None;
    }
    if main.is_json && copy.is_json {
        let parse = |bytes: &Bytes| serde_json::from_slice::<Value>(bytes).ok();
        if let (Some(one), Some(other)) = (parse(one), parse(other)) {
            let ignored: Vec<&[Step]> = ignored.iter().map(Vec::as_slice).collect();
            return Some(same(Some(&one), Some(&other), &ignored));
        }
    }
    Some(false)
}

/// Whether the values are the same but for what is ignored. The order of members
/// does not count, nor whether a number is written with decimals.
fn same(one: Option<&Value>, other: Option<&Value>, ignored: &[&[Step]]) -> bool {
    if ignored.iter().any(|path| path.is_empty()) {
        return true;
    }
    let below = |name: &str| -> Vec<&[Step]> {
        let next = ignored.iter().filter_map(|path| path.split_first());
        next.filter(|(step, _)| matches!(step, Step::Any) || matches!(step, Step::Named(known) if **known == *name))
            .map(|(_, rest)| rest)
            .collect()
    };
    match (one, other) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let added = other.keys().filter(|name| !one.contains_key(*name));
            one.keys().chain(added).all(|name| same(one.get(name), other.get(name), &below(name)))
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => (0..one.len().max(other.len()))
            .all(|index| same(one.get(index), other.get(index), &below(&index.to_string()))),
        (Some(Value::Number(one)), Some(Value::Number(other))) => one == other || one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(one: &str, other: &str, ignored: &[&str]) -> bool {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let ignored: Vec<Pointer> = ignored.iter().map(|text| pointer(text).unwrap()).collect();
        let ignored: Vec<&[Step]> = ignored.iter().map(Vec::as_slice).collect();
        same(Some(&parse(one)), Some(&parse(other)), &ignored)
    }

    #[test]
    fn meaning_counts_and_writing_does_not() {
        assert!(compare(r#"{"a":1,"b":[1,2]}"#, r#"{ "b": [1.0, 2], "a": 1 }"#, &[]));
        for (one, other) in [
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,1]"),
            ("null", "false"),
        ] {
            assert!(!compare(one, other, &[]), "{one} {other}");
            assert!(!compare(other, one, &[]), "{other} {one}");
        }
    }

    #[test]
    fn what_is_ignored_may_differ_or_be_missing_and_nothing_else() {
        assert!(compare(r#"{"at":1,"x":2}"#, r#"{"x":2}"#, &["/at"]));
        assert!(!compare(r#"{"at":1,"x":2}"#, r#"{"at":3,"x":4}"#, &["/at"]));
        let (one, other) =
            (r#"{"items":[{"id":1,"n":"a"},{"id":2,"n":"b"}]}"#, r#"{"items":[{"id":7,"n":"a"},{"n":"b"}]}"#);
        assert!(compare(one, other, &["/items/*/id"]));
        assert!(!compare(one, other, &["/items/0/id"]));
        assert!(compare(r#"{"a/b":1,"c~d":2}"#, "{}", &["/a~1b", "/c~0d"]));
    }

    #[test]
    fn pointers_begin_with_a_slash() {
        assert_eq!(pointer("meta"), None);
        assert_eq!(pointer(""), None);
        assert_eq!(pointer("/a/*"), Some(vec![Step::Named("a".into()), Step::Any]));
    }
}
