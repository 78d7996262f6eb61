//! Reading certificates and keys from files, with errors a person can act on.
//!
//! Contents of files never appear in a message: a key given where a certificate belongs would end up in a log.

use super::x509::{self, CertificateFacts};
use super::{CertificateFiles, TlsProblem, Which};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Largest file read, in bytes. Bundles of every public authority are a quarter of a megabyte.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// A certificate with its key, ready to be used.
pub(crate) struct Identity {
    /// Chain and key for rustls.
    pub(crate) key: Arc<CertifiedKey>,
    /// What the certificate says about itself.
    pub(crate) facts: CertificateFacts,
}

/// Loads a certificate and its key; on failure everything wrong with the two is in `problems`.
pub(crate) fn load_identity(
    files: &CertificateFiles,
    position: usize,
    provider: &CryptoProvider,
    problems: &mut Vec<TlsProblem>,
) -> Option<Identity> {
    let (cert_at, key_at) = (Which::Certificate(position), Which::Key(position));
    let chain = keep(load_certificates(&files.cert, cert_at), problems);
    let key = keep(load_key(&files.key, key_at), problems);
    let chain = chain?;
    let Some(facts) = chain.first().and_then(|leaf| x509::facts(leaf)) else {
        let message = format!("`{}` holds no readable X.509 certificate", files.cert.display());
        problems.push(TlsProblem::error(cert_at, "tls.bad_certificate", message));
        return None;
    };
    expiry(&facts, &files.cert, cert_at, problems);
    let key = match provider.key_provider.load_private_key(key?) {
        Ok(key) => key,
        Err(_) => {
            let message = format!("`{}` holds no private key of a usable kind", files.key.display());
            let hint = "use an RSA key of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519";
            problems.push(TlsProblem::error(key_at, "tls.bad_key", message).hint(hint));
            return None;
        }
    };
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            problems.push(mismatch(&identity, files, key_at));
            return None;
        }
        Err(_) => {
            let message = format!("`{}` is not a certificate rustls can use", files.cert.display());
            problems.push(TlsProblem::error(cert_at, "tls.bad_certificate", message));
            return None;
        }
    }
    Some(Identity { key: Arc::new(identity), facts })
}

/// The problem of a key that is not the key of the first certificate of the chain.
fn mismatch(identity: &CertifiedKey, files: &CertificateFiles, which: Which) -> TlsProblem {
    let belongs_to_later = (1..identity.cert.len()).any(|position| {
        let chain = identity.cert.iter().skip(position).cloned().collect();
        CertifiedKey::new(chain, Arc::clone(&identity.key)).keys_match().is_ok()
    });
    let (cert, key) = (files.cert.display(), files.key.display());
    let problem = TlsProblem::error(
        which,
        "tls.key_mismatch",
        format!("the key `{key}` does not belong to the certificate `{cert}`"),
    );
    problem.hint(if belongs_to_later {
        "the key belongs to a later certificate of the file; put that one first, then its issuers"
    } else {
        "compare `openssl x509 -noout -pubkey -in CERT` with `openssl pkey -pubout -in KEY`"
    })
}

/// Warns if a certificate is not valid now.
fn expiry(facts: &CertificateFacts, path: &Path, which: Which, problems: &mut Vec<TlsProblem>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let path = path.display();
    if facts.not_after < now {
        let message = format!("the certificate `{path}` expired on {}", x509::date(facts.not_after));
        problems.push(TlsProblem::warning(which, "tls.expired", message).hint("renew it; clients will refuse it"));
    } else if facts.not_before > now {
        let message = format!("the certificate `{path}` is not valid before {}", x509::date(facts.not_before));
        problems.push(TlsProblem::warning(which, "tls.not_yet_valid", message).hint("check the clock of this machine"));
    }
}

/// The certificates of a PEM file, at least one. Other sections are skipped.
pub(crate) fn load_certificates(path: &Path, which: Which) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let text = read(path, which)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(no_section(path, which, &text, "certificate", "CERTIFICATE")),
        Err(error) => Err(not_pem(path, which, &error)),
    }
}

