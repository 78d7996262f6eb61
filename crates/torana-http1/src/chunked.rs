use crate::error::BodyError;
use crate::limits::MAX_LENGTH;

/// Digits of a chunk size, leading zeros included: enough for 64 bits, and a
/// sender of more means to overflow or to keep us reading.
const MAX_DIGITS: u8 = 16;

/// How many bytes of extensions beyond the bytes of data are tolerated. In
/// proportion rather than absolute, so that a long stream which signs every
/// chunk passes, and one-byte chunks with a kilobyte of extension do not
/// (CVE-2023-39326, CVE-2022-41721 class).
const EXTENSION_CREDIT: u64 = 16 * 1024;

/// A chunk's first line, byte by byte: `1*HEXDIG [chunk-ext] CRLF`
/// (RFC 9112 §7.1). No blank is accepted anywhere, although the grammar has
/// `BWS` around extensions: parsers disagree about `5 ;x` and `5 \r\n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SizeLine {
    size: u64,
    digits: u8,
    at: At,
    /// Extension bytes not yet paid for by data.
    excess: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Digits,
    /// Behind `;`: a name must follow.
    NameStart,
    Name,
    /// Behind `=`: a token or a quoted string must follow.
    ValueStart,
    Value,
    Quoted,
    /// Behind `\` in a quoted string.
    Escaped,
    QuoteEnd,
    LineFeed,
}

impl SizeLine {
    pub(crate) const fn new() -> SizeLine {
        SizeLine { size: 0, digits: 0, at: At::Digits, excess: 0 }
    }

    /// Starts over for the next chunk.
    pub(crate) const fn restart(&mut self) {
        self.size = 0;
        self.digits = 0;
        self.at = At::Digits;
    }

    /// Takes bytes up to the end of the line. Answers how many, and the chunk's
    /// size when the line is complete.
    pub(crate) fn take_from(&mut self, buf: &[u8]) -> Result<(usize, Option<u64>), BodyError> {
        for (at, &byte) in buf.iter().enumerate() {
            if let Some(size) = self.take(byte)? {
                return Ok((at.saturating_add(1), Some(size)));
            }
        }
        Ok((buf.len(), None))
    }

    /// Takes one byte; answers the chunk's size when the line is complete.
    fn take(&mut self, byte: u8) -> Result<Option<u64>, BodyError> {
        self.at = match self.at {
            At::Digits => return self.digit(byte).map(|()| None),
            At::LineFeed if byte == b'\n' => {
                self.excess = self.excess.saturating_sub(self.size);
                return Ok(Some(self.size));
            }
            At::LineFeed => return Err(BodyError::ChunkLineInvalid),
            at => {
                let next = extension(at, byte)?;
                self.excess = self.excess.saturating_add(1);
                if self.excess > EXTENSION_CREDIT {
                    return Err(BodyError::ChunkExtensionTooLong);
                }
                next
            }
        };
        Ok(None)
    }

    fn digit(&mut self, byte: u8) -> Result<(), BodyError> {
        let value = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            b'A'..=b'F' => byte.wrapping_sub(b'A').wrapping_add(10),
            _ if self.digits == 0 => return Err(BodyError::ChunkSizeInvalid),
            b'\r' => {
                self.at = At::LineFeed;
                return Ok(());
            }
            b';' => {
                self.at = At::NameStart;
                return Ok(());
            }
            b'\n' => return Err(BodyError::ChunkLineInvalid),
            _ => return Err(BodyError::ChunkSizeInvalid),
        };
        self.digits = self.digits.saturating_add(1);
        self.size = (self.size << 4) | u64::from(value);
        if self.digits > MAX_DIGITS || self.size > MAX_LENGTH {
            return Err(BodyError::ChunkSizeTooLarge);
        }
        Ok(())
    }
}

