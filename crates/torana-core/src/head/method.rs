use std::fmt;

/// A request method (RFC 9110 §9). Case-sensitive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH` (RFC 5789)
    Patch,
    /// Any other token; its text stands in the head.
    Extension,
}

impl Method {
    /// The methods with a name, in order.
    pub const NAMED: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Connect,
        Method::Options,
        Method::Trace,
        Method::Patch,
    ];

    /// How many variants there are; `method as usize` is below it.
    pub const COUNT: usize = 10;

    /// The method written as `text`; anything unknown is an extension.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Extension,
        }
    }

    /// The method's text; `_OTHER` for an extension (the metrics label of
    /// OpenTelemetry's HTTP conventions, so strangers cannot mint label values).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Extension => "_OTHER",
        }
    }

    /// Whether repeating the request has the effect of sending it once
    /// (RFC 9110 §9.2.2). Unknown methods are not.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace)
    }

    /// Whether the method only reads (RFC 9110 §9.2.1).
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of methods, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MethodSet(u16);

impl MethodSet {
    /// The set without members.
    pub const EMPTY: MethodSet = MethodSet(0);

    /// Adds `method`.
    pub const fn insert(&mut self, method: Method) {
        self.0 |= 1 << (method as u8);
    }

    /// Whether `method` is a member.
    #[must_use]
    pub const fn contains(self, method: Method) -> bool {
        self.0 & (1 << (method as u8)) != 0
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: MethodSet) -> MethodSet {
        MethodSet(self.0 | other.0)
    }

    /// The members in order.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        Method::NAMED.into_iter().filter(move |method| self.contains(*method))
    }
}

impl FromIterator<Method> for MethodSet {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        let mut set = MethodSet::EMPTY;
        for method in methods {
            set.insert(method);
        }
        set
    }
}
