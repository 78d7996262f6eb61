//! An authority, files and handshakes in memory for the tests of TLS.

use super::server::{ClientAuthSpec, ServerTls, ServerTlsSpec};
use super::{CertificateFiles, MinVersion, provider};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SignatureAlgorithm};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own, removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torana-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A certificate for `names`, and its key; in PEM.
    pub(crate) fn issue(&self, names: &[&str]) -> (String, String) {
        self.issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        edit(&mut params);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// The same as files `<name>.pem` and `<name>.key`.
    pub(crate) fn files(&self, scratch: &Scratch, name: &str, names: &[&str]) -> CertificateFiles {
        save(scratch, name, &self.issue(names))
    }
}

pub(crate) fn save(scratch: &Scratch, name: &str, (cert, key): &(String, String)) -> CertificateFiles {
    CertificateFiles {
        cert: scratch.write(&format!("{name}.pem"), cert),
        key: scratch.write(&format!("{name}.key"), key),
    }
}

/// The first certificate of a file.
pub(crate) fn der(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

pub(crate) fn spec(certificates: Vec<CertificateFiles>) -> ServerTlsSpec {
    ServerTlsSpec { certificates, http2: true, ..ServerTlsSpec::default() }
}

pub(crate) fn with_client_auth(spec: &ServerTlsSpec, ca: PathBuf, required: bool) -> ServerTlsSpec {
    ServerTlsSpec { client_auth: Some(ClientAuthSpec { ca, required }), ..spec.clone() }
}

/// What `build` gives where nothing is wrong.
pub(crate) fn build(spec: &ServerTlsSpec) -> Arc<ServerTls> {
    rebuild(spec, None)
}

pub(crate) fn rebuild(spec: &ServerTlsSpec, previous: Option<&Arc<ServerTls>>) -> Arc<ServerTls> {
    let built = ServerTls::build(spec, previous).unwrap();
    assert_eq!(built.warnings, Vec::new());
    built.tls
}

/// A client that trusts `authority`, shows `identity` if asked, and keeps its sessions.
pub(crate) fn client(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    identity: Option<&CertificateFiles>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots());
    match identity {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            builder.with_client_auth_cert(vec![der(&files.cert)], key).unwrap()
        }
    }
}

pub(crate) fn any_version() -> &'static [&'static rustls::SupportedProtocolVersion] {
    MinVersion::Tls12.versions()
}

/// Both ends of a finished handshake.
pub(crate) struct Handshake {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

impl Handshake {
    pub(crate) fn resumed(&self) -> bool {
        self.server.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate the client was shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.client.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(crate) fn alpn(&self) -> Option<String> {
        self.server.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
    }
}

/// Shakes hands in memory, including what TLS 1.3 sends afterwards: tickets, and the refusal of a certificate.
pub(crate) fn shake(
    server: Arc<rustls::ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Handshake, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(server)?;
    while client.wants_write() || server.wants_write() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        // In pieces: nothing may depend on a ClientHello arriving at once (CVE-2026-32305).
        for mut piece in flight.chunks(100) {
            while !piece.is_empty() {
                server.read_tls(&mut piece).unwrap();
                server.process_new_packets()?;
            }
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut flight = flight.as_slice();
        while !flight.is_empty() {
            client.read_tls(&mut flight).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Handshake { client, server })
}
