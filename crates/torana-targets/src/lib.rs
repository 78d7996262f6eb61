//! What can answer a route, one file per kind.
//!
//! A new target is a file named after its configuration key, a `pub mod` line
//! and an entry in [`REGISTRY`]; siblings do not know each other.

pub mod aggregate;
pub mod redirect;
pub mod respond;
pub mod split;
pub mod upstream;
pub mod versions;

use torana_core::target::{TargetEntry, entry};

/// Every kind of target.
pub const REGISTRY: &[TargetEntry] = &[
    entry::<upstream::Upstream>(),
    entry::<redirect::Redirect>(),
    entry::<respond::Respond>(),
    entry::<split::Split>(),
    entry::<versions::Versions>(),
    entry::<aggregate::Aggregate>(),
];
