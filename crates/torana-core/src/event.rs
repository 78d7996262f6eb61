//! What policies count.
//!
//! A policy declares its events as constants beside its refusals
//! ([`PolicyKind::EVENTS`](crate::policy::PolicyKind::EVENTS)), asks its site for
//! the [`Tally`] of them, and counts; metric, labels and reference page are
//! derived. Events have no labels of their own: what a client sends can never
//! become a series.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Something a policy counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, the label `event`: lower case, a word or two joined by `_`.
    pub name: &'static str,
    /// What it means; one sentence.
    pub help: &'static str,
}

/// Counts of the events of one policy in one route.
///
/// Workers share it, and each counts in a place of its own: an increment is one
/// atomic addition to memory that nobody else writes, as long as there are no
/// more workers than [places](PLACES). Without locks.
#[derive(Debug)]
pub struct Tally {
    events: &'static [&'static Event],
    places: Box<[Place]>,
}

/// A cache line or two, so that workers do not wait for each other's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place([AtomicU64; Tally::MOST]);

/// Workers that count without sharing memory; with more, some share.
const PLACES: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
}

impl Tally {
    /// Most events of a policy.
    pub const MOST: usize = 16;

    /// Nothing counted yet of `events`.
    #[must_use]
    pub fn new(events: &'static [&'static Event]) -> Tally {
        let places = if events.is_empty() { 0 } else { PLACES };
        Tally { events, places: (0..places).map(|_| Place::default()).collect() }
    }

    /// Counts `event`; one that was not declared is counted nowhere.
    pub fn count(&self, event: &'static Event) {
        let position = self.events.iter().position(|known| std::ptr::eq(*known, event));
        debug_assert!(position.is_some(), "`{}` is not among the events of its kind", event.name);
        // The thread may be ending: then it counts with the first.
        let place = self.places.get(PLACE.try_with(|place| *place).unwrap_or(0));
        if let (Some(position), Some(place)) = (position, place)
            && let Some(count) = place.0.get(position)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sums over all workers, in the order of the declarations.
    pub fn counts(&self) -> impl Iterator<Item = (&'static Event, u64)> + '_ {
        self.events.iter().enumerate().map(|(position, event)| {
            let counts = self.places.iter().filter_map(|place| place.0.get(position));
            (*event, counts.map(|count| count.load(Ordering::Relaxed)).sum())
        })
    }
}

/// Declares events as constants and lists them, as
/// [`refusals!`](crate::refusals) does with refusals.
///
/// ```
/// torana_core::events! {
///     SHED = "shed" "There was no room for it.";
/// }
/// assert_eq!(EVENTS[0], &SHED);
/// ```
#[macro_export]
macro_rules! events {
    ($($name:ident = $label:literal $help:literal;)+) => {
        $(
            #[doc = $help]
            pub static $name: $crate::event::Event = $crate::event::Event { name: $label, help: $help };
        )+
        /// Every event declared here.
        pub static EVENTS: &[&$crate::event::Event] = &[$(&$name),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(unreachable_pub, reason = "kinds list their events for others")]
    mod declared {
        crate::events! {
            ONE = "one" "The first.";
            TWO = "two" "The second.";
        }
    }
    use declared::{EVENTS, ONE, TWO};

    #[test]
    fn threads_are_summed() {
        let tally = Tally::new(EVENTS);
        std::thread::scope(|scope| {
            for _ in 0..2 * PLACES {
                scope.spawn(|| (0..100).for_each(|_| tally.count(&TWO)));
            }
        });
        tally.count(&ONE);
        let counts: Vec<_> = tally.counts().map(|(event, count)| (event.name, count)).collect();
        assert_eq!(counts, [("one", 1), ("two", 1600)]);
    }

    #[test]
    fn without_events_there_is_no_memory() {
        let tally = Tally::new(&[]);
        assert_eq!((tally.counts().count(), tally.places.len()), (0, 0));
    }
}
