//! Accepts connections and brings them to the point where HTTP starts.

use crate::accept_queue::AcceptQueue;
use crate::buffer::Buffer;
use crate::io::{Io, Socket};
use crate::proxy_protocol;
use crate::refusals as refuse;
use crate::serve::crew::Crew;
use crate::serve::{h1, h2};
use crate::service::{ConnectionEvent, ListenerId, Listening, Service};
use crate::spread::{Arrivals, Counted, Spread};
use crate::timer::{self, Timer};
use crate::tls::server::facts;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use torana_core::deadline::Deadline;
use torana_core::exchange::Connection;

/// A socket that listens, on this worker.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(AcceptQueue),
    /// Unix.
    Unix(UnixListener),
}

/// How long accepting pauses when the process is out of descriptors: trying at
/// once would spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How many connections there are, over all workers. Counted where a
/// connection starts and ends, never per request.
#[derive(Debug)]
pub struct ConnectionCount {
    all: AtomicU32,
    shards: [Mutex<HashMap<IpAddr, u32>>; 16],
}

impl Default for ConnectionCount {
    fn default() -> Self {
        ConnectionCount { all: AtomicU32::new(0), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl ConnectionCount {
    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }

    /// By the bits in which clients differ most. Who chooses them can choose whom to share a
    /// lock with; the map behind it is keyed.
    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let octets = match client {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            // The network: what follows it is often random, or always 1.
            IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(0),
        };
        let folded = octets ^ (octets >> 8) ^ (octets >> 16) ^ (octets >> 4);
        &self.shards[usize::try_from(folded % 16).unwrap_or(0)]
    }

    /// Counts a connection if the listener's limits allow it.
    fn admit(self: &Arc<Self>, client: Option<IpAddr>, limits: &Listening) -> Result<Permit, &'static str> {
        if self.all.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(refuse::CONNECTIONS.code);
        }
        let mut permit = Permit { count: self.clone(), client: None };
        if let Some(client) = client {
            permit.count_client(client, limits)?;
        }
        Ok(permit)
    }
}

/// One counted connection.
#[derive(Debug)]
struct Permit {
    count: Arc<ConnectionCount>,
    client: Option<IpAddr>,
}

impl Permit {
    /// Counts the connection for `client`, now that it is known.
    fn count_client(&mut self, client: IpAddr, limits: &Listening) -> Result<(), &'static str> {
        let mut shard = self.count.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let open = shard.entry(client).or_insert(0);
        if *open >= limits.connections_per_client {
            return Err(refuse::CONNECTIONS_PER_CLIENT.code);
        }
        *open += 1;
        drop(shard);
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.count.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            let mut shard = self.count.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = shard.get_mut(&client) {
                *open -= 1;
                if *open == 0 {
                    shard.remove(&client);
                }
            }
        }
    }
}

/// Where connections of one worker start, whichever listener they come through.
pub struct Hall<S: Service> {
    service: Rc<S>,
    count: Arc<ConnectionCount>,
    spread: Arc<Spread<Moved>>,
    worker: usize,
    connections: Rc<Crew<Box<Start>>>,
    reused: Rc<Reused<S>>,
}

/// What is used for one request after the other, whichever connections they come on.
struct Reused<S: Service> {
    turns: h1::Turns<S>,
    streams: h2::Streams<S>,
}

/// A connection that another worker has accepted.
#[derive(Debug)]
pub struct Moved {
    socket: std::net::TcpStream,
    origin: Origin,
}

impl<S: Service> Hall<S> {
    /// The hall of the worker that `arrivals` are for.
    #[must_use]
    pub fn new(service: Rc<S>, count: Arc<ConnectionCount>, arrivals: &Arrivals<Moved>) -> Rc<Hall<S>> {
        let (spread, worker) = (arrivals.spread.clone(), arrivals.worker);
        let reused = Rc::new(Reused { turns: h1::Turns::new(), streams: Crew::new() });
        Rc::new(Hall { service, count, spread, worker, connections: Crew::new(), reused })
    }

    /// Serves a connection that another worker has given away.
    pub fn arrive(&self, moved: Moved) {
        let Moved { socket, origin } = moved;
        match TcpStream::from_std(socket) {
            Ok(socket) => self.start(Socket::Tcp(socket), origin),
            Err(_) => self.service.observe(ConnectionEvent::Limited("limit.descriptors")),
        }
    }

