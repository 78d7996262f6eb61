//! Which coding a client wants most (RFC 9110 §12.5.3).

use super::encoder::Coding;
use torana_core::head::Fields;
use torana_core::names::KnownName;

/// The coding to use, of those in `offered`, the dearest first; `None`: none at
/// all is as good, or better.
pub(super) fn choose(request: &Fields, offered: &[Coding]) -> Option<Coding> {
    let mut weights: [Option<u16>; 3] = [None; 3];
    let (mut identity, mut others) = (None, None);
    for member in request.list(KnownName::AcceptEncoding) {
        let (name, weight) = read(member)?;
        let place = match Coding::named(name) {
            Some(coding) => weights.get_mut(coding as usize)?,
            None if name == b"*" => &mut others,
            None if name.eq_ignore_ascii_case(b"identity") => &mut identity,
            None => continue,
        };
        *place = Some(weight);
    }
    let weight = |coding: Coding| weights.get(coding as usize).copied().flatten().or(others).unwrap_or(0);
    // The first of the heaviest.
    let best = offered.iter().copied().rev().max_by_key(|coding| weight(*coding))?;
    let least = identity.unwrap_or(0).max(1);
    (weight(best) >= least).then_some(best)
}

/// A member: its name, and its weight in thousandths. A member that cannot be
/// read makes the whole field one.
fn read(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    let mut weight = 1000;
    for part in parts {
        let (key, value) = part.split_at(part.iter().position(|byte| *byte == b'=')?);
        if key.trim_ascii().eq_ignore_ascii_case(b"q") {
            weight = thousandths(value.get(1..)?.trim_ascii())?;
        }
    }
    Some((name, weight))
}

/// `0`, `0.5`, `1.000` (RFC 9110 §12.4.2).
fn thousandths(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !is_number(fraction) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    Some(if whole == "1" { 1000 } else { fraction })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(values: &[&str]) -> &'static str {
        let mut fields = Fields::default();
        for value in values {
            fields.append(KnownName::AcceptEncoding, value.as_bytes()).unwrap();
        }
        choose(&fields, &[Coding::Zstd, Coding::Br, Coding::Gzip]).map_or("none", Coding::as_str)
    }

    #[test]
    fn weights_decide_then_the_order_of_the_configuration() {
        for (accepted, coding) in [
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("gzip, deflate", "gzip"),
            ("x-gzip", "gzip"),
            ("GZIP", "gzip"),
            ("deflate", "none"),
            ("", "none"),
            ("br;q=0.5, gzip;q=0.9, zstd;q=0.1", "gzip"),
            ("gzip;q=0", "none"),
            ("gzip;q=0.000", "none"),
            ("gzip;q=0.001", "gzip"),
            ("*", "zstd"),
            ("*;q=0", "none"),
            ("*;q=0, gzip", "gzip"),
            ("zstd;q=0, *", "br"),
            ("identity", "none"),
            ("identity;q=0, gzip;q=0.2", "gzip"),
            ("identity;q=0.5, gzip;q=0.2", "none"),
            ("identity;q=0.5, gzip;q=0.8", "gzip"),
            ("gzip ; q=0.5 , br ; Q=0.7", "br"),
            ("gzip;q=2", "none"),
            ("gzip;q=0.1234", "none"),
            ("gzip;q=x", "none"),
            ("gzip;level=9", "gzip"),
        ] {
            assert_eq!(chosen(&[accepted]), coding, "{accepted}");
        }
        assert_eq!(chosen(&["gzip;q=0.1", "br;q=0.2"]), "br");
        assert_eq!(chosen(&[]), "none", "who says nothing may not know any");
    }
}
