//! Upstreams.

use super::{Before, Context, Place, Upstreams, discover, resilience};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use torana_config::model::{self, Config, Endpoint, Origin, Scheme};
use torana_core::diagnostic::{Diagnostic, Severity, Span};
use torana_core::forwarded::is_forwarding_spelling;
use torana_core::names::{HeaderName, KnownName};
use torana_core::written::Spanned;
use torana_net::tls::client::{ClientTls, ClientTlsSpec};
use torana_net::tls::{CertificateFiles, Which};
use torana_upstream::ceiling::CeilingSpec;
use torana_upstream::discover::Source;
use torana_upstream::spec::{Address, EndpointSpec, Protocol, UpstreamSpec};
use torana_upstream::state::State;

pub(super) fn compile(config: &Config, context: &mut Context<'_>) -> Upstreams {
    let mut upstreams = Upstreams { specs: Vec::new(), states: Vec::new(), stores: Vec::new() };
    for (name, upstream) in &config.upstreams {
        add(config, name, upstream, &mut upstreams, context);
    }
    upstreams
}

/// Compiles one upstream and adds it to those that are known.
pub(super) fn add(
    config: &Config,
    name: &Spanned<String>,
    upstream: &Spanned<model::Upstream>,
    upstreams: &mut Upstreams,
    context: &mut Context<'_>,
) {
    let before = context.before.get(name.as_str()).copied();
    let now = Instant::now();
    let state = before.map(|(_, state)| &**state);
    let sources = discover::sources(name, upstream, state, now, context);
    let spec = spec(config, name, upstream, &sources, before, context);
    upstreams.states.push(match before {
        Some((known, state)) if Arc::ptr_eq(known, &spec) => Arc::clone(state),
        _ => State::of(&spec, sources, state, context.watch, now),
    });
    upstreams.specs.push(spec);
}

/// Compiles one upstream; the very object of the previous plan if nothing
/// about it changed, which is what lets workers keep its pools.
fn spec(
    config: &Config,
    name: &Spanned<String>,
    upstream: &Spanned<model::Upstream>,
    sources: &[Arc<Source>],
    before: Option<Before<'_>>,
    context: &mut Context<'_>,
) -> Arc<UpstreamSpec> {
    let (previous, state) = (before.map(|known| known.0), before.map(|known| &**known.1));
    let fixed: Vec<EndpointSpec> = upstream
        .endpoints
        .iter()
        // Weight 0 keeps an endpoint configured without traffic.
        .filter(|endpoint| endpoint.weight > 0)
        .map(|written| endpoint(written, upstream.protocol.value == model::Protocol::Http2))
        .collect();
    if fixed.is_empty() && sources.is_empty() && !upstream.endpoints.is_empty() && !context.has_gap(upstream.span) {
        let message = format!("no endpoint of the upstream {} takes requests", name.shown());
        context.report(
            Diagnostic::error("upstream.no_endpoint", message)
                .at(name.span)
                .hint("give at least one endpoint a `weight` above 0"),
        );
    }
    // A list in a file may get an endpoint with TLS at any time.
    let may_be_secure = sources.iter().any(|source| source.may_be_secure());
    let is_secure = upstream.tls.is_some()
        || fixed.iter().any(|endpoint| endpoint.secure)
        || sources.iter().any(|source| source.is_secure());
    let tls = match is_secure || may_be_secure {
        true => client_tls(name, upstream, previous.and_then(|known| known.tls.as_ref()), is_secure, context),
        false => None,
    };
    let works = |name: &str| state.is_none_or(|state| state.works(name));
    let endpoints = torana_upstream::discover::endpoints(&fixed, sources, tls.is_some(), &works);
    let (balance, hash_on) = resilience::balance(upstream, context);
    // How many there will be is not known where they come and go.
    let most = if sources.is_empty() { fixed.len() } else { usize::MAX };
    let (mut retry, replay_bytes) = resilience::retry(upstream.retry.as_ref(), most, context);
    let hedge = upstream.hedge.as_ref().map(|hedge| resilience::hedge(hedge, &mut retry, most, context));
    let fallback = upstream.fallback.iter();
    let fallback = fallback.filter_map(|written| resilience::fallback(name, written, config, context)).collect();
    let spec = UpstreamSpec {
        name: name.as_str().into(),
        endpoints,
        fixed,
        sources: sources.iter().map(|source| source.spec().clone()).collect(),
        timeout: upstream.timeout.std(),
        deadline_header: upstream.deadline_header.as_ref().and_then(|name| deadline_header(name, context)),
        connect_timeout: upstream.connect_timeout.std(),
        idle_timeout: upstream.idle_timeout.std(),
        max_idle: upstream.max_idle as usize,
        protocol: match upstream.protocol.value {
            model::Protocol::Auto => Protocol::Auto,
            model::Protocol::Http1 => Protocol::Http1,
            model::Protocol::Http2 => Protocol::Http2,
        },
        tls,
        balance,
        hash_on,
        sticky: upstream.sticky.as_ref().map(|sticky| resilience::sticky(sticky, context)),
        health: resilience::health(&upstream.health, context),
        breaker: upstream.breaker.as_ref().map(|breaker| resilience::breaker(breaker, context)),
        ceiling: upstream.concurrency.as_ref().map(|concurrency| CeilingSpec {
            most: concurrency.requests.value,
            queue: concurrency.queue.value,
            queue_timeout: concurrency.queue_timeout.std(),
        }),
        retry,
        hedge,
        replay_bytes,
        fallback,
    };
    match previous {
        Some(previous) if **previous == spec => Arc::clone(previous),
        _ => Arc::new(spec),
    }
}

