//! What goes back to the caller.

use crate::body::Body;
use crate::head::{ReplyHead, Status};
use crate::names::{HeaderName, KnownName};

/// A response head with its body.
#[derive(Debug, Default)]
pub struct Reply {
    /// The head.
    pub head: ReplyHead,
    /// The body.
    pub body: Body,
    /// Set when the connection leaves HTTP: the other end of the tunnel.
    pub tunnel: Option<Box<dyn Tunnel>>,
}

/// The upstream side of a connection that has left HTTP (RFC 9110 §7.8, §9.3.6).
///
/// `torana-net` copies bytes between the client's connection and this one.
pub trait Tunnel: std::fmt::Debug {
    /// Gives up the concrete connection; `torana-net` knows what it is.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
}

impl Reply {
    /// A reply without a body.
    #[must_use]
    pub fn new(status: Status) -> Reply {
        let mut reply = Reply::default();
        reply.head.status = status;
        reply
    }

    /// A reply with a body of this media type.
    #[must_use]
    pub fn with_body(status: Status, content_type: &'static str, body: impl Into<Body>) -> Reply {
        let mut reply = Reply::new(status);
        reply.head.fields.set_own(KnownName::ContentType, content_type.as_bytes());
        reply.body = body.into();
        reply
    }

    /// Adds a header; a value that cannot stand in a header is left out.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<HeaderName>, value: &[u8]) -> Reply {
        let _ = self.head.fields.append(name, value);
        self
    }
}
