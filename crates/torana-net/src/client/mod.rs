//! The client role: connections to upstreams.

pub mod dial;
pub mod h1;
pub mod h2;
mod interim;
pub mod pool;
