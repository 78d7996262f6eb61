//! Consumers and keys that were made while the gateway ran, in one file.
//!
//! The file is open only while it is read or written: a gateway that takes over
//! from another, or shares the directory with it, finds it free. Requests are
//! answered from memory, which is what was last known to be in the file. A
//! change is in the file, with `fsync`, before anybody is told of it.
//!
//! What cannot be known does not count: as long as the file is gone or broken,
//! nobody can say whether a key has been taken back, so none is found
//! ([`Unavailable`]).

mod key;

use arc_swap::ArcSwap;
use redb::{Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use torana_core::consumer::{Consumer, ConsumerFacts, Digest, Key, RuntimeConsumers, RuntimeKey, Unavailable};

const KEYS: TableDefinition<'_, &str, &str> = TableDefinition::new("keys");
const CONSUMERS: TableDefinition<'_, &str, &str> = TableDefinition::new("consumers");

/// The file in the directory.
const FILE: &str = "consumers.redb";

/// How many keys there may be, so that memory and the time of a change have a
/// bound.
pub const MOST_KEYS: usize = 100_000;

/// How many consumers.
pub const MOST_CONSUMERS: usize = 100_000;

/// How long keys that were taken back or have ended stay in the listing.
const KEPT: u64 = 90 * 24 * 3600;

/// How often a file that somebody else has open is tried.
const TRIES: u32 = 20;

/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(25);

/// A consumer as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerRecord {
    /// Its name.
    pub name: String,
    /// Its plan.
    pub plan: Option<String>,
    /// What it was marked with.
    pub tags: Vec<String>,
    /// Whether its keys count.
    pub active: bool,
    /// Networks it may call from; empty: all.
    pub ips: Vec<String>,
    /// Routes it may use; empty: all.
    pub routes: Vec<String>,
    /// What it is.
    pub roles: Vec<String>,
    /// What its keys are for.
    pub scopes: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// A key as it is kept: all but the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// What it is called; a part of the key.
    pub id: String,
    /// Whose it is.
    pub consumer: String,
    /// What it is for, for people.
    #[serde(default)]
    pub name: Option<String>,
    digest: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it ends.
    #[serde(default)]
    pub expires: Option<u64>,
    /// When it was taken back.
    #[serde(default)]
    pub revoked: Option<u64>,
    /// The key it takes the place of.
    #[serde(default)]
    pub replaces: Option<String>,
}

/// A new key. The only time that it can be seen.
pub struct NewKey {
    /// The key.
    pub key: String,
    /// What is kept of it.
    pub record: KeyRecord,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKey({})", self.record.id)
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// The file cannot be read or written; the text says why.
    Unavailable(String),
    /// There is no such consumer.
    NoConsumer,
    /// There is no such key, or it was taken back.
    NoKey,
    /// There are as many as there may be.
    Full,
}

/// What is known of the file.
#[derive(Default)]
struct Known {
    /// By [`Digest::shelf`].
    keys: HashMap<u64, Vec<RuntimeKey>>,
    consumers: HashMap<Arc<str>, Arc<Consumer>>,
    key_records: Vec<KeyRecord>,
    consumer_records: Vec<ConsumerRecord>,
}

enum State {
    Known(Known),
    Lost(String),
}

/// What tells the file from another, and from itself before a change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Since 1970.
    modified: Duration,
}

/// How long a file must have been left alone before its stamp is believed: it
/// may change right before it is taken, and once more without another time, of
/// which file systems keep 4 ms at best, some whole seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// The file as it was when it was last read or written.
#[derive(Clone, Copy)]
struct Seen {
    stamp: Stamp,
    /// Or somebody else may have changed it unnoticed.
    is_settled: bool,
}

/// Consumers and keys that were made while the gateway ran.
pub struct Records {
    path: PathBuf,
    state: ArcSwap<State>,
    /// `None`: not there yet. Held while it is read or written.
    seen: Mutex<Option<Seen>>,
}

/// What [`Records::look`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file can be read again.
    Found,
    /// It cannot be read any more; the text says why.
    Lost(String),
}

impl Records {
    /// The records in `directory`, which is made if it is not there. Records
    /// that cannot be read are none; [`Records::lost`] says why.
    #[must_use]
    pub fn open(directory: &Path) -> Records {
        let path = directory.join(FILE);
        let records =
            Records { path, state: ArcSwap::from_pointee(State::Known(Known::default())), seen: Mutex::default() };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        if let Err(error) = made {
            records.set_lost(format!("the directory {} cannot be made: {error}", directory.display()));
        } else if records.path.exists() {
            let mut seen = records.seen();
            records.reread(&mut seen);
        }
        records
    }

