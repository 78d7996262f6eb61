//! What can be switched on per route, one file (or folder) per policy.
//!
//! A new policy is a file named after its configuration key and two lines
//! here: its `pub mod` and its entry in [`REGISTRY`]. Schema, reference page,
//! metrics label and refusal table are derived. Siblings do not know each
//! other.

pub mod api_key;
pub mod basic_auth;
pub mod fault;
pub mod headers;
pub mod hmac_auth;
pub mod mirror;
pub mod mtls;

use torana_core::policy::{PolicyEntry, entry};

/// Every kind of policy.
pub const REGISTRY: &[PolicyEntry] = &[
    entry::<api_key::ApiKey>(),
    entry::<basic_auth::BasicAuth>(),
    entry::<fault::Fault>(),
    entry::<headers::Headers>(),
    entry::<hmac_auth::HmacAuth>(),
    entry::<mirror::Mirror>(),
    entry::<mtls::Mtls>(),
];
