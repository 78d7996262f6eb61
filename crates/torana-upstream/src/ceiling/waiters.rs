//! The queue before a ceiling: first come, first served, and who leaves from
//! the middle costs no more than who leaves from the front.

use std::task::Waker;

/// A place in the queue. Its holder gives it up by seeing its grant or by
/// leaving, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket(usize);

/// No slot.
const NONE: usize = usize::MAX;

/// Who waits, as a linked list in a vector: slots are used again, so a queue
/// that has been as long before allocates nothing.
#[derive(Debug)]
pub(super) struct Waiters {
    slots: Vec<Slot>,
    /// First of the unused slots, linked by `next`.
    unused: usize,
    first: usize,
    last: usize,
    length: u64,
}

#[derive(Debug)]
struct Slot {
    /// Absent once it has been granted a place.
    waker: Option<Waker>,
    next: usize,
    previous: usize,
}

impl Default for Waiters {
    fn default() -> Self {
        Waiters { slots: Vec::new(), unused: NONE, first: NONE, last: NONE, length: 0 }
    }
}

impl Waiters {
    /// How many wait.
    pub(super) const fn len(&self) -> u64 {
        self.length
    }

    /// One more waits, behind all others.
    pub(super) fn join(&mut self, waker: Waker) -> Ticket {
        let slot = Slot { waker: Some(waker), next: NONE, previous: self.last };
        let at = if self.unused == NONE {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let at = self.unused;
            self.unused = self.slots[at].next;
            self.slots[at] = slot;
            at
        };
        match self.last {
            NONE => self.first = at,
            last => self.slots[last].next = at,
        }
        self.last = at;
        self.length += 1;
        Ticket(at)
    }

    /// Grants the first a place; its waker is to be woken.
    pub(super) fn grant(&mut self) -> Option<Waker> {
        let at = self.first;
        let waker = self.slots.get_mut(at)?.waker.take();
        self.unlink(at);
        waker
    }

    /// Whether the holder has been granted a place, which ends the ticket;
    /// `waker` is kept otherwise. With a waker that is of no more use, to be
    /// dropped outside the lock: it may be the last thing that holds a task.
    pub(super) fn see(&mut self, ticket: Ticket, waker: &Waker) -> (bool, Option<Waker>) {
        match &mut self.slots[ticket.0].waker {
            None => {
                self.recycle(ticket.0);
                (true, None)
            }
            Some(known) if known.will_wake(waker) => (false, None),
            Some(known) => (false, Some(std::mem::replace(known, waker.clone()))),
        }
    }

    /// The holder leaves. Whether it had been granted a place, and a waker to
    /// be dropped outside the lock.
    pub(super) fn leave(&mut self, ticket: Ticket) -> (bool, Option<Waker>) {
        let waker = self.slots[ticket.0].waker.take();
        if waker.is_some() {
            self.unlink(ticket.0);
        }
        self.recycle(ticket.0);
        (waker.is_none(), waker)
    }

    fn unlink(&mut self, at: usize) {
        let Slot { next, previous, .. } = self.slots[at];
        match previous {
            NONE => self.first = next,
            previous => self.slots[previous].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.slots[next].previous = previous,
        }
        self.length -= 1;
    }

    fn recycle(&mut self, at: usize) {
        self.slots[at].next = self.unused;
        self.unused = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use torana_core::trace::IdSource;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Against a plain queue, with random joins, grants and leaves.
    #[test]
    fn it_is_a_queue_that_can_be_left_anywhere() {
        let mut waiters = Waiters::default();
        let mut model: VecDeque<(Ticket, Arc<Count>)> = VecDeque::new();
        let mut granted: Vec<Ticket> = Vec::new();
        let mut random = IdSource::new(17);
        let mut most = 0;
        for _ in 0..50_000 {
            let pick = usize::try_from(random.next() >> 1).unwrap();
            match pick % 8 {
                0..4 if model.len() < 50 => {
                    let count = Arc::<Count>::default();
                    model.push_back((waiters.join(count.clone().into()), count));
                }
                4 | 5 => {
                    let waker = waiters.grant();
                    let expected = model.pop_front();
                    assert_eq!(waker.is_some(), expected.is_some());
                    if let (Some(waker), Some((ticket, count))) = (waker, expected) {
                        waker.wake();
                        assert_eq!(count.0.load(Ordering::Relaxed), 1, "the first is woken");
                        granted.push(ticket);
                    }
                }
                6 if !model.is_empty() => {
                    let (ticket, count) = model.remove(pick % model.len()).unwrap();
                    assert!(!waiters.see(ticket, &count.into()).0);
                    assert!(!waiters.leave(ticket).0);
                }
                _ => {
                    if let Some(ticket) = granted.pop() {
                        let (granted, _) = if pick.is_multiple_of(2) {
                            waiters.leave(ticket)
                        } else {
                            waiters.see(ticket, Waker::noop())
                        };
                        assert!(granted);
                    }
                }
            }
            most = most.max(model.len() + granted.len());
            assert_eq!(waiters.len(), model.len() as u64);
        }
        assert!(waiters.slots.len() <= most, "slots are used again");
    }
}
