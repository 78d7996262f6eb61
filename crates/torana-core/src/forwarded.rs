//! Who the client is when proxies stand in between, and what the upstream is
//! told about it.
//!
//! A stranger can write any `X-Forwarded-For` it likes. Only what a trusted
//! proxy appended is evidence, so the chain is read from the right: as long
//! as an address is a trusted proxy's, the element before it is what that
//! proxy saw. Everything further left is a claim, and is dropped instead of
//! passed on: an upstream that reads the first element then reads the truth.
//!
//! | input | result | source |
//! |---|---|---|
//! | the peer is not trusted | the client is the peer; every forwarding field it sent is ignored | CVE-2024-45806, CVE-2026-35051 |
//! | any other `X-Forwarded-…` of a peer that is not trusted | removed | CVE-2026-40575 |
//! | both `Forwarded` and `X-Forwarded-For` | only the family named in [`TrustedProxies`] is read: the other one is a stranger's, passed through by a proxy that does not know it | RFC 7239 §8.1 |
//! | `::ffff:192.0.2.1` | `192.0.2.1`, everywhere | RFC 4291 §2.5.5.2 |
//! | `1.2.3.4:5`, `[::1]`, `[::1]:5` | the address; ports are ignored | |
//! | `unknown`, `_hidden` | the walk ends at the proxy that said so | RFC 7239 §6 |
//! | anything else in the part that is walked | the same, and [`ClientAddress::malformed`] is set | |
//! | a `Forwarded` that is not RFC 7239 | all of it is ignored, `malformed` | an open quote could swallow what a proxy appended |
//! | `X-Forwarded-Proto`, `-Host` as lists | the member at the client's place if there are as many as addresses, the only member if there is one, else ignored | |

mod element;
mod outbound;
mod prepared;

pub use outbound::{Emit, ForwardingFields, remove_forwarding};

use crate::canonical::Scheme;
use crate::head::Fields;
use crate::names::{HeaderName, KnownName, NameSet};
use element::{Element, Node, parse_address, parse_forwarded};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// The fields that say where a request came from. The gateway owns them: what
/// a client sent under these names is never forwarded as it was.
pub const FORWARDING: NameSet = NameSet::of(&FORWARDING_NAMES);

const FORWARDING_NAMES: [KnownName; 8] = [
    KnownName::Forwarded,
    KnownName::XForwardedFor,
    KnownName::XForwardedHost,
    KnownName::XForwardedPort,
    KnownName::XForwardedPrefix,
    KnownName::XForwardedProto,
    KnownName::XForwardedServer,
    KnownName::XRealIp,
];

/// Whether `name` is one of `owned` for some server behind us: ignoring case,
/// and with `_` for `-`, because CGI and its descendants (WSGI, PHP, Rack)
/// give `X_Real_Ip` and `X-Real-Ip` the same variable (CVE-2025-64484).
#[must_use]
pub fn is_owned_spelling(name: &[u8], owned: &[HeaderName]) -> bool {
    owned.iter().any(|owned| is_spelling_of(name, owned.as_str()))
}

/// Whether `name` is a spelling of one of [`FORWARDING`], as
/// [`is_owned_spelling`] means it.
#[must_use]
pub fn is_forwarding_spelling(name: &[u8]) -> bool {
    is_owned_field(KnownName::lookup(name), name)
}

fn is_owned_field(known: Option<KnownName>, text: &[u8]) -> bool {
    match known {
        Some(known) => FORWARDING.contains(known),
        // Spelled with hyphens it would have been known.
        None => text.contains(&b'_') && FORWARDING_NAMES.iter().any(|known| is_spelling_of(text, known.as_str())),
    }
}

/// `owned` is in lower case.
fn is_spelling_of(name: &[u8], owned: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == owned.len() && name.iter().zip(owned.bytes()).all(|(&byte, owned)| fold(byte) == fold(owned))
}

/// Which family of fields the trusted proxies write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ForwardingFamily {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The networks whose forwarding fields are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
    family: ForwardingFamily,
}

impl TrustedProxies {
    /// Trusts `networks`, which write `family`. IPv4-mapped IPv6 networks
    /// (`::ffff:10.0.0.0/104`) count as the IPv4 networks they are.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>, family: ForwardingFamily) -> TrustedProxies {
        let mut trusted = TrustedProxies { family, ..TrustedProxies::default() };
        for network in networks {
            match network {
                IpNet::V4(network) => trusted.v4.push(network),
                IpNet::V6(network) => match mapped_v4(network) {
                    Some(network) => trusted.v4.push(network),
                    None => trusted.v6.push(network),
                },
            }
        }
        trusted
    }

    /// Whether `ip` is a trusted proxy.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.iter().any(|network| network.contains(&ip)),
            IpAddr::V6(ip) => self.v6.iter().any(|network| network.contains(&ip)),
        }
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Which family of fields the proxies write.
    #[must_use]
    pub fn family(&self) -> ForwardingFamily {
        self.family
    }
}

