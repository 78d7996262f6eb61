//! The PROXY protocol, versions 1 and 2: how a load balancer in front of us tells whose connection it passes on.
//! (W. Tarreau, "The PROXY protocol", versions 1 & 2, `doc/proxy-protocol.txt` of HAProxy; § below are its.)
//!
//! Sans I/O: the caller reads bytes and asks again. Whoever may open a connection can write such a header, so it
//! must only be read from trusted sources, and from those it is then required: on a listener that expects one,
//! a connection without a header is an error and never "a direct client" (§2 of the specification).
//!
//! Strict and bounded: a header has one reading or is refused, and [`MAX_HEADER`] bytes always decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, line end included (§2.1).
const MAX_V1: usize = 107;
/// The longest part after the fixed 16 bytes of version 2 accepted. The format allows 65 535; addresses take 216
/// at most, the rest is TLVs that nobody fills with more than a certificate's names.
const MAX_V2: usize = 4096;
/// With this many bytes [`parse`] never answers [`Parsed::Partial`].
pub const MAX_HEADER: usize = V2_FIXED + MAX_V2;

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// TLV with a CRC32c of the whole header (§2.2.3).
const TLV_CRC32C: u8 = 0x03;

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header; more bytes are needed.
    Partial,
    /// A header; the connection's own bytes follow it.
    Complete {
        /// Length of the header in bytes.
        consumed: usize,
        /// The client's address, IPv4 in its own form. `None` if the header does not tell: a health check of the
        /// load balancer (`LOCAL`), `UNKNOWN`, or a family without IP addresses. The socket's peer counts then.
        source: Option<SocketAddr>,
        /// The address the client connected to; `None` where `source` is.
        destination: Option<SocketAddr>,
    },
}

/// Why the bytes are no header. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It starts with something else.
    #[error("the connection does not start with a PROXY protocol header")]
    NoHeader,
    /// A header of version 1 that is malformed.
    #[error("the PROXY protocol header (version 1) is malformed")]
    MalformedV1,
    /// A header of version 2 that is malformed.
    #[error("the PROXY protocol header (version 2) is malformed")]
    MalformedV2,
    /// A header of version 2 longer than 4 KiB.
    #[error("the PROXY protocol header is longer than 4 KiB")]
    TooLong,
    /// Its checksum is wrong.
    #[error("the checksum of the PROXY protocol header is wrong")]
    Checksum,
}

/// Reads the header at the start of a connection. `input` is all bytes received so far; the answer never depends
/// on how they were split into packets.
///
/// # Errors
/// The bytes are not the beginning of a header.
pub fn parse(input: &[u8]) -> Result<Parsed, ProxyError> {
    if starts(input, V2_SIGNATURE) {
        return parse_v2(input);
    }
    if starts(input, V1_SIGNATURE) {
        return parse_v1(input);
    }
    Err(ProxyError::NoHeader)
}

/// Whether `input` starts with `signature`, or could once more of it is there.
fn starts(input: &[u8], signature: &[u8]) -> bool {
    input.iter().zip(signature).all(|(found, expected)| found == expected)
}

fn parse_v1(input: &[u8]) -> Result<Parsed, ProxyError> {
    let window = input.get(..MAX_V1).unwrap_or(input);
    let Some(end) = window.iter().position(|&byte| byte == b'\r' || byte == b'\n') else {
        return if window.len() == MAX_V1 { Err(ProxyError::MalformedV1) } else { Ok(Parsed::Partial) };
    };
    match window.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) if end + 1 < MAX_V1 => return Ok(Parsed::Partial),
        _ => return Err(ProxyError::MalformedV1),
    }
    let consumed = end + 2;
    let line = input.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProxyError::MalformedV1)?;
    let addresses = v1_addresses(line).ok_or(ProxyError::MalformedV1)?;
    let (source, destination) = addresses.unzip();
    Ok(Parsed::Complete { consumed, source, destination })
}

/// Source and destination of a line without its end; `Some(None)` for `UNKNOWN`.
fn v1_addresses(line: &str) -> Option<Option<(SocketAddr, SocketAddr)>> {
    // Exactly one space between the parts (§2.1).
    let mut parts = line.split(' ').skip(1);
    let family = parts.next()?;
    if family == "UNKNOWN" {
        // "The receiver must ignore anything presented before the CRLF."
        return Some(None);
    }
    let address = |text: &str| match family {
        // The standard library's parsers take no leading zeros, no zones and no shorthand like `127.1`.
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical()),
        _ => None,
    };
    let source = address(parts.next()?)?;
    let destination = address(parts.next()?)?;
    let source = SocketAddr::new(source, port(parts.next()?)?);
    let destination = SocketAddr::new(destination, port(parts.next()?)?);
    parts.next().is_none().then_some(Some((source, destination)))
}

