//! The parts of a request an expression can read.

use super::{Fault, Subject};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use torana_core::cookie;
use torana_core::names::HeaderName;
use torana_core::query;

/// One part of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The method.
    Method,
    /// `http` or `https`.
    Scheme,
    /// The canonical host, without port.
    Host,
    /// The canonical path.
    Path,
    /// The field of this name.
    Header(HeaderName),
    /// The query parameter of this name, decoded.
    Query(Box<str>),
    /// The cookie of this name.
    Cookie(Box<str>),
    /// What the route's path captured under this name.
    Capture {
        /// The name.
        name: Box<str>,
        /// Where the expression asks for it, in bytes.
        offset: usize,
    },
    /// The caller's address.
    ClientIp,
    /// `TLSv1.3`.
    TlsVersion,
    /// The server name the client asked for.
    TlsServerName,
    /// Who the caller proved to be.
    Subject,
    /// Which policy proved it.
    ProvenBy,
    /// Who vouches for it.
    Issuer,
    /// The consumer that the caller is.
    Consumer,
    /// The consumer's plan.
    Plan,
    /// A claim, by its name or the names on the way to it.
    Claim(Box<[Box<str>]>),
    /// The caller's roles.
    Roles,
    /// The caller's permissions.
    Permissions,
    /// What the caller's credential was given for.
    Scopes,
}

/// Kinds of parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts(u16);

impl Parts {
    /// None.
    pub const NONE: Parts = Parts(0);
    /// Method and target.
    pub const TARGET: Parts = Parts(1);
    /// Fields, cookies among them.
    pub const FIELDS: Parts = Parts(1 << 1);
    /// What the path captured.
    pub const CAPTURES: Parts = Parts(1 << 2);
    /// The connection: address and TLS.
    pub const CONNECTION: Parts = Parts(1 << 3);
    /// Who the caller proved to be.
    pub const IDENTITY: Parts = Parts(1 << 4);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Parts) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Part {
    /// Which kind it is of.
    #[must_use]
    pub fn kind(&self) -> Parts {
        match self {
            Part::Method | Part::Scheme | Part::Host | Part::Path | Part::Query(_) => Parts::TARGET,
            Part::Header(_) | Part::Cookie(_) => Parts::FIELDS,
            Part::Capture { .. } => Parts::CAPTURES,
            Part::ClientIp | Part::TlsVersion | Part::TlsServerName => Parts::CONNECTION,
            Part::Subject | Part::ProvenBy | Part::Issuer | Part::Consumer | Part::Plan => Parts::IDENTITY,
            Part::Claim(_) | Part::Roles | Part::Permissions | Part::Scopes => Parts::IDENTITY,
        }
    }

    /// Whether the request has it; a field that stands twice is there.
    pub(super) fn is_given(&self, subject: &Subject<'_>) -> bool {
        !matches!(self.read(subject), Err(Fault::Missing(_)))
    }

    /// Whether `name` is among the names that it is: roles, permissions, scopes,
    /// or a claim that is a list of texts or one text.
    pub(super) fn has<'a>(&'a self, name: &[u8], subject: &Subject<'a>) -> Result<bool, Fault<'a>> {
        let identity = subject.identity.ok_or(Fault::Missing(self))?;
        let names = match self {
            Part::Roles => &identity.roles,
            Part::Permissions => &identity.permissions,
            Part::Scopes => &identity.scopes,
            _ => {
                return match self.claim(subject)? {
                    Value::Array(list) => {
                        Ok(list.iter().any(|one| one.as_str().is_some_and(|one| one.as_bytes() == name)))
                    }
                    Value::String(one) => Ok(one.as_bytes() == name),
                    _ => Err(Fault::NotNames(self)),
                };
            }
        };
        Ok(std::str::from_utf8(name).is_ok_and(|name| names.contains(name)))
    }

    /// What is claimed there; `null` is nothing.
    fn claim<'a>(&'a self, subject: &Subject<'a>) -> Result<&'a Value, Fault<'a>> {
        let (Part::Claim(steps), Some(identity)) = (self, subject.identity) else { return Err(Fault::Missing(self)) };
        let found = match &**steps {
            [name] => identity.claim(name),
            [first, rest @ ..] => {
                let first = identity.claims.get(&**first);
                first.and_then(|first| rest.iter().try_fold(first, |value, step| value.as_object()?.get(&**step)))
            }
            [] => None,
        };
        found.filter(|value| !value.is_null()).ok_or(Fault::Missing(self))
    }

    /// Its bytes.
    pub(super) fn read<'a>(&'a self, subject: &Subject<'a>) -> Result<Cow<'a, [u8]>, Fault<'a>> {
        let text = |text: &'a str| Ok(Cow::Borrowed(text.as_bytes()));
        let maybe = |found: Option<&'a str>| found.map_or(Err(Fault::Missing(self)), text);
        match self {
            Part::Method => text(subject.head.method_text()),
            Part::Scheme => text(subject.target.scheme().as_str()),
            Part::Host => maybe(Some(subject.target.host()).filter(|host| !host.is_empty())),
            Part::Path => text(subject.target.path()),
            Part::Header(name) => self.only(subject.head.fields.values(name)),
            Part::Query(name) => {
                let pairs = query::pairs(subject.target.query().unwrap_or_default());
                self.only(pairs.filter(|(given, _)| given.clone().eq(name.bytes())).map(|(_, value)| value))
            }
            Part::Cookie(name) => self.only(cookies(subject, name)),
            Part::Capture { name, .. } => {
                let index = subject.names.iter().position(|known| **known == **name);
                maybe(index.map(|index| subject.captures.get(subject.target.path(), index)))
            }
            Part::ClientIp => Ok(Cow::Owned(subject.client_ip.to_string().into_bytes())),
            Part::TlsVersion => maybe(subject.tls.map(|tls| tls.version)),
            Part::TlsServerName => maybe(subject.tls.and_then(|tls| tls.server_name.as_deref())),
            Part::Subject => maybe(subject.identity.map(|identity| &*identity.subject)),
            Part::ProvenBy => maybe(subject.identity.map(|identity| identity.proven_by)),
            Part::Issuer => maybe(subject.identity.and_then(|identity| identity.issuer.as_deref())),
            Part::Consumer => maybe(subject.identity.and_then(|identity| identity.consumer.as_deref())),
            Part::Plan => maybe(subject.identity.and_then(|identity| identity.plan.as_deref())),
            Part::Claim(_) => match self.claim(subject)? {
                Value::String(text) => Ok(Cow::Borrowed(text.as_bytes())),
                Value::Number(number) => Ok(Cow::Owned(number.to_string().into_bytes())),
                Value::Bool(value) => text(if *value { "true" } else { "false" }),
                _ => Err(Fault::NotOne(self)),
            },
            // Sets of names, which `in` asks about.
            Part::Roles | Part::Permissions | Part::Scopes if subject.identity.is_none() => Err(Fault::Missing(self)),
            Part::Roles | Part::Permissions | Part::Scopes => Err(Fault::NotOne(self)),
        }
    }

    fn only<'a, V: Into<Cow<'a, [u8]>>>(
        &'a self,
        mut values: impl Iterator<Item = V>,
    ) -> Result<Cow<'a, [u8]>, Fault<'a>> {
        match (values.next(), values.next()) {
            (None, _) => Err(Fault::Missing(self)),
            (Some(only), None) => Ok(only.into()),
            (Some(_), Some(_)) => Err(Fault::Repeated(self)),
        }
    }
}

