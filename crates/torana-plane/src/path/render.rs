//! Step 5: a refusal becomes a reply. The only place that does this.
//!
//! | the caller speaks | it gets |
//! |---|---|
//! | gRPC (`content-type: application/grpc…`) | status 200, `grpc-status` and `grpc-message` in the head: a "trailers-only" reply |
//! | anything else | `application/problem+json` (RFC 9457) with the members `code`, `request_id` and `error`, and `errors` where parts are wrong |
//!
//! Causes stay in the log.

use crate::json::{Object, Out, member};
use torana_core::exchange::Exchange;
use torana_core::grpc;
use torana_core::head::{Method, Status};
use torana_core::names::KnownName;
use torana_core::refusal::{FieldError, FieldErrors, Refusal, Rejection};
use torana_core::reply::Reply;

pub(super) fn render(exchange: &mut Exchange, rejection: Rejection) -> Reply {
    let message = rejection.message();
    let status = rejection.status.unwrap_or(rejection.refusal.status);
    let Rejection { refusal, cause, fields, grpc_status, errors, .. } = rejection;
    exchange.notes.code = Some(refusal.code);
    exchange.notes.cause = cause;
    // From here on what the caller is told; the log has been.
    let refusal = refusal.told();
    let mut reply = match grpc::media_type(&exchange.head.fields) {
        Some(media_type) => {
            let code = grpc_status.unwrap_or_else(|| grpc_status_of(status));
            grpc::status_only(media_type, code, &format!("{message} ({})", refusal.code))
        }
        None => problem(exchange, refusal, status, &message, errors.as_deref()),
    };
    // What caches make of a refusal depends on its status; none should keep it.
    reply.head.fields.set_own(KnownName::CacheControl, b"no-store");
    for (name, value) in fields.iter().flat_map(|fields| fields.iter()) {
        // Checked when it was put into the rejection.
        let _ = reply.head.fields.append_text(name.text, value);
    }
    reply
}

fn problem(
    exchange: &Exchange,
    refusal: &Refusal,
    status: Status,
    message: &str,
    errors: Option<&FieldErrors>,
) -> Reply {
    let mut body = Vec::with_capacity(320);
    // RFC 9457 §4.2.1: "about:blank" means that the status says it all; what
    // it does not say is in `code`.
    Object::new(&mut body)
        .string(member!("type"), "about:blank")
        .string(member!("title"), status.reason())
        .number(member!("status"), u64::from(status.code()))
        .string(member!("detail"), message)
        .string(member!("code"), refusal.code)
        .string(member!("request_id"), &exchange.request_id)
        .string(member!("error"), refusal.error.unwrap_or(message))
        .maybe(errors, |object, FieldErrors(errors)| object.with(member!("errors"), |out| list(errors, out)))
        .end();
    if exchange.head.method == Method::Head {
        let mut length = itoa::Buffer::new();
        let mut reply = Reply::with_body(status, "application/problem+json", "");
        reply.head.fields.set_own(KnownName::ContentLength, length.format(body.len()).as_bytes());
        return reply;
    }
    Reply::with_body(status, "application/problem+json", body)
}

fn list<W: Out>(errors: &[FieldError], mut out: W) -> W {
    for (index, error) in errors.iter().enumerate() {
        let object = Object::new(out.put(if index == 0 { b"[" } else { b"," }));
        out = object.string(member!("field"), &error.field).string(member!("message"), &error.message).end();
    }
    out.put(b"]")
}

/// gRPC's code for a status: grpc.io "HTTP to gRPC Status Code Mapping", where
/// that says UNKNOWN or UNAVAILABLE more exactly.
const fn grpc_status_of(status: Status) -> u8 {
    match status.code() {
        400 | 421 => 13,            // INTERNAL
        401 => 16,                  // UNAUTHENTICATED
        403 => 7,                   // PERMISSION_DENIED
        404 | 405 | 501 => 12,      // UNIMPLEMENTED
        408 | 504 => 4,             // DEADLINE_EXCEEDED
        409 => 10,                  // ABORTED
        413 | 414 | 429 | 431 => 8, // RESOURCE_EXHAUSTED
        499 => 1,                   // CANCELLED
        502 | 503 => 14,            // UNAVAILABLE
        500..=599 => 13,
        _ => 2, // UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_becomes_ok() {
        for code in 100..=999 {
            assert_ne!(grpc_status_of(Status::new(code).unwrap()), 0);
        }
    }
}
