//! Where a request says which version it wants, and what it says there.

use super::{NOT_ACCEPTABLE, NOT_FOUND, UNKNOWN};
use torana_core::exchange::Exchange;
use torana_core::names::{HeaderName, KnownName};
use torana_core::query;
use torana_core::refusal::Refusal;

mod accept;

/// The longest name of a version: nothing longer needs to be looked at.
pub(super) const LONGEST: usize = 64;

/// Where a request says which version it wants.
pub(super) enum Place {
    /// In this header; of a list each member.
    Header(HeaderName),
    /// In the media types of `Accept`: in this parameter, or in the name of a
    /// vendor's type.
    Accept(Box<[u8]>),
    /// In this query parameter, decoded.
    Query(Box<str>),
    /// In this capture of the route's path; of a rest in its first segment.
    Path(usize),
}

/// What it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// Nothing about versions.
    Nothing,
    /// The version at this position.
    Version(usize),
    /// Something that is not the name of a version.
    Other,
    /// One thing and another.
    Several,
}

impl Said {
    fn and(self, other: Said) -> Said {
        match (self, other) {
            (Said::Nothing, said) | (said, Said::Nothing) => said,
            (one, other) if one == other => one,
            _ => Said::Several,
        }
    }
}

impl Place {
    /// What `exchange` says about the versions called `names`.
    pub(super) fn read(&self, exchange: &Exchange, names: &[Box<str>]) -> Said {
        match self {
            Place::Header(name) => {
                let values = exchange.head.fields.values(name).flat_map(|value| value.split(|byte| *byte == b','));
                values.map(|value| find(names, value.trim_ascii())).fold(Said::Nothing, Said::and)
            }
            Place::Accept(parameter) => accept::read(exchange.head.fields.get_all(KnownName::Accept), parameter, names),
            Place::Query(name) => {
                let pairs = query::pairs(exchange.target().query().unwrap_or_default());
                let values = pairs.filter(|(key, _)| key.clone().eq(name.bytes())).map(|(_, value)| value);
                values.map(|value| find_decoded(names, value)).fold(Said::Nothing, Said::and)
            }
            Place::Path(capture) => {
                let captured = exchange.captures.get(exchange.target().path(), *capture);
                let segment = captured.split('/').next().unwrap_or_default();
                find(names, segment.as_bytes())
            }
        }
    }

    /// What a request is refused with that asks for a version there is not.
    pub(super) fn unknown(&self) -> &'static Refusal {
        match self {
            Place::Header(_) | Place::Query(_) => &UNKNOWN,
            Place::Accept(_) => &NOT_ACCEPTABLE,
            Place::Path(_) => &NOT_FOUND,
        }
    }
}

fn find(names: &[Box<str>], said: &[u8]) -> Said {
    if said.is_empty() {
        return Said::Nothing;
    }
    names.iter().position(|name| is_same(name.as_bytes(), said)).map_or(Said::Other, Said::Version)
}

fn find_decoded(names: &[Box<str>], said: query::Decoded<'_>) -> Said {
    let mut text = [0; LONGEST];
    let mut length = 0;
    for byte in said {
        let Some(slot) = text.get_mut(length) else { return Said::Other };
        *slot = byte;
        length += 1;
    }
    find(names, text.get(..length).unwrap_or_default())
}

/// Whether both name one version.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    bare(one).eq_ignore_ascii_case(bare(other))
}

/// The name without the `v` in front of its number.
fn bare(name: &[u8]) -> &[u8] {
    match name {
        [b'v' | b'V', rest @ ..] if rest.first().is_some_and(u8::is_ascii_digit) => rest,
        _ => name,
    }
}
