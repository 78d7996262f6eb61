//! All parts of one aggregate, asked in the order of their needs.

use super::part::{Failure, Fetched, Part, Tools, Why, passed};
use super::template::Facts;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;
use torana_core::deadline::Deadline;
use torana_core::exchange::Exchange;
use torana_core::names::HeaderName;
use torana_core::verdict::LocalBoxFuture;
use torana_reshape::{self as reshape, Val};

/// The parts of an aggregate or of a variant of it, in the order written.
pub(super) struct Graph {
    pub(super) parts: Vec<Part>,
    /// Most that are asked at a time.
    pub(super) concurrency: usize,
    pub(super) forward_headers: Vec<HeaderName>,
}

/// What came of all parts.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) values: Vec<Option<Val>>,
    /// How long the services' answers are as text, all together.
    pub(super) size: usize,
    /// The parts that failed, by position, in the order written.
    pub(super) failures: Vec<(usize, Failure)>,
}

/// A required part that failed.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) part: usize,
    pub(super) failure: Failure,
}

/// What one run knows.
struct Run<'a> {
    graph: &'a Graph,
    exchange: &'a Exchange,
    names: &'a [String],
    values: Vec<Option<Val>>,
    size: usize,
    failures: Vec<(usize, Failure)>,
    is_started: Vec<bool>,
}

type Fetching<'a> = (usize, LocalBoxFuture<'a, Result<Fetched, Failure>>);

impl Graph {
    /// Asks for all parts until `latest`. What is under way when a required
    /// part fails is dropped, connections and all.
    pub(super) async fn collect(
        &self,
        exchange: &Exchange,
        names: &[String],
        tools: Tools<'_>,
        latest: Deadline,
    ) -> Result<Collected, Broken> {
        let count = self.parts.len();
        let mut run = Run {
            graph: self,
            exchange,
            names,
            values: vec![None; count],
            size: 0,
            failures: Vec::new(),
            is_started: vec![false; count],
        };
        let fields = passed(exchange, &self.forward_headers);
        let mut under_way: Vec<Fetching<'_>> = Vec::new();
        loop {
            // A part that is not asked for is done at once, and others may
            // have waited for it.
            while under_way.len() < self.concurrency
                && let Some(index) = run.next_ready()
            {
                run.is_started[index] = true;
                let part = &self.parts[index];
                match run.prepare(part) {
                    Ok(false) => run.values[index] = Some(part.default.clone()),
                    Ok(true) => match part.request(run.facts(), &fields, index as u64) {
                        Ok(request) => {
                            let question = part.question(&request, exchange);
                            let fetching = part.fetch(tools, request, question, Instant::now(), latest);
                            under_way.push((index, Box::pin(fetching)));
                        }
                        Err(failure) => run.failed(index, failure)?,
                    },
                    Err(failure) => run.failed(index, failure)?,
                }
            }
            if under_way.is_empty() {
                run.failures.sort_by_key(|(index, _)| *index);
                return Ok(Collected { values: run.values, size: run.size, failures: run.failures });
            }
            for (index, result) in some_done(&mut under_way).await {
                match result {
                    Ok(Fetched { value, size }) => {
                        run.values[index] = Some(value);
                        run.size += size;
                    }
                    Err(failure) => run.failed(index, failure)?,
                }
            }
        }
    }
}

/// Waits until at least one is done, and takes those that are out of the list.
async fn some_done(under_way: &mut Vec<Fetching<'_>>) -> Vec<(usize, Result<Fetched, Failure>)> {
    poll_fn(|cx| {
        let mut done = Vec::new();
        under_way.retain_mut(|(index, fetching)| match fetching.as_mut().poll(cx) {
            Poll::Ready(result) => {
                done.push((*index, result));
                false
            }
            Poll::Pending => true,
        });
        if done.is_empty() { Poll::Pending } else { Poll::Ready(done) }
    })
    .await
}

impl Run<'_> {
    fn facts(&self) -> Facts<'_> {
        Facts { exchange: self.exchange, values: &self.values }
    }

    /// The first part that waits for nothing any more.
    fn next_ready(&self) -> Option<usize> {
        let is_there = |need: &usize| self.values[*need].is_some();
        let mut parts = self.graph.parts.iter().enumerate();
        parts.find(|(index, part)| !self.is_started[*index] && part.needs.iter().all(is_there)).map(|(index, _)| index)
    }

    fn prepare(&self, part: &Part) -> Result<bool, Failure> {
        // Only what it waits for: the rest is there or not as chance has it.
        let others = || {
            let needs = part.needs.iter().map(|&need| (&*self.graph.parts[need].name, &self.values[need]));
            Val::obj(needs.map(|(name, value)| (reshape::text(name), value.clone().unwrap_or_default())).collect())
        };
        part.is_wanted(self.facts(), self.names, others)
    }

    fn failed(&mut self, index: usize, failure: Failure) -> Result<(), Broken> {
        let part = &self.graph.parts[index];
        if part.required {
            return Err(Broken { part: index, failure });
        }
        self.values[index] = Some(part.default.clone());
        self.failures.push((index, failure));
        Ok(())
    }
}

impl Broken {
    /// Whether time is what it lacked.
    pub(super) fn is_timeout(&self) -> bool {
        self.failure.why == Why::Timeout
    }
}
