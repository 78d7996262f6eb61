//! What the tests of this crate share: messages in, readings out.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of it")]

use torana_core::head::{Fields, Head, Method, ReplyHead, Status, Version};
use torana_http1::{
    BodyDecoder, BodyError, Framing, FramingError, HeadError, HeadLimits, HeadScanner, Parsed, Step, request, response,
};

/// Why a message was refused, whoever refused it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    Head(HeadError),
    Framing(FramingError),
    Body(BodyError),
    /// The bytes ended inside the message.
    Incomplete,
}

impl From<HeadError> for Refused {
    fn from(error: HeadError) -> Self {
        Refused::Head(error)
    }
}
impl From<FramingError> for Refused {
    fn from(error: FramingError) -> Self {
        Refused::Framing(error)
    }
}
impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Refused::Body(error)
    }
}

/// A message as read, with nothing left of how it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Reading {
    pub method: String,
    pub target: Vec<u8>,
    pub status: u16,
    pub version: Version,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    pub persistent: bool,
    /// Whether what follows may be another protocol's.
    pub may_leave: bool,
    /// Bytes of the message.
    pub consumed: usize,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reading { method, target, status, version, framing, .. } = self;
        write!(f, "{method} {} {status} {version:?}", target.escape_ascii())?;
        for (name, value) in &self.fields {
            write!(f, " | {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        write!(f, " | {framing:?} \"{}\"", self.body.escape_ascii())?;
        for (name, value) in &self.trailers {
            write!(f, " | trailer {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        write!(f, " | {} bytes", self.consumed)?;
        f.write_str(if self.persistent { "" } else { ", closes" })?;
        f.write_str(if self.may_leave { ", may leave HTTP" } else { "" })
    }
}

/// Why no further request is read from a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All bytes are used up.
    Bytes,
    /// The last request closes the connection; the bytes behind it are nobody's.
    Close,
    /// Bytes wait behind a request that may leave HTTP: undecidable without its
    /// reply, nobody's if that does not switch.
    Leave,
    /// What follows is refused, or incomplete.
    Refused(Refused),
}

pub fn list(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.text.to_ascii_lowercase(), value.to_vec())).collect()
}

pub fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
    }
    fields
}

pub fn head(bytes: &[u8]) -> Result<(Head, usize), Refused> {
    let mut head = Head::default();
    match request::parse(&mut HeadScanner::new(), bytes, &HeadLimits::default(), &mut head)? {
        Parsed::Complete { consumed } => Ok((head, consumed)),
        Parsed::Partial => Err(Refused::Incomplete),
    }
}

pub fn reply_head(bytes: &[u8]) -> Result<(ReplyHead, usize), Refused> {
    let mut head = ReplyHead::default();
    match response::parse(&mut HeadScanner::new(), bytes, &HeadLimits::default(), &mut head)? {
        Parsed::Complete { consumed } => Ok((head, consumed)),
        Parsed::Partial => Err(Refused::Incomplete),
    }
}

/// Feeds `bytes` to a parser in the given pieces, as a connection would.
struct Pieces<'a> {
    bytes: &'a [u8],
    cuts: &'a [usize],
    /// How much has arrived.
    arrived: usize,
    /// How much is used up.
    used: usize,
}

impl Pieces<'_> {
    fn buffer(&self) -> &[u8] {
        &self.bytes[self.used..self.arrived]
    }

    /// Lets the next piece arrive; false at the end.
    fn more(&mut self) -> bool {
        if self.arrived == self.bytes.len() {
            return false;
        }
        let next = self.cuts.iter().copied().find(|&cut| cut > self.arrived).unwrap_or(self.bytes.len());
        self.arrived = next.min(self.bytes.len());
        true
    }
}

type Body = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

