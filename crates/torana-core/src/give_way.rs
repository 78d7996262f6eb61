//! Work that takes long and that no request waits for lets requests go first.
//!
//! A low priority alone is not enough: Linux lets a thread that has begun a
//! slice run on for most of a millisecond before one of a higher priority that
//! wakes on the same core gets it (`RUN_TO_PARITY` of its EEVDF scheduler), and
//! a configuration of ten thousand routes keeps a core busy for a hundred of
//! them. So such work offers its core every few microseconds. Where nobody
//! wants it, the offer costs a system call that does nothing.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// How long a worker may be kept waiting.
const STRETCH: Duration = Duration::from_micros(50);
/// How many steps are taken between two looks at the clock.
const STEPS: u32 = 16;
/// How long all of a piece of work gives way. On a machine that is busy to the
/// last it would hardly come on; then it has to wait its turns no longer.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    static MANNERS: Cell<Option<Manners>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Manners {
    until: Instant,
    offered: Instant,
    steps: u32,
}

/// Does `work`, which gives way wherever it calls [`give_way`].
pub fn giving_way<T>(work: impl FnOnce() -> T) -> T {
    struct Before(Option<Manners>);
    impl Drop for Before {
        fn drop(&mut self) {
            MANNERS.set(self.0);
        }
    }
    let now = Instant::now();
    let _before = Before(MANNERS.replace(Some(Manners { until: now + PATIENCE, offered: now, steps: 0 })));
    work()
}

/// One step of work is done, a route compiled or a value read: somebody else
/// may have the core now. Nothing happens outside [`giving_way`].
#[inline]
pub fn give_way() {
    if let Some(manners) = MANNERS.get() {
        offer(manners);
    }
}

fn offer(mut manners: Manners) {
    manners.steps += 1;
    if manners.steps >= STEPS {
        manners.steps = 0;
        let now = Instant::now();
        if now >= manners.until {
            return MANNERS.set(None);
        }
        if now.duration_since(manners.offered) >= STRETCH {
            thread::yield_now();
            manners.offered = Instant::now();
        }
    }
    MANNERS.set(Some(manners));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_gives_way_only_while_it_is_asked_to() {
        give_way();
        assert!(MANNERS.get().is_none());
        let steps = giving_way(|| {
            (0..STEPS + 3).for_each(|_| give_way());
            MANNERS.get().map(|manners| manners.steps)
        });
        assert_eq!(steps, Some(3));
        assert!(MANNERS.get().is_none());
    }

    #[test]
    fn the_core_is_offered_after_every_stretch() {
        giving_way(|| {
            let begun = MANNERS.get().unwrap().offered;
            let long_ago = begun.checked_sub(STRETCH).unwrap();
            MANNERS.set(Some(Manners { offered: long_ago, steps: STEPS - 1, ..MANNERS.get().unwrap() }));
            give_way();
            assert!(MANNERS.get().unwrap().offered >= begun);
        });
    }

    #[test]
    fn patience_ends() {
        giving_way(|| {
            let now = Instant::now();
            MANNERS.set(Some(Manners { until: now, offered: now, steps: STEPS - 1 }));
            give_way();
            assert!(MANNERS.get().is_none());
        });
    }

    #[test]
    fn a_panic_does_not_leave_manners_behind() {
        let panicked = std::panic::catch_unwind(|| giving_way(|| panic!("as a test")));
        assert!(panicked.is_err());
        assert!(MANNERS.get().is_none());
    }
}
