//! The thread that writes the access log.
//!
//! Workers hand their lines over through a bounded channel and never wait:
//! what this thread cannot write in time is dropped there, and counted. What
//! it cannot write at all (a full disk, a reader of a pipe that went away) is
//! counted here. Neither stops the gateway.

use crate::notice;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to this file.
    File(PathBuf),
}

impl Output {
    /// Whether lines could be written there now: opens the file, as the writer
    /// will.
    ///
    /// # Errors
    /// The file cannot be opened; the text names it.
    pub fn probe(&self) -> io::Result<()> {
        match self {
            Output::File(path) => open(path).map(drop),
            Output::Off | Output::Stdout | Output::Stderr => Ok(()),
        }
    }
}

/// How to look into a batch: complete lines, each with its line feed, and how
/// many they are. A function and not a trait, because the batches are the data
/// plane's and neither side knows the other.
pub type Lines<B> = fn(&B) -> (&[u8], u64);

/// Tells the writer where to write.
#[derive(Clone)]
pub struct LogControl(Arc<Mutex<Wish>>);

struct Wish {
    output: Output,
    /// Counts up with every change, so that the writer notices.
    change: u64,
}

impl LogControl {
    /// A writer that will write to `output`.
    #[must_use]
    pub fn new(output: Output) -> LogControl {
        LogControl(Arc::new(Mutex::new(Wish { output, change: 1 })))
    }

    /// From the next batch on, write to `output`.
    pub fn switch(&self, output: Output) {
        self.change(|wish| {
            let changed = wish.output != output;
            wish.output = output;
            changed
        });
    }

    /// Opens the file anew: it was renamed.
    pub fn reopen(&self) {
        self.change(|_| true);
    }

    fn change(&self, change: impl FnOnce(&mut Wish) -> bool) {
        let mut wish = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut wish) {
            wish.change += 1;
        }
    }

    fn newer_than(&self, seen: u64) -> Option<(Output, u64)> {
        let wish = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (wish.change != seen).then(|| (wish.output.clone(), wish.change))
    }
}

/// Starts the writer. It ends when the last sender of `batches` is gone and
/// everything is written. `lost` is told how many lines could not be written.
///
/// # Errors
/// No thread can be started.
pub fn start<B: Send + 'static>(
    batches: Receiver<B>,
    lines: Lines<B>,
    control: LogControl,
    lost: impl Fn(u64) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        let mut sink = Sink { control, seen: 0, target: Target::Off, complained: None };
        loop {
            // Not for ever: a renamed file must be let go even if no line comes.
            match batches.recv_timeout(Duration::from_secs(1)) {
                Ok(batch) => {
                    let (text, count) = lines(&batch);
                    if !sink.write(text) {
                        lost(count);
                    }
                }
                Err(RecvTimeoutError::Timeout) => sink.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    std::thread::Builder::new().name("torana-log".to_owned()).spawn(run)
}

enum Target {
    Off,
    Stdout,
    Stderr,
    File(File),
    /// The file cannot be opened: its path, to try again.
    Missing(PathBuf),
}

struct Sink {
    control: LogControl,
    seen: u64,
    target: Target,
    complained: Option<Instant>,
}

/// How long to be silent after a complaint: a full disk fails every batch.
const SILENCE: Duration = Duration::from_secs(60);

impl Sink {
    /// Takes up what was asked for since.
    fn look(&mut self) {
        if let Some((output, change)) = self.control.newer_than(self.seen) {
            self.seen = change;
            self.target = match output {
                Output::Off => Target::Off,
                Output::Stdout => Target::Stdout,
                Output::Stderr => Target::Stderr,
                Output::File(path) => Target::Missing(path),
            };
        }
        if let Target::Missing(path) = &self.target {
            match open(path) {
                Ok(file) => self.target = Target::File(file),
                Err(error) => self.complain(&error),
            }
        }
    }

    /// Whether the lines are written, or nobody wants them.
    fn write(&mut self, text: &[u8]) -> bool {
        self.look();
        let written = match &mut self.target {
            Target::Off => Ok(()),
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text).and_then(|()| stdout.flush())
            }
            Target::Stderr => io::stderr().lock().write_all(text),
            Target::File(file) => file.write_all(text),
            Target::Missing(_) => return false,
        };
        match written {
            Ok(()) => true,
            Err(error) => {
                self.complain(&error);
                false
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_none_or(|last| last.elapsed() >= SILENCE) {
            self.complained = Some(Instant::now());
            notice::warn(&format!("access log lines are lost: {error}"));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot open `{}`: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::sync_channel;

    fn lines<'a>(text: &'a &'static str) -> (&'a [u8], u64) {
        (text.as_bytes(), text.lines().count() as u64)
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("torana-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn a_renamed_file_is_left_alone_after_reopening() {
        let directory = scratch("rename");
        let path = directory.join("access.log");
        let control = LogControl::new(Output::File(path.clone()));
        // Room for none: a send returns when the writer has taken it, so what
        // was sent before the previous one is written.
        let (sender, receiver) = sync_channel::<&'static str>(0);
        let thread = start(receiver, lines, control.clone(), |lost| panic!("{lost} lines lost")).unwrap();
        sender.send("one\n").unwrap();
        sender.send("").unwrap();
        std::fs::rename(&path, directory.join("access.log.1")).unwrap();
        control.reopen();
        sender.send("two\n").unwrap();
        sender.send("").unwrap();
        let elsewhere = directory.join("elsewhere.log");
        control.switch(Output::File(elsewhere.clone()));
        sender.send("three\n").unwrap();
        drop(sender);
        thread.join().unwrap();
        assert_eq!(std::fs::read_to_string(directory.join("access.log.1")).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "three\n");
        let _ = std::fs::remove_dir_all(directory);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_nothing_stops() {
        let directory = scratch("lost");
        let lost = Arc::new(AtomicU64::new(0));
        let counter = lost.clone();
        let control = LogControl::new(Output::File(directory.join("missing/access.log")));
        assert!(Output::File(directory.join("missing/access.log")).probe().is_err());
        let (sender, receiver) = sync_channel::<&'static str>(8);
        let count = move |lines| {
            counter.fetch_add(lines, Ordering::Relaxed);
        };
        let thread = start(receiver, lines, control, count).unwrap();
        sender.send("one\ntwo\n").unwrap();
        drop(sender);
        thread.join().unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        let _ = std::fs::remove_dir_all(directory);
    }
}
