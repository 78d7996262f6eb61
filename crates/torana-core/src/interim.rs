//! Replies before the reply.

use crate::head::{Fields, Status};

/// Takes an upstream's interim (1xx) replies to one request, for its client.
pub trait Interim {
    /// Hands over one, in the order they came in. `fields` are end-to-end.
    ///
    /// Never waits: what a client does not take, or cannot, is dropped, which
    /// is harmless, because an interim reply says nothing that the final one
    /// depends on.
    fn offer(&self, status: Status, fields: &Fields);
}
