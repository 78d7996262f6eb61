//! A keep-alive HTTP/1.1 client, just enough to probe, to hold connections open and to drive `budget`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Outcome;

/// Long enough for a proxy under valgrind.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request's headers besides `Host`: with it seven, about 500 bytes, as a browser application sends them.
pub(super) const HEADERS: [(&str, &str); 6] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "application/json, text/plain, */*"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Cookie", "session=0f3a9c6e2b8d4715a0c1e2f3b4d5c6a70f3a9c6e2b8d4715; theme=dark; consent=1"),
    (
        "Authorization",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
         SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c0123456789",
    ),
];

/// A reply with a declared length.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Status line and headers.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// One connection, one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    /// A request from behind its target on.
    rest: String,
}

impl Connection {
    /// Connects; `path` is what every request on it will ask for.
    pub(super) fn open(address: SocketAddr, path: &str) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(address)?, path)
    }

    /// The same over a connection made elsewhere.
    pub(super) fn over(stream: TcpStream, path: &str) -> std::io::Result<Self> {
        let address = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Self { stream, request: Vec::new(), rest: rest(address, None) };
        connection.set_request("GET", path);
        Ok(connection)
    }

    /// From now on requests have this `Authorization` in place of that of [`HEADERS`].
    pub(super) fn authorize(&mut self, method: &str, path: &str, authorization: Option<&str>) -> std::io::Result<()> {
        self.rest = rest(self.stream.peer_addr()?, authorization);
        self.set_request(method, path);
        Ok(())
    }

    /// From now on every request asks for this.
    pub(super) fn set_request(&mut self, method: &str, path: &str) {
        self.request.clear();
        for part in [method, " ", path, &self.rest] {
            self.request.extend_from_slice(part.as_bytes());
        }
    }

    pub(super) fn send(&mut self) -> std::io::Result<()> {
        self.stream.write_all(&self.request)
    }

    pub(super) fn receive(&mut self) -> std::io::Result<Reply> {
        let mut bytes = Vec::with_capacity(2048);
        let mut buffer = [0; 16 * 1024];
        let mut head: Option<(usize, usize, u16)> = None;
        loop {
            if let Some((end, length, status)) = head
                && bytes.len() >= end + length
            {
                let body = bytes.split_off(end);
                return Ok(Reply { status, head: String::from_utf8_lossy(&bytes).into_owned(), body });
            }
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&buffer[..count]);
            if head.is_none()
                && let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n")
            {
                let (status, length) = parse(&bytes[..at])?;
                head = Some((at + 4, length, status));
            }
        }
    }

    /// A request and its reply, which must be a 200.
    pub(super) fn ask(&mut self) -> Outcome<Reply> {
        let reply = self.send().and_then(|()| self.receive()).map_err(|e| e.to_string())?;
        if reply.status == 200 {
            return Ok(reply);
        }
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        Err(format!("status {}: {}", reply.status, body.lines().next().unwrap_or_default()))
    }
}

/// A request from behind its target on.
fn rest(address: SocketAddr, authorization: Option<&str>) -> String {
    let mut rest = format!(" HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in HEADERS {
        let value = authorization.filter(|_| name == "Authorization").unwrap_or(value);
        rest.push_str(&format!("{name}: {value}\r\n"));
    }
    rest + "\r\n"
}

/// One GET on a connection of its own.
pub(super) fn get(address: SocketAddr, path: &str) -> Outcome<Reply> {
    let mut connection = Connection::open(address, path).map_err(|e| format!("cannot connect to {address}: {e}"))?;
    connection.ask().map_err(|e| format!("GET http://{address}{path}: {e}"))
}

/// Status and body length of a head. A reply without a length is refused: the origin always declares it.
fn parse(head: &[u8]) -> std::io::Result<(u16, usize)> {
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, format!("reply without {what}"));
    let text = String::from_utf8_lossy(head);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| bad("status"))?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| bad("Content-Length"))?;
    Ok((status, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status_and_length() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length:  12\r\nA: b").unwrap(), (200, 12));
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked").is_err());
    }

    #[test]
    fn a_request_is_about_500_bytes() {
        let headers: usize = HEADERS.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let rest = "GET /r5/json HTTP/1.1\r\nHost: 127.0.0.1:32768\r\n\r\n".len();
        assert!((480..520).contains(&(headers + rest)), "{headers}");
    }
}
