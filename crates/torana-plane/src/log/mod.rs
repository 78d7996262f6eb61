//! The access log: one line of JSON per exchange.
//!
//! Lines are collected in the worker and handed over in batches to whoever
//! writes them, through a bounded channel. If the writer cannot keep up, lines
//! are dropped and counted: a log never makes a request wait.

mod query;
mod record;
mod time;

pub(crate) use query::{REDACTED, is_credential, redacted_query};

use crate::json::Room;
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
    /// Where the memory goes when they are written.
    home: Option<SyncSender<Vec<u8>>>,
}

impl Drop for LogBatch {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            let mut text = std::mem::take(&mut self.text);
            text.clear();
            // If there is enough of it, or nobody left, it is let go.
            let _ = home.try_send(text);
        }
    }
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

/// Longer lines are rare, and so is the memory for them kept by few.
const KEPT_LINE_BYTES: usize = 16 * 1024;

/// How many buffers of batches that were written come back to a worker: memory
/// that it has used before is there, and new memory has to be got from the
/// system page by page.
const SPARE_BATCHES: usize = 2;

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
    /// Where a line is put together.
    line: Vec<u8>,
    stamp: Stamp,
    spare: Receiver<Vec<u8>>,
    home: SyncSender<Vec<u8>>,
    sink: LogSink,
    metrics: Arc<WorkerMetrics>,
}

impl LogBuffer {
    pub(crate) fn new(sink: LogSink, metrics: Arc<WorkerMetrics>) -> LogBuffer {
        let line = vec![0; LINE_BYTES];
        let (home, spare) = sync_channel(SPARE_BATCHES);
        LogBuffer { batch: LogBatch::default(), line, stamp: Stamp::default(), spare, home, sink, metrics }
    }

    /// Adds the line of an exchange that was over at `ended`, by the clock on
    /// the wall at `wall`.
    pub(crate) fn record(&mut self, plan: &Plan, exchange: &Exchange, ended: Instant, wall: SystemTime) {
        let length = loop {
            let room = Room::new(&mut self.line);
            match record::write(plan, exchange, ended, (wall, &mut self.stamp), room).written() {
                Some(length) => break length,
                None => self.line.resize(2 * self.line.len(), 0),
            }
        };
        self.batch.text.extend_from_slice(self.line.get(..length).unwrap_or_default());
        self.batch.lines += 1;
        if length > KEPT_LINE_BYTES {
            self.line = vec![0; LINE_BYTES];
        }
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
        let mut text = self.spare.try_recv().unwrap_or_default();
        text.reserve(self.batch.text.len() + LINE_BYTES);
        let next = LogBatch { text, lines: 0, home: Some(self.home.clone()) };
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
    fn memory_comes_back_when_its_lines_are_written_and_no_more_than_is_needed() {
        let (sink, receiver) = LogSink::channel();
        let mut buffer = LogBuffer::new(sink, crate::metrics::Metrics::new().add_worker());
        // Says where the next lines are going to be.
        let mut fill = |lines: &[u8]| {
            buffer.batch.text.extend_from_slice(lines);
            buffer.batch.lines += 1;
            buffer.flush();
            assert!(buffer.batch.text.is_empty());
            buffer.batch.text.as_ptr()
        };
        let first = fill(b"{}\n");
        let others = [fill(b"{\"a\":1}\n"), fill(b"{}\n"), fill(b"{}\n")];
        assert!(!others.contains(&first));
        let batches: Vec<LogBatch> = receiver.try_iter().collect();
        assert_eq!(batches.iter().map(|batch| batch.text.len()).collect::<Vec<_>>(), [3, 8, 3, 3]);
        assert_eq!(batches[1].text.as_ptr(), first);
        drop(batches);
        // The first batch brought its memory along; of the three others two are kept.
        let again = [fill(b"{}\n"), fill(b"{}\n")];
        assert_eq!(again, [first, others[0]]);
    }

    #[test]
    fn a_line_that_is_longer_than_its_room_is_written_whole() {
        let gateway = crate::testing::Gateway::new(r#"{ "routes": [ { "name": "a", "respond": { "body": "ok" } } ] }"#);
        for length in [10, LINE_BYTES, 3 * LINE_BYTES, 2 * KEPT_LINE_BYTES, 10] {
            let query = "q".repeat(length);
            let seen = gateway.send(&format!("GET /?{query} HTTP/1.1\nHost: a"));
            assert_eq!(seen.log["query"], query.as_str(), "{length}");
        }
    }

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
