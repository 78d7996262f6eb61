//! Step 1: one reading of the request, and nothing in it that is ours to say.
//!
//! | what | becomes |
//! |---|---|
//! | target | its canonical form, or a refusal |
//! | client address | the peer, or what trusted proxies say, right to left |
//! | `X-Request-Id` | a trusted peer's if it is well-formed, else a new one |
//! | `traceparent`, `tracestate` | a trusted peer's trace goes on, from anyone else a new one begins, sampled: who may not force sampling may not switch it off either, and OpenTelemetry's default root samples |
//! | hop-by-hop fields and what `Connection` nominates | removed, before ours are set (CVE-2024-45410) |
//! | `TE: trailers` | kept, as gRPC wants it; other codings are removed |
//! | forwarding fields | rebuilt |
//! | an owned name spelled with `_` | 400 `header.owned_spelling`: CGI and its descendants cannot tell it from ours (CVE-2025-64484) |
//! | headers owned by a policy of any route | removed |
//! | `Proxy` | removed (CVE-2016-5385, "httpoxy") |
//! | `Expect` | removed: the connection answers it |
//! | `Upgrade` on an HTTP/1.1 GET, extended CONNECT | remembered in `exchange.upgrade`; `h2c`, `TLS` and `HTTP` are ignored, they would be a tunnel past every policy |
//!
//! No `Via` is added, although RFC 9110 §7.6.3 asks gateways for it: nginx and
//! others do not compress replies to requests that carry it. What a client
//! sent under that name is forwarded.

use crate::plan::Plan;
use crate::refusals::{CONNECT, CONNECTION_OPTIONS, HEADER_SPELLING, of_target};
use crate::tools::{Scratch, Tools};
use torana_core::canonical::TargetForm;
use torana_core::exchange::{Exchange, Upgrade};
use torana_core::forwarded::{is_forwarding_spelling, is_owned_spelling, resolve};
use torana_core::head::{Fields, Head, Method};
use torana_core::hop;
use torana_core::names::{HeaderName, KnownName};
use torana_core::refusal::Rejection;
use torana_core::trace::{IdSource, TraceContext};

pub(super) fn admit(plan: &Plan, tools: &Tools, exchange: &mut Exchange) -> Result<(), Rejection> {
    let client = resolve(exchange.connection.peer_ip(), &exchange.head.fields, &plan.trusted_proxies);
    exchange.client_ip = client.ip;
    let is_continued = trust(tools, exchange, client.from_trusted);
    exchange.admit().map_err(of_target)?;
    if exchange.target().form() == TargetForm::Authority {
        return Err(Rejection::new(&CONNECT).with_field(KnownName::Allow, super::route::USUAL_METHODS));
    }
    exchange.upgrade = wanted_upgrade(&mut exchange.head);
    // Taken out for a moment: the canonical target is read beside it.
    let mut fields = std::mem::take(&mut exchange.head.fields);
    let Scratch { forwarding, nominated, .. } = &mut *tools.scratch.borrow_mut();
    let cleaned = clean(&mut fields, &plan.owned_headers, is_continued, nominated);
    if cleaned.is_ok() {
        forwarding.rebuild(&mut fields, &client, exchange.target(), &plan.trusted_proxies, plan.emit);
        fields.set_own(KnownName::XRequestId, exchange.request_id.as_bytes());
        fields.set_own(KnownName::Traceparent, &exchange.trace.to_traceparent());
    }
    exchange.head.fields = fields;
    cleaned
}

/// Gives an exchange that is refused before it was admitted its ids.
pub(super) fn identify(tools: &Tools, exchange: &mut Exchange) {
    if exchange.request_id.is_empty() {
        trust(tools, exchange, false);
    }
}

