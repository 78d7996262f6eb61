//! What an upstream sends before its reply (RFC 9110 §15.2).

use super::h1::Outgoing;
use crate::refusals as refuse;
use torana_core::head::{ReplyHead, Status};
use torana_core::hop;
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_http1::response;

/// Interim replies taken before the final one. Services send one or two; one
/// that never stops would keep its worker busy with nothing.
const MOST: u8 = 32;

/// The interim replies to one request, counted.
#[derive(Default)]
pub(super) struct Interims {
    count: u8,
}

impl Interims {
    /// Whether none has come.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes one and passes it on to the client. `head` is empty afterwards.
    ///
    /// # Errors
    /// There are too many, or it is no interim reply as HTTP has them.
    pub(super) fn pass_on(&mut self, head: &mut ReplyHead, outgoing: &Outgoing<'_>) -> Result<(), Rejection> {
        self.count += 1;
        if self.count > MOST {
            return Err(malformed("too many interim replies"));
        }
        if !head.status.is_interim() {
            // 101 in HTTP/2, which has no such thing (RFC 9113 §8.6).
            return Err(malformed("the service switched protocols although nobody asked"));
        }
        // It has no body, whatever it announces (RFC 9112 §6.3), and whoever
        // announces one may send it: as the next reply.
        response::framing(outgoing.method, head).map_err(malformed)?;
        // The gateway has invited the body itself, or nobody has asked.
        if head.status != Status::CONTINUE
            && let Some(client) = outgoing.interim
        {
            let fields = &mut head.fields;
            if hop::strip(fields, &mut Vec::new()).is_err() {
                fields.clear();
            }
            fields.remove_known(KnownName::ContentLength);
            client.offer(head.status, fields);
        }
        head.clear();
        Ok(())
    }
}

fn malformed(cause: impl std::fmt::Display) -> Rejection {
    Rejection::new(&refuse::UPSTREAM_MALFORMED).because(cause)
}

#[cfg(test)]
#[path = "interim_tests.rs"]
mod tests;
