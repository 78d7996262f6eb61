//! Asks sources again and again, beside the requests.
//!
//! [`discovery`] gives two halves: [`Discovery`] stays with whoever puts plans
//! in force, [`Discovering`] goes to a thread of its own. What a source says is
//! noted in the [`Source`]; whoever runs the thread is told, and makes a plan of
//! it.

use super::{Answer, Kind, ReadFile, Source, dns, of_file};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::MissedTickBehavior;

/// Questions under way at once.
const MOST_AT_ONCE: usize = 64;

/// The longest pause after a failure; a longer `min_ttl` is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a file is read when nobody has noticed a change.
const REREAD: Duration = Duration::from_secs(10);

/// How often it is looked at whether spares are needed.
const SPARES: Duration = Duration::from_secs(1);

/// Says which sources to ask.
#[derive(Clone, Debug)]
pub struct Discovery(UnboundedSender<Message>);

/// The half that asks.
#[derive(Debug)]
pub struct Discovering {
    messages: UnboundedReceiver<Message>,
    read: ReadFile,
}

#[derive(Debug)]
enum Message {
    /// Ask these and no others.
    Follow(Vec<Arc<Source>>),
    /// Ask these too, and say when each has been tried.
    Prepare(Vec<Arc<Source>>, mpsc::Sender<()>),
    /// Files may have changed.
    Look,
}

/// What is told of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Told {
    /// It has other endpoints than before.
    pub changed: bool,
    /// It fails, and did not before.
    pub failing: bool,
    /// It has answered well, and failed before.
    pub back: bool,
    /// So many endpoints of its answer are not taken, which is news.
    pub left_out: usize,
}

/// What is told to whoever runs the thread.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A source was asked.
    Asked(&'a Source, Told),
    /// Time has passed, and there are spares: who is well may have changed.
    Spares,
}

/// Two halves that have nothing to do yet; `read` reads files.
#[must_use]
pub fn discovery(read: ReadFile) -> (Discovery, Discovering) {
    let (sender, messages) = unbounded_channel();
    (Discovery(sender), Discovering { messages, read })
}

impl Discovery {
    /// From now on these are asked, and no others.
    pub fn follow(&self, sources: impl IntoIterator<Item = Arc<Source>>) {
        // The other half is gone when the process ends.
        let _ = self.0.send(Message::Follow(sources.into_iter().collect()));
    }

    /// Asks these too, and waits until each has been tried, but not longer than
    /// `patience`. Blocks: not for a worker.
    pub fn prepare(&self, sources: impl IntoIterator<Item = Arc<Source>>, patience: Duration) {
        let untried: Vec<Arc<Source>> = sources.into_iter().filter(|source| !source.is_tried()).collect();
        if untried.is_empty() {
            return;
        }
        let (tried, wait) = mpsc::channel();
        if self.0.send(Message::Prepare(untried, tried)).is_ok() {
            // Too late is an answer as well: then there is none.
            let _ = wait.recv_timeout(patience);
        }
    }

    /// Files may have changed: reads them.
    pub fn look(&self) {
        let _ = self.0.send(Message::Look);
    }
}

