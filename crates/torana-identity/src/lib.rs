//! Who a caller is and what it may: the policies of that, one file (or folder)
//! each. The others are in `torana-policies`, and the same rules hold.

pub mod any_of;
pub mod api_key;
pub mod authorize;
pub mod basic_auth;
pub mod csrf;
pub mod forward_auth;
pub mod hmac_auth;
pub mod ip_filter;
pub mod jwt;
pub mod mtls;

use std::time::SystemTime;
use torana_core::policy::{PolicyEntry, entry};
use torana_core::refusal::Rejection;

/// Every kind of policy about callers.
pub const REGISTRY: &[PolicyEntry] = &[
    entry::<any_of::AnyOf>(),
    entry::<api_key::ApiKey>(),
    entry::<authorize::Authorize>(),
    entry::<basic_auth::BasicAuth>(),
    entry::<csrf::Csrf>(),
    entry::<forward_auth::ForwardAuth>(),
    entry::<hmac_auth::HmacAuth>(),
    entry::<ip_filter::IpFilter>(),
    entry::<jwt::Jwt>(),
    entry::<mtls::Mtls>(),
];

/// A rejection as explanations tell it, which are for operators.
fn refuses(rejection: &Rejection) -> String {
    let cause = rejection.cause.as_deref().unwrap_or(rejection.refusal.message);
    format!("refuses with {}: {cause}", rejection.refusal.code)
}

fn unix_now() -> u64 {
    seconds(SystemTime::now())
}

/// Since 1970. A clock before that would let nothing expire, so it counts as
/// the latest.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
