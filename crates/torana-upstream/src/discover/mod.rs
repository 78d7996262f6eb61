//! Endpoints that come and go: where they are looked up, and what was found.
//!
//! An upstream may have **sources** besides the endpoints that are written: a
//! name in DNS, or a file. A [`Source`] remembers the last good answer. An
//! answer that is empty, an error or no answer at all changes nothing but its
//! age, so a source that fails never empties a pool (Kong#4781 and nginx#1656
//! are what happens otherwise). Only an answer with other endpoints takes some
//! away.
//!
//! Sources are asked by [`Discovering`], on a thread of its own and never by a
//! worker. What it finds gets to the workers as a plan whose upstream has other
//! endpoints: everything known about those that stay goes on
//! ([`State`](crate::state::State)), workers keep their connections
//! ([`Upstreams::succeed`](crate::forward::Upstreams::succeed)), and requests
//! under way end where they are.
//!
//! Answers are strangers' bytes: at most [`MOST_ENDPOINTS`] are taken of one,
//! addresses that cannot be anybody's are left out, and no text of an answer
//! gets into a request: `Host` and the name to verify by are what is written in
//! the configuration.

mod dns;
mod following;
mod shares;
#[cfg(test)]
mod tests;

use crate::spec::EndpointSpec;
pub use crate::spec::discover::{DnsSpec, Kind, Question, SourceSpec};
pub use following::{Discovering, Discovery, Notice, Told, discovery};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most endpoints taken of one answer.
pub const MOST_ENDPOINTS: usize = 256;

/// Reads the endpoints a file lists; `bool` is [`Kind::File`]'s `http2`. What is
/// wrong with the file, in words.
pub type ReadFile = fn(&Path, bool) -> Result<Vec<EndpointSpec>, String>;

/// An endpoint of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    endpoint: EndpointSpec,
    /// Endpoints of a higher tier are there for when none of a lower one works:
    /// the priority of SRV records (RFC 2782).
    tier: u16,
    /// The part of the answer it came from, which may fail on its own.
    part: Arc<str>,
}

/// An answer.
#[derive(Debug, Default)]
struct Answer {
    found: Vec<Found>,
    /// Parts that gave none: what was found for them before still holds.
    lost: Vec<(Arc<str>, String)>,
    /// What was in it and is not taken.
    left_out: usize,
    /// How long it holds, as it says itself.
    ttl: Duration,
}

/// A source and what it has said so far. Shared by all plans that have it.
#[derive(Debug)]
pub struct Source {
    upstream: Arc<str>,
    spec: SourceSpec,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    found: Arc<[Found]>,
    since: Instant,
    answered: Option<Instant>,
    answers: u64,
    failures: u64,
    failures_in_a_row: u32,
    error: Option<(Box<str>, Instant)>,
    left_out: usize,
}

/// Everything there is to say about a source at one moment.
#[derive(Clone, Debug)]
pub struct SourceSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Endpoints that are known of it.
    pub endpoints: usize,
    /// Time since its last good answer; without one, since it was first asked.
    pub age: Duration,
    /// Good answers so far.
    pub answers: u64,
    /// Attempts that led to none.
    pub failures: u64,
    /// Those since the last good answer.
    pub failures_in_a_row: u32,
    /// What went wrong last, and how long ago; also when all is well again.
    pub error: Option<(Box<str>, Duration)>,
    /// What was in the last good answer and was not taken.
    pub left_out: usize,
}

impl Source {
    /// A source of this upstream that has not been asked.
    #[must_use]
    pub fn new(upstream: &Arc<str>, spec: SourceSpec, now: Instant) -> Arc<Source> {
        let record = Record {
            found: Arc::new([]),
            since: now,
            answered: None,
            answers: 0,
            failures: 0,
            failures_in_a_row: 0,
            error: None,
            left_out: 0,
        };
        Arc::new(Source { upstream: upstream.clone(), spec, record: Mutex::new(record) })
    }

    /// Whose endpoints it tells.
    #[must_use]
    pub const fn upstream(&self) -> &Arc<str> {
        &self.upstream
    }

