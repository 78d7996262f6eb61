//! Bodies as policies change them: what they are, and what has to be said anew
//! when they are other bytes.

use crate::body::{Body, CollectError};
use crate::diagnostic::Diagnostic;
use crate::exchange::Exchange;
use crate::head::{Fields, Method, Status};
use crate::names::KnownName;
use crate::refusal::{Refusal, Rejection};
use crate::reply::Reply;
use crate::units::ByteSize;
use crate::written::Spanned;
use bytes::Bytes;

/// What a body is, by its `Content-Type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Media {
    /// `application/json`, or anything that ends in `+json`.
    Json,
    /// `application/xml`, `text/xml`, or anything that ends in `+xml`.
    Xml,
    /// `application/x-www-form-urlencoded`
    Form,
    /// Something else, or nothing is said, or it is said twice.
    Other,
}

/// What the fields say the body is.
#[must_use]
pub fn media(fields: &Fields) -> Media {
    let Ok(Some(value)) = fields.get_single(KnownName::ContentType) else { return Media::Other };
    let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let ends = |suffix: &[u8]| {
        essence
            .len()
            .checked_sub(suffix.len())
            .and_then(|at| essence.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    let is = |name: &[u8]| essence.eq_ignore_ascii_case(name);
    if is(b"application/json") || is(b"text/json") || ends(b"+json") {
        Media::Json
    } else if is(b"application/xml") || is(b"text/xml") || ends(b"+xml") {
        Media::Xml
    } else if is(b"application/x-www-form-urlencoded") {
        Media::Form
    } else {
        Media::Other
    }
}

/// Whether the body's bytes are what its type says, and not compressed.
#[must_use]
pub fn is_plain(fields: &Fields) -> bool {
    fields.list(KnownName::ContentEncoding).all(|coding| coding.eq_ignore_ascii_case(b"identity"))
}

/// What most policies that read bodies read of them, where nothing is said:
/// a default for configurations.
#[must_use]
pub fn one_mib() -> Spanned<ByteSize> {
    ByteSize::mib(1).into()
}

/// The key `max_body` of a policy: most bytes of a body that are held at once.
pub fn max_body(written: &Spanned<ByteSize>, code: &'static str, problems: &mut Vec<Diagnostic>) -> usize {
    const MOST: u64 = 16 << 20;
    let bytes = written.bytes();
    if bytes == 0 || bytes > MOST {
        let message = "`max_body` is between 1 byte and 16 MiB";
        problems.push(Diagnostic::error(code, message).at(written.span));
    }
    usize::try_from(bytes.min(MOST)).unwrap_or(0)
}

/// Refuses a body that is compressed: what is in it cannot be seen.
///
/// # Errors
/// It is.
pub fn expect_plain(fields: &Fields, refusal: &'static Refusal) -> Result<(), Rejection> {
    if is_plain(fields) { Ok(()) } else { Err(Rejection::new(refusal).because("the body is compressed")) }
}

/// Takes a body out, all of it, to be read.
///
/// # Errors
/// It is longer than `most` bytes, or breaks off.
pub async fn collect(body: &mut Body, most: usize, too_long: &'static Refusal) -> Result<Bytes, Rejection> {
    std::mem::take(body).collect_capped(most).await.map_err(|error| match error {
        CollectError::TooLong => Rejection::new(too_long).because("the body is longer than `max_body`"),
        CollectError::Source(error) => error.into(),
    })
}

/// Asks the upstream for the whole of a reply, uncompressed, so that it can be
/// changed.
pub fn ask_for_plain(fields: &mut Fields) {
    fields.set_own(KnownName::AcceptEncoding, b"identity");
    fields.remove_known(KnownName::Range);
    fields.remove_known(KnownName::IfRange);
}

/// Whether a reply has a body that is the whole of something.
#[must_use]
pub fn is_whole(method: Method, reply: &Reply) -> bool {
    let status = reply.head.status.code();
    method != Method::Head && status >= 200 && !matches!(status, 204 | 205 | 206 | 304) && reply.tunnel.is_none()
}

/// What was said about bytes that are no longer these: length, checksums,
/// compression, ranges; and `others`, in lower case.
fn forget_bytes(fields: &mut Fields, others: &[&str]) {
    const KNOWN: [KnownName; 3] = [KnownName::ContentLength, KnownName::ContentEncoding, KnownName::ContentRange];
    const CHECKSUMS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];
    KNOWN.into_iter().for_each(|name| fields.remove_known(name));
    if fields.may_have_unknown() {
        let is = |text: &[u8], name: &&str| text.eq_ignore_ascii_case(name.as_bytes());
        fields.retain(|name, _| !CHECKSUMS.iter().chain(others).any(|gone| is(name.text, gone)));
    }
}

/// Gives a request another body; `media_type` if that is another, too.
pub fn replace_request(exchange: &mut Exchange, bytes: impl Into<Bytes>, media_type: Option<&[u8]>) {
    let fields = &mut exchange.head.fields;
    forget_bytes(fields, &[]);
    if let Some(media_type) = media_type {
        fields.set_own(KnownName::ContentType, media_type);
    }
    exchange.body = bytes.into().into();
}

/// Gives a reply another body. Its `ETag` goes: a cache would take the two for
/// the same.
pub fn replace_reply(reply: &mut Reply, bytes: impl Into<Bytes>, media_type: Option<&[u8]>) {
    replace_head(&mut reply.head.fields, media_type);
    reply.body = bytes.into().into();
}

/// The same of a reply to HEAD, which is that to GET without its body (RFC 9110
/// §9.3.2).
pub fn replace_head(fields: &mut Fields, media_type: Option<&[u8]>) {
    forget_bytes(fields, &["accept-ranges"]);
    fields.remove_known(KnownName::ETag);
    if let Some(media_type) = media_type {
        fields.set_own(KnownName::ContentType, media_type);
    }
}

/// Statuses that something is for: `200`, `2xx`, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    /// `2xx`
    #[must_use]
    pub fn success() -> Statuses {
        Statuses(vec![(200, 299)])
    }

    /// Those of a configuration; [`success`](Self::success) where none are
    /// written.
    pub fn written(written: &[Spanned<String>], code: &'static str, problems: &mut Vec<Diagnostic>) -> Statuses {
        let read = Statuses::read(written.iter().map(|status| status.as_str()));
        if let Err(Some(wrong)) = read.as_ref().map_err(|position| written.get(*position)) {
            let message = format!("{} is neither a status nor a class of them", wrong.shown());
            problems.push(Diagnostic::error(code, message).at(wrong.span).hint("`200`, `2xx`, `5xx`"));
        }
        read.ok().filter(|_| !written.is_empty()).unwrap_or_else(Statuses::success)
    }

    /// Reads them; the position of what is none otherwise.
    fn read<'a>(written: impl IntoIterator<Item = &'a str>) -> Result<Statuses, usize> {
        let one = |(position, text): (usize, &str)| {
            let digit = text.as_bytes().first().filter(|digit| (b'2'..=b'5').contains(digit)).ok_or(position)?;
            if text.len() == 3 && text.get(1..).is_some_and(|rest| rest.eq_ignore_ascii_case("xx")) {
                let first = u16::from(digit - b'0') * 100;
                return Ok((first, first + 99));
            }
            let status = text.parse().ok().filter(|status| (200..600).contains(status)).ok_or(position)?;
            Ok((status, status))
        };
        written.into_iter().enumerate().map(one).collect::<Result<_, _>>().map(Statuses)
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contain(&self, status: Status) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status.code()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(content_type: &str) -> Fields {
        let mut fields = Fields::default();
        fields.append_text(b"Content-Type", content_type.as_bytes()).unwrap();
        fields
    }

    #[test]
    fn media_types_are_told_by_their_essence() {
        for (text, expected) in [
            ("application/json", Media::Json),
            ("Application/Problem+JSON ; charset=utf-8", Media::Json),
            ("text/xml", Media::Xml),
            ("image/svg+xml", Media::Xml),
            ("application/x-www-form-urlencoded;a=b", Media::Form),
            ("application/jsonp", Media::Other),
            ("text/plain; x=application/json", Media::Other),
            ("+json", Media::Json),
            ("", Media::Other),
        ] {
            assert_eq!(media(&fields(text)), expected, "{text}");
        }
        let mut twice = fields("application/json");
        twice.append_text(b"content-type", b"text/plain").unwrap();
        assert_eq!(media(&twice), Media::Other);
    }

    #[test]
    fn what_was_said_of_other_bytes_is_forgotten() {
        let said = ["Content-Length", "Content-MD5", "Repr-Digest", "ETag", "Accept-Ranges", "X-Kept"];
        let left = |forget: fn(&mut Fields)| {
            let mut fields = fields("text/xml");
            said.iter().for_each(|name| fields.append_text(name.as_bytes(), b"1").unwrap());
            forget(&mut fields);
            fields.iter().map(|(name, _)| String::from_utf8_lossy(name.text).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(left(|fields| forget_bytes(fields, &[])), ["content-type", "etag", "Accept-Ranges", "X-Kept"]);
        assert_eq!(left(|fields| replace_head(fields, Some(b"a/b"))), ["X-Kept", "content-type"]);
    }

    #[test]
    fn statuses_are_codes_and_classes() {
        let statuses = Statuses::read(["2xx", "404", "5XX"]).unwrap();
        let are: Vec<bool> =
            [200, 299, 300, 404, 405, 503].map(|code| statuses.contain(Status::new(code).unwrap())).into();
        assert_eq!(are, [true, true, false, true, false, true]);
        for wrong in ["6xx", "1xx", "abc", "20", "2000", "2x0", ""] {
            assert_eq!(Statuses::read(["200", wrong]), Err(1), "{wrong}");
        }
    }
}
