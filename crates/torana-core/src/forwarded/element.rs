//! One element of a forwarding chain (RFC 7239 §4).

use crate::canonical::Scheme;
use crate::names::is_token_byte;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a proxy said about the hop before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) node: Node,
    pub(super) proto: Option<Scheme>,
}

/// A node's identifier (RFC 7239 §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Node {
    /// An address, in its canonical family.
    Address(IpAddr),
    /// `unknown`, an obfuscated identifier, or no `for` at all.
    #[default]
    Hidden,
    /// None of these.
    Garbage,
}

/// The input is not a `Forwarded` value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads `address`, `address:port`, `[v6]`, `[v6]:port`, `unknown`, `_name`.
pub(super) fn parse_address(text: &[u8]) -> Node {
    if text.eq_ignore_ascii_case(b"unknown") || text.first() == Some(&b'_') {
        return Node::Hidden;
    }
    let address = match text {
        [b'[', rest @ ..] => bracketed(rest),
        _ => {
            let colons = text.iter().filter(|&&byte| byte == b':').count();
            match colons {
                0 => ascii(text).and_then(parse_v4),
                1 => {
                    let colon = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
                    let (address, port) = text.split_at(colon);
                    if is_port(port) { ascii(address).and_then(parse_v4) } else { None }
                }
                _ => ascii(text).and_then(parse_v6),
            }
        }
    };
    address.map_or(Node::Garbage, |ip| Node::Address(ip.to_canonical()))
}

fn ascii(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

fn parse_v4(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn parse_v6(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn bracketed(rest: &[u8]) -> Option<IpAddr> {
    let close = rest.iter().position(|&byte| byte == b']')?;
    let (address, after) = rest.split_at(close);
    let port = after.get(1..)?;
    if port.is_empty() || is_port(port) { ascii(address).and_then(parse_v6) } else { None }
}

/// `:` and a port, or an obfuscated one (RFC 7239 §6).
fn is_port(text: &[u8]) -> bool {
    match text {
        [b':', b'_', rest @ ..] => !rest.is_empty(),
        [b':', digits @ ..] => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Reads one `Forwarded` field value, handing over each element:
///
/// ```text
/// Forwarded         = 1#forwarded-element
/// forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )
/// forwarded-pair    = token "=" ( token / quoted-string )
/// ```
pub(super) fn parse_forwarded(value: &[u8], mut each: impl FnMut(Element)) -> Result<(), Malformed> {
    let mut reader = Reader { rest: value };
    loop {
        reader.skip_blanks();
        // RFC 9110 §5.6.1: empty list members are ignored.
        if reader.take(b',') {
            continue;
        }
        if reader.rest.is_empty() {
            return Ok(());
        }
        each(reader.element()?);
        reader.skip_blanks();
        if !reader.rest.is_empty() && !reader.take(b',') {
            return Err(Malformed);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn split(&mut self, at: usize) -> &'a [u8] {
        let (head, tail) = self.rest.split_at(at.min(self.rest.len()));
        self.rest = tail;
        head
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(self.rest.len());
        if end == 0 { Err(Malformed) } else { Ok(self.split(end)) }
    }

    /// A token or what stands between quotes. Backslash escapes are left in:
    /// no address, scheme or host needs one, so a value with one matches none.
    fn value(&mut self) -> Result<&'a [u8], Malformed> {
        if !self.take(b'"') {
            return self.token();
        }
        let mut end = 0;
        loop {
            match self.rest.get(end) {
                None => return Err(Malformed),
                Some(b'"') => break,
                Some(b'\\') if self.rest.get(end + 1).is_none() => return Err(Malformed),
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        let value = self.split(end);
        self.take(b'"');
        Ok(value)
    }

    fn element(&mut self) -> Result<Element, Malformed> {
        let mut element = Element::default();
        let (mut has_for, mut has_proto) = (false, false);
        loop {
            self.skip_blanks();
            if !matches!(self.rest.first(), None | Some(b';' | b',')) {
                let name = self.token()?;
                if !self.take(b'=') {
                    return Err(Malformed);
                }
                let value = self.value()?;
                // "Each parameter MUST NOT occur more than once per
                // field-value" (RFC 7239 §4), which examples there show to
                // mean per element.
                if name.eq_ignore_ascii_case(b"for") {
                    if std::mem::replace(&mut has_for, true) {
                        return Err(Malformed);
                    }
                    element.node = parse_address(value);
                } else if name.eq_ignore_ascii_case(b"proto") {
                    if std::mem::replace(&mut has_proto, true) {
                        return Err(Malformed);
                    }
                    element.proto = super::scheme_of(value);
                }
            }
            self.skip_blanks();
            if !self.take(b';') {
                return Ok(element);
            }
        }
    }
}
