use crate::error::{BodyError, HeadError};
use crate::limits::{HeadLimits, MAX_FIELDS};
use crate::scan::{HeadScanner, Progress};
use crate::strict;
use torana_core::head::Fields;
use torana_core::names::{KnownName, NameSet};

/// Trailers that would change where the message ends or where it goes: a
/// sender of these means harm, so the message is refused.
const REFUSED: NameSet = NameSet::of(&[KnownName::ContentLength, KnownName::TransferEncoding, KnownName::Host]);

/// Trailers that RFC 9110 §6.5.1 forbids because they must be known before the
/// content: modifiers, authentication, content format, response control; and
/// everything that belongs to one connection, and the forwarding fields, which
/// are the gateway's to write. They are dropped: ignoring them is what §6.5.1
/// allows, and servers do send some of them.
const DROPPED: NameSet = NameSet::of(&[
    KnownName::Age,
    KnownName::Authorization,
    KnownName::CacheControl,
    KnownName::Connection,
    KnownName::ContentEncoding,
    KnownName::ContentLocation,
    KnownName::ContentRange,
    KnownName::ContentType,
    KnownName::Cookie,
    KnownName::Date,
    KnownName::Expect,
    KnownName::Expires,
    KnownName::Forwarded,
    KnownName::Http2Settings,
    KnownName::IfMatch,
    KnownName::IfModifiedSince,
    KnownName::IfNoneMatch,
    KnownName::IfRange,
    KnownName::IfUnmodifiedSince,
    KnownName::KeepAlive,
    KnownName::Location,
    KnownName::MaxForwards,
    KnownName::Pragma,
    KnownName::ProxyAuthenticate,
    KnownName::ProxyAuthorization,
    KnownName::ProxyConnection,
    KnownName::Range,
    KnownName::RetryAfter,
    KnownName::SetCookie,
    KnownName::Te,
    KnownName::Trailer,
    KnownName::Upgrade,
    KnownName::Vary,
    KnownName::Via,
    KnownName::Warning,
    KnownName::WwwAuthenticate,
    KnownName::XApiKey,
    KnownName::XForwardedFor,
    KnownName::XForwardedHost,
    KnownName::XForwardedPort,
    KnownName::XForwardedPrefix,
    KnownName::XForwardedProto,
    KnownName::XForwardedServer,
    KnownName::XRealIp,
    KnownName::XRequestId,
]);

/// Whether a trailer of this name is neither written nor passed on.
pub(crate) const fn is_forbidden(name: KnownName) -> bool {
    REFUSED.contains(name) || DROPPED.contains(name)
}

/// A trailer section that is not empty. It may arrive in pieces, so unlike
/// everything else it is copied; bodies with trailers are rare.
#[derive(Debug)]
pub(crate) struct Trailers {
    bytes: Vec<u8>,
    scanner: HeadScanner,
    limits: HeadLimits,
}

impl Trailers {
    pub(crate) fn new(limits: HeadLimits) -> Trailers {
        Trailers { bytes: Vec::new(), scanner: HeadScanner::new(), limits }
    }

    /// Takes from `buf` what belongs to the section. Answers how much that
    /// was, and the fields when the section is complete.
    pub(crate) fn take(&mut self, buf: &[u8]) -> Result<(usize, Option<Fields>), BodyError> {
        let before = self.bytes.len();
        let room = self.limits.head_bytes.saturating_sub(before);
        let part = buf.get(..room).unwrap_or(buf);
        self.bytes.extend_from_slice(part);
        match self.scanner.advance(&self.bytes).map_err(invalid)? {
            Progress::End(end) => {
                let section = self.bytes.get(..end).unwrap_or_default();
                let fields = parse(section, &self.limits)?;
                Ok((end.saturating_sub(before), Some(fields)))
            }
            _ if part.len() < buf.len() || self.bytes.len() >= self.limits.head_bytes => {
                Err(BodyError::TrailersTooLarge)
            }
            _ => Ok((part.len(), None)),
        }
    }
}

/// A line-end fault keeps its meaning; the rest is one reason.
fn invalid(error: HeadError) -> BodyError {
    match error {
        HeadError::TooManyFields | HeadError::FieldNameTooLong => BodyError::TrailersTooLarge,
        _ => BodyError::TrailersInvalid,
    }
}

fn parse(section: &[u8], limits: &HeadLimits) -> Result<Fields, BodyError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let slots = slots.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
    let parsed = match httparse::parse_headers(section, slots) {
        Ok(httparse::Status::Complete((end, parsed))) if end == section.len() => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(BodyError::TrailersTooLarge),
        _ => return Err(BodyError::TrailersInvalid),
    };
    let mut fields = Fields::default();
    strict::fill(&mut fields, section, 0, parsed).map_err(invalid)?;
    if fields.contains_any(REFUSED) {
        return Err(BodyError::TrailerForbidden);
    }
    if fields.contains_any(DROPPED) {
        fields.retain(|name, _| !name.known.is_some_and(|known| DROPPED.contains(known)));
    }
    Ok(fields)
}
