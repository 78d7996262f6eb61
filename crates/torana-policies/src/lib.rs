//! What can be switched on per route, one file (or folder) per policy.
//!
//! A new policy is a file named after its configuration key and two lines
//! here: its `pub mod` and its entry in [`REGISTRY`]. Schema, reference page,
//! metrics label and refusal table are derived. Siblings do not know each
//! other.

pub mod any_of;
pub mod api_key;
pub mod authorize;
pub mod basic_auth;
pub mod body_limit;
pub mod cache;
pub mod compress;
pub mod cors;
pub mod csrf;
pub mod fault;
pub mod forward_auth;
pub mod headers;
pub mod hmac_auth;
pub mod idempotency;
pub mod ip_filter;
pub mod jwt;
pub mod load_shed;
pub mod mirror;
pub mod mtls;
pub mod rate_limit;

use torana_core::policy::{PolicyEntry, entry};

/// Every kind of policy.
pub const REGISTRY: &[PolicyEntry] = &[
    entry::<any_of::AnyOf>(),
    entry::<api_key::ApiKey>(),
    entry::<authorize::Authorize>(),
    entry::<basic_auth::BasicAuth>(),
    entry::<body_limit::BodyLimit>(),
    entry::<cache::Cache>(),
    entry::<compress::Compress>(),
    entry::<cors::Cors>(),
    entry::<csrf::Csrf>(),
    entry::<fault::Fault>(),
    entry::<forward_auth::ForwardAuth>(),
    entry::<headers::Headers>(),
    entry::<hmac_auth::HmacAuth>(),
    entry::<idempotency::Idempotency>(),
    entry::<ip_filter::IpFilter>(),
    entry::<jwt::Jwt>(),
    entry::<load_shed::LoadShed>(),
    entry::<mirror::Mirror>(),
    entry::<mtls::Mtls>(),
    entry::<rate_limit::RateLimit>(),
];
