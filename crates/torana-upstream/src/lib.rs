//! Who answers behind us: upstreams, their endpoints and how one is chosen.
//!
//! Pools, loads and rotations belong to one worker and stay on its thread. What
//! is known about an upstream ([`state`]) is shared by all: whether its endpoints
//! are well, and whether it is left alone.

mod attempt;
pub mod balance;
pub mod breaker;
pub mod ceiling;
pub mod discover;
mod endpoint;
pub mod forecast;
pub mod forward;
pub mod health;
pub mod hedge;
mod held;
mod outbound;
pub mod outcome;
mod race;
mod replay;
pub mod retry;
pub mod spec;
pub mod state;
mod time_left;
pub mod upstream;

pub use endpoint::Endpoint;
