//! Tasks that serve one job after another.
//!
//! Starting a task allocates its state, some KB for a request, fills it and
//! frees it again: a tenth of what an HTTP/2 request costs. A task that has
//! done its job takes a seat here instead and waits for the next one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Most tasks that wait: what a busy worker has in flight at a time.
const WAITING: usize = 256;

/// The tasks that wait. When it is dropped they end; busy ones end after their job.
pub(crate) struct Crew<J: 'static>(Rc<Bench<J>>);

/// What a crew shares with its tasks.
struct Bench<J> {
    waiting: RefCell<Vec<Rc<Seat<J>>>>,
    dismissed: Cell<bool>,
}

struct Seat<J> {
    job: Cell<Option<J>>,
    waker: Cell<Option<Waker>>,
}

impl<J: 'static> Crew<J> {
    pub(crate) fn new() -> Rc<Crew<J>> {
        Rc::new(Crew(Rc::new(Bench { waiting: RefCell::default(), dismissed: Cell::new(false) })))
    }

    /// Does `job` in a task that waits, or in a new one. `work` is what every
    /// task of this crew does with its jobs.
    pub(crate) fn give(&self, job: J, work: impl AsyncFn(J) + 'static) {
        let seat = self.0.waiting.borrow_mut().pop();
        match seat {
            Some(seat) => {
                seat.job.set(Some(job));
                if let Some(waker) = seat.waker.take() {
                    waker.wake();
                }
            }
            None => {
                let bench = self.0.clone();
                tokio::task::spawn_local(async move {
                    let seat = Rc::new(Seat { job: Cell::new(Some(job)), waker: Cell::new(None) });
                    while let Some(job) = poll_fn(|cx| seat.poll_job(cx, &bench)).await {
                        work(job).await;
                        bench.take_seat(&seat);
                    }
                });
            }
        }
    }
}

impl<J> Bench<J> {
    fn take_seat(&self, seat: &Rc<Seat<J>>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < WAITING && !self.dismissed.get() {
            waiting.push(seat.clone());
        }
    }
}

impl<J> Seat<J> {
    /// The next job; `None` when there is not going to be one.
    fn poll_job(self: &Rc<Self>, cx: &Context<'_>, bench: &Bench<J>) -> Poll<Option<J>> {
        if let Some(job) = self.job.take() {
            return Poll::Ready(Some(job));
        }
        // Only one that the bench holds too can be given a job.
        if bench.dismissed.get() || Rc::strong_count(self) == 1 {
            return Poll::Ready(None);
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl<J> Drop for Crew<J> {
    fn drop(&mut self) {
        self.0.dismissed.set(true);
        for seat in self.0.waiting.take() {
            if let Some(waker) = seat.waker.take() {
                waker.wake();
            }
        }
    }
}
