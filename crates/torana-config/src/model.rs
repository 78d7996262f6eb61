//! The configuration model: what a person may write, key by key.
//!
//! The documentation of these types is the manual: it goes into the JSON Schema (`torana schema`)
//! and from there into editors and the reference pages. So every field says its unit, its default
//! and what may surprise.
//!
//! This is configuration as written. What is derived from it, such as compiled routes, belongs to
//! the plane.

mod address;
mod boot;
mod consumer;
mod discover;
mod endpoint;
mod limits;
mod matching;
mod resilience;
mod routing;
mod switch;

pub use address::ListenAddress;
pub use boot::{
    AccessLog, Admin, Certificate, ClientAuth, ClientAuthMode, Config, Listener, ListenerTls, ProxyProtocol, Shutdown,
    TlsVersion, Upgrade,
};
pub use consumer::{Consumer, ConsumerKey, ConsumerPassword, ConsumerPlan, SignatureKey};
pub use discover::{Discover, Dns, DnsScheme};
pub use endpoint::{Endpoint, EndpointUrl, Origin, Scheme};
pub use limits::{LimitValues, Limits};
pub use matching::{Match, PathMatch, ValueMatch, ValueTest};
pub use resilience::{
    Balance, Breaker, BreakerScope, Concurrency, ConsistentHash, Fallback, Health, Hedge, HedgeAfter, Passive, Retry,
    SameSite, Slow, StatusText, Sticky,
};
pub use routing::{Protocol, Redirect, Respond, Route, StoreUse, Upstream, UpstreamTls, WebScheme};
pub use switch::Switch;
pub use torana_core::rewrite::{Config as Rewrite, HostRewrite};
pub use torana_core::written::KindUse;
