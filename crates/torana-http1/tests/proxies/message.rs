//! Messages as a proxy wrote them, read without judgement and by none of the
//! code under test: a proxy writes plain messages whatever it has read.

use std::io::{BufRead, Read};

pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    Request,
    Reply { to: &'a str },
}

#[derive(Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The three parts of the start line.
    pub start: [Vec<u8>; 3],
    /// Names in lower case, values without blanks around them.
    pub fields: Pairs,
    pub body: Vec<u8>,
    pub trailers: Pairs,
    /// Whether the body ended as its head announced, or without announcement
    /// with the connection.
    pub whole: bool,
}

impl Message {
    /// The next message; none at the end of the stream.
    pub fn read(reader: &mut impl BufRead, side: Side<'_>) -> Option<Message> {
        let start = line(reader)?;
        let mut parts = start.splitn(3, |&byte| byte == b' ').map(<[u8]>::to_vec);
        let start = [(); 3].map(|()| parts.next().unwrap_or_default());
        let mut message = Message { start, ..Message::default() };
        message.whole = message.read_rest(reader, side).is_some();
        Some(message)
    }

    /// Reads the lines and the body; `None` if the stream ends too early.
    fn read_rest(&mut self, reader: &mut impl BufRead, side: Side<'_>) -> Option<()> {
        self.fields = fields(reader)?;
        let mut closes = false;
        if let Side::Reply { to } = side {
            closes = true;
            if to == "HEAD" || matches!(self.status(), 100..200 | 204 | 304) {
                return Some(());
            }
        }
        if self.field("transfer-encoding").is_some() {
            self.read_chunks(reader)?;
        } else if let Some(length) = self.field("content-length") {
            let length = std::str::from_utf8(length).ok()?.parse().ok()?;
            take(reader, length, &mut self.body)?;
        } else if closes {
            reader.read_to_end(&mut self.body).ok()?;
        }
        Some(())
    }

    fn read_chunks(&mut self, reader: &mut impl BufRead) -> Option<()> {
        loop {
            let size = String::from_utf8(line(reader)?).ok()?;
            let size = u64::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                self.trailers = fields(reader)?;
                return Some(());
            }
            take(reader, size, &mut self.body)?;
            line(reader)?;
        }
    }

    /// The status of a reply, 0 where there is none.
    pub fn status(&self) -> u16 {
        std::str::from_utf8(&self.start[1]).ok().and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(other, _)| other == name.as_bytes()).map(|(_, value)| &value[..])
    }
}

/// A line without its end; `None` if the stream ends before that.
fn line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    let text = line.strip_suffix(b"\n")?;
    Some(text.strip_suffix(b"\r").unwrap_or(text).to_vec())
}

fn fields(reader: &mut impl BufRead) -> Option<Pairs> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Some(fields);
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        fields.push((line[..colon].to_ascii_lowercase(), value.trim_ascii().to_vec()));
    }
}

fn take(reader: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> Option<()> {
    let taken = reader.take(length).read_to_end(into).ok()?;
    (taken as u64 == length).then_some(())
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second, third] = &self.start;
        write!(f, "{} {} {}", first.escape_ascii(), second.escape_ascii(), third.escape_ascii())?;
        for (name, value) in &self.fields {
            write!(f, " | {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        write!(f, " | \"{}\"", self.body.escape_ascii())?;
        for (name, value) in &self.trailers {
            write!(f, " | trailer {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        if self.whole { Ok(()) } else { write!(f, ", cut short") }
    }
}
