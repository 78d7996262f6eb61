//! Headers that are not for a policy to change.

use crate::forwarded::is_forwarding_spelling;
use crate::names::{HeaderName, KnownName};

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// To the upstream.
    Request,
    /// To the client.
    Response,
}

/// Why a header is not for a policy to change, if it is not.
#[must_use]
pub fn reserved(name: &HeaderName, side: Side) -> Option<&'static str> {
    const FORWARDING: &str = "the gateway sets it from what it knows about the connection";
    let HeaderName::Known(known) = name else {
        let text = name.as_str();
        let is_owned = is_forwarding_spelling(text.as_bytes()) || text.replace('_', "-") == "x-request-id";
        return is_owned.then_some(FORWARDING);
    };
    if known.is_hop_by_hop() {
        return Some("it concerns one connection only (RFC 9110 §7.6.1)");
    }
    match (known, side) {
        (KnownName::ContentLength, _) => Some("the gateway sets it from the length of the body"),
        (KnownName::XRequestId, _) => Some("the gateway sets it, to be found again in its log"),
        (KnownName::Host, Side::Request) => Some("use `rewrite: { host: … }` in the route"),
        (KnownName::Traceparent | KnownName::Tracestate, Side::Request) => {
            Some("the gateway continues or begins traces")
        }
        (KnownName::Expect, Side::Request) => Some("the gateway answers it"),
        _ if side == Side::Request && is_forwarding_spelling(known.as_str().as_bytes()) => Some(FORWARDING),
        _ => None,
    }
}

/// Why a request header cannot belong to a policy, if it cannot: as soon as a
/// policy owns a header, it is removed from what clients send on all routes,
/// so it must be one that clients have no business with.
#[must_use]
pub fn not_ownable(name: &HeaderName) -> Option<&'static str> {
    match name {
        // What the gateway calls callers by; it is known only to be found fast.
        HeaderName::Known(KnownName::XUserEmail | KnownName::XUserId | KnownName::XUserRole) => None,
        HeaderName::Known(_) => reserved(name, Side::Request)
            .or(Some("clients send it for reasons of their own; choose a name of the gateway's, such as `X-User-Id`")),
        HeaderName::Other(_) => reserved(name, Side::Request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_need_cannot_be_owned() {
        let refused = |name: &str| not_ownable(&HeaderName::new(name).unwrap()).is_some();
        for name in ["authorization", "cookie", "host", "accept", "x-forwarded-for", "x_request_id", "connection"] {
            assert!(refused(name), "{name}");
        }
        for name in ["x-user-id", "remote-user", "x-forwarded-user"] {
            assert!(!refused(name), "{name}");
        }
    }
}
