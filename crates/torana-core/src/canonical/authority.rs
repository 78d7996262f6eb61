//! Host and port (RFC 3986 §3.2, narrowed to what has one reading).

use super::TargetError;
use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// A DNS name has at most 253 bytes in text (RFC 1035 §2.3.4 less the root).
const LONGEST_HOST: usize = 253;

/// For callers that keep every port: 0 is never a valid port.
pub(super) const NO_DEFAULT_PORT: u16 = 0;

pub(super) struct AuthorityParts {
    /// How many bytes of the canonical authority are the host.
    pub(super) host_len: usize,
    /// The port, unless it is the default.
    pub(super) port: Option<u16>,
}

const INVALID: u8 = 0;
const LOWER: u8 = 1;
const UPPER: u8 = 2;
const DOT: u8 = 3;
const COLON: u8 = 4;

/// Wider than DNS by the underscore, which container networks use, and far
/// narrower than RFC 3986 `reg-name`: nobody names hosts with `!` or `%41`.
#[expect(clippy::cast_possible_truncation, reason = "counts to 255")]
const CLASS: [u8; 256] = {
    let mut table = [INVALID; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'.' => DOT,
            b':' => COLON,
            _ => INVALID,
        };
        byte += 1;
    }
    table
};

/// Replaces `out` by the canonical `host[:port]` of `raw`.
pub(super) fn canonical_authority(
    raw: &[u8],
    default_port: u16,
    out: &mut String,
) -> Result<AuthorityParts, TargetError> {
    out.clear();
    let host_end = if raw.first() == Some(&b'[') { read_ipv6(raw, out)? } else { read_name(raw, out)? };
    let host_len = out.len();
    let port = match raw.get(host_end..) {
        None | Some([]) => None,
        Some([b':', digits @ ..]) => read_port(digits)?,
        // Only after `]`: a name ends at a colon or at the end.
        Some(_) => return Err(TargetError::HostInvalid),
    };
    let port = port.filter(|&port| port != default_port);
    if let Some(port) = port {
        out.push(':');
        out.push_str(itoa::Buffer::new().format(port));
    }
    Ok(AuthorityParts { host_len, port })
}

/// Replaces `out` by the canonical form of `raw`, a host without port: the
/// rules a request's host is read by, for hosts written in configuration.
///
/// # Errors
/// As for a request's host; [`TargetError::PortInvalid`] if there is a port.
pub fn canonical_host(raw: &[u8], out: &mut String) -> Result<(), TargetError> {
    out.clear();
    let end = if raw.first() == Some(&b'[') { read_ipv6(raw, out)? } else { read_name(raw, out)? };
    if end == raw.len() { Ok(()) } else { Err(TargetError::PortInvalid) }
}

/// Returns where the name ends in `raw`.
fn read_name(raw: &[u8], out: &mut String) -> Result<usize, TargetError> {
    let mut end = raw.len();
    let mut has_upper = false;
    // As if a dot stood before the name: its first label may not be empty.
    let mut previous = DOT;
    for (index, &byte) in raw.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        match class {
            LOWER => {}
            UPPER => has_upper = true,
            DOT if previous != DOT => {}
            COLON => {
                end = index;
                break;
            }
            _ => return Err(invalid_host(raw)),
        }
        previous = class;
    }
    let name = raw.get(..end).unwrap_or_default();
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > LONGEST_HOST {
        return Err(TargetError::HostInvalid);
    }
    // The table admits ASCII only.
    out.push_str(std::str::from_utf8(name).map_err(|_| TargetError::HostInvalid)?);
    if has_upper {
        out.make_ascii_lowercase();
    }
    Ok(end)
}

#[cold]
fn invalid_host(raw: &[u8]) -> TargetError {
    if raw.contains(&b'@') { TargetError::UserInfo } else { TargetError::HostInvalid }
}

fn read_ipv6(raw: &[u8], out: &mut String) -> Result<usize, TargetError> {
    let close = raw.iter().position(|&byte| byte == b']').ok_or(TargetError::HostInvalid)?;
    let text = raw.get(1..close).unwrap_or_default();
    let address: Ipv6Addr =
        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| invalid_host(raw))?;
    // `Display` for `Ipv6Addr` follows RFC 5952; writing to a String cannot
    // fail.
    let _ = write!(out, "[{address}]");
    Ok(close + 1)
}

/// The digits after the colon; none at all mean the default
/// (RFC 3986 §3.2.3).
fn read_port(digits: &[u8]) -> Result<Option<u16>, TargetError> {
    if digits.is_empty() {
        return Ok(None);
    }
    if digits.len() > 5 {
        return Err(port_error(digits));
    }
    let mut port = 0u32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(port_error(digits));
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    match u16::try_from(port) {
        Ok(0) | Err(_) => Err(TargetError::PortInvalid),
        Ok(port) => Ok(Some(port)),
    }
}

/// `user:secret@host` looks like a host and a bad port up to here.
#[cold]
fn port_error(digits: &[u8]) -> TargetError {
    if digits.contains(&b'@') { TargetError::UserInfo } else { TargetError::PortInvalid }
}
