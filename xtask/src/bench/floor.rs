//! The floor: what the kernel alone costs a proxy.
//!
//! One thread, one epoll. It takes every piece that a client sends for one whole request and passes it on with the
//! headers that the others add; it takes every piece that comes back for the whole reply. It understands nothing,
//! refuses nothing, limits nothing, and would break with any other load. What it costs is what sockets cost: two
//! reads and two writes for a request, and waiting for them. A proxy that uses sockets in the usual way cannot cost
//! less, so what is above it is the part that a program can do something about.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::Outcome;

/// Token of the listening socket; connections are numbered from 0.
const LISTENER: u64 = u64::MAX;
/// As long as what torana adds to a request with its defaults.
const ADDED: &[u8] = b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: 127.0.0.1:00000\r\n\
    x-request-id: 0123456789abcdef0123456789abcdef\r\n\
    traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n";
/// The same for a reply.
const ADDED_BACK: &[u8] = b"x-request-id: 0123456789abcdef0123456789abcdef\r\n";

/// `xtask bench-floor LISTEN ORIGIN`: forwards until killed.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    let [listen, origin] = args else { return Err("usage: xtask bench-floor LISTEN ORIGIN".to_owned()) };
    let address = |text: &str| text.parse::<SocketAddr>().map_err(|e| format!("{text}: {e}"));
    let (listen, origin) = (address(listen)?, address(origin)?);
    let failed = |e: std::io::Error| format!("floor: {e}");
    Floor::new(listen, origin).map_err(failed)?.serve().map_err(failed)
}

struct Floor {
    listener: TcpListener,
    epoll: OwnedFd,
    origin: SocketAddr,
    connections: Vec<Option<Connection>>,
    /// Connections to the origin that wait for a request.
    idle: Vec<usize>,
    input: Vec<u8>,
    output: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// Of one to the origin: who waits for its reply.
    client: Option<usize>,
    is_upstream: bool,
}

impl Floor {
    fn new(listen: SocketAddr, origin: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let (connections, idle) = (Vec::new(), Vec::new());
        Ok(Self { listener, epoll, origin, connections, idle, input: vec![0; 64 * 1024], output: Vec::new() })
    }

    fn serve(mut self) -> std::io::Result<()> {
        let mut events = Vec::with_capacity(512);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in &events {
                let flags = event.flags;
                if event.data.u64() == LISTENER {
                    while let Ok((stream, _)) = self.listener.accept() {
                        self.adopt(stream, false)?;
                    }
                } else if flags.contains(EventFlags::IN)
                    && let Ok(index) = usize::try_from(event.data.u64())
                {
                    self.advance(index)?;
                }
            }
        }
    }

    /// Numbers are not used again: the load keeps its connections.
    fn adopt(&mut self, stream: TcpStream, is_upstream: bool) -> std::io::Result<usize> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let index = self.connections.len();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), flags)?;
        self.connections.push(Some(Connection { stream, client: None, is_upstream }));
        Ok(index)
    }

    fn advance(&mut self, index: usize) -> std::io::Result<()> {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        let count = match connection.stream.read(&mut self.input) {
            Ok(0) => 0,
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => 0,
        };
        if count == 0 {
            // Closing the socket takes it out of the epoll set.
            self.connections[index] = None;
            self.idle.retain(|idle| *idle != index);
            return Ok(());
        }
        let piece = &self.input[..count];
        // Behind the first line, wherever that is.
        let line = piece.iter().position(|byte| *byte == b'\n').map_or(count, |at| at + 1);
        let (first, rest) = piece.split_at(line);
        let added = if connection.is_upstream { ADDED_BACK } else { ADDED };
        self.output.clear();
        for part in [first, added, rest] {
            self.output.extend_from_slice(part);
        }
        let to = if connection.is_upstream {
            self.idle.push(index);
            connection.client.take()
        } else {
            let upstream = match self.idle.pop() {
                Some(upstream) => upstream,
                None => self.adopt(TcpStream::connect(self.origin)?, true)?,
            };
            if let Some(upstream) = self.connections.get_mut(upstream).and_then(Option::as_mut) {
                upstream.client = Some(index);
            }
            Some(upstream)
        };
        if let Some(to) = to.and_then(|to| self.connections.get_mut(to)).and_then(Option::as_mut) {
            // A client that has gone finds out by itself.
            let _ = to.stream.write(&self.output);
        }
        Ok(())
    }
}
