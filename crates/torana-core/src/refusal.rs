//! Refusals: everything the gateway may answer on its own account, declared.
//!
//! A [`Refusal`] is declared once, as a constant beside the code that makes
//! it; a [`Rejection`] is one occurrence on one request. The cause goes to the
//! log, only [`Refusal::message`] and [`Rejection::detail`] go on the wire.
//! Error-code pages, metrics labels and log reasons are derived from the
//! declarations.

use crate::head::{Fields, Status};
use crate::names::HeaderName;
use std::borrow::Cow;
use std::fmt;

/// Who made the request fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The caller sent something that cannot be accepted.
    Caller,
    /// The gateway itself: a limit, a policy, missing capacity. Never charged
    /// to an endpoint's health.
    Gateway,
    /// The upstream failed.
    Upstream,
}

/// Whether the same request may succeed when sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It will fail the same way.
    Never,
    /// It may, if the request is safe to repeat.
    IfSafe,
    /// Nothing was done with it: it may be repeated whatever it was.
    Always,
}

/// One declared reason to refuse or fail a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Stable, documented, `area.reason`: `route.not_found`.
    pub code: &'static str,
    /// Status of the reply.
    pub status: Status,
    /// Who is to blame.
    pub origin: Origin,
    /// Whether trying again can help.
    pub retry: Retry,
    /// What the caller may read. One sentence, no internals.
    pub message: &'static str,
    /// What the `error` member says instead of [`message`](Self::message),
    /// where clients know it by its words.
    pub error: Option<&'static str>,
    /// The refusal that the caller is told of instead: what exactly is wrong
    /// with a credential is for the log, not for who tries them.
    pub told_as: Option<&'static Refusal>,
}

impl Refusal {
    /// What the caller is told of.
    #[must_use]
    pub fn told(&'static self) -> &'static Refusal {
        self.told_as.unwrap_or(self)
    }
}

/// One occurrence of a refusal.
pub struct Rejection {
    /// What was declared.
    pub refusal: &'static Refusal,
    /// What happened exactly, for the log only.
    pub cause: Option<Box<str>>,
    /// What the caller may read after [`Refusal::message`]: sentences that the
    /// configuration decides, never the request.
    pub detail: Option<Box<str>>,
    /// Status of the reply, where the configuration sets it instead of
    /// [`Refusal::status`].
    pub status: Option<Status>,
    /// The same for callers that speak gRPC.
    pub grpc_status: Option<u8>,
    /// Headers the reply must carry, such as `Allow` or `Retry-After`.
    pub fields: Option<Box<Fields>>,
}

impl Rejection {
    /// An occurrence of `refusal`.
    #[must_use]
    pub const fn new(refusal: &'static Refusal) -> Rejection {
        Rejection { refusal, cause: None, detail: None, status: None, grpc_status: None, fields: None }
    }

    /// Adds what happened exactly, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Rejection {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// Sets the status of the reply.
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Rejection {
        self.status = Some(status);
        self
    }

    /// Adds what the caller may read besides.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Box<str>>) -> Rejection {
        self.detail = Some(detail.into());
        self
    }

    /// All the caller may read.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        match &self.detail {
            Some(detail) => format!("{} {detail}", self.refusal.told().message).into(),
            None => self.refusal.told().message.into(),
        }
    }

    /// Adds a header to the reply. A value that cannot stand in a header is
    /// left out: the refusal itself matters more.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<HeaderName>, value: &[u8]) -> Rejection {
        // An unwritable value was made by us from a stranger's bytes.
        let _ = self.fields.get_or_insert_default().append(name, value);
        self
    }
}

impl From<&'static Refusal> for Rejection {
    fn from(refusal: &'static Refusal) -> Self {
        Rejection::new(refusal)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rejection({}", self.refusal.code)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        f.write_str(")")
    }
}

/// Declares refusals as constants and lists them, so that a document or a
/// test can walk them all.
///
/// ```
/// torana_core::refusals! {
///     /// The caller is too slow.
///     SLOW = "limit.slow" 408 Caller Never "The request took too long to arrive.";
/// }
/// assert_eq!(REFUSALS[0].code, SLOW.code);
/// ```
///
/// `error "…"` behind the message gives the reply's `error` member other words,
/// `as OTHER` tells the caller of another refusal and keeps this one for the
/// log.
#[macro_export]
macro_rules! refusals {
    (@or_none) => { None };
    (@or_none $value:expr) => { Some($value) };
    ($(
        $(#[$doc:meta])*
        $name:ident = $code:literal $status:literal $origin:ident $retry:ident $message:literal
        $(error $error:literal)? $(as $told:ident)?;
    )+) => {
        $(
            $(#[$doc])*
            pub static $name: $crate::refusal::Refusal = $crate::refusal::Refusal {
                code: $code,
                status: match $crate::head::Status::new($status) {
                    Some(status) => status,
                    None => panic!("status out of range"),
                },
                origin: $crate::refusal::Origin::$origin,
                retry: $crate::refusal::Retry::$retry,
                message: $message,
                error: $crate::refusals!(@or_none $($error)?),
                told_as: $crate::refusals!(@or_none $(&$told)?),
            };
        )+
        /// Every refusal declared here.
        pub static REFUSALS: &[&$crate::refusal::Refusal] = &[$(&$name),+];
    };
}
