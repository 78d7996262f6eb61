//! TLS towards clients.

use super::certs::{self, Identity};
use super::sni::{self, SniTable};
use super::x509::CertificateFacts;
use super::{Built, CertificateFiles, MinVersion, TlsProblem, Which, provider};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use torana_core::exchange::Tls;

/// The TLS section of a listener, paths resolved.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerTlsSpec {
    /// Certificates in order of preference; see [`SniTable`] for which one a client gets.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest protocol version accepted.
    pub min_version: MinVersion,
    /// Whether clients present certificates; `None` does not ask for one.
    pub client_auth: Option<ClientAuthSpec>,
    /// Whether HTTP/2 is offered (ALPN `h2`) besides HTTP/1.1.
    pub http2: bool,
}

/// How clients prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthSpec {
    /// PEM file of the authorities that sign client certificates.
    pub ca: PathBuf,
    /// Refuse clients without a certificate. A certificate that does not verify is refused in any case.
    pub required: bool,
}

impl ServerTlsSpec {
    /// The files to watch for changes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.certificates.iter().flat_map(|pair| [pair.cert.as_path(), pair.key.as_path()]);
        pairs.chain(self.client_auth.as_ref().map(|auth| auth.ca.as_path()))
    }
}

/// A listener's TLS as it runs: immutable, shared by all workers.
///
/// Two of them compare equal if a client could not tell them apart: same certificates, same policy. Where the
/// files lie does not matter.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificates: Vec<ServedCertificate>,
    min_version: MinVersion,
    http2: bool,
    client_policy: ClientPolicy,
}

/// A certificate of a listener, for status pages and expiry alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedCertificate {
    /// Names and dates.
    pub facts: CertificateFacts,
    /// The chain in DER, leaf first.
    chain: Vec<CertificateDer<'static>>,
}

/// Who is let in. Sessions resume only under the policy they began under (CVE-2025-23419, CVE-2025-68121): a
/// resumed handshake does not verify the client's certificate again. Ticket keys live 12 hours at most, and so does
/// a client whose certificate expired in the meantime.
#[derive(PartialEq, Eq)]
enum ClientPolicy {
    Anonymous,
    Certificate { authorities: Vec<CertificateDer<'static>>, required: bool },
}

impl ServerTls {
    /// Builds from the files as they are now. With `previous`, the TLS of the same listener before a reload, it
    /// returns that very object if nothing changed, and otherwise keeps its ticket keys if the policy for client
    /// certificates is the same, so that clients can still resume.
    ///
    /// # Errors
    /// Everything that keeps the section from being used, warnings included.
    pub fn build(spec: &ServerTlsSpec, previous: Option<&Arc<ServerTls>>) -> Result<Built<ServerTls>, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let identities = load_identities(spec, &mut problems);
        let client = load_client_policy(spec, &mut problems);
        let (Some(identities), Some((client_policy, verifier))) = (identities, client) else {
            return Err(problems);
        };
        let same_policy = previous.filter(|previous| previous.client_policy == client_policy);
        let ticketer = match same_policy {
            Some(previous) => Ok(Arc::clone(&previous.config.ticketer)),
            None => Ticketer::new(),
        };
        let config = ticketer.and_then(|ticketer| configure(spec, &identities, verifier, ticketer));
        let config = match config {
            Ok(config) => Arc::new(config),
            Err(error) => {
                // No random numbers, or a provider without TLS 1.3: not the doing of any file.
                let message = format!("TLS can not be set up: {error}");
                problems.push(TlsProblem::error(Which::Section, "tls.internal", message));
                return Err(problems);
            }
        };
        let built = ServerTls {
            config,
            certificates: identities.into_iter().map(ServedCertificate::from).collect(),
            min_version: spec.min_version,
            http2: spec.http2,
            client_policy,
        };
        let tls = match previous {
            Some(previous) if **previous == built => Arc::clone(previous),
            _ => Arc::new(built),
        };
        Ok(Built { tls, warnings: problems })
    }

    /// The configuration to accept connections with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The certificates, in the order they were written.
    #[must_use]
    pub fn certificates(&self) -> &[ServedCertificate] {
        &self.certificates
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &ServerTls) -> bool {
        self.certificates == other.certificates
            && self.min_version == other.min_version
            && self.http2 == other.http2
            && self.client_policy == other.client_policy
    }
}

impl Eq for ServerTls {}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts: Vec<_> = self.certificates.iter().map(|certificate| &certificate.facts).collect();
        f.debug_struct("ServerTls")
            .field("certificates", &facts)
            .field("min_version", &self.min_version)
            .field("http2", &self.http2)
            .field("client_policy", &self.client_policy)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientPolicy::Anonymous => f.write_str("Anonymous"),
            ClientPolicy::Certificate { authorities, required } => f
                .debug_struct("Certificate")
                .field("authorities", &authorities.len())
                .field("required", required)
                .finish(),
        }
    }
}

