//! The server role: connections from clients.

pub(crate) mod crew;
pub(crate) mod h1;
pub(crate) mod h2;
mod interim;
pub(crate) mod link;
pub(crate) mod send;
pub(crate) mod shelf;
