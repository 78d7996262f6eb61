//! Where nginx and haproxy are known to differ from the codec on messages that
//! it accepts, and why that is safe: all of these refuse or close, or belong to
//! the connection rather than to the message. None is another message boundary.

use super::Product;
use crate::wire::Reading;
use torana_core::head::Version;

/// A named difference and the requests that have it, as read and as bytes.
pub type Known = (&'static str, fn(&Reading, &[u8]) -> bool);

impl Product {
    /// Requests that the proxy answers with an error of its own.
    pub const fn refuses(self) -> &'static [Known] {
        match self {
            Product::Nginx => &[
                // RFC 9110 §9.1: any token is a method; nginx knows capitals, `-` and `_`.
                ("method", |request, _| !request.method.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'-' | b'_'))),
                // RFC 9110 §9.3.6, §9.3.8: nginx answers 405; here that is the plane's.
                ("CONNECT, TRACE", |request, _| matches!(&request.method[..], "CONNECT" | "TRACE")),
                // RFC 9112 §3.2: nginx takes origin-form and absolute-form; here that is admission's.
                ("target form", |request, _| path(request).is_none()),
                // RFC 9112 §3.2.1: nginx decodes the path while it reads; here that is canonicalisation's.
                ("path", |request, _| !path(request).is_some_and(decodes_below_root)),
                // RFC 9112 §3.2: missing, repeated or malformed; here that is admission's.
                ("Host", |request, _| {
                    !has_one_plain_host(request) || authority(request).is_some_and(|host| !is_plain_host(host))
                }),
                // RFC 9110 §10.1.1: a list may take several lines; nginx wants one.
                ("Expect", |request, _| request.fields.iter().filter(|(name, _)| name == b"expect").count() > 1),
                // RFC 9110 §5.6.3: a tab is a blank like any other; to nginx it is part of a Host, and malformed.
                ("tab beside Host", |_, bytes| {
                    let is_host = |line: &&[u8]| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:"));
                    bytes.split(|&byte| byte == b'\n').filter(is_host).any(|line| line.contains(&b'\t'))
                }),
            ],
            Product::Haproxy => &[
                // RFC 9112 §3.2.3: CONNECT has the authority-form and no other; here that is admission's.
                ("CONNECT", |request, _| request.method == "CONNECT"),
                // RFC 9112 §3.2: haproxy takes `*`, and a path behind a whole authority; here that is admission's.
                ("target form", |request, _| {
                    request.target != b"*" && !matches!(path(request), Some([b'/', ..]))
                        || authority(request) == Some(b"")
                }),
                // RFC 9112 §3.2.1: no form of the target has a fragment; here that is admission's.
                ("fragment", |request, _| request.target.contains(&b'#')),
                // RFC 9112 §3.2, §3.2.2: repeated, or not what the target names; here that is admission's.
                ("Host", |request, _| {
                    !has_one_plain_host(request) || authority(request).is_some_and(|name| name != host(request))
                }),
                // RFC 9112 §6: content is framed alike with every method; haproxy mistrusts that of 1.0's GET: 413.
                ("1.0 content", |request, _| {
                    request.version == Version::Http10
                        && matches!(&request.method[..], "GET" | "HEAD" | "DELETE")
                        && !request.body.is_empty()
                }),
            ],
        }
    }

    /// Requests behind which the proxy closes and the codec does not: nginx
    /// looks for `close` anywhere in the value. RFC 9112 §9.3: a server may
    /// close at any time.
    pub fn closes_behind(self, request: &Reading) -> bool {
        self == Product::Nginx && in_connection(request, b"close")
    }

    /// Requests behind which the codec closes and the proxy does not: nginx
    /// looks for `keep-alive` anywhere in the value. RFC 9112 §9.3: as above.
    pub fn reads_on_behind(self, request: &Reading) -> bool {
        self == Product::Nginx && in_connection(request, b"keep-alive")
    }

    /// RFC 9110 §15.2: a client parses any number of interim replies. nginx
    /// takes the first reply for the final one, so nothing can be learnt from
    /// it about what follows.
    pub const fn knows_interim_replies(self) -> bool {
        matches!(self, Product::Haproxy)
    }

    /// RFC 9112 §8: a chunked reply without its last chunk is incomplete.
    /// haproxy ends it properly if interim replies arrived together with it;
    /// whoever reads it here knows that it was cut.
    pub const fn hides_cuts_behind_interim_replies(self) -> bool {
        matches!(self, Product::Haproxy)
    }

    /// The target that a proxy forwards. RFC 9112 §3.2.2: nginx answers in the
    /// place of the origin, so of the absolute-form the path is left. RFC 9110
    /// §4.2.3: haproxy leaves out the port that the scheme has anyway.
    pub fn forwarded_target(self, request: &Reading) -> Vec<u8> {
        match (self, absolute(request)) {
            (_, None) => request.target.clone(),
            (Product::Nginx, Some((_, path @ ([] | [b'?', ..])))) => [b"/", path].concat(),
            (Product::Nginx, Some((_, path))) => path.to_vec(),
            (Product::Haproxy, Some((authority, path))) => {
                let scheme = &request.target[..request.target.len() - authority.len() - path.len()];
                let name = authority.strip_suffix(b":80").or(authority.strip_suffix(b":")).unwrap_or(authority);
                [scheme, name, path].concat()
            }
        }
    }

    /// Fields that are not compared. They belong to one connection (RFC 9110
    /// §7.6.1) or frame a message, so that a proxy writes its own or none.
    pub fn rewrites(self, name: &[u8]) -> bool {
        match name {
            b"connection" | b"content-length" | b"transfer-encoding" | b"te" | b"expect" | b"upgrade" => true,
            b"keep-alive" | b"server" | b"date" => self == Product::Nginx,
            // RFC 9110 §5.1 has such names too; nginx loses them in replies.
            _ => self == Product::Nginx && !name.iter().any(u8::is_ascii_alphanumeric),
        }
    }

    /// RFC 9110 §6.5.1: trailers may be dropped.
    pub const fn forwards_trailers(self) -> bool {
        matches!(self, Product::Haproxy)
    }
}

