//! The way back: what is kept, what is used once more, what is passed on.

use super::conditions::is_weakly;
use super::entry::{Entry, Open, kept_fields, push_selecting, vary};
use super::freshness::{initial_age, is_understood, lifetime};
use super::key::uri_of;
use super::tee::Tee;
use super::{Fetch, INVALIDATED, Inner, REVALIDATED, STALE, STORED, answer, say, time};
use bytes::Bytes;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::body::Body;
use torana_core::cache_control::Directives;
use torana_core::canonical::{TargetForm, canonical_authority_of};
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, Status};
use torana_core::names::KnownName;
use torana_core::reply::Reply;

/// A reply that is kept once its body is there.
pub(super) struct Draft {
    inner: Arc<Inner>,
    fetch: Fetch,
    entry: Entry,
}

impl Draft {
    pub(super) fn keep(mut self, body: Bytes) {
        if self.inner.makes_etags && self.entry.status == Status::OK && self.entry.etag().is_none() {
            let mut fields = (*self.entry.fields).clone();
            // Quotes and hexadecimal digits.
            let _ = fields.set(KnownName::ETag, etag_of(&body).as_bytes());
            self.entry.fields = Arc::new(fields);
        }
        self.entry.body = body;
        self.inner.tally.count(&STORED);
        let (question, entry) = (&self.fetch.question, Arc::new(self.entry));
        self.inner.store.put(&question.key, question.wish.uri, entry.clone());
        self.inner.save(&self.fetch, &entry);
        // Now those who wait find it: the lead goes with the fetch.
    }

    /// Its body is longer than what is kept.
    pub(super) fn too_long(self) {
        self.inner.store.note_unkept(&self.fetch.question.key, time::now());
    }
}

impl Inner {
    /// Takes what the target answers; a reply in its place, if there is one.
    pub(super) fn settle(this: &Arc<Inner>, mut fetch: Fetch, reply: &mut Reply, now: Instant) -> Option<Reply> {
        let code = reply.head.status.code();
        if let Some(stale) = fetch.stale.take() {
            if code == 304 && fetch.validates {
                return Some(Inner::revalidated(this, &fetch, &stale, reply, now));
            }
            if !fetch.is_beside && matches!(code, 500 | 502 | 503 | 504) && this.survives(&fetch, &stale, now) {
                this.tally.count(&STALE);
                let status = format!("hit; fwd=stale; fwd-status={code}");
                return Some(answer(&fetch.question.wish.conditions, &stale, now, "STALE", &status));
            }
        }
        let why = fetch.why;
        let collapsed = if fetch.collapsed { "; collapsed=?0" } else { "" };
        let is_kept = match this.entry_of(&fetch, reply, now) {
            Some(entry) => {
                let draft = Draft { inner: Arc::clone(this), fetch, entry };
                copy(reply, draft, this.most_bytes)
            }
            None => {
                if fetch.may_keep && code < 500 && fetch.lead.is_some() {
                    this.store.note_unkept(&fetch.question.key, now);
                }
                false
            }
        };
        for name in &this.tags {
            reply.head.fields.remove(name);
        }
        let stored = if is_kept { "; stored" } else { "" };
        say(reply, "MISS", &format!("torana; fwd={why}; fwd-status={code}{stored}{collapsed}"));
        None
    }

    /// The target says that what is kept is still right.
    fn revalidated(this: &Arc<Inner>, fetch: &Fetch, stale: &Arc<Entry>, reply: &Reply, now: Instant) -> Reply {
        this.tally.count(&REVALIDATED);
        let question = &fetch.question;
        let said = &reply.head.fields;
        // Of something else than what was asked about: used this once.
        let is_same =
            said.get(KnownName::ETag).is_none_or(|etag| stale.etag().is_none_or(|known| is_weakly(known, etag)));
        let mut entry = (**stale).clone();
        if is_same {
            let mut merged = stale.merged(said);
            if !said.contains(KnownName::Date) {
                // It is as old as its latest word, not as its first.
                merged.remove_known(KnownName::Date);
            }
            entry = this.timed(entry, Arc::new(kept_fields(&merged, time::wall(), &this.tags)), said, fetch, now);
            let directives = Directives::of(&entry.fields);
            if !directives.no_store && !directives.private {
                let entry = Arc::new(entry.clone());
                this.store.put(&question.key, question.wish.uri, entry.clone());
                this.save(fetch, &entry);
            }
        }
        answer(&question.wish.conditions, &entry, now, "REVALIDATED", "hit; fwd=stale; fwd-status=304")
    }