impl From<Identity> for ServedCertificate {
    fn from(identity: Identity) -> ServedCertificate {
        ServedCertificate { facts: identity.facts, chain: identity.key.cert.clone() }
    }
}

/// Loads every certificate of the section, noting what is wrong with any of them.
fn load_identities(spec: &ServerTlsSpec, problems: &mut Vec<TlsProblem>) -> Option<Vec<Identity>> {
    if spec.certificates.is_empty() {
        let problem = TlsProblem::error(Which::Section, "tls.no_certificate", "TLS needs at least one certificate");
        problems.push(problem.hint("add `certificates: [ { cert: FILE, key: FILE } ]`"));
        return None;
    }
    let provider = provider();
    let mut identities = Vec::new();
    for (position, files) in spec.certificates.iter().enumerate() {
        let Some(identity) = certs::load_identity(files, position, &provider, problems) else { continue };
        check_names(&identity.facts, files, position, problems);
        identities.push(identity);
    }
    (identities.len() == spec.certificates.len()).then_some(identities)
}

/// Warns about names no client can be served by.
fn check_names(facts: &CertificateFacts, files: &CertificateFiles, position: usize, problems: &mut Vec<TlsProblem>) {
    let which = Which::Certificate(position);
    let path = files.cert.display();
    if facts.unusable_names > 0 {
        let message = format!("the certificate `{path}` has {} names that are no host names", facts.unusable_names);
        let problem = TlsProblem::warning(which, "tls.unusable_name", message);
        problems.push(problem.hint("they are ignored; `openssl x509 -noout -ext subjectAltName -in FILE` shows them"));
    }
    // A certificate for an address is of use only where clients without SNI end up: in the first place.
    let reachable_by_address = position == 0 && facts.has_ip_name;
    if facts.dns_names.is_empty() && !reachable_by_address {
        let message = format!("the certificate `{path}` has no DNS name in its subjectAltName");
        let problem = TlsProblem::warning(which, "tls.no_dns_name", message);
        problems.push(problem.hint("clients ignore the common name; issue it with a subjectAltName"));
    }
}

/// Who is let in, and the verifier that sees to it.
fn load_client_policy(
    spec: &ServerTlsSpec,
    problems: &mut Vec<TlsProblem>,
) -> Option<(ClientPolicy, Arc<dyn ClientCertVerifier>)> {
    let Some(auth) = &spec.client_auth else {
        return Some((ClientPolicy::Anonymous, WebPkiClientVerifier::no_client_auth()));
    };
    let (roots, authorities) = certs::load_roots(&auth.ca, problems)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if auth.required { builder } else { builder.allow_unauthenticated() };
    match builder.build() {
        Ok(verifier) => Some((ClientPolicy::Certificate { authorities, required: auth.required }, verifier)),
        Err(error) => {
            let message = format!("the authorities of `{}` can not be used: {error}", auth.ca.display());
            problems.push(TlsProblem::error(Which::Ca, "tls.bad_ca", message));
            None
        }
    }
}

/// Puts a rustls configuration together.
fn configure(
    spec: &ServerTlsSpec,
    identities: &[Identity],
    verifier: Arc<dyn ClientCertVerifier>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let table = SniTable::new(identities.iter().map(|one| (Arc::clone(&one.key), one.facts.dns_names.as_slice())));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(spec.min_version.versions())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(table));
    // `http/1.0` is what `curl --http1.0` offers; without it the handshake would be refused (RFC 7301 §3.2).
    let protocols: &[&[u8]] = if spec.http2 { &[b"h2", b"http/1.1", b"http/1.0"] } else { &[b"http/1.1", b"http/1.0"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Tickets only (RFC 5077, RFC 8446 §4.6.1): nothing is kept per session and nothing is locked for one.
    config.ticketer = ticketer;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // 0-RTT data can be replayed (RFC 8446 §8): none is accepted.
    config.max_early_data_size = 0;
    Ok(config)
}

/// What a finished handshake settled.
#[must_use]
pub fn facts(connection: &ServerConnection) -> Tls {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        // Nothing older than TLS 1.2 is ever negotiated.
        _ => "TLSv1.2",
    };
    let chain = connection.peer_certificates().unwrap_or_default();
    Tls {
        version,
        server_name: connection.server_name().map(|name| sni::normalise(name).into()),
        client_chain: chain.iter().map(|certificate| Arc::from(certificate.as_ref())).collect(),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
