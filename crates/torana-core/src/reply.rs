//! What goes back to the caller.

use crate::body::Body;
use crate::head::{Fields, InvalidValue, ReplyHead, Status};
use crate::names::{HeaderName, KnownName, is_value_byte};
use crate::vary;

/// A response head with its body.
#[derive(Debug, Default)]
pub struct Reply {
    /// The head. Boxed: a reply passes through many hands, and every one of
    /// them would copy it.
    pub head: Box<ReplyHead>,
    /// The body.
    pub body: Body,
    /// Set when the connection leaves HTTP: the other end of the tunnel.
    pub tunnel: Option<Box<dyn Tunnel>>,
}

/// The upstream side of a connection that has left HTTP (RFC 9110 §7.8, §9.3.6).
///
/// `torana-net` copies bytes between the client's connection and this one.
pub trait Tunnel: std::fmt::Debug {
    /// Has `what` dropped with the connection, such as a place that it takes.
    fn keep(&mut self, what: Box<dyn std::any::Any>);

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

/// Fields that are put on replies, made ahead of them.
#[derive(Debug, Default)]
pub struct ReplyFields {
    set: Vec<(HeaderName, Box<[u8]>)>,
    add: Vec<(HeaderName, Box<[u8]>)>,
    vary: Option<HeaderName>,
}

impl ReplyFields {
    /// Replaces what replies say under this name.
    ///
    /// # Errors
    /// The value cannot stand in a header.
    pub fn set(&mut self, name: HeaderName, value: &[u8]) -> Result<(), InvalidValue> {
        self.set.push(checked(name, value)?);
        Ok(())
    }

    /// Adds a field beside those that replies have.
    ///
    /// # Errors
    /// The value cannot stand in a header.
    pub fn add(&mut self, name: HeaderName, value: &[u8]) -> Result<(), InvalidValue> {
        self.add.push(checked(name, value)?);
        Ok(())
    }

    /// Says that replies differ with this field of the request (RFC 9110
    /// §12.5.5).
    pub fn vary(&mut self, name: HeaderName) {
        self.vary = Some(name);
    }

    /// Puts the fields on a reply.
    pub fn write(&self, fields: &mut Fields) {
        for (name, _) in &self.set {
            fields.remove(name);
        }
        for (name, value) in self.set.iter().chain(&self.add) {
            // Checked when it was taken up.
            let _ = fields.append_text(name.as_str().as_bytes(), value);
        }
        if let Some(name) = &self.vary {
            vary::add(fields, name.as_str());
        }
    }
}

fn checked(name: HeaderName, value: &[u8]) -> Result<(HeaderName, Box<[u8]>), InvalidValue> {
    if value.iter().copied().all(is_value_byte) { Ok((name, value.into())) } else { Err(InvalidValue) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> HeaderName {
        HeaderName::new(name).unwrap()
    }

    fn written(reply: &ReplyFields, before: &[(&str, &str)]) -> Vec<String> {
        let mut fields = Fields::default();
        for (name, value) in before {
            fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
        }
        reply.write(&mut fields);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.iter().map(|(name, value)| format!("{}: {}", text(name.text), text(value))).collect()
    }

    #[test]
    fn set_replaces_and_add_does_not() {
        let mut reply = ReplyFields::default();
        reply.set(name("sunset"), b"new").unwrap();
        reply.add(name("link"), b"<b>").unwrap();
        let shown = written(&reply, &[("Sunset", "old"), ("link", "<a>"), ("SUNSET", "older")]);
        assert_eq!(shown, ["link: <a>", "sunset: new", "link: <b>"]);
        assert_eq!(reply.set(name("x"), b"a\r\nb"), Err(InvalidValue));
    }

    #[test]
    fn vary_is_said_once() {
        let mut reply = ReplyFields::default();
        reply.vary(name("api-version"));
        assert_eq!(written(&reply, &[("vary", "accept")]), ["vary: accept", "vary: api-version"]);
        assert_eq!(written(&reply, &[("vary", "accept, API-Version")]), ["vary: accept, API-Version"]);
        assert_eq!(written(&reply, &[("vary", "*")]), ["vary: *"]);
    }
}
