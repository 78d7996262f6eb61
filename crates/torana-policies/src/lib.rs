//! What can be switched on per route, one file (or folder) per policy. Those
//! about callers are in `torana-identity`.
//!
//! A new policy is a file named after its configuration key and two lines
//! here: its `pub mod` and its entry in [`REGISTRY`]. Schema, reference page,
//! metrics label and refusal table are derived. Siblings do not know each
//! other.

pub mod body_limit;
pub mod bot_detection;
pub mod cache;
pub mod compress;
pub mod cors;
pub mod enrich;
pub mod fault;
pub mod headers;
pub mod idempotency;
pub mod injection_guard;
pub mod load_shed;
pub mod mirror;
pub mod mock;
pub mod rate_limit;
pub mod redact;
pub mod transform;
pub mod validate;

use torana_core::policy::{PolicyEntry, entry};

/// Every kind of policy.
pub const REGISTRY: &[PolicyEntry] = &[
    entry::<body_limit::BodyLimit>(),
    entry::<bot_detection::BotDetection>(),
    entry::<cache::Cache>(),
    entry::<compress::Compress>(),
    entry::<cors::Cors>(),
    entry::<enrich::Enrich>(),
    entry::<fault::Fault>(),
    entry::<headers::Headers>(),
    entry::<idempotency::Idempotency>(),
    entry::<injection_guard::InjectionGuard>(),
    entry::<load_shed::LoadShed>(),
    entry::<mirror::Mirror>(),
    entry::<mock::Mock>(),
    entry::<rate_limit::RateLimit>(),
    entry::<redact::Redact>(),
    entry::<transform::Transform>(),
    entry::<validate::Validate>(),
];
