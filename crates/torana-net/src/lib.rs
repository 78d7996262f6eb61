//! Bytes: the only crate that names sockets, TLS and HTTP/2.

pub mod accept;
pub mod accept_queue;
pub mod buffer;
pub mod client;
pub mod date;
pub mod defer;
mod direct;
pub mod drain;
mod gather;
pub mod hand_over;
pub mod inherit;
pub mod io;
pub mod listen;
mod message;
pub mod proxy_protocol;
pub mod recycle;
pub mod refusals;
mod serve;
pub mod service;
pub mod spread;
pub mod timer;
pub mod tls;
pub mod tunnel;
mod write;
