//! Message heads: one type for HTTP/1.1 and HTTP/2.
//!
//! A head owns one buffer with the bytes of all its names and values, and an
//! ordered list of ranges into it. Parsing is one copy of the head and one
//! entry per field; nothing is allocated once the buffers have grown to the
//! size of the traffic, because heads are cleared and reused, not dropped.

mod fields;
mod method;
mod status;

pub use fields::{FieldName, Fields, InvalidValue};
pub use method::{Method, MethodSet};
pub use status::Status;

use crate::names::KnownName;

/// Protocol version of a message as it arrived.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// The version as logs and `Via` write it, such as `HTTP/1.1`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
}

/// The head of a request as received: before admission its target is raw text
/// with no meaning, so nothing but the admission step reads it
/// (see [`crate::canonical::CanonicalTarget`]).
#[derive(Default, Debug, Clone)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The version the client spoke.
    pub version: Version,
    /// The header fields in order of arrival.
    pub fields: Fields,
    method_text: Vec<u8>,
    raw: RawTarget,
}

/// The request target as the wire had it.
#[derive(Default, Debug, Clone)]
struct RawTarget {
    target: Vec<u8>,
    /// HTTP/2 `:authority`; HTTP/1.x leaves it to `Host`.
    authority: Vec<u8>,
    has_authority: bool,
    /// HTTP/2 `:scheme`, kept to be compared with the connection.
    scheme: Vec<u8>,
    /// HTTP/2 `:protocol` (RFC 8441).
    protocol: Vec<u8>,
}

impl Head {
    /// Empties the head, keeping its buffers.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.version = Version::Http11;
        self.fields.clear();
        self.method_text.clear();
        self.raw.target.clear();
        self.raw.authority.clear();
        self.raw.has_authority = false;
        self.raw.scheme.clear();
        self.raw.protocol.clear();
    }

    /// Sets the method from its (case-sensitive) text.
    pub fn set_method(&mut self, text: &[u8]) {
        self.method = Method::from_bytes(text);
        self.method_text.clear();
        if self.method == Method::Extension {
            self.method_text.extend_from_slice(text);
        }
    }

    /// The method as text; for an extension method what the client wrote.
    #[must_use]
    pub fn method_text(&self) -> &str {
        match self.method {
            // Method text is checked to be a token by whoever parsed it.
            Method::Extension => std::str::from_utf8(&self.method_text).unwrap_or("-"),
            known => known.as_str(),
        }
    }

    /// Stores the request target as the wire had it (codecs only).
    pub fn set_raw_target(&mut self, target: &[u8]) {
        self.raw.target.clear();
        self.raw.target.extend_from_slice(target);
    }

    /// Stores HTTP/2's `:authority` (codecs only).
    pub fn set_raw_authority(&mut self, authority: &[u8]) {
        self.raw.has_authority = true;
        self.raw.authority.clear();
        self.raw.authority.extend_from_slice(authority);
    }

    /// Stores HTTP/2's `:scheme` (codecs only).
    pub fn set_raw_scheme(&mut self, scheme: &[u8]) {
        self.raw.scheme.clear();
        self.raw.scheme.extend_from_slice(scheme);
    }

    /// Stores HTTP/2's `:protocol` (codecs only; RFC 8441).
    pub fn set_protocol(&mut self, protocol: &[u8]) {
        self.raw.protocol.clear();
        self.raw.protocol.extend_from_slice(protocol);
    }

    /// The request target as the wire had it. For admission and for counting
    /// its bytes; everything else reads the canonical target.
    #[must_use]
    pub fn raw_target(&self) -> &[u8] {
        &self.raw.target
    }

    /// HTTP/2's `:authority`, if there was one.
    #[must_use]
    pub fn raw_authority(&self) -> Option<&[u8]> {
        self.raw.has_authority.then_some(&self.raw.authority[..])
    }

    /// HTTP/2's `:scheme`; empty on HTTP/1.x.
    #[must_use]
    pub fn raw_scheme(&self) -> &[u8] {
        &self.raw.scheme
    }

    /// HTTP/2's `:protocol` of an extended CONNECT; empty otherwise.
    #[must_use]
    pub fn protocol(&self) -> &[u8] {
        &self.raw.protocol
    }

    /// Whether the client asks to leave HTTP on this connection with
    /// `Connection: upgrade` and an `Upgrade` field (RFC 9110 §7.8).
    #[must_use]
    pub fn wants_upgrade(&self) -> bool {
        self.version == Version::Http11
            && self.fields.contains(KnownName::Upgrade)
            && self.fields.list_contains(KnownName::Connection, "upgrade")
    }
}

/// The head of a response.
#[derive(Default, Debug, Clone)]
pub struct ReplyHead {
    /// The status.
    pub status: Status,
    /// The version the peer spoke.
    pub version: Version,
    /// The header fields in order.
    pub fields: Fields,
}

impl ReplyHead {
    /// Empties the head, keeping its buffers.
    pub fn clear(&mut self) {
        self.status = Status::OK;
        self.version = Version::Http11;
        self.fields.clear();
    }
}