/// The path and query of a target in origin-form or absolute-form.
fn path(request: &Reading) -> Option<&[u8]> {
    match absolute(request) {
        Some((_, path)) => Some(path),
        None => request.target.starts_with(b"/").then_some(&request.target),
    }
}

/// What a target in absolute-form names as its host.
fn authority(request: &Reading) -> Option<&[u8]> {
    absolute(request).map(|(authority, _)| authority)
}

/// A target in absolute-form, without its scheme.
fn absolute(request: &Reading) -> Option<(&[u8], &[u8])> {
    let target = &request.target[..];
    let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let colon = target.iter().position(|byte| !in_scheme(byte))?;
    let rest = target[colon..].strip_prefix(b"://").filter(|_| target[0].is_ascii_alphabetic())?;
    Some(rest.split_at(rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len())))
}

/// Whether every `%` begins a coded byte that is not NUL, and no `..` leads above `/`.
fn decodes_below_root(path: &[u8]) -> bool {
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut decoded = Vec::new();
    let mut rest = path;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let [high, low, behind @ ..] = rest else { return false };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        decoded.push(u8::try_from(high * 16 + low).unwrap());
        rest = behind;
    }
    let mut depth = 0;
    for segment in decoded.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty()) {
        depth += match segment {
            b"." => 0,
            b".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return false;
        }
    }
    !decoded.contains(&0)
}

fn hosts(request: &Reading) -> impl Iterator<Item = &[u8]> {
    request.fields.iter().filter(|(name, _)| name == b"host").map(|(_, value)| &value[..])
}

fn host(request: &Reading) -> &[u8] {
    hosts(request).next().unwrap_or_default()
}

fn has_one_plain_host(request: &Reading) -> bool {
    hosts(request).count() == 1 && is_plain_host(host(request))
}

/// A name or an IPv4 address, perhaps with a port: nothing any parser minds.
fn is_plain_host(host: &[u8]) -> bool {
    let (name, port) = host.split_at(host.iter().position(|&byte| byte == b':').unwrap_or(host.len()));
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let name_is_plain = !name.is_empty() && name.iter().all(plain) && !name.windows(2).any(|pair| pair == b"..");
    let port_is_plain = port.is_empty() || port.len() > 1 && port[1..].iter().all(u8::is_ascii_digit);
    name_is_plain && port_is_plain
}

fn in_connection(request: &Reading, text: &[u8]) -> bool {
    let mut values = request.fields.iter().filter(|(name, _)| name == b"connection").map(|(_, value)| value);
    values.any(|value| value.to_ascii_lowercase().windows(text.len()).any(|part| part == text))
}
