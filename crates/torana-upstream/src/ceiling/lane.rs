//! One worker's way to a ceiling.

use super::waiters::Ticket;
use super::{Ceiling, CeilingCounts, CeilingSpec, FULL, TIMEOUT};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use torana_core::deadline::Deadline;
use torana_core::metric::Counter;
use torana_core::refusal::{Refusal, Rejection};
use torana_net::timer::{self, Timer};

/// A ceiling as one worker sees it.
#[derive(Debug)]
pub struct Lane {
    ceiling: Arc<Ceiling>,
    spec: CeilingSpec,
    pub(super) queued: Cell<u32>,
    waited: Counter,
    full: Counter,
    timed_out: Counter,
}

/// What a worker's lane has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LaneCounts {
    /// Requests that joined the queue.
    pub waited: u64,
    /// Requests refused because it was full.
    pub full: u64,
    /// Requests refused because they waited too long.
    pub timed_out: u64,
}

/// A place under a ceiling, until it is dropped.
#[must_use = "a place that is dropped at once holds nothing"]
#[derive(Debug)]
pub struct Place(Rc<Lane>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.ceiling.release();
    }
}

impl Lane {
    /// The longest queue of a worker. Five hundred workers with one each are
    /// still counted right.
    pub const LONGEST: u32 = 4096;

    /// One worker's lane to a ceiling; the ceiling's own limit counts, not the
    /// spec's.
    #[must_use]
    pub fn new(ceiling: &Arc<Ceiling>, spec: &CeilingSpec) -> Rc<Lane> {
        Rc::new(Lane {
            ceiling: ceiling.clone(),
            spec: CeilingSpec { queue: spec.queue.min(Lane::LONGEST), ..*spec },
            queued: Cell::new(0),
            waited: Counter::default(),
            full: Counter::default(),
            timed_out: Counter::default(),
        })
    }

    /// The ceiling.
    #[must_use]
    pub const fn ceiling(&self) -> &Arc<Ceiling> {
        &self.ceiling
    }

    /// What it has seen.
    #[must_use]
    pub fn counts(&self) -> LaneCounts {
        LaneCounts { waited: self.waited.value(), full: self.full.value(), timed_out: self.timed_out.value() }
    }

    /// A place, if one is free and nobody waits.
    pub fn try_enter(self: &Rc<Self>) -> Option<Place> {
        self.ceiling.try_take().then(|| Place(self.clone()))
    }

    /// A place, now or when it is this request's turn, and by `deadline`.
    /// Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`FULL`] or [`TIMEOUT`].
    pub async fn enter(self: &Rc<Self>, deadline: Deadline) -> Result<Place, Rejection> {
        if let Some(place) = self.try_enter() {
            return Ok(place);
        }
        if self.queued.get() >= self.spec.queue {
            self.full.add(1);
            return Err(self.refuse(&FULL));
        }
        let mut timer = Timer::new();
        timer.arm(deadline.earlier(Deadline::after(timer::coarse_now(), self.spec.queue_timeout)));
        let mut wait = self.wait();
        let place = poll_fn(|cx| match Pin::new(&mut wait).poll(cx) {
            Poll::Ready(place) => Poll::Ready(Some(place)),
            Poll::Pending if timer.poll_expired(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        place.ok_or_else(|| {
            self.timed_out.add(1);
            self.refuse(&TIMEOUT)
        })
    }

    fn refuse(&self, refusal: &'static Refusal) -> Rejection {
        let CeilingCounts { most, waiting, .. } = self.ceiling.counts();
        Rejection::new(refusal).because(format_args!("all {most} places are taken, {waiting} requests wait"))
    }

    /// Waits without a limit of number or time.
    pub(super) fn wait(self: &Rc<Self>) -> Wait {
        Wait { lane: self.clone(), ticket: None }
    }
}

/// A request that waits for its place. It joins the queue when it is first
/// polled.
#[derive(Debug)]
pub(super) struct Wait {
    lane: Rc<Lane>,
    ticket: Option<Ticket>,
}

impl Wait {
    fn forget_ticket(&mut self) -> Option<Ticket> {
        let ticket = self.ticket.take()?;
        self.lane.queued.set(self.lane.queued.get() - 1);
        Some(ticket)
    }
}

impl Future for Wait {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Place> {
        let lane = self.lane.clone();
        match self.ticket {
            None => {
                self.ticket = lane.ceiling.join(cx.waker());
                if self.ticket.is_none() {
                    return Poll::Ready(Place(lane));
                }
                lane.queued.set(lane.queued.get() + 1);
                lane.waited.add(1);
                Poll::Pending
            }
            Some(ticket) if lane.ceiling.poll(ticket, cx.waker()) => {
                self.forget_ticket();
                Poll::Ready(Place(lane))
            }
            Some(_) => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(ticket) = self.forget_ticket() {
            self.lane.ceiling.leave(ticket);
        }
    }
}