/// The first private key of a PEM file.
fn load_key(path: &Path, which: Which) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let text = read(path, which)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(no_section(path, which, &text, "private key", "PRIVATE KEY")),
        Err(error) => Err(not_pem(path, which, &error)),
    }
}

/// Certificate authorities of a PEM file: as trust anchors, and as they were written, to compare contents by.
pub(crate) fn load_roots(
    path: &Path,
    problems: &mut Vec<TlsProblem>,
) -> Option<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let certificates = keep(load_certificates(path, Which::Ca), problems)?;
    let mut roots = RootCertStore::empty();
    for (position, certificate) in certificates.iter().enumerate() {
        if roots.add(certificate.clone()).is_err() {
            let message =
                format!("certificate {} of `{}` can not be used as an authority", position + 1, path.display());
            problems.push(TlsProblem::error(Which::Ca, "tls.bad_ca", message));
            return None;
        }
    }
    Some((roots, certificates))
}

/// Takes the value, or notes the problem.
pub(crate) fn keep<T>(result: Result<T, TlsProblem>, problems: &mut Vec<TlsProblem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// The contents of a regular file of bounded size. A pipe or device would block or never end.
fn read(path: &Path, which: Which) -> Result<Vec<u8>, TlsProblem> {
    let unreadable = |error: &io::Error| {
        let message = format!("can not read `{}`: {}", path.display(), plain(error));
        let problem = TlsProblem::error(which, "tls.unreadable", message);
        match error.kind() {
            io::ErrorKind::NotFound => problem.hint("check the path; it is relative to the configuration file"),
            io::ErrorKind::PermissionDenied => problem.hint("let the user torana runs as read it"),
            _ => problem,
        }
    };
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        let message = format!("`{}` is not a file", path.display());
        return Err(TlsProblem::error(which, "tls.unreadable", message));
    }
    let mut contents = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(MAX_FILE + 1).read_to_end(&mut contents).map_err(|error| unreadable(&error))?;
    if contents.len() as u64 > MAX_FILE {
        let message = format!("`{}` is larger than 8 MiB", path.display());
        return Err(TlsProblem::error(which, "tls.unreadable", message));
    }
    Ok(contents)
}

/// An I/O error without the number of the system's error code.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The problem of a file that is damaged PEM. Of the error only its kind is told: the rest may quote the file.
fn not_pem(path: &Path, which: Which, error: &pem::Error) -> TlsProblem {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no `-----END` line",
        pem::Error::IllegalSectionStart { .. } => "a `-----BEGIN` line is malformed",
        pem::Error::Base64Decode(_) => "a section is not valid base64",
        _ => "it could not be decoded",
    };
    let message = format!("`{}` is not valid PEM: {what}", path.display());
    TlsProblem::error(which, "tls.not_pem", message).hint("was the file cut off while it was copied?")
}

/// The problem of a file without the section that is needed, with a guess at what it is instead.
fn no_section(path: &Path, which: Which, text: &[u8], what: &str, section: &str) -> TlsProblem {
    let path = path.display();
    let has = |needle: &str| text.windows(needle.len()).any(|window| window == needle.as_bytes());
    let hint = if has("ENCRYPTED") {
        format!("the key is encrypted; decrypt it with `openssl pkey -in {path} -out new.key`")
    } else if has("PRIVATE KEY-----") {
        "the file holds a private key; are `cert` and `key` swapped?".to_owned()
    } else if has("BEGIN CERTIFICATE-----") {
        "the file holds a certificate; are `cert` and `key` swapped?".to_owned()
    } else if text.first() == Some(&0x30) {
        let command = if what == "certificate" { "x509" } else { "pkey" };
        format!("the file looks like DER; convert it with `openssl {command} -inform der -in {path} -out new.pem`")
    } else {
        format!("PEM is expected: a text with the line `-----BEGIN {section}-----`")
    };
    TlsProblem::error(which, "tls.not_pem", format!("`{path}` holds no {what} in PEM")).hint(hint)
}

#[cfg(test)]
#[path = "certs_tests.rs"]
mod tests;
