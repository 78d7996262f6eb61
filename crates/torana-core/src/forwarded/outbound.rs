//! What the upstream is told.

use super::element::{Node, parse_address, parse_forwarded};
use super::prepared::Prepared;
use super::{ClientAddress, FORWARDING, ForwardingFamily, TrustedProxies, is_owned_field, is_spelling_of, member_for};
use crate::canonical::{CanonicalTarget, Scheme, canonical_authority_of};
use crate::head::Fields;
use crate::names::KnownName;
use std::io::Write as _;
use std::net::IpAddr;

/// Which forwarding fields are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Emit {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`. Default: on.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239). Default: off.
    pub forwarded: bool,
    /// `X-Real-IP`: the client's address alone. Default: off.
    pub real_ip: bool,
}

impl Default for Emit {
    fn default() -> Self {
        Emit { x_forwarded: true, forwarded: false, real_ip: false }
    }
}

/// Replaces the forwarding fields of requests. Keeps its buffers, so one per
/// worker is enough and a request allocates nothing.
#[derive(Default, Debug)]
pub struct ForwardingFields {
    /// Client and proxies up to our peer, as `X-Forwarded-For` writes them.
    chain: Vec<u8>,
    /// The same as `Forwarded` writes them.
    forwarded: Vec<u8>,
    /// The authority the client asked the outermost trusted proxy for.
    host: String,
    /// For everything short.
    text: Vec<u8>,
    prepared: Prepared,
}

impl ForwardingFields {
    /// Removes from `fields` every forwarding field in every spelling and
    /// writes those of `emit` anew. `client` must come from
    /// [`resolve`](super::resolve) on the same fields with the same `trusted`.
    pub fn rebuild(
        &mut self,
        fields: &mut Fields,
        client: &ClientAddress,
        target: &CanonicalTarget,
        trusted: &TrustedProxies,
        emit: Emit,
    ) {
        let proto = client.proto.unwrap_or(target.scheme());
        // Most requests have none of them. What a trusted proxy says beyond
        // what is rebuilt here, such as `X-Forwarded-User`, is its word; from
        // anyone else it is a claim.
        let clear = |fields: &mut Fields| {
            if fields.may_have_unknown() || fields.contains_any(FORWARDING) {
                fields.retain(|name, _| {
                    !is_owned_field(name.known, name.text)
                        && (client.from_trusted || !is_of_family(name.known, name.text))
                });
            }
        };
        if !client.from_trusted && emit == Emit::default() {
            clear(fields);
            let port = target.port().unwrap_or(proto.default_port());
            let lines = self.prepared.find(client.peer, proto, port, target.authority());
            return fields.set_own_lines(&lines.text, &lines.names);
        }
        let port = self.read_host(fields, client, target, trusted, proto);
        self.write_chain(fields, client, trusted, emit);
        clear(fields);
        if emit.x_forwarded {
            fields.set_own(KnownName::XForwardedFor, &self.chain);
            fields.set_own(KnownName::XForwardedProto, proto.as_str().as_bytes());
            if !self.host.is_empty() {
                fields.set_own(KnownName::XForwardedHost, self.host.as_bytes());
            }
            let mut buffer = itoa::Buffer::new();
            fields.set_own(KnownName::XForwardedPort, buffer.format(port).as_bytes());
        }
        if emit.real_ip {
            self.text.clear();
            push_ip(client.ip, &mut self.text);
            fields.set_own(KnownName::XRealIp, &self.text);
        }
        if emit.forwarded {
            self.finish_forwarded(proto, client);
            fields.set_own(KnownName::Forwarded, &self.forwarded);
        }
    }

