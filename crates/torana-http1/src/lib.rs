//! HTTP/1.0 and HTTP/1.1 as bytes: a codec without I/O, for both roles.
//!
//! Nothing here reads a socket, keeps a clock or knows a runtime. The caller
//! owns the buffers, hands in what has arrived and learns how much of it was
//! used. Nothing is allocated in the steady state: parsed heads go into a
//! [`Head`](torana_core::head::Head) whose buffers are reused, bodies are
//! ranges of the caller's own buffer, and written messages are appended to a
//! buffer of the caller.
//!
//! # One exchange, seen by a server
//!
//! 1. [`request::parse`] until it says [`Parsed::Complete`];
//! 2. [`request::framing`] decides where the body ends;
//! 3. a [`BodyDecoder`] walks over the body;
//! 4. [`response::write_head`] and a [`BodyEncoder`] write the reply;
//! 5. [`behind`] says what the bytes behind the request are: the next request,
//!    a tunnel's, or nobody's.
//!
//! A client writes with [`request::write_head`] and reads with
//! [`response::parse`], passing on or skipping interim replies itself.
//!
//! # One reading
//!
//! Two parsers that read the same bytes differently are how a request is
//! smuggled past a gateway (RFC 9112 §11.2). So every message that any parser
//! is known to read in two ways is an error here, even where the RFC would
//! allow a lenient reading. The table of what is refused and why stands in
//! `strict.rs`; `RFC9112.md` lists every requirement and its test.
//! After an error the connection is answered and closed, never reused.
//!
//! # What is decided elsewhere
//!
//! `Host` (missing, repeated, against the target), the meaning of the request
//! target, hop-by-hop fields and the names a `Connection` field lists: those
//! belong to admission and forwarding. Time limits belong to the caller: this
//! crate has no clock.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::panic)
)]

mod body;
mod chunked;
mod connection;
mod encode;
mod error;
mod framing;
mod limits;
mod plain;
mod remembered;
pub mod request;
pub mod response;
mod scan;
mod strict;
#[cfg(test)]
mod testing;
mod trailers;

pub use body::{BodyDecoder, Step};
pub use connection::{Behind, Persist, behind};
pub use encode::{BodyEncoder, Frame, Sent};
pub use error::{BodyError, EncodeError, FramingError, HeadError};
pub use framing::Framing;
pub use limits::{HeadLimits, MAX_FIELDS};
pub use scan::{HeadScanner, Parsed};
