//! The upstream behind every proxy: one thread, one epoll, fixed replies.
//!
//! It shares its core with the load generator, so what it wastes limits the proxies: a thread per
//! connection would double its cost in context switches. Each reply is one prepared buffer and one `write`.
//!
//! | path ends in | answer |
//! |---|---|
//! | `/big` | 100 KB |
//! | `/echo` | the request head as it arrived |
//! | `/kept` | 1 KB of JSON that a cache may keep for an hour |
//! | `/count` | `connections N requests M` so far |
//! | anything else | 1 KB of JSON |

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::{memchr_iter, memmem};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::Outcome;
use crate::bench::client;
use crate::bench::proxy::first_line;
use crate::bench::supervise::{Server, Session};

/// Token of the listening socket; connections are numbered from 0.
const LISTENER: u64 = u64::MAX;
/// A request head may be at most this long.
const MAX_HEAD: usize = 64 * 1024;

/// The origin as a child process.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    pub(super) server: Server,
}

/// What the origin has seen since its start, the counting requests themselves left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) connections: u64,
    pub(super) requests: u64,
}

impl Origin {
    pub(super) fn start(session: &Session) -> Outcome<Self> {
        let this = std::env::current_exe().map_err(|e| format!("cannot find this program's own file: {e}"))?;
        let mut server = session.spawn(Command::new(this).arg("bench-origin"), "origin.log")?;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(address) = server.said().strip_prefix("listening ").and_then(|a| a.parse().ok()) {
                return Ok(Self { address, server });
            }
            server.still_running().map_err(|e| format!("the origin did not start: {e}"))?;
            if Instant::now() > deadline {
                return Err("the origin did not say its address within 5 s".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn seen(&self) -> Outcome<Seen> {
        let reply = client::get(self.address, "/count")?;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(connections), Some(requests)) => Ok(Seen { connections, requests }),
            _ => Err(format!("the origin counted in an unknown way: {text}")),
        }
    }
}

/// `xtask bench-origin`: serves on a free loopback port, printed first, until killed.
pub(crate) fn run() -> Outcome<()> {
    serve().map_err(|e| format!("origin: {e}"))
}

fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    println!("listening {}", listener.local_addr()?);
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut state = State::new();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            if event.data.u64() == LISTENER {
                accept(&listener, &epoll, &mut connections, &mut free, &mut state)?;
                continue;
            }
            let Ok(index) = usize::try_from(event.data.u64()) else {
                continue;
            };
            let Some(slot) = connections.get_mut(index) else {
                continue;
            };
            if let Some(connection) = slot
                && !connection.advance(&mut state)
            {
                // Closing the socket takes it out of the epoll set.
                *slot = None;
                free.push(index);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &rustix::fd::OwnedFd,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
    state: &mut State,
) -> std::io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            // A peer that gave up, or no file left: neither is a reason to stop the others.
            Err(_) => return Ok(()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        state.connections += 1;
        let index = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(epoll, &stream, EventData::new_u64(index as u64), flags)?;
        connections[index] = Some(Connection { stream, head: Vec::new(), skip: 0, pending: None, last: false });
    }
}

/// What all connections share.
struct State {
    scratch: Vec<u8>,
    small: Arc<[u8]>,
    kept: Arc<[u8]>,
    big: Arc<[u8]>,
    connections: u64,
    requests: u64,
}

impl State {
    fn new() -> Self {
        Self {
            scratch: vec![0; MAX_HEAD],
            small: reply("application/json", &json(1024)).into(),
            kept: dated("application/json", "public, max-age=3600", &now(), &json(1024)).into(),
            big: reply("application/octet-stream", &vec![b'x'; 100 * 1024]).into(),
            connections: 0,
            requests: 0,
        }
    }