fn read_body(framing: Framing, pieces: &mut Pieces<'_>) -> Result<Body, Refused> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    loop {
        let buffer = pieces.buffer();
        match decoder.decode(buffer)? {
            Step::Data { skip, len } => {
                assert!(len > 0);
                body.extend_from_slice(&buffer[skip..skip + len]);
                pieces.used += skip + len;
            }
            Step::NeedMore { consumed } => {
                assert_eq!(consumed, buffer.len(), "NeedMore leaves nothing");
                pieces.used += consumed;
                if !pieces.more() {
                    decoder.end_of_input().map_err(|_| Refused::Incomplete)?;
                    break;
                }
            }
            Step::End { consumed } => {
                pieces.used += consumed;
                break;
            }
        }
        if decoder.is_done() {
            break;
        }
    }
    assert!(decoder.is_done());
    Ok((body, decoder.trailers().map(list).unwrap_or_default()))
}

/// Reads one request that arrives in pieces cut at `cuts`.
pub fn read_request_in(bytes: &[u8], cuts: &[usize]) -> Result<Reading, Refused> {
    let mut pieces = Pieces { bytes, cuts, arrived: 0, used: 0 };
    let mut head = Head::default();
    let mut scanner = HeadScanner::new();
    let consumed = loop {
        match request::parse(&mut scanner, pieces.buffer(), &HeadLimits::default(), &mut head)? {
            Parsed::Complete { consumed } => break consumed,
            Parsed::Partial if pieces.more() => {}
            Parsed::Partial => return Err(Refused::Incomplete),
        }
    };
    pieces.used = consumed;
    let framing = request::framing(&head)?;
    let (body, trailers) = read_body(framing, &mut pieces)?;
    Ok(Reading {
        method: head.method_text().to_owned(),
        target: head.raw_target().to_vec(),
        status: 0,
        version: head.version,
        fields: list(&head.fields),
        framing,
        body,
        trailers,
        persistent: request::persistent(&head),
        may_leave: request::may_leave_http(&head),
        consumed: pieces.used,
    })
}

pub fn read_request(bytes: &[u8]) -> Result<Reading, Refused> {
    read_request_in(bytes, &[])
}

/// Reads all requests a client sent on one connection, none of which switches
/// protocols.
pub fn read_connection(mut bytes: &[u8]) -> (Vec<Reading>, End) {
    let mut readings = Vec::new();
    loop {
        let reading = match read_request(bytes) {
            _ if bytes.is_empty() => return (readings, End::Bytes),
            Ok(reading) => reading,
            Err(refused) => return (readings, End::Refused(refused)),
        };
        bytes = &bytes[reading.consumed..];
        let end = match &reading {
            _ if bytes.is_empty() => Some(End::Bytes),
            reading if !reading.persistent => Some(End::Close),
            reading if reading.may_leave => Some(End::Leave),
            _ => None,
        };
        readings.push(reading);
        if let Some(end) = end {
            return (readings, end);
        }
    }
}

/// Reads one reply to a `method` request that arrives in pieces cut at `cuts`.
pub fn read_reply_in(method: Method, bytes: &[u8], cuts: &[usize]) -> Result<Reading, Refused> {
    let mut pieces = Pieces { bytes, cuts, arrived: 0, used: 0 };
    let mut head = ReplyHead::default();
    let mut scanner = HeadScanner::new();
    let consumed = loop {
        match response::parse(&mut scanner, pieces.buffer(), &HeadLimits::default(), &mut head)? {
            Parsed::Complete { consumed } => break consumed,
            Parsed::Partial if pieces.more() => {}
            Parsed::Partial => return Err(Refused::Incomplete),
        }
    };
    pieces.used = consumed;
    let framing = response::framing(method, &head)?;
    let (body, trailers) = read_body(framing, &mut pieces)?;
    Ok(Reading {
        method: String::new(),
        target: Vec::new(),
        status: head.status.code(),
        version: head.version,
        fields: list(&head.fields),
        framing,
        body,
        trailers,
        persistent: response::persistent(&head, framing),
        may_leave: response::switches(&head),
        consumed: pieces.used,
    })
}

pub fn read_reply(method: Method, bytes: &[u8]) -> Result<Reading, Refused> {
    read_reply_in(method, bytes, &[])
}

pub fn status(code: u16) -> Status {
    Status::new(code).unwrap()
}

/// `GET / HTTP/1.1` with these further lines.
pub fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

/// A chunked POST with this body.
pub fn chunked(body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
}
