//! TLS on both sides: what clients see of us ([`server`]) and what we accept from upstreams ([`client`]).
//!
//! This module is the only one that builds rustls configurations, so that a new major version of rustls is a
//! change in one folder. There is one crypto provider, aws-lc-rs, passed explicitly: nothing here reads or
//! installs a process-wide default.
//!
//! Everything built here is immutable. A reload builds anew, from the files as they are then, and gets the
//! previous object back where nothing changed; see [`Built`].

pub mod certs;
pub mod client;
pub mod server;
pub mod sni;
#[cfg(test)]
pub(crate) mod testing;
pub mod x509;

use rustls::crypto::CryptoProvider;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use torana_core::diagnostic::Severity;

/// What was built from a spec and the files it names.
#[derive(Debug)]
pub struct Built<T> {
    /// The object; the previous one, the very same `Arc`, where the contents did not change.
    pub tls: Arc<T>,
    /// What is probably not as meant, although it works: severity [`Severity::Warning`] throughout.
    pub warnings: Vec<TlsProblem>,
}

/// Something wrong with the files or names of a TLS section.
///
/// Texts follow the style of [`torana_core::diagnostic::Diagnostic`] and never contain what a file holds,
/// only its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// Whether the section can not be used or is only suspicious.
    pub severity: Severity,
    /// Stable name of the kind of problem, such as `tls.key_mismatch`.
    pub code: &'static str,
    /// Which part of the section to point at.
    pub which: Which,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The part of a TLS section a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The section as a whole.
    Section,
    /// Certificate file of the entry at this position of `certificates`; of the client certificate (position
    /// 0) for an upstream.
    Certificate(usize),
    /// Key file of the entry at this position; of the client certificate (position 0) for an upstream.
    Key(usize),
    /// The file of certificate authorities.
    Ca,
    /// The name expected in an upstream's certificate.
    ServerName,
}

impl TlsProblem {
    pub(crate) fn error(which: Which, code: &'static str, message: impl Into<String>) -> TlsProblem {
        TlsProblem { severity: Severity::Error, code, which, message: message.into(), hint: None }
    }

    pub(crate) fn warning(which: Which, code: &'static str, message: impl Into<String>) -> TlsProblem {
        TlsProblem { severity: Severity::Warning, ..TlsProblem::error(which, code, message) }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> TlsProblem {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// A certificate chain and its private key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain: the certificate itself first, then its intermediates.
    pub cert: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// The oldest protocol version accepted. TLS 1.0 and 1.1 do not exist here (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246) with forward secrecy and AEAD only, and TLS 1.3 (RFC 8446).
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl MinVersion {
    pub(crate) fn versions(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        static TLS13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        static TLS12: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            MinVersion::Tls12 => &TLS12,
            MinVersion::Tls13 => &TLS13,
        }
    }
}

/// The one crypto provider: aws-lc-rs with its default suites and the hybrid post-quantum key exchange
/// X25519MLKEM768 preferred (feature `prefer-post-quantum` of rustls).
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}
