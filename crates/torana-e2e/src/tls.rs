//! Certificates for one test, and what a TLS client needs.

use crate::client::Client;
use crate::dir::Dir;
use crate::stream::Stream;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;

/// An authority that signs for a test.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Signed {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Never on a working system.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "making a key is no default value")]
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.self_signed(&key).expect("an authority can sign itself");
        Authority { pem: cert.pem(), der: cert.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names, good for servers and clients.
    ///
    /// # Panics
    /// A name is invalid.
    #[must_use]
    pub fn sign(&self, names: &[&str]) -> Signed {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.signed_by(&key, &self.issuer).expect("an authority can sign");
        Signed { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// Writes `NAME.pem` and `NAME.key` for these names into `dir`.
    pub fn write(&self, dir: &Dir, file: &str, names: &[&str]) {
        let Signed { cert, key } = self.sign(names);
        dir.write(&format!("{file}.pem"), cert);
        dir.write(&format!("{file}.key"), key);
    }

    /// What a client needs that trusts this authority.
    ///
    /// # Panics
    /// Never on a working system.
    #[must_use]
    pub fn client(&self, identity: Option<&Signed>, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("an authority is a certificate");
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(signed) => {
                let cert = CertificateDer::from_pem_slice(signed.cert.as_bytes()).expect("it was just made");
                let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("it was just made");
                builder.with_client_auth_cert(vec![cert], key).expect("key and certificate fit")
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Connects with TLS, asking for `name`. The handshake happens with the first
/// bytes.
///
/// # Panics
/// Nobody listens.
#[must_use]
pub fn connect(config: &Arc<ClientConfig>, port: u16, name: &str) -> Client {
    let name = ServerName::try_from(name.to_owned()).expect("a valid name");
    let session = ClientConnection::new(config.clone(), name).expect("a valid configuration");
    let tcp = TcpStream::connect(("127.0.0.1", port)).expect("the gateway listens");
    Client::over(Stream::Tls(Box::new(StreamOwned::new(session, tcp))))
}

/// The names in the certificate that the gateway shows for `name`, as bytes to
/// compare.
///
/// # Panics
/// The handshake fails.
#[must_use]
pub fn shown_certificate(config: &Arc<ClientConfig>, port: u16, name: &str) -> Vec<u8> {
    let mut client = connect(config, port, name);
    let Stream::Tls(tls) = &mut client.reader.stream else { unreachable!("it was made with TLS") };
    let StreamOwned { conn, sock } = &mut **tls;
    while conn.is_handshaking() {
        conn.complete_io(sock).expect("the handshake succeeds");
    }
    let chain = conn.peer_certificates().expect("a server shows its certificate");
    chain.first().expect("a chain has a first certificate").to_vec()
}
