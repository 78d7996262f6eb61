//! What is kept of a request and its reply, as bytes.
//!
//! A version, the fingerprint, and of a reply its status, the number of its
//! fields, each with lengths before name and value, and its body. Numbers are
//! little-endian.

use bytes::{Buf, Bytes};
use torana_core::head::{ReplyHead, Status};
use torana_core::names::{HeaderName, KnownName};
use torana_core::reply::Reply;

/// Tells requests of one key apart.
pub(super) type Fingerprint = [u8; 16];

/// A record, read.
pub(super) struct Record {
    pub(super) fingerprint: Fingerprint,
    /// `None` while the request is under way.
    pub(super) reply: Option<Reply>,
}

const VERSION: u8 = 1;

impl Record {
    /// The mark of a request under way.
    pub(super) fn in_flight(fingerprint: Fingerprint) -> Bytes {
        [&[VERSION], &fingerprint[..]].concat().into()
    }

    /// All but the body of a reply, which is appended.
    pub(super) fn of_reply(fingerprint: Fingerprint, head: &ReplyHead) -> Vec<u8> {
        let mut out = [&[VERSION], &fingerprint[..]].concat();
        out.extend_from_slice(&head.status.code().to_le_bytes());
        // The length is the body's, the id the exchange's, and what concerns
        // the connection is gone already.
        let is_kept = |name: &[u8]| {
            ![KnownName::ContentLength, KnownName::XRequestId]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own.as_str().as_bytes()))
        };
        let fields = || head.fields.iter().filter(|(name, _)| is_kept(name.text));
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&number(fields().count()));
        for (name, value) in fields() {
            out.extend_from_slice(&number(name.text.len()));
            out.extend_from_slice(name.text);
            out.extend_from_slice(&number(value.len()));
            out.extend_from_slice(value);
        }
        out
    }

    /// Reads one; `None` if it is none of this version.
    pub(super) fn read(bytes: &Bytes) -> Option<Record> {
        let mut rest = bytes.clone();
        if rest.try_get_u8().ok()? != VERSION {
            return None;
        }
        let mut fingerprint = Fingerprint::default();
        rest.try_copy_to_slice(&mut fingerprint).ok()?;
        if rest.is_empty() {
            return Some(Record { fingerprint, reply: None });
        }
        let mut reply = Reply::new(Status::new(rest.try_get_u16_le().ok()?)?);
        for _ in 0..rest.try_get_u32_le().ok()? {
            let name = part(&mut rest)?;
            let value = part(&mut rest)?;
            let name = HeaderName::new(std::str::from_utf8(&name).ok()?)?;
            reply.head.fields.append(name, &value).ok()?;
        }
        reply.body = rest.into();
        Some(Record { fingerprint, reply: Some(reply) })
    }
}

fn part(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    (length <= rest.len()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::testing::reply;

    #[test]
    fn a_reply_comes_back_as_it_was() {
        let original =
            reply("201\nLocation: /1\nSet-Cookie: a=1\nSet-Cookie: b=2\nContent-Length: 4\nX-Request-Id: z\n\nbody");
        let mut bytes = Record::of_reply([7; 16], &original.head);
        bytes.extend_from_slice(b"body");
        let record = Record::read(&bytes.clone().into()).unwrap();
        let reply = record.reply.unwrap();
        assert_eq!((record.fingerprint, reply.head.status.code(), reply.body.data()), ([7; 16], 201, &b"body"[..]));
        let fields: Vec<_> = reply.head.fields.iter().map(|(_, value)| value.to_vec()).collect();
        assert_eq!(fields, [b"/1".to_vec(), b"a=1".to_vec(), b"b=2".to_vec()]);
        let mark = Record::read(&Record::in_flight([7; 16])).unwrap();
        assert!(mark.reply.is_none() && mark.fingerprint == [7; 16]);
    }

    #[test]
    fn broken_records_are_none_and_no_panic() {
        let head = reply("200\nA: b\nC: d").head;
        let whole = Record::of_reply([1; 16], &head);
        for end in 0..whole.len() {
            let read = Record::read(&Bytes::copy_from_slice(&whole[..end]));
            assert!(read.is_none_or(|record| end == 17 && record.reply.is_none()), "{end}");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            let _ = Record::read(&broken.into());
        }
        assert!(Record::read(&Bytes::new()).is_none());
    }
}