/// The values of the cookies of a name, in all `Cookie` fields.
fn cookies<'a>(subject: &Subject<'a>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let fields = subject.head.fields.get_all(torana_core::names::KnownName::Cookie);
    fields.flat_map(cookie::pairs).filter(move |(given, _)| *given == name.as_bytes()).map(|(_, value)| value)
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Method => f.write_str("`method`"),
            Part::Scheme => f.write_str("`scheme`"),
            Part::Host => f.write_str("`host`"),
            Part::Path => f.write_str("`path`"),
            Part::Header(name) => write!(f, "the header `{}`", name.as_str()),
            Part::Query(name) => write!(f, "the query parameter `{name}`"),
            Part::Cookie(name) => write!(f, "the cookie `{name}`"),
            Part::Capture { name, .. } => write!(f, "the capture `{name}`"),
            Part::ClientIp => f.write_str("`client.ip`"),
            Part::TlsVersion => f.write_str("`tls.version`"),
            Part::TlsServerName => f.write_str("`tls.server_name`"),
            Part::Subject => f.write_str("`identity.subject`"),
            Part::ProvenBy => f.write_str("`identity.proven_by`"),
            Part::Issuer => f.write_str("`identity.issuer`"),
            Part::Consumer => f.write_str("`identity.consumer`"),
            Part::Plan => f.write_str("`identity.plan`"),
            Part::Claim(steps) => write!(f, "the claim `{}`", steps.join(".")),
            Part::Roles => f.write_str("`identity.roles`"),
            Part::Permissions => f.write_str("`identity.permissions`"),
            Part::Scopes => f.write_str("`identity.scopes`"),
        }
    }
}
