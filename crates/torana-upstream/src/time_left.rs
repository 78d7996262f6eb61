//! Upstreams are told how much time an attempt has, so that they need not work
//! for nobody.
//!
//! | field | says | of |
//! |---|---|---|
//! | the upstream's `deadline_header` | whole milliseconds | the attempt, to the head of its reply: Envoy's `x-envoy-expected-rq-timeout-ms` |
//! | `grpc-timeout`, where a gRPC caller sent one | in its own units | the whole call: what the caller's limit, or the route's if that is less, has left |
//!
//! Time that passes on the way is not known and not taken off.

use std::time::Instant;
use torana_core::deadline::Deadline;
use torana_core::grpc;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName};
use torana_net::timer;

/// Writes what is left until `attempt` under the name `header`, and until
/// `call` where there is a `grpc-timeout`.
#[cold]
pub(crate) fn tell(fields: &mut Fields, header: Option<&HeaderName>, attempt: Deadline, call: Deadline) {
    // The coarse clock may be late by more than some have left.
    tell_at(fields, header, attempt, call, timer::now());
}

fn tell_at(fields: &mut Fields, header: Option<&HeaderName>, attempt: Deadline, call: Deadline, now: Instant) {
    if let Some(header) = header {
        match attempt.left(now) {
            // Zero is "no limit" to some.
            Some(left) => {
                let millis = left.as_millis().max(1).to_string();
                // Digits can stand in a header.
                let _ = fields.set(header.clone(), millis.as_bytes());
            }
            None => fields.remove(header),
        }
    }
    if fields.contains(KnownName::GrpcTimeout)
        && grpc::media_type(fields).is_some()
        && let Some(left) = call.left(now)
    {
        // A policy may have asked for less.
        let asked = fields.get(KnownName::GrpcTimeout).and_then(grpc::parse_timeout);
        let left = asked.map_or(left, |asked| asked.min(left));
        fields.set_own(KnownName::GrpcTimeout, grpc::timeout(left).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn told(sent: &[(&str, &str)], attempt: Option<u64>, call: Option<u64>) -> Vec<String> {
        let now = Instant::now();
        let header = HeaderName::new("x-left-ms").unwrap();
        let mut fields = Fields::default();
        for (name, value) in sent {
            fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let at =
            |millis: Option<u64>| millis.map_or(Deadline::NONE, |millis| (now + Duration::from_millis(millis)).into());
        tell_at(&mut fields, Some(&header), at(attempt), at(call), now);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.iter().map(|(name, value)| format!("{}: {}", text(name.text), text(value))).collect()
    }

    #[test]
    fn the_attempt_s_time_in_milliseconds_whatever_the_client_said() {
        assert_eq!(told(&[], Some(1500), None), ["x-left-ms: 1500"]);
        assert_eq!(told(&[("X-Left-Ms", "9"), ("x-left-ms", "7")], Some(20), None), ["x-left-ms: 20"]);
        assert_eq!(told(&[("X-Left-Ms", "9")], None, None), [""; 0]);
        assert_eq!(told(&[], Some(0), None), ["x-left-ms: 1"]);
    }

    #[test]
    fn a_grpc_call_s_timeout_only_gets_shorter() {
        let call = |timeout: &'static str| [("content-type", "application/grpc"), ("grpc-timeout", timeout)];
        let timeout = |sent: &[(&str, &str)], left| told(sent, None, left).last().unwrap().clone();
        assert_eq!(timeout(&call("5S"), Some(1200)), "grpc-timeout: 1200000u");
        assert_eq!(timeout(&call("1S"), Some(1200)), "grpc-timeout: 1000000u");
        assert_eq!(timeout(&call("5S"), None), "grpc-timeout: 5S");
        let other = [("content-type", "application/json"), ("grpc-timeout", "5S")];
        assert_eq!(timeout(&other, Some(1200)), "grpc-timeout: 5S", "a header like any other");
    }
}