    /// Serves it here, or has a worker that has less to do serve it.
    fn begin(&self, socket: Socket, mut origin: Origin) {
        let (better, tcp) = match (self.spread.better_than(self.worker), socket) {
            (Some(better), Socket::Tcp(tcp)) => (better, tcp),
            // The workers share one queue of a Unix socket: whoever is idle takes.
            (_, socket) => return self.start(socket, origin),
        };
        origin.counted = self.spread.count(better);
        // Fails if the system has lost the descriptor, and the connection with it.
        let Ok(socket) = tcp.into_std() else { return };
        match self.spread.give(better, Moved { socket, origin }) {
            Ok(()) => self.service.observe(ConnectionEvent::Moved),
            Err(back) => self.arrive(back),
        }
    }

    fn start(&self, socket: Socket, origin: Origin) {
        let (service, reused) = (self.service.clone(), self.reused.clone());
        // Boxed, or every idle connection would keep room for it.
        self.connections.give(Box::new(Start { socket, origin }), async move |start: Box<Start>| {
            service.observe(ConnectionEvent::Opened);
            start.run(&service, &reused).await;
            service.observe(ConnectionEvent::Closed);
        });
    }
}

/// Accepts connections on `listener` until the task is dropped.
pub async fn accept<S: Service>(listener: Listener, id: ListenerId, hall: Rc<Hall<S>>) {
    let local = match &listener {
        Listener::Tcp(tcp) => tcp.local_addr().ok(),
        Listener::Unix(_) => None,
    };
    loop {
        let accepted = match &listener {
            // `TCP_NODELAY` comes with the listening socket.
            Listener::Tcp(tcp) => tcp.accept().await.map(|(socket, peer)| (Socket::Tcp(socket), Some(peer))),
            Listener::Unix(unix) => unix.accept().await.map(|(socket, _)| (Socket::Unix(socket), None)),
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_about_one_connection(&error) => continue,
            Err(_) => {
                hall.service.observe(ConnectionEvent::Limited("limit.descriptors"));
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        let Some(listening) = hall.service.listening(id) else { return };
        let proxied =
            peer.is_some_and(|peer| listening.proxy_protocol.iter().any(|net| net.contains(&peer.ip().to_canonical())));
        let client = peer.filter(|_| !proxied).map(|peer| peer.ip().to_canonical());
        match hall.count.admit(client, &listening) {
            Ok(permit) => {
                if !listening.defer_accept {
                    nothing_yet(&socket);
                }
                let counted = hall.spread.count(hall.worker);
                hall.begin(socket, Origin { peer, local, proxied, listening, id, permit, counted });
            }
            Err(code) => hall.service.observe(ConnectionEvent::Limited(code)),
        }
    }
}

/// The runtime takes new connections for readable, but clients that were not waited for speak when they learn that they
/// are connected, which is mostly later: it is told that there is nothing yet, which saves a system call. Registering
/// has made the kernel tell what is there, so nothing is missed.
fn nothing_yet(socket: &Socket) {
    if let Socket::Tcp(tcp) = socket {
        let _nothing = tcp.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}

/// Whether accepting failed only for the connection at hand.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// A connection about to start.
struct Start {
    socket: Socket,
    origin: Origin,
}

/// What is known about it beside its socket.
#[derive(Debug)]
struct Origin {
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    proxied: bool,
    listening: Arc<Listening>,
    id: ListenerId,
    permit: Permit,
    counted: Counted,
}

impl Start {
    /// Nothing large is held here, nor below: with every request, what a task holds is passed through.
    async fn run<S: Service>(self: Box<Self>, service: &Rc<S>, reused: &Reused<S>) {
        if self.origin.proxied || self.origin.listening.tls.is_some() {
            return Box::pin(self.run_prepared(service, reused)).await;
        }
        let (server, id, counted) = self.in_the_clear(service);
        speak(server, id, reused).await;
        drop(counted);
    }

    /// What serves it, and what counts it until it is over.
    fn in_the_clear<S: Service>(
        self: Box<Self>,
        service: &Rc<S>,
    ) -> (Box<h1::Server<S>>, ListenerId, (Permit, Counted)) {
        let Start { socket, origin: Origin { peer, local, listening, id, permit, counted, .. } } = *self;
        let connection = Rc::new(Connection { listener: listening.name.clone(), peer, local, tls: None });
        let server = h1::Server::new(Io::Plain(socket), connection, service.clone(), listening.http2);
        (server, id, (permit, counted))
    }

    /// PROXY protocol and TLS first.
    async fn run_prepared<S: Service>(self: Box<Self>, service: &Rc<S>, reused: &Reused<S>) {
        let Start { mut socket, mut origin } = *self;
        let mut timer = Timer::new();
        timer.arm(Deadline::after(timer::coarse_now(), origin.listening.handshake_timeout));
        let mut facts_of =
            Connection { listener: origin.listening.name.clone(), peer: origin.peer, local: origin.local, tls: None };
        if origin.proxied {
            match read_proxy_header(socket, &timer).await {
                Ok((behind, source)) => {
                    socket = behind;
                    facts_of.peer = source.or(origin.peer);
                }
                Err(()) => return service.observe(ConnectionEvent::Limited(refuse::PROXY_PROTOCOL.code)),
            }
            if let Some(peer) = facts_of.peer
                && let Err(code) = origin.permit.count_client(peer.ip().to_canonical(), &origin.listening)
            {
                return service.observe(ConnectionEvent::Limited(code));
            }
        }
        let mut http2 = origin.listening.http2;
        let mut negotiated = false;
        let io = if let Some(tls) = &origin.listening.tls {
            let acceptor = TlsAcceptor::from(tls.config());
            let stream = match within(&timer, acceptor.accept(socket)).await {
                Some(Ok(stream)) => stream,
                Some(Err(_)) => return service.observe(ConnectionEvent::HandshakeFailed),
                None => return service.observe(ConnectionEvent::Limited(refuse::HANDSHAKE_TIMEOUT.code)),
            };
            let session = stream.get_ref().1;
            negotiated = session.alpn_protocol() == Some(b"h2");
            http2 = false;
            facts_of.tls = Some(facts(session));
            Io::ServerTls(Box::new(stream))
        } else {
            Io::Plain(socket)
        };
        drop(timer);
        let connection = Rc::new(facts_of);
        if negotiated {
            h2::serve(io, None, connection, origin.id, service.clone(), reused.streams.clone()).await;
        } else {
            speak(h1::Server::new(io, connection, service.clone(), http2), origin.id, reused).await;
        }
        drop(origin);
    }
}

/// HTTP/1.x, unless the client starts with HTTP/2's preface.
async fn speak<S: Service>(server: Box<h1::Server<S>>, id: ListenerId, reused: &Reused<S>) {
    if let Some(server) = h1::serve(server, id, &reused.turns).await
        && let Some(http2) = speak_http2(*server, id, reused)
    {
        http2.await;
    }
}

/// Boxed, or connections that never get there would keep room for it.
fn speak_http2<S: Service>(
    server: h1::Server<S>,
    id: ListenerId,
    reused: &Reused<S>,
) -> Option<Pin<Box<impl Future<Output = ()> + use<S>>>> {
    let (io, early, connection, service) = server.into_http2()?;
    Some(Box::pin(h2::serve(io, Some(early), connection, id, service, reused.streams.clone())))
}

/// Waits for `future`, but not beyond the timer.
async fn within<T>(timer: &Timer, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if timer.poll_expired(cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Reads the PROXY protocol header. Answers the socket with what was read
/// behind the header, and the client it names.
async fn read_proxy_header(socket: Socket, timer: &Timer) -> Result<(Socket, Option<SocketAddr>), ()> {
    let mut buffer = Buffer::take(0);
    let mut io = Io::Plain(socket);
    let source = loop {
        match proxy_protocol::parse(buffer.data()) {
            Ok(proxy_protocol::Parsed::Complete { consumed, source, .. }) => {
                buffer.consume(consumed);
                break source;
            }
            Ok(proxy_protocol::Parsed::Partial) => {}
            Err(_) => return Err(()),
        }
        match within(timer, poll_fn(|cx| buffer.poll_read(&mut io, cx))).await {
            Some(Ok(count)) if count > 0 => {}
            _ => return Err(()),
        }
    };
    match io {
        Io::Plain(Socket::Tcp(tcp)) => Ok((Socket::ReadAhead(tcp, Some(buffer)), source)),
        Io::Plain(socket) if buffer.is_empty() => Ok((socket, source)),
        _ => Err(()),
    }
}
