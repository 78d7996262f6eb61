//! `grpc.health.v1.Health/Check` by hand: one string out, one enum in.
//!
//! ```text
//! message HealthCheckRequest  { string service = 1; }
//! message HealthCheckResponse { ServingStatus status = 1; }
//! ```
//!
//! Two fields do not make a code generator worth its build. Sources: the gRPC
//! over HTTP/2 protocol (`PROTOCOL-HTTP2.md`), the GRPC Health Checking
//! Protocol (`health-checking.md`), and the Protocol Buffers encoding.

/// Where the check is asked for.
pub(super) const PATH: &[u8] = b"/grpc.health.v1.Health/Check";

/// `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
}

impl Answer {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Answer::Unknown => "UNKNOWN",
            Answer::Serving => "SERVING",
            Answer::NotServing => "NOT_SERVING",
            Answer::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// The request as one gRPC message: no compression, length, the message. An
/// empty service is the default value and so left out.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 16);
    if !service.is_empty() {
        message.push(1 << 3 | LENGTH);
        write_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    // A name of 4 GiB does not come out of a configuration.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// The answer in the body of a reply: one uncompressed message.
pub(super) fn response(body: &[u8]) -> Option<Answer> {
    let (&[compressed, a, b, c, d], message) = body.split_first_chunk::<5>()?;
    if compressed != 0 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return None;
    }
    // Absent is the enum's zero; the last of several wins; a value from a
    // later version of the protocol is none we know to mean "serving".
    let mut status = 0;
    let mut rest = message;
    while !rest.is_empty() {
        let key = read_varint(&mut rest)?;
        match ((key >> 3), u8::try_from(key & 7).ok()?) {
            (0, _) => return None,
            (1, VARINT) => status = read_varint(&mut rest)?,
            (1, _) => return None,
            (_, VARINT) => drop(read_varint(&mut rest)?),
            (_, FIXED64) => rest = rest.get(8..)?,
            (_, FIXED32) => rest = rest.get(4..)?,
            (_, LENGTH) => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(match status {
        1 => Answer::Serving,
        2 => Answer::NotServing,
        3 => Answer::ServiceUnknown,
        _ => Answer::Unknown,
    })
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Ten bytes at most; what does not fit 64 bits is dropped, as decoders do.
fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_framed_messages() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0], &length[..], message].concat()
    }

    #[test]
    fn statuses_are_read() {
        let read = |message: &[u8]| response(&framed(message));
        assert_eq!(read(&[]), Some(Answer::Unknown));
        assert_eq!(read(&[8, 1]), Some(Answer::Serving));
        assert_eq!(read(&[8, 2]), Some(Answer::NotServing));
        assert_eq!(read(&[8, 3]), Some(Answer::ServiceUnknown));
        assert_eq!(read(&[8, 77]), Some(Answer::Unknown));
        // The last one wins, and varints may be padded.
        assert_eq!(read(&[8, 2, 8, 0x81, 0x00]), Some(Answer::Serving));
    }

    #[test]
    fn fields_of_later_versions_are_skipped() {
        let message = [0x12, 2, b'h', b'i', 0x18, 5, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4, 8, 1];
        assert_eq!(response(&framed(&message)), Some(Answer::Serving));
    }

    #[test]
    fn broken_messages_are_refused() {
        for body in [&b""[..], &[0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 1, 8, 1]] {
            assert_eq!(response(body), None, "{body:?}");
        }
        for message in
            [&[8][..], &[0x0a, 1, 1], &[0x12, 9, 1], &[0x21, 1], &[0, 0], &[0x13, 8, 1], &[8, 0x80], &[0xff; 11]]
        {
            assert_eq!(response(&framed(message)), None, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = response(&body);
            let _ = response(&framed(&body));
        }

        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            prop_assert!(out.len() <= 10);
            prop_assert_eq!(read_varint(&mut &out[..]), Some(value));
        }
    }
}
