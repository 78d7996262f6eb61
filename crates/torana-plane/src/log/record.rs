//! One line.

use super::query::{REDACTED, write_redacted};
use super::time::{Stamp, nanos, write_millis};
use crate::json::{Member, Object, Out, member, push_number, push_text};
use crate::plan::Plan;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};
use torana_core::exchange::Exchange;
use torana_core::head::Method;

/// How much is written of a target that could not be read, in bytes.
const LONGEST_RAW_PATH: usize = 512;

/// Appends the line of `exchange`.
///
/// Every string passes the JSON encoder. Members that do not apply are left
/// out; durations are milliseconds with microseconds as decimals.
pub(super) fn write<W: Out>(
    plan: &Plan,
    exchange: &Exchange,
    ended: Instant,
    (wall, stamp): (SystemTime, &mut Stamp),
    out: W,
) -> W {
    let line = Object::new(out).quoted(member!("ts"), |out| stamp.write(wall, out));
    let line = request(line, plan, exchange);
    let line = answer(line, plan, exchange);
    let line = durations(line, exchange, ended);
    let trace = Some(exchange.trace).filter(|trace| trace.trace != 0);
    line.number(member!("request_bytes"), exchange.notes.request_bytes)
        .number(member!("response_bytes"), exchange.notes.response_bytes)
        .string(member!("request_id"), &exchange.request_id)
        // What upstreams are told, without span and flags.
        .maybe(trace, |line, trace| line.quoted(member!("trace_id"), |out| out.put(&trace.trace_digits())))
        .maybe(exchange.connection.tls.as_ref(), |line, tls| line.string(member!("tls"), tls.version))
        .end()
        .put(b"\n")
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

#[inline(always)]
fn request<W: Out>(line: Object<W>, plan: &Plan, exchange: &Exchange) -> Object<W> {
    let target = exchange.target();
    let line = match exchange.head.method {
        Method::Extension => line.string(member!("method"), exchange.head.method_text()),
        known => line.constant(member!("method"), known.as_str()),
    };
    let raw = Some(exchange.head.raw_target()).filter(|raw| target.path().is_empty() && !raw.is_empty());
    line.string(member!("host"), target.host())
        .string(member!("path"), target.path())
        .maybe(target.query(), |line, query| {
            line.quoted(member!("query"), |out| write_redacted(query, &plan.credential_parameters, out))
        })
        .maybe(raw, |line, raw| line.quoted(member!("raw_path"), |out| push_text(&unread(raw), out)))
        .constant(member!("version"), exchange.version().as_str())
        .quoted(member!("client_ip"), |out| write_ip(exchange.client_ip, out))
        .maybe(exchange.identity.as_ref(), |line, identity| line.string(member!("consumer"), &identity.subject))
}

#[inline(always)]
fn answer<W: Out>(line: Object<W>, plan: &Plan, exchange: &Exchange) -> Object<W> {
    let notes = &exchange.notes;
    let route = exchange.route.and_then(|id| plan.route(id));
    let upstream = notes.upstream.and_then(|id| plan.upstream(id));
    let attempts = Some(u64::from(notes.attempts)).filter(|attempts| *attempts > 0);
    line.maybe(route, |line, route| line.string(member!("route"), &route.name))
        .maybe(upstream, |line, upstream| line.string(member!("upstream"), &upstream.name))
        .maybe(notes.endpoint.as_ref(), |line, endpoint| line.string(member!("endpoint"), endpoint))
        .number(member!("status"), u64::from(notes.status.code()))
        .maybe(notes.code, |line, code| line.string(member!("code"), code).closed())
        .maybe(notes.cause.as_ref(), |line, cause| line.string(member!("cause"), cause).closed())
        .maybe(attempts, |line, attempts| line.number(member!("attempts"), attempts))
}

/// The total, and its parts as far as the exchange came: until the target was
/// asked, until it was connected, until its reply began.
#[inline(always)]
fn durations<W: Out>(line: Object<W>, exchange: &Exchange, ended: Instant) -> Object<W> {
    let notes = &exchange.notes;
    // Of every moment how long after the first it was.
    let after = |moment: Instant| nanos(moment.saturating_duration_since(notes.started));
    let ended = after(ended);
    let line = part(line, member!("duration_ms"), 0, ended);
    let Some(dispatched) = notes.dispatched.map(after) else { return line };
    let connected = notes.connected.map(after);
    part(line, member!("policies_ms"), 0, dispatched)
        .maybe(connected, |line, connected| part(line, member!("connect_ms"), dispatched, connected))
        .maybe(notes.replied.map(after), |line, replied| {
            let line = part(line, member!("ttfb_ms"), connected.unwrap_or(dispatched), replied);
            part(line, member!("response_ms"), replied, ended)
        })
}

/// A member with the time between two moments. One that all members go through
/// would cost more than to have it as many times.
#[inline(always)]
fn part<W: Out>(line: Object<W>, name: Member, from: u64, to: u64) -> Object<W> {
    Object::behind(write_millis(to.saturating_sub(from) / 1000, line.before(name)))
}

fn write_ip<W: Out>(address: IpAddr, out: W) -> W {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets().map(u64::from);
            rest.into_iter().fold(push_number(first, out), |out, octet| push_number(octet, out.put(b".")))
        }
        IpAddr::V6(address) => out.put(address.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn addresses_are_written_as_everywhere() {
        for octet in 0..=255 {
            for octets in [[octet, 9, 10, 99], [0, octet, 100, 255], [1, 2, octet, 3], [10, 100, 200, octet]] {
                let address = Ipv4Addr::from(octets);
                let mut out = Vec::new();
                write_ip(address.into(), &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
            }
        }
        let mut out = Vec::new();
        write_ip("2001:db8::1".parse().unwrap(), &mut out);
        assert_eq!(out, b"2001:db8::1");
    }

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
