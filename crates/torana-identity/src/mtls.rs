//! Client certificates: who the caller is, by the certificate of its connection.
//!
//! TLS has verified it against the authorities of the listener; which of those
//! certificates count here is for the route to say.

use crate::unix_now;
use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use torana_core::consumer::{Consumer, NotHere};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::exchange::{Exchange, Tls};
use torana_core::identity::Identity;
use torana_core::names::{HeaderName, is_value_byte};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reserved;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::Verdict;
use torana_core::welcome::Welcome;
use torana_core::written::{OneOrMany, Spanned, Written};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

#[cfg(test)]
mod tests;

torana_core::refusals! {
    /// The connection has no client certificate.
    MISSING = "mtls.missing" 403 Caller Never "A client certificate is required.";
    /// The certificate is none that counts here; what callers are told of all that follow.
    REFUSED = "mtls.refused" 403 Caller Never "The client certificate is not accepted.";
    /// It does not come from the authorities of the route.
    UNTRUSTED = "mtls.untrusted" 403 Caller Never "The certificate's authority is not accepted here." as REFUSED;
    /// It ended while the connection was open, or does not hold yet.
    EXPIRED = "mtls.expired" 403 Caller Never "The certificate does not hold at this time." as REFUSED;
    /// It cannot be read, or holds what cannot be told in a header.
    UNREADABLE = "mtls.unreadable" 403 Caller Never "The certificate cannot be read." as REFUSED;
    /// Its consumer is switched off, or may not use this route, or not from this address.
    NOT_HERE = "mtls.not_here" 403 Caller Never "The certificate is not valid here." as REFUSED;
    /// The connection was made for another host than the request is for.
    MISDIRECTED = "mtls.misdirected" 421 Caller Never "The connection is for another host.";
}

/// Admits callers by the certificate of their TLS connection.
///
/// The listener has to ask for certificates (`tls.client_auth`) and has verified them; with `mode: optional` there, it is
/// this policy that demands one, route by route. A certificate that ends while its connection is open counts no longer. A
/// request for another host than its connection was made for (SNI) is refused with 421. The caller is the consumer that
/// has one of the certificate's names, or else the certificate itself by its first name: URI, DNS name, common name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Authorities that certificates have to come from on this route, as PEM text: `${file:partners.pem}`. Intermediate
    /// certificates are taken from the connection. Default: those of the listener.
    #[serde(default)]
    pub ca: Option<Spanned<String>>,
    /// Names of which a certificate needs one: `cn:` and a common name, `dns:` and a DNS name, where `*.` stands for one
    /// label, `uri:` and a URI, where a `*` at the end stands for any rest (SPIFFE), or `sha256:` and the fingerprint.
    /// Default: any certificate.
    #[serde(default)]
    pub allow: OneOrMany<Spanned<String>>,
    /// Whether only certificates of `consumers` count. Default `false`.
    #[serde(default)]
    pub require_consumer: bool,
    /// Whether requests without a certificate are let through, without an identity. Default `false`.
    #[serde(default)]
    pub optional: bool,
    /// Headers that tell upstreams about the certificate: from `subject`, `common_name`, `dns`, `uri`, `serial`, `sha256`
    /// or `not_after` to the name of a header. What clients send under these names is removed on every route.
    #[serde(default)]
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// The plan of consumers that have none. Default: none.
    #[serde(default)]
    pub default_plan: Option<Spanned<String>>,
    /// A header that tells upstreams the name of the consumer, such as `X-Consumer`. Default: none.
    #[serde(default)]
    pub consumer_header: Option<Spanned<String>>,
}

const FACTS: [&str; 7] = ["subject", "common_name", "dns", "uri", "serial", "sha256", "not_after"];

/// Certificates whose facts are remembered.
const MOST_KNOWN: usize = 1024;

