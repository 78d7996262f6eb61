//! Deadlines that cost nothing while they do not pass.
//!
//! Every request moves several deadlines and almost none ever passes, so
//! arming one is a store into a slot; a sweep per [`TICK`] finds the slots
//! whose time has come and wakes their tasks. The price is a deadline that may
//! fire one tick late, which no limit of a gateway minds.

use std::cell::RefCell;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use torana_core::deadline::Deadline;

/// How often the sweep runs.
pub const TICK: Duration = Duration::from_millis(50);

thread_local! {
    static SLOTS: RefCell<Slots> = RefCell::new(Slots { slots: Vec::new(), free: Vec::new(), now: Instant::now(), first: None });
}

struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Time of the last sweep or request, whichever was later.
    now: Instant,
    /// No slot is due before this; `None` when no slot is armed.
    first: Option<Instant>,
}

#[derive(Default)]
struct Slot {
    at: Option<Instant>,
    waker: Option<Waker>,
}

const NO_SLOT: u32 = u32::MAX;

/// One deadline of one task.
#[derive(Debug)]
pub struct Timer {
    slot: u32,
}

impl Timer {
    /// A timer that is not armed.
    #[must_use]
    pub const fn new() -> Timer {
        Timer { slot: NO_SLOT }
    }

    /// Moves the deadline.
    pub fn arm(&mut self, deadline: Deadline) {
        let at = deadline.instant();
        if self.slot == NO_SLOT && at.is_none() {
            return;
        }
        SLOTS.with_borrow_mut(|slots| {
            if self.slot == NO_SLOT {
                self.slot = slots.occupy();
            }
            if let Some(slot) = slots.slots.get_mut(self.slot as usize) {
                slot.at = at;
            }
            if let Some(at) = at
                && slots.first.is_none_or(|first| at < first)
            {
                slots.first = Some(at);
            }
        });
    }

    /// Takes the deadline away.
    pub fn disarm(&mut self) {
        self.arm(Deadline::NONE);
    }

    /// Whether the deadline has passed; if not, the task is woken when it has.
    pub fn poll_expired(&self, cx: &Context<'_>) -> bool {
        if self.slot == NO_SLOT {
            return false;
        }
        SLOTS.with_borrow_mut(|slots| {
            let now = slots.now;
            let Some(slot) = slots.slots.get_mut(self.slot as usize) else { return false };
            match slot.at {
                None => false,
                Some(at) if at <= now => true,
                Some(_) => {
                    if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        slot.waker = Some(cx.waker().clone());
                    }
                    false
                }
            }
        })
    }
}

impl Default for Timer {
    fn default() -> Self {
        Timer::new()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.slot != NO_SLOT {
            // The thread may be ending; then its slots are gone already.
            let _ = SLOTS.try_with(|slots| slots.borrow_mut().release(self.slot));
        }
    }
}

impl Slots {
    fn occupy(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.slots.push(Slot::default());
        u32::try_from(self.slots.len() - 1).unwrap_or(NO_SLOT)
    }

    fn release(&mut self, slot: u32) {
        if let Some(freed) = self.slots.get_mut(slot as usize) {
            *freed = Slot::default();
            self.free.push(slot);
        }
    }
}

/// The time, at most one [`TICK`] old: good enough for deadlines.
#[must_use]
pub fn coarse_now() -> Instant {
    SLOTS.with_borrow(|slots| slots.now)
}

/// Reads the clock and remembers it for [`coarse_now`].
#[must_use]
pub fn now() -> Instant {
    let now = Instant::now();
    SLOTS.with_borrow_mut(|slots| slots.now = now);
    now
}

/// Wakes the tasks whose deadline has passed at `now`.
pub fn sweep(now: Instant) {
    let due = SLOTS.with_borrow_mut(|slots| {
        slots.now = now;
        if slots.first.is_none_or(|first| first > now) {
            return Vec::new();
        }
        let mut first = None;
        let mut due = Vec::new();
        for slot in &mut slots.slots {
            match slot.at {
                Some(at) if at <= now => due.extend(slot.waker.take()),
                Some(at) if first.is_none_or(|first| at < first) => first = Some(at),
                _ => {}
            }
        }
        slots.first = first;
        due
    });
    // Outside the borrow: waking may run code that arms timers.
    for waker in due {
        waker.wake();
    }
}

/// Wakes every task that waits with a timer, so that it looks around.
pub fn wake_all() {
    let all: Vec<Waker> =
        SLOTS.with_borrow_mut(|slots| slots.slots.iter_mut().filter_map(|slot| slot.waker.take()).collect());
    for waker in all {
        waker.wake();
    }
}

/// Sleeps until `timer` expires: for tasks that wait for nothing else.
pub async fn expired(timer: &Timer) {
    std::future::poll_fn(
        |cx| if timer.poll_expired(cx) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending },
    )
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_moved_deadline_fires_once_at_its_last_place() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let start = now();
        let second = Duration::from_secs(1);
        let mut timer = Timer::new();
        timer.arm(Deadline::after(start, second));
        assert!(!timer.poll_expired(&cx));
        timer.arm(Deadline::after(start, 5 * second));
        sweep(start + 2 * second);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert!(!timer.poll_expired(&cx));
        sweep(start + 5 * second);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(timer.poll_expired(&cx));
        timer.disarm();
        assert!(!timer.poll_expired(&cx));
    }

    #[test]
    fn slots_are_reused() {
        let start = now();
        let mut first = Timer::new();
        first.arm(Deadline::after(start, Duration::from_secs(1)));
        let slot = first.slot;
        drop(first);
        let mut second = Timer::new();
        second.arm(Deadline::after(start, Duration::from_secs(1)));
        assert_eq!(second.slot, slot);
    }
}
