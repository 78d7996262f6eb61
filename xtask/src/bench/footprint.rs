//! What a proxy costs without load: memory, start-up time, the size of its file.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::Outcome;
use crate::bench::certificate::Certificate;
use crate::bench::client::Connection;
use crate::bench::cpu;
use crate::bench::options::BenchOptions;
use crate::bench::origin::Origin;
use crate::bench::proxy::{self, Product};
use crate::bench::scenario::Scenario;
use crate::bench::statistics::Spread;
use crate::bench::supervise::Session;

/// Connections per source address: a limit per client, on by default in a gateway, is not what is measured here.
const PER_SOURCE: usize = 100;
/// For buffers to be given back and lazily freed memory to settle.
const SETTLE: Duration = Duration::from_millis(1500);
const MB: f64 = 1_000_000.0;

/// Memory of one product, in MB of 10^6 bytes, Pss.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) product: Product,
    pub(super) connections: usize,
    pub(super) at_rest: f64,
    pub(super) loaded: f64,
    pub(super) after: f64,
}

impl Idle {
    #[allow(clippy::cast_precision_loss, reason = "a number of connections")]
    pub(super) fn kilobytes_each(&self) -> f64 {
        (self.loaded - self.at_rest) * 1000.0 / self.connections as f64
    }
}

/// Opens the connections, makes one request on each, and weighs the process.
pub(super) fn idle(
    session: &Session,
    options: &BenchOptions,
    scenario: &Scenario,
    origin: &Origin,
    files: &Certificate,
) -> Outcome<Vec<Idle>> {
    let mut results = Vec::new();
    for product in &options.rivals(scenario) {
        let name = product.name();
        let prepared = proxy::prepare(session, *product, &options.binary, origin.address, files)?;
        let (running, _) = proxy::start(session, &prepared)?;
        let group = running.server.id();
        std::thread::sleep(SETTLE);
        let at_rest = megabytes(cpu::memory(group)?);
        let mut held = Vec::with_capacity(options.connections);
        for index in 0..options.connections {
            let connection = open(running.plain, index).and_then(|mut c| c.ask().map(|_| c));
            held.push(connection.map_err(|e| format!("{name}: idle connection {}: {e}", index + 1))?);
        }
        std::thread::sleep(SETTLE);
        let loaded = megabytes(cpu::memory(group)?);
        // They must still be connections: one in fifty answers a second time.
        for (index, connection) in held.iter_mut().enumerate().step_by(50) {
            connection.ask().map_err(|e| format!("{name}: idle connection {} was not kept: {e}", index + 1))?;
        }
        drop(held);
        std::thread::sleep(SETTLE);
        let after = megabytes(cpu::memory(group)?);
        eprintln!(
            "  {name:8} {at_rest:5.1} MB at rest, {loaded:5.1} MB with {}, {after:5.1} MB after",
            options.connections
        );
        results.push(Idle { product: *product, connections: options.connections, at_rest, loaded, after });
    }
    Ok(results)
}

/// From 127.0.1.1, 127.0.1.2 and so on.
fn open(proxy: SocketAddr, index: usize) -> Outcome<Connection> {
    let source = u32::try_from(index / PER_SOURCE).unwrap_or(0);
    let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + source);
    let connected = || {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrV4::new(source, 0))?;
        connect(&socket, &proxy)?;
        Ok::<_, rustix::io::Errno>(TcpStream::from(socket))
    };
    let stream = connected().map_err(|e| format!("cannot connect from {source}: {e}"))?;
    Connection::over(stream, "/r5/json").map_err(|e| e.to_string())
}

/// Milliseconds from spawning to the first reply that came from the origin.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) product: Product,
    pub(super) milliseconds: Spread,
}

pub(super) fn start(
    session: &Session,
    options: &BenchOptions,
    scenario: &Scenario,
    origin: &Origin,
    files: &Certificate,
) -> Outcome<Vec<Start>> {
    let products = options.rivals(scenario);
    let mut times: Vec<Vec<f64>> = products.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        let mut order: Vec<usize> = (0..products.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let prepared = proxy::prepare(session, products[index], &options.binary, origin.address, files)?;
            let (running, time) = proxy::start(session, &prepared)?;
            running.server.stop(Duration::from_millis(500));
            times[index].push(time.as_secs_f64() * 1000.0);
        }
    }
    let rows = products.iter().zip(times);
    Ok(rows
        .filter_map(|(product, times)| Some(Start { product: *product, milliseconds: Spread::of(times)? }))
        .collect())
}

/// Size of the executable in MB. Shared libraries, which nginx and haproxy need, are not in it.
pub(super) fn binary(options: &BenchOptions, scenario: &Scenario) -> Outcome<Vec<(Product, f64)>> {
    let products = options.rivals(scenario).into_iter();
    products
        .map(|product| {
            let path = product.executable(&options.binary)?;
            let size = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
            Ok((product, megabytes(size)))
        })
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "sizes of memory and files are far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MB
}
