//! Copies in a store that several gateways share, behind those in memory.
//!
//! A copy is put there once it is kept in memory, and looked for there before
//! the target is asked. What it is under begins with its URI, for people who
//! purge, and ends with a digest of its whole key, for nobody: keys may hold
//! credentials.
//!
//! Whoever purges, or changes something by an unsafe request, first tells so in
//! the store's journal, then deletes. Every gateway listens: once a second, or
//! before it answers if it has not for two. A reply that was asked for before
//! such a word and is put after it would outlive it, so whoever puts listens
//! again behind it, and takes back what the words are about; and whoever reads
//! compares what the writer had heard with what it has heard itself. Clocks are
//! not compared for that.
//!
//! A store that fails makes misses, never errors.

use super::entry::{Entry, push_selecting};
use super::key::{BETWEEN, KeyRules, uri_of};
use super::purge::Meant;
use super::store::{Key, MOMENTS, Store};
use super::stored::{self, Stored};
use super::time;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use torana_core::head::Fields;
use torana_core::names::HeaderName;
use torana_core::store::{self as core, Position, StoreError};

/// How often a gateway that is asked anything listens, in microseconds.
const OFTEN: u64 = 1_000_000;

/// After so long it does not answer before it has.
const TOO_LONG: u64 = 2 * OFTEN;

/// How many purges are remembered to compare copies with.
const PURGES: usize = 64;

/// Most tags of a copy in a store; each takes a step.
const TAGS: usize = 64;

/// Most bytes that are on their way to the store at a time; what comes on top
/// is kept in memory only.
const SAVING: usize = 32 << 20;

/// Longest time in a store.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// The tier behind the memory.
pub(super) struct Shared {
    store: Arc<dyn core::Store>,
    /// What copies of this cache begin with; equal in all gateways that are
    /// configured alike.
    scope: String,
    heard: Arc<Heard>,
    saving: AtomicUsize,
}

/// What was heard; it outlives plans, as the memory does.
pub(super) struct Heard {
    position: AtomicU64,
    /// When that was, in the time of the memory; also if nobody answered.
    checked: AtomicU64,
    is_checking: AtomicBool,
    /// The last word about a URI, by its place.
    uris: Box<[AtomicU64]>,
    purges: Mutex<VecDeque<(Position, Meant)>>,
}

impl Default for Heard {
    fn default() -> Heard {
        Heard {
            position: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            is_checking: AtomicBool::new(false),
            uris: (0..MOMENTS).map(|_| AtomicU64::new(0)).collect(),
            purges: Mutex::default(),
        }
    }
}

impl Heard {
    fn purges(&self) -> MutexGuard<'_, VecDeque<(Position, Meant)>> {
        self.purges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is time to listen.
pub(super) enum Listen {
    /// Not yet.
    No,
    /// Beside the request. Holds the right to do so.
    Beside(Turn),
    /// Before anything is answered.
    First,
}

/// The right to listen beside requests; one at a time has it.
pub(super) struct Turn(Arc<Heard>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_checking.store(false, Ordering::Release);
    }
}

impl Shared {
    pub(super) fn new(store: Arc<dyn core::Store>, owner: &str, rules: &KeyRules, heard: Arc<Heard>) -> Shared {
        let scope = digest(&[owner.as_bytes(), &[BETWEEN], format!("{rules:?}").as_bytes()]);
        let scope = scope.get(..16).unwrap_or_default().to_owned();
        Shared { store, scope, heard, saving: AtomicUsize::new(0) }
    }

    /// What was heard so far.
    pub(super) fn position(&self) -> Position {
        self.heard.position.load(Ordering::Acquire)
    }

    /// Whether it is time to listen, at a time of the memory.
    pub(super) fn should_listen(&self, now: u64) -> Listen {
        let silence = now.saturating_sub(self.heard.checked.load(Ordering::Acquire));
        if silence < OFTEN {
            return Listen::No;
        }
        if silence >= TOO_LONG {
            return Listen::First;
        }
        if self.heard.is_checking.swap(true, Ordering::Acquire) {
            Listen::No
        } else {
            Listen::Beside(Turn(self.heard.clone()))
        }
    }

    /// Hears what others have told since.
    pub(super) async fn listen(&self, memory: &Store) -> Result<(), StoreError> {
        let began = memory.time(time::now());
        let heard = self.hear(memory).await;
        // Who does not answer is not asked by every request either.
        self.heard.checked.fetch_max(began, Ordering::AcqRel);
        heard
    }

