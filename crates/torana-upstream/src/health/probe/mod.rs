//! The prober: asks endpoints how they are, beside the requests.
//!
//! It runs on a thread of its own, so that a worker that is busy does not make
//! endpoints look slow, and every endpoint is asked once and not once per
//! worker. Endpoints that are asked the same question at the same place are one
//! target, however many upstreams they belong to, and share its answers.
//!
//! [`prober`] gives two halves: [`Prober`] stays with whoever puts plans in
//! force, [`Probing`] goes to the thread. With every plan [`Prober::update`]
//! hands over all upstreams; targets that are still there keep their verdict,
//! their counts and their place in the schedule.

mod check;
mod grpc;
mod target;
#[cfg(test)]
mod tests;

use super::UpstreamHealth;
use super::active::{Hysteresis, Schedule, Verdict};
use super::state::ProbeNote;
use crate::spec::UpstreamSpec;
use check::{Probed, check};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use target::{Subject, Target, of_upstreams};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet, LocalSet};
use torana_core::metric::Counter;
use torana_core::trace::IdSource;

/// Probes under way at once: each holds a socket for up to its timeout. What is
/// due beyond that waits its turn.
const MOST_AT_ONCE: usize = 256;

/// A probe that begins this long behind its time is late.
const LATE: Duration = Duration::from_millis(100);

/// A prober that has nothing to do yet.
#[must_use]
pub fn prober() -> (Prober, Probing) {
    let (sender, updates) = unbounded_channel();
    let metrics = Arc::<ProberMetrics>::default();
    (Prober { updates: sender, metrics: metrics.clone() }, Probing { updates, metrics })
}

/// Tells the prober what to probe.
#[derive(Clone, Debug)]
pub struct Prober {
    updates: UnboundedSender<Vec<(Target, Vec<Subject>)>>,
    metrics: Arc<ProberMetrics>,
}

/// Probes so far. Written by the prober's thread alone.
#[derive(Debug, Default)]
pub struct ProberMetrics {
    /// Places probed now, each once.
    pub targets: Counter,
    /// Probes that passed.
    pub passed: Counter,
    /// Probes that failed.
    pub failed: Counter,
    /// Probes that could not be made, for reasons on the gateway's side.
    pub impossible: Counter,
    /// Probes that began late, because as many as may were under way or the
    /// prober's thread did not get to run.
    pub late: Counter,
}

impl Prober {
    /// Puts the views of these upstreams in force and probes what they ask to
    /// have probed, and nothing else. To be called with all upstreams of every
    /// plan that is put in force, at that moment. Does not wait.
    pub fn update<'a>(
        &self,
        upstreams: impl IntoIterator<Item = (&'a UpstreamSpec, &'a Arc<UpstreamHealth>)>,
        now: Instant,
    ) {
        let upstreams: Vec<_> = upstreams.into_iter().collect();
        for (_, health) in &upstreams {
            health.adopt(now);
        }
        // The prober is gone when the process ends, and then nobody asks.
        let _ = self.updates.send(of_upstreams(upstreams));
    }

    /// What it has done so far.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<ProberMetrics> {
        &self.metrics
    }
}

/// The half that probes.
#[derive(Debug)]
pub struct Probing {
    updates: UnboundedReceiver<Vec<(Target, Vec<Subject>)>>,
    metrics: Arc<ProberMetrics>,
}

impl Probing {
    /// Probes until the last [`Prober`] is dropped. To be run on an ordinary
    /// current-thread runtime of its own, with I/O and time. On tokio's
    /// `LocalRuntime` an HTTP/2 connection would outlive its probe for as long
    /// as the endpoint keeps it. Names are resolved on the runtime's blocking
    /// threads; a few are enough.
    pub async fn run(self) {
        let mut random = IdSource::random();
        LocalSet::new().run_until(self.run_with(&mut || random.next())).await;
    }

