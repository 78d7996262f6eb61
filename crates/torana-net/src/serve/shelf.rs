//! Futures kept between uses, run inside the task that uses them.
//!
//! What a request in progress needs is some KB of state. As a part of its
//! connection's future every idle connection would keep room for it; boxed for
//! each request it would be an allocation each. A future that has done its job
//! lies here instead until the next one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Most that are kept: what a busy worker has in flight at a time.
const KEPT: usize = 256;

/// The futures that wait for a job `J`, of which an `O` comes.
pub(crate) struct Shelf<J, O>(RefCell<Vec<Kept<J, O>>>);

struct Kept<J, O> {
    desk: Rc<Desk<J, O>>,
    /// Never ready: it does what lies on the desk, then waits for more.
    work: Pin<Box<dyn Future<Output = ()>>>,
}

struct Desk<J, O> {
    job: Cell<Option<J>>,
    outcome: Cell<Option<O>>,
}

impl<J: 'static, O: 'static> Shelf<J, O> {
    pub(crate) const fn new() -> Shelf<J, O> {
        Shelf(RefCell::new(Vec::new()))
    }

    /// Does `job`. `work` is what every future of this shelf does with its jobs.
    /// Dropped before its end, the job is dropped with it.
    pub(crate) fn run(&self, job: J, work: impl AsyncFn(J) -> O + 'static) -> Running<'_, J, O> {
        let kept = self.0.borrow_mut().pop().unwrap_or_else(|| Kept::new(work));
        kept.desk.job.set(Some(job));
        Running { shelf: self, kept: Some(kept) }
    }
}

impl<J: 'static, O: 'static> Kept<J, O> {
    fn new(work: impl AsyncFn(J) -> O + 'static) -> Kept<J, O> {
        let desk = Rc::new(Desk { job: Cell::new(None), outcome: Cell::new(None) });
        let at = desk.clone();
        let work = Box::pin(async move {
            loop {
                let job = poll_fn(|_| at.job.take().map_or(Poll::Pending, Poll::Ready)).await;
                at.outcome.set(Some(work(job).await));
            }
        });
        Kept { desk, work }
    }
}

/// A job in progress.
pub(crate) struct Running<'a, J, O> {
    shelf: &'a Shelf<J, O>,
    kept: Option<Kept<J, O>>,
}

impl<J, O> Future for Running<'_, J, O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let Some(kept) = &mut self.kept else { return Poll::Pending };
        let _never = kept.work.as_mut().poll(cx);
        let Some(outcome) = kept.desk.outcome.take() else { return Poll::Pending };
        if let Some(kept) = self.kept.take() {
            let mut shelf = self.shelf.0.borrow_mut();
            if shelf.len() < KEPT {
                shelf.push(kept);
            }
        }
        Poll::Ready(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    async fn twice(number: u32) -> u32 {
        tokio::task::yield_now().await;
        number * 2
    }

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[tokio::test]
    async fn one_future_does_one_job_after_another() {
        let shelf = Shelf::new();
        assert_eq!(shelf.run(2, twice).await, 4);
        let address = |shelf: &Shelf<u32, u32>| Rc::as_ptr(&shelf.0.borrow()[0].desk);
        let first = address(&shelf);
        assert_eq!(shelf.run(3, twice).await, 6);
        assert_eq!((shelf.0.borrow().len(), address(&shelf)), (1, first));
    }

    #[test]
    fn jobs_at_the_same_time_have_a_future_each() {
        let shelf = Shelf::new();
        let (mut one, mut two) = (shelf.run(2, twice), shelf.run(3, twice));
        assert!(Pin::new(&mut one).poll(&mut context()).is_pending());
        assert!(Pin::new(&mut two).poll(&mut context()).is_pending());
        assert_eq!(Pin::new(&mut two).poll(&mut context()), Poll::Ready(6));
        assert_eq!(Pin::new(&mut one).poll(&mut context()), Poll::Ready(4));
        assert_eq!(shelf.0.borrow().len(), 2);
    }

    #[test]
    fn a_job_that_is_given_up_is_dropped_and_its_future_is_not_used_again() {
        let shelf = Shelf::new();
        let held = Rc::new(());
        let mut running = shelf.run(held.clone(), async |held: Rc<()>| {
            tokio::task::yield_now().await;
            drop(held);
        });
        assert!(Pin::new(&mut running).poll(&mut context()).is_pending());
        assert_eq!(Rc::strong_count(&held), 2);
        drop(running);
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(shelf.0.borrow().is_empty());
    }
}