    async fn hear(&self, memory: &Store) -> Result<(), StoreError> {
        loop {
            let from = self.position();
            let heard = self.store.journal().hear(self.scope.as_bytes(), from).get().await?;
            if heard.has_gap {
                // Anything may have been said.
                memory.purge(time::now(), |_, _| true);
                self.heard.position.store(0, Ordering::Release);
            }
            for (position, record) in &heard.records {
                self.apply(*position, record, memory);
                self.heard.position.fetch_max(*position, Ordering::AcqRel);
            }
            if !heard.has_more {
                return Ok(());
            }
        }
    }

    fn apply(&self, position: Position, record: &[u8], memory: &Store) {
        let now = time::now();
        match Word::read(record) {
            Some(Word::Changed(uri)) => {
                let place = memory.place(uri);
                // Not its own word, which it knew as it said it.
                if self.note_changed(place, position) {
                    memory.outdate(place, now);
                }
            }
            Some(Word::Purged(meant)) => {
                memory.purge(now, |key, entry| meant.means(key, &entry.tags));
                let mut purges = self.heard.purges();
                // Two may listen at a time.
                if purges.iter().all(|(known, _)| *known != position) {
                    purges.push_back((position, meant));
                    let surplus = purges.len().saturating_sub(PURGES);
                    purges.drain(..surplus);
                }
            }
            // Of a version that knows more.
            None => drop(memory.purge(now, |_, _| true)),
        }
    }

    /// Tells whether that is new.
    fn note_changed(&self, place: usize, position: Position) -> bool {
        self.heard.uris.get(place).is_some_and(|known| known.fetch_max(position, Ordering::AcqRel) < position)
    }

    /// Whether something was said about a copy after `since`.
    fn has_changed(&self, key: &[u8], place: usize, entry: &Entry, since: Position) -> bool {
        let changed = self.heard.uris.get(place).is_some_and(|known| known.load(Ordering::Acquire) > since);
        changed
            || self.heard.purges().iter().any(|(position, meant)| *position > since && meant.means(key, &entry.tags))
    }

    /// Looks for a copy for `request`, and keeps it in memory; tells whether
    /// there is one.
    pub(super) async fn look(
        &self,
        memory: &Store,
        (key, place): (&Key, usize),
        request: &Fields,
    ) -> Result<bool, StoreError> {
        let asked = memory.time(time::now());
        let name = self.name(key);
        let Some(mut read) = self.read(&name, asked).await? else { return Ok(false) };
        let (mut names, mut said) = (Arc::default(), Vec::new());
        if let Stored::Variants(those) = read {
            push_selecting(&those, request, &mut said);
            let name = variant(&name, &those, &said);
            let Some(other) = self.read(&name, asked).await? else { return Ok(false) };
            (read, names) = (other, those);
        }
        let Stored::Reply(mut entry, heard) = read else { return Ok(false) };
        if entry.vary != names || self.has_changed(key, place, &entry, heard) {
            return Ok(false);
        }
        entry.selecting = said.into();
        Ok(memory.put_if_fresher(key, place, Arc::from(entry), request, time::now()))
    }

    async fn read(&self, name: &[u8], asked: u64) -> Result<Option<Stored>, StoreError> {
        let bytes = self.store.blobs().get(name).get().await?;
        Ok(bytes.and_then(|bytes| Stored::read(bytes, asked, time::now(), time::system())))
    }