/// Sets request id and trace; tells whether the trace is the peer's.
fn trust(tools: &Tools, exchange: &mut Exchange, from_trusted: bool) -> bool {
    let mut ids = tools.ids.borrow_mut();
    let fields = &exchange.head.fields;
    exchange.request_id.clear();
    let named = if from_trusted { fields.get_single(KnownName::XRequestId).ok().flatten() } else { None };
    match named.and_then(well_formed_id) {
        Some(id) => exchange.request_id.push_str(id),
        None => ids.write_id(&mut exchange.request_id),
    }
    let parent = if from_trusted { fields.get_single(KnownName::Traceparent).ok().flatten() } else { None };
    let parent = parent.and_then(TraceContext::parse);
    exchange.trace = match parent {
        Some(parent) => TraceContext { span: span_id(&mut ids), ..parent },
        None => TraceContext { trace: ids.next_u128().max(1), span: span_id(&mut ids), sampled: true },
    };
    parent.is_some()
}

/// A span id is never zero (W3C Trace Context §3.2.2.4).
fn span_id(ids: &mut IdSource) -> u64 {
    ids.next().max(1)
}

/// Ids end up in logs, tickets and URLs: a short, plain alphabet.
fn well_formed_id(value: &[u8]) -> Option<&str> {
    const LONGEST: usize = 128;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@~".contains(byte);
    let text = std::str::from_utf8(value).ok()?;
    (!value.is_empty() && value.len() <= LONGEST && value.iter().all(plain)).then_some(text)
}

/// Removes what a client may not say.
fn clean(
    fields: &mut Fields,
    owned: &[HeaderName],
    is_continued: bool,
    nominated: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let mut has_proxy = false;
    if fields.may_have_unknown() {
        for (name, _) in fields.iter().filter(|(name, _)| name.known.is_none()) {
            has_proxy |= name.text.eq_ignore_ascii_case(b"proxy");
            if name.text.contains(&b'_') && is_owned(name.text, owned) {
                return Err(Rejection::new(&HEADER_SPELLING).because(String::from_utf8_lossy(name.text)));
            }
        }
    }
    let wants_trailers = fields.list_contains(KnownName::Te, "trailers");
    hop::strip(fields, nominated).map_err(|_| Rejection::new(&CONNECTION_OPTIONS))?;
    if wants_trailers {
        fields.set_own(KnownName::Te, b"trailers");
    }
    fields.remove_known(KnownName::Expect);
    if !is_continued {
        fields.remove_known(KnownName::Tracestate);
    }
    let mut is_swept = has_proxy;
    for name in owned {
        match name {
            // Other spellings of it are not known, and have been refused above.
            HeaderName::Known(known) => fields.remove_known(*known),
            // With `_` in it, a known name may be a spelling of it.
            HeaderName::Other(text) => is_swept |= fields.may_have_unknown() || text.contains('_'),
        }
    }
    if is_swept {
        fields.retain(|name, _| !name.text.eq_ignore_ascii_case(b"proxy") && !is_owned_spelling(name.text, owned));
    }
    Ok(())
}

/// Whether `name` is some spelling of a name that the gateway or a policy owns.
fn is_owned(name: &[u8], owned: &[HeaderName]) -> bool {
    const REQUEST_ID: &[HeaderName] = &[HeaderName::Known(KnownName::XRequestId)];
    is_forwarding_spelling(name) || is_owned_spelling(name, REQUEST_ID) || is_owned_spelling(name, owned)
}

/// What the client wants to switch to, if that can be granted. An extended
/// CONNECT (RFC 8441) becomes the GET that it stands for.
fn wanted_upgrade(head: &mut Head) -> Upgrade {
    if head.method == Method::Connect {
        let protocol = head.protocol().into();
        head.set_method(b"GET");
        return Upgrade::To(protocol);
    }
    if head.method != Method::Get || !head.wants_upgrade() {
        return Upgrade::No;
    }
    let mut protocols = head.fields.list(KnownName::Upgrade);
    match (protocols.next(), protocols.next()) {
        (Some(protocol), None) if is_tunnel(protocol) => Upgrade::To(protocol.into()),
        // Ignoring the wish is always allowed (RFC 9110 §7.8).
        _ => Upgrade::No,
    }
}

/// Whether the protocol is one the gateway hands through without speaking it.
fn is_tunnel(protocol: &[u8]) -> bool {
    let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
    ![&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|refused| name.eq_ignore_ascii_case(refused))
}