/// A header that is the gateway's to write, and nobody else's.
fn deadline_header(written: &Spanned<String>, context: &mut Context<'_>) -> Option<HeaderName> {
    let mut refuse = |why: &str, hint: &'static str| {
        let message = format!("{} {why}", written.shown());
        context.report(Diagnostic::error("upstream.deadline_header", message).at(written.span).hint(hint));
        None
    };
    let Some(name) = HeaderName::new(written) else {
        return refuse("is not a header name", "for example `x-request-timeout-ms`");
    };
    match &name {
        HeaderName::Known(KnownName::GrpcTimeout) => {
            refuse("needs not be asked for", "remove it: gRPC calls that have one are told what is left")
        }
        HeaderName::Known(_) => refuse("is a header with another meaning", "for example `x-request-timeout-ms`"),
        other if is_forwarding_spelling(other.as_str().as_bytes()) => {
            refuse("is a header with another meaning", "for example `x-request-timeout-ms`")
        }
        _ => Some(name),
    }
}

/// `http2`: it is spoken to endpoints in the clear, too.
pub(super) fn endpoint(written: &Endpoint, http2: bool) -> EndpointSpec {
    let url = &written.url.value;
    let secure = url.scheme == Scheme::Https;
    let default_port = if secure { 443 } else { 80 };
    let (address, authority) = match &url.origin {
        Origin::Unix(path) => (Address::Unix(path.clone()), "localhost".to_owned()),
        Origin::Network { host, port } => {
            let address = match host.parse::<IpAddr>() {
                Ok(ip) => Address::Socket((ip, *port).into()),
                Err(_) => Address::Name(host.as_str().into(), *port),
            };
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            (address, if *port == default_port { host } else { format!("{host}:{port}") })
        }
    };
    EndpointSpec {
        name: url.to_string().into(),
        address,
        authority: authority.into(),
        secure,
        prior_knowledge: url.scheme == Scheme::H2c || (http2 && !secure),
        weight: written.weight,
        drain: written.drain,
    }
}

fn client_tls(
    name: &Spanned<String>,
    upstream: &Spanned<model::Upstream>,
    previous: Option<&Arc<ClientTls>>,
    is_needed: bool,
    context: &mut Context<'_>,
) -> Option<Arc<ClientTls>> {
    let written = upstream.tls.as_ref().map(|tls| &tls.value);
    let certificate = written.and_then(|tls| match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some(CertificateFiles { cert: cert.value.clone(), key: key.value.clone() }),
        _ => None,
    });
    let spec = ClientTlsSpec {
        ca: written.and_then(|tls| tls.ca.as_ref()).map(|ca| ca.value.clone()),
        certificate,
        server_name: written.and_then(|tls| tls.server_name.as_ref()).map(|name| name.value.clone()),
    };
    context.files.extend(spec.files().map(Into::into));
    if spec.ca.is_none() && context.has_gap(upstream.span) {
        // The authorities may be what is missing: the system's are not what
        // was meant.
        return None;
    }
    let section = upstream.tls.as_ref().map_or(name.span, |tls| tls.span);
    let place = |which| place(which, written, section);
    match ClientTls::build(&spec, previous) {
        Ok(built) => {
            context.report_tls(built.warnings, place);
            Some(built.tls)
        }
        Err(mut problems) => {
            if !is_needed {
                // Endpoints that need it are left out until that is mended.
                problems.iter_mut().for_each(|problem| problem.severity = Severity::Warning);
            }
            context.report_tls(problems, place);
            None
        }
    }
}

fn place(which: Which, tls: Option<&model::UpstreamTls>, section: Span) -> Place<'_> {
    let Some(tls) = tls else { return Place::of(section) };
    let part = match which {
        Which::Certificate(_) => tls.cert.as_ref().map(Place::file),
        Which::Key(_) => tls.key.as_ref().map(Place::file),
        Which::Ca => tls.ca.as_ref().map(Place::file),
        Which::ServerName => tls.server_name.as_ref().map(Place::name),
        Which::Section => None,
    };
    part.unwrap_or(Place::of(section))
}
