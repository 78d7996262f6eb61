//! One line.

use super::query::{REDACTED, write_redacted};
use super::time::{write_millis, write_rfc3339};
use crate::json::{Object, push_string};
use crate::plan::Plan;
use std::io::Write;
use std::time::{Instant, SystemTime};
use torana_core::exchange::Exchange;
use torana_core::trace::TraceContext;

/// How much is written of a target that could not be read, in bytes.
const LONGEST_RAW_PATH: usize = 512;

/// Appends the line of `exchange`.
///
/// Every string passes the JSON encoder. Members that do not apply are left
/// out; durations are milliseconds with microseconds as decimals.
pub(super) fn write(plan: &Plan, exchange: &Exchange, ended: Instant, wall: SystemTime, out: &mut Vec<u8>) {
    let mut line = Object::new(out);
    line.with("ts", |out| {
        out.push(b'"');
        write_rfc3339(wall, out);
        out.push(b'"');
    });
    request(&mut line, plan, exchange);
    answer(&mut line, plan, exchange);
    durations(&mut line, exchange, ended);
    line.number("request_bytes", exchange.notes.request_bytes);
    line.number("response_bytes", exchange.notes.response_bytes);
    line.string("request_id", &exchange.request_id);
    if exchange.trace.trace != 0 {
        line.with("trace_id", |out| write_trace_id(exchange.trace, out));
    }
    if let Some(tls) = &exchange.connection.tls {
        line.string("tls", tls.version);
    }
    line.end();
    out.push(b'\n');
}

/// A target that was refused before it had a meaning, without what may hold
/// secrets: query, fragment, and whatever stands before the host.
fn unread(raw: &[u8]) -> Vec<u8> {
    let end = raw.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(raw.len());
    let path = raw.get(..end).unwrap_or(raw);
    let start = match path.windows(3).position(|part| part == b"://") {
        Some(at) => at + 3,
        None if path.starts_with(b"/") => path.len(),
        None => 0,
    };
    let (before, rest) = path.split_at(start);
    let authority = rest.split(|&byte| byte == b'/').next().unwrap_or_default();
    let mut shown = match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => [before, REDACTED.as_bytes(), rest.get(at..).unwrap_or_default()].concat(),
        None => path.to_vec(),
    };
    shown.truncate(LONGEST_RAW_PATH);
    shown
}

fn request(line: &mut Object<'_>, plan: &Plan, exchange: &Exchange) {
    let target = exchange.target();
    line.string("method", exchange.head.method_text());
    line.string("host", target.host());
    line.string("path", target.path());
    if let Some(query) = target.query() {
        line.with("query", |out| write_redacted(query, &plan.credential_parameters, out));
    }
    let raw = exchange.head.raw_target();
    if target.path().is_empty() && !raw.is_empty() {
        line.with("raw_path", |out| push_string(&unread(raw), out));
    }
    line.string("version", exchange.version().as_str());
    // Writing to a Vec cannot fail.
    line.with("client_ip", |out| drop(write!(out, "\"{}\"", exchange.client_ip)));
    if let Some(identity) = &exchange.identity {
        line.string("consumer", &identity.subject);
    }
}

fn answer(line: &mut Object<'_>, plan: &Plan, exchange: &Exchange) {
    let notes = &exchange.notes;
    if let Some(route) = exchange.route.and_then(|id| plan.route(id)) {
        line.string("route", &route.name);
    }
    if let Some(upstream) = notes.upstream.and_then(|id| plan.upstream(id)) {
        line.string("upstream", &upstream.name);
    }
    if let Some(endpoint) = &notes.endpoint {
        line.string("endpoint", endpoint);
    }
    line.number("status", u64::from(notes.status.code()));
    if let Some(code) = notes.code {
        line.string("code", code);
    }
    if let Some(cause) = &notes.cause {
        line.string("cause", cause);
    }
    if notes.attempts > 0 {
        line.number("attempts", u64::from(notes.attempts));
    }
}

/// The total, and its parts as far as the exchange came: until the target was
/// asked, until it was connected, until its reply began.
fn durations(line: &mut Object<'_>, exchange: &Exchange, ended: Instant) {
    let notes = &exchange.notes;
    let mut part = |name: &'static str, from: Instant, to: Instant| {
        line.with(name, |out| write_millis(to.saturating_duration_since(from), out));
    };
    part("duration_ms", notes.started, ended);
    let Some(dispatched) = notes.dispatched else { return };
    part("policies_ms", notes.started, dispatched);
    if let Some(connected) = notes.connected {
        part("connect_ms", dispatched, connected);
    }
    if let Some(replied) = notes.replied {
        part("ttfb_ms", notes.connected.unwrap_or(dispatched), replied);
        part("response_ms", replied, ended);
    }
}

fn write_trace_id(trace: TraceContext, out: &mut Vec<u8>) {
    let _ = write!(out, "\"{:032x}\"", trace.trace);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_were_refused_are_shown_without_secrets() {
        for (raw, shown) in [
            ("/a/%00", "/a/%00"),
            ("/a@b:c", "/a@b:c"),
            ("/a?token=b", "/a"),
            ("/a#token=b", "/a"),
            ("http://me:pw@host/a", "http://***@host/a"),
            ("http://me:p@w@host", "http://***@host"),
            ("http://host/a@b", "http://host/a@b"),
            ("me:pw@host:443", "***@host:443"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&unread(raw.as_bytes())), shown, "{raw}");
        }
        assert_eq!(unread(&[b'a'; 2000]).len(), LONGEST_RAW_PATH);
        assert_eq!(unread(format!("http://{}@host", "a".repeat(2000)).as_bytes()), b"http://***@host");
    }
}
