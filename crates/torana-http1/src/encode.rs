use crate::connection::Persist;
use crate::error::EncodeError;
use crate::framing::Framing;
use crate::trailers::is_forbidden;
use torana_core::head::Fields;
use torana_core::names::{KnownName, NameSet};

/// Fields that only the codec writes, from its own state: whatever the caller
/// passes under these names is left out, so framing cannot be forged.
const OWNED: NameSet = NameSet::of(&[
    KnownName::Connection,
    KnownName::ContentLength,
    KnownName::KeepAlive,
    KnownName::ProxyConnection,
    KnownName::TransferEncoding,
    KnownName::Upgrade,
]);

/// What a written head means for what follows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// How the body must be written; may differ from what was asked for
    /// (no chunked coding towards HTTP/1.0, no body to HEAD).
    pub framing: Framing,
    /// Whether the connection stays open behind the message.
    pub persist: Persist,
}

/// Writes the fields that are the caller's, then the codec's own and the empty
/// line.
pub(crate) fn write_fields(
    out: &mut Vec<u8>,
    fields: &Fields,
    announced: Framing,
    persist: Persist,
    name_keep_alive: bool,
) {
    let mut skip = OWNED;
    if persist == Persist::Upgrade {
        skip.remove(KnownName::Upgrade);
    }
    fields.write_lines(out, skip);
    match announced {
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose | Framing::Tunnel => {}
    }
    match persist {
        Persist::Close => out.extend_from_slice(b"connection: close\r\n\r\n"),
        Persist::Upgrade => out.extend_from_slice(b"connection: upgrade\r\n\r\n"),
        Persist::KeepAlive if name_keep_alive => out.extend_from_slice(b"connection: keep-alive\r\n\r\n"),
        Persist::KeepAlive => out.extend_from_slice(b"\r\n"),
    }
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What stands around one piece of body data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    head: [u8; 18],
    head_len: u8,
    /// Bytes to write behind the data.
    pub tail: &'static [u8],
}

impl Frame {
    const EMPTY: Frame = Frame { head: [0; 18], head_len: 0, tail: b"" };

    /// Bytes to write before the data.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head.get(..usize::from(self.head_len)).unwrap_or_default()
    }

    /// The frame of a chunk of `len` > 0 bytes: `HEX CRLF` and `CRLF`.
    fn chunk(len: u64) -> Frame {
        let mut frame = Frame { tail: b"\r\n", ..Frame::EMPTY };
        let digits = u64::BITS.saturating_sub(len.leading_zeros()).div_ceil(4);
        let mut shift = digits.saturating_mul(4);
        let mut used: u8 = 0;
        for slot in &mut frame.head {
            used = used.saturating_add(1);
            shift = match shift.checked_sub(4) {
                Some(shift) => {
                    let digit = len.wrapping_shr(shift) & 0xf;
                    *slot = HEX.get(usize::try_from(digit).unwrap_or_default()).copied().unwrap_or(b'0');
                    shift
                }
                None => {
                    *slot = b'\r';
                    break;
                }
            };
        }
        if let Some(slot) = frame.head.get_mut(usize::from(used)) {
            *slot = b'\n';
        }
        frame.head_len = used.saturating_add(1);
        frame
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Frames a body that is written, and holds it to what its head announced: a
/// body longer or shorter than its `Content-Length` would shift every message
/// behind it (RFC 9112 §6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyEncoder {
    framing: Framing,
    done: bool,
}

impl BodyEncoder {
    /// An encoder for the framing that the written head announced
    /// ([`Sent::framing`]).
    #[must_use]
    pub const fn new(framing: Framing) -> BodyEncoder {
        BodyEncoder { framing, done: false }
    }

    /// What to write around the next `len` bytes of data.
    ///
    /// Empty data has an empty frame: a chunk of size 0 would end the body.
    ///
    /// # Errors
    /// [`EncodeError::Length`] if that is more than announced, or the body has
    /// ended. Then close the connection: what was written cannot be repaired.
    pub fn frame(&mut self, len: usize) -> Result<Frame, EncodeError> {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if len == 0 {
            return Ok(Frame::EMPTY);
        }
        if self.done {
            return Err(EncodeError::Length);
        }
        match &mut self.framing {
            Framing::None => Err(EncodeError::Length),
            Framing::Length(left) => {
                *left = left.checked_sub(len).ok_or(EncodeError::Length)?;
                Ok(Frame::EMPTY)
            }
            Framing::Chunked => Ok(Frame::chunk(len)),
            Framing::UntilClose | Framing::Tunnel => Ok(Frame::EMPTY),
        }
    }

    /// Appends `data` with its frame to `out`: for pieces small enough that
    /// copying them is cheaper than another write.
    ///
    /// # Errors
    /// As [`frame`](BodyEncoder::frame).
    pub fn write(&mut self, out: &mut Vec<u8>, data: &[u8]) -> Result<(), EncodeError> {
        let frame = self.frame(data.len())?;
        out.extend_from_slice(frame.head());
        out.extend_from_slice(data);
        out.extend_from_slice(frame.tail);
        Ok(())
    }

    /// Ends the body: appends the last chunk and `trailers` where the framing
    /// has them. Trailers that no trailer may be are left out, and all of them
    /// where the framing has no place for any (RFC 9110 §6.5.1).
    ///
    /// # Errors
    /// [`EncodeError::Length`] if the body is shorter than announced. Then
    /// close the connection, so that the peer sees the message is incomplete.
    pub fn finish(&mut self, out: &mut Vec<u8>, trailers: Option<&Fields>) -> Result<(), EncodeError> {
        if self.done {
            return Ok(());
        }
        match self.framing {
            Framing::Length(left) if left > 0 => return Err(EncodeError::Length),
            Framing::Chunked => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flat_map(Fields::iter) {
                    if !name.known.is_some_and(is_forbidden) {
                        write_field(out, name.text, value);
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
            Framing::None | Framing::Length(_) | Framing::UntilClose | Framing::Tunnel => {}
        }
        self.done = true;
        Ok(())
    }

    /// Whether the body has ended, or has no bytes left to write.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done || matches!(self.framing, Framing::None | Framing::Length(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_heads_are_hexadecimal() {
        for (len, text) in
            [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0x1a2b, "1a2b\r\n"), (u64::MAX, "ffffffffffffffff\r\n")]
        {
            assert_eq!(Frame::chunk(len).head(), text.as_bytes(), "{len}");
        }
    }
}
