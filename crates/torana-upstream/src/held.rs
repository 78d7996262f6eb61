//! What is held while a reply is being sent on.

use crate::balance::InFlight;
use crate::ceiling::Place;
use bytes::Bytes;
use std::task::{Context, Poll};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::head::Fields;
use torana_core::reply::Reply;

/// A body that holds a place under a ceiling, or counts as a request under way,
/// until it has ended. It costs an allocation, so only upstreams that count
/// have it.
pub(crate) struct Held {
    body: Body,
    _place: Option<Place>,
    _in_flight: Option<InFlight>,
}

/// Has `reply` hold these until it has ended: its body, or the tunnel it makes.
pub(crate) fn hold(reply: &mut Reply, place: Option<Place>, in_flight: Option<InFlight>) {
    if place.is_none() && in_flight.is_none() {
        return;
    }
    if let Some(tunnel) = &mut reply.tunnel {
        tunnel.keep(Box::new((place, in_flight)));
    } else if !reply.body.is_empty() {
        let body = std::mem::take(&mut reply.body);
        reply.body = Body::Stream(Box::new(Held { body, _place: place, _in_flight: in_flight }));
    }
}

impl BodyStream for Held {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        self.body.poll_data(cx)
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, count: usize) {
        self.body.consume(count);
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
        self.body.take_data()
    }

    fn finish(self: Box<Self>) {
        self.body.finish();
    }
}
