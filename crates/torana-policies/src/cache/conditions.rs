//! What a client already has, and which part it wants: `If-None-Match`,
//! `If-Modified-Since`, `Range` and `If-Range`, answered from a kept reply
//! (RFC 9110 §13, §14).

use super::entry::Entry;
use super::freshness;
use torana_core::civil::parse_http_date;
use torana_core::head::{Fields, Method, Status};
use torana_core::names::KnownName;
use torana_core::reply::Reply;

/// A client's conditions, kept while the upstream is asked with ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    none_match: Vec<Box<[u8]>>,
    modified_since: Option<Box<[u8]>>,
    range: Option<Box<[u8]>>,
    if_range: Option<Box<[u8]>>,
    is_head: bool,
}

impl Conditions {
    pub(super) fn of(method: Method, fields: &Fields) -> Conditions {
        let single = |name| fields.get_single(name).ok().flatten().map(Into::into);
        Conditions {
            none_match: fields.get_all(KnownName::IfNoneMatch).map(Into::into).collect(),
            modified_since: single(KnownName::IfModifiedSince),
            range: single(KnownName::Range),
            if_range: single(KnownName::IfRange),
            is_head: method == Method::Head,
        }
    }

    /// Whether only a part is asked for.
    pub(super) fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// What `entry` answers: all of it, a part of it, or that nothing changed.
    pub(super) fn answer(&self, entry: &Entry) -> Reply {
        let mut reply = Reply::new(entry.status);
        reply.head.fields = (*entry.fields).clone();
        if entry.status == Status::OK {
            if self.is_unchanged(entry) {
                return not_modified(reply);
            }
            if let Some(range) = self.wanted(entry) {
                return part(reply, entry, range);
            }
        }
        if self.is_head && !entry.status.is_bodiless() {
            let mut length = itoa::Buffer::new();
            reply.head.fields.set_own(KnownName::ContentLength, length.format(entry.body.len()).as_bytes());
        } else {
            reply.body = entry.body.clone().into();
        }
        reply
    }

    /// RFC 9110 §13.2.2: dates count only where there is no `If-None-Match`.
    fn is_unchanged(&self, entry: &Entry) -> bool {
        if !self.none_match.is_empty() {
            let tags = || self.none_match.iter().flat_map(|value| torana_core::cache_control::parts(value));
            return tags().any(|tag| tag == b"*" || entry.etag().is_some_and(|etag| is_weakly(tag, etag)));
        }
        let Some(since) = self.modified_since.as_deref().and_then(parse_http_date) else { return false };
        let modified = entry.last_modified().and_then(parse_http_date).or_else(|| freshness::date(&entry.fields));
        modified.is_some_and(|modified| modified <= since)
    }

    /// The one range that is wanted; of several the whole is sent (§14.2 lets a
    /// server ignore them).
    fn wanted(&self, entry: &Entry) -> Option<Wanted> {
        if self.is_head {
            return None;
        }
        let range = parse_range(self.range.as_deref()?, entry.body.len() as u64)?;
        match self.if_range.as_deref() {
            None => Some(range),
            // Strong comparison (§13.1.5).
            Some(tag) if tag.starts_with(b"\"") => (entry.etag() == Some(tag)).then_some(range),
            Some(date) => (!date.starts_with(b"W/") && entry.last_modified() == Some(date)).then_some(range),
        }
    }
}

/// What a `Range` comes to for so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// From the first to the last byte.
    Bytes(u64, u64),
    /// Nothing that there is.
    Nothing,
}

/// Reads `bytes=…` with one range; `None` for everything that is to be ignored.
fn parse_range(value: &[u8], length: u64) -> Option<Wanted> {
    let spec = value
        .split_first_chunk::<6>()
        .filter(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes="))
        .map(|(_, rest)| rest)?;
    let spec = std::str::from_utf8(spec).ok()?.trim();
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { Some(text.parse().unwrap_or(u64::MAX)) } else { None }
    };
    if first.is_empty() {
        let suffix: u64 = number(last)?;
        return Some(match suffix.min(length) {
            0 => Wanted::Nothing,
            count => Wanted::Bytes(length - count, length - 1),
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(if first >= length { Wanted::Nothing } else { Wanted::Bytes(first, last.min(length - 1)) })
}

/// RFC 9110 §15.4.5: what is about a body that is not sent stays out.
fn not_modified(mut reply: Reply) -> Reply {
    reply.head.status = Status::NOT_MODIFIED;
    for name in [
        KnownName::ContentEncoding,
        KnownName::ContentLanguage,
        KnownName::ContentLength,
        KnownName::ContentRange,
        KnownName::ContentType,
    ] {
        reply.head.fields.remove_known(name);
    }
    reply
}

fn part(mut reply: Reply, entry: &Entry, wanted: Wanted) -> Reply {
    let length = entry.body.len();
    let said = match wanted {
        Wanted::Bytes(first, last) => {
            let at = |offset: u64| usize::try_from(offset).unwrap_or(length).min(length);
            reply.head.status = status(206);
            reply.body = entry.body.slice(at(first)..at(last.saturating_add(1))).into();
            format!("bytes {first}-{last}/{length}")
        }
        Wanted::Nothing => {
            reply = Reply::new(status(416));
            format!("bytes */{length}")
        }
    };
    let _ = reply.head.fields.set(KnownName::ContentRange, said.as_bytes());
    reply
}

fn status(code: u16) -> Status {
    Status::new(code).unwrap_or(Status::OK)
}

/// Whether two entity tags are the same thing, if not the same bytes (RFC 9110
/// §8.8.3.2).
pub(super) fn is_weakly(one: &[u8], other: &[u8]) -> bool {
    fn opaque(tag: &[u8]) -> &[u8] {
        tag.strip_prefix(b"W/").unwrap_or(tag)
    }
    opaque(one) == opaque(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_specification_has_them() {
        for (value, wanted) in [
            ("bytes=0-4", Some(Wanted::Bytes(0, 4))),
            ("BYTES=2-", Some(Wanted::Bytes(2, 9))),
            ("bytes=-3", Some(Wanted::Bytes(7, 9))),
            ("bytes=-30", Some(Wanted::Bytes(0, 9))),
            ("bytes=5-500", Some(Wanted::Bytes(5, 9))),
            ("bytes=9-9", Some(Wanted::Bytes(9, 9))),
            ("bytes=10-", Some(Wanted::Nothing)),
            ("bytes=99999999999999999999-", Some(Wanted::Nothing)),
            ("bytes=-0", Some(Wanted::Nothing)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=a-b", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("items=0-4", None),
            ("byt", None),
        ] {
            assert_eq!(parse_range(value.as_bytes(), 10), wanted, "{value}");
        }
        assert_eq!(parse_range(b"bytes=0-", 0), Some(Wanted::Nothing));
        assert_eq!(parse_range(b"bytes=-5", 0), Some(Wanted::Nothing));
    }

    #[test]
    fn tags_are_compared_without_their_weakness() {
        assert!(is_weakly(b"W/\"a\"", b"\"a\"") && is_weakly(b"\"a\"", b"W/\"a\""));
        assert!(!is_weakly(b"\"a\"", b"\"b\"") && !is_weakly(b"a", b"\"a\""));
    }
}