/// A decimal port without sign and leading zeros.
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { text.parse().ok() } else { None }
}

/// Transport addresses of a header of version 2, by the high half of its family byte.
enum Family {
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

fn parse_v2(input: &[u8]) -> Result<Parsed, ProxyError> {
    // Checked as they come, so that garbage is refused before the caller waits for more of it.
    let proxied = match input.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(_) => return Err(ProxyError::MalformedV2),
    };
    let Some(&family) = input.get(13) else { return Ok(Parsed::Partial) };
    let Some(&[high, low]) = input.get(14..V2_FIXED) else { return Ok(Parsed::Partial) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2 {
        return Err(ProxyError::TooLong);
    }
    let consumed = V2_FIXED + length;
    let Some(header) = input.get(..consumed) else { return Ok(Parsed::Partial) };
    let nothing = Parsed::Complete { consumed, source: None, destination: None };
    if !proxied {
        // LOCAL: everything that follows, the family included, is discarded (§2.2).
        return Ok(nothing);
    }
    let (family, addresses) = match family {
        0x00 => (Family::Unspecified, 0),
        // Stream and datagram: a QUIC endpoint in front of us says the latter.
        0x11 | 0x12 => (Family::Inet, 12),
        0x21 | 0x22 => (Family::Inet6, 36),
        0x31 | 0x32 => (Family::Unix, 216),
        _ => return Err(ProxyError::MalformedV2),
    };
    let body = header.get(V2_FIXED..).ok_or(ProxyError::MalformedV2)?;
    let (body, tlvs) = body.split_at_checked(addresses).ok_or(ProxyError::MalformedV2)?;
    if !matches!(family, Family::Unspecified) {
        // Of UNSPEC the receiver ignores the rest; it need not even be TLVs.
        check_tlvs(header, tlvs)?;
    }
    let addresses = match family {
        Family::Inet => v2_addresses::<4>(body),
        Family::Inet6 => v2_addresses::<16>(body),
        Family::Unspecified | Family::Unix => return Ok(nothing),
    };
    let (source, destination) = addresses.ok_or(ProxyError::MalformedV2)?;
    Ok(Parsed::Complete { consumed, source: Some(source), destination: Some(destination) })
}

/// Two addresses of `N` bytes and two ports, in network byte order.
fn v2_addresses<const N: usize>(body: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let &[high, low, to_high, to_low] = rest else { return None };
    let address = |ip: &[u8; N], port| SocketAddr::new(IpAddr::from(*ip).to_canonical(), u16::from_be_bytes(port));
    Some((address(source, [high, low]), address(destination, [to_high, to_low])))
}

/// Checks that the TLVs fill their room exactly, and the checksum if there is one. What they say is not used.
fn check_tlvs(header: &[u8], tlvs: &[u8]) -> Result<(), ProxyError> {
    let mut rest = tlvs;
    let mut checksum = None;
    while !rest.is_empty() {
        let Some((&[kind, high, low], after)) = rest.split_first_chunk::<3>() else {
            return Err(ProxyError::MalformedV2);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = after.split_at_checked(length).ok_or(ProxyError::MalformedV2)?;
        if kind == TLV_CRC32C {
            let value = <[u8; 4]>::try_from(value).map_err(|_| ProxyError::MalformedV2)?;
            let offset = header.len() - after.len() - value.len();
            if checksum.replace((offset, u32::from_be_bytes(value))).is_some() {
                return Err(ProxyError::MalformedV2);
            }
        }
        rest = after;
    }
    match checksum {
        Some((offset, expected)) if crc32c(header, offset) != expected => Err(ProxyError::Checksum),
        _ => Ok(()),
    }
}

/// CRC32c (Castagnoli, RFC 3720 §B.4) of `header` with the four bytes at `hole` taken as zero. Bit by bit: a
/// header comes once per connection and hardly ever carries one.
fn crc32c(header: &[u8], hole: usize) -> u32 {
    let mut crc = u32::MAX;
    for (position, &byte) in header.iter().enumerate() {
        let in_hole = position.checked_sub(hole).is_some_and(|into| into < 4);
        crc ^= if in_hole { 0 } else { u32::from(byte) };
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
