//! The words of Torana: types every other crate speaks, and no I/O.
//!
//! Nothing here opens a socket, reads a file or asks the time except through
//! [`clock::Clock`]. A crate that needs to move bytes depends on `torana-net`;
//! a crate that only needs to talk about them depends on this one.

pub mod ask;
pub mod body;
pub mod cache_control;
pub mod canonical;
pub mod captures;
pub mod carried;
pub mod civil;
pub mod clock;
pub mod consumer;
pub mod cookie;
pub mod credential;
pub mod deadline;
pub mod diagnostic;
pub mod event;
pub mod exchange;
pub mod forwarded;
pub mod grpc;
pub mod head;
pub mod hop;
pub mod identity;
pub mod interim;
pub mod json;
pub mod keyed;
pub mod metric;
pub mod names;
pub mod operation;
pub mod pace;
pub mod payload;
pub mod pointer;
pub mod policy;
pub mod query;
pub mod refusal;
pub mod reply;
pub mod reserved;
pub mod rewrite;
pub mod site;
pub mod stage;
pub mod store;
pub mod target;
pub mod template;
pub mod testing;
pub mod trace;
pub mod units;
pub mod vary;
pub mod verdict;
pub mod wanted;
pub mod welcome;
pub mod written;

pub use exchange::outbound;
