//! One line.

use super::query::{REDACTED, write_redacted};
use super::time::{Stamp, write_millis};
use crate::json::{Member, Object, member, push_string};
use crate::plan::Plan;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};
use torana_core::exchange::Exchange;
use torana_core::trace::TraceContext;

/// How much is written of a target that could not be read, in bytes.
const LONGEST_RAW_PATH: usize = 512;

/// Appends the line of `exchange`.
///
/// Every string passes the JSON encoder. Members that do not apply are left
/// out; durations are milliseconds with microseconds as decimals.
pub(super) fn write(
    plan: &Plan,
    exchange: &Exchange,
    ended: Instant,
    (wall, stamp): (SystemTime, &mut Stamp),
    out: &mut Vec<u8>,
) {
    let mut line = Object::new(out);
    line.with(member!("ts"), |out| {
        out.push(b'"');
        stamp.write(wall, out);
        out.push(b'"');
    });
    request(&mut line, plan, exchange);
    answer(&mut line, plan, exchange);
    durations(&mut line, exchange, ended);
    line.number(member!("request_bytes"), exchange.notes.request_bytes);
    line.number(member!("response_bytes"), exchange.notes.response_bytes);
    line.string(member!("request_id"), &exchange.request_id);
    if exchange.trace.trace != 0 {
        line.with(member!("trace_id"), |out| write_trace_id(exchange.trace, out));
    }
    if let Some(tls) = &exchange.connection.tls {
        line.string(member!("tls"), tls.version);
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
    line.string(member!("method"), exchange.head.method_text());
    line.string(member!("host"), target.host());
    line.string(member!("path"), target.path());
    if let Some(query) = target.query() {
        line.with(member!("query"), |out| write_redacted(query, &plan.credential_parameters, out));
    }
    let raw = exchange.head.raw_target();
    if target.path().is_empty() && !raw.is_empty() {
        line.with(member!("raw_path"), |out| push_string(&unread(raw), out));
    }
    line.constant(member!("version"), exchange.version().as_str());
    line.with(member!("client_ip"), |out| write_ip(exchange.client_ip, out));
    if let Some(identity) = &exchange.identity {
        line.string(member!("consumer"), &identity.subject);
    }
}

fn answer(line: &mut Object<'_>, plan: &Plan, exchange: &Exchange) {
    let notes = &exchange.notes;
    if let Some(route) = exchange.route.and_then(|id| plan.route(id)) {
        line.string(member!("route"), &route.name);
    }
    if let Some(upstream) = notes.upstream.and_then(|id| plan.upstream(id)) {
        line.string(member!("upstream"), &upstream.name);
    }
    if let Some(endpoint) = &notes.endpoint {
        line.string(member!("endpoint"), endpoint);
    }
    line.number(member!("status"), u64::from(notes.status.code()));
    if let Some(code) = notes.code {
        line.string(member!("code"), code);
    }
    if let Some(cause) = &notes.cause {
        line.string(member!("cause"), cause);
    }
    if notes.attempts > 0 {
        line.number(member!("attempts"), u64::from(notes.attempts));
    }
}

/// The total, and its parts as far as the exchange came: until the target was
/// asked, until it was connected, until its reply began.
fn durations(line: &mut Object<'_>, exchange: &Exchange, ended: Instant) {
    let notes = &exchange.notes;
    let mut part = |name: Member, from: Instant, to: Instant| {
        line.with(name, |out| write_millis(to.saturating_duration_since(from), out));
    };
    part(member!("duration_ms"), notes.started, ended);
    let Some(dispatched) = notes.dispatched else { return };
    part(member!("policies_ms"), notes.started, dispatched);
    if let Some(connected) = notes.connected {
        part(member!("connect_ms"), dispatched, connected);
    }
    if let Some(replied) = notes.replied {
        part(member!("ttfb_ms"), notes.connected.unwrap_or(dispatched), replied);
        part(member!("response_ms"), replied, ended);
    }
}

fn write_ip(address: IpAddr, out: &mut Vec<u8>) {
    out.push(b'"');
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            let mut buffer = itoa::Buffer::new();
            out.extend_from_slice(buffer.format(first).as_bytes());
            for octet in rest {
                out.push(b'.');
                out.extend_from_slice(buffer.format(octet).as_bytes());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
    out.push(b'"');
}

fn write_trace_id(trace: TraceContext, out: &mut Vec<u8>) {
    out.push(b'"');
    // `00-` and 32 digits: what upstreams are told.
    out.extend_from_slice(trace.to_traceparent().get(3..35).unwrap_or_default());
    out.push(b'"');
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
