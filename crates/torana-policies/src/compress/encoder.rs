//! Bodies that are compressed as they pass.

use flate2::write::GzEncoder;
use std::io::Write;
use std::task::{Context, Poll};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::head::Fields;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Br,
    Zstd,
}

impl Coding {
    pub(super) const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

    /// As messages have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Br => "br",
            Coding::Zstd => "zstd",
        }
    }

    pub(super) fn named(name: &[u8]) -> Option<Coding> {
        let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
        Coding::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// How hard to try, for each coding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    pub(super) gzip: u32,
    pub(super) br: u32,
    pub(super) zstd: i32,
}

/// An encoder, which writes into memory.
enum Encoder {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

/// The window of brotli and zstd, as a power of two: a quarter of a megabyte
/// finds nearly all there is to find in what APIs send, and a thousand streams
/// do not take gigabytes.
const WINDOW: u32 = 18;

/// The buffer between brotli and its output.
const BUFFER: usize = 4096;

/// What is compressed at once, and by one call.
const CHUNK: usize = 16 * 1024;
const MOST_AT_ONCE: usize = 4 * CHUNK;

impl Encoder {
    fn new(coding: Coding, levels: Levels) -> std::io::Result<Encoder> {
        Ok(match coding {
            Coding::Gzip => Encoder::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::new(levels.gzip)))),
            Coding::Br => Encoder::Br(Box::new(brotli::CompressorWriter::new(Vec::new(), BUFFER, levels.br, WINDOW))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), levels.zstd)?;
                encoder.window_log(WINDOW)?;
                Encoder::Zstd(Box::new(encoder))
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Encoder::Gzip(encoder) => encoder,
            Encoder::Br(encoder) => encoder,
            Encoder::Zstd(encoder) => encoder,
        }
    }

    /// Takes what has come out so far into `out`, which is empty.
    fn drain(&mut self, out: &mut Vec<u8>) {
        let made = match self {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Br(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::swap(made, out);
    }

    fn finish(self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let rest = match self {
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Br(encoder) => encoder.into_inner(),
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        out.extend_from_slice(&rest);
        Ok(())
    }
}

/// A body on its way through an encoder.
///
/// It asks its source for more only when what has come out was taken. When the
/// source pauses, what the encoder holds back is sent at once, so that events
/// arrive when they are sent.
pub(super) struct Compressed {
    source: Body,
    /// `None` when the end has come out.
    encoder: Option<Encoder>,
    out: Vec<u8>,
    taken: usize,
    /// Whether the encoder may hold something back.
    holds: bool,
    trailers: Option<Box<Fields>>,
    failed: BodyError,
}

impl Compressed {
    /// Compresses `source`; a failure of the encoder is reported as `failed`.
    ///
    /// # Errors
    /// There is no encoder to be had, as when memory is short; the body comes
    /// back.
    pub(super) fn new(source: Body, coding: Coding, levels: Levels, failed: BodyError) -> Result<Compressed, Body> {
        match Encoder::new(coding, levels) {
            Ok(encoder) => Ok(Compressed {
                source,
                encoder: Some(encoder),
                out: Vec::new(),
                taken: 0,
                holds: false,
                trailers: None,
                failed,
            }),
            Err(_) => Err(source),
        }
    }

    fn has_data(&self) -> bool {
        self.taken < self.out.len()
    }

    /// Compresses what the source has, some of it; tells how much.
    fn squeeze(&mut self) -> Result<usize, BodyError> {
        let failed = self.failed;
        let Some(encoder) = &mut self.encoder else { return Ok(0) };
        let data = self.source.data();
        let chunk = data.get(..CHUNK).unwrap_or(data);
        encoder.writer().write_all(chunk).map_err(|_| failed)?;
        let count = chunk.len();
        self.source.consume(count);
        self.holds = true;
        encoder.drain(&mut self.out);
        Ok(count)
    }

    /// Gets out of the encoder what it holds back.
    fn flush(&mut self) -> Result<(), BodyError> {
        let failed = self.failed;
        if let Some(encoder) = &mut self.encoder {
            encoder.writer().flush().map_err(|_| failed)?;
            encoder.drain(&mut self.out);
        }
        self.holds = false;
        Ok(())
    }
}

impl BodyStream for Compressed {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        if self.has_data() {
            return Poll::Ready(Ok(Progress::Data));
        }
        self.out.clear();
        self.taken = 0;
        let mut done = 0;
        while self.encoder.is_some() {
            match self.source.poll_data(cx) {
                Poll::Ready(Ok(Progress::Data)) => done += self.squeeze()?,
                Poll::Ready(Ok(Progress::End)) => {
                    self.trailers = self.source.trailers();
                    if let Some(encoder) = self.encoder.take() {
                        let failed = self.failed;
                        encoder.finish(&mut self.out).map_err(|_| failed)?;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.holds => self.flush()?,
                Poll::Pending => return Poll::Pending,
            }
            if self.has_data() {
                return Poll::Ready(Ok(Progress::Data));
            }
            if done >= MOST_AT_ONCE {
                // Megabytes of zeros come to nothing: others want to work, too.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(if self.has_data() { Progress::Data } else { Progress::End }))
    }

    fn data(&self) -> &[u8] {
        self.out.get(self.taken..).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.out.len());
    }

    fn remaining(&self) -> Option<u64> {
        None
    }

    fn limit(&mut self, bytes: u64) {
        self.source.limit(bytes);
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    fn finish(mut self: Box<Self>) {
        std::mem::take(&mut self.source).finish();
    }
}
