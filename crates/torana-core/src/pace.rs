//! Long work beside the traffic, in short steps.
//!
//! A thread of low priority still runs until its time slice is over, a millisecond or more, before a worker that has
//! got a request on the same core gets its turn: schedulers do not like to switch. So what takes long says when it may
//! be interrupted, and lets go of the core now and then.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a step is.
const STEP: Duration = Duration::from_micros(40);

/// Letting go takes this long at least if it is not a request or two that goes first, but work that takes long itself.
const LONG: Duration = Duration::from_millis(2);

/// How long to go on then without letting go: what is left is the share of the core that the priority says. Without
/// this the work might never come to its end.
const SPELL: Duration = Duration::from_millis(20);

/// How many items of a list are one bit of work; to ask for the time costs as much as some of them.
const BIT: usize = 32;

/// How many bytes are one bit of work.
const BLOCK: usize = 16 * 1024;

/// How this thread works.
#[derive(Clone, Copy)]
struct Steps {
    /// When it is to let go the next time.
    next: Instant,
    /// How it does that.
    let_go: fn(),
}

thread_local! {
    static STEPS: Cell<Option<Steps>> = const { Cell::new(None) };
}

/// Does `work` in steps. Between them it calls `let_go`, which lets others have the core that want it: `yield_now` of the
/// standard library.
pub fn in_steps<T>(let_go: fn(), work: impl FnOnce() -> T) -> T {
    let _guard = Guard(STEPS.replace(Some(Steps { next: Instant::now() + STEP, let_go })));
    work()
}

/// Frees these, one by one: to free what is large takes long too.
pub fn free<I: IntoIterator>(items: I) {
    stepwise(items).for_each(drop);
}

/// The same bytes in blocks; between them, work may be interrupted.
pub fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(BLOCK).inspect(|_| step())
}

/// Ends the steps, even if the work panics.
struct Guard(Option<Steps>);

impl Drop for Guard {
    fn drop(&mut self) {
        STEPS.set(self.0);
    }
}

/// Here work may be interrupted. Of no effect outside of [`in_steps`].
pub fn step() {
    let Some(steps) = STEPS.get() else { return };
    let now = Instant::now();
    if now < steps.next {
        return;
    }
    (steps.let_go)();
    let back = Instant::now();
    let pause = if back.duration_since(now) < LONG { STEP } else { SPELL };
    STEPS.set(Some(Steps { next: back + pause, ..steps }));
}

/// Here work may be interrupted that is at the item with this number of a long list.
pub fn bit(number: usize) {
    if number.is_multiple_of(BIT) {
        step();
    }
}

/// The same items; between them, work may be interrupted.
pub fn stepwise<I: IntoIterator>(items: I) -> impl Iterator<Item = I::Item> {
    let mut count = 0_usize;
    items.into_iter().inspect(move |_| {
        count = count.wrapping_add(1);
        bit(count);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static LET_GO: Cell<u32> = const { Cell::new(0) };
    }

    fn shortly() {
        LET_GO.set(LET_GO.get() + 1);
    }

    fn long() {
        shortly();
        let began = Instant::now();
        while began.elapsed() < LONG {}
    }

    /// Does work for so long.
    fn work(time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            assert_eq!(stepwise(0..BIT).count(), BIT);
        }
    }

    #[test]
    fn work_lets_go_at_each_step_and_only_inside() {
        work(2 * STEP);
        assert_eq!(LET_GO.get(), 0);
        in_steps(shortly, || work(200 * STEP));
        assert!(LET_GO.get() >= 2);
        let panics = std::panic::catch_unwind(|| in_steps::<()>(shortly, || panic!("work")));
        assert!(panics.is_err() && STEPS.get().is_none());
    }

    #[test]
    fn blocks_are_all_the_bytes_in_order() {
        let bytes: Vec<u8> = (0..=255).cycle().take(2 * BLOCK + 7).collect();
        assert_eq!(blocks(&bytes).map(<[u8]>::len).collect::<Vec<_>>(), [BLOCK, BLOCK, 7]);
        assert_eq!(blocks(&bytes).flatten().copied().collect::<Vec<_>>(), bytes);
    }

    #[test]
    fn what_is_freed_in_steps_is_freed() {
        let one = std::sync::Arc::new(());
        free(vec![one.clone(); 3 * BIT]);
        assert_eq!(std::sync::Arc::strong_count(&one), 1);
    }

    #[test]
    fn behind_others_that_take_long_it_is_done_all_the_same() {
        in_steps(long, || work(SPELL / 2));
        // Once, or twice if this thread itself had to wait.
        assert!((1..=2).contains(&LET_GO.get()));
    }
}