fn mapped_v4(network: Ipv6Net) -> Option<Ipv4Net> {
    let bits = network.prefix_len().checked_sub(96)?;
    let address = network.addr().to_ipv4_mapped()?;
    Ipv4Net::new(address, bits).ok()
}

/// Who sent a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress {
    /// The address nearest to the client that is known for certain.
    pub ip: IpAddr,
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub from_trusted: bool,
    /// The scheme the client used towards the proxy that named it.
    pub proto: Option<Scheme>,
    /// The chain holds, where it had to be read, something that is neither an
    /// address nor a declared unknown. A stranger can cause this by sending
    /// garbage through a trusted proxy: refuse the request, or serve it as
    /// coming from [`ip`](ClientAddress::ip).
    pub malformed: bool,
    /// How many elements stand left of the client's, and how many there are.
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Place {
    index: usize,
    count: usize,
    /// Whether the client was named by the chain (else it is the peer).
    in_chain: bool,
}

impl ClientAddress {
    fn peer(peer: IpAddr) -> ClientAddress {
        ClientAddress { ip: peer, peer, from_trusted: false, proto: None, malformed: false, place: Place::default() }
    }
}

/// Finds the client behind `peer`.
#[must_use]
pub fn resolve(peer: IpAddr, fields: &Fields, trusted: &TrustedProxies) -> ClientAddress {
    let mut client = ClientAddress::peer(peer.to_canonical());
    if trusted.is_empty() || !trusted.contains(peer) {
        return client;
    }
    client.from_trusted = true;
    let mut walk = Walk::new(trusted);
    match trusted.family {
        ForwardingFamily::XForwarded => {
            for member in fields.list(KnownName::XForwardedFor) {
                walk.step(Element { node: parse_address(member), ..Element::default() });
            }
        }
        ForwardingFamily::Forwarded => {
            for value in fields.get_all(KnownName::Forwarded) {
                if parse_forwarded(value, |element| walk.step(element)).is_err() {
                    client.malformed = true;
                    return client;
                }
            }
        }
    }
    walk.finish(&mut client);
    if trusted.family == ForwardingFamily::XForwarded {
        client.proto = member_for(fields, KnownName::XForwardedProto, client.place).and_then(scheme_of);
    }
    client
}

/// The member of a parallel list that belongs to the client.
fn member_for(fields: &Fields, name: KnownName, place: Place) -> Option<&[u8]> {
    let count = fields.list(name).count();
    match count {
        1 => fields.list(name).next(),
        _ if place.in_chain && count == place.count => fields.list(name).nth(place.index),
        _ => None,
    }
}

/// Some proxies write the WebSocket schemes.
fn scheme_of(text: &[u8]) -> Option<Scheme> {
    if text.eq_ignore_ascii_case(b"https") || text.eq_ignore_ascii_case(b"wss") {
        Some(Scheme::Https)
    } else if text.eq_ignore_ascii_case(b"http") || text.eq_ignore_ascii_case(b"ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// The walk from the right, done in one pass from the left: fields can only
/// be read forwards, and a reversed list would have to be allocated.
///
/// After each element, `found` is where a walk from the right would end if
/// that element were the last one and the peer had just vouched for it.
struct Walk<'t> {
    trusted: &'t TrustedProxies,
    found: Option<Found>,
    /// The walk, should it come this far, is stopped by garbage.
    stopped_by_garbage: bool,
    count: usize,
}

#[derive(Clone, Copy)]
struct Found {
    ip: IpAddr,
    proto: Option<Scheme>,
    index: usize,
    is_trusted: bool,
}

impl<'t> Walk<'t> {
    fn new(trusted: &'t TrustedProxies) -> Walk<'t> {
        Walk { trusted, found: None, stopped_by_garbage: false, count: 0 }
    }

    fn step(&mut self, element: Element) {
        let index = self.count;
        self.count += 1;
        match element.node {
            Node::Address(ip) => {
                let is_trusted = self.trusted.contains(ip);
                // A trusted proxy vouches for what is left of it, so what was
                // found there stands; a stranger vouches for nothing.
                if !is_trusted || self.found.is_none() {
                    self.stopped_by_garbage &= is_trusted;
                    self.found = Some(Found { ip, proto: element.proto, index, is_trusted });
                }
            }
            Node::Hidden => {
                self.found = None;
                self.stopped_by_garbage = false;
            }
            Node::Garbage => {
                self.found = None;
                self.stopped_by_garbage = true;
            }
        }
    }

    fn finish(self, client: &mut ClientAddress) {
        client.malformed = self.stopped_by_garbage && self.found.is_none_or(|found| found.is_trusted);
        client.place.count = self.count;
        if let Some(found) = self.found {
            client.ip = found.ip;
            client.proto = found.proto;
            client.place.index = found.index;
            client.place.in_chain = true;
        }
    }
}

#[cfg(test)]
mod tests;
