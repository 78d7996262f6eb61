//! A name server that answers what a test says, over UDP.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A record's data.
#[derive(Clone, Debug)]
pub enum Data {
    /// An A or AAAA record, as the address has it.
    Address(IpAddr),
    /// Priority, weight, port, target.
    Service(u16, u16, u16, String),
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Says {
    /// These records, of those the ones that were asked for; they hold for so
    /// many seconds.
    Records(u32, Vec<Data>),
    /// An error: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// Nothing at all.
    Silence,
}

#[derive(Debug, Default)]
struct Zone {
    names: Mutex<BTreeMap<String, Says>>,
    asked: AtomicUsize,
    stopped: AtomicBool,
}

/// A name server that runs until it is dropped. Names nobody spoke of do not
/// exist.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
}

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

impl NameServer {
    /// Starts one.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = socket.local_addr().expect("a bound socket has an address");
        let zone = Arc::<Zone>::default();
        let serving = zone.clone();
        thread::spawn(move || {
            let mut query = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                serving.asked.fetch_add(1, Ordering::SeqCst);
                if let Some(reply) = query.get(..length).and_then(|query| serving.answer(query)) {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        NameServer { address, zone }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` is answered with this.
    pub fn say(&self, name: &str, says: Says) {
        self.zone.names().insert(name.to_owned(), says);
    }

    /// From now on `name` has these addresses, which hold for no time.
    pub fn addresses(&self, name: &str, addresses: &[IpAddr]) {
        self.say(name, Says::Records(0, addresses.iter().copied().map(Data::Address).collect()));
    }

    /// Questions so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.zone.asked.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.zone.stopped.store(true, Ordering::SeqCst);
        // So that it looks.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[0], self.address));
    }
}

impl Zone {
    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Says>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RFC 1035 §4.1: the question comes back with the answers.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut at = 12;
        let mut name = String::new();
        while *query.get(at)? != 0 {
            let length = usize::from(*query.get(at)?);
            let label = query.get(at + 1..at + 1 + length)?;
            name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
            name.push('.');
            at += 1 + length;
        }
        let end = at + 5;
        let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
        let says = self.names().get(name.trim_end_matches('.')).cloned().unwrap_or(Says::Code(3));
        let (code, ttl, records) = match says {
            Says::Silence => return None,
            Says::Code(code) => (code, 0, Vec::new()),
            Says::Records(ttl, records) => (0, ttl, records),
        };
        let records: Vec<Vec<u8>> = records.iter().filter_map(|record| data(record, kind)).collect();
        let mut reply = query.get(..2)?.to_vec();
        reply.extend([0x81, 0x80 | code, 0, 1]);
        reply.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
        reply.extend([0; 4]);
        reply.extend(query.get(12..end)?);
        for data in records {
            // The name is that of the question.
            reply.extend([0xC0, 12]);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1]);
            reply.extend(ttl.to_be_bytes());
            reply.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            reply.extend(data);
        }
        Some(reply)
    }
}

/// The bytes of a record, if it is of this kind.
fn data(record: &Data, kind: u16) -> Option<Vec<u8>> {
    match (record, kind) {
        (Data::Address(IpAddr::V4(v4)), A) => Some(v4.octets().to_vec()),
        (Data::Address(IpAddr::V6(v6)), AAAA) => Some(v6.octets().to_vec()),
        (Data::Service(priority, weight, port, target), SRV) => {
            let mut bytes = [*priority, *weight, *port].map(u16::to_be_bytes).concat();
            for label in target.split('.').filter(|label| !label.is_empty()) {
                bytes.push(u8::try_from(label.len()).ok()?);
                bytes.extend(label.as_bytes());
            }
            bytes.push(0);
            Some(bytes)
        }
        _ => None,
    }
}
