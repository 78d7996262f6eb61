//! The server role: connections from clients.

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod link;
pub(crate) mod send;
