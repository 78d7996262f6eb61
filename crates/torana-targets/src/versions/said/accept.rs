//! Versions in `Accept` (RFC 9110 §12.5.1).
//!
//! A media range names a version by its parameter, `application/json;
//! version=2`, or, if it is a vendor's type, in a part of its name that is a `v`
//! and a number: `application/vnd.acme.v2+json`, `application/vnd.acme.v2.raw`.
//!
//! Of the versions that there are, the one with the highest weight counts; two
//! different ones with the same weight are two wishes. If there are none, ranges
//! that name no version leave the choice to the gateway.

use super::{Said, find};

/// The weight of a range that says nothing about it, in thousandths.
const FULL: u16 = 1000;

pub(super) fn read<'f>(values: impl Iterator<Item = &'f [u8]>, parameter: &[u8], names: &[Box<str>]) -> Said {
    let mut best = (0, Said::Nothing);
    let (mut names_others, mut is_open) = (false, false);
    for range in values.flat_map(|value| parts(value, b',')) {
        let Range { said, weight } = Range::read(range, parameter, names);
        match said {
            // "Not acceptable" (RFC 9110 §12.4.2).
            _ if weight == 0 => {}
            Said::Nothing => is_open = true,
            Said::Other => names_others = true,
            said if weight > best.0 => best = (weight, said),
            said if weight == best.0 => best.1 = best.1.and(said),
            _ => {}
        }
    }
    match best.1 {
        Said::Nothing if names_others && !is_open => Said::Other,
        said => said,
    }
}

struct Range {
    said: Said,
    weight: u16,
}

impl Range {
    fn read(range: &[u8], parameter: &[u8], names: &[Box<str>]) -> Range {
        let mut parts = parts(range, b';');
        let mut said = vendor(parts.next().unwrap_or_default(), names);
        let mut weight = FULL;
        if range.is_empty() {
            // An empty member of the list.
            weight = 0;
        }
        for part in parts {
            let end = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            let (name, value) = part.split_at(end);
            let value = unquoted(value.get(1..).unwrap_or_default());
            if name.eq_ignore_ascii_case(parameter) {
                said = said.and(find(names, value));
            } else if name.eq_ignore_ascii_case(b"q") {
                weight = thousandths(value);
            }
        }
        Range { said, weight }
    }
}

/// What the name of a vendor's type says: `application/vnd.acme.v1.1+json`
/// says `v1.1`.
fn vendor(media_type: &[u8], names: &[Box<str>]) -> Said {
    let subtype = media_type.iter().position(|byte| *byte == b'/').and_then(|slash| media_type.get(slash + 1..));
    let Some(name) = subtype.filter(|subtype| subtype.get(..4).is_some_and(|tree| tree.eq_ignore_ascii_case(b"vnd.")))
    else {
        return Said::Nothing;
    };
    let name = name.split(|byte| *byte == b'+').next().unwrap_or_default();
    let is_number = |part: &[u8]| part.first().is_some_and(u8::is_ascii_digit);
    // The vendor comes first, and may be called `v8`.
    let starts = name.iter().enumerate().filter(|(_, byte)| **byte == b'.').skip(1).map(|(dot, _)| dot + 1);
    for start in starts {
        let Some([b'v' | b'V', number @ ..]) = name.get(start..) else { continue };
        if !is_number(number) {
            continue;
        }
        let more = number.split(|byte| *byte == b'.').skip(1).take_while(|part| is_number(part));
        let first = number.split(|byte| *byte == b'.').next().unwrap_or_default().len();
        let length = 1 + first + more.map(|part| 1 + part.len()).sum::<usize>();
        return find(names, name.get(start..start + length).unwrap_or_default());
    }
    Said::Nothing
}

/// The parts between separators that are not in a quoted string, without the
/// blanks around them.
fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(move |byte| {
        let is_end = *byte == separator && !is_quoted;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        is_end
    });
    parts.map(<[u8]>::trim_ascii)
}

