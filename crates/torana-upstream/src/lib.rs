//! Who answers behind us: upstreams, their endpoints and how one is chosen.
//!
//! Everything here belongs to one worker and stays on its thread; only the
//! counters are read from elsewhere.

mod endpoint;
pub mod forward;
pub mod select;
pub mod spec;

pub use endpoint::Endpoint;
