//! Heads between HTTP/2's types and ours.

use crate::refusals as refuse;
use crate::service::Settings;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::LazyLock;
use torana_core::head::{FieldName, Fields, Head, ReplyHead, Status, Version};
use torana_core::names::KnownName;
use torana_core::refusal::Refusal;

/// Reads a request head. The codec has checked names, values and
/// pseudo-header fields (RFC 9113 §8.3); limits and the fields HTTP/2 forbids
/// (§8.2.2) are checked here.
pub(crate) fn read_request(
    parts: &http::request::Parts,
    head: &mut Head,
    settings: &Settings,
) -> Result<(), &'static Refusal> {
    head.version = Version::Http2;
    head.set_method(parts.method.as_str().as_bytes());
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        // CONNECT has no `:path`; its authority is its target.
        None => parts.uri.authority().map_or("", |authority| authority.as_str()),
    };
    if target.len() > settings.uri_bytes {
        return Err(&refuse::HTTP2_URI);
    }
    head.set_raw_target(target.as_bytes());
    if let Some(authority) = parts.uri.authority() {
        head.set_raw_authority(authority.as_str().as_bytes());
    }
    if let Some(scheme) = parts.uri.scheme_str() {
        head.set_raw_scheme(scheme.as_bytes());
    }
    if let Some(protocol) = parts.extensions.get::<h2::ext::Protocol>() {
        head.set_protocol(protocol.as_str().as_bytes());
    }
    read_fields(&parts.headers, &mut head.fields, settings.header_count, settings.header_bytes)
}

fn read_fields(map: &HeaderMap, fields: &mut Fields, most: usize, bytes: usize) -> Result<(), &'static Refusal> {
    let mut count = 0;
    let mut size = 0;
    let mut cookies = 0;
    for (name, value) in map {
        let known = KnownName::lookup(name.as_str().as_bytes());
        count += 1;
        size += name.as_str().len() + value.len();
        if count > most || size > bytes {
            return Err(&refuse::HTTP2_HEADERS);
        }
        match known {
            // RFC 9113 §8.2.2: these make a message malformed.
            Some(
                KnownName::Connection
                | KnownName::KeepAlive
                | KnownName::ProxyConnection
                | KnownName::TransferEncoding
                | KnownName::Upgrade,
            ) => return Err(&refuse::HTTP2_MALFORMED),
            Some(KnownName::Te) if value.as_bytes() != b"trailers" => return Err(&refuse::HTTP2_MALFORMED),
            // Crumbs are joined below (§8.2.3).
            Some(KnownName::Cookie) => cookies += 1,
            _ => {
                let name = FieldName { known, text: name.as_str().as_bytes() };
                fields.append_named(name, value.as_bytes()).map_err(|_| &refuse::HTTP2_MALFORMED)?;
            }
        }
    }
    if cookies > 0 {
        let crumbs: Vec<&[u8]> = map.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        fields.append(KnownName::Cookie, &crumbs.join(&b"; "[..])).map_err(|_| &refuse::HTTP2_MALFORMED)?;
    }
    Ok(())
}

/// Reads a reply head of an upstream.
pub(crate) fn read_reply(parts: &http::response::Parts, head: &mut ReplyHead) -> Result<(), &'static Refusal> {
    head.version = Version::Http2;
    head.status = Status::new(parts.status.as_u16()).ok_or(&refuse::UPSTREAM_MALFORMED)?;
    for (name, value) in &parts.headers {
        head.fields.append_text(name.as_str().as_bytes(), value.as_bytes()).map_err(|_| &refuse::UPSTREAM_MALFORMED)?;
    }
    Ok(())
}

/// Trailers as fields.
pub(crate) fn read_trailers(map: &HeaderMap) -> Box<Fields> {
    let mut fields = Box::<Fields>::default();
    for (name, value) in map {
        // A trailer that cannot be written is dropped; none is required.
        let _ = fields.append_text(name.as_str().as_bytes(), value.as_bytes());
    }
    fields
}

/// The known names as HTTP/2's types have them, by their number.
static NAMES: LazyLock<Vec<HeaderName>> =
    LazyLock::new(|| KnownName::ALL.iter().map(|name| HeaderName::from_static(name.as_str())).collect());

/// Fields as HTTP/2 writes them: lower case, without those that describe a
/// connection. `host` is left out: `:authority` carries it.
pub(crate) fn write_fields(fields: &Fields, map: &mut HeaderMap, host: bool) {
    // All values share one block.
    let block = Bytes::copy_from_slice(fields.bytes());
    map.reserve(fields.len());
    for (name, place) in fields.places() {
        let value = block.slice(place);
        match name.known {
            // `te: trailers` is allowed and gRPC needs it.
            Some(KnownName::Te) if value == b"trailers"[..] => {}
            Some(KnownName::Host) if !host => continue,
            Some(known) if known.is_hop_by_hop() => continue,
            _ => {}
        }
        let name = match name.known.and_then(|known| NAMES.get(known as usize)) {
            Some(name) => name.clone(),
            None => match HeaderName::from_bytes(name.text) {
                Ok(name) => name,
                Err(_) => continue,
            },
        };
        let Ok(value) = HeaderValue::from_maybe_shared(value) else { continue };
        map.append(name, value);
    }
}