    fn answer(&mut self, head: &[u8]) -> Arc<[u8]> {
        let path = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
        if path.ends_with(b"/count") {
            // Its own connection is left out, as its request is.
            self.connections = self.connections.saturating_sub(1);
            return reply(
                "text/plain",
                format!("connections {} requests {}", self.connections, self.requests).as_bytes(),
            )
            .into();
        }
        self.requests += 1;
        if path.ends_with(b"/big") {
            self.big.clone()
        } else if path.ends_with(b"/echo") {
            reply("text/plain", head).into()
        } else if path.ends_with(b"/kept") {
            self.kept.clone()
        } else {
            self.small.clone()
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a head that has not ended yet; empty in the usual case of one read per request.
    head: Vec<u8>,
    /// Bytes of a request body still to come.
    skip: usize,
    /// A reply and how much of it has been written.
    pending: Option<(Arc<[u8]>, usize)>,
    /// The peer asked for `Connection: close`.
    last: bool,
}

impl Connection {
    /// Does all that is possible without blocking; false when the connection is over.
    /// Edge-triggered: it must not return before a read or write has said there is no more.
    fn advance(&mut self, state: &mut State) -> bool {
        let mut drained = false;
        loop {
            match self.flush() {
                Flow::Over => return false,
                Flow::Blocked => return true,
                Flow::Ready if drained => return true,
                Flow::Ready => {}
            }
            let count = match self.stream.read(&mut state.scratch) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            // A short read means drained: new bytes raise a new edge.
            drained = count < state.scratch.len();
            let scratch = std::mem::take(&mut state.scratch);
            let understood = self.consume(&scratch[..count], state);
            state.scratch = scratch;
            if !understood {
                return false;
            }
        }
    }

    /// Takes in bytes of the peer. No pipelining: proxies send one request at a time per connection.
    fn consume(&mut self, bytes: &[u8], state: &mut State) -> bool {
        if self.skip > 0 {
            self.skip = self.skip.saturating_sub(bytes.len());
            return true;
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.head, b"\r\n\r\n").map(|at| at + 4) else {
            return self.head.len() < MAX_HEAD;
        };
        let Some(length) = body_length(&self.head[..end]) else {
            return false;
        };
        self.last = field(&self.head[..end], b"connection").is_some_and(|v| v.eq_ignore_ascii_case(b"close"));
        self.skip = length.saturating_sub(self.head.len() - end);
        self.pending = Some((state.answer(&self.head[..end]), 0));
        self.head.clear();
        true
    }

    /// Writes the reply, but only once the whole request body is here, as a real service would.
    fn flush(&mut self) -> Flow {
        if self.skip > 0 {
            return Flow::Ready;
        }
        let Some((reply, written)) = &mut self.pending else {
            return Flow::Ready;
        };
        while *written < reply.len() {
            match self.stream.write(&reply[*written..]) {
                Ok(count) => *written += count,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Flow::Blocked,
                Err(_) => return Flow::Over,
            }
        }
        self.pending = None;
        if self.last { Flow::Over } else { Flow::Ready }
    }
}

/// How a connection stands after writing.
enum Flow {
    Ready,
    Blocked,
    Over,
}

/// The declared length; `None` for a chunked body, which no scenario sends and a proxy must not invent.
fn body_length(head: &[u8]) -> Option<usize> {
    if head.starts_with(b"GET ") {
        return Some(0);
    }
    if field(head, b"transfer-encoding").is_some() {
        return None;
    }
    match field(head, b"content-length") {
        None => Some(0),
        Some(value) => std::str::from_utf8(value).ok()?.parse().ok(),
    }
}

fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    memchr_iter(b'\n', head).find_map(|end| {
        let (key, value) = head[end + 1..].split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name).then(|| value.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii())
    })
}

fn json(size: usize) -> Vec<u8> {
    let mut text = br#"{"id":4711,"name":"A product of some length","tags":["a","b"],"description":""#.to_vec();
    text.resize(size - 2, b'd');
    text.extend_from_slice(b"\"}");
    text
}

/// Six headers, the usual number of a JSON service.
fn reply(kind: &str, body: &[u8]) -> Vec<u8> {
    dated(kind, "no-store", "Thu, 01 Jan 2026 00:00:00 GMT", body)
}

/// The date, for a reply whose age matters.
fn now() -> String {
    first_line(Command::new("date").env("LC_ALL", "C").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]))
}

fn dated(kind: &str, keep: &str, date: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: {date}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nCache-Control: {keep}\r\nETag: \"5f2c-1a\"\r\n\r\n",
        body.len()
    );
    let mut whole = head.into_bytes();
    whole.extend_from_slice(body);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_without_regard_to_case() {
        let head = b"POST /r5/json HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 10240\r\n\r\n";
        assert_eq!(body_length(head), Some(10240));
        assert_eq!(field(head, b"host"), Some(&b"x"[..]));
        assert_eq!(field(head, b"missing"), None);
    }

    #[test]
    fn the_small_reply_has_a_body_of_exactly_1_kb() {
        assert_eq!(json(1024).len(), 1024);
    }
}
