//! Message bodies: streams of borrowed bytes with back-pressure.
//!
//! A body lends its bytes ([`Body::data`] after a successful
//! [`Body::poll_data`]) instead of handing over owned chunks, so that a proxied
//! body goes from the read buffer of one connection to the socket of the other
//! without a copy or an allocation. Nothing reads ahead: bytes are read from a
//! peer only when the other side asks for them, and at most one buffer of them.

use crate::head::Fields;
use crate::refusal::{Refusal, Rejection};
use bytes::{Buf, Bytes};
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// A body, request or response.
#[derive(Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes that are all here.
    Full(Bytes),
    /// Bytes that arrive.
    Stream(Box<dyn BodyStream>),
}

/// What a body has to offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// [`BodyStream::data`] holds at least one byte.
    Data,
    /// All bytes were consumed; trailers are available.
    End,
}

/// A source of body bytes, usually a connection.
pub trait BodyStream {
    /// Waits until there are unconsumed bytes or the body has ended.
    ///
    /// # Errors
    /// The peer failed, broke its framing or ran out of time. The stream is
    /// then finished and must not be polled again.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>>;

    /// The unconsumed bytes; empty before `poll_data` answered `Data`.
    fn data(&self) -> &[u8];

    /// Takes `count` bytes off the front of [`data`](Self::data).
    fn consume(&mut self, count: usize);

    /// How many bytes are still to come, where framing tells.
    fn remaining(&self) -> Option<u64>;

    /// Sets how many bytes may come in all; the body fails when more arrive.
    /// A source that is not a stranger's need not care.
    fn limit(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// The trailers, once, after `End`.
    fn trailers(&mut self) -> Option<Box<Fields>> {
        None
    }

    /// The unconsumed bytes, owned. A source that has them owned already
    /// overrides this to spare the copy.
    fn take_data(&mut self) -> Bytes {
        let data = Bytes::copy_from_slice(self.data());
        self.consume(data.len());
        data
    }

    /// Called instead of `drop` when the body was read to its end: a
    /// connection returns to its pool here, and only here.
    fn finish(self: Box<Self>) {}
}

impl Body {
    /// Waits until there are unconsumed bytes or the body has ended.
    ///
    /// # Errors
    /// As [`BodyStream::poll_data`].
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        match self {
            Body::Empty => Poll::Ready(Ok(Progress::End)),
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(Ok(Progress::End)),
            Body::Full(_) => Poll::Ready(Ok(Progress::Data)),
            Body::Stream(stream) => stream.poll_data(cx),
        }
    }

    /// The unconsumed bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Body::Empty => &[],
            Body::Full(bytes) => bytes,
            Body::Stream(stream) => stream.data(),
        }
    }

    /// Takes `count` bytes off the front.
    pub fn consume(&mut self, count: usize) {
        match self {
            Body::Empty => {}
            Body::Full(bytes) => bytes.advance(count.min(bytes.len())),
            Body::Stream(stream) => stream.consume(count),
        }
    }

    /// The unconsumed bytes, owned.
    pub fn take_data(&mut self) -> Bytes {
        match self {
            Body::Empty => Bytes::new(),
            Body::Full(bytes) => std::mem::take(bytes),
            Body::Stream(stream) => stream.take_data(),
        }
    }

    /// The exact number of bytes to come, if known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::Stream(stream) => stream.remaining(),
        }
    }

    /// The trailers, once, after the end.
    pub fn trailers(&mut self) -> Option<Box<Fields>> {
        match self {
            Body::Stream(stream) => stream.trailers(),
            Body::Empty | Body::Full(_) => None,
        }
    }

    /// Sets how many bytes may come in all.
    pub fn limit(&mut self, bytes: u64) {
        if let Body::Stream(stream) = self {
            stream.limit(bytes);
        }
    }

    /// Whether it is certain that no byte will come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_empty(),
            Body::Stream(_) => false,
        }
    }

    /// Gives the source back after its end was read.
    pub fn finish(self) {
        if let Body::Stream(stream) = self {
            stream.finish();
        }
    }

    /// Collects the whole body, at most `cap` bytes: the only way to buffer.
    ///
    /// # Errors
    /// `None` inside the error position means the body is longer than `cap`;
    /// otherwise the source failed.
    pub async fn collect_capped(mut self, cap: usize) -> Result<Bytes, CollectError> {
        if self.remaining().is_some_and(|left| left > cap as u64) {
            return Err(CollectError::TooLong);
        }
        if let Body::Full(bytes) = self {
            return Ok(bytes);
        }
        let mut all = Vec::new();
        loop {
            match poll_fn(|cx| self.poll_data(cx)).await {
                Ok(Progress::Data) => {
                    if all.len() + self.data().len() > cap {
                        return Err(CollectError::TooLong);
                    }
                    let data = self.data();
                    let count = data.len();
                    all.extend_from_slice(data);
                    self.consume(count);
                }
                Ok(Progress::End) => {
                    self.finish();
                    return Ok(all.into());
                }
                Err(error) => return Err(CollectError::Source(error)),
            }
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remaining() {
            Some(left) => write!(f, "Body({left} bytes)"),
            None => f.write_str("Body(stream)"),
        }
    }
}

/// A body that broke off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", self.refusal.code)]
pub struct BodyError {
    /// What happened, with blame: a request body fails by the caller's fault,
    /// a response body by the upstream's.
    pub refusal: &'static Refusal,
}

impl BodyError {
    /// An occurrence of `refusal`.
    #[must_use]
    pub const fn new(refusal: &'static Refusal) -> BodyError {
        BodyError { refusal }
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        Rejection::new(error.refusal)
    }
}

/// Why a body was not collected.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum CollectError {
    /// It is longer than the cap.
    #[error("the body is longer than allowed here")]
    TooLong,
    /// Its source failed.
    #[error(transparent)]
    Source(#[from] BodyError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::pin::pin;
    use std::task::Waker;

    struct Pieces(VecDeque<&'static [u8]>, usize);

    impl BodyStream for Pieces {
        fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
            Poll::Ready(Ok(if self.0.is_empty() { Progress::End } else { Progress::Data }))
        }
        fn data(&self) -> &[u8] {
            self.0.front().map_or(&[], |piece| &piece[self.1..])
        }
        fn consume(&mut self, count: usize) {
            self.1 += count;
            if self.0.front().is_some_and(|piece| piece.len() == self.1) {
                self.0.pop_front();
                self.1 = 0;
            }
        }
        fn remaining(&self) -> Option<u64> {
            None
        }
    }

    fn collect(body: Body, cap: usize) -> Result<Bytes, CollectError> {
        let mut future = pin!(body.collect_capped(cap));
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("pieces never wait"),
        }
    }

    #[test]
    fn collecting_stops_at_the_cap() {
        let pieces = || Body::Stream(Box::new(Pieces([&b"abc"[..], b"def"].into(), 0)));
        assert_eq!(collect(pieces(), 6).unwrap(), "abcdef");
        assert!(matches!(collect(pieces(), 5), Err(CollectError::TooLong)));
        assert!(matches!(collect(Body::from("abcdef"), 5), Err(CollectError::TooLong)));
        assert_eq!(collect(Body::Empty, 0).unwrap(), "");
    }

    #[test]
    fn full_bodies_are_consumed_in_parts() {
        let mut body = Body::from("hello");
        body.consume(2);
        assert_eq!(body.data(), b"llo");
        assert_eq!(body.remaining(), Some(3));
        assert_eq!(body.take_data(), "llo");
        assert!(body.is_empty());
    }
}
