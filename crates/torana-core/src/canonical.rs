//! The one reading of a request's target.
//!
//! Gateways are bypassed when the path a rule looked at is not the path the
//! upstream serves (CVE-2019-9901, CVE-2021-31920, CVE-2025-66490 and their
//! many siblings). So the target is read once, here, into a
//! [`CanonicalTarget`]; the router, the policies, the log and the request that
//! is forwarded all use that value, and a target that two programs could read
//! differently is refused instead of guessed at.
//!
//! # What becomes of a target
//!
//! | part | input | result | source |
//! |---|---|---|---|
//! | form | `/…` | origin-form | RFC 9112 §3.2.1 |
//! | | `http://host/…` (HTTP/1.x only) | read as origin-form; the authority must agree with `Host` | RFC 9112 §3.2.2 |
//! | | `*` with OPTIONS; `OPTIONS http://host` without path | asterisk-form | RFC 9112 §3.2.4 |
//! | | `host:port` with CONNECT (port required) | authority-form | RFC 9112 §3.2.3 |
//! | | anything else; empty; `:path` without `/` | 400 `target.form` | RFC 9113 §8.3.1 |
//! | scheme | the connection's: `https` when it is encrypted | | |
//! | | `:scheme` or absolute-form says the other one | 421 `target.scheme_mismatch` | RFC 9110 §7.4 |
//! | | any other scheme | 400 `target.scheme` | |
//! | host | HTTP/1.1 without `Host`; HTTP/2 with neither it nor `:authority` | 400 `target.host_missing` | RFC 9112 §3.2 |
//! | | HTTP/1.0 without `Host` | the empty host, which only host-less routes match | |
//! | | more than one `Host` | 400 `target.host_repeated` | RFC 9112 §3.2 |
//! | | `Host` and authority differ after the rules below | 400 `target.host_mismatch` | RFC 9113 §8.3.1 |
//! | | upper case | lower case | RFC 3986 §6.2.2.1 |
//! | | one trailing dot | removed | CVE-2022-23632 |
//! | | `[IPv6]` | RFC 5952 spelling, in brackets | |
//! | | other than letters, digits, `-`, `_`, `.`: lists, `%`, `\`, `/`, blanks, raw UTF-8; empty; empty label; more than 253 bytes; zone id; IPvFuture | 400 `target.host_invalid` | |
//! | | `user@host` | 400 `target.userinfo` | RFC 9110 §4.2.4 |
//! | | `127.1`, `0x7f.1`, `2130706433` | kept as opaque names: the gateway never turns a client's host into an address | |
//! | port | the scheme's default, or nothing after `:` | dropped | RFC 3986 §6.2.3 |
//! | | 0, above 65535, not digits, more than five digits | 400 `target.port_invalid` | |
//! | path | `#` anywhere in the target | 400 `target.fragment` | CVE-2023-47106 |
//! | | `\` or `%5c` | 400 `target.backslash` | |
//! | | `%2f` | 400 `target.encoded_slash` | CVE-2021-31920 |
//! | | `%00`–`%1f`, `%7f` | 400 `target.encoded_control` | |
//! | | raw control, blank, DEL (path or query) | 400 `target.control` | |
//! | | `%` without two hex digits | 400 `target.escape` | |
//! | | overlong UTF-8 (`%c0%ae`, `%e0%80%af`, raw too) | 400 `target.overlong` | RFC 3629 §3 |
//! | | raw `;`, and a segment `.` or `..` followed by `%3b` | 400 `target.parameters` | servlet containers drop `;x` |
//! | | `%41`, `%2e`, `%7E` (unreserved) | decoded | RFC 3986 §6.2.2.2 |
//! | | other escapes, `%3b`, `%3f`, `%23`, `%25` among them | data; hex in upper case; `%252e` stays | RFC 3986 §6.2.2.1 |
//! | | raw `"<>[]^{|}`, back-tick and bytes above 0x7f | percent-encoded | |
//! | | `/./`, `/../` | resolved | RFC 3986 §5.2.4 |
//! | | `..` above the root | 400 `target.above_root` | |
//! | | repeated slashes | merged | CVE-2021-31920 |
//! | | an empty segment and a `..` in one path | 400 `target.ambiguous_segments`: the result depends on which rule runs first | |
//! | query | visible ASCII, with whatever `%` it has | kept byte for byte | |
//! | | bytes above 0x7f | percent-encoded | |
//!
//! Canonicalising a canonical target changes nothing.

mod authority;
mod error;
mod path;
mod rewrite;

#[cfg(test)]
mod cve_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

pub use authority::canonical_host;
pub use error::TargetError;
pub use path::canonical_path;
pub use rewrite::is_within;

use crate::head::{Head, Method, Version};
use crate::names::KnownName;
use authority::{NO_DEFAULT_PORT, canonical_authority};
use std::fmt;

/// Which of the four request-target forms a request had (RFC 9112 §3.2);
/// absolute-form is read as origin-form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TargetForm {
    /// A path and perhaps a query.
    #[default]
    Origin,
    /// `OPTIONS *`: the server as a whole.
    Asterisk,
    /// `CONNECT host:port`.
    Authority,
}