/// A source that is asked.
struct Followed {
    source: Arc<Source>,
    look: Rc<Notify>,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the tasks have in common.
#[derive(Clone)]
struct Common {
    read: ReadFile,
    slots: Rc<Semaphore>,
    events: UnboundedSender<(Arc<Source>, Told)>,
}

impl Discovering {
    /// Asks until the last [`Discovery`] is dropped, and tells what comes of it.
    /// To be run on a current-thread runtime of its own, with I/O and time.
    pub async fn run(self, tell: impl FnMut(Notice<'_>)) {
        LocalSet::new().run_until(self.run_here(tell)).await;
    }

    async fn run_here(mut self, mut tell: impl FnMut(Notice<'_>)) {
        let (sender, mut events) = unbounded_channel();
        let common = Common { read: self.read, slots: Rc::new(Semaphore::new(MOST_AT_ONCE)), events: sender };
        let mut followed: Vec<Followed> = Vec::new();
        let mut waiting: Vec<(Vec<Arc<Source>>, mpsc::Sender<()>)> = Vec::new();
        let mut spares = tokio::time::interval(SPARES);
        spares.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.messages.recv() => match message {
                    None => return,
                    Some(Message::Look) => {
                        let files = followed.iter().filter(|known| matches!(known.source.spec().kind, Kind::File { .. }));
                        files.for_each(|file| file.look.notify_one());
                    }
                    Some(Message::Follow(sources)) => {
                        followed.retain(|known| sources.iter().any(|source| Arc::ptr_eq(source, &known.source)));
                        add(&mut followed, sources, &common);
                    }
                    Some(Message::Prepare(sources, tried)) => {
                        add(&mut followed, sources.clone(), &common);
                        waiting.push((sources, tried));
                    }
                },
                Some((source, told)) = events.recv() => tell(Notice::Asked(&source, told)),
                _ = spares.tick(), if followed.iter().any(|known| known.source.has_tiers()) => tell(Notice::Spares),
            }
            waiting.retain(|(sources, tried)| {
                let is_over = sources.iter().all(|source| source.is_tried());
                // Whoever waited may have lost patience.
                is_over.then(|| tried.send(())).is_none()
            });
        }
    }
}

fn add(followed: &mut Vec<Followed>, sources: Vec<Arc<Source>>, common: &Common) {
    for source in sources {
        if followed.iter().any(|known| Arc::ptr_eq(&known.source, &source)) {
            continue;
        }
        let look = Rc::new(Notify::new());
        let task = spawn_local(follow(source.clone(), look.clone(), common.clone())).abort_handle();
        followed.push(Followed { source, look, task });
    }
}

async fn follow(source: Arc<Source>, look: Rc<Notify>, common: Common) {
    loop {
        let answer = {
            // Nobody closes the semaphore.
            let _slot = common.slots.acquire().await;
            let asking = spawn_local(ask(source.clone(), common.read));
            // A panic on what somebody answered is a failure like others: the
            // source is asked again.
            asking.await.unwrap_or_else(|_| Err("a fault of the gateway: please report it".to_owned()))
        };
        let ttl = answer.as_ref().map_or(Duration::ZERO, |answer: &Answer| answer.ttl);
        let told = source.note(answer, Instant::now());
        let pause = pause(&source.spec().kind, ttl, source.record().failures_in_a_row);
        if common.events.send((source.clone(), told)).is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = look.notified() => {}
        }
    }
}

async fn ask(source: Arc<Source>, read: ReadFile) -> Result<Answer, String> {
    match &source.spec().kind {
        Kind::Dns(dns) => dns::ask(dns).await,
        Kind::File { path, http2 } => of_file(path, *http2, read),
    }
}

/// How long until a source is asked again.
fn pause(kind: &Kind, ttl: Duration, failures: u32) -> Duration {
    match kind {
        Kind::File { .. } => REREAD,
        Kind::Dns(dns) if failures == 0 => ttl.clamp(dns.min_ttl, dns.max_ttl.max(dns.min_ttl)),
        Kind::Dns(dns) => {
            let longest = LONGEST_PAUSE.min(dns.max_ttl).max(dns.min_ttl);
            dns.min_ttl.saturating_mul(1 << (failures - 1).min(16)).min(longest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{dns_spec, file_spec};
    use super::*;

    #[test]
    fn an_answer_holds_as_long_as_it_says_within_bounds() {
        let kind = dns_spec(&[], Duration::from_secs(5), Duration::from_secs(300)).kind;
        for (ttl, seconds) in [(0, 5), (4, 5), (60, 60), (86_400, 300)] {
            assert_eq!(pause(&kind, Duration::from_secs(ttl), 0), Duration::from_secs(seconds));
        }
        assert_eq!(pause(&file_spec("e.yaml".as_ref()).kind, Duration::ZERO, 0), REREAD);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let kind = dns_spec(&[], Duration::from_secs(5), Duration::from_secs(300)).kind;
        let pauses: Vec<u64> =
            [1, 2, 3, 4, 100].map(|failures| pause(&kind, Duration::ZERO, failures).as_secs()).into();
        assert_eq!(pauses, [5, 10, 20, 30, 30]);
        let slow = dns_spec(&[], Duration::from_secs(60), Duration::from_secs(300)).kind;
        assert_eq!(pause(&slow, Duration::ZERO, 9), Duration::from_secs(60));
    }
}
