//! What the control plane asks of the gateway. The binary implements it.

use crate::revisions::Listed;
use serde_json::Value;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// The gateway as it runs, for the admin interface. Asked from the admin
/// thread, so nothing in here may wait for a worker.
pub trait Running: Send + Sync + 'static {
    /// The configuration in force, without secrets.
    fn config(&self) -> Value;
    /// Its listeners.
    fn listeners(&self) -> Value;
    /// Its routes, in the order written.
    fn routes(&self) -> Value;
    /// Its upstreams with their endpoints and what the pools have seen.
    fn upstreams(&self) -> Value;
    /// Takes an endpoint of an upstream out (`on`), or puts it back; `endpoint`
    /// is its URL as shown, or that without the scheme. What it is like then.
    ///
    /// # Errors
    /// There is no such thing.
    fn drain(&self, upstream: &str, endpoint: &str, on: bool) -> Result<Value, NotThere>;
    /// What would become of a request, and why; `question` says which. Changes
    /// nothing.
    ///
    /// # Errors
    /// It is no question; the text says why.
    fn explain(&self, question: &Value) -> Result<Value, String>;
    /// Shows consumers and their keys, makes them, changes them. Writes files,
    /// so it is not asked on the thread of the interface.
    ///
    /// # Errors
    /// It is not possible; nothing has changed.
    fn consumers(&self, asked: &ConsumerAsk) -> Result<Value, ConsumerProblem>;
    /// Everything counted, in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Client connections open now.
    fn open_connections(&self) -> u32;
    /// The configurations that were in force, oldest first.
    fn revisions(&self) -> Vec<Listed>;
    /// What policies may be told to do.
    fn operations(&self) -> Vec<Operation>;
    /// Has it done by all policies that offer the operation at `path`.
    ///
    /// # Errors
    /// Nobody does it, or not with these arguments.
    fn operate(&self, path: &str, arguments: &Value) -> Result<Done, NotDone>;
    /// Counts a request that the admin interface refused.
    fn admin_refused(&self, code: &'static str);
}

/// What came of an operation. It may have to wait for somebody, on the thread
/// it was asked on.
pub type Done = Pin<Box<dyn Future<Output = Value>>>;

/// Something to be done with consumers.
#[derive(Clone, PartialEq)]
pub struct ConsumerAsk {
    /// What.
    pub task: ConsumerTask,
    /// The consumer's name; empty for all of them, and for a new one.
    pub consumer: String,
    /// The key's id; empty for all of them, and for a new one.
    pub key: String,
    /// What else was said, as JSON; null if nothing.
    pub more: Value,
}

/// What is to be done with consumers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerTask {
    /// List them.
    List,
    /// Show one.
    Show,
    /// Make one, or change one that was made.
    Put,
    /// Forget one that was made, with its keys.
    Remove,
    /// List the keys of one.
    Keys,
    /// Make a key of one.
    CreateKey,
    /// Make a key in the place of another.
    RotateKey,
    /// Take a key back.
    RevokeKey,
}

/// Why it is not possible.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerProblem {
    /// The kind of reason.
    pub kind: ConsumerProblemKind,
    /// What exactly; of nothing secret.
    pub why: String,
}

/// The kinds of reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerProblemKind {
    /// The configuration says nowhere to keep anything.
    NotKept,
    /// What is kept cannot be read or written.
    Unavailable,
    /// There is no such consumer.
    NoConsumer,
    /// There is no such key that could be changed.
    NoKey,
    /// It stands in the configuration, which is where it can be changed.
    Written,
    /// There are as many as there may be.
    Full,
    /// What was said makes no sense.
    Question,
}

/// What was asked for by name is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotThere {
    /// The upstream.
    Upstream,
    /// The endpoint.
    Endpoint,
}

/// Something that policies may be told to do.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Where it is asked for: `/POLICY/OPERATION`.
    pub path: String,
    /// What it is for.
    pub about: &'static str,
    /// JSON Schema of the object that is sent along.
    pub arguments: Value,
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// No policy of the configuration in force does it.
    Nobody,
    /// What is wrong with what was sent along.
    Arguments(String),
}

/// Takes up configurations. What is wrong with one leaves everything as it
/// was. May take its time: it runs on a thread of its own.
pub trait Reload: Send + 'static {
    /// Loads the configuration as it is on disk, compiles it and, if nothing is
    /// wrong, puts it in force.
    fn reload(&mut self, cause: &'static str) -> Report;
    /// Does the same with a configuration that was in force, as it was read
    /// then; `None` if it is not kept.
    fn roll_back(&mut self, revision: u64) -> Option<Report>;
    /// Frees what attempts have left behind; true if something is still in use
    /// and should be asked for again.
    fn tidy(&mut self) -> bool {
        false
    }
}

/// What came of taking up a configuration.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether it is in force now.
    pub accepted: bool,
    /// The revision in force after the attempt: a refused configuration has none.
    pub revision: u64,
    /// Checksum of the configuration in force after the attempt, which tells
    /// nothing about the secrets in it.
    pub checksum: String,
    /// Whether the configuration in force says something else than before the
    /// attempt: a secret may have changed where the checksum has not.
    pub changed: bool,
    /// The revision that was, or would have been, taken up again.
    pub from: Option<u64>,
    /// Whether what is in force after the attempt is an older configuration
    /// than the one on disk.
    pub pinned: bool,
    /// Errors and warnings as a person reads them; empty if there are none.
    pub text: String,
    /// The same for programs.
    pub diagnostics: Value,
    /// Every file and directory the configuration depends on, of refused ones
    /// too: the correction may be made in a file the last good one did not have.
    pub files: Vec<PathBuf>,
}

/// What it takes to stop the data plane. Called once each, in this order.
pub trait Drain: Send + Sync + 'static {
    /// Stops accepting connections; open ones go on, and close after their
    /// next reply. `patience` is how long idle ones may wait for another
    /// request, `grace` how long tunnels may stay.
    fn begin(&self, patience: Duration, grace: Duration);
    /// Client connections open now.
    fn open_connections(&self) -> u32;
}
