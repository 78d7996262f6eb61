use super::lane::Wait;
use super::*;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake};
use std::time::Instant;
use torana_core::deadline::Deadline;
use torana_core::trace::IdSource;
use torana_net::timer;

/// How often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A wait that is polled by hand.
struct Hand {
    wait: Wait,
    bell: Arc<Bell>,
}

impl Hand {
    /// Polled once.
    fn of(lane: &Rc<Lane>) -> Hand {
        let mut hand = Hand { wait: lane.wait(), bell: Arc::default() };
        assert!(hand.poll().is_none(), "there is no free place");
        hand
    }

    fn poll(&mut self) -> Option<Place> {
        let waker = Waker::from(self.bell.clone());
        match Pin::new(&mut self.wait).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    fn rung(&self) -> usize {
        self.bell.0.load(Ordering::SeqCst)
    }
}

fn lanes<const N: usize>(most: u32) -> (Arc<Ceiling>, [Rc<Lane>; N]) {
    let ceiling = Arc::new(Ceiling::new(most));
    let spec = CeilingSpec { most, ..CeilingSpec::DEFAULT };
    (ceiling.clone(), std::array::from_fn(|_| Lane::new(&ceiling, &spec)))
}

fn counts(ceiling: &Ceiling) -> (u64, u64) {
    let CeilingCounts { taken, waiting, .. } = ceiling.counts();
    (taken, waiting)
}

/// Runs `future` to its end on this thread, sweeping timers at times that go
/// up by a tick.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut now = timer::now();
    for _ in 0..1000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        now += timer::TICK;
        timer::sweep(now);
    }
    panic!("it never ends");
}

#[test]
fn places_are_taken_and_given_back() {
    let (ceiling, [a, b]) = lanes(3);
    let places: Vec<_> = [&a, &b, &a].map(|lane| lane.try_enter().unwrap()).into();
    assert!(a.try_enter().is_none() && b.try_enter().is_none());
    assert_eq!(ceiling.counts(), CeilingCounts { most: 3, taken: 3, waiting: 0 });
    drop(places);
    assert_eq!(counts(&ceiling), (0, 0));
    assert!(b.try_enter().is_some());
}

#[test]
fn a_place_is_not_free_while_somebody_waits_for_it() {
    let two = Word::new(2);
    assert!(two.is_free() && Word(two.0 + ONE_TAKEN).is_free());
    assert!(!Word(two.0 + 2 * ONE_TAKEN).is_free());
    assert!(!Word(two.0 + ONE_TAKEN + ONE_WAITING).is_free(), "a ceiling that is just being raised");
}

#[test]
fn first_come_first_served_across_workers() {
    let (ceiling, [a, b, c]) = lanes(1);
    let place = a.try_enter().unwrap();
    let mut hands: VecDeque<Hand> = [&b, &a, &c, &b, &a, &a, &c].map(Hand::of).into();
    assert_eq!(counts(&ceiling), (1, 7));
    assert_eq!((a.queued.get(), b.queued.get(), c.queued.get()), (3, 2, 2));
    let mut place = Some(place);
    while let Some(mut first) = hands.pop_front() {
        assert!(hands.iter_mut().chain([&mut first]).all(|hand| hand.rung() == 0 && hand.poll().is_none()));
        drop(place.take());
        assert_eq!(first.rung(), 1, "the first is woken");
        assert!(hands.iter_mut().all(|hand| hand.rung() == 0 && hand.poll().is_none()), "and nobody else");
        assert!(a.try_enter().is_none(), "nobody gets in between");
        place = first.poll();
        assert!(place.is_some());
    }
    drop(place);
    assert_eq!(counts(&ceiling), (0, 0));
    assert_eq!((a.queued.get(), b.queued.get(), c.queued.get()), (0, 0, 0));
}

