//! Keeps a copy of a body on its way to the client.
//!
//! Nothing is held back and nothing read ahead: what the client has taken is
//! copied. A reply is kept when its end was read and it has the length that was
//! announced; one that breaks off, on either side, is not.

use super::Draft;
use bytes::Bytes;
use std::task::{Context, Poll};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::head::Fields;

/// A body that is being copied.
pub(super) struct Tee {
    body: Body,
    copy: Vec<u8>,
    most: usize,
    announced: Option<u64>,
    trailers: Option<Box<Fields>>,
    /// What the copy is for; `None` when nothing will come of it, or has come.
    draft: Option<Draft>,
}

impl Tee {
    /// Copies at most `most` bytes of `body` for `draft`.
    pub(super) fn new(body: Body, most: usize, draft: Draft) -> Tee {
        let announced = body.remaining();
        let room = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(most);
        Tee { body, copy: Vec::with_capacity(room), most, announced, trailers: None, draft: Some(draft) }
    }

    fn take(&mut self, count: usize) {
        if self.draft.is_none() {
            return;
        }
        let data = self.body.data();
        let data = data.get(..count).unwrap_or(data);
        if self.copy.len() + data.len() > self.most {
            self.give_up();
        } else {
            self.copy.extend_from_slice(data);
        }
    }

    fn give_up(&mut self) {
        if let Some(draft) = self.draft.take() {
            draft.too_long();
        }
        self.copy = Vec::new();
    }

    fn end(&mut self) {
        let is_whole = self.announced.is_none_or(|announced| announced == self.copy.len() as u64);
        if let Some(draft) = self.draft.take()
            && is_whole
            // Nobody could be given them again.
            && self.trailers.is_none()
        {
            draft.keep(Bytes::from(std::mem::take(&mut self.copy)));
        }
    }
}

impl BodyStream for Tee {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        let polled = self.body.poll_data(cx);
        match &polled {
            Poll::Ready(Ok(Progress::End)) => {
                self.trailers = self.body.trailers();
                self.end();
            }
            // Dropping it lets go who waits for it.
            Poll::Ready(Err(_)) => self.draft = None,
            Poll::Ready(Ok(Progress::Data)) | Poll::Pending => {}
        }
        polled
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, count: usize) {
        self.take(count);
        self.body.consume(count);
    }

    fn remaining(&self) -> Option<u64> {
        self.body.remaining()
    }

    fn limit(&mut self, bytes: u64) {
        self.body.limit(bytes);
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    fn take_data(&mut self) -> Bytes {
        self.take(self.body.data().len());
        self.body.take_data()
    }

    fn finish(mut self: Box<Self>) {
        // A body of known length may be finished without its end being polled.
        if self.body.remaining() == Some(0) {
            self.end();
        }
        std::mem::take(&mut self.body).finish();
    }
}
