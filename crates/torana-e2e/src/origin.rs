//! HTTP/1.1 servers that do exactly what a test says, and remember what they
//! were sent. A thread per connection: a script reads top to bottom.

use crate::stream::Stream;
use crate::wait_for;
use crate::wire::{Body, Ending, Head, Reader};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A request as an origin got it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Body,
}

impl Seen {
    /// The request target.
    #[must_use]
    pub fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Record {
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    stopped: AtomicBool,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Origin {
    place: Place,
    record: Arc<Record>,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One connection to an origin, in the hands of its script.
#[derive(Debug)]
pub struct Conn {
    /// Reads, and holds the stream to write to.
    pub reader: Reader,
    /// Which connection this is, counted from 0.
    pub number: usize,
    record: Arc<Record>,
}

impl Origin {
    /// Runs `script` for every connection.
    ///
    /// # Panics
    /// No port is free.
    pub fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
        Origin::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// The same at an address of the test's choosing: another one of loopback.
    ///
    /// # Panics
    /// The address cannot be bound.
    pub fn start_at(address: SocketAddr, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind(address).expect("the address is free");
        let place = Place::Tcp(listener.local_addr().expect("a bound socket has an address"));
        Origin::run(place, script, move || listener.accept().ok().map(|(tcp, _)| Stream::Tcp(tcp)))
    }

    /// The same on a Unix socket.
    ///
    /// # Panics
    /// The path cannot be bound.
    pub fn start_unix(path: &Path, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
        let listener = UnixListener::bind(path).expect("a Unix socket can be bound");
        let place = Place::Unix(path.to_owned());
        Origin::run(place, script, move || listener.accept().ok().map(|(unix, _)| Stream::Unix(unix)))
    }

    fn run(
        place: Place,
        script: impl Fn(&mut Conn) + Send + Sync + 'static,
        accept: impl Fn() -> Option<Stream> + Send + 'static,
    ) -> Origin {
        let record = Arc::new(Record::default());
        let (shared, script) = (record.clone(), Arc::new(script));
        thread::spawn(move || {
            while let Some(stream) = accept() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let (record, script) = (shared.clone(), script.clone());
                thread::spawn(move || {
                    let mut conn = Conn { reader: Reader::new(stream), number, record };
                    script(&mut conn);
                    conn.record.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Origin { place, record }
    }

    /// Answers each request with what `reply` says, on connections that stay.
    pub fn replying(reply: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Origin::start(move |conn| {
            while let Some(seen) = conn.request() {
                if !conn.send(reply(&seen)) {
                    return;
                }
            }
        })
    }

    /// Answers everything with 200 and `body`.
    pub fn saying(body: &str) -> Origin {
        let bytes = ok(body);
        Origin::replying(move |_| bytes.clone())
    }

    /// Answers the n-th request of a connection with the n-th of `replies`, and
    /// goes on with the last.
    pub fn scripted(replies: Vec<Vec<u8>>) -> Origin {
        Origin::start(move |conn| {
            let mut left = replies.iter();
            let mut last = left.next();
            while let Some(bytes) = last {
                if conn.request().is_none() || !conn.send(bytes) {
                    return;
                }
                last = left.next().or(last);
            }
        })
    }

    /// The port.
    ///
    /// # Panics
    /// It listens on a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Tcp(address) => address.port(),
            Place::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// As an endpoint in a configuration.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The complete requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was seen and returns it.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.record.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one request it has seen.
    ///
    /// # Panics
    /// There were more, or none.
    #[must_use]
    pub fn only(&self) -> Seen {
        let mut seen = self.take_seen();
        assert_eq!(seen.len(), 1, "the origin saw {:?}", seen.iter().map(|seen| &seen.head.line).collect::<Vec<_>>());
        seen.remove(0)
    }

    /// Waits until it has seen `count` requests.
    pub fn wait_seen(&self, count: usize) {
        wait_for("requests to reach the origin", || (self.seen().len() >= count).then_some(()));
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.record.accepted.load(Ordering::SeqCst)
    }

    /// Connections whose script still runs.
    #[must_use]
    pub fn open(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.record.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread so that it notices.
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => drop(UnixStream::connect(path)),
        }
    }
}

impl Conn {
    /// The next head, not recorded; `None` when the gateway closes or goes
    /// silent.
    pub fn head(&mut self) -> Option<Head> {
        self.reader.head().ok().flatten()
    }

    /// The next request, recorded; `None` if it does not come to its end.
    pub fn request(&mut self) -> Option<Seen> {
        let head = self.head()?;
        let body = self.reader.body(&head, false).ok()?;
        if body.ending == Ending::Truncated {
            return None;
        }
        let seen = Seen { connection: self.number, head, body };
        self.record(seen.clone());
        Some(seen)
    }

    /// Remembers a request that a script read by itself.
    pub fn record(&self, seen: Seen) {
        self.record.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    /// Sends bytes; false if the gateway does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Waits until the gateway closes this connection; what it sent until then.
    /// `None` if it does not close.
    pub fn until_closed(&mut self) -> Option<Vec<u8>> {
        self.reader.to_end().ok()
    }
}

/// A plain reply with a length.
#[must_use]
pub fn reply(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// 200 with `body`.
#[must_use]
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    reply(200, &[], body)
}
