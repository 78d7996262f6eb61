//! Compresses replies as they pass: gzip, brotli and zstd.
//!
//! It runs in the stage of caches. Written behind `cache`, what it makes is
//! kept, once for each kind of client, and given out without compressing it
//! again; written before it, copies are kept as the target sent them, and
//! compressed whenever they are given out.

mod encoder;
mod negotiate;

use encoder::{Coding, Compressed, Levels};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::body::{Body, BodyError};
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, Method};
use torana_core::names::{HeaderName, KnownName};
use torana_core::payload;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::Refusal;
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::ByteSize;
use torana_core::vary;
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// An encoder failed in the middle of a body.
    FAILED = "compress.failed" 500 Gateway IfSafe "The reply could not be compressed.";
}

torana_core::events! {
    COMPRESSED = "compressed" "A reply was compressed.";
}

/// Compresses replies for clients that understand it.
///
/// What is compressed already, is only a part or carries a digest of its bytes is passed on as it is, and so are replies
/// without a body, and where request or reply say `no-transform`. Streams are not held back: when the target pauses, what there is is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which codings, the dearest first, where a client likes several as much: `zstd`, `br`, `gzip`. Default: these three.
    pub codings: OneOrMany<Spanned<String>>,
    /// Replies that are known to be shorter are not compressed: it would not pay. Default `1KiB`.
    pub min_bytes: ByteSize,
    /// Media types to compress; `*` stands for any part of one: `text/*`, `*/*+json`. Default: `text/*`, `application/json`,
    /// `application/javascript`, `application/xml`, `application/x-ndjson`, `application/wasm`, `image/svg+xml`, `*/*+json` and
    /// `*/*+xml`.
    pub types: OneOrMany<Spanned<String>>,
    /// Media types that are not compressed although `types` has them.
    pub exclude_types: OneOrMany<Spanned<String>>,
    /// Replies with one of these headers are not compressed. Whoever sees the length of a compressed reply that has both a
    /// secret and something of the attacker's choosing in it can find out the secret (BREACH): have such replies say so.
    pub exclude_headers: OneOrMany<Spanned<String>>,
    /// Whether replies to requests with `Cookie` or `Authorization` are not compressed, for the same reason. Default: no.
    pub exclude_credentials: bool,
    /// How hard gzip tries, 1 to 9. Default 6.
    #[schemars(range(min = 1, max = 9))]
    pub gzip_level: Spanned<u32>,
    /// How hard brotli tries, 0 to 11; from 5 it is slow. Default 4.
    #[schemars(range(min = 0, max = 11))]
    pub br_level: Spanned<u32>,
    /// How hard zstd tries, 1 to 19. Default 3.
    #[schemars(range(min = 1, max = 19))]
    pub zstd_level: Spanned<u32>,
}

impl Default for Config {
    fn default() -> Config {
        let list = |texts: &[&str]| OneOrMany(texts.iter().map(|text| (*text).to_owned().into()).collect());
        Config {
            codings: list(&["zstd", "br", "gzip"]),
            min_bytes: ByteSize::kib(1),
            types: list(&[
                "text/*",
                "application/json",
                "application/javascript",
                "application/xml",
                "application/x-ndjson",
                "application/wasm",
                "image/svg+xml",
                "*/*+json",
                "*/*+xml",
            ]),
            exclude_types: OneOrMany::default(),
            exclude_headers: OneOrMany::default(),
            exclude_credentials: false,
            gzip_level: 6.into(),
            br_level: 4.into(),
            zstd_level: 3.into(),
        }
    }
}

/// The policy `compress`.
pub struct Compress {
    codings: Vec<Coding>,
    min_bytes: u64,
    types: Vec<MediaRange>,
    exclude_types: Vec<MediaRange>,
    exclude_headers: Vec<HeaderName>,
    exclude_credentials: bool,
    levels: Levels,
    tally: Arc<Tally>,
}

/// A media type with wildcards, in lower case.
struct MediaRange {
    kind: Box<str>,
    subtype: Box<str>,
}

impl PolicyKind for Compress {
    const NAME: &'static str = "compress";
    const STAGE: Stage = Stage::Serve;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut codings = Vec::new();
        for name in config.codings.iter() {
            match Coding::named(name.as_bytes()) {
                Some(coding) if !codings.contains(&coding) => codings.push(coding),
                Some(_) => {}
                None => {
                    let message = format!("{} is not a coding", name.shown());
                    let problem = Diagnostic::error("compress.coding", message).at(name.span);
                    problems.push(problem.hint("`zstd`, `br` or `gzip`"));
                }
            }
        }
        let types = media_ranges(&config.types, &mut problems);
        let exclude_types = media_ranges(&config.exclude_types, &mut problems);
        let mut exclude_headers = Vec::new();
        for written in config.exclude_headers.iter() {
            match HeaderName::new(written) {
                Some(name) => exclude_headers.push(name),
                None => {
                    let message = format!("{} is not a header name", written.shown());
                    problems.push(Diagnostic::error("compress.header", message).at(written.span));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Compress {
            codings,
            min_bytes: config.min_bytes.bytes(),
            types,
            exclude_types,
            exclude_headers,
            exclude_credentials: config.exclude_credentials,
            levels: Levels {
                gzip: config.gzip_level.value,
                br: config.br_level.value,
                zstd: i32::try_from(config.zstd_level.value).unwrap_or(3),
            },
            tally: site.tally(),
        }))
    }
}

