use crate::chunked::SizeLine;
use crate::error::BodyError;
use crate::framing::Framing;
use crate::limits::HeadLimits;
use crate::trailers::Trailers;
use torana_core::head::Fields;

/// What a call of [`BodyDecoder::decode`] found in the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `buf[skip..skip + len]` is data of the body (`len` > 0). Then
    /// `skip + len` bytes of the buffer are used up.
    Data {
        /// Framing bytes before the data.
        skip: usize,
        /// Bytes of data.
        len: usize,
    },
    /// The buffer holds no data. Its first `consumed` bytes, all of it, are
    /// used up; read more.
    NeedMore {
        /// Bytes used up.
        consumed: usize,
    },
    /// The body is complete; its last bytes were the first `consumed` of the
    /// buffer. What follows is not part of the message.
    End {
        /// Bytes used up.
        consumed: usize,
    },
}

/// Walks over a body as it arrives, copying nothing: it points at the data in
/// the caller's buffer.
///
/// After an error every further call fails with the same error.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    limits: HeadLimits,
    /// The trailer section while it arrives.
    section: Option<Box<Trailers>>,
    trailers: Option<Box<Fields>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Length(u64),
    UntilClose,
    /// In a chunk's size line.
    Size(SizeLine),
    /// Inside chunk data: bytes left.
    Data(SizeLine, u64),
    /// Before the CR, then the LF, behind chunk data.
    DataCr(SizeLine),
    DataLf(SizeLine),
    /// Behind the last chunk: either the final CRLF or trailers.
    Last,
    LastLf,
    Trailers,
    Done,
    Failed(BodyError),
}

impl BodyDecoder {
    /// A decoder for a message framed like this, with the default limits for
    /// its trailers.
    #[must_use]
    pub const fn new(framing: Framing) -> BodyDecoder {
        BodyDecoder::with_limits(framing, HeadLimits::TRAILERS)
    }

    /// A decoder with other limits for the trailer section.
    #[must_use]
    pub const fn with_limits(framing: Framing, trailers: HeadLimits) -> BodyDecoder {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(SizeLine::new()),
            Framing::UntilClose | Framing::Tunnel => State::UntilClose,
        };
        BodyDecoder { state, limits: trailers, section: None, trailers: None }
    }

    /// Finds the next data in `buf`, the bytes behind those already used up.
    ///
    /// With a length the end is known with the last data:
    /// [`is_done`](BodyDecoder::is_done) is then true without another call.
    ///
    /// # Errors
    /// [`BodyError`] if the body is not what its framing says.
    pub fn decode(&mut self, buf: &[u8]) -> Result<Step, BodyError> {
        match &mut self.state {
            State::Done => Ok(Step::End { consumed: 0 }),
            State::Length(left) => {
                let len = bounded(*left, buf.len());
                *left = left.saturating_sub(len as u64);
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(data_or_more(0, len))
            }
            State::UntilClose => Ok(data_or_more(0, buf.len())),
            State::Failed(error) => Err(*error),
            _ => self.decode_chunked(buf).inspect_err(|&error| self.state = State::Failed(error)),
        }
    }

    fn decode_chunked(&mut self, buf: &[u8]) -> Result<Step, BodyError> {
        let mut at = 0;
        loop {
            let rest = buf.get(at..).unwrap_or_default();
            let Some(&byte) = rest.first() else { return Ok(Step::NeedMore { consumed: at }) };
            let used = match &mut self.state {
                State::Data(line, left) => {
                    let len = bounded(*left, rest.len());
                    *left = left.saturating_sub(len as u64);
                    if *left == 0 {
                        self.state = State::DataCr(*line);
                    }
                    return Ok(data_or_more(at, len));
                }
                State::Size(line) => {
                    let (used, size) = line.take_from(rest)?;
                    match size {
                        None => {}
                        Some(0) => self.state = State::Last,
                        Some(size) => {
                            line.restart();
                            self.state = State::Data(*line, size);
                        }
                    }
                    used
                }
                State::Trailers => self.take_trailer_section(rest)?,
                // Both bytes at once: the usual case, and half the work.
                State::DataCr(line) if rest.starts_with(b"\r\n") => {
                    self.state = State::Size(*line);
                    2
                }
                State::Last if rest.starts_with(b"\r\n") => {
                    self.state = State::Done;
                    2
                }
                state => {
                    let (used, next) = state.take_line_end(byte)?;
                    self.state = next;
                    used
                }
            };
            at = at.saturating_add(used);
            if matches!(self.state, State::Done) {
                return Ok(Step::End { consumed: at });
            }
        }
    }

    fn take_trailer_section(&mut self, rest: &[u8]) -> Result<usize, BodyError> {
        let section = self.section.get_or_insert_with(|| Box::new(Trailers::new(self.limits)));
        let (used, fields) = section.take(rest)?;
        if let Some(fields) = fields {
            self.trailers = (!fields.is_empty()).then(|| Box::new(fields));
            self.section = None;
            self.state = State::Done;
        }
        Ok(used)
    }

    /// Tells the decoder that the peer has closed its side.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] unless the body was complete or ends with the
    /// connection (RFC 9112 §8).
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Failed(error) => Err(error),
            _ => {
                self.state = State::Failed(BodyError::Truncated);
                Err(BodyError::Truncated)
            }
        }
    }

    /// Whether the body is complete.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many bytes of data are certainly still to come: the whole rest of
    /// a body with a length, the rest of the current chunk otherwise. Says how
    /// much to read at once.
    #[must_use]
    pub const fn remaining_hint(&self) -> Option<u64> {
        match &self.state {
            State::Length(left) | State::Data(_, left) => Some(*left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The trailers, once the body is complete; without those that no trailer
    /// may be (RFC 9110 §6.5.1). They are the sender's word: admission must
    /// strip gateway-owned names from a request's trailers as from its fields.
    #[must_use]
    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_deref()
    }

    /// Takes the trailers out.
    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }
}

impl State {
    /// Takes one byte of a line end. Answers whether the byte was used (1 or
    /// 0) and the state behind it.
    fn take_line_end(self, byte: u8) -> Result<(usize, State), BodyError> {
        match self {
            State::DataCr(line) if byte == b'\r' => Ok((1, State::DataLf(line))),
            State::DataLf(line) if byte == b'\n' => Ok((1, State::Size(line))),
            State::DataCr(_) | State::DataLf(_) => Err(BodyError::ChunkEndInvalid),
            State::Last if byte == b'\r' => Ok((1, State::LastLf)),
            State::Last if byte == b'\n' => Err(BodyError::ChunkLineInvalid),
            // Not an empty line, so a trailer's first byte.
            State::Last => Ok((0, State::Trailers)),
            State::LastLf if byte == b'\n' => Ok((1, State::Done)),
            State::LastLf => Err(BodyError::ChunkLineInvalid),
            // The other states do not end lines; they are handled before.
            other => Ok((1, other)),
        }
    }
}

const fn data_or_more(skip: usize, len: usize) -> Step {
    if len == 0 { Step::NeedMore { consumed: skip } } else { Step::Data { skip, len } }
}

/// `left`, but not more than `available`.
fn bounded(left: u64, available: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(available)
}