    /// Puts `entry`, which was asked for when this gateway had heard `since`;
    /// tells whether it is there.
    pub(super) async fn save(
        &self,
        memory: &Store,
        (key, place): (&Key, usize),
        entry: &Entry,
        since: Position,
    ) -> Result<bool, StoreError> {
        let Some(ttl) = lasts(entry, time::now()).filter(|_| entry.tags.len() <= TAGS) else { return Ok(false) };
        let bytes = stored::reply(entry, since, time::now(), time::system());
        let Some(_room) = Room::take(&self.saving, bytes.len()) else { return Ok(false) };
        let mut name = self.name(key);
        let mut tags = vec![self.uri_tag(uri_of(key))];
        tags.extend(entry.tags.iter().map(|tag| self.tag(tag)));
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let blobs = self.store.blobs();
        if !entry.vary.is_empty() {
            let uri_only = tags.get(..1).unwrap_or_default();
            blobs.put(&name, stored::variants(&entry.vary), ttl, uri_only).get().await?;
            name = variant(&name, &entry.vary, &entry.selecting);
        }
        blobs.put(&name, bytes, ttl, &tags).get().await?;
        self.listen(memory).await?;
        if self.has_changed(key, place, entry, since) {
            blobs.delete(&name).get().await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Tells that URIs have changed, and deletes their copies.
    pub(super) async fn changed(&self, memory: &Store, uris: &[(Vec<u8>, usize)]) -> Result<(), StoreError> {
        for (uri, place) in uris {
            let told = self.store.journal().tell(self.scope.as_bytes(), Word::Changed(uri).written()).get().await;
            // If nobody could be told, at least nothing is used here that was
            // asked for until now.
            self.note_changed(*place, *told.as_ref().unwrap_or(&(self.position() + 1)));
            told?;
            self.store.blobs().delete_tagged(&self.uri_tag(uri)).get().await?;
        }
        // So that what is asked for from now on is known to be newer.
        self.listen(memory).await
    }

    /// Tells that copies are purged, and deletes them.
    pub(super) async fn purge(&self, meant: Meant, memory: &Store) -> Result<(), StoreError> {
        let word = Word::Purged(meant.clone()).written();
        self.store.journal().tell(self.scope.as_bytes(), word).get().await?;
        let blobs = self.store.blobs();
        let delete = match &meant {
            Meant::Uri(uri) => blobs.delete_tagged(&self.uri_tag(uri)),
            Meant::Tag(tag) => blobs.delete_tagged(&self.tag(tag)),
            Meant::Prefix(prefix) => blobs.delete_prefix(&[self.begin().as_bytes(), prefix].concat()),
            Meant::All => blobs.delete_prefix(self.begin().as_bytes()),
        };
        delete.get().await?;
        // Some may have been read from the store meanwhile.
        self.listen(memory).await
    }

    fn begin(&self) -> String {
        format!("cache:{}:", self.scope)
    }

    fn name(&self, key: &[u8]) -> Vec<u8> {
        [self.begin().as_bytes(), uri_of(key), &[BETWEEN], digest(&[key]).as_bytes()].concat()
    }

    fn uri_tag(&self, uri: &[u8]) -> String {
        format!("cache:{}:uri:{}", self.scope, digest(&[uri]))
    }

    fn tag(&self, tag: &[u8]) -> String {
        format!("cache:{}:tag:{}", self.scope, digest(&[tag]))
    }
}

/// What one of several replies is under, for a request that says this in the
/// headers `names`.
fn variant(name: &[u8], names: &[HeaderName], selecting: &[u8]) -> Vec<u8> {
    let names: String = names.iter().flat_map(|name| [name.as_str(), ","]).collect();
    [name, b"/", digest(&[names.as_bytes(), &[BETWEEN], selecting]).as_bytes()].concat()
}

/// For how long a copy may be of use.
fn lasts(entry: &Entry, now: Instant) -> Option<Duration> {
    let most = entry.lifetime.saturating_add(entry.while_revalidate.max(entry.if_error)).min(LONGEST);
    most.checked_sub(entry.age(now)).filter(|left| !left.is_zero())
}

fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Room for what is on its way.
struct Room<'a>(&'a AtomicUsize, usize);

impl Room<'_> {
    fn take(all: &AtomicUsize, bytes: usize) -> Option<Room<'_>> {
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        let room = Room(all, bytes);
        (before.saturating_add(bytes) <= SAVING).then_some(room)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What gateways tell each other.
enum Word<'a> {
    Changed(&'a [u8]),
    Purged(Meant),
}

const VERSION: u8 = 1;
const CHANGED: u8 = b'c';
const PURGED: u8 = b'p';

impl<'a> Word<'a> {
    fn written(&self) -> Bytes {
        match self {
            Word::Changed(uri) => [&[VERSION, CHANGED], *uri].concat().into(),
            Word::Purged(meant) => [&[VERSION, PURGED][..], &meant.written()].concat().into(),
        }
    }

    fn read(bytes: &'a [u8]) -> Option<Word<'a>> {
        match bytes {
            [VERSION, CHANGED, uri @ ..] => Some(Word::Changed(uri)),
            [VERSION, PURGED, meant @ ..] => Some(Word::Purged(Meant::read(meant)?)),
            _ => None,
        }
    }
}
