//! Who asks for what nobody has: one of all that want it, on whatever worker.

use super::store::Key;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use torana_core::verdict::LocalBoxFuture;

/// What is being asked for.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Key, Arc<Flight>>>);

#[derive(Default)]
struct Flight(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    has_landed: bool,
    waiting: Vec<(u64, Waker)>,
    next: u64,
}

/// Most that wait for one: beyond, everybody goes alone.
const SEATS: usize = 10_000;

/// What came of joining.
pub(super) enum Joined {
    /// Nobody is asking: do.
    Lead(Lead),
    /// Somebody is.
    Follow(Follow),
}

/// The right to ask, and the duty to say when it is over: dropping it does.
pub(super) struct Lead {
    flights: Arc<super::store::Store>,
    key: Key,
    flight: Arc<Flight>,
}

/// A seat.
pub(super) struct Follow {
    flight: Arc<Flight>,
    seat: Option<u64>,
}

impl Lead {
    /// Asks for `key`, or waits for who does.
    pub(super) fn or_follow(store: &Arc<super::store::Store>, key: &Key) -> Joined {
        let mut flights = lock(&store.flights.0);
        if let Some(flight) = flights.get(key) {
            return Joined::Follow(Follow { flight: flight.clone(), seat: None });
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), flight.clone());
        Joined::Lead(Lead { flights: store.clone(), key: key.clone(), flight })
    }

    /// The same for who would not wait.
    pub(super) fn alone(store: &Arc<super::store::Store>, key: &Key) -> Option<Lead> {
        match Lead::or_follow(store, key) {
            Joined::Lead(lead) => Some(lead),
            Joined::Follow(_) => None,
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        lock(&self.flights.flights.0).remove(&self.key);
        let waiting = {
            let mut seats = lock(&self.flight.0);
            seats.has_landed = true;
            std::mem::take(&mut seats.waiting)
        };
        // All of them, outside of the lock: those who find nothing go alone.
        for (_, waker) in waiting {
            waker.wake();
        }
    }
}

impl Follow {
    /// Waits until it has landed or `most` is over; tells whether it has.
    pub(super) async fn wait(mut self, mut most: LocalBoxFuture<'static, ()>) -> bool {
        poll_fn(|cx| match Pin::new(&mut self).poll_landed(cx) {
            Poll::Ready(landed) => Poll::Ready(landed),
            Poll::Pending => most.as_mut().poll(cx).map(|()| false),
        })
        .await
    }

    fn poll_landed(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut seats = lock(&self.flight.0);
        if seats.has_landed {
            return Poll::Ready(true);
        }
        let own = self.seat;
        let at = seats.waiting.iter().position(|(seat, _)| Some(*seat) == own);
        match at.and_then(|at| seats.waiting.get_mut(at)) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => {
                if seats.waiting.len() >= SEATS {
                    return Poll::Ready(false);
                }
                let seat = seats.next;
                seats.next += 1;
                seats.waiting.push((seat, cx.waker().clone()));
                self.seat = Some(seat);
            }
        }
        Poll::Pending
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if let Some(seat) = self.seat {
            lock(&self.flight.0).waiting.retain(|(own, _)| *own != seat);
        }
    }
}

/// Nothing in here panics while it holds a lock, so there is nothing to mend.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
