//! What outlives a request and may be shared with other gateways: counters
//! and bytes by key, as policies see them.
//!
//! Policies know [`Counters`] and [`Blobs`] and never who keeps them. The
//! engine in memory ([`memory`]) is always there and answers at once; others
//! are registered by the binary and named in the configuration under `stores`.
//! The arithmetic of limits ([`quota`]) is the same for all of them.

pub mod memory;
pub mod memory_blobs;
pub mod nowhere;
pub mod quota;
pub mod vectors;

use crate::diagnostic::Diagnostic;
use crate::verdict::LocalBoxFuture;
use crate::written::Written;
use bytes::Bytes;
use quota::{Quota, Standing};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An answer, now or later. What is in memory answers at once and costs no
/// allocation; only engines that do I/O return [`Soon::Later`].
pub enum Soon<T> {
    /// The answer.
    Now(T),
    /// It will come. The future stays on the thread it was made on.
    Later(LocalBoxFuture<'static, T>),
}

impl<T> Soon<T> {
    /// Waits for the answer, if need be.
    pub async fn get(self) -> T {
        match self {
            Soon::Now(value) => value,
            Soon::Later(future) => future.await,
        }
    }
}

impl<T> fmt::Debug for Soon<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Soon::Now(_) => "Soon::Now",
            Soon::Later(_) => "Soon::Later",
        })
    }
}

/// Why a store has no answer. Its text is for logs, never for callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no connection, and it is not yet time to try again.
    #[error("the store cannot be reached: {0}")]
    Unreachable(Box<str>),
    /// It did not answer in time; whether it did what was asked is not known.
    #[error("the store did not answer in time")]
    Timeout,
    /// It answered with an error.
    #[error("the store refused: {0}")]
    Refused(Box<str>),
}

/// Most quotas that are decided upon together.
pub const MOST_QUOTAS: usize = 8;

/// What is asked of [`Counters`].
#[derive(Clone, Copy, Debug)]
pub struct Take<'a> {
    /// What the counters belong to; equal in all gateways that share them.
    pub scope: &'a str,
    /// Whose they are. May be anything and of any length: engines keep a
    /// digest of it.
    pub key: &'a [u8],
    /// Up to [`MOST_QUOTAS`]; all of them have to have room.
    pub quotas: &'a [Quota],
    /// What the request costs; at least 1.
    pub cost: u64,
    /// How much may be taken ahead, if there is room; at least `cost`.
    pub up_to: u64,
    /// The time in microseconds since 1970, for engines without a clock of
    /// their own. Those that have one use it: gateways' clocks differ.
    pub now: u64,
}

/// How it stands with every quota of a [`Take`], in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    list: [Standing; MOST_QUOTAS],
    count: u8,
}

impl Standings {
    /// Adds one; more than [`MOST_QUOTAS`] are not kept.
    pub fn push(&mut self, standing: Standing) {
        if let Some(place) = self.list.get_mut(usize::from(self.count)) {
            *place = standing;
            self.count += 1;
        }
    }
}

impl std::ops::Deref for Standings {
    type Target = [Standing];

    fn deref(&self) -> &[Standing] {
        self.list.get(..usize::from(self.count)).unwrap_or_default()
    }
}

/// The answer to a [`Take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What was charged, between `cost` and `up_to`; 0 if some quota had no
    /// room for `cost`, and then nothing was charged to any.
    pub granted: u64,
    /// How every quota stands now.
    pub standings: Standings,
    /// To be given to [`Counters::release`] if some quota limits what runs at
    /// a time.
    pub ticket: u64,
}

