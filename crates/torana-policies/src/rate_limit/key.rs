//! Whose request it is.

use std::net::IpAddr;
use torana_core::cookie;
use torana_core::exchange::Exchange;
use torana_core::identity::Identity;
use torana_core::names::{HeaderName, KnownName};
use torana_expr::{Expr, Subject, Value};

/// A part of a key.
pub(super) enum Key {
    Consumer,
    Client,
    Path,
    Header(HeaderName),
    Cookie(Box<[u8]>),
    Constant,
    Expr(Expr),
}

/// Before each part: what it is. So no part can be taken for another, such as
/// a header that says what somebody else's address is.
const ADDRESS: u8 = 1;
const WHO: u8 = 2;
const VALUE: u8 = 3;

impl Key {
    /// Appends this part of `exchange`'s key. What the request does not have is
    /// replaced by the address, so that nobody escapes by leaving it out.
    /// `captures` are the names of what the route's path captures.
    pub(super) fn write(&self, exchange: &Exchange, captures: &[String], out: &mut Vec<u8>) {
        match self {
            Key::Constant => return,
            Key::Client => {}
            Key::Consumer => {
                if let Some(who) = exchange.identity.as_ref().and_then(Identity::who) {
                    return who.into_iter().for_each(|which| part(WHO, which.as_bytes(), out));
                }
            }
            Key::Path => return part(VALUE, exchange.target().path().as_bytes(), out),
            Key::Header(name) => {
                let mut values = exchange.head.fields.values(name).peekable();
                if values.peek().is_some() {
                    return values.for_each(|value| part(VALUE, value, out));
                }
            }
            Key::Cookie(name) => {
                let fields = exchange.head.fields.get_all(KnownName::Cookie);
                if let Some((_, value)) = fields.flat_map(cookie::pairs).find(|(known, _)| **known == **name) {
                    return part(VALUE, value, out);
                }
            }
            Key::Expr(expr) => match expr.evaluate(&Subject::of(exchange, captures)) {
                Ok(Value::Text(text)) => return part(VALUE, text.as_bytes(), out),
                Ok(Value::Int(number)) => return part(VALUE, &number.to_le_bytes(), out),
                Ok(Value::Bool(value)) => return part(VALUE, &[u8::from(value)], out),
                Err(_) => {}
            },
        }
        match exchange.client_ip {
            IpAddr::V4(address) => part(ADDRESS, &address.octets(), out),
            IpAddr::V6(address) => part(ADDRESS, address.octets().get(..8).unwrap_or_default(), out),
        }
    }
}

/// Appends a part so that no others, one after the other, look the same. Keys
/// are digested for every request: what is short has a length of one byte.
fn part(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    const LONG: u8 = u8::MAX;
    match u8::try_from(value.len()) {
        Ok(length) if length < LONG => out.extend_from_slice(&[kind, length]),
        _ => {
            out.extend_from_slice(&[kind, LONG]);
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        }
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts that `key` was made of.
    fn read(mut key: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut parts = Vec::new();
        while let [kind, length, rest @ ..] = key {
            let (length, rest) = match length {
                255 => (u64::from_le_bytes(*rest.first_chunk().unwrap()), &rest[8..]),
                length => (u64::from(*length), rest),
            };
            let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
            parts.push((*kind, value.to_vec()));
            key = rest;
        }
        assert!(key.is_empty());
        parts
    }

    #[test]
    fn parts_can_be_told_apart() {
        for lengths in [[0, 1, 2], [253, 254, 255], [256, 1000, 0], [65_536, 12, 255]] {
            let parts: Vec<(u8, Vec<u8>)> =
                [ADDRESS, WHO, VALUE].into_iter().zip(lengths.map(|n| vec![255; n])).collect();
            let mut key = Vec::new();
            parts.iter().for_each(|(kind, value)| part(*kind, value, &mut key));
            assert_eq!(read(&key), parts);
        }
    }
}
