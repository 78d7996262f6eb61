//! Requests: what a server reads and a client writes.

use crate::connection;
use crate::encode::{Sent, write_fields};
use crate::error::{EncodeError, FramingError, HeadError};
use crate::framing::{Announced, Framing, announced};
use crate::limits::{HeadLimits, MAX_FIELDS, MAX_METHOD};
use crate::scan::{HeadScanner, Parsed, drive};
use crate::{Persist, plain, strict};
use std::mem::MaybeUninit;
use torana_core::head::{Fields, Head, Method, Version};
use torana_core::names::{KnownName, is_token_byte};

/// Parses a request head at the start of `buf` into `head`.
///
/// Call it again with the same `scanner` and a longer buffer while it answers
/// [`Parsed::Partial`]. `head` holds a request only after
/// [`Parsed::Complete`]; it is cleared otherwise.
///
/// One empty line before the request is skipped (RFC 9112 §2.2). `Host` is not
/// looked at: whether it may be missing or repeated is admission's decision.
///
/// # Errors
/// [`HeadError`]; answer with its status and close.
pub fn parse(scanner: &mut HeadScanner, buf: &[u8], limits: &HeadLimits, head: &mut Head) -> Result<Parsed, HeadError> {
    let start = blank(buf).inspect_err(|_| head.clear())?;
    let result = drive(scanner, buf, start, limits, |window, scanner| parse_whole(scanner, window, limits, head));
    match result {
        Ok(Parsed::Complete { .. }) => {}
        // A first line that outgrew its parts will not shrink again.
        Ok(Parsed::Partial) => {
            head.clear();
            let line = buf.len().saturating_sub(start);
            if !scanner.has_first_line() && line > limits.uri_bytes.saturating_add(MAX_METHOD).saturating_add(11) {
                return Err(HeadError::UriTooLong);
            }
        }
        Err(HeadError::HeaderTooLarge) if !scanner.has_first_line() => {
            head.clear();
            return Err(HeadError::UriTooLong);
        }
        Err(_) => head.clear(),
    }
    result
}

/// How many bytes of an empty line come before the request.
const fn blank(buf: &[u8]) -> Result<usize, HeadError> {
    match buf {
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(HeadError::LeadingBlankLines),
        [b'\r', b'\n', ..] => Ok(2),
        [b'\n', ..] => Err(HeadError::BareLf),
        [b'\r'] => Ok(1),
        [b'\r', ..] => Err(HeadError::BareCr),
        _ => Ok(0),
    }
}

/// Parses a head that may be complete.
fn parse_whole(
    scanner: &mut HeadScanner,
    window: &[u8],
    limits: &HeadLimits,
    head: &mut Head,
) -> Result<Option<usize>, HeadError> {
    match plain::request(scanner, window, limits, head) {
        Some(length) => Ok(Some(length)),
        None => parse_thoroughly(window, limits, head),
    }
}

/// Parses any head, plain or not, and says what is wrong with a bad one.
pub(crate) fn parse_thoroughly(
    window: &[u8],
    limits: &HeadLimits,
    head: &mut Head,
) -> Result<Option<usize>, HeadError> {
    let mut near = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut far = Vec::new();
    let slots = if limits.fields <= MAX_FIELDS {
        near.get_mut(..limits.fields).unwrap_or_default()
    } else {
        // `a:` and a line end: there cannot be more of them.
        far.resize_with(limits.fields.min(window.len() / 4), MaybeUninit::uninit);
        far.as_mut_slice()
    };
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(window, slots);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(diagnose(window, &request, error)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Ambiguous);
    };
    if method.len() > MAX_METHOD {
        return Err(HeadError::MethodTooLong);
    }
    if target.len() > limits.uri_bytes {
        return Err(HeadError::UriTooLong);
    }
    // httparse lets bytes above 0x7e pass in targets.
    if target.is_empty() || !target.is_ascii() {
        return Err(HeadError::TargetInvalid);
    }
    // method SP target SP HTTP/1.x
    let line = method.len().saturating_add(target.len()).saturating_add(10);
    let fields = strict::line_end(window, line)?;
    head.set_method(method.as_bytes());
    head.set_raw_target(target.as_bytes());
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let whole = window.get(..length).ok_or(HeadError::Ambiguous)?;
    strict::fill(&mut head.fields, whole, fields, request.headers)?;
    Ok(Some(length))
}

