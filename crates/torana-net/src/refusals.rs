//! Everything a connection can be refused or broken off for.

use torana_core::head::Status;
use torana_core::refusal::{Origin, Refusal, Retry};
use torana_http1::{BodyError, FramingError, HeadError};

torana_core::refusals! {
    /// The head of a request did not arrive in `limits.head_timeout`.
    HEAD_TIMEOUT = "limit.head_timeout" 408 Caller IfSafe "The request head took too long to arrive.";
    /// The request body is longer than `limits.body_bytes`, or the route's.
    BODY_TOO_LARGE = "limit.body_bytes" 413 Caller Never "The request body is too large.";
    /// The body came, or the reply was taken, slower than `limits.min_body_rate`.
    BODY_TOO_SLOW = "limit.min_body_rate" 408 Caller IfSafe "The request body arrived too slowly.";
    /// No byte moved for `limits.idle_timeout`.
    BODY_IDLE = "limit.idle_timeout" 408 Caller IfSafe "The request body stopped arriving.";
    /// The head of the reply was not there within `limits.request_timeout` or the route's `timeout`.
    REQUEST_TIMEOUT = "limit.request_timeout" 504 Gateway IfSafe "The request took too long.";
    /// The reply was not sent within the route's `timeout`.
    REPLY_TIMEOUT = "limit.reply_timeout" 504 Gateway IfSafe "The reply took too long.";
    /// The gateway ended before the exchange did: `shutdown.drain_timeout` was over.
    SHUTDOWN = "shutdown.drain_timeout" 503 Gateway Always "The gateway is shutting down.";
    /// More connections than `limits.connections`.
    CONNECTIONS = "limit.connections" 503 Gateway Always "The gateway has too many connections.";
    /// More connections from one address than `limits.connections_per_client`.
    CONNECTIONS_PER_CLIENT = "limit.connections_per_client" 429 Caller Always "Too many connections from this address.";
    /// The TLS handshake did not end in `limits.tls_handshake_timeout`.
    HANDSHAKE_TIMEOUT = "limit.tls_handshake_timeout" 408 Caller IfSafe "The TLS handshake took too long.";
    /// The client reset more HTTP/2 streams than `limits.http2_resets`.
    RESETS = "limit.http2_resets" 429 Caller Never "Too many streams were reset.";
    /// A connection without a valid PROXY protocol header where one is required.
    PROXY_PROTOCOL = "connection.proxy_protocol" 400 Caller Never "The connection does not start with a valid PROXY protocol header.";
    /// The client closed the connection before the reply was complete.
    CLIENT_GONE = "client.gone" 499 Caller IfSafe "The client closed the connection.";
    /// The request body broke off.
    BODY_TRUNCATED = "client.body_truncated" 400 Caller IfSafe "The request body ended too early.";
    /// `Expect` asks for something other than `100-continue`.
    EXPECTATION = "http1.expectation_unknown" 417 Caller Never "The expectation is not supported.";
    /// A reply that cannot be written, such as one with a forbidden status.
    REPLY_INVALID = "internal.reply_invalid" 502 Upstream Never "The reply cannot be sent.";
    /// An HTTP/2 message that is malformed.
    HTTP2_MALFORMED = "http2.malformed" 400 Caller Never "The request is malformed.";
    /// More HTTP/2 header fields or bytes than allowed.
    HTTP2_HEADERS = "http2.header_too_large" 431 Caller Never "The request head is too large.";
    /// The HTTP/2 request target is longer than `limits.uri_bytes`.
    HTTP2_URI = "http2.uri_too_long" 414 Caller Never "The request target is too long.";
    /// No connection to the endpoint could be made.
    UPSTREAM_CONNECT = "upstream.connect_failed" 502 Upstream Always "The service cannot be reached.";
    /// The gateway has no descriptors, ports or memory left for a connection: no fault of the endpoint.
    NO_SOCKET = "limit.sockets" 503 Gateway Never "The gateway is busy.";
    /// No connection within `connect_timeout`.
    UPSTREAM_CONNECT_TIMEOUT = "upstream.connect_timeout" 504 Upstream Always "The service cannot be reached in time.";
    /// The endpoint's name does not resolve.
    UPSTREAM_UNRESOLVED = "upstream.unresolved" 502 Upstream Always "The service cannot be found.";
    /// The endpoint's certificate is not trusted, or TLS failed otherwise.
    UPSTREAM_TLS = "upstream.tls_failed" 502 Upstream Always "The service's identity cannot be verified.";
    /// The endpoint closed the connection before its reply.
    UPSTREAM_CLOSED = "upstream.closed" 502 Upstream IfSafe "The service closed the connection.";
    /// No reply head within the upstream's `timeout`.
    UPSTREAM_TIMEOUT = "upstream.timeout" 504 Upstream IfSafe "The service did not answer in time.";
    /// The endpoint's reply is not valid HTTP.
    UPSTREAM_MALFORMED = "upstream.malformed" 502 Upstream IfSafe "The service sent an invalid reply.";
    /// The endpoint's reply body broke off.
    UPSTREAM_TRUNCATED = "upstream.body_truncated" 502 Upstream IfSafe "The service's reply ended too early.";
    /// The endpoint's reply body stopped arriving.
    UPSTREAM_STALLED = "upstream.body_stalled" 504 Upstream IfSafe "The service's reply stopped arriving.";
    /// The endpoint reset the HTTP/2 stream.
    UPSTREAM_RESET = "upstream.reset" 502 Upstream IfSafe "The service reset the request.";
    /// The request cannot be written to the upstream.
    UPSTREAM_UNWRITABLE = "upstream.request_unwritable" 502 Gateway Never "The request cannot be forwarded.";
}

const fn of_codec(code: &'static str, status: Status, message: &'static str) -> Refusal {
    Refusal { code, status, origin: Origin::Caller, retry: Retry::Never, message, error: None, told_as: None }
}

macro_rules! codec_refusals {
    ($function:ident, $table:ident, $error:ident, $message:literal) => {
        static $table: [Refusal; $error::ALL.len()] = {
            let mut table = [of_codec("", Status::BAD_REQUEST, $message); $error::ALL.len()];
            let mut i = 0;
            while i < table.len() {
                table[i] = of_codec($error::ALL[i].code(), $error::ALL[i].status(), $message);
                i += 1;
            }
            table
        };

        /// The refusal for a codec's error.
        pub fn $function(error: $error) -> &'static Refusal {
            // `ALL` lists the variants in their order; the test below holds it to that.
            $table.get(error as usize).unwrap_or(&BODY_TRUNCATED)
        }
    };
}

codec_refusals!(of_head, HEAD, HeadError, "The request head is malformed.");
codec_refusals!(of_framing, FRAMING, FramingError, "The request's length is ambiguous or malformed.");
codec_refusals!(of_body, BODY, BodyError, "The request body is malformed.");

/// The codec's refusals, for listings.
pub fn codec() -> impl Iterator<Item = &'static Refusal> {
    HEAD.iter().chain(&FRAMING).chain(&BODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_error_has_its_own_refusal() {
        for &error in HeadError::ALL {
            assert_eq!((of_head(error).code, of_head(error).status), (error.code(), error.status()));
        }
        for &error in FramingError::ALL {
            assert_eq!(of_framing(error).code, error.code());
        }
        for &error in BodyError::ALL {
            assert_eq!(of_body(error).code, error.code());
        }
    }
}
