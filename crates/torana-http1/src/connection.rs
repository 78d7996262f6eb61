use crate::framing::Framing;
use torana_core::head::{Fields, Version};
use torana_core::names::KnownName;

/// What a message written by us says about its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persist {
    /// It stays open for the next message.
    KeepAlive,
    /// It ends with this message: `Connection: close`.
    Close,
    /// `Connection: upgrade`; the fields' `Upgrade` is written. For requests
    /// that ask, for 101, and for 426.
    Upgrade,
}

/// Whether the sender means to keep the connection (RFC 9112 §9.3).
///
/// A gateway answers in the place of the origin, so the rule against
/// persistent HTTP/1.0 connections through *proxies* (whose client could not
/// know whether `keep-alive` was meant for it) does not bind here.
pub(crate) fn persistent(version: Version, fields: &Fields) -> bool {
    if !fields.contains(KnownName::Connection) {
        return version != Version::Http10;
    }
    let mut keep = version != Version::Http10;
    for option in fields.list(KnownName::Connection) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep
}

/// What the bytes behind a request are, known once its reply is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// The next request.
    Request,
    /// The tunnelled protocol's.
    Tunnel,
    /// Nobody's: close the connection after the reply.
    Nothing,
}

/// Decides what the bytes behind a request belong to.
///
/// A request that may leave HTTP ([`request::may_leave_http`]) makes them
/// undecidable until its reply is known, so the caller leaves them in its
/// buffer, neither parses nor forwards them, and asks here:
///
/// * the reply switches protocols: they are the tunnel's;
/// * it does not, and nothing has arrived yet: the connection goes on;
/// * it does not, and bytes are waiting: a client that counted on the switch
///   sent another protocol, perhaps with an attacker's bytes in it, and
///   reading that as requests is an attack (CVE-2026-2833, CVE-2025-64763,
///   RFC 9110 §7.8 and draft-ietf-httpbis-optimistic-upgrade): close.
///
/// [`request::may_leave_http`]: crate::request::may_leave_http
#[must_use]
pub fn behind(may_leave_http: bool, reply: Framing, persist: Persist, waiting: usize) -> Behind {
    match (reply, persist) {
        (Framing::Tunnel, _) if may_leave_http => Behind::Tunnel,
        (Framing::Tunnel | Framing::UntilClose, _) | (_, Persist::Close) => Behind::Nothing,
        _ if may_leave_http && waiting > 0 => Behind::Nothing,
        _ => Behind::Request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_an_upgrade_are_never_requests() {
        use Persist::{Close, KeepAlive};
        assert_eq!(behind(true, Framing::Tunnel, Persist::Upgrade, 10), Behind::Tunnel);
        assert_eq!(behind(true, Framing::Length(0), KeepAlive, 10), Behind::Nothing);
        assert_eq!(behind(true, Framing::Length(0), KeepAlive, 0), Behind::Request);
        assert_eq!(behind(false, Framing::Length(0), KeepAlive, 10), Behind::Request);
        assert_eq!(behind(false, Framing::Length(0), Close, 10), Behind::Nothing);
        assert_eq!(behind(false, Framing::UntilClose, KeepAlive, 10), Behind::Nothing);
        // A reply that switches although nobody asked.
        assert_eq!(behind(false, Framing::Tunnel, KeepAlive, 0), Behind::Nothing);
    }
}
