//! The access log: one line of JSON per exchange.
//!
//! Lines are collected in the worker and handed over in batches to whoever
//! writes them, through a bounded channel. If the writer cannot keep up, lines
//! are dropped and counted: a log never makes a request wait.

mod query;
mod record;
mod time;

pub(crate) use query::{REDACTED, is_credential, redacted_query};

use crate::metrics::WorkerMetrics;
use crate::plan::Plan;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Instant, SystemTime};
use time::Stamp;
use torana_core::exchange::Exchange;

/// Complete lines, each with its line feed.
#[derive(Debug, Default)]
pub struct LogBatch {
    /// The lines.
    pub text: Vec<u8>,
    /// How many they are.
    pub lines: u64,
}

/// Where workers hand their lines to. One per worker, all to one writer.
#[derive(Clone)]
pub struct LogSink(Option<SyncSender<LogBatch>>);

/// How many batches may wait for the writer. A batch is what a worker logs in
/// a tenth of a second or 64 KiB, whichever is less: 4 MiB at most.
const WAITING_BATCHES: usize = 64;

/// A worker hands over a batch when it has grown to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Room for a line of the usual length, and then some.
const LINE_BYTES: usize = 2048;

impl LogSink {
    /// A sink, and the end where the lines come out.
    #[must_use]
    pub fn channel() -> (LogSink, Receiver<LogBatch>) {
        let (sender, receiver) = sync_channel(WAITING_BATCHES);
        (LogSink(Some(sender)), receiver)
    }

    /// A sink that forgets.
    #[must_use]
    pub const fn none() -> LogSink {
        LogSink(None)
    }
}

/// A worker's lines that have not been handed over yet.
pub(crate) struct LogBuffer {
    batch: LogBatch,
    stamp: Stamp,
    sink: LogSink,
    metrics: Arc<WorkerMetrics>,
}

impl LogBuffer {
    pub(crate) fn new(sink: LogSink, metrics: Arc<WorkerMetrics>) -> LogBuffer {
        LogBuffer { batch: LogBatch::default(), stamp: Stamp::default(), sink, metrics }
    }

    /// Adds the line of an exchange that was over at `ended`, by the clock on
    /// the wall at `wall`.
    pub(crate) fn record(&mut self, plan: &Plan, exchange: &Exchange, ended: Instant, wall: SystemTime) {
        record::write(plan, exchange, ended, (wall, &mut self.stamp), &mut self.batch.text);
        self.batch.lines += 1;
        if self.batch.text.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&mut self) {
        if self.batch.lines == 0 {
            return;
        }
        // The next batch will be about as long as this one; a little more, and
        // its last line does not move all others.
        let next = LogBatch { text: Vec::with_capacity(self.batch.text.len() + LINE_BYTES), lines: 0 };
        let batch = std::mem::replace(&mut self.batch, next);
        let lines = batch.lines;
        if let Some(sender) = &self.sink.0
            && sender.try_send(batch).is_err()
        {
            self.metrics.log_lines_dropped(lines);
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_stands_still_costs_lines_and_nothing_else() {
        let metrics = crate::metrics::Metrics::new();
        let (sink, receiver) = LogSink::channel();
        let mut buffer = LogBuffer::new(sink, metrics.add_worker());
        for _ in 0..WAITING_BATCHES + 3 {
            buffer.batch.text.extend_from_slice(b"{}\n{}\n");
            buffer.batch.lines += 2;
            buffer.flush();
        }
        assert_eq!(metrics.snapshot().log_lines_lost, 6);
        drop(buffer);
        assert_eq!(receiver.iter().map(|batch| batch.lines).sum::<u64>(), 2 * WAITING_BATCHES as u64);
    }
}
