//! Answers of services that are kept for a time, so that a part need not be
//! asked for again.
//!
//! A copy is used for the same question only: service, host, path, query and all
//! headers that the part is asked with, and the caller, unless the part says that
//! its answers are for everybody. Then the service is not told who is calling
//! either, so that it cannot answer one caller and be quoted to another.
//!
//! What the gateway says of one request alone (its id, its trace, the client's
//! address) is no part of the question, or none would be asked twice; an answer
//! that varies with it is not kept.

use super::written::PartCache;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::time::Duration;
use torana_core::cache_control::{Directives, seconds};
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, ReplyHead, Status};
use torana_core::identity::Identity;
use torana_core::names::{HeaderName, KnownName};
use torana_core::outbound::OutboundRequest;
use torana_core::store::memory_blobs::MemoryBlobs;
use torana_core::store::{Blobs, Soon};

/// How a part's answers are kept.
pub(super) struct Keeping {
    /// For so long, whatever they say about it; `None`: as they say.
    ttl: Option<Duration>,
    /// Headers about the caller that the service does not get, where answers are
    /// for everybody.
    untold: Option<Vec<HeaderName>>,
}

/// About one request and nothing else.
const PASSING: [KnownName; 7] = [
    KnownName::Traceparent,
    KnownName::Tracestate,
    KnownName::Baggage,
    KnownName::XRequestId,
    KnownName::XForwardedFor,
    KnownName::XRealIp,
    KnownName::Forwarded,
];

fn is_passing(name: Option<KnownName>) -> bool {
    name.is_some_and(|name| PASSING.contains(&name))
}

impl Keeping {
    /// `owned` are the headers that only policies may set.
    pub(super) fn new(written: &PartCache, owned: &[HeaderName]) -> Keeping {
        let ttl = written.ttl.as_ref().map(|ttl| ttl.std());
        Keeping { ttl, untold: written.shared.then(|| owned.to_vec()) }
    }

    /// Takes out what the service is not to know.
    pub(super) fn hide(&self, fields: &mut Fields) {
        self.untold.iter().flatten().for_each(|name| fields.remove(name));
    }

    /// What `request` is, and whose, as bytes; `None`: it cannot be told whose.
    pub(super) fn question(&self, upstream: &str, request: &OutboundRequest, exchange: &Exchange) -> Option<Vec<u8>> {
        let mut key = Vec::with_capacity(256);
        // With lengths, so that nothing runs into its neighbour.
        let mut add = |part: &[u8]| {
            key.put_u64(part.len() as u64);
            key.extend_from_slice(part);
        };
        let target = exchange.target();
        for part in [upstream, target.scheme().as_str(), target.authority(), &request.path_and_query] {
            add(part.as_bytes());
        }
        for (name, value) in request.fields.iter().filter(|(name, _)| !is_passing(name.known)) {
            add(&name.text.to_ascii_lowercase());
            add(value);
        }
        if let Some(identity) = exchange.identity.as_ref().filter(|_| self.untold.is_none()) {
            // Three, where a header is two: no headers can stand for a caller.
            Identity::who(identity)?.into_iter().for_each(|which| add(which.as_bytes()));
        }
        Some(key)
    }

    /// For how long an answer is kept; `None`: it is not.
    fn lifetime(&self, head: &ReplyHead) -> Option<Duration> {
        let fields = &head.fields;
        let said = Directives::of(fields);
        // With more than is asked: `*`, and what is no part of the question.
        let is_more = |member: &[u8]| match std::str::from_utf8(member).ok().and_then(HeaderName::new) {
            Some(HeaderName::Known(name)) => is_passing(Some(name)),
            Some(_) => member == b"*",
            None => true,
        };
        let varies = fields.list(KnownName::Vary).any(is_more);
        if said.no_store || said.private || varies || fields.contains(KnownName::SetCookie) {
            return None;
        }
        let says = || {
            let fresh = said.s_maxage.or(said.max_age).filter(|_| !said.no_cache)?;
            let age = fields.list(KnownName::Age).filter_map(seconds).max().unwrap_or(0);
            Some(Duration::from_secs(fresh.saturating_sub(age)))
        };
        self.ttl.or_else(says).filter(|time| !time.is_zero())
    }

    /// Keeps an answer, if it may be; whether it is.
    pub(super) fn put(&self, kept: &MemoryBlobs, question: &[u8], head: &ReplyHead, body: &Bytes) -> bool {
        let Some(time) = self.lifetime(head) else { return false };
        let mut value = BytesMut::with_capacity(2 + body.len());
        value.put_u16(head.status.code());
        value.extend_from_slice(body);
        matches!(kept.put(question, value.freeze(), time, &[]), Soon::Now(Ok(())))
    }
}

/// The answer to a question, if there is one.
pub(super) fn find(kept: &MemoryBlobs, question: &[u8]) -> Option<(Status, Bytes)> {
    let Soon::Now(Ok(Some(mut value))) = kept.get(question) else { return None };
    let status = Status::new(value.try_get_u16().ok()?)?;
    Some((status, value))
}
