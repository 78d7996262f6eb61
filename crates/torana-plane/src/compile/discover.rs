//! Sources of endpoints.

use super::Context;
use super::upstreams::endpoint;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use torana_config::model::{self, Discover, Dns, DnsScheme, Endpoint, EndpointUrl, Origin};
use torana_core::diagnostic::{Diagnostic, quoted};
use torana_core::written::Spanned;
use torana_upstream::discover::{DnsSpec, Kind, Question, Source, SourceSpec};
use torana_upstream::spec::EndpointSpec;
use torana_upstream::state::State;

/// The sources of an upstream; those of the plan before where they ask the
/// same. Files that are new are read at once, so that a start has endpoints;
/// what is wrong with one is a warning, as a source that fails never is more.
pub(super) fn sources(
    name: &Spanned<String>,
    upstream: &Spanned<model::Upstream>,
    previous: Option<&State>,
    now: Instant,
    context: &mut Context<'_>,
) -> Vec<Arc<Source>> {
    let http2 = upstream.protocol.value == model::Protocol::Http2;
    let (mut specs, mut written) = (Vec::new(), Vec::new());
    for discover in upstream.discover.iter() {
        // What does not name one thing was reported.
        let Some(mut spec) = spec(discover, http2).filter(|spec| !specs.contains(spec)) else { continue };
        // Metrics tell sources apart by name, and two may differ in less.
        let alike =
            specs.iter().filter(|known: &&SourceSpec| known.name.split('#').next() == Some(&*spec.name)).count();
        if alike > 0 {
            spec.name = format!("{}#{}", spec.name, alike + 1).into();
        }
        specs.push(spec);
        written.push(discover);
    }
    let sources = State::sources_of(&name.as_str().into(), &specs, previous, now);
    for (source, written) in sources.iter().zip(written).filter(|(source, _)| !source.is_tried()) {
        if let (Err(problem), Some(file)) = (source.read_now(endpoints_of_file, now), &written.file) {
            let shown = file.raw().map_or_else(|| quoted(&file.display().to_string()), quoted);
            let message = format!("no endpoints from {shown}: {problem}");
            let hint = "the upstream is without them until the file is right; it is read again when it changes";
            context.report(Diagnostic::warning("upstream.discover_file", message).at(file.span).hint(hint));
        }
    }
    sources
}

fn spec(discover: &Discover, http2: bool) -> Option<SourceSpec> {
    match (&discover.dns, &discover.file) {
        (Some(dns), None) => of_dns(dns, http2),
        (None, Some(file)) => {
            let name = format!("file:{}", file.raw().map_or_else(|| file.display().to_string(), str::to_owned));
            Some(SourceSpec { name: name.into(), kind: Kind::File { path: file.value.clone(), http2 } })
        }
        _ => None,
    }
}

fn of_dns(dns: &Dns, http2: bool) -> Option<SourceSpec> {
    let default_port = if *dns.scheme == DnsScheme::Https { 443 } else { 80 };
    let port = dns.port.as_ref().map_or(default_port, |port| port.value);
    let (name, question) = match (&dns.name, &dns.srv) {
        (Some(name), None) => (format!("dns:{}:{port}", name.value), Question::Addresses(name.as_str().into(), port)),
        (None, Some(srv)) => (format!("srv:{}", srv.value), Question::Service(srv.as_str().into())),
        _ => return None,
    };
    // Under the name that is written: what is answered decides where requests
    // go, not what they say nor whom a certificate has to be for.
    let host = dns.host().to_ascii_lowercase();
    let port = if dns.srv.is_some() { default_port } else { port };
    let url = EndpointUrl { scheme: dns.scheme.scheme(), origin: Origin::Network { host, port } };
    let weight = dns.weight.as_ref().map_or(1, |weight| weight.value);
    let like = endpoint(&Endpoint { url: url.into(), weight, drain: false }, http2);
    Some(SourceSpec {
        name: name.into(),
        kind: Kind::Dns(DnsSpec {
            question,
            scheme: dns.scheme.scheme().as_str(),
            like,
            resolvers: dns.resolvers.iter().filter_map(|resolver| Dns::resolver(resolver)).collect(),
            min_ttl: dns.min_ttl.std(),
            max_ttl: dns.max_ttl.std(),
        }),
    })
}

/// Reads the endpoints a file lists; `http2` as for a source.
///
/// # Errors
/// What is wrong with the file.
pub fn endpoints_of_file(path: &Path, http2: bool) -> Result<Vec<EndpointSpec>, String> {
    let listed = torana_config::endpoints_of_file(path)?;
    Ok(listed.iter().filter(|listed| listed.weight > 0).map(|listed| endpoint(listed, http2)).collect())
}
