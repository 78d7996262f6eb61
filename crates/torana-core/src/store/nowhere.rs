//! A store that keeps nothing: it stands in for one in error, so that the rest
//! of a configuration can be looked through. No plan ever has it.

use super::{Blobs, Counters, Heard, Journal, Position, Soon, Store, StoreError, Take, Taken};
use bytes::Bytes;
use std::time::Duration;

/// A store that cannot be reached. For tests it is one that is down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

fn unreachable<T>() -> Soon<Result<T, StoreError>> {
    Soon::Now(Err(StoreError::Unreachable("it is nowhere".into())))
}

impl Store for Nowhere {
    fn counters(&self) -> &dyn Counters {
        self
    }

    fn blobs(&self) -> &dyn Blobs {
        self
    }

    fn journal(&self) -> &dyn Journal {
        self
    }
}

impl Journal for Nowhere {
    fn tell(&self, _: &[u8], _: Bytes) -> Soon<Result<Position, StoreError>> {
        unreachable()
    }

    fn hear(&self, _: &[u8], _: Position) -> Soon<Result<Heard, StoreError>> {
        unreachable()
    }
}

impl Counters for Nowhere {
    fn take(&self, _: &Take<'_>) -> Soon<Result<Taken, StoreError>> {
        unreachable()
    }

    fn release(&self, _: &Take<'_>, _: u64) {}
}

impl Blobs for Nowhere {
    fn get(&self, _: &[u8]) -> Soon<Result<Option<Bytes>, StoreError>> {
        unreachable()
    }

    fn put(&self, _: &[u8], _: Bytes, _: Duration, _: &[&str]) -> Soon<Result<(), StoreError>> {
        unreachable()
    }

    fn add(&self, _: &[u8], _: Bytes, _: Duration) -> Soon<Result<Option<Bytes>, StoreError>> {
        unreachable()
    }

    fn delete(&self, _: &[u8]) -> Soon<Result<(), StoreError>> {
        unreachable()
    }

    fn delete_tagged(&self, _: &str) -> Soon<Result<(), StoreError>> {
        unreachable()
    }

    fn delete_prefix(&self, _: &[u8]) -> Soon<Result<(), StoreError>> {
        unreachable()
    }
}