/// `http` or `https`: what the connection was, never what the client said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Scheme {
    /// Plain text.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The scheme in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port meant where none is written (RFC 9110 §4.2.1, §4.2.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request's target after the rules of the [module](self).
///
/// There is no way to put text into it that did not pass those rules, so a
/// value of this type needs no checking. It keeps its buffers between
/// requests: [`admit`](CanonicalTarget::admit) allocates only while they grow.
#[derive(Default, Clone)]
pub struct CanonicalTarget {
    form: TargetForm,
    scheme: Scheme,
    /// `host`, or `host:port` where the port is not the scheme's default.
    authority: String,
    host_len: usize,
    port: Option<u16>,
    /// `path`, or `path?query`.
    text: String,
    path_len: usize,
    /// For comparing a second authority with the first.
    scratch: String,
    last: LastAuthority,
}

/// The authority read last, and what came of it: the next request mostly names
/// the same. What comes of one depends on nothing else.
#[derive(Default, Clone)]
struct LastAuthority {
    raw: Vec<u8>,
    default_port: u16,
    canonical: String,
    host_len: usize,
    port: Option<u16>,
}

impl CanonicalTarget {
    /// Reads the target of `head`, which arrived over TLS if `secure`. On an
    /// error the value is empty: nothing half-read can be used.
    ///
    /// # Errors
    /// One [`TargetError`] per rule of the [module](self); the first that is
    /// broken, in the order form, scheme, host, path, query.
    pub fn admit(&mut self, head: &Head, secure: bool) -> Result<(), TargetError> {
        self.clear();
        self.scheme = if secure { Scheme::Https } else { Scheme::Http };
        let result = self.read(head);
        if result.is_err() {
            self.clear();
        }
        result
    }

    /// Forgets the target, keeping the buffers.
    pub fn clear(&mut self) {
        self.form = TargetForm::Origin;
        self.scheme = Scheme::Http;
        self.authority.clear();
        self.host_len = 0;
        self.port = None;
        self.text.clear();
        self.path_len = 0;
    }

    fn read(&mut self, head: &Head) -> Result<(), TargetError> {
        let raw = head.raw_target();
        // An extended CONNECT (RFC 8441 §4) has scheme, authority and path
        // like any other request.
        if head.method == Method::Connect && head.protocol().is_empty() {
            return self.read_connect(head, raw);
        }
        self.check_scheme(head.raw_scheme())?;
        match raw.first() {
            Some(b'/') => {
                self.read_host(head, head.raw_authority())?;
                self.read_path_and_query(raw)
            }
            Some(b'*') if raw.len() == 1 && head.method == Method::Options => {
                self.read_host(head, head.raw_authority())?;
                self.set_asterisk();
                Ok(())
            }
            Some(_) if head.version != Version::Http2 => self.read_absolute(head, raw),
            _ => Err(TargetError::Form),
        }
    }

    fn set_asterisk(&mut self) {
        self.form = TargetForm::Asterisk;
        self.text.push('*');
        self.path_len = 1;
    }

    /// `scheme "://" authority path-abempty [ "?" query ]` (RFC 9112 §3.2.2).
    fn read_absolute(&mut self, head: &Head, raw: &[u8]) -> Result<(), TargetError> {
        let colon = raw.iter().position(|&byte| !byte.is_ascii_alphanumeric()).unwrap_or(raw.len());
        let (scheme, rest) = raw.split_at(colon);
        let Some(rest) = rest.strip_prefix(b"://") else {
            return Err(TargetError::Form);
        };
        if scheme.is_empty() {
            return Err(TargetError::Form);
        }
        self.check_scheme(scheme)?;
        // A backslash ends the authority in some URL parsers and not in
        // others; the host rules refuse it, so it must stay in the authority.
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        self.read_host(head, Some(authority))?;
        match path.first() {
            Some(b'/') => self.read_path_and_query(path),
            Some(b'?') => self.read_query_after("/", path),
            Some(_) => Err(TargetError::Fragment),
            None if head.method == Method::Options => {
                self.set_asterisk();
                Ok(())
            }
            None => self.read_path_and_query(b"/"),
        }
    }

    fn read_connect(&mut self, head: &Head, raw: &[u8]) -> Result<(), TargetError> {
        // HTTP/2 has the authority in `:authority` and no `:path`
        // (RFC 9113 §8.5).
        let named = match head.raw_authority() {
            Some(authority) if raw.is_empty() || raw == authority => authority,
            Some(_) => return Err(TargetError::Form),
            None => raw,
        };
        if named.is_empty() {
            return Err(TargetError::Form);
        }
        let parts = canonical_authority(named, NO_DEFAULT_PORT, &mut self.authority)?;
        // "A client MUST send the port number even if the CONNECT request is
        // based on a URI reference that contains an authority component with
        // an elided port" (RFC 9112 §3.2.3)
        let port = parts.port.ok_or(TargetError::PortInvalid)?;
        self.host_len = parts.host_len;
        self.port = Some(port);
        match head.fields.get_single(KnownName::Host).map_err(|_| TargetError::HostRepeated)? {
            Some(host) => {
                let other = canonical_authority(host, NO_DEFAULT_PORT, &mut self.scratch)?;
                let same_host = self.scratch.get(..other.host_len) == Some(self.host());
                if !same_host || other.port.is_some_and(|other| other != port) {
                    return Err(TargetError::HostMismatch);
                }
            }
            None if head.version == Version::Http11 => return Err(TargetError::HostMissing),
            None => {}
        }
        self.form = TargetForm::Authority;
        Ok(())
    }

