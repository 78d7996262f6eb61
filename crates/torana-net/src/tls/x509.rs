//! The little of X.509 a gateway has to read itself: until when a certificate is valid and which names it is for.
//!
//! rustls and webpki decide whom to *trust*; they do not tell the names and dates of our own certificates. This
//! is a walk over DER (ITU-T X.690) down to two fields of RFC 5280 §4.1, bounded by its input, never recursive,
//! and used on files of the operator only: nothing here takes part in verifying a peer.

use torana_core::civil::Date;

/// What a certificate says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Names of type dNSName in its subjectAltName, in order: lower case, without trailing dot. A wildcard is
    /// `*.` and at least one label. The common name is not a name (RFC 9525 §2).
    pub dns_names: Vec<String>,
    /// How many dNSNames were left out because they are no host names: a NUL, an inner `*`, non-ASCII.
    pub unusable_names: usize,
    /// Whether the subjectAltName holds an IP address.
    pub has_ip_name: bool,
    /// First second of validity, in seconds since 1970-01-01T00:00:00Z.
    pub not_before: i64,
    /// Last second of validity, in seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT Version` of a TBSCertificate.
const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT Extensions` of a TBSCertificate.
const EXTENSIONS: u8 = 0xa3;
/// `[2] IMPLICIT IA5String` of a GeneralName: dNSName.
const DNS_NAME: u8 = 0x82;
/// `[7] IMPLICIT OCTET STRING` of a GeneralName: iPAddress.
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Reads the facts of a certificate in DER; `None` if it is not one.
#[must_use]
pub fn facts(der: &[u8]) -> Option<CertificateFacts> {
    let mut certificate = Reader(Reader(der).read(SEQUENCE)?);
    let mut tbs = Reader(certificate.read(SEQUENCE)?);
    tbs.read_if(VERSION);
    tbs.read(INTEGER)?; // serialNumber
    tbs.read(SEQUENCE)?; // signature
    tbs.read(SEQUENCE)?; // issuer
    let mut validity = Reader(tbs.read(SEQUENCE)?);
    let not_before = validity.time()?;
    let not_after = validity.time()?;
    tbs.read(SEQUENCE)?; // subject
    tbs.read(SEQUENCE)?; // subjectPublicKeyInfo
    let mut facts =
        CertificateFacts { dns_names: Vec::new(), unusable_names: 0, has_ip_name: false, not_before, not_after };
    // issuerUniqueID and subjectUniqueID, which nobody uses, may come first.
    while let Some((tag, content)) = tbs.next() {
        if tag == EXTENSIONS {
            let mut extensions = Reader(Reader(content).read(SEQUENCE)?);
            while !extensions.0.is_empty() {
                extension(extensions.read(SEQUENCE)?, &mut facts)?;
            }
        }
    }
    tbs.0.is_empty().then_some(facts)
}

/// Reads one Extension and, if it is the subjectAltName, its names.
fn extension(der: &[u8], facts: &mut CertificateFacts) -> Option<()> {
    let mut extension = Reader(der);
    if extension.read(OID)? != SUBJECT_ALT_NAME {
        return Some(());
    }
    extension.read_if(BOOLEAN);
    let mut names = Reader(Reader(extension.read(OCTET_STRING)?).read(SEQUENCE)?);
    while !names.0.is_empty() {
        match names.next()? {
            (DNS_NAME, name) => match host_name(name) {
                Some(name) if facts.dns_names.contains(&name) => {}
                Some(name) => facts.dns_names.push(name),
                None => facts.unusable_names += 1,
            },
            (IP_ADDRESS, _) => facts.has_ip_name = true,
            _ => {}
        }
    }
    Some(())
}

/// A dNSName in the form it is looked up in; `None` for what no client can ask for. Cutting a name off at a NUL
/// is what CVE-2025-66220 was about.
fn host_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let host = name.strip_prefix("*.").unwrap_or(name);
    rustls_pki_types::DnsName::try_from(host).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    Some(name.to_ascii_lowercase())
}

/// What is left of a run of DER values.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Tag and content of the next value. Only single-byte tags and definite lengths in their shortest form, as
    /// DER has them (X.690 §10.1).
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 || bytes.first() == Some(&0) {
                return None;
            }
            let length = bytes.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
            if length < 0x80 {
                return None;
            }
            (length, rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Content of the next value, which must have this tag.
    fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// Skips the next value if it has this tag.
    fn read_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }

    /// A Time (RFC 5280 §4.1.2.5) in seconds since 1970.
    fn time(&mut self) -> Option<i64> {
        let (tag, text) = self.next()?;
        let (year, rest) = match tag {
            // Two digits: 50 and up are the last century.
            UTC_TIME => {
                let (year, rest) = digits(text, 2)?;
                (if year >= 50 { 1900 + year } else { 2000 + year }, rest)
            }
            GENERALIZED_TIME => digits(text, 4)?,
            _ => return None,
        };
        let (month, rest) = digits(rest, 2)?;
        let (day, rest) = digits(rest, 2)?;
        let (hour, rest) = digits(rest, 2)?;
        let (minute, rest) = digits(rest, 2)?;
        let (second, rest) = digits(rest, 2)?;
        let sound = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60
            && rest == b"Z";
        let date = Date { year: year.try_into().ok()?, month: month.try_into().ok()?, day: day.try_into().ok()? };
        sound.then(|| date.days() * 86_400 + hour * 3_600 + minute * 60 + second)
    }
}

/// A number of `count` decimal digits, and what follows.
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    let mut value = 0;
    for &digit in number {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some((value, rest))
}

/// A day as `2026-11-22`, from seconds since 1970: how dates are shown in diagnostics.
#[must_use]
pub fn date(seconds: i64) -> String {
    Date::from_days(seconds.div_euclid(86_400)).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Authority;
    use super::*;
    use proptest::prelude::*;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use std::sync::OnceLock;

    fn sample() -> CertificateDer<'static> {
        let names = ["A.Example", "*.B.example", "10.0.0.1", "a.example"];
        let edit = |params: &mut rcgen::CertificateParams| {
            params.not_before = rcgen::date_time_ymd(1970, 1, 1);
            params.not_after = rcgen::date_time_ymd(2050, 3, 1);
        };
        let (pem, _) = Authority::new("x").issue_with(&names, &rcgen::PKCS_ECDSA_P256_SHA256, edit);
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn names_and_dates_are_read() {
        let facts = facts(&sample()).unwrap();
        assert_eq!(facts.dns_names, ["a.example", "*.b.example"]);
        assert_eq!((facts.unusable_names, facts.has_ip_name), (0, true));
        // The second is beyond UTCTime and therefore a GeneralizedTime.
        assert_eq!((facts.not_before, facts.not_after), (0, 2_529_705_600));
        assert_eq!((date(facts.not_before), date(facts.not_after)), ("1970-01-01".into(), "2050-03-01".into()));
    }

    #[test]
    fn host_names() {
        let read = |name: &str| host_name(name.as_bytes());
        assert_eq!(read("A.b.").as_deref(), Some("a.b"));
        assert_eq!(read("*.b").as_deref(), Some("*.b"));
        for name in ["", ".", "*", "*.", "*.*.b", "a.*.b", "a*.b", "*a.b", "a.b\0", "a\0.b", "10.0.0.1", "\u{fc}.b"] {
            assert_eq!(read(name), None, "{name:?}");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let der = sample();
        for end in 0..der.len() {
            assert_eq!(facts(&der[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            noise in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = facts(&noise);
            static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
            let mut der = SAMPLE.get_or_init(|| sample().to_vec()).clone();
            for (at, byte) in edits {
                let at = at.index(der.len());
                der[at] = byte;
            }
            let _ = facts(&der);
        }
    }
}
