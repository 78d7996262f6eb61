//! What can be switched on per route, one file (or folder) per policy.
//!
//! A new policy is a file named after its configuration key and two lines
//! here: its `pub mod` and its entry in [`REGISTRY`]. Schema, reference page,
//! metrics label and refusal table are derived. Siblings do not know each
//! other.

pub mod body_limit;
pub mod cache;
pub mod compress;
pub mod cors;
pub mod fault;
pub mod headers;
pub mod idempotency;
pub mod load_shed;
pub mod mirror;
pub mod rate_limit;

use torana_core::policy::{PolicyEntry, entry};

/// Every kind of policy.
pub const REGISTRY: &[PolicyEntry] = &[
    entry::<body_limit::BodyLimit>(),
    entry::<cache::Cache>(),
    entry::<compress::Compress>(),
    entry::<cors::Cors>(),
    entry::<fault::Fault>(),
    entry::<headers::Headers>(),
    entry::<idempotency::Idempotency>(),
    entry::<load_shed::LoadShed>(),
    entry::<mirror::Mirror>(),
    entry::<rate_limit::RateLimit>(),
];
