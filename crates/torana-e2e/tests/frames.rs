//! HTTP/2 frames by hand, for what no decent client would send.

use torana_e2e::client::Client;

/// Fields of a request that is fine.
pub(crate) const FINE: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "gateway.example"), (":path", "/")];

/// A connection that has begun to speak HTTP/2.
pub(crate) fn start(mut client: Client) -> Client {
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    client
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    bytes.extend(payload);
    bytes
}

/// HEADERS with every field as a literal, however wrong.
pub(crate) fn headers(stream: u8, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // A length of seven bits is enough here.
            let length = u8::try_from(text.len()).unwrap();
            assert!(length < 127, "{text}");
            block.push(length);
            block.extend(text.bytes());
        }
    }
    frame(1, 4 | u8::from(end), stream, &block)
}

/// DATA.
pub(crate) fn data(stream: u8, bytes: &str, end: bool) -> Vec<u8> {
    frame(0, u8::from(end), stream, bytes.as_bytes())
}

/// What the gateway did about a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// HEADERS with status 200.
    Ok,
    /// HEADERS with another status.
    Refused,
    /// RST_STREAM with this code, on this stream.
    Reset(u8, u8),
    /// GOAWAY, or the end of the connection.
    Gone,
}

/// The next frame that is about a request.
pub(crate) fn answer(client: &mut Client) -> Answer {
    loop {
        let head = client.reader.exactly(9).unwrap();
        if head.len() < 9 {
            return Answer::Gone;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = client.reader.exactly(length).unwrap();
        match head[3] {
            // `:status: 200` is the static entry 8.
            1 if payload.first() == Some(&0x88) => return Answer::Ok,
            1 => return Answer::Refused,
            3 => return Answer::Reset(head[8], payload[3]),
            7 => return Answer::Gone,
            _ => {}
        }
    }
}
