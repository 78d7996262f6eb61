use crate::error::FramingError;
use crate::limits::MAX_LENGTH;
use torana_core::head::{Fields, Version};
use torana_core::names::{KnownName, NameSet};

/// Where a message ends (RFC 9112 §6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// With its head.
    None,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk and the trailer section.
    Chunked,
    /// With the connection. Replies only.
    UntilClose,
    /// Never as HTTP: the connection now carries another protocol (101, or a
    /// successful CONNECT).
    Tunnel,
}

/// What the framing fields of a message announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

/// The fields that say where a message ends.
pub(crate) const FRAMING: NameSet = NameSet::of(&[KnownName::ContentLength, KnownName::TransferEncoding]);

/// Reads `Content-Length` and `Transfer-Encoding`. Everything that RFC 9112
/// §6.3 calls an error, and everything it lets a recipient repair, is an error.
pub(crate) fn announced(version: Version, fields: &Fields) -> Result<Announced, FramingError> {
    if !fields.contains_any(FRAMING) {
        return Ok(Announced::Nothing);
    }
    if fields.contains(KnownName::TransferEncoding) {
        // In this order: that a 1.0 sender knows no codings is the more basic fault.
        if version == Version::Http10 {
            return Err(FramingError::EncodingInHttp10);
        }
        if fields.contains(KnownName::ContentLength) {
            return Err(FramingError::LengthAndEncoding);
        }
        return transfer_encoding(fields).map(|()| Announced::Chunked);
    }
    match fields.get_single(KnownName::ContentLength) {
        Ok(Some(value)) => content_length(value).map(Announced::Length),
        Ok(None) => Ok(Announced::Nothing),
        Err(_) => Err(FramingError::LengthRepeated),
    }
}

/// A `Content-Length` value: digits and nothing else (RFC 9110 §8.6).
///
/// Leading zeros are grammatical, sent by some devices and read as decimal by
/// every HTTP parser; what is forwarded is written anew without them.
fn content_length(value: &[u8]) -> Result<u64, FramingError> {
    if value.contains(&b',') {
        return Err(FramingError::LengthRepeated);
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::LengthInvalid);
    }
    let mut length: u64 = 0;
    for &digit in value {
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(u64::from(digit.wrapping_sub(b'0'))))
            .ok_or(FramingError::LengthTooLarge)?;
    }
    if length > MAX_LENGTH { Err(FramingError::LengthTooLarge) } else { Ok(length) }
}

/// Accepts one field with the one member `chunked` (RFC 9112 §6.1, §7). The
/// other registered codings are not worth their ambiguity: nobody sends them.
fn transfer_encoding(fields: &Fields) -> Result<(), FramingError> {
    if let Ok(Some(value)) = fields.get_single(KnownName::TransferEncoding)
        && value.eq_ignore_ascii_case(b"chunked")
    {
        return Ok(());
    }
    let mut unknown = false;
    for value in fields.get_all(KnownName::TransferEncoding) {
        for member in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if member.is_empty() || !member.iter().copied().all(torana_core::names::is_token_byte) {
                return Err(FramingError::EncodingInvalid);
            }
            unknown |= !member.eq_ignore_ascii_case(b"chunked");
        }
    }
    Err(if unknown { FramingError::EncodingUnknown } else { FramingError::EncodingInvalid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_digits() {
        assert_eq!(content_length(b"0"), Ok(0));
        assert_eq!(content_length(b"00042"), Ok(42));
        assert_eq!(content_length(b"9223372036854775807"), Ok(MAX_LENGTH));
        for large in ["9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999999"]
        {
            assert_eq!(content_length(large.as_bytes()), Err(FramingError::LengthTooLarge), "{large}");
        }
        for bad in ["", "+5", "-5", "0x5", "5 5", "5\t", "5.0", "1e3", "5;", "٥", "0b1", "5_0", "\"5\""] {
            assert_eq!(content_length(bad.as_bytes()), Err(FramingError::LengthInvalid), "{bad}");
        }
        for list in ["5,5", "5, 5", ",5", "5,"] {
            assert_eq!(content_length(list.as_bytes()), Err(FramingError::LengthRepeated), "{list}");
        }
    }
}