#[test]
fn who_goes_away_leaves_the_queue_and_hands_on_what_it_was_given() {
    let (ceiling, [a, b]) = lanes(1);
    let place = a.try_enter().unwrap();
    let (first, middle, mut last) = (Hand::of(&a), Hand::of(&b), Hand::of(&b));
    drop(middle);
    assert_eq!(counts(&ceiling), (1, 2));
    drop(place);
    assert_eq!((first.rung(), last.rung()), (1, 0));
    drop(first);
    assert_eq!(last.rung(), 1, "the place that was not seen goes to the next");
    let place = last.poll().unwrap();
    drop(last);
    assert_eq!(counts(&ceiling), (1, 0));
    drop(place);
    assert_eq!(counts(&ceiling), (0, 0));
    drop(a.wait());
    assert_eq!(counts(&ceiling), (0, 0), "never polled, never there");
}

#[test]
fn a_task_that_moved_is_woken_where_it_is() {
    let (_, [lane]) = lanes(1);
    let place = lane.try_enter();
    let mut hand = Hand::of(&lane);
    let old = std::mem::take(&mut hand.bell);
    assert!(hand.poll().is_none());
    drop(place);
    assert_eq!((old.0.load(Ordering::SeqCst), hand.rung()), (0, 1));
}

#[test]
fn a_full_queue_and_a_long_wait_are_refused() {
    let ceiling = Arc::new(Ceiling::new(1));
    let spec = CeilingSpec { queue: 2, ..CeilingSpec::DEFAULT };
    let (a, b) = (Lane::new(&ceiling, &spec), Lane::new(&ceiling, &spec));
    let place = block_on(a.enter(Deadline::NONE)).unwrap();
    let waiting = [Hand::of(&a), Hand::of(&a)];
    let rejection = block_on(a.enter(Deadline::NONE)).unwrap_err();
    assert_eq!(rejection.refusal.code, "ceiling.full");
    assert_eq!(rejection.cause.as_deref(), Some("all 1 places are taken, 2 requests wait"));
    let started = timer::now();
    let rejection = block_on(b.enter(Deadline::NONE)).unwrap_err();
    assert_eq!(rejection.refusal.code, "ceiling.timeout", "the other worker's queue is its own");
    let waited = timer::coarse_now() - started;
    assert!((spec.queue_timeout..=spec.queue_timeout + timer::TICK).contains(&waited), "{waited:?}");
    let soon = Deadline::after(timer::now(), Duration::from_millis(10));
    let started = timer::coarse_now();
    assert!(block_on(b.enter(soon)).is_err());
    assert!(timer::coarse_now() - started < spec.queue_timeout, "the request's own deadline was earlier");
    assert_eq!((a.counts().full, b.counts().timed_out, b.counts().waited), (1, 2, 2));
    drop(waiting);
    drop(place);
    assert_eq!(counts(&ceiling), (0, 0));
    let none = Lane::new(&ceiling, &CeilingSpec { queue: 0, ..spec });
    let _place = block_on(none.enter(Deadline::NONE)).unwrap();
    assert_eq!(block_on(none.enter(Deadline::NONE)).unwrap_err().refusal.code, "ceiling.full");
}

#[test]
fn a_moved_ceiling_holds_from_then_on() {
    let (ceiling, [lane]) = lanes(2);
    let mut places: Vec<_> = (0..2).map(|_| lane.try_enter().unwrap()).collect();
    let mut hands: VecDeque<_> = (0..4).map(|_| Hand::of(&lane)).collect();
    ceiling.resize(4);
    assert_eq!(counts(&ceiling), (4, 2));
    assert_eq!(hands.iter().map(Hand::rung).collect::<Vec<_>>(), [1, 1, 0, 0]);
    places.extend(hands.drain(..2).map(|mut hand| hand.poll().unwrap()));
    ceiling.resize(1);
    assert_eq!(ceiling.counts(), CeilingCounts { most: 1, taken: 4, waiting: 2 });
    for left in [3, 2, 1] {
        places.pop();
        assert_eq!(counts(&ceiling), (left, 2), "nobody is let in above the new ceiling");
    }
    places.pop();
    assert_eq!((counts(&ceiling), hands[0].rung(), hands[1].rung()), ((1, 1), 1, 0));
    ceiling.resize(u32::MAX);
    assert_eq!(ceiling.counts().most, u64::from(Ceiling::HIGHEST));
    drop(hands);
    ceiling.resize(0);
    assert_eq!(ceiling.counts(), CeilingCounts { most: 1, taken: 0, waiting: 0 });
}