    /// Whether `stale` may be used although the target fails (RFC 5861 §4).
    fn survives(&self, fetch: &Fetch, stale: &Entry, now: Instant) -> bool {
        let said = fetch.question.wish.said.stale_if_error.map(Duration::from_secs);
        let most = stale.if_error.max(said.unwrap_or_default());
        !stale.must_revalidate && !stale.no_cache && stale.staleness(now).is_some_and(|stale| stale < most)
    }

    /// What is kept of `reply`, without its body; `None` if nothing may be
    /// (RFC 9111 §3).
    fn entry_of(&self, fetch: &Fetch, reply: &Reply, now: Instant) -> Option<Entry> {
        let status = reply.head.status;
        let fields = &reply.head.fields;
        if !fetch.may_keep || reply.tunnel.is_some() || !is_understood(status) {
            return None;
        }
        let said = Directives::of(fields);
        if said.no_store || said.private || (fields.contains(KnownName::SetCookie) && !self.strips_cookies) {
            return None;
        }
        let shared = said.public || said.s_maxage.is_some();
        let open = Open { to_authorization: shared || said.origin_revalidates, to_others: shared };
        if !open.is_to(fetch.question.wish.credentials) && !self.key.per_identity {
            return None;
        }
        let length = reply.body.remaining();
        if length.is_some_and(|length| length > self.most_bytes as u64) {
            return None;
        }
        let vary = vary(fields)?;
        let mut selecting = Vec::new();
        push_selecting(&vary, &fetch.request, &mut selecting);
        let blank = Entry {
            status,
            fields: Arc::default(),
            body: Bytes::new(),
            selecting: selecting.into(),
            vary,
            asked: self.store.time(fetch.asked),
            arrived: now,
            initial_age: Duration::ZERO,
            lifetime: Duration::ZERO,
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            no_cache: false,
            must_revalidate: false,
            open,
            tags: self.tags_of(fields),
        };
        let kept = Arc::new(kept_fields(fields, time::wall(), &self.tags));
        let entry = self.timed(blank, kept, fields, fetch, now);
        let is_usable = !entry.lifetime.is_zero() || !entry.while_revalidate.is_zero() || !entry.if_error.is_zero();
        // Worth keeping only if it can be asked about.
        ((is_usable && !entry.no_cache) || (said.said && entry.has_validator())).then_some(entry)
    }

    /// `entry` with these fields, from now on. `said` is what arrived.
    fn timed(&self, entry: Entry, fields: Arc<Fields>, said: &Fields, fetch: &Fetch, now: Instant) -> Entry {
        let directives = Directives::of(&fields);
        let lifetime = lifetime(entry.status, &fields, &directives, &self.rules);
        let may_stale = !directives.must_revalidate && !directives.no_cache;
        // `s-maxage` means `proxy-revalidate` (§5.2.2.10), unless it is said
        // beside it that a stale one will do.
        let is_default = may_stale && directives.s_maxage.is_none() && lifetime.is_some();
        let grace = |said: Option<u64>, default: Duration| match said {
            Some(seconds) if may_stale => Duration::from_secs(seconds),
            None if is_default => default,
            _ => Duration::ZERO,
        };
        let delay = now.saturating_duration_since(fetch.asked);
        Entry {
            asked: self.store.time(fetch.asked),
            arrived: now,
            initial_age: initial_age(said, time::wall(), delay),
            lifetime: lifetime.unwrap_or_default(),
            while_revalidate: grace(directives.stale_while_revalidate, self.while_revalidate),
            if_error: grace(directives.stale_if_error, self.if_error),
            no_cache: directives.no_cache,
            must_revalidate: directives.must_revalidate
                || (directives.s_maxage.is_some()
                    && directives.stale_while_revalidate.is_none()
                    && directives.stale_if_error.is_none()),
            fields,
            ..entry
        }
    }