    async fn run_with(mut self, random: &mut impl FnMut() -> u64) {
        let mut round = Round::default();
        loop {
            let due = round.launch(Instant::now());
            self.metrics.late.add(std::mem::take(&mut round.late));
            tokio::select! {
                targets = self.updates.recv() => match targets {
                    Some(targets) => {
                        round.update(targets, Instant::now(), random);
                        self.metrics.targets.sub(self.metrics.targets.value());
                        self.metrics.targets.add(round.entries.len() as u64);
                    }
                    None => return,
                },
                Some(ended) = round.running.join_next_with_id() => {
                    let probed = round.finish(ended, random);
                    match probed {
                        Some(true) => self.metrics.passed.add(1),
                        Some(false) => self.metrics.failed.add(1),
                        None => self.metrics.impossible.add(1),
                    }
                }
                () = until(due) => {}
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// What the prober works on.
#[derive(Default)]
struct Round {
    /// By number; numbers are not used again.
    entries: HashMap<u64, Entry>,
    next: u64,
    due: BTreeSet<(Instant, u64)>,
    running: JoinSet<Probed>,
    /// Which entry a running probe is for.
    tasks: HashMap<tokio::task::Id, u64>,
    /// Probes that began late, to be counted.
    late: u64,
}

/// One target with what is known about it.
struct Entry {
    target: Rc<Target>,
    subjects: Vec<Subject>,
    so_far: Hysteresis,
    schedule: Schedule,
    /// When the next probe is due; while one is under way, when that began.
    at: Instant,
    last: Option<ProbeNote>,
}

impl Round {
    /// Starts what is due and says when to look again; `None`: when something
    /// has happened.
    fn launch(&mut self, now: Instant) -> Option<Instant> {
        while self.running.len() < MOST_AT_ONCE {
            let &(at, number) = self.due.first()?;
            if at > now {
                return Some(at);
            }
            self.due.pop_first();
            self.late += u64::from(now - at > LATE);
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            entry.at = now;
            let target = entry.target.clone();
            let task = self.running.spawn_local(async move { check(&target).await });
            self.tasks.insert(task.id(), number);
        }
        None
    }

    /// Takes up new targets. Those that are known go on as they are; results
    /// of probes for those that are gone will find nobody.
    fn update(&mut self, targets: Vec<(Target, Vec<Subject>)>, now: Instant, random: &mut impl FnMut() -> u64) {
        let mut known: HashMap<String, Vec<u64>> = HashMap::new();
        for (&number, entry) in &self.entries {
            known.entry(entry.target.hint()).or_default().push(number);
        }
        let mut before = std::mem::take(&mut self.entries);
        for (target, subjects) in targets {
            let alike = known.get(&target.hint()).into_iter().flatten();
            let same = alike.copied().find(|number| before.get(number).is_some_and(|entry| *entry.target == target));
            let kept = same.and_then(|number| Some((number, before.remove(&number)?)));
            let (number, entry) = match kept {
                Some((number, entry)) => (number, entry.with_subjects(subjects, now)),
                None => {
                    let (schedule, at) = Schedule::start(now, &target.active, random);
                    self.next += 1;
                    self.due.insert((at, self.next));
                    let so_far = Hysteresis::resume(verdict_on(&subjects));
                    let target = Rc::new(target);
                    (self.next, Entry { target, subjects, so_far, schedule, at, last: None })
                }
            };
            self.entries.insert(number, entry);
        }
        for (number, gone) in before {
            self.due.remove(&(gone.at, number));
        }
    }

    /// Takes the result of a probe and plans the next. Says whether it passed.
    fn finish(
        &mut self,
        ended: Result<(tokio::task::Id, Probed), JoinError>,
        random: &mut impl FnMut() -> u64,
    ) -> Option<bool> {
        let now = Instant::now();
        let (task, probed) = match ended {
            Ok((task, probed)) => (task, probed),
            Err(error) => (error.id(), Probed { passed: None, words: "the probe itself failed".into() }),
        };
        let number = self.tasks.remove(&task)?;
        let Some(entry) = self.entries.get_mut(&number) else { return probed.passed };
        let active = &entry.target.active;
        if let Some(passed) = probed.passed {
            entry.so_far.observe(passed, active);
        }
        let note = ProbeNote {
            at: now,
            passed: probed.passed,
            words: probed.words,
            passes: entry.so_far.passes(),
            failures: entry.so_far.failures(),
        };
        for subject in &entry.subjects {
            subject.health.probed(subject.index, &note, entry.so_far.verdict());
        }
        entry.last = Some(note);
        entry.at = entry.schedule.next(entry.at, now, &entry.so_far, active, random);
        self.due.insert((entry.at, number));
        probed.passed
    }
}

impl Entry {
    /// Goes on for `subjects`. One that was not there before takes over what
    /// is known, and need not wait for the next probe.
    fn with_subjects(mut self, subjects: Vec<Subject>, now: Instant) -> Entry {
        self.subjects = subjects;
        if let Some(last) = &self.last {
            for subject in &self.subjects {
                subject.health.judged(subject.index, last, self.so_far.verdict(), now);
            }
        }
        self
    }
}

/// What was known about these endpoints before they became a target of their
/// own, such as under another path; if they do not agree, nothing.
fn verdict_on(subjects: &[Subject]) -> Verdict {
    let mut verdicts = subjects.iter().map(|subject| subject.health.verdict(subject.index));
    let first = verdicts.next().unwrap_or_default();
    if verdicts.all(|verdict| verdict == first) { first } else { Verdict::Unknown }
}