/// The content of a quoted string; what is escaped in it stays so, since no
/// name of a version needs that.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// A weight: `0.8` is 800. What is none says nothing.
fn thousandths(value: &[u8]) -> u16 {
    let digit = |at: usize| match value.get(at) {
        None => Some(0),
        Some(digit @ b'0'..=b'9') => Some(u16::from(digit - b'0')),
        Some(_) => None,
    };
    let weight = match (value.get(..2).unwrap_or(value), digit(2), digit(3), digit(4)) {
        (b"1." | b"1", ..) => Some(FULL),
        (b"0." | b"0", Some(tenths), Some(hundredths), Some(thousandths)) => {
            Some(tenths * 100 + hundredths * 10 + thousandths)
        }
        _ => None,
    };
    weight.unwrap_or(FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(accept: &[&str]) -> String {
        let names: Vec<Box<str>> = ["v1", "v1.1", "v2", "2024-06-01"].map(Into::into).into();
        match read(accept.iter().map(|value| value.as_bytes()), b"version", &names) {
            Said::Version(index) => names[index].to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn parameters_and_vendors() {
        for (accept, expected) in [
            ("application/json; version=2", "v2"),
            ("application/json;VERSION=V2", "v2"),
            ("application/json; version=\"2\"; charset=utf-8", "v2"),
            ("application/json;version=2024-06-01", "2024-06-01"),
            ("application/vnd.acme.v2+json", "v2"),
            ("application/vnd.acme.v1.1+json", "v1.1"),
            ("Application/VND.Acme.V2+JSON", "v2"),
            ("application/vnd.github.v1.raw+json", "v1"),
            ("application/vnd.v8.v2", "v2"),
            ("application/vnd.acme.users.v2+json", "v2"),
            ("application/vnd.acme.v2+json; version=2", "v2"),
            ("application/vnd.acme.v2+json; version=1", "Several"),
            ("application/vnd.v2+json", "Nothing"),
            ("application/vnd.acme.vip+json", "Nothing"),
            ("application/acme.v2+json", "Nothing"),
            ("application/json", "Nothing"),
            ("*/*", "Nothing"),
            ("", "Nothing"),
            (",,", "Nothing"),
            ("application/json; version=", "Nothing"),
            ("application/json; version=9", "Other"),
            ("application/vnd.acme.v9+json", "Other"),
            ("application/vnd.acme.v2.1+json", "Other"),
        ] {
            assert_eq!(said(&[accept]), expected, "{accept}");
        }
    }

    #[test]
    fn weights_decide_between_several() {
        for (accept, expected) in [
            ("a/b;version=1;q=0.5, a/b;version=2", "v2"),
            ("a/b;version=1, a/b;version=2;q=0.999", "v1"),
            ("a/b;version=1;q=0.50, a/b;version=2;q=0.5", "Several"),
            ("a/b;version=1, c/d;version=1", "v1"),
            ("a/b;version=1, a/b;version=2", "Several"),
            ("a/b;version=1;q=0.1, c/d;version=2;q=0.1, e/f;version=1", "v1"),
            // What there is not does not count where there is something.
            ("a/b;version=9, a/b;version=2;q=0.1", "v2"),
            ("a/b;version=9, */*;q=0.1", "Nothing"),
            ("a/b;version=9, */*;q=0", "Other"),
            ("a/b;version=2;q=0", "Nothing"),
            ("a/b;version=1;q=0.0, a/b;version=2;q=1.000", "v2"),
            ("a/b;version=1;q=x, a/b;version=2;q=0.9", "v1"),
            // Commas and semicolons in quotes separate nothing.
            ("a/b;x=\",;version=1\";version=2", "v2"),
            ("a/b;x=\"\\\",a/b;version=1\";version=2", "v2"),
        ] {
            assert_eq!(said(&[accept]), expected, "{accept}");
        }
        assert_eq!(said(&["a/b;version=1;q=0.5", "a/b;version=2"]), "v2");
        assert_eq!(said(&[]), "Nothing");
    }

    #[test]
    fn nothing_makes_it_panic() {
        use proptest::prelude::*;
        proptest!(|(accept in "[a/;=,\"\\\\ .v0-9q+nd]{0,60}")| {
            said(&[&accept, &accept]);
        });
    }
}
