//! Replies: what a client reads and a server writes.

use crate::connection;
use crate::encode::{Sent, write_fields};
use crate::error::{EncodeError, FramingError, HeadError};
use crate::framing::{Announced, Framing, announced};
use crate::limits::{HeadLimits, MAX_FIELDS};
use crate::scan::{HeadScanner, Parsed, drive};
use crate::{Persist, plain, strict};
use std::mem::MaybeUninit;
use torana_core::head::{Fields, Method, ReplyHead, Status, Version};
use torana_core::names::KnownName;

/// Parses a reply head at the start of `buf` into `head`.
///
/// Use as [`request::parse`](crate::request::parse). No empty line may come
/// before a reply: bytes nobody asked for are how one connection's replies get
/// out of step with its requests. Interim (1xx) replies are heads like any
/// other; the caller goes on until it meets a final one. The reason phrase is
/// checked and dropped (RFC 9112 §4 tells clients to ignore it).
///
/// # Errors
/// [`HeadError`]; a gateway answers 502 and closes the connection.
pub fn parse(
    scanner: &mut HeadScanner,
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut ReplyHead,
) -> Result<Parsed, HeadError> {
    if matches!(buf.first(), Some(b'\r' | b'\n')) {
        head.clear();
        return Err(HeadError::LeadingBlankLines);
    }
    let result = drive(scanner, buf, 0, limits, |window, scanner| parse_whole(scanner, window, limits, head));
    if !matches!(result, Ok(Parsed::Complete { .. })) {
        head.clear();
    }
    result
}

fn parse_whole(
    scanner: &mut HeadScanner,
    window: &[u8],
    limits: &HeadLimits,
    head: &mut ReplyHead,
) -> Result<Option<usize>, HeadError> {
    match plain::reply(scanner, window, limits, head) {
        Some(length) => Ok(Some(length)),
        None => parse_thoroughly(window, limits, head),
    }
}

/// Parses any head, plain or not, and says what is wrong with a bad one.
pub(crate) fn parse_thoroughly(
    window: &[u8],
    limits: &HeadLimits,
    head: &mut ReplyHead,
) -> Result<Option<usize>, HeadError> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = slots.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
    let mut reply = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut reply, window, slots);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(diagnose(window, &reply, error)),
    };
    let (Some(code), Some(minor)) = (reply.code, reply.version) else { return Err(HeadError::Ambiguous) };
    // RFC 9110 §15: a client treats codes outside 100..=599 as an error.
    let status = Status::new(code).filter(|status| status.code() < 600).ok_or(HeadError::StatusLineInvalid)?;
    // The reason's length is not reliable (httparse hides obs-text), and the
    // line ends with the first LF whatever else it holds.
    let line = memchr::memchr(b'\n', window).and_then(|lf| lf.checked_sub(1)).ok_or(HeadError::Ambiguous)?;
    let fields = strict::line_end(window, line).map_err(|_| HeadError::BareLf)?;
    head.status = status;
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let whole = window.get(..length).ok_or(HeadError::Ambiguous)?;
    strict::fill(&mut head.fields, whole, fields, reply.headers)?;
    Ok(Some(length))
}

fn diagnose(window: &[u8], reply: &httparse::Response<'_, '_>, error: httparse::Error) -> HeadError {
    match (reply.version, window) {
        (None, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, ..])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HeadError::VersionUnsupported
        }
        (None, _) => HeadError::StatusLineInvalid,
        _ => strict::diagnose(window, error),
    }
}

/// Where the body of a reply to a `request_method` request ends (RFC 9112
/// §6.3). Announcements are checked even where the reply has no body.
///
/// # Errors
/// [`FramingError`]; a gateway answers 502 and closes the connection.
pub fn framing(request_method: Method, head: &ReplyHead) -> Result<Framing, FramingError> {
    let status = head.status;
    if request_method == Method::Connect && status.class() == 1 {
        // RFC 9110 §9.3.6: a client ignores what such a reply announces.
        return Ok(Framing::Tunnel);
    }
    let announced = announced(head.version, &head.fields)?;
    if status.code() < 200 {
        return match announced {
            Announced::Nothing | Announced::Length(0) if status == Status::SWITCHING_PROTOCOLS => Ok(Framing::Tunnel),
            Announced::Nothing | Announced::Length(0) => Ok(Framing::None),
            _ => Err(FramingError::InterimBody),
        };
    }
    if request_method == Method::Head || status.is_bodiless() {
        return Ok(Framing::None);
    }
    Ok(match announced {
        Announced::Length(length) => Framing::Length(length),
        Announced::Chunked => Framing::Chunked,
        Announced::Nothing => Framing::UntilClose,
    })
}