/// Counts against quotas.
pub trait Counters: Send + Sync {
    /// Charges `take.cost` to all quotas if all have room, else to none: one
    /// step that nobody sees half of.
    fn take(&self, take: &Take<'_>) -> Soon<Result<Taken, StoreError>>;

    /// Ends what [`take`](Self::take) began with this ticket, for quotas of
    /// what runs at a time. Nobody waits for it: if it is lost, the place is
    /// free again when the quota's time is over.
    fn release(&self, take: &Take<'_>, ticket: u64);
}

/// Keeps bytes by key for a time.
pub trait Blobs: Send + Sync {
    /// What is kept under `key`.
    fn get(&self, key: &[u8]) -> Soon<Result<Option<Bytes>, StoreError>>;

    /// Keeps `value` for `ttl`, in place of what was there; `tags` are names
    /// to delete it by.
    fn put(&self, key: &[u8], value: Bytes, ttl: Duration, tags: &[&str]) -> Soon<Result<(), StoreError>>;

    /// Keeps `value` for `ttl` if there is nothing under `key`, else answers
    /// what there is. Of several who try, one gets `None`.
    fn add(&self, key: &[u8], value: Bytes, ttl: Duration) -> Soon<Result<Option<Bytes>, StoreError>>;

    /// Forgets what is kept under `key`.
    fn delete(&self, key: &[u8]) -> Soon<Result<(), StoreError>>;

    /// Forgets what was kept with `tag`. What is put meanwhile may stay.
    fn delete_tagged(&self, tag: &str) -> Soon<Result<(), StoreError>>;

    /// Forgets every key that begins with `prefix`. It looks through all keys:
    /// for people, not for requests.
    fn delete_prefix(&self, prefix: &[u8]) -> Soon<Result<(), StoreError>>;
}

/// Where something stands in a [`Journal`]; later is greater. 0 is before all.
pub type Position = u64;

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Oldest first.
    pub records: Vec<(Position, Bytes)>,
    /// Whether something in between may have been forgotten.
    pub has_gap: bool,
    /// Whether there may be more.
    pub has_more: bool,
}

/// What gateways tell each other, in one order that all of them see. What is
/// old is forgotten.
pub trait Journal: Send + Sync {
    /// Adds `record` to what is told under `topic`, and says where it stands.
    fn tell(&self, topic: &[u8], record: Bytes) -> Soon<Result<Position, StoreError>>;

    /// What was told after `from`, some of it at a time.
    fn hear(&self, topic: &[u8], from: Position) -> Soon<Result<Heard, StoreError>>;
}

/// A store that is named in the configuration.
pub trait Store: Send + Sync {
    /// Its counters.
    fn counters(&self) -> &dyn Counters;
    /// Its bytes.
    fn blobs(&self) -> &dyn Blobs;
    /// What its users tell each other.
    fn journal(&self) -> &dyn Journal;
}

/// A kind of store: what its configuration is and how it is made.
pub trait StoreKind {
    /// The name: configuration key and documentation.
    const NAME: &'static str;
    /// Its configuration; field docs are the reference page.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes it. Nothing is connected to: a store that cannot be reached is no
    /// reason not to start.
    ///
    /// # Errors
    /// What is wrong with the configuration, on the user's lines.
    fn build(config: Self::Config, written: &Written) -> Result<Arc<dyn Store>, Vec<Diagnostic>>;
}

/// A registered kind of store, as data.
#[derive(Clone, Copy)]
pub struct StoreEntry {
    /// [`StoreKind::NAME`]
    pub name: &'static str,
    /// JSON Schema of its configuration.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes and builds.
    pub build: BuildStore,
}

/// Makes a store of its configuration as written.
pub type BuildStore = fn(&Written) -> Result<Arc<dyn Store>, Vec<Diagnostic>>;

/// The registry entry of `K`.
#[must_use]
pub const fn entry<K: StoreKind>() -> StoreEntry {
    StoreEntry {
        name: K::NAME,
        schema: <K::Config as JsonSchema>::json_schema,
        build: |written| K::build(written.decode::<K::Config>()?, written),
    }
}

/// The name that stands for the memory of this process. No store may be
/// called so.
pub const MEMORY: &str = "memory";
