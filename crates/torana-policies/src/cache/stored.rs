//! What is kept of a reply in a store, as bytes.
//!
//! A version and a kind; then either the names of headers that tell several
//! replies apart, each of which is under a key of its own, or one reply. What
//! the request said in those headers is in neither: it may be a secret, and the
//! key tells. Numbers are little-endian, and text has its length before it.
//! Gateways of another version find nothing.

use super::entry::{Entry, Open};
use bytes::{Buf, BufMut, Bytes};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use torana_core::head::{Fields, Status};
use torana_core::names::HeaderName;
use torana_core::store::Position;

const VERSION: u8 = 1;
const VARIANTS: u8 = 1;
const REPLY: u8 = 2;

const NO_CACHE: u8 = 1;
const MUST_REVALIDATE: u8 = 2;
const TO_AUTHORIZATION: u8 = 4;
const TO_OTHERS: u8 = 8;

/// What a store has under a key.
pub(super) enum Stored {
    /// Replies that vary with these.
    Variants(Arc<[HeaderName]>),
    /// A reply, to whoever asked for its key, and what its gateway had heard when
    /// it asked for it.
    Reply(Box<Entry>, Position),
}

/// Names that tell variants apart.
pub(super) fn variants(names: &[HeaderName]) -> Bytes {
    let mut out = vec![VERSION, VARIANTS];
    put_names(names, &mut out);
    out.into()
}

/// `entry` as it is at `now`.
pub(super) fn reply(entry: &Entry, heard: Position, now: Instant, wall: SystemTime) -> Bytes {
    let mut out = Vec::with_capacity(256 + entry.weight());
    out.extend_from_slice(&[VERSION, REPLY]);
    out.put_u64_le(heard);
    out.put_u64_le(millis(wall.duration_since(UNIX_EPOCH).unwrap_or_default()));
    out.put_u16_le(entry.status.code());
    for time in [entry.age(now), entry.lifetime, entry.while_revalidate, entry.if_error] {
        out.put_u64_le(millis(time));
    }
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    out.put_u8(
        flag(entry.no_cache, NO_CACHE)
            | flag(entry.must_revalidate, MUST_REVALIDATE)
            | flag(entry.open.to_authorization, TO_AUTHORIZATION)
            | flag(entry.open.to_others, TO_OTHERS),
    );
    put_names(&entry.vary, &mut out);
    put_count(entry.tags.len(), &mut out);
    entry.tags.iter().for_each(|tag| put_text(tag, &mut out));
    put_count(entry.fields.len(), &mut out);
    for (name, value) in entry.fields.iter() {
        put_text(name.text, &mut out);
        put_text(value, &mut out);
    }
    out.extend_from_slice(&entry.body);
    out.into()
}

impl Stored {
    /// Reads what a store has; `None` if it is none of this version. `asked`
    /// is when this gateway asked the store for it.
    pub(super) fn read(mut bytes: Bytes, asked: u64, now: Instant, wall: SystemTime) -> Option<Stored> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        match bytes.try_get_u8().ok()? {
            VARIANTS => Some(Stored::Variants(names(&mut bytes)?)),
            REPLY => {
                let heard = bytes.try_get_u64_le().ok()?;
                Some(Stored::Reply(Box::new(read_entry(bytes, asked, now, wall)?), heard))
            }
            _ => None,
        }
    }
}

