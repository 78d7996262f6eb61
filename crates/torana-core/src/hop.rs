//! Fields that are about one connection only (RFC 9110 §7.6.1).

use crate::head::Fields;
use crate::names::{KnownName, NameSet};

/// Never forwarded, whoever sent them. `Te` and `Upgrade` have their own
/// rules; `Expect` was the connection's to answer.
const HOP_BY_HOP: NameSet = NameSet::of(&[
    KnownName::Connection,
    KnownName::KeepAlive,
    KnownName::ProxyConnection,
    KnownName::ProxyAuthenticate,
    KnownName::ProxyAuthorization,
    KnownName::Te,
    KnownName::Trailer,
    KnownName::TransferEncoding,
    KnownName::Upgrade,
    KnownName::Http2Settings,
]);

/// A `Connection` field may nominate so many fields. Each is looked for among
/// all fields, so the product must stay small; honest messages nominate one
/// or two.
const MOST_NOMINATED: usize = 32;

/// More fields are nominated than any honest peer would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNominated;

/// Removes what is hop-by-hop by name, and what `Connection` nominates, in
/// any case. `nominated` is scratch.
///
/// # Errors
/// [`TooManyNominated`]; the fields are as they were.
pub fn strip(fields: &mut Fields, nominated: &mut Vec<u8>) -> Result<(), TooManyNominated> {
    if !fields.contains_any(HOP_BY_HOP) {
        return Ok(());
    }
    nominated.clear();
    let mut count = 0;
    for option in fields.list(KnownName::Connection) {
        // The usual options are removed, or mean nothing, anyway.
        if option.eq_ignore_ascii_case(b"close") || KnownName::lookup(option).is_some_and(KnownName::is_hop_by_hop) {
            continue;
        }
        count += 1;
        nominated.extend_from_slice(option);
        nominated.push(b',');
    }
    if count > MOST_NOMINATED {
        return Err(TooManyNominated);
    }
    fields.retain(|name, _| match name.known {
        Some(known) if HOP_BY_HOP.contains(known) => false,
        _ => nominated.is_empty() || !nominated.split(|&byte| byte == b',').any(|n| n.eq_ignore_ascii_case(name.text)),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
        }
        fields
    }

    fn left(list: &[(&str, &str)]) -> Vec<String> {
        let mut fields = fields(list);
        strip(&mut fields, &mut Vec::new()).unwrap();
        fields.iter().map(|(name, _)| String::from_utf8_lossy(name.text).into_owned()).collect()
    }

    #[test]
    fn nominated_fields_go_in_every_case() {
        let list = [
            ("Connection", "keep-alive, X-SECRET"),
            ("connection", "Te,x-b"),
            ("x-secret", "1"),
            ("X-B", "2"),
            ("Accept", "*"),
        ];
        assert_eq!(left(&list), ["accept"]);
        assert_eq!(left(&[("Accept", "*"), ("X-Keep", "1")]), ["accept", "X-Keep"]);
    }

    #[test]
    fn every_hop_by_hop_name_goes() {
        for &name in KnownName::ALL {
            let kept = !left(&[(name.as_str(), "x")]).is_empty();
            assert_eq!(kept, !name.is_hop_by_hop(), "{name}");
            assert_eq!(HOP_BY_HOP.contains(name), name.is_hop_by_hop(), "{name}");
        }
    }

    #[test]
    fn nominating_without_end_is_refused() {
        let many = (0..40).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(strip(&mut fields(&[("connection", &many)]), &mut Vec::new()), Err(TooManyNominated));
    }
}
