//! Asking the admin interface of a gateway that runs.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// For the whole of connecting, and between two parts of the reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest reply: an explanation names every route.
const REPLY_BYTES: u64 = 64 << 20;

/// Posts `body` to `path`; the status and the JSON of the reply.
///
/// # Errors
/// Nobody answers, or not with JSON; the text says what to do.
pub(super) fn post(address: &str, token: Option<&str>, path: &str, body: &Value) -> Result<(u16, Value), String> {
    ask(address, token, "POST", path, body)
}

/// Asks for `path`, with `body` unless it is null; the status and the JSON of
/// the reply.
///
/// # Errors
/// Nobody answers, or not with JSON; the text says what to do.
pub(super) fn ask(
    address: &str,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<(u16, Value), String> {
    if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err("the token has characters that cannot be sent in a header".to_owned());
    }
    let (host, mut stream) = connect(address)?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}content-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut reply = Vec::new();
    let exchanged =
        stream.write_all(request.as_bytes()).and_then(|()| stream.take(REPLY_BYTES).read_to_end(&mut reply));
    exchanged.map_err(|error| format!("the admin interface at {address} does not answer: {error}"))?;
    parse(&reply).ok_or_else(|| format!("what answers at {address} is no admin interface of a gateway"))
}

/// A stream both kinds of sockets are.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(address: &str) -> Result<(String, Box<dyn Stream>), String> {
    let lost = |error: io::Error| format!("nobody answers at {address}: {error}");
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(path).map_err(lost)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
        return Ok(("localhost".to_owned(), Box::new(stream)));
    }
    let authority = match address.split_once("://") {
        None => address,
        Some(("http", rest)) => rest.trim_end_matches('/'),
        Some(_) => {
            return Err(format!(
                "`{address}` is no address of an admin interface: it speaks `http://`, or `unix:` and a path"
            ));
        }
    };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if authority.contains('/') || !has_port {
        return Err(format!(
            "`{address}` is no address of an admin interface: expected one such as `http://127.0.0.1:9901`"
        ));
    }
    let stream = resolved(authority).map_err(lost)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
    Ok((authority.to_owned(), Box::new(stream)))
}

/// Connects to the first address of the name where somebody answers.
fn resolved(authority: &str) -> io::Result<TcpStream> {
    #[allow(clippy::disallowed_methods, reason = "a command has no worker to block")]
    let addresses = authority.to_socket_addrs()?;
    let mut last = io::ErrorKind::NotFound.into();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Status and body of a reply that ended with its connection.
fn parse(reply: &[u8]) -> Option<(u16, Value)> {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = reply.split_at_checked(end + 4)?;
    let status = std::str::from_utf8(head).ok()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, serde_json::from_slice(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_and_nonsense_is_none() {
        let reply = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(reply, Some((200, serde_json::json!({}))));
        for nonsense in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0\r\n\r\n{}", b"HTTP/1.1 x\r\n\r\n{}"] {
            assert_eq!(parse(nonsense), None);
        }
    }

    #[test]
    fn addresses_that_cannot_be_are_explained() {
        for address in ["https://127.0.0.1:9901", "http://127.0.0.1", "127.0.0.1:9901/x", "torana.yaml"] {
            let error = post(address, None, "/", &Value::Null).unwrap_err();
            assert!(error.contains(address) && error.contains("no address"), "{error}");
        }
        assert!(post("127.0.0.1:9901", Some("a\r\nb"), "/", &Value::Null).unwrap_err().contains("token"));
    }
}