    /// Sets `self.host`; returns the port the client meant.
    fn read_host(
        &mut self,
        fields: &Fields,
        client: &ClientAddress,
        target: &CanonicalTarget,
        trusted: &TrustedProxies,
        proto: Scheme,
    ) -> u16 {
        if client.from_trusted
            && trusted.family() == ForwardingFamily::XForwarded
            && let Some(host) = member_for(fields, KnownName::XForwardedHost, client.place)
            && let Ok(port) = canonical_authority_of(host, proto, &mut self.host)
        {
            return port.unwrap_or(proto.default_port());
        }
        self.host.clear();
        self.host.push_str(target.authority());
        target.port().unwrap_or(proto.default_port())
    }

    /// The part of the chain that was believed, then the peer.
    fn write_chain(&mut self, fields: &Fields, client: &ClientAddress, trusted: &TrustedProxies, emit: Emit) {
        self.chain.clear();
        self.forwarded.clear();
        if client.place.in_chain {
            let mut index = 0;
            let first = client.place.index;
            let mut each = |node: Node| {
                if index >= first
                    && let Node::Address(ip) = node
                {
                    self.push_hop(ip, emit);
                }
                index += 1;
            };
            match trusted.family() {
                ForwardingFamily::XForwarded => {
                    fields.list(KnownName::XForwardedFor).for_each(|member| each(parse_address(member)));
                }
                ForwardingFamily::Forwarded => {
                    for value in fields.get_all(KnownName::Forwarded) {
                        // Well-formed: `resolve` has read it.
                        let _ = parse_forwarded(value, |element| each(element.node));
                    }
                }
            }
        }
        self.push_hop(client.peer, emit);
    }

    fn push_hop(&mut self, ip: IpAddr, emit: Emit) {
        if !self.chain.is_empty() {
            self.chain.extend_from_slice(b", ");
        }
        push_ip(ip, &mut self.chain);
        if emit.forwarded {
            if !self.forwarded.is_empty() {
                self.forwarded.extend_from_slice(b", ");
            }
            push_node(ip, &mut self.forwarded);
        }
    }

    /// Scheme and host belong to the hop that the client took, the first one.
    fn finish_forwarded(&mut self, proto: Scheme, client: &ClientAddress) {
        self.text.clear();
        push_node(client.ip, &mut self.text);
        let first = self.text.len();
        self.text.extend_from_slice(b";proto=");
        self.text.extend_from_slice(proto.as_str().as_bytes());
        if !self.host.is_empty() {
            // A canonical authority holds neither quote nor backslash; a port
            // or an IPv6 literal needs the quotes.
            self.text.extend_from_slice(b";host=\"");
            self.text.extend_from_slice(self.host.as_bytes());
            self.text.push(b'"');
        }
        self.text.extend_from_slice(self.forwarded.get(first..).unwrap_or_default());
        std::mem::swap(&mut self.text, &mut self.forwarded);
    }
}

/// Removes every forwarding field, in every spelling, and whatever else calls
/// itself `X-Forwarded-…`.
pub fn remove_forwarding(fields: &mut Fields) {
    fields.retain(|name, _| !is_owned_field(name.known, name.text) && !is_of_family(name.known, name.text));
}

/// Whether a name that is not known starts like the forwarding fields:
/// `X-Forwarded-Uri`, `-Method`, `-User`, … are believed by some service too
/// (CVE-2026-40575).
fn is_of_family(known: Option<KnownName>, text: &[u8]) -> bool {
    const FAMILY: &str = "x-forwarded-";
    known.is_none() && text.get(..FAMILY.len()).is_some_and(|start| is_spelling_of(start, FAMILY))
}

pub(super) fn push_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        // A Unix socket's peer has no address.
        ip if ip.is_unspecified() => out.extend_from_slice(b"unknown"),
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// `for=…` (RFC 7239 §6: IPv6 in brackets and quotes).
fn push_node(ip: IpAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(b"for=");
    if ip.is_ipv6() && !ip.is_unspecified() {
        out.extend_from_slice(b"\"[");
        push_ip(ip, out);
        out.extend_from_slice(b"]\"");
    } else {
        push_ip(ip, out);
    }
}
