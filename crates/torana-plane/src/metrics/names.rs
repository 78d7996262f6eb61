//! The names of all metrics, each in one place.
//!
//! Prometheus conventions: base units, `_total` for counters. Labels never
//! hold what a client sent: routes, reason codes and status classes are closed
//! sets, an unknown method counts as `_OTHER`.

/// A metric's name, type and meaning.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $constant:ident = $name:literal $kind:literal $help:literal;)+) => {
        $($(#[$doc])* #[doc = $help] pub const $constant: Metric = Metric { name: $name, kind: $kind, help: $help };)+

        /// Every metric, for reference pages and tests.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics! {
    REQUEST_DURATION = "gateway_request_duration_seconds" "histogram"
        "Time from the end of the request head to the end of the response.";
    REQUEST_BYTES = "gateway_request_body_bytes_total" "counter" "Body bytes received from clients.";
    RESPONSE_BYTES = "gateway_response_body_bytes_total" "counter" "Body bytes sent to clients.";
    REFUSALS = "gateway_refusals_total" "counter" "Replies made by the gateway itself, by reason code.";
    CONNECTIONS = "gateway_connections" "gauge" "Client connections open now.";
    WORKER_CONNECTIONS = "gateway_worker_connections" "gauge" "Client connections open now, by worker.";
    CONNECTIONS_MOVED = "gateway_connections_moved_total" "counter"
        "Client connections given to a worker that had fewer, right after they were accepted.";
    CONNECTIONS_ACCEPTED = "gateway_connections_accepted_total" "counter" "Client connections accepted.";
    CONNECTIONS_LIMITED = "gateway_connections_limited_total" "counter"
        "Client connections refused or cut by a limit, by reason code.";
    HANDSHAKES_FAILED = "gateway_tls_handshakes_failed_total" "counter" "TLS handshakes with clients that failed.";
    UPSTREAM_CONNECTIONS = "gateway_upstream_connections" "gauge" "Connections to an endpoint, by state.";
    UPSTREAM_OPENED = "gateway_upstream_connections_opened_total" "counter" "Connections opened to an endpoint.";
    UPSTREAM_REQUESTS = "gateway_upstream_requests_total" "counter" "Requests sent to an endpoint, retries included.";
    UPSTREAM_FAILURES = "gateway_upstream_failures_total" "counter" "Requests an endpoint failed, connecting included.";
    ENDPOINT_USABLE = "gateway_endpoint_usable" "gauge" "Whether an endpoint may be used: 1, or 0 when it is out.";
    UPSTREAM_PANIC = "gateway_upstream_panic" "gauge"
        "1 while health is set aside because too few endpoints of an upstream are usable.";
    HEALTH_CHANGES = "gateway_endpoint_health_changes_total" "counter"
        "Endpoints that went out or came back, by reason code.";
    BREAKER_OPEN = "gateway_breaker_open" "gauge" "0 while a breaker is closed, 1 while it holds requests back.";
    BREAKER_TRANSITIONS = "gateway_breaker_transitions_total" "counter" "Phases that began, by breaker.";
    RETRIES = "gateway_upstream_retries_total" "counter"
        "Requests that were to be sent again within the budget, hedges included: sent, or not for want of it.";
    DISCOVERY_AGE = "gateway_discovery_age_seconds" "gauge"
        "Time since the last good answer of a source of endpoints, or since it was first asked.";
    DISCOVERY_ENDPOINTS = "gateway_discovery_endpoints" "gauge" "Endpoints that are known of a source.";
    DISCOVERY_LEFT_OUT = "gateway_discovery_endpoints_left_out" "gauge"
        "Entries of the last good answer of a source that are not taken: too many, or nothing that could be an endpoint.";
    DISCOVERY_ANSWERS = "gateway_discovery_answers_total" "counter" "Answers of a source of endpoints, by result.";
    HEDGES = "gateway_upstream_hedges_total" "counter"
        "Requests sent to a second endpoint because the first was slow: all of them, and those that answered first.";
    POLICY_EVENTS = "gateway_policy_events_total" "counter"
        "What policies count, by policy, route and event; the route of a policy of all routes is `_all`.";
    ASIDE_WAITING = "gateway_aside_waiting" "gauge"
        "Work that waits for a thread beside the workers: large bodies, passwords to verify.";
    ASIDE_WORK = "gateway_aside_work_total" "counter"
        "What became of such work: `done`, `dropped` since its caller had gone, `panicked`, or refused since the line was `full`.";
    RELOADS = "gateway_config_reloads_total" "counter" "Configuration reloads, by result.";
    CONFIG_SINCE = "gateway_config_last_success_timestamp_seconds" "gauge" "When the plan in force was put in force.";
    CONFIG_INFO = "gateway_config_info" "gauge" "The configuration in force; always 1.";
    CONFIG_REVISION = "gateway_config_revision" "gauge" "Revision of the plan in force.";
    CONFIG_PINNED = "gateway_config_pinned" "gauge"
        "1 while a configuration that was rolled back to is in force instead of the one on disk.";
    ADMIN_REFUSALS = "gateway_admin_refusals_total" "counter" "Requests the admin interface refused, by reason code.";
    LOG_DROPPED = "gateway_access_log_lines_dropped_total" "counter"
        "Access log lines lost because their writer was too slow or failed.";
    WORKERS = "gateway_workers" "gauge" "Worker threads.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL {
            assert!(metric.name.starts_with("gateway_"), "{}", metric.name);
            assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.'));
        }
    }
}
