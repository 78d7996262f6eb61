//! What the gateway keeps outside of its configuration and its memory.
//!
//! Engines keep state for several gateways, one file (or folder) each. A new
//! engine is a module with a type implementing
//! [`StoreKind`](torana_core::store::StoreKind) and one entry in [`REGISTRY`];
//! policies see only the traits of `torana_core::store`. [`records`] are what
//! people have made and must not be lost: keys and consumers, in one file.

pub mod records;
pub mod redis;

use torana_core::store::{StoreEntry, entry};

/// Every kind of store.
pub const REGISTRY: &[StoreEntry] = &[entry::<redis::Redis>()];
