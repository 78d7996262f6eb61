//! What strangers may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use torana_core::units::{ByteSize, Duration};
use torana_core::written::Spanned;

/// Limits on what a client may use up. All are on by default; each refusal has a reason code and a
/// metric.
///
/// Written at the top they hold for every listener; written in a listener they replace the global
/// value for its connections, key by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of all request header lines together, the request line included. More is refused with
    /// 431. Default `32KiB`.
    #[schemars(extend("default" = "32KiB"))]
    pub header_bytes: Option<Spanned<ByteSize>>,
    /// Number of request header lines. More is refused with 431. Default 100.
    #[schemars(extend("default" = 100), range(min = 1, max = 10_000))]
    pub header_count: Option<Spanned<u32>>,
    /// Bytes of the request target. More is refused with 414. Default `8KiB`.
    #[schemars(extend("default" = "8KiB"))]
    pub uri_bytes: Option<Spanned<ByteSize>>,
    /// Bytes of a request body. More is refused with 413, at once if `Content-Length` says so,
    /// otherwise when the limit is reached. A route may set its own. `0B` refuses any body. Default
    /// `10MiB`.
    #[schemars(extend("default" = "10MiB"))]
    pub body_bytes: Option<Spanned<ByteSize>>,
    /// Time from the first byte of a request to the end of its head; on a new connection, from
    /// accepting it. This is what ends a slow-header attack, so 0 is refused. Default `10s`.
    #[schemars(extend("default" = "10s"))]
    pub head_timeout: Option<Spanned<Duration>>,
    /// How long a connection may stay open between requests. 0 is refused; it would mean one
    /// request per connection. Default `60s`.
    #[schemars(extend("default" = "60s"))]
    pub idle_timeout: Option<Spanned<Duration>>,
    /// Bytes per second a request body has to arrive at, on average, once `body_rate_grace` is
    /// over. Slower is ended with 408. `0B` turns it off. Default `240B` (Kestrel's default).
    #[schemars(extend("default" = "240B"))]
    pub min_body_rate: Option<Spanned<ByteSize>>,
    /// How long a request body may be slower than `min_body_rate`. Default `5s`.
    #[schemars(extend("default" = "5s"))]
    pub body_rate_grace: Option<Spanned<Duration>>,
    /// Time from the end of the request head to the head of the response. The response's body may
    /// take longer: downloads and event streams are held to `idle_timeout` and `min_body_rate`
    /// instead. A route's own `timeout` covers the body too. `0s` means no limit. Default `60s`.
    #[schemars(extend("default" = "60s"))]
    pub request_timeout: Option<Spanned<Duration>>,
    /// Connections open at the same time in the whole process. More are closed at once.
    /// Default 50000.
    #[schemars(extend("default" = 50_000), range(min = 1, max = 10_000_000))]
    pub connections: Option<Spanned<u32>>,
    /// Connections open at the same time from one client address. Behind a load balancer without
    /// PROXY protocol, that is the load balancer: raise it there. Default 1000.
    #[schemars(extend("default" = 1000), range(min = 1, max = 10_000_000))]
    pub connections_per_client: Option<Spanned<u32>>,
    /// Time for a TLS handshake, from accepting the connection. 0 is refused. Default `10s`.
    #[schemars(extend("default" = "10s"))]
    pub tls_handshake_timeout: Option<Spanned<Duration>>,
    /// Requests open at the same time on one HTTP/2 connection. Default 128.
    #[schemars(extend("default" = 128), range(min = 1, max = 100_000))]
    pub http2_streams: Option<Spanned<u32>>,
    /// Streams a client may reset per HTTP/2 connection within 30 seconds; more closes the
    /// connection (CVE-2023-44487, "rapid reset"). Default 200.
    #[schemars(extend("default" = 200), range(min = 1, max = 1_000_000))]
    pub http2_resets: Option<Spanned<u32>>,
}

/// [`Limits`] with every value decided; the same keys, see there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "field for field as `Limits`, where each is documented")]
pub struct LimitValues {
    pub header_bytes: ByteSize,
    pub header_count: u32,
    pub uri_bytes: ByteSize,
    pub body_bytes: ByteSize,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    pub min_body_rate: ByteSize,
    pub body_rate_grace: Duration,
    pub request_timeout: Duration,
    pub connections: u32,
    pub connections_per_client: u32,
    pub tls_handshake_timeout: Duration,
    pub http2_streams: u32,
    pub http2_resets: u32,
}

impl Default for LimitValues {
    fn default() -> Self {
        Self {
            header_bytes: ByteSize::kib(32),
            header_count: 100,
            uri_bytes: ByteSize::kib(8),
            body_bytes: ByteSize::mib(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            min_body_rate: ByteSize::new(240),
            body_rate_grace: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            connections: 50_000,
            connections_per_client: 1000,
            tls_handshake_timeout: Duration::from_secs(10),
            http2_streams: 128,
            http2_resets: 200,
        }
    }
}

impl LimitValues {
    /// These values, with those that `limits` sets in their place.
    #[must_use]
    pub fn with(&self, limits: &Limits) -> Self {
        fn either<T: Copy>(set: &Option<Spanned<T>>, otherwise: T) -> T {
            set.as_ref().map_or(otherwise, |set| set.value)
        }
        Self {
            header_bytes: either(&limits.header_bytes, self.header_bytes),
            header_count: either(&limits.header_count, self.header_count),
            uri_bytes: either(&limits.uri_bytes, self.uri_bytes),
            body_bytes: either(&limits.body_bytes, self.body_bytes),
            head_timeout: either(&limits.head_timeout, self.head_timeout),
            idle_timeout: either(&limits.idle_timeout, self.idle_timeout),
            min_body_rate: either(&limits.min_body_rate, self.min_body_rate),
            body_rate_grace: either(&limits.body_rate_grace, self.body_rate_grace),
            request_timeout: either(&limits.request_timeout, self.request_timeout),
            connections: either(&limits.connections, self.connections),
            connections_per_client: either(&limits.connections_per_client, self.connections_per_client),
            tls_handshake_timeout: either(&limits.tls_handshake_timeout, self.tls_handshake_timeout),
            http2_streams: either(&limits.http2_streams, self.http2_streams),
            http2_resets: either(&limits.http2_resets, self.http2_resets),
        }
    }
}

#[cfg(test)]
mod tests {
    use torana_core::diagnostic::FileId;

    use super::*;

    /// The documented defaults, as they stand in the JSON Schema, are the ones in force.
    #[test]
    fn documented_defaults_are_the_real_ones() {
        let schema = schemars::schema_for!(Limits).to_value();
        let properties = schema["properties"].as_object().unwrap();
        let documented: serde_json::Map<String, serde_json::Value> =
            properties.iter().map(|(key, schema)| (key.clone(), schema["default"].clone())).collect();
        let text = serde_json::to_string(&documented).unwrap();
        let tree = crate::document::parse(FileId(0), &text, crate::document::Format::Json).tree.unwrap();
        let limits: Limits = tree.decode().unwrap();
        assert_eq!(LimitValues::default().with(&limits), LimitValues::default());
        let all_set = serde_json::to_value(&limits).unwrap();
        assert!(all_set.as_object().unwrap().values().all(|value| !value.is_null()));
    }

    #[test]
    fn a_listener_replaces_only_what_it_sets() {
        let listener = Limits { header_count: Some(7.into()), ..Limits::default() };
        let values = LimitValues::default().with(&listener);
        assert_eq!(values.header_count, 7);
        assert_eq!(values.uri_bytes, ByteSize::kib(8));
    }
}
