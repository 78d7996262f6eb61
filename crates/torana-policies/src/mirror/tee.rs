//! A body that is copied while it streams.

use bytes::Bytes;
use std::task::{Context, Poll};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::head::Fields;

/// What became of a copy.
pub(super) enum Copied {
    /// All of it.
    Whole(Bytes),
    /// It is longer than it may be.
    TooLong,
    /// It was not read to its end.
    Broken,
}

/// Who is told, once.
type Told = Box<dyn FnOnce(Copied)>;

/// A body, and a copy of what has been read of it. The reader sets the pace and
/// notices nothing: nothing is read ahead, and nothing held back.
struct Tee {
    body: Body,
    copy: Vec<u8>,
    most: usize,
    told: Option<Told>,
}

/// `body`, of which `told` gets a copy when it has been read, if that is at most
/// `most` bytes.
pub(super) fn tee(body: Body, most: usize, told: impl FnOnce(Copied) + 'static) -> Body {
    match body {
        Body::Empty => told(Copied::Whole(Bytes::new())),
        Body::Full(ref bytes) if bytes.len() > most => told(Copied::TooLong),
        Body::Full(ref bytes) => told(Copied::Whole(bytes.clone())),
        Body::Stream(_) if body.remaining().is_some_and(|length| length > most as u64) => told(Copied::TooLong),
        Body::Stream(_) => {
            return Body::Stream(Box::new(Tee { body, copy: Vec::new(), most, told: Some(Box::new(told)) }));
        }
    }
    body
}

impl Tee {
    fn tell(&mut self, copied: Copied) {
        if let Some(told) = self.told.take() {
            told(copied);
        }
    }

    fn ended(&mut self) {
        if self.told.is_some() {
            let copy = std::mem::take(&mut self.copy);
            self.tell(Copied::Whole(copy.into()));
        }
    }

    /// Copies data that is about to be consumed, or has been.
    fn copy(&mut self, data: &[u8]) {
        if self.told.is_none() {
            return;
        }
        if self.copy.len() + data.len() > self.most {
            self.copy = Vec::new();
            self.tell(Copied::TooLong);
        } else {
            self.copy.extend_from_slice(data);
        }
    }
}

impl BodyStream for Tee {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        let polled = self.body.poll_data(cx);
        if matches!(polled, Poll::Ready(Ok(Progress::End))) {
            self.ended();
        }
        polled
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, count: usize) {
        if self.told.is_some() {
            // Taken out for a moment, to be read beside the copy.
            let mut body = std::mem::take(&mut self.body);
            self.copy(body.data().get(..count).unwrap_or_default());
            body.consume(count);
            self.body = body;
        } else {
            self.body.consume(count);
        }
    }

    fn remaining(&self) -> Option<u64> {
        self.body.remaining()
    }

    fn limit(&mut self, bytes: u64) {
        self.body.limit(bytes);
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.body.trailers()
    }

    fn take_data(&mut self) -> Bytes {
        let data = self.body.take_data();
        self.copy(&data);
        data
    }

    fn finish(mut self: Box<Self>) {
        // Who knows its length need not ask for its end.
        self.ended();
        std::mem::take(&mut self.body).finish();
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        if self.told.is_some() {
            // The last byte may have been read without asking for more.
            if self.body.remaining() == Some(0) { self.ended() } else { self.tell(Copied::Broken) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;
    use std::task::Waker;

    struct Pieces(VecDeque<&'static str>);

    impl BodyStream for Pieces {
        fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
            Poll::Ready(Ok(if self.0.is_empty() { Progress::End } else { Progress::Data }))
        }
        fn data(&self) -> &[u8] {
            self.0.front().map_or(&[], |piece| piece.as_bytes())
        }
        fn consume(&mut self, count: usize) {
            let piece = self.0.pop_front().unwrap_or_default();
            if count < piece.len() {
                self.0.push_front(&piece[count..]);
            }
        }
        fn remaining(&self) -> Option<u64> {
            None
        }
    }

    /// Reads `count` pieces and asks for the end if `ends`; tells what was copied.
    fn copied(most: usize, count: usize, takes: bool, ends: bool) -> String {
        let told = Rc::new(RefCell::new(String::new()));
        let to = Rc::clone(&told);
        let pieces = Body::Stream(Box::new(Pieces(["ab", "cd", "ef"].into())));
        let mut body = tee(pieces, most, move |copied| {
            to.borrow_mut().push_str(&match copied {
                Copied::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Copied::TooLong => "too long".to_owned(),
                Copied::Broken => "broken".to_owned(),
            });
        });
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..count {
            assert!(matches!(body.poll_data(&mut cx), Poll::Ready(Ok(Progress::Data))));
            if takes {
                assert_eq!(body.take_data().len(), 2);
            } else {
                body.consume(1);
                body.consume(1);
            }
        }
        if ends {
            assert!(matches!(body.poll_data(&mut cx), Poll::Ready(Ok(Progress::End))));
        }
        drop(body);
        told.take()
    }

    #[test]
    fn a_body_is_copied_in_whatever_way_it_is_read() {
        assert_eq!(copied(6, 3, false, true), "abcdef");
        assert_eq!(copied(6, 3, true, true), "abcdef");
        assert_eq!(copied(5, 3, true, true), "too long");
        assert_eq!(copied(5, 3, false, true), "too long");
        assert_eq!(copied(6, 2, true, false), "broken");
    }

    #[test]
    fn a_body_that_is_here_is_told_at_once() {
        let told = Rc::new(RefCell::new(0));
        for (body, most) in [(Body::Empty, 0), (Body::from("abc"), 3)] {
            let to = Rc::clone(&told);
            let length = body.remaining();
            let body = tee(body, most, move |copied| *to.borrow_mut() += i32::from(matches!(copied, Copied::Whole(_))));
            assert_eq!(body.remaining(), length, "and stays what it was");
        }
        assert_eq!(*told.borrow(), 2);
    }
}