    /// What is asked.
    #[must_use]
    pub const fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // Every writer leaves it whole at every step.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is found has TLS, or something of it has it now.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        match &self.spec.kind {
            Kind::Dns(dns) => dns.like.secure,
            Kind::File { .. } => self.record().found.iter().any(|found| found.endpoint.secure),
        }
    }

    /// Whether endpoints with TLS may be found.
    #[must_use]
    pub fn may_be_secure(&self) -> bool {
        match &self.spec.kind {
            Kind::Dns(dns) => dns.like.secure,
            Kind::File { .. } => true,
        }
    }

    /// Whether it was asked and has answered, well or not.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        let record = self.record();
        record.answers + record.failures > 0
    }

    /// Whether it has spares, so that whom to use depends on who is well.
    fn has_tiers(&self) -> bool {
        let found = self.record().found.clone();
        found.first().is_some_and(|first| found.iter().any(|other| other.tier != first.tier))
    }

    /// Takes note of what was answered.
    fn note(&self, answer: Result<Answer, String>, now: Instant) -> Told {
        let mut record = self.record();
        let was_failing = record.failures_in_a_row > 0;
        let fail = |record: &mut Record, error: String| {
            record.failures += 1;
            record.failures_in_a_row = record.failures_in_a_row.saturating_add(1);
            record.error = Some((error.into(), now));
        };
        let Answer { mut found, lost, mut left_out, .. } = match answer {
            Ok(answer) if !answer.found.is_empty() => answer,
            Ok(answer) => {
                let error = match answer.lost.into_iter().next() {
                    Some((_, error)) => error,
                    None if answer.left_out > 0 => "the answer has nothing that could be an endpoint".to_owned(),
                    None => "the answer is empty".to_owned(),
                };
                fail(&mut record, error);
                return Told { failing: !was_failing, ..Told::default() };
            }
            Err(error) => {
                fail(&mut record, error);
                return Told { failing: !was_failing, ..Told::default() };
            }
        };
        for (part, error) in lost {
            record.error = Some((format!("{part}: {error}").into(), now));
            found.extend(record.found.iter().filter(|known| known.part == part).cloned());
        }
        // Servers give the same answer in another order every time.
        found.sort_by(|a, b| (a.tier, &a.endpoint.name).cmp(&(b.tier, &b.endpoint.name)));
        found.dedup_by(|a, b| a.endpoint.name == b.endpoint.name);
        left_out += found.len().saturating_sub(MOST_ENDPOINTS);
        found.truncate(MOST_ENDPOINTS);
        let told = Told {
            changed: *record.found != *found,
            back: was_failing,
            left_out: if left_out == record.left_out { 0 } else { left_out },
            failing: false,
        };
        record.found = found.into();
        record.left_out = left_out;
        record.answers += 1;
        record.answered = Some(now);
        record.failures_in_a_row = 0;
        told
    }

    /// Reads the file this is about, if it is one, at once: for a start that
    /// need not wait. Says what is wrong with it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read_now(&self, read: ReadFile, now: Instant) -> Result<(), String> {
        let Kind::File { path, http2 } = &self.spec.kind else { return Ok(()) };
        let answer = of_file(path, *http2, read);
        let problem = answer.as_ref().err().cloned();
        self.note(answer, now);
        problem.map_or(Ok(()), Err)
    }

    /// The endpoints to use of it: those of the first tier, and of the next ones
    /// as long as none of those before works. Whom `works` does not know works.
    fn members(&self, works: &dyn Fn(&str) -> bool) -> Vec<EndpointSpec> {
        let found = self.record().found.clone();
        let mut members = Vec::with_capacity(found.len());
        for tier in found.chunk_by(|a, b| a.tier == b.tier) {
            members.extend(tier.iter().map(|found| found.endpoint.clone()));
            if tier.iter().any(|found| works(&found.endpoint.name)) {
                break;
            }
        }
        members
    }

    /// Everything about it.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> SourceSnapshot {
        let record = self.record();
        SourceSnapshot {
            name: self.spec.name.clone(),
            endpoints: record.found.len(),
            age: now.saturating_duration_since(record.answered.unwrap_or(record.since)),
            answers: record.answers,
            failures: record.failures,
            failures_in_a_row: record.failures_in_a_row,
            error: record.error.as_ref().map(|(error, at)| (error.clone(), now.saturating_duration_since(*at))),
            left_out: record.left_out,
        }
    }
}

fn of_file(path: &Path, http2: bool, read: ReadFile) -> Result<Answer, String> {
    let endpoints = read(path, http2)?;
    let part: Arc<str> = "".into();
    let found = endpoints.into_iter().map(|endpoint| Found { endpoint, tier: 0, part: part.clone() });
    Ok(Answer { found: found.collect(), ..Answer::default() })
}

/// The endpoints of an upstream: those that are written, then what its sources
/// have found, each once. Without `tls`, which the upstream then has no means
/// for, not those that need it: they must not be spoken to in the clear.
#[must_use]
pub fn endpoints(
    fixed: &[EndpointSpec],
    sources: &[Arc<Source>],
    tls: bool,
    works: &dyn Fn(&str) -> bool,
) -> Vec<EndpointSpec> {
    let mut endpoints = fixed.to_vec();
    let mut known: std::collections::HashSet<Arc<str>> = fixed.iter().map(|endpoint| endpoint.name.clone()).collect();
    for found in sources.iter().flat_map(|source| source.members(works)) {
        if (tls || !found.secure) && known.insert(found.name.clone()) {
            endpoints.push(found);
        }
    }
    endpoints
}
