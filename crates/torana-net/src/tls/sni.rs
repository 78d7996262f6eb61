//! Which certificate a client gets, by the name it asks for (SNI, RFC 6066 §3).
//!
//! There is one table for every listener and one way to look up in it, so a name can not mean different things
//! in different places (CVE-2026-53622, CVE-2026-48491, CVE-2022-23632). Client authentication belongs to the
//! listener, not to a name: no choice made here weakens it.

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The certificates of a listener by name.
///
/// The order is: exact name, then a wildcard that stands for exactly one label (RFC 9525 §6.3), then, for a
/// client that sends no name or one that nobody has, the certificates in the order they were written. Among
/// several that fit, the first whose key the client can verify wins, so an ECDSA and an RSA certificate for the
/// same name can stand side by side.
pub struct SniTable {
    certificates: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
}

impl SniTable {
    /// A table of certificates and the names each is for, as [`super::x509::CertificateFacts::dns_names`] has
    /// them.
    pub(crate) fn new<'a>(entries: impl Iterator<Item = (Arc<CertifiedKey>, &'a [String])>) -> SniTable {
        let mut table = SniTable { certificates: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new() };
        for (position, (certificate, names)) in entries.enumerate() {
            table.certificates.push(certificate);
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut table.wildcard, suffix),
                    None => (&mut table.exact, name.as_str()),
                };
                map.entry(name.into()).or_default().push(position);
            }
        }
        table
    }

    /// Position of the certificate for a client that asks for `name` and verifies `schemes`.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<usize> {
        let usable = |position: &usize| {
            self.certificates.get(*position).is_some_and(|found| found.key.choose_scheme(schemes).is_some())
        };
        let name = name.map(normalise);
        let exact = name.as_deref().and_then(|name| self.exact.get(name));
        let wildcard =
            name.as_deref().and_then(|name| name.split_once('.')).and_then(|(_, suffix)| self.wildcard.get(suffix));
        let named = || exact.into_iter().chain(wildcard).flatten().copied();
        if exact.is_some() || wildcard.is_some() {
            // With no usable key the handshake fails, as it should: another name's certificate would not help.
            return named().find(usable);
        }
        (0..self.certificates.len()).find(usable)
    }
}

impl ResolvesServerCert for SniTable {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let position = self.choose(hello.server_name(), hello.signature_schemes())?;
        self.certificates.get(position).cloned()
    }
}

impl fmt::Debug for SniTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniTable").field("exact", &self.exact).field("wildcard", &self.wildcard).finish_non_exhaustive()
    }
}

/// A server name in the one form it is compared in: lower case, without trailing dot.
#[must_use]
pub fn normalise(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
#[path = "sni_tests.rs"]
mod tests;