fn media_ranges(written: &[Spanned<String>], problems: &mut Vec<Diagnostic>) -> Vec<MediaRange> {
    let mut ranges = Vec::new();
    for text in written {
        match MediaRange::read(text) {
            Some(range) => ranges.push(range),
            None => {
                let message = format!("{} is not a media type", text.shown());
                let problem = Diagnostic::error("compress.type", message).at(text.span);
                problems.push(problem.hint("`text/html`, `text/*`, `*/*+json`; without parameters"));
            }
        }
    }
    ranges
}

impl MediaRange {
    fn read(text: &str) -> Option<MediaRange> {
        let lower = text.trim().to_ascii_lowercase();
        let (kind, subtype) = lower.split_once('/')?;
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(torana_core::names::is_token_byte);
        (is_part(kind) && is_part(subtype)).then(|| MediaRange { kind: kind.into(), subtype: subtype.into() })
    }

    fn has(&self, kind: &[u8], subtype: &[u8]) -> bool {
        fits(&self.kind, kind) && fits(&self.subtype, subtype)
    }
}

/// Whether `text` is `pattern`, in which a `*` in front stands for anything.
fn fits(pattern: &str, text: &[u8]) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => {
            text.len() >= end.len()
                && text.get(text.len() - end.len()..).is_some_and(|it| it.eq_ignore_ascii_case(end.as_bytes()))
        }
        None => text.eq_ignore_ascii_case(pattern.as_bytes()),
    }
}

impl Policy for Compress {
    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let (request, method) = (&exchange.head.fields, exchange.head.method);
        if !self.may_compress(request, method, reply) {
            return Verdict::CONTINUE;
        }
        vary::add(&mut reply.head.fields, "accept-encoding");
        let length = if method == Method::Head { length(&reply.head.fields) } else { reply.body.remaining() };
        if length.is_some_and(|length| length < self.min_bytes) {
            return Verdict::CONTINUE;
        }
        let Some(coding) = negotiate::choose(request, &self.codings) else { return Verdict::CONTINUE };
        if method != Method::Head {
            match Compressed::new(std::mem::take(&mut reply.body), coding, self.levels, BodyError::new(&FAILED)) {
                Ok(compressed) => reply.body = Body::Stream(Box::new(compressed)),
                Err(body) => {
                    reply.body = body;
                    return Verdict::CONTINUE;
                }
            }
            self.tally.count(&COMPRESSED);
        }
        let fields = &mut reply.head.fields;
        fields.set_own(KnownName::ContentEncoding, coding.as_str().as_bytes());
        fields.remove_known(KnownName::ContentLength);
        fields.retain(|name, _| !name.text.eq_ignore_ascii_case(b"accept-ranges"));
        weaken(fields);
        Verdict::CONTINUE
    }
}

/// The length that the reply to a HEAD announces.
fn length(fields: &Fields) -> Option<u64> {
    std::str::from_utf8(fields.get_single(KnownName::ContentLength).ok()??).ok()?.parse().ok()
}

impl Compress {
    /// Whether there is something to compress that may be; clients do not come
    /// into it, except by what they are secret about or forbid. The head of a
    /// reply to HEAD is that of the reply to GET (RFC 9110 §9.3.2): its length
    /// would be another.
    fn may_compress(&self, request: &Fields, method: Method, reply: &Reply) -> bool {
        let fields = &reply.head.fields;
        if (reply.body.is_empty() && method != Method::Head) || reply.tunnel.is_some() {
            return false;
        }
        let is_whole = !reply.head.status.is_bodiless() && reply.head.status.code() != 206;
        if !is_whole || !payload::is_plain(fields) || fields.contains(KnownName::ContentRange) {
            return false;
        }
        let credentials = request.contains(KnownName::Cookie) || request.contains(KnownName::Authorization);
        if self.exclude_credentials && credentials {
            return false;
        }
        // Either side may forbid it (RFC 9111 §5.2.1.6, §5.2.2.6).
        let forbids = |fields: &Fields| fields.list_contains(KnownName::CacheControl, "no-transform");
        if forbids(fields) || forbids(request) || has_digest(fields) {
            return false;
        }
        self.has_type(fields) && !self.exclude_headers.iter().any(|name| fields.values(name).next().is_some())
    }

    fn has_type(&self, fields: &Fields) -> bool {
        let Some(value) = fields.get(KnownName::ContentType) else { return false };
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let mut parts = essence.splitn(2, |byte| *byte == b'/');
        let (Some(kind), Some(subtype)) = (parts.next(), parts.next()) else { return false };
        let is_among = |ranges: &[MediaRange]| ranges.iter().any(|range| range.has(kind, subtype));
        is_among(&self.types) && !is_among(&self.exclude_types)
    }
}

/// Whether a reply says what its bytes come to: then they are not to change.
fn has_digest(fields: &Fields) -> bool {
    const DIGESTS: [&[u8]; 4] = [b"content-md5", b"digest", b"content-digest", b"repr-digest"];
    fields.may_have_unknown()
        && fields.iter().any(|(name, _)| DIGESTS.iter().any(|digest| name.text.eq_ignore_ascii_case(digest)))
}

/// The bytes are others now, if they mean the same (RFC 9110 §8.8.1).
fn weaken(fields: &mut Fields) {
    let weak = match fields.get(KnownName::ETag) {
        Some(tag) if !tag.starts_with(b"W/") => [b"W/", tag].concat(),
        _ => return,
    };
    // A value that was one, behind two letters.
    let _ = fields.set(KnownName::ETag, &weak);
}

#[cfg(test)]
mod tests;