/// `*( ";" chunk-ext-name [ "=" ( token / quoted-string ) ] )` (RFC 9112
/// §7.1.1). Extensions are read strictly and forgotten. A line break inside
/// one, quoted or not, is what smuggling through extensions is made of: only
/// CR LF outside quotes ends the line.
fn extension(at: At, byte: u8) -> Result<At, BodyError> {
    let token = torana_core::names::is_token_byte(byte);
    let next = match (at, byte) {
        (At::NameStart | At::Name, _) if token => At::Name,
        (At::Name, b'=') => At::ValueStart,
        (At::ValueStart | At::Value, _) if token => At::Value,
        (At::ValueStart, b'"') => At::Quoted,
        (At::Quoted, b'"') => At::QuoteEnd,
        (At::Quoted, b'\\') => At::Escaped,
        // qdtext and quoted-pair (RFC 9110 §5.6.4): no control but tab.
        (At::Quoted | At::Escaped, b'\t' | b' '..=0x7e | 0x80..) => At::Quoted,
        (At::Name | At::Value | At::QuoteEnd, b';') => At::NameStart,
        (At::Name | At::Value | At::QuoteEnd, b'\r') => At::LineFeed,
        (_, b'\n' | b'\r') => return Err(BodyError::ChunkLineInvalid),
        _ => return Err(BodyError::ChunkExtensionInvalid),
    };
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(line: &[u8]) -> Result<Option<u64>, BodyError> {
        let mut state = SizeLine::new();
        let mut last = None;
        for &byte in line {
            assert_eq!(last, None, "bytes behind the line");
            last = state.take(byte)?;
        }
        Ok(last)
    }

    #[test]
    fn sizes_are_hexadecimal_digits() {
        assert_eq!(size(b"0\r\n"), Ok(Some(0)));
        assert_eq!(size(b"aF\r\n"), Ok(Some(0xaf)));
        assert_eq!(size(b"000000000000000A\r\n"), Ok(Some(10)));
        assert_eq!(size(b"7fffffffffffffff\r\n"), Ok(Some(MAX_LENGTH)));
        assert_eq!(size(b"5\r"), Ok(None));
    }

    #[test]
    fn chunk_sizes_that_overflow_are_refused() {
        for line in ["8000000000000000\r\n", "FFFFFFFFFFFFFFFF\r\n", "00000000000000005\r\n", "10000000000000000\r\n"] {
            assert_eq!(size(line.as_bytes()), Err(BodyError::ChunkSizeTooLarge), "{line:?}");
        }
    }

    #[test]
    fn chunk_sizes_of_any_other_form_are_refused() {
        for line in [
            "\r\n", "0x5\r\n", "+5\r\n", "-5\r\n", " 5\r\n", "5 \r\n", "5\t\r\n", "g\r\n", ";x\r\n", "5_0\r\n",
            "5,\r\n", "\n", "5\0\r\n",
        ] {
            assert_eq!(size(line.as_bytes()), Err(BodyError::ChunkSizeInvalid), "{line:?}");
        }
        for line in [
            "5\n",
            "5\r\r\n",
            "5\rX",
            "5;a\n",
            "5;a\r\r\n",
            "5;a=\"\n\"\r\n",
            "5;a=\"\r\n\"\r\n",
            "5;a=\"\\\n\"\r\n",
            "5;\n",
            "5;\r\n",
            "5;a=\r\n",
        ] {
            assert_eq!(size(line.as_bytes()), Err(BodyError::ChunkLineInvalid), "{line:?}");
        }
    }

    #[test]
    fn extensions_are_skipped_if_well_formed() {
        for line in ["5;a\r\n", "5;a=b\r\n", "5;a=\"b;\\\"c d\"\r\n", "5;a=\"\";b;c=d\r\n"] {
            assert_eq!(size(line.as_bytes()), Ok(Some(5)), "{line:?}");
        }
        for line in [
            "5; a\r\n",
            "5;a =b\r\n",
            "5;a= b\r\n",
            "5;;\r\n",
            "5;=\r\n",
            "5;a=\"b\"c\r\n",
            "5;a=\"\0\"\r\n",
            "5;a\0\r\n",
            "5;a=b=c\r\n",
        ] {
            assert_eq!(size(line.as_bytes()), Err(BodyError::ChunkExtensionInvalid), "{line:?}");
        }
    }

    #[test]
    fn extensions_are_bounded_by_the_data_they_come_with() {
        let long = format!("1;{}\r\n", "x".repeat(17_000));
        assert_eq!(size(long.as_bytes()), Err(BodyError::ChunkExtensionTooLong));
        // A signature on each chunk of a long stream passes; on each byte it does not.
        let run = |chunk: &str, times: usize| {
            let mut state = SizeLine::new();
            for _ in 0..times {
                for &byte in chunk.as_bytes() {
                    state.take(byte)?;
                }
                state.restart();
            }
            Ok(())
        };
        let signature = "s".repeat(100);
        assert_eq!(run(&format!("1000;sig={signature}\r\n"), 10_000), Ok(()));
        assert_eq!(run(&format!("1;sig={signature}\r\n"), 10_000), Err(BodyError::ChunkExtensionTooLong));
    }
}