fn diagnose(window: &[u8], request: &httparse::Request<'_, '_>, error: httparse::Error) -> HeadError {
    use httparse::Error;
    let Some(method) = request.method else { return HeadError::MethodInvalid };
    let Some(target) = request.path else {
        let rest = window.get(method.len().saturating_add(1)..).unwrap_or_default();
        return match rest.iter().position(|byte| matches!(byte, 0..=b' ')) {
            // The line ends behind the target, as in HTTP/0.9.
            Some(end) if end > 0 && matches!(rest.get(end), Some(b'\r' | b'\n')) => HeadError::VersionInvalid,
            _ => HeadError::TargetInvalid,
        };
    };
    let Some(_) = request.version else {
        let at = method.len().saturating_add(target.len()).saturating_add(2);
        return match window.get(at..) {
            Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor, ..])
                if error == Error::Version && major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                HeadError::VersionUnsupported
            }
            _ => HeadError::VersionInvalid,
        };
    };
    strict::diagnose(window, error)
}

/// Where the body of a request ends (RFC 9112 §6.3).
///
/// # Errors
/// [`FramingError`] for every announcement with two readings; answer with its
/// status and close.
pub fn framing(head: &Head) -> Result<Framing, FramingError> {
    let announced = announced(head.version, &head.fields)?;
    if head.method == Method::Connect && !matches!(announced, Announced::Nothing) {
        return Err(FramingError::ConnectBody);
    }
    Ok(match announced {
        Announced::Nothing => Framing::None,
        Announced::Length(length) => Framing::Length(length),
        Announced::Chunked => Framing::Chunked,
    })
}

/// Whether the client means to send another request on the connection
/// (RFC 9112 §9.3).
#[must_use]
pub fn persistent(head: &Head) -> bool {
    connection::persistent(head.version, &head.fields)
}

/// Whether a reply may turn the connection into another protocol's: CONNECT,
/// or an upgrade is asked for. Then nothing behind this request may be parsed
/// or forwarded before [`behind`](crate::behind) has said what it is.
#[must_use]
pub fn may_leave_http(head: &Head) -> bool {
    head.method == Method::Connect || head.wants_upgrade()
}

/// An `Expect` that is not `100-continue` (RFC 9110 §10.1.1): answer 417,
/// code `http1.expectation_unknown`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the expectation is not supported")]
pub struct UnknownExpectation;

impl UnknownExpectation {
    /// The stable reason code.
    pub const CODE: &'static str = "http1.expectation_unknown";
}

/// Whether the client waits for `100 Continue` before it sends the body
/// (RFC 9110 §10.1.1). HTTP/1.0 clients never do; a request without content
/// has nothing to wait for.
///
/// # Errors
/// [`UnknownExpectation`] if it expects something else.
pub fn expects_continue(head: &Head, framing: Framing) -> Result<bool, UnknownExpectation> {
    if !head.fields.contains(KnownName::Expect) {
        return Ok(false);
    }
    for value in head.fields.get_all(KnownName::Expect) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(UnknownExpectation);
        }
    }
    Ok(head.version != Version::Http10 && !matches!(framing, Framing::None | Framing::Length(0)))
}

/// A request head to be written.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The method's text.
    pub method: &'a str,
    /// The target in pieces, written one behind the other.
    pub target: &'a [&'a [u8]],
    /// The fields, `Host` among them. Those the codec owns are left out:
    /// `Content-Length`, `Transfer-Encoding`, `Connection`, `Keep-Alive`,
    /// `Proxy-Connection`, and `Upgrade` unless `persist` asks for it.
    pub fields: &'a Fields,
    /// How the body will be written.
    pub framing: Framing,
    /// What happens to the connection.
    pub persist: Persist,
}

/// Appends a request head to `out`, always as HTTP/1.1.
///
/// # Errors
/// [`EncodeError`] if the parts are not those of a request; `out` is unchanged.
pub fn write_head(out: &mut Vec<u8>, request: &Outgoing<'_>) -> Result<Sent, EncodeError> {
    if request.method.is_empty() || !request.method.bytes().all(is_token_byte) {
        return Err(EncodeError::Method);
    }
    if request.target.iter().all(|part| part.is_empty()) || !request.target.iter().all(|part| is_target(part)) {
        return Err(EncodeError::Target);
    }
    let connect = request.method == "CONNECT";
    let announced = match request.framing {
        Framing::UntilClose | Framing::Tunnel => return Err(EncodeError::Framing),
        Framing::None if connect => Framing::None,
        _ if connect => return Err(EncodeError::Framing),
        // RFC 9110 §8.6: say so when content was to be expected.
        Framing::None if matches!(request.method, "POST" | "PUT" | "PATCH") => Framing::Length(0),
        framing => framing,
    };
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    for part in request.target {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(out, request.fields, announced, request.persist, false);
    Ok(Sent { framing: request.framing, persist: request.persist })
}

/// Whether every byte may stand in a request target as far as the start line
/// is concerned.
fn is_target(part: &[u8]) -> bool {
    part.iter().all(|byte| matches!(byte, 0x21..=0x7e))
}