fn read_entry(mut bytes: Bytes, asked: u64, now: Instant, wall: SystemTime) -> Option<Entry> {
    let written = UNIX_EPOCH.checked_add(Duration::from_millis(bytes.try_get_u64_le().ok()?))?;
    let status = Status::new(bytes.try_get_u16_le().ok()?)?;
    let mut time = || Some(Duration::from_millis(bytes.try_get_u64_le().ok()?));
    let (age, lifetime, while_revalidate, if_error) = (time()?, time()?, time()?, time()?);
    let flags = bytes.try_get_u8().ok()?;
    let vary = names(&mut bytes)?;
    let tags = (0..count(&mut bytes)?).map(|_| Some(text(&mut bytes)?[..].into())).collect::<Option<Vec<_>>>()?;
    let mut fields = Fields::default();
    for _ in 0..count(&mut bytes)? {
        let name = text(&mut bytes)?;
        fields.append_text(&name, &text(&mut bytes)?).ok()?;
    }
    Some(Entry {
        status,
        fields: Arc::new(fields),
        body: bytes,
        vary,
        selecting: Arc::default(),
        asked,
        arrived: now,
        // Since it was written, by the clocks of both gateways.
        initial_age: age.saturating_add(wall.duration_since(written).unwrap_or_default()),
        lifetime,
        while_revalidate,
        if_error,
        no_cache: flags & NO_CACHE != 0,
        must_revalidate: flags & MUST_REVALIDATE != 0,
        open: Open { to_authorization: flags & TO_AUTHORIZATION != 0, to_others: flags & TO_OTHERS != 0 },
        tags: tags.into(),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_count(text.len(), out);
    out.extend_from_slice(text);
}

fn put_names(names: &[HeaderName], out: &mut Vec<u8>) {
    put_count(names.len(), out);
    names.iter().for_each(|name| put_text(name.as_str().as_bytes(), out));
}

/// How many follow. Each takes room, so there are no more than bytes.
fn count(bytes: &mut Bytes) -> Option<usize> {
    let count = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    (count <= bytes.len()).then_some(count)
}

fn text(bytes: &mut Bytes) -> Option<Bytes> {
    let length = count(bytes)?;
    Some(bytes.split_to(length))
}

fn names(bytes: &mut Bytes) -> Option<Arc<[HeaderName]>> {
    let count = count(bytes)?;
    (0..count).map(|_| HeaderName::new(std::str::from_utf8(&text(bytes)?).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(now: Instant) -> Entry {
        let mut fields = Fields::default();
        for (name, value) in [("etag", "\"1\""), ("x-own", "a"), ("x-own", "b")] {
            fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
        }
        Entry {
            status: Status::OK,
            fields: Arc::new(fields),
            body: Bytes::from_static(b"body"),
            vary: [HeaderName::new("accept-encoding").unwrap(), HeaderName::new("x-lang").unwrap()].into(),
            selecting: b"\x01gzip\0\x01de\0"[..].into(),
            asked: 7,
            arrived: now,
            initial_age: Duration::from_secs(3),
            lifetime: Duration::from_secs(60),
            while_revalidate: Duration::from_secs(5),
            if_error: Duration::from_secs(6),
            no_cache: false,
            must_revalidate: true,
            open: Open { to_authorization: true, to_others: false },
            tags: [b"a"[..].into(), b"b"[..].into()].into(),
        }
    }

    #[test]
    fn a_reply_comes_back_as_it_was_and_older() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let original = entry(now);
        let bytes = reply(&original, 42, now, wall);
        let later = wall + Duration::from_secs(10);
        let Some(Stored::Reply(read, 42)) = Stored::read(bytes, 9, now, later) else { panic!("none") };
        assert_eq!((read.status.code(), &read.body[..], read.asked), (200, &b"body"[..], 9));
        assert_eq!((&read.vary, &read.tags, read.selecting.len()), (&original.vary, &original.tags, 0));
        assert_eq!(
            (read.lifetime, read.while_revalidate, read.if_error),
            (original.lifetime, original.while_revalidate, original.if_error)
        );
        assert_eq!((read.no_cache, read.must_revalidate, read.open), (false, true, original.open));
        let fields = |entry: &Entry| {
            entry.fields.iter().map(|(name, value)| (name.text.to_vec(), value.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(fields(&read), fields(&original));
        let age = read.age(now).as_secs_f64();
        assert!((12.99..13.01).contains(&age), "{age}");
    }

    #[test]
    fn names_come_back_and_broken_bytes_are_none_and_no_panic() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let names = entry(now).vary;
        match Stored::read(variants(&names), 0, now, wall) {
            Some(Stored::Variants(read)) => assert_eq!(read, names),
            _ => panic!("none"),
        }
        for whole in [variants(&names), reply(&entry(now), 1, now, wall)] {
            let head = whole.len() - if whole[1] == REPLY { 4 } else { 0 };
            for end in 0..head {
                assert!(Stored::read(whole.slice(..end), 0, now, wall).is_none(), "{end}");
            }
            for at in 0..whole.len() {
                let mut broken = whole.to_vec();
                broken[at] = 0xff;
                let _ = Stored::read(broken.into(), 0, now, wall);
            }
        }
    }
}
