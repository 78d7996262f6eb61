//! A client that sends exactly the bytes it is given.

use crate::stream::Stream;
use crate::wire::{Body, Ending, Head, Reader};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A reply, interim replies before it included.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status codes of the 1xx replies that came first.
    pub interim: Vec<u16>,
    /// The final head.
    pub head: Head,
    /// Its body.
    pub body: Body,
}

impl Reply {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.body.text()
    }

    /// The `code` of a problem reply; empty if it is none.
    #[must_use]
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body.data).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One connection to the gateway.
#[derive(Debug)]
pub struct Client {
    /// Reads, and holds the stream to write to.
    pub reader: Reader,
}

impl Client {
    /// Connects over TCP on the loopback device.
    ///
    /// # Panics
    /// Nobody listens.
    #[must_use]
    pub fn connect(port: u16) -> Client {
        let tcp = TcpStream::connect(("127.0.0.1", port)).expect("the gateway listens");
        Client::over(Stream::Tcp(tcp))
    }

    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// Nobody listens.
    #[must_use]
    pub fn connect_unix(path: &Path) -> Client {
        Client::over(Stream::Unix(UnixStream::connect(path).expect("the gateway listens")))
    }

    /// Uses a stream that is connected already.
    #[must_use]
    pub fn over(stream: Stream) -> Client {
        Client { reader: Reader::new(stream) }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// The gateway does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the gateway takes what is sent");
    }

    /// Sends bytes, if the gateway takes them.
    ///
    /// # Errors
    /// It does not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())?;
        self.reader.stream.flush()
    }

    /// The next reply.
    ///
    /// # Panics
    /// There is none.
    pub fn reply(&mut self) -> Reply {
        self.reply_to("GET").expect("a reply")
    }

    /// The next reply, to a request with this method; `None` if the connection
    /// closes without one.
    ///
    /// # Panics
    /// Nothing comes in time.
    pub fn reply_to(&mut self, method: &str) -> Option<Reply> {
        let mut interim = Vec::new();
        loop {
            let head = self.reader.head().expect("a reply in time")?;
            let status = head.status();
            if status == 101 {
                return Some(Reply { interim, head, body: Body::default() });
            }
            if status < 200 {
                interim.push(status);
                continue;
            }
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            let body = if bodiless { Body::default() } else { self.reader.body(&head, true).expect("a body in time") };
            return Some(Reply { interim, head, body });
        }
    }

    /// Sends a request and reads its reply.
    ///
    /// # Panics
    /// There is none.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Reply {
        let bytes = bytes.as_ref();
        self.send(bytes);
        let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        self.reply_to(method).expect("a reply")
    }

    /// Waits until the gateway closes the connection; what came until then.
    ///
    /// # Panics
    /// It stays open.
    pub fn until_closed(&mut self) -> Vec<u8> {
        self.reader.to_end().expect("the gateway closes the connection")
    }

    /// Whether the connection is closed now, with nothing more to read.
    ///
    /// # Panics
    /// It stays open.
    pub fn assert_closed(&mut self) {
        let rest = self.until_closed();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Whether the gateway has not closed: nothing to read within a moment.
    /// To be followed by a request that proves it.
    pub fn is_open(&mut self) -> bool {
        self.reader.stream.set_read_timeout(Duration::from_millis(1));
        let open = self.reader.fill().is_err();
        self.reader.stream.set_read_timeout(crate::DEADLINE);
        open
    }
}

/// A GET request for `path` with more header lines, each ending in CRLF.
#[must_use]
pub fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: gateway.example\r\n{fields}\r\n")
}

/// A POST request with a length.
#[must_use]
pub fn post(path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: gateway.example\r\ncontent-length: {length}\r\n{fields}\r\n{body}")
}

/// Whether a reply's body ended as announced.
#[must_use]
pub fn is_complete(reply: &Reply) -> bool {
    reply.body.ending == Ending::Complete
}
