//! What is said of clients that no proxy stands before: written once and found
//! again, because a client sends more than one request.

use super::outbound::push_ip;
use crate::canonical::Scheme;
use crate::names::KnownName;
use std::net::IpAddr;

/// A power of two. Of two clients with the same place the later one stays.
const PLACES: usize = 64;

/// The lines of some clients, each in the place its address decides.
#[derive(Debug)]
pub(super) struct Prepared(Box<[Lines]>);

impl Default for Prepared {
    fn default() -> Self {
        Prepared((0..PLACES).map(|_| Lines::default()).collect())
    }
}

/// `X-Forwarded-For`, `-Proto`, `-Port` and, if the client named one, `-Host`.
#[derive(Debug, Default)]
pub(super) struct Lines {
    peer: Option<IpAddr>,
    proto: Scheme,
    port: u16,
    host: String,
    /// As HTTP/1.1 writes them.
    pub(super) text: Vec<u8>,
    /// Of each line the name, and the length of the value.
    pub(super) names: Vec<(KnownName, usize)>,
}

impl Prepared {
    pub(super) fn find(&mut self, peer: IpAddr, proto: Scheme, port: u16, host: &str) -> &Lines {
        let last = match peer {
            IpAddr::V4(ip) => ip.octets()[3],
            // The network decides less than what it gives away.
            IpAddr::V6(ip) => ip.octets()[7] ^ ip.octets()[15],
        };
        let lines = &mut self.0[usize::from(last) % PLACES];
        if lines.peer != Some(peer) || lines.proto != proto || lines.port != port || lines.host != host {
            lines.write(peer, proto, port, host);
        }
        lines
    }
}

impl Lines {
    fn write(&mut self, peer: IpAddr, proto: Scheme, port: u16, host: &str) {
        (self.peer, self.proto, self.port) = (Some(peer), proto, port);
        self.host.clear();
        self.host.push_str(host);
        self.text.clear();
        self.names.clear();
        self.line(KnownName::XForwardedFor, |out| push_ip(peer, out));
        self.line(KnownName::XForwardedProto, |out| out.extend_from_slice(proto.as_str().as_bytes()));
        if !host.is_empty() {
            self.line(KnownName::XForwardedHost, |out| out.extend_from_slice(host.as_bytes()));
        }
        self.line(KnownName::XForwardedPort, |out| {
            out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        });
    }

    fn line(&mut self, name: KnownName, value: impl FnOnce(&mut Vec<u8>)) {
        self.text.extend_from_slice(name.line_start().as_bytes());
        let start = self.text.len();
        value(&mut self.text);
        self.names.push((name, self.text.len() - start));
        self.text.extend_from_slice(b"\r\n");
    }
}