/// The `Content-Length` of a reply that may have no body itself (to HEAD, or
/// 304), to be passed on as [`Outgoing::framing`].
#[must_use]
pub fn announced_length(head: &ReplyHead) -> Option<u64> {
    match announced(head.version, &head.fields) {
        Ok(Announced::Length(length)) => Some(length),
        _ => None,
    }
}

/// Whether the server keeps the connection for another request (RFC 9112
/// §9.3), `framing` being what [`framing`] said.
///
/// A 204 that announces content is not trusted: whoever sent it may send that
/// content too, and it would be read as the next reply.
#[must_use]
pub fn persistent(head: &ReplyHead, framing: Framing) -> bool {
    if matches!(framing, Framing::UntilClose | Framing::Tunnel) {
        return false;
    }
    if head.status == Status::NO_CONTENT
        && !matches!(announced(head.version, &head.fields), Ok(Announced::Nothing | Announced::Length(0)))
    {
        return false;
    }
    connection::persistent(head.version, &head.fields)
}

/// A reply head to be written.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The status.
    pub status: Status,
    /// The method of the request that is answered.
    pub request_method: Method,
    /// The version of the request that is answered.
    pub peer: Version,
    /// The fields. Those the codec owns are left out: `Content-Length`,
    /// `Transfer-Encoding`, `Connection`, `Keep-Alive`, `Proxy-Connection`,
    /// and `Upgrade` unless `persist` asks for it.
    pub fields: &'a Fields,
    /// How the body will be written; for a reply to HEAD and a 304, what a
    /// GET would have got ([`Framing::None`] says nothing about that).
    pub framing: Framing,
    /// What happens to the connection.
    pub persist: Persist,
}

/// Appends a reply head to `out`, always as HTTP/1.1 (RFC 9110 §6.2), with
/// whatever framing the peer understands: [`Sent`] says which.
///
/// # Errors
/// [`EncodeError::Framing`] if a tunnel is asked for where none can begin;
/// `out` is unchanged.
pub fn write_head(out: &mut Vec<u8>, reply: &Outgoing<'_>) -> Result<Sent, EncodeError> {
    let status = reply.status;
    let connected = reply.request_method == Method::Connect && status.class() == 1;
    let switches = connected || status == Status::SWITCHING_PROTOCOLS;
    if switches != (reply.framing == Framing::Tunnel) {
        return Err(EncodeError::Framing);
    }
    let bodiless = reply.request_method == Method::Head || status.is_bodiless();
    // What the head says, and what is then sent.
    let (announced, framing) = match reply.framing {
        Framing::Tunnel => (Framing::None, Framing::Tunnel),
        // RFC 9110 §8.6, RFC 9112 §6.1: 1xx and 204 announce nothing.
        _ if status.code() < 200 || status == Status::NO_CONTENT => (Framing::None, Framing::None),
        Framing::Chunked if bodiless && reply.peer == Version::Http10 => (Framing::None, Framing::None),
        framing if bodiless => (framing, Framing::None),
        // Without a length the client would wait for the connection to end.
        Framing::None => (Framing::Length(0), Framing::Length(0)),
        Framing::Chunked if reply.peer == Version::Http10 => (Framing::UntilClose, Framing::UntilClose),
        framing => (framing, framing),
    };
    let persist = match reply.persist {
        // Where the body ends with the connection, and behind a refused
        // CONNECT, whose client may already be talking to the other side.
        _ if framing == Framing::UntilClose => Persist::Close,
        _ if reply.request_method == Method::Connect && !connected && status.code() >= 200 => Persist::Close,
        // Another reply follows: this one says nothing about the connection.
        _ if status.is_interim() => Persist::KeepAlive,
        // A successful CONNECT has no options; 101 has this one.
        _ if connected => Persist::KeepAlive,
        _ if switches => Persist::Upgrade,
        persist => persist,
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status.code()).as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.reason().as_bytes());
    out.extend_from_slice(b"\r\n");
    let name_keep_alive = reply.peer == Version::Http10 && status.code() >= 200 && !connected;
    write_fields(out, reply.fields, announced, persist, name_keep_alive);
    Ok(Sent { framing, persist })
}

/// Whether an interim reply may be sent to a peer of this version: HTTP/1.0
/// knows none (RFC 9110 §15.2).
#[must_use]
pub const fn interim_allowed(peer: Version) -> bool {
    !matches!(peer, Version::Http10)
}

/// `HTTP/1.1 100 Continue` as a whole message.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Whether the reply switches protocols as `request` asked: 101 is only valid
/// for a request with `Upgrade` (RFC 9110 §15.2.2).
#[must_use]
pub fn switches(head: &ReplyHead) -> bool {
    head.status == Status::SWITCHING_PROTOCOLS && head.fields.contains(KnownName::Upgrade)
}
