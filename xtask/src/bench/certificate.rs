//! The certificate of the TLS listeners, made for this run only.

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::bench::supervise::Session;

/// PEM files: nginx and torana take two, haproxy one with both.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    pub(super) both: PathBuf,
}

/// ECDSA P-256, the usual choice of a new deployment.
pub(super) fn create(session: &Session) -> Outcome<Certificate> {
    let files =
        Certificate { chain: session.path("cert.pem"), key: session.path("key.pem"), both: session.path("both.pem") };
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out"])
        .arg(&files.chain)
        .arg("-keyout")
        .arg(&files.key)
        .output()
        .map_err(|e| format!("cannot start openssl: {e}"))?;
    if !output.status.success() {
        return Err(format!("openssl made no certificate: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let both = read(&files.chain)? + &read(&files.key)?;
    session.write("both.pem", &both)?;
    Ok(files)
}
