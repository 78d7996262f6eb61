//! Reads HTTP/1.1 messages off a stream, plainly: what stands there is what
//! is returned.

use crate::stream::Stream;
use std::io::{self, Read};

/// A start line with its fields, as it was on the wire.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Every byte up to and including the empty line.
    pub raw: Vec<u8>,
    /// The start line.
    pub line: String,
    /// The fields in their order, values trimmed.
    pub fields: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Head {
        // Latin-1 keeps every byte apart.
        let text: String = raw.iter().map(|&byte| char::from(byte)).collect();
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        Head { line, fields: fields(lines), raw }
    }

    /// The values of a field, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that stands there once.
    ///
    /// # Panics
    /// It stands there more than once.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands there {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The status of a reply's head.
    ///
    /// # Panics
    /// It is not a reply's.
    #[must_use]
    pub fn status(&self) -> u16 {
        let code = self.line.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.line))
    }

    fn says(&self, name: &str, word: &str) -> bool {
        let mut words = self.all(name).into_iter().flat_map(|value| value.split(','));
        words.any(|found| found.trim().eq_ignore_ascii_case(word))
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        })
        .collect()
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ending {
    /// Where its framing says.
    #[default]
    Complete,
    /// Before that: the connection closed in the middle.
    Truncated,
    /// With the connection, as announced by having no length.
    Closed,
}

/// A body.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Its data, chunks joined.
    pub data: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// How it ended.
    pub ending: Ending,
}

impl Body {
    /// The data as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

/// Reads messages off a stream.
#[derive(Debug)]
pub struct Reader {
    /// The stream; for writing, too.
    pub stream: Stream,
    waiting: Vec<u8>,
}

const CHUNK: usize = 64 * 1024;

impl Reader {
    pub(crate) fn new(stream: Stream) -> Reader {
        Reader { stream: stream.with_deadline(), waiting: Vec::new() }
    }

    /// Reads once. False at the end of the stream; a reset is an end, too.
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; CHUNK];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.waiting.extend_from_slice(&buffer[..count]);
                Ok(count > 0)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// What was read and not yet taken.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.waiting
    }

    /// Takes everything up to and including `mark`; `None` if the stream ends
    /// before.
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn until(&mut self, mark: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.waiting[from..], mark) {
                return Ok(Some(self.waiting.drain(..from + at + mark.len()).collect()));
            }
            from = self.waiting.len().saturating_sub(mark.len());
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Takes exactly `count` bytes, or what there is if the stream ends first.
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.waiting.len() < count && self.fill()? {}
        Ok(self.waiting.drain(..count.min(self.waiting.len())).collect())
    }

    /// Takes everything until the stream ends.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.waiting))
    }

    /// The next head; `None` if the stream ends before it does.
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        Ok(self.until(b"\r\n\r\n")?.map(Head::parse))
    }

    /// The body that `head` announces. `until_close` says what no announcement
    /// means: true for replies, false for requests.
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn body(&mut self, head: &Head, until_close: bool) -> io::Result<Body> {
        if head.says("transfer-encoding", "chunked") {
            return self.chunked();
        }
        if let Some(length) = head.get("content-length") {
            let length: usize = length.parse().map_err(io::Error::other)?;
            let data = self.exactly(length)?;
            let ending = if data.len() == length { Ending::Complete } else { Ending::Truncated };
            return Ok(Body { data, ending, ..Body::default() });
        }
        if until_close {
            return Ok(Body { data: self.to_end()?, ending: Ending::Closed, ..Body::default() });
        }
        Ok(Body::default())
    }

    fn chunked(&mut self) -> io::Result<Body> {
        let mut body = Body { ending: Ending::Truncated, ..Body::default() };
        loop {
            let Some(size) = self.chunk(&mut body.data)? else { return Ok(body) };
            if size > 0 {
                continue;
            }
            let mut trailers = Vec::new();
            loop {
                let Some(line) = self.until(b"\r\n")? else { return Ok(body) };
                if line == b"\r\n" {
                    break;
                }
                trailers.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            body.trailers = fields(trailers.iter().map(String::as_str));
            body.ending = Ending::Complete;
            return Ok(body);
        }
    }

    /// One chunk onto `data`; its size, or `None` if the stream ended in it.
    ///
    /// # Errors
    /// Nothing came in time, or it is not a chunk.
    pub fn chunk(&mut self, data: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let Some(line) = self.until(b"\r\n")? else { return Ok(None) };
        let text = String::from_utf8_lossy(&line);
        let size = text.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        if size == 0 {
            return Ok(Some(0));
        }
        let mut chunk = self.exactly(size + 2)?;
        if chunk.len() < size + 2 {
            data.append(&mut chunk);
            return Ok(None);
        }
        if !chunk.ends_with(b"\r\n") {
            return Err(io::Error::other("a chunk does not end in CRLF"));
        }
        chunk.truncate(size);
        data.append(&mut chunk);
        Ok(Some(size))
    }
}

/// Where `mark` first stands in `bytes`.
#[must_use]
pub fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