/// The policy `mtls`.
pub struct Mtls {
    anchors: Option<Vec<TrustAnchor<'static>>>,
    allow: Vec<Pattern>,
    require_consumer: bool,
    optional: bool,
    /// Fact and header.
    headers: Vec<(&'static str, HeaderName)>,
    owned: Vec<HeaderName>,
    welcome: Welcome,
    known: Mutex<HashMap<[u8; 32], Arc<Certificate>>>,
}

/// What is known of a certificate.
#[derive(Debug)]
struct Certificate {
    /// `uri:`, `dns:`, `cn:` and `sha256:` with what stands there, in this order.
    names: Vec<String>,
    /// By the names of [`FACTS`].
    facts: Vec<(&'static str, String)>,
    not_before: i64,
    not_after: i64,
    /// Whether the authorities of the route vouch for it.
    is_trusted: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// `dns:` and what stands behind the first label, with its dot.
    Label(String),
    /// `uri:` and a beginning.
    Beginning(String),
}

impl Pattern {
    fn read(text: &str) -> Option<Pattern> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "dns" => match rest.strip_prefix("*.") {
                Some(base) if !base.is_empty() && !base.contains('*') => {
                    Some(Pattern::Label(format!(".{}", base.to_ascii_lowercase())))
                }
                None if !rest.is_empty() && !rest.contains('*') => {
                    Some(Pattern::Exact(format!("dns:{}", rest.to_ascii_lowercase())))
                }
                _ => None,
            },
            "uri" => match rest.strip_suffix('*') {
                // `spiffe://a*` would be `spiffe://another`, too.
                Some(start) if start.ends_with('/') && !start.ends_with("://") && !start.contains('*') => {
                    Some(Pattern::Beginning(format!("uri:{start}")))
                }
                None if !rest.is_empty() && !rest.contains('*') => Some(Pattern::Exact(text.to_owned())),
                _ => None,
            },
            "cn" if !rest.is_empty() => Some(Pattern::Exact(text.to_owned())),
            "sha256" if rest.len() == 64 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Some(Pattern::Exact(text.to_ascii_lowercase()))
            }
            _ => None,
        }
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            Pattern::Exact(text) => text == name,
            Pattern::Label(base) => name
                .strip_prefix("dns:")
                .and_then(|name| name.strip_suffix(&**base))
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
            Pattern::Beginning(start) => name.strip_prefix(&**start).is_some_and(|rest| {
                // What a URI's path would lead elsewhere by is no name of SPIFFE.
                !rest.is_empty() && !rest.split('/').any(|part| matches!(part, "" | "." | "..") || part.contains('%'))
            }),
        }
    }
}

impl PolicyKind for Mtls {
    const NAME: &'static str = "mtls";
    const STAGE: Stage = Stage::Identify;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let anchors = config.ca.as_ref().map(|ca| anchors(ca, &mut problems));
        let mut allow = Vec::new();
        for name in &*config.allow {
            match Pattern::read(name) {
                Some(pattern) => allow.push(pattern),
                None => {
                    let message = format!("{} is not a name of certificates", name.shown());
                    let hint = "write `cn:NAME`, `dns:NAME`, `dns:*.NAME`, `uri:URI`, `uri:spiffe://NAME/*`, or \
                                `sha256:` and 64 hexadecimal digits";
                    problems.push(Diagnostic::error("mtls.name", message).at(name.span).hint(hint));
                }
            }
        }
        let headers = headers(&config.headers, &mut problems);
        let welcome = Welcome::new(Self::NAME, config.consumer_header.as_ref(), config.default_plan.as_ref(), site);
        match welcome {
            Ok(welcome) if problems.is_empty() => {
                let told = headers.iter().map(|(_, name)| name);
                Ok(Arc::new(Mtls {
                    anchors,
                    allow,
                    require_consumer: config.require_consumer,
                    optional: config.optional,
                    owned: told.chain(welcome.owned_headers()).cloned().collect(),
                    headers,
                    welcome,
                    known: Mutex::default(),
                }))
            }
            welcome => Err(problems.into_iter().chain(welcome.err().into_iter().flatten()).collect()),
        }
    }
}

fn anchors(ca: &Spanned<String>, problems: &mut Vec<Diagnostic>) -> Vec<TrustAnchor<'static>> {
    let mut anchors = Vec::new();
    let mut is_wrong = false;
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        match certificate.as_ref().map(anchor_from_trusted_cert) {
            Ok(Ok(anchor)) => anchors.push(anchor.to_owned()),
            _ => is_wrong = true,
        }
    }
    if is_wrong || anchors.is_empty() {
        let hint = "write `${file:PATH}` with the path of a PEM file";
        let message = "this is no list of certificates in PEM";
        problems.push(Diagnostic::error("mtls.ca", message).at(ca.span).hint(hint));
    }
    anchors
}