/// Tasks on worker threads like the gateway's, that come and go at random.
fn hammer(threads: u64, tasks: u64, rounds: u64, most: u32, gives_up: u64) -> (Arc<Ceiling>, usize) {
    let ceiling = Arc::new(Ceiling::new(most));
    let (inside, entered, gate) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(8));
    let (inside, entered) = (Arc::new(inside), Arc::new(entered));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (ceiling, inside, entered, gate) = (&ceiling, &inside, &entered, &gate);
            scope.spawn(move || {
                let lane = Lane::new(ceiling, &CeilingSpec::DEFAULT);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let local = tokio::task::LocalSet::new();
                for task in 0..tasks {
                    let (lane, inside, entered) = (lane.clone(), inside.clone(), entered.clone());
                    local.spawn_local(async move {
                        let mut random = IdSource::new(thread << 32 | task);
                        for _ in 0..rounds {
                            let mut wait = lane.wait();
                            // Some lose patience after a turn or two of their worker.
                            let patience = if random.next() % 100 < gives_up { random.next() % 3 } else { u64::MAX };
                            let mut turns = 0;
                            let place = poll_fn(|cx| match Pin::new(&mut wait).poll(cx) {
                                Poll::Ready(place) => Poll::Ready(Some(place)),
                                Poll::Pending if turns >= patience => Poll::Ready(None),
                                Poll::Pending => {
                                    turns += 1;
                                    if patience < u64::MAX {
                                        cx.waker().wake_by_ref();
                                    }
                                    Poll::Pending
                                }
                            })
                            .await;
                            let Some(place) = place else { continue };
                            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(now <= most as usize, "{now} at once");
                            entered.fetch_add(1, Ordering::Relaxed);
                            if random.next().is_multiple_of(4) {
                                tokio::task::yield_now().await;
                            }
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    });
                }
                gate.wait();
                // A wake-up that is lost leaves a task waiting for ever.
                let all = async { tokio::time::timeout(Duration::from_secs(60), local).await };
                runtime.block_on(all).expect("every task gets its turn");
            });
        }
    });
    (ceiling, Arc::try_unwrap(entered).unwrap().into_inner())
}

#[test]
fn eight_threads_never_exceed_it_and_lose_no_wake_up() {
    let started = Instant::now();
    let (ceiling, entered) = hammer(8, 25, 500, 4, 0);
    assert_eq!(entered, 100_000);
    assert_eq!(counts(&ceiling), (0, 0), "after {:?}", started.elapsed());
    assert_eq!(ceiling.lock().len(), 0);
}

#[test]
fn nor_when_many_lose_patience() {
    let (ceiling, entered) = hammer(8, 25, 200, 3, 50);
    assert!((15_000..40_000).contains(&entered), "{entered} of 40 000 entered");
    assert_eq!(counts(&ceiling), (0, 0));
    assert_eq!(ceiling.lock().len(), 0);
}

/// A worker that has always one more request does not starve another.
#[test]
fn a_busy_worker_does_not_keep_the_others_out() {
    let (ceiling, [busy, calm]) = lanes(2);
    let mut places: VecDeque<Place> = (0..2).map(|_| busy.try_enter().unwrap()).collect();
    let mut queue: VecDeque<Hand> = (0..5).map(|_| Hand::of(&busy)).collect();
    let mut waiting = Hand::of(&calm);
    let mut before = 0;
    while waiting.rung() == 0 {
        places.pop_front();
        let entered = queue.front_mut().and_then(Hand::poll);
        if let Some(place) = entered {
            queue.pop_front();
            places.push_back(place);
            queue.push_back(Hand::of(&busy));
            before += 1;
        }
    }
    assert_eq!(before, 5, "only those who were there before");
    assert!(waiting.poll().is_some());
    drop((places, queue));
    assert_eq!(counts(&ceiling), (0, 0));
}
