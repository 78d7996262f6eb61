//! A reply's body on its way to the client, and into the store.

use super::{Idempotency, KEPT, Key, NOT_KEPT, Place};
use bytes::Bytes;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::event::Tally;
use torana_core::head::Fields;
use torana_core::store::{Soon, StoreError};
use torana_core::verdict::LocalBoxFuture;

/// A body that is copied. The client has its end only when the store has all
/// of it: whoever has seen the reply can rely on its being kept.
///
/// Dropped before its end, it leaves the mark of a request under way, which
/// ends by itself: what became of the request is not known.
pub(super) struct Tee {
    body: Body,
    key: Key,
    place: Place,
    ttl: Duration,
    tally: Arc<Tally>,
    /// The record so far; `None` once it became too long.
    record: Option<Vec<u8>>,
    most: usize,
    state: State,
}

enum State {
    Copying,
    Keeping(LocalBoxFuture<'static, Result<(), StoreError>>),
    Done,
}

impl Tee {
    pub(super) fn wrap(policy: &Idempotency, key: Key, record: Vec<u8>, body: Body) -> Body {
        let most = record.len() + policy.reply_bytes;
        Body::Stream(Box::new(Tee {
            body,
            key,
            place: policy.place.clone(),
            ttl: policy.ttl,
            tally: Arc::clone(&policy.tally),
            record: Some(record),
            most,
            state: State::Copying,
        }))
    }

    /// Copies what is about to be taken off.
    fn copy(&mut self, count: usize) {
        let data = self.body.data();
        let data = data.get(..count).unwrap_or(data);
        if let Some(record) = &mut self.record {
            if record.len() + data.len() > self.most {
                self.record = None;
            } else {
                record.extend_from_slice(data);
            }
        }
    }

    fn keep(&mut self) -> State {
        let blobs = self.place.blobs();
        let done = match self.record.take() {
            Some(record) => {
                self.tally.count(&KEPT);
                blobs.put(&self.key, record.into(), self.ttl, &[])
            }
            None => {
                self.tally.count(&NOT_KEPT);
                blobs.delete(&self.key)
            }
        };
        match done {
            Soon::Now(_) => State::Done,
            Soon::Later(future) => State::Keeping(future),
        }
    }
}

impl BodyStream for Tee {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        loop {
            match &mut self.state {
                State::Copying => match ready!(self.body.poll_data(cx)) {
                    Ok(Progress::End) => self.state = self.keep(),
                    other => return Poll::Ready(other),
                },
                State::Keeping(future) => {
                    // It has a time limit of its own, and the reply does not
                    // depend on it.
                    let _ = ready!(future.as_mut().poll(cx));
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(Progress::End)),
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, count: usize) {
        self.copy(count);
        self.body.consume(count);
    }

    fn take_data(&mut self) -> Bytes {
        self.copy(usize::MAX);
        self.body.take_data()
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

    fn finish(self: Box<Self>) {
        self.body.finish();
    }
}
