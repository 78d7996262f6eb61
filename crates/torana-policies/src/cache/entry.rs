//! A kept reply, and which requests it answers.

use super::freshness;
use super::key::Credentials;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::head::{Fields, Status};
use torana_core::names::{HeaderName, KnownName};

/// A kept reply. Never changed: what is learned about it makes another.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) status: Status,
    /// Without what is about one message only.
    pub(super) fields: Arc<Fields>,
    pub(super) body: Bytes,
    /// What the reply varies with, and what the request said there.
    pub(super) vary: Arc<[HeaderName]>,
    pub(super) selecting: Arc<[u8]>,
    /// When it was asked for, in the store's time.
    pub(super) asked: u64,
    pub(super) arrived: Instant,
    pub(super) initial_age: Duration,
    pub(super) lifetime: Duration,
    /// For how long behind its lifetime it may be used while it is asked for.
    pub(super) while_revalidate: Duration,
    /// The same while asking fails.
    pub(super) if_error: Duration,
    /// Never to be used without asking.
    pub(super) no_cache: bool,
    /// Not to be used stale, whatever anybody says.
    pub(super) must_revalidate: bool,
    /// May answer requests with `Authorization`; with other credentials.
    pub(super) open: Open,
    pub(super) tags: Arc<[Box<[u8]>]>,
}

/// To whom a reply may be given who brings credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    /// RFC 9111 §3.5: `public`, `s-maxage` or `must-revalidate`.
    pub(super) to_authorization: bool,
    /// `public` or `s-maxage`: frameworks put `must-revalidate` on everything.
    pub(super) to_others: bool,
}

impl Open {
    /// Whether it may be given to who brings these.
    pub(super) const fn is_to(self, brought: Credentials) -> bool {
        (!brought.authorization || self.to_authorization) && (!brought.others || self.to_others)
    }
}

impl Entry {
    /// How old it is (RFC 9111 §4.2.3).
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.initial_age + now.saturating_duration_since(self.arrived)
    }

    /// How long it has been stale; `None` while it is fresh.
    pub(super) fn staleness(&self, now: Instant) -> Option<Duration> {
        self.age(now).checked_sub(self.lifetime)
    }

    pub(super) fn etag(&self) -> Option<&[u8]> {
        self.fields.get(KnownName::ETag)
    }

    pub(super) fn last_modified(&self) -> Option<&[u8]> {
        self.fields.get(KnownName::LastModified)
    }

    /// Whether its origin can be asked whether it is still right.
    pub(super) fn has_validator(&self) -> bool {
        self.etag().is_some() || self.last_modified().is_some()
    }

    /// What it takes of the store's bytes.
    pub(super) fn weight(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 16).sum();
        OVERHEAD + self.body.len() + self.fields.bytes().len() + self.fields.len() * 24 + self.selecting.len() + tags
    }

    /// This reply with what a 304 says (RFC 9111 §3.2, §4.3.4): `fields` take the
    /// place of those they name, but for what is about the body that is kept.
    pub(super) fn merged(&self, fields: &Fields) -> Fields {
        let mut merged = (*self.fields).clone();
        let is_of_body = |name: Option<KnownName>| {
            matches!(
                name,
                Some(
                    KnownName::ContentEncoding
                        | KnownName::ContentLength
                        | KnownName::ContentRange
                        | KnownName::ContentType
                        | KnownName::TransferEncoding
                )
            )
        };
        for (name, _) in fields.iter().filter(|(name, _)| !is_of_body(name.known)) {
            match name.known {
                Some(known) => merged.remove_known(known),
                None => merged.retain(|field, _| !field.text.eq_ignore_ascii_case(name.text)),
            }
        }
        for (name, value) in fields.iter().filter(|(name, _)| !is_of_body(name.known)) {
            // Came from a parsed head.
            let _ = merged.append_text(name.text, value);
        }
        merged
    }
}

/// About what an entry takes besides its bytes: its own size, that of the
/// resource around it, the store's list, allocations.
const OVERHEAD: usize = 512;

/// The replies that are kept of one URI, newest first.
#[derive(Clone, Default)]
pub(super) struct Resource {
    pub(super) variants: Vec<Arc<Entry>>,
    /// Nothing of it could be kept until then: it is not worth waiting for
    /// somebody who asks for it.
    pub(super) unkept_until: Option<Instant>,
}

/// Most variants of a resource.
const VARIANTS: usize = 32;

impl Resource {
    /// The reply that was made for a request such as this one.
    pub(super) fn select(&self, request: &Fields) -> Option<&Arc<Entry>> {
        let mut said = Vec::new();
        self.variants.iter().find(|entry| {
            entry.vary.is_empty() || {
                said.clear();
                push_selecting(&entry.vary, request, &mut said);
                said == *entry.selecting
            }
        })
    }

    /// With `entry`, in place of the one it takes the place of.
    pub(super) fn with(&self, entry: Arc<Entry>) -> Resource {
        let is_other = |old: &&Arc<Entry>| old.vary != entry.vary || old.selecting != entry.selecting;
        let others = self.variants.iter().filter(is_other).take(VARIANTS - 1).cloned();
        Resource { variants: std::iter::once(entry.clone()).chain(others).collect(), unkept_until: None }
    }

