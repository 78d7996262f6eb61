//! TLS towards upstreams. The certificate of an upstream is always verified; there is no switch to turn it off.

use super::certs;
use super::{Built, CertificateFiles, MinVersion, TlsProblem, Which, provider};
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The TLS section of an upstream, paths resolved.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClientTlsSpec {
    /// PEM file of the authorities that may sign the upstream's certificate; `None`: those the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate shown to upstreams that ask for one.
    pub certificate: Option<CertificateFiles>,
    /// The name expected in the upstream's certificate and sent as SNI; `None`: the endpoint's host.
    pub server_name: Option<String>,
}

impl ClientTlsSpec {
    /// The files to watch for changes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.certificate.iter().flat_map(|pair| [pair.cert.as_path(), pair.key.as_path()]);
        pair.chain(self.ca.as_deref())
    }
}

/// Which protocols are offered to an upstream (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Alpn {
    /// HTTP/2, or HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only. An upstream without ALPN negotiates nothing: check before speaking.
    Http2,
}

/// An upstream's TLS as it runs: immutable, shared by all workers.
///
/// Two of them compare equal if an upstream could not tell them apart: same authorities, same client
/// certificate, same name. Connection pools survive a reload where that holds.
pub struct ClientTls {
    server_name: Option<ServerName<'static>>,
    /// As written in the `ca` file; `None` for the system's, which are the same as long as the process lives.
    authorities: Option<Vec<CertificateDer<'static>>>,
    chain: Vec<CertificateDer<'static>>,
    /// By [`Alpn`].
    configs: [Arc<ClientConfig>; 3],
}

/// The name to verify an endpoint by could not be made out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a host name nor an address")]
pub struct InvalidServerName(pub String);

impl ClientTls {
    /// Builds from the files as they are now; returns `previous` itself, with its sessions, if nothing changed.
    ///
    /// # Errors
    /// Everything that keeps the section from being used, warnings included.
    pub fn build(spec: &ClientTlsSpec, previous: Option<&Arc<ClientTls>>) -> Result<Built<ClientTls>, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let server_name = match &spec.server_name {
            None => Some(None),
            Some(name) => match parse_name(name) {
                Ok(name) => Some(Some(name)),
                Err(error) => {
                    let problem = TlsProblem::error(Which::ServerName, "tls.bad_server_name", error.to_string());
                    problems.push(problem.hint("a name as in the upstream's certificate, without scheme and port"));
                    None
                }
            },
        };
        let trust = load_trust(spec, &mut problems);
        let identity = match &spec.certificate {
            None => Some(None),
            Some(files) => certs::load_identity(files, 0, &provider(), &mut problems).map(Some),
        };
        let (Some(server_name), Some((roots, authorities)), Some(identity)) = (server_name, trust, identity) else {
            return Err(problems);
        };
        let key = identity.map(|identity| identity.key);
        let chain = key.as_ref().map_or_else(Vec::new, |key| key.cert.clone());
        let configs = match configure(roots, key) {
            Ok(configs) => configs,
            Err(error) => {
                let message = format!("TLS can not be set up: {error}");
                problems.push(TlsProblem::error(Which::Section, "tls.internal", message));
                return Err(problems);
            }
        };
        let built = ClientTls { server_name, authorities, chain, configs };
        let tls = match previous {
            Some(previous) if **previous == built => Arc::clone(previous),
            _ => Arc::new(built),
        };
        Ok(Built { tls, warnings: problems })
    }

    /// The configuration to connect with.
    #[must_use]
    pub fn config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let [auto, http1, http2] = &self.configs;
        Arc::clone(match alpn {
            Alpn::Auto => auto,
            Alpn::Http1 => http1,
            Alpn::Http2 => http2,
        })
    }

    /// The name to verify an endpoint by: the configured one, or `host` of its URL. An IPv6 address may be in
    /// brackets. For an address no SNI is sent and the certificate must hold the address.
    ///
    /// # Errors
    /// `host` is neither a name nor an address, such as the path of a Unix socket.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, InvalidServerName> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => parse_name(host),
        }
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        self.server_name == other.server_name && self.authorities == other.authorities && self.chain == other.chain
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .field("authorities", &self.authorities.as_ref().map(Vec::len))
            .field("certificate", &!self.chain.is_empty())
            .finish_non_exhaustive()
    }
}

/// Reads a host as it stands in a URL. A trailing dot is a matter of DNS, not of certificates (RFC 9525 §6.3).
fn parse_name(host: &str) -> Result<ServerName<'static>, InvalidServerName> {
    let invalid = || InvalidServerName(host.to_owned());
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(invalid)?,
        None => host.strip_suffix('.').unwrap_or(host),
    };
    ServerName::try_from(bare).map(|name| name.to_owned()).map_err(|_| invalid())
}

/// Whom to trust: the authorities of the `ca` file, or the system's.
fn load_trust(
    spec: &ClientTlsSpec,
    problems: &mut Vec<TlsProblem>,
) -> Option<(Arc<RootCertStore>, Option<Vec<CertificateDer<'static>>>)> {
    if let Some(ca) = &spec.ca {
        let (roots, authorities) = certs::load_roots(ca, problems)?;
        return Some((Arc::new(roots), Some(authorities)));
    }
    let roots = system_roots();
    if roots.is_empty() {
        let message = "this system has no certificate authorities to verify the upstream by";
        let problem = TlsProblem::error(Which::Section, "tls.no_system_roots", message);
        problems.push(problem.hint("install the package `ca-certificates`, or set `ca`"));
        return None;
    }
    Some((roots, None))
}

/// The authorities the system trusts: read when the first upstream needs them and kept as long as the process
/// lives, so that reloads neither cost their parsing nor close pools. `SSL_CERT_FILE` and `SSL_CERT_DIR` count.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        // Systems carry a few roots no verifier accepts; the others are what counts.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(load))
}

/// One configuration per [`Alpn`], in its order, with common sessions.
fn configure(
    roots: Arc<RootCertStore>,
    key: Option<Arc<CertifiedKey>>,
) -> Result<[Arc<ClientConfig>; 3], rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(MinVersion::Tls12.versions())?
        .with_root_certificates(roots);
    let mut config = match key {
        None => builder.with_no_client_auth(),
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
    };
    // For this many names of endpoints.
    config.resumption = Resumption::in_memory_sessions(64);
    let with = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    };
    Ok([with(&[b"h2", b"http/1.1"]), with(&[b"http/1.1"]), with(&[b"h2"])])
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
