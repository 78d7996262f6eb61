//! Read buffers, kept per thread.
//!
//! A connection holds a buffer only while there are bytes in it, so thousands
//! of idle connections cost no buffer memory. Buffers stay initialised for
//! life: reuse costs neither an allocation nor a clearing.

use std::cell::RefCell;
use std::task::{Context, Poll, ready};
use std::{io, mem};
use tokio::io::ReadBuf;

/// For heads and small bodies.
pub const SMALL: usize = 16 * 1024;
/// For bodies: two reads for the usual 100 KB asset.
pub const LARGE: usize = 64 * 1024;

/// Most buffers of each size kept per thread: 4 MiB and 8 MiB.
const KEPT_SMALL: usize = 256;
const KEPT_LARGE: usize = 128;

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { small: Vec::new(), large: Vec::new(), out: Vec::new() }) };
}

struct Kept {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    out: Vec<Vec<u8>>,
}

/// Bytes read from a peer and not yet used.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer of at least `size` bytes.
    #[must_use]
    pub fn take(size: usize) -> Buffer {
        let kept = KEPT.with_borrow_mut(|kept| match size {
            size if size <= SMALL => kept.small.pop(),
            size if size <= LARGE => kept.large.pop(),
            _ => None,
        });
        let bytes = kept.unwrap_or_else(|| {
            let size = if size <= SMALL { SMALL } else { size.max(LARGE) };
            vec![0; size].into_boxed_slice()
        });
        Buffer { bytes, start: 0, end: 0 }
    }

    /// The unused bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes `count` bytes off the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes sure there is room behind the data: moves the data to the front,
    /// or into a larger buffer.
    pub fn make_room(&mut self) {
        if self.end < self.bytes.len() {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return;
        }
        let mut larger = Buffer::take(self.bytes.len() * 2);
        larger.extend(self.data());
        *self = larger;
    }

    /// Appends bytes that were read elsewhere, growing if needed.
    pub fn extend(&mut self, bytes: &[u8]) {
        while self.bytes.len() - self.end < bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                let mut larger = Buffer::take((self.bytes.len() * 2).max(bytes.len()));
                larger.extend(self.data());
                *self = larger;
            }
        }
        if let Some(room) = self.bytes.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Reads once from `io` behind the data. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_read(&mut self, io: &mut crate::io::Io, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::new(self.bytes.get_mut(self.end..).unwrap_or_default());
        match io.poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                self.end += count;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Reads once from `io` into `slot`, which has a buffer only while there are
/// bytes in it, behind those. A new buffer is of `size`, and only taken when
/// there is something to read. `Ok(0)` is the end of the stream.
///
/// # Errors
/// What the socket says.
pub fn poll_fill(
    slot: &mut Option<Buffer>,
    size: usize,
    io: &mut crate::io::Io,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let (mut buffer, read) = match slot.take() {
        Some(buffer) => (buffer, None),
        None => {
            ready!(io.poll_readable(cx))?;
            let mut buffer = Buffer::take(size);
            let read = io.read_now(&mut buffer.bytes);
            if let Some(Ok(count)) = read {
                buffer.end = count;
            }
            (buffer, read)
        }
    };
    let read = match read {
        Some(read) => Poll::Ready(read),
        None => buffer.poll_read(io, cx),
    };
    *slot = Some(buffer).filter(|buffer| !buffer.is_empty());
    read
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        // The thread may be ending; then the buffer simply goes.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            match bytes.len() {
                SMALL if kept.small.len() < KEPT_SMALL => kept.small.push(bytes),
                LARGE if kept.large.len() < KEPT_LARGE => kept.large.push(bytes),
                _ => {}
            }
        });
    }
}

/// Bytes to be written: a vector and how much of it is gone.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    start: usize,
}

impl Output {
    /// An empty output from this thread's store.
    #[must_use]
    pub fn take() -> Output {
        let bytes = KEPT.with_borrow_mut(|kept| kept.out.pop()).unwrap_or_else(|| Vec::with_capacity(SMALL));
        Output { bytes, start: 0 }
    }

    /// What is still to be written.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether everything is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// How many bytes may be added before it should be written.
    #[must_use]
    pub fn room(&self) -> usize {
        SMALL.saturating_sub(self.bytes.len())
    }

    /// Where to append.
    pub const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Marks `count` bytes as written.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > LARGE {
            return;
        }
        bytes.clear();
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.out.len() < KEPT_SMALL {
                kept.out.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_makes_room() {
        let mut buffer = Buffer::take(1);
        buffer.extend(&[7; SMALL]);
        buffer.make_room();
        assert_eq!(buffer.data().len(), SMALL);
        assert!(buffer.bytes.len() > SMALL);
        buffer.consume(SMALL - 1);
        assert_eq!(buffer.data(), [7]);
        buffer.extend(&vec![8; 3 * LARGE]);
        assert_eq!(buffer.data().len(), 3 * LARGE + 1);
        assert_eq!((buffer.data()[0], buffer.data()[1]), (7, 8));
    }

    #[test]
    fn buffers_come_back() {
        let address = |buffer: &Buffer| buffer.bytes.as_ptr() as usize;
        let first = Buffer::take(LARGE);
        let at = address(&first);
        drop(first);
        assert_eq!(address(&Buffer::take(LARGE)), at);
    }

    #[test]
    fn output_is_written_in_parts() {
        let mut out = Output::take();
        out.bytes().extend_from_slice(b"hello");
        out.consume(2);
        assert_eq!(out.data(), b"llo");
        out.consume(3);
        assert!(out.is_empty());
    }
}
