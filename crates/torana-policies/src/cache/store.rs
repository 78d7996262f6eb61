//! Where replies are kept: in memory, for all workers, within a budget of bytes.
//!
//! `quick_cache` does the keeping: a hit sets a bit in a shard's memory, and
//! what goes first is chosen as by S3-FIFO, so that a scan of URLs that are
//! asked for once does not push out what is asked for all the time. What a
//! method changes, and what is purged, is marked in a table of moments: a reply
//! that was asked for before the moment of its URI is not used, and not kept if
//! it is still on its way.

use super::entry::{Entry, Resource};
use super::flight::Flights;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use torana_core::head::Fields;

/// What a resource is kept under; see [`super::key`].
pub(super) type Key = Arc<[u8]>;

/// The moments of URIs, by their hash: some share one, and are asked for once
/// more than needed.
pub(super) const MOMENTS: usize = 8192;

/// Locks, and parts of the budget: an object has to fit into one.
const SHARDS: usize = 8;

/// For how long nobody waits for a reply that could not be kept.
const UNKEPT: Duration = Duration::from_secs(5);

pub(super) struct Store {
    cache: Cache<Key, Arc<Resource>, Weigh>,
    pub(super) flights: Flights,
    began: Instant,
    hasher: DefaultHashBuilder,
    moments: Box<[AtomicU64]>,
    /// When something was purged that is not one URI.
    purged: AtomicU64,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Key, Arc<Resource>> for Weigh {
    fn weight(&self, key: &Key, resource: &Arc<Resource>) -> u64 {
        (key.len() + resource.weight()) as u64
    }
}

impl Store {
    /// A store for so many bytes.
    pub(super) fn new(bytes: u64) -> Store {
        // A guess at how many there will be sizes the tables; four kilobytes is
        // a small reply of an API.
        let items = usize::try_from(bytes / 4096).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(bytes)
            .shards(SHARDS)
            .build()
            // All that is needed was set.
            .expect("the options of the store are complete");
        let hasher = DefaultHashBuilder::default();
        Store {
            cache: Cache::with_options(options, Weigh, hasher.clone(), DefaultLifecycle::default()),
            flights: Flights::default(),
            began: Instant::now(),
            hasher,
            moments: (0..MOMENTS).map(|_| AtomicU64::new(0)).collect(),
            purged: AtomicU64::new(0),
        }
    }

    /// The largest object that is kept by a store of so many bytes.
    pub(super) const fn largest(bytes: u64) -> u64 {
        bytes / SHARDS as u64 / 2
    }

    /// A moment in the store's own time: microseconds since it was made, from 1.
    pub(super) fn time(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Resource>> {
        self.cache.get(key)
    }

    /// Whether `entry` was asked for before its URI was changed.
    pub(super) fn is_outdated(&self, uri: usize, entry: &Entry) -> bool {
        self.is_before(uri, entry.asked)
    }

    fn is_before(&self, uri: usize, asked: u64) -> bool {
        self.moments.get(uri).is_some_and(|moment| asked <= moment.load(Ordering::Relaxed))
    }

    /// Keeps `entry`, unless what it is a reply to has changed since.
    pub(super) fn put(&self, key: &Key, uri: usize, entry: Arc<Entry>) {
        if self.is_before(uri, entry.asked) || entry.asked <= self.purged.load(Ordering::Relaxed) {
            return;
        }
        let before = self.cache.get(key).unwrap_or_default();
        // Two workers at once: one of two variants may get lost, and is asked
        // for again.
        self.cache.insert(key.clone(), Arc::new(before.with(entry)));
    }

    /// Keeps what others have kept, if it is of more use to `request` than what
    /// is here; tells whether it is.
    pub(super) fn put_if_fresher(
        &self,
        key: &Key,
        uri: usize,
        entry: Arc<Entry>,
        request: &Fields,
        now: Instant,
    ) -> bool {
        let known = self.cache.get(key).and_then(|resource| resource.select(request).cloned());
        let left = |entry: &Entry| entry.lifetime.as_millis().cast_signed() - entry.age(now).as_millis().cast_signed();
        let is_better = known.is_none_or(|known| self.is_outdated(uri, &known) || left(&entry) > left(&known));
        if is_better {
            self.put(key, uri, entry);
        }
        is_better
    }

    /// Notes that nothing of `key` could be kept.
    pub(super) fn note_unkept(&self, key: &Key, now: Instant) {
        let before = self.cache.get(key).unwrap_or_default();
        let noted = Resource { variants: before.variants.clone(), unkept_until: now.checked_add(UNKEPT) };
        self.cache.insert(key.clone(), Arc::new(noted));
    }

    /// The place of a URI in the table of moments.
    pub(super) fn place(&self, uri: impl Hash) -> usize {
        usize::try_from(self.hasher.hash_one(uri) % MOMENTS as u64).unwrap_or(0)
    }

    /// Lets nothing be used any more of what was asked for up to `now`.
    pub(super) fn outdate(&self, uri: usize, now: Instant) {
        if let Some(moment) = self.moments.get(uri) {
            moment.fetch_max(self.time(now), Ordering::Relaxed);
        }
    }

    /// Drops what `is_meant`, and does not keep what is on its way; how many
    /// replies were dropped. Looks at everything, a shard at a time.
    pub(super) fn purge(&self, now: Instant, is_meant: impl Fn(&[u8], &Entry) -> bool) -> usize {
        self.purged.fetch_max(self.time(now), Ordering::Relaxed);
        let (changed, gone) = (RefCell::new(Vec::new()), Cell::new(0));
        self.cache.retain(|key, resource| {
            let (left, count) = resource.without(|entry| is_meant(key, entry));
            gone.set(gone.get() + count);
            if count > 0 && !left.variants.is_empty() {
                changed.borrow_mut().push((key.clone(), left));
            }
            count == 0
        });
        for (key, left) in changed.into_inner() {
            self.cache.insert(key, Arc::new(left));
        }
        gone.get()
    }

    /// Resources kept, and the bytes they take.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.cache.len(), self.cache.weight())
    }
}