    /// Why there are no records, if they cannot be read.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        match &**self.state.load() {
            State::Known(_) => None,
            State::Lost(why) => Some(why.clone()),
        }
    }

    /// Looks whether the file is the one that was last read, and reads it again
    /// if not. To be called every second or so.
    pub fn look(&self) -> Option<Change> {
        let mut seen = self.seen();
        let was_lost = self.lost();
        let found = Stamp::of(&self.path);
        match (&found, &*seen) {
            // Not made yet.
            (Err(_), None) if was_lost.is_none() => return None,
            (Err(error), _) => self.set_lost(format!("{} cannot be found: {error}", self.path.display())),
            (Ok(found), Some(known)) if *found == known.stamp && known.is_settled && was_lost.is_none() => return None,
            (Ok(_), _) => self.reread(&mut seen),
        }
        match (was_lost, self.lost()) {
            (Some(_), None) => Some(Change::Found),
            (None, Some(why)) => Some(Change::Lost(why)),
            _ => None,
        }
    }

    /// The consumers that were made, by name.
    ///
    /// # Errors
    /// They cannot be known.
    pub fn consumers(&self) -> Result<Vec<ConsumerRecord>, NotDone> {
        match &**self.state.load() {
            State::Known(known) => Ok(known.consumer_records.clone()),
            State::Lost(why) => Err(NotDone::Unavailable(why.clone())),
        }
    }

    /// The keys of a consumer, or of all, oldest first.
    ///
    /// # Errors
    /// They cannot be known.
    pub fn keys(&self, consumer: Option<&str>) -> Result<Vec<KeyRecord>, NotDone> {
        match &**self.state.load() {
            State::Known(known) => {
                let is_meant = |record: &&KeyRecord| consumer.is_none_or(|name| record.consumer == name);
                Ok(known.key_records.iter().filter(is_meant).cloned().collect())
            }
            State::Lost(why) => Err(NotDone::Unavailable(why.clone())),
        }
    }

    /// Makes a consumer, or changes one.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn put_consumer(&self, record: &ConsumerRecord) -> Result<(), NotDone> {
        self.change(|_, consumers| {
            let is_known = consumers.iter().any(|known| known.name == record.name);
            if !is_known && consumers.len() >= MOST_CONSUMERS {
                return Err(NotDone::Full);
            }
            consumers.retain(|known| known.name != record.name);
            consumers.push(record.clone());
            Ok(())
        })
    }

    /// Forgets a consumer, and its keys if `with_keys`.
    ///
    /// # Errors
    /// There is none, or it cannot be kept.
    pub fn remove_consumer(&self, name: &str, with_keys: bool) -> Result<(), NotDone> {
        self.change(|keys, consumers| {
            let before = consumers.len();
            consumers.retain(|known| known.name != name);
            if consumers.len() == before {
                return Err(NotDone::NoConsumer);
            }
            keys.retain(|key| !with_keys || key.consumer != name);
            Ok(())
        })
    }

    /// Makes a key of `consumer`.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn create_key(
        &self,
        consumer: &str,
        name: Option<&str>,
        expires: Option<u64>,
        now: u64,
    ) -> Result<NewKey, NotDone> {
        self.change(|keys, _| {
            let record = KeyRecord {
                id: String::new(),
                consumer: consumer.to_owned(),
                name: name.map(str::to_owned),
                digest: String::new(),
                created: now,
                expires,
                revoked: None,
                replaces: None,
            };
            add(keys, record, now)
        })
    }

    /// Makes a key in the place of another, which goes on for `overlap` seconds.
    ///
    /// # Errors
    /// There is no such key that counts, or it cannot be kept.
    pub fn rotate_key(
        &self,
        consumer: &str,
        id: &str,
        expires: Option<u64>,
        overlap: u64,
        now: u64,
    ) -> Result<NewKey, NotDone> {
        self.change(|keys, _| {
            let old = keys.iter_mut().find(|key| key.id == id && key.consumer == consumer && key.counts(now));
            let Some(old) = old else { return Err(NotDone::NoKey) };
            // One that is replaced already is not to last longer for that.
            let until = now.saturating_add(overlap);
            old.expires = Some(old.expires.map_or(until, |expires| expires.min(until)));
            let record = KeyRecord { created: now, expires, replaces: Some(old.id.clone()), ..old.clone() };
            add(keys, record, now)
        })
    }

    /// Takes a key back, at once and for good.
    ///
    /// # Errors
    /// There is no such key, or that cannot be kept.
    pub fn revoke_key(&self, consumer: &str, id: &str, now: u64) -> Result<KeyRecord, NotDone> {
        self.change(|keys, _| {
            let found = keys.iter_mut().find(|key| key.id == id && key.consumer == consumer);
            let Some(key) = found else { return Err(NotDone::NoKey) };
            key.revoked.get_or_insert(now);
            Ok(key.clone())
        })
    }

    /// Changes the records in the file and then in memory, or in neither.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<KeyRecord>, &mut Vec<ConsumerRecord>) -> Result<T, NotDone>,
    ) -> Result<T, NotDone> {
        let mut seen = self.seen();
        if let Some(why) = self.lost() {
            return Err(NotDone::Unavailable(why));
        }
        let unavailable = |error: String| NotDone::Unavailable(error);
        if seen.is_some() && !self.path.exists() {
            // A new file would be one without the keys that were taken back.
            self.set_lost(format!("{} is gone", self.path.display()));
            return Err(unavailable(self.lost().unwrap_or_default()));
        }
        let database = self.writable().map_err(unavailable)?;
        // Another gateway may have changed it since.
        let (mut keys, mut consumers) = read_from(&database).map_err(unavailable)?;
        let done = change(&mut keys, &mut consumers)?;
        write(&database, &keys, &consumers).map_err(|error| unavailable(self.told(&error)))?;
        drop(database);
        *seen = Seen::now(&self.path);
        self.state.store(Arc::new(State::Known(Known::of(keys, consumers))));
        Ok(done)
    }

    fn reread(&self, seen: &mut Option<Seen>) {
        match self.read() {
            Ok((keys, consumers)) => {
                *seen = Seen::now(&self.path);
                self.state.store(Arc::new(State::Known(Known::of(keys, consumers))));
            }
            Err(why) => self.set_lost(why),
        }
    }

    fn read(&self) -> Result<Lists, String> {
        match self.patiently(|| ReadOnlyDatabase::open(&self.path)) {
            Ok(database) => read_from(&database).map_err(|error| self.told(&error)),
            // It was not closed: the process was killed, or the machine.
            Err(DatabaseError::RepairAborted) => {
                let database = self.patiently(|| Database::open(&self.path)).map_err(|error| self.told(&error))?;
                read_from(&database).map_err(|error| self.told(&error))
            }
            Err(error) => Err(self.told(&error)),
        }
    }

    fn writable(&self) -> Result<Database, String> {
        let is_new = !self.path.exists();
        // Before there is anything in it.
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        opened.map_err(|error| self.told(&error))?;
        let database = self.patiently(|| Database::create(&self.path)).map_err(|error| self.told(&error))?;
        if is_new && let Some(directory) = self.path.parent() {
            // So that the name of the file is there after a crash, too.
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| self.told(&error))?;
        }
        Ok(database)
    }

    /// Whoever else has it open is soon done.
    fn patiently<T>(&self, open: impl Fn() -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        let mut tries = 0;
        loop {
            match open() {
                Err(DatabaseError::DatabaseAlreadyOpen) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    fn told(&self, error: &dyn fmt::Display) -> String {
        format!("{}: {error}", self.path.display())
    }

    fn set_lost(&self, why: String) {
        self.state.store(Arc::new(State::Lost(why)));
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        // Written last, by whoever holds it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyRecord {
    /// Whether it counts at `now`.
    #[must_use]
    pub fn counts(&self, now: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// Since when it does not count any more.
    fn ended(&self) -> Option<u64> {
        self.revoked.or(self.expires)
    }
}

fn add(keys: &mut Vec<KeyRecord>, record: KeyRecord, now: u64) -> Result<NewKey, NotDone> {
    keys.retain(|key| key.ended().is_none_or(|ended| now < ended.saturating_add(KEPT)));
    if keys.len() >= MOST_KEYS {
        return Err(NotDone::Full);
    }
    let made = loop {
        let made = key::make().ok_or_else(|| NotDone::Unavailable("the system has no randomness".to_owned()))?;
        if !keys.iter().any(|key| key.id == made.id) {
            break made;
        }
    };
    let record = KeyRecord { id: made.id, digest: made.digest.to_hex(), ..record };
    keys.push(record.clone());
    Ok(NewKey { key: made.key, record })
}

type Lists = (Vec<KeyRecord>, Vec<ConsumerRecord>);

fn read_from(database: &impl ReadableDatabase) -> Result<Lists, String> {
    let read = database.begin_read().map_err(|error| error.to_string())?;
    let table = |definition| match read.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let mut lists = Lists::default();
    for record in table(KEYS)?.iter().flat_map(|table| table.iter().into_iter().flatten()) {
        lists.0.push(parse(record.map_err(|error| error.to_string())?.1.value())?);
    }
    for record in table(CONSUMERS)?.iter().flat_map(|table| table.iter().into_iter().flatten()) {
        lists.1.push(parse(record.map_err(|error| error.to_string())?.1.value())?);
    }
    lists.0.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
    Ok(lists)
}

fn parse<'r, T: Deserialize<'r>>(text: &'r str) -> Result<T, String> {
    // What is wrong would be shown with a part of the record.
    serde_json::from_str(text).map_err(|_| "a record cannot be read".to_owned())
}

fn write(database: &Database, keys: &[KeyRecord], consumers: &[ConsumerRecord]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(KEYS)?;
        let ids: HashSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        table.retain(|id, _| ids.contains(id))?;
        for key in keys {
            put(&mut table, &key.id, &serde_json::to_string(key).unwrap_or_default())?;
        }
        let mut table = write.open_table(CONSUMERS)?;
        let names: HashSet<&str> = consumers.iter().map(|consumer| consumer.name.as_str()).collect();
        table.retain(|name, _| names.contains(name))?;
        for consumer in consumers {
            put(&mut table, &consumer.name, &serde_json::to_string(consumer).unwrap_or_default())?;
        }
    }
    write.commit()?;
    Ok(())
}

/// Writes what has changed.
fn put(table: &mut redb::Table<'_, &str, &str>, key: &str, text: &str) -> Result<(), redb::Error> {
    let is_same = table.get(key)?.is_some_and(|known| known.value() == text);
    if !is_same {
        table.insert(key, text)?;
    }
    Ok(())
}

impl Known {
    fn of(mut key_records: Vec<KeyRecord>, mut consumer_records: Vec<ConsumerRecord>) -> Known {
        key_records.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        consumer_records.sort_by(|one, other| one.name.cmp(&other.name));
        let mut known = Known::default();
        for record in &key_records {
            let Some(digest) = Digest::from_hex(&record.digest) else { continue };
            let key = Key {
                id: record.id.as_str().into(),
                digest,
                expires: record.expires,
                active: true,
                revoked: record.revoked.is_some(),
            };
            known.keys.entry(digest.shelf()).or_default().push((Arc::new(key), record.consumer.as_str().into()));
        }
        for record in &consumer_records {
            let names = |names: &[String]| names.iter().map(String::as_str).collect();
            let ips: Vec<_> = record.ips.iter().filter_map(|network| network.parse().ok()).collect();
            let facts = ConsumerFacts {
                name: record.name.as_str().into(),
                plan: record.plan.as_deref().map(Into::into),
                tags: names(&record.tags),
                // A network that cannot be read must not become none.
                active: record.active && ips.len() == record.ips.len(),
                ips: ips.into(),
                routes: names(&record.routes),
                roles: names(&record.roles),
                scopes: names(&record.scopes),
            };
            known.consumers.insert(Arc::clone(&facts.name), Arc::new(Consumer::new(facts)));
        }
        Known { key_records, consumer_records, ..known }
    }
}

impl RuntimeConsumers for Records {
    fn key(&self, digest: &Digest) -> Result<Option<RuntimeKey>, Unavailable> {
        match &**self.state.load() {
            State::Known(known) => Ok(known
                .keys
                .get(&digest.shelf())
                .into_iter()
                .flatten()
                .find(|(key, _)| key.digest == *digest)
                .cloned()),
            State::Lost(_) => Err(Unavailable),
        }
    }

    fn consumer(&self, name: &str) -> Option<Arc<Consumer>> {
        match &**self.state.load() {
            State::Known(known) => known.consumers.get(name).cloned(),
            State::Lost(_) => None,
        }
    }

    fn names(&self) -> Vec<Arc<str>> {
        match &**self.state.load() {
            State::Known(known) => known.consumers.keys().cloned().collect(),
            State::Lost(_) => Vec::new(),
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({})", self.path.display())
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let found = fs::metadata(path)?;
        let modified = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Stamp { device: found.dev(), inode: found.ino(), length: found.len(), modified })
    }
}

impl Seen {
    fn now(path: &Path) -> Option<Seen> {
        let stamp = Stamp::of(path).ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Seen { stamp, is_settled: now.saturating_sub(stamp.modified) >= SETTLED })
    }
}

#[cfg(test)]
mod tests;