fn headers(
    written: &BTreeMap<Spanned<String>, Spanned<String>>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<(&'static str, HeaderName)> {
    let mut headers = Vec::new();
    for (fact, header) in written {
        let Some(fact) = FACTS.into_iter().find(|known| *known == **fact) else {
            let near = did_you_mean(fact, FACTS);
            let message = format!("{} is nothing that is told of certificates", fact.shown());
            let hint = near.map_or_else(|| FACTS.join(", "), |near| format!("did you mean `{near}`?"));
            problems.push(Diagnostic::error("mtls.header", message).at(fact.span).hint(hint));
            continue;
        };
        match HeaderName::new(header) {
            Some(name) if reserved::not_ownable(&name).is_none() => headers.push((fact, name)),
            _ => {
                let message = format!("{} cannot tell upstreams of certificates", header.shown());
                let hint = "choose a name that clients have no business with, such as `X-Client-Cert-Subject`";
                problems.push(Diagnostic::error("mtls.header", message).at(header.span).hint(hint));
            }
        }
    }
    headers
}

impl Policy for Mtls {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        match self.judge(exchange, i64::try_from(unix_now()).unwrap_or(i64::MAX)) {
            Ok(Some((certificate, consumer))) => {
                self.admit(exchange, &certificate, consumer.as_deref());
                Verdict::CONTINUE
            }
            Ok(None) => Verdict::CONTINUE,
            Err(rejection) => rejection.into(),
        }
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.owned
    }

    fn explain(&self, _: &mut Exchange) -> Option<String> {
        Some("depends on the certificate of the connection".to_owned())
    }
}

type Admitted = Option<(Arc<Certificate>, Option<Arc<Consumer>>)>;

impl Mtls {
    fn judge(&self, exchange: &Exchange, now: i64) -> Result<Admitted, Rejection> {
        let tls = exchange.connection.tls.as_ref().filter(|tls| !tls.client_chain.is_empty());
        let Some(tls) = tls else {
            if self.optional {
                return Ok(None);
            }
            return Err(
                Rejection::new(&MISSING).because(format_args!("on the listener `{}`", exchange.connection.listener))
            );
        };
        // Whoever asked for one host must not get what another is guarded by.
        let host = exchange.target().host();
        if let Some(asked) = tls.server_name.as_deref().filter(|asked| **asked != *host) {
            return Err(Rejection::new(&MISDIRECTED).because(format_args!("it was made for `{asked}`")));
        }
        let certificate = self.certificate(tls)?;
        if now < certificate.not_before || now > certificate.not_after {
            return Err(Rejection::new(&EXPIRED));
        }
        if !certificate.is_trusted {
            return Err(Rejection::new(&UNTRUSTED));
        }
        let is_allowed = |pattern: &Pattern| certificate.names.iter().any(|name| pattern.fits(name));
        if !self.allow.is_empty() && !self.allow.iter().any(is_allowed) {
            return Err(Rejection::new(&REFUSED).because("none of its names is allowed"));
        }
        let consumer = certificate.names.iter().find_map(|name| self.welcome.consumers().certificate(name));
        if consumer.is_none() && self.require_consumer {
            return Err(Rejection::new(&REFUSED).because("it is no consumer's"));
        }
        if let Some(consumer) = &consumer
            && let Err(NotHere::Inactive | NotHere::Address | NotHere::Route) = self.welcome.check(exchange, consumer)
        {
            return Err(Rejection::new(&NOT_HERE).because(format_args!("`{}`", consumer.name)));
        }
        Ok(Some((certificate, consumer)))
    }