    fn tags_of(&self, fields: &Fields) -> Arc<[Box<[u8]>]> {
        let values = self.tags.iter().flat_map(|name| fields.values(name));
        let tags = values.flat_map(|value| value.split(|byte| matches!(byte, b',' | b' ' | b'\t')));
        tags.filter(|tag| !tag.is_empty()).map(Into::into).collect()
    }

    /// What an unsafe request has changed is not used any more (RFC 9111 §4.4):
    /// its own URI, and those of this host that the reply names. For those who
    /// share a store: which, with their places.
    pub(super) fn invalidate(&self, exchange: &Exchange, reply: &Reply) -> Vec<(Vec<u8>, usize)> {
        let target = exchange.target();
        let is_success = (200..400).contains(&reply.head.status.code());
        if exchange.head.method.is_safe() || !is_success || target.form() != TargetForm::Origin {
            return Vec::new();
        }
        self.tally.count(&INVALIDATED);
        let (now, mut key) = (time::now(), Vec::new());
        let place = self.key.of(exchange, &self.store, "", &mut key);
        self.store.outdate(place, now);
        let mut changed = vec![(uri_of(&key).to_vec(), place)];
        for name in [KnownName::Location, KnownName::ContentLocation] {
            let named = reply.head.fields.get_single(name).ok().flatten();
            if let Some(uri) = named.and_then(|uri| of_same_host(uri, exchange)) {
                let uri = self.key.uri(target.host(), target.effective_port(), uri);
                let place = self.store.place(&*uri);
                self.store.outdate(place, now);
                changed.push((uri, place));
            }
        }
        changed
    }
}

/// Path and query of `uri` if it is on the host that `exchange` asked.
fn of_same_host<'a>(uri: &'a [u8], exchange: &Exchange) -> Option<&'a str> {
    let uri = std::str::from_utf8(uri).ok()?;
    let uri = uri.split('#').next().unwrap_or_default();
    if uri.starts_with('/') && !uri.starts_with("//") {
        return Some(uri);
    }
    let target = exchange.target();
    let rest = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://"))?;
    let at = rest.find('/')?;
    let (authority, path) = rest.split_at(at);
    let mut canonical = String::new();
    let port = canonical_authority_of(authority.as_bytes(), target.scheme(), &mut canonical).ok()?;
    let host = canonical.split(':').next().unwrap_or_default();
    (host == target.host() && port.unwrap_or(target.scheme().default_port()) == target.effective_port()).then_some(path)
}

/// Copies the body of `reply` on its way; tells whether it may be kept.
fn copy(reply: &mut Reply, draft: Draft, most: usize) -> bool {
    match std::mem::take(&mut reply.body) {
        Body::Empty => draft.keep(Bytes::new()),
        Body::Full(bytes) if bytes.len() <= most => {
            draft.keep(bytes.clone());
            reply.body = Body::Full(bytes);
        }
        Body::Full(bytes) => {
            draft.too_long();
            reply.body = Body::Full(bytes);
            return false;
        }
        body @ Body::Stream(_) => reply.body = Body::Stream(Box::new(Tee::new(body, most, draft))),
    }
    true
}

/// A tag for these bytes. No secret and no proof: it only has to differ when
/// they do.
fn etag_of(body: &[u8]) -> String {
    let hash = |seed: u64| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        hasher.write(body);
        hasher.finish()
    };
    format!("\"{:016x}{:016x}\"", hash(1), hash(2))
}