    fn check_scheme(&self, stated: &[u8]) -> Result<(), TargetError> {
        if stated.is_empty() || stated.eq_ignore_ascii_case(self.scheme.as_str().as_bytes()) {
            Ok(())
        } else if stated.eq_ignore_ascii_case(b"http") || stated.eq_ignore_ascii_case(b"https") {
            Err(TargetError::SchemeMismatch)
        } else {
            Err(TargetError::Scheme)
        }
    }

    fn read_host(&mut self, head: &Head, authority: Option<&[u8]>) -> Result<(), TargetError> {
        let field = head.fields.get_single(KnownName::Host).map_err(|_| TargetError::HostRepeated)?;
        let (first, second) = match (authority, field) {
            (Some(_), None) if head.version == Version::Http11 => return Err(TargetError::HostMissing),
            (Some(authority), field) => (authority, field),
            (None, Some(field)) => (field, None),
            (None, None) if head.version == Version::Http10 => return Ok(()),
            (None, None) => return Err(TargetError::HostMissing),
        };
        let default_port = self.scheme.default_port();
        self.read_authority(first, default_port)?;
        if let Some(second) = second
            && second != first
        {
            canonical_authority(second, default_port, &mut self.scratch)?;
            if self.scratch != self.authority {
                return Err(TargetError::HostMismatch);
            }
        }
        Ok(())
    }

    fn read_authority(&mut self, raw: &[u8], default_port: u16) -> Result<(), TargetError> {
        let last = &mut self.last;
        if last.raw != raw || last.default_port != default_port {
            last.raw.clear();
            // Until this one is read nothing equals it: schemes have a port.
            last.default_port = NO_DEFAULT_PORT;
            let parts = canonical_authority(raw, default_port, &mut last.canonical)?;
            last.raw.extend_from_slice(raw);
            last.default_port = default_port;
            last.host_len = parts.host_len;
            last.port = parts.port;
        }
        self.authority.push_str(&last.canonical);
        self.host_len = last.host_len;
        self.port = last.port;
        Ok(())
    }

    fn read_path_and_query(&mut self, raw: &[u8]) -> Result<(), TargetError> {
        let end = path::canonical_path_part(raw, &mut self.text)?;
        self.path_len = self.text.len();
        match raw.get(end..) {
            Some(query) if !query.is_empty() => path::append_query(query, &mut self.text),
            _ => Ok(()),
        }
    }

    fn read_query_after(&mut self, path: &str, query: &[u8]) -> Result<(), TargetError> {
        self.text.push_str(path);
        self.path_len = path.len();
        path::append_query(query, &mut self.text)
    }

    /// Which form the target had.
    #[must_use]
    pub fn form(&self) -> TargetForm {
        self.form
    }

    /// The scheme of the connection.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: lower case, without port; IPv6 in brackets; empty for an
    /// HTTP/1.0 request without `Host`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.get(..self.host_len).unwrap_or_default()
    }

    /// The port the client wrote, if it is not the scheme's default.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port the client meant: written, or the scheme's default.
    #[must_use]
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// `host` or `host:port`, without the scheme's default port: what a `Host`
    /// field or `:authority` says.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path: begins with `/`; `*` in asterisk-form, empty in
    /// authority-form.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(..self.path_len).unwrap_or_default()
    }

    /// The query without its `?`; `None` if there was no `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_len + 1..)
    }

    /// Path and query as they are forwarded.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.text
    }
}

impl PartialEq for CanonicalTarget {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form
            && self.scheme == other.scheme
            && self.authority == other.authority
            && self.text == other.text
    }
}

impl Eq for CanonicalTarget {}

impl fmt::Debug for CanonicalTarget {
    /// Without the query, which may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}://{}{}", self.form, self.scheme, self.authority, self.path())?;
        if self.query().is_some() { f.write_str("?…") } else { Ok(()) }
    }
}

/// Replaces `out` by the canonical `host[:port]` of `raw`, read as a request's
/// `Host` over `scheme` is, and returns the port unless it is the default.
///
/// # Errors
/// As for a request's host.
pub fn canonical_authority_of(raw: &[u8], scheme: Scheme, out: &mut String) -> Result<Option<u16>, TargetError> {
    canonical_authority(raw, scheme.default_port(), out).map(|parts| parts.port)
}
