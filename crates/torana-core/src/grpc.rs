//! What the gateway knows of gRPC without speaking it: who does, how long a
//! call may take, and a reply that is nothing but a status.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use crate::body::Body;
use crate::head::{Fields, Status};
use crate::names::KnownName;
use crate::reply::Reply;
use std::time::Duration;

/// The media type to answer with if the message with these fields is gRPC or
/// gRPC-Web.
#[must_use]
pub fn media_type(fields: &Fields) -> Option<&'static str> {
    let value = fields.get(KnownName::ContentType)?;
    let rest = value.strip_prefix(b"application/grpc")?;
    match rest.first() {
        None | Some(b'+' | b';') => Some("application/grpc"),
        Some(b'-') if rest.starts_with(b"-web-text") => Some("application/grpc-web-text"),
        Some(b'-') if rest.starts_with(b"-web") => Some("application/grpc-web"),
        Some(_) => None,
    }
}

/// A reply with this status and no messages: its trailers are its head.
#[must_use]
pub fn status_only(media_type: &'static str, code: u8, message: &str) -> Reply {
    let mut reply = Reply::with_body(Status::OK, media_type, Body::Empty);
    reply.head.fields.set_own(KnownName::GrpcStatus, code.to_string().as_bytes());
    let mut encoded = Vec::with_capacity(message.len());
    push_message(message, &mut encoded);
    reply.head.fields.set_own(KnownName::GrpcMessage, &encoded);
    reply
}

/// Percent-encodes what is not printable ASCII ("Status-Message").
fn push_message(message: &str, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for byte in message.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(byte),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// The names of the status codes; a code is a position in here.
pub const STATUSES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// The most digits a timeout has.
const MOST_DIGITS: usize = 8;

/// Reads a `grpc-timeout`: at most eight digits and a unit. `None` if it is none.
#[must_use]
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MOST_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes a `grpc-timeout`, rounded down, in the finest unit that eight digits
/// have room for; never zero, which some servers take for none.
#[must_use]
pub fn timeout(time: Duration) -> String {
    const MOST: u128 = 99_999_999;
    match (time.as_micros(), time.as_millis(), u128::from(time.as_secs())) {
        (micros, ..) if micros <= MOST => format!("{}u", micros.max(1)),
        (_, millis, _) if millis <= MOST => format!("{millis}m"),
        (.., seconds) => format!("{}S", seconds.min(MOST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        let reply = status_only("application/grpc", 14, "50 % of ü\n");
        assert_eq!(reply.head.fields.get(KnownName::GrpcMessage), Some(&b"50 %25 of %C3%BC%0A"[..]));
        assert_eq!(reply.head.fields.get(KnownName::GrpcStatus), Some(&b"14"[..]));
    }

    #[test]
    fn timeouts_of_every_unit_and_nothing_else() {
        let read = |text: &str| parse_timeout(text.as_bytes());
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("4S"), Some(Duration::from_secs(4)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("00000005u"), Some(Duration::from_micros(5)));
        assert_eq!(read("6n"), Some(Duration::from_nanos(6)));
        assert_eq!(read("0S"), Some(Duration::ZERO));
        for bad in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1 S", "1Ss", "+1S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn written_timeouts_are_read_again_and_never_longer() {
        assert_eq!(timeout(Duration::from_nanos(2_500_999)), "2500u");
        assert_eq!(timeout(Duration::ZERO), "1u");
        assert_eq!(timeout(Duration::from_secs(100)), "100000m");
        assert_eq!(timeout(Duration::from_secs(200_000)), "200000S");
        assert_eq!(timeout(Duration::MAX), "99999999S");
        for micros in [1, 99_999_999, 100_000_000, 99_999_999_999, 100_000_000_001] {
            let time = Duration::from_micros(micros);
            let read = parse_timeout(timeout(time).as_bytes()).unwrap();
            assert!(read <= time && time - read < Duration::from_secs(1), "{micros}");
        }
    }

    #[test]
    fn who_speaks_it() {
        let of = |value: &str| {
            let mut fields = Fields::default();
            fields.append(KnownName::ContentType, value.as_bytes()).unwrap();
            media_type(&fields)
        };
        assert_eq!(of("application/grpc+proto"), Some("application/grpc"));
        assert_eq!(of("application/grpc-web-text"), Some("application/grpc-web-text"));
        assert_eq!(of("application/grpcx"), None);
        assert_eq!(of("application/json"), None);
    }
}