    /// Without those that `is_meant`; how many those were.
    pub(super) fn without(&self, is_meant: impl Fn(&Entry) -> bool) -> (Resource, usize) {
        let left: Vec<_> = self.variants.iter().filter(|entry| !is_meant(entry)).cloned().collect();
        let gone = self.variants.len() - left.len();
        (Resource { variants: left, unkept_until: self.unkept_until }, gone)
    }

    pub(super) fn weight(&self) -> usize {
        OVERHEAD + self.variants.iter().map(|entry| entry.weight()).sum::<usize>()
    }
}

/// What a reply varies with: `None` if with more than the request says
/// (`Vary: *`, RFC 9111 §4.1).
pub(super) fn vary(reply: &Fields) -> Option<Arc<[HeaderName]>> {
    let mut names = Vec::new();
    for member in reply.list(KnownName::Vary) {
        let name = std::str::from_utf8(member).ok().filter(|name| *name != "*").and_then(HeaderName::new)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names.into())
}

/// Appends what a request says in the fields `names`, in one form for all that
/// mean the same (RFC 9111 §4.1): blanks around commas mean nothing, and of the
/// codings and languages only their order, names and weights do.
pub(super) fn push_selecting(names: &[HeaderName], request: &Fields, out: &mut Vec<u8>) {
    for name in names {
        // A field that is absent is not an empty one.
        let mut mark = 0;
        let folds = matches!(
            name,
            HeaderName::Known(KnownName::AcceptEncoding | KnownName::AcceptLanguage | KnownName::Accept)
        );
        for value in request.values(name) {
            for member in value.split(|byte| *byte == b',') {
                out.push(if mark == 0 { 1 } else { b',' });
                mark = 1;
                let member = member.trim_ascii();
                if folds {
                    out.extend(member.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase));
                } else {
                    out.extend_from_slice(member);
                }
            }
        }
        out.push(0);
    }
}

/// The fields of a reply that are kept with it.
pub(super) fn kept_fields(reply: &Fields, arrived: u64, drops: &[HeaderName]) -> Fields {
    let mut fields = reply.clone();
    let is_passing = |known: Option<KnownName>| {
        matches!(
            known,
            Some(
                KnownName::Age
                    | KnownName::ContentLength
                    | KnownName::SetCookie
                    | KnownName::XRequestId
                    | KnownName::Connection
                    | KnownName::KeepAlive
                    | KnownName::TransferEncoding
                    | KnownName::Trailer
                    | KnownName::AltSvc
            )
        )
    };
    fields.retain(|name, _| !is_passing(name.known) && !drops.iter().any(|drop| name.is(drop)));
    if freshness::date(&fields).is_none() {
        // Who keeps a reply says when it came (RFC 9110 §6.6.1).
        fields.set_own(KnownName::Date, &torana_core::civil::http_date(arrived));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
        }
        fields
    }

    fn selecting(vary_on: &str, request: &[(&str, &str)]) -> Vec<u8> {
        let names = vary(&fields(&[("vary", vary_on)])).unwrap();
        let mut out = Vec::new();
        push_selecting(&names, &fields(request), &mut out);
        out
    }

    #[test]
    fn a_star_anywhere_varies_with_everything() {
        for value in ["*", "*, *", ", *", "*, foo", "foo, *"] {
            assert!(vary(&fields(&[("vary", value)])).is_none(), "{value}");
        }
        assert!(vary(&fields(&[("vary", ""), ("vary", "*")])).is_none());
        assert_eq!(vary(&fields(&[("vary", "Foo, bar"), ("vary", "foo")])).unwrap().len(), 2);
    }

    #[test]
    fn fields_select_by_what_they_mean() {
        let same = [("foo", "1, 2")];
        for other in [&[("Foo", "1,2")][..], &[("foo", "1"), ("foo", "2")], &[("foo", " 1 ,  2")]] {
            assert_eq!(selecting("foo", &same), selecting("foo", other), "{other:?}");
        }
        for other in [&[][..], &[("foo", "")], &[("foo", "2, 1")], &[("foo", "1")], &[("foo", "1, 2, 3")]] {
            assert_ne!(selecting("foo", &same), selecting("foo", other), "{other:?}");
        }
        assert_ne!(selecting("foo", &[]), selecting("foo", &[("foo", "")]));
        assert_ne!(selecting("foo", &[("foo", "A")]), selecting("foo", &[("foo", "a")]));
        let encodings = selecting("accept-encoding", &[("accept-encoding", "gzip, BR;q=0.5")]);
        assert_eq!(encodings, selecting("accept-encoding", &[("accept-encoding", "GZIP,br; q=0.5")]));
        // Values do not run into their neighbours.
        let (one, two) = ([("a", "1"), ("b", "2,3")], [("a", "1,2"), ("b", "3")]);
        assert_ne!(selecting("a, b", &one), selecting("a, b", &two));
    }
}