    fn admit(&self, exchange: &mut Exchange, certificate: &Certificate, consumer: Option<&Consumer>) {
        let fields = &mut exchange.head.fields;
        for name in &self.owned {
            fields.remove(name);
        }
        for (fact, header) in &self.headers {
            for (_, value) in certificate.facts.iter().filter(|(known, _)| known == fact) {
                // Checked when it was read.
                let _ = fields.append_text(header.as_str().as_bytes(), value.as_bytes());
            }
        }
        match (consumer, certificate.names.first()) {
            (Some(consumer), _) => self.welcome.admit(exchange, consumer),
            (None, Some(name)) => {
                let subject = name.split_once(':').map_or(&**name, |(_, rest)| rest);
                exchange.identity = Some(Identity::new(subject, Self::NAME));
            }
            (None, None) => {}
        }
    }

    /// The facts of a certificate; read once, since a connection has many
    /// requests.
    fn certificate(&self, tls: &Tls) -> Result<Arc<Certificate>, Rejection> {
        let unreadable = || Rejection::new(&UNREADABLE);
        let leaf = tls.client_chain.first().ok_or_else(unreadable)?;
        // All that the judgement depends on.
        let mut context = aws_lc_rs::digest::Context::new(&SHA256);
        tls.client_chain.iter().for_each(|certificate| context.update(certificate));
        let key: [u8; 32] = context.finish().as_ref().try_into().map_err(|_| unreadable())?;
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(certificate) = known.get(&key) {
                return Ok(Arc::clone(certificate));
            }
        }
        let is_trusted = self.anchors.as_ref().is_none_or(|anchors| is_trusted(anchors, &tls.client_chain));
        let certificate = Arc::new(read(leaf, is_trusted).ok_or_else(unreadable)?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(key, Arc::clone(&certificate));
        Ok(certificate)
    }
}

/// Whether `chain`, leaf first, leads to one of `anchors`. How long it holds is
/// looked at with every request.
fn is_trusted(anchors: &[TrustAnchor<'_>], chain: &[Arc<[u8]>]) -> bool {
    let certificates: Vec<CertificateDer<'_>> =
        chain.iter().map(|certificate| CertificateDer::from_slice(certificate)).collect();
    let Some((leaf, intermediates)) = certificates.split_first() else { return false };
    let Ok(leaf) = EndEntityCert::try_from(leaf) else { return false };
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let (now, usage) = (UnixTime::now(), KeyUsage::client_auth());
    leaf.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None).is_ok()
}

fn read(leaf: &[u8], is_trusted: bool) -> Option<Certificate> {
    let (rest, certificate) = X509Certificate::from_der(leaf).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let sha256: String = digest(&SHA256, leaf).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let (mut uris, mut hosts) = (Vec::new(), Vec::new());
    for name in certificate.subject_alternative_name().ok()?.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(host) => hosts.push(host.to_ascii_lowercase()),
            _ => {}
        }
    }
    let mut common_names = certificate.subject().iter_common_name().map(|name| name.as_str().map(str::to_owned));
    // More than one: which is meant is anybody's guess.
    let common_name = match (common_names.next(), common_names.next()) {
        (Some(Ok(name)), None) => Some(name),
        (None, None) => None,
        _ => return None,
    };
    let mut names: Vec<String> = uris.iter().map(|uri| format!("uri:{uri}")).collect();
    names.extend(hosts.iter().map(|host| format!("dns:{host}")));
    names.extend(common_name.iter().map(|name| format!("cn:{name}")));
    names.push(format!("sha256:{sha256}"));
    let not_after = certificate.validity().not_after.timestamp();
    let mut facts = vec![
        ("subject", certificate.subject().to_string()),
        ("serial", certificate.raw_serial_as_string()),
        ("sha256", sha256),
        ("not_after", not_after.to_string()),
    ];
    facts.extend(common_name.map(|name| ("common_name", name)));
    facts.extend(uris.into_iter().map(|uri| ("uri", uri)));
    facts.extend(hosts.into_iter().map(|host| ("dns", host)));
    // Names are for headers, logs and comparisons: what does not show has no place in them.
    if !names.iter().chain(facts.iter().map(|(_, value)| value)).all(|text| text.bytes().all(is_value_byte)) {
        return None;
    }
    let not_before = certificate.validity().not_before.timestamp();
    Some(Certificate { names, facts, not_before, not_after, is_trusted })
}
