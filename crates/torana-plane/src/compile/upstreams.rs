//! Upstreams.

use super::{Context, Place, Upstreams, resilience};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use torana_config::model::{self, Config, Endpoint, Origin, Scheme};
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::written::Spanned;
use torana_net::tls::client::{ClientTls, ClientTlsSpec};
use torana_net::tls::{CertificateFiles, Which};
use torana_upstream::ceiling::CeilingSpec;
use torana_upstream::spec::{Address, EndpointSpec, Protocol, UpstreamSpec};
use torana_upstream::state::State;

pub(super) fn compile(config: &Config, context: &mut Context<'_>) -> Upstreams {
    let mut upstreams = Upstreams { specs: Vec::new(), states: Vec::new() };
    let now = Instant::now();
    let previous = context.previous.into_iter().flat_map(|plan| plan.upstreams.iter().zip(&plan.states));
    let previous: HashMap<&str, _> = previous.map(|known| (&*known.0.name, known)).collect();
    for (name, upstream) in &config.upstreams {
        let before = previous.get(name.as_str()).copied();
        let spec = spec(config, name, upstream, before.map(|(known, _)| known), context);
        upstreams.states.push(match before {
            Some((known, state)) if Arc::ptr_eq(known, &spec) => Arc::clone(state),
            _ => State::new(&spec, before.map(|(_, state)| &**state), context.watch, now),
        });
        upstreams.specs.push(spec);
    }
    upstreams
}

/// Compiles one upstream; the very object of the previous plan if nothing
/// about it changed, which is what lets workers keep its pools.
fn spec(
    config: &Config,
    name: &Spanned<String>,
    upstream: &Spanned<model::Upstream>,
    previous: Option<&Arc<UpstreamSpec>>,
    context: &mut Context<'_>,
) -> Arc<UpstreamSpec> {
    let endpoints: Vec<EndpointSpec> = upstream
        .endpoints
        .iter()
        // Weight 0 keeps an endpoint configured without traffic.
        .filter(|endpoint| endpoint.weight > 0)
        .map(|written| endpoint(written, upstream.protocol.value))
        .collect();
    if endpoints.is_empty() && !upstream.endpoints.is_empty() && !context.has_gap(upstream.span) {
        let message = format!("no endpoint of the upstream {} takes requests", name.shown());
        context.report(
            Diagnostic::error("upstream.no_endpoint", message)
                .at(name.span)
                .hint("give at least one endpoint a `weight` above 0"),
        );
    }
    let is_secure = endpoints.iter().any(|endpoint| endpoint.secure);
    let tls = if is_secure || upstream.tls.is_some() {
        client_tls(name, upstream, previous.and_then(|known| known.tls.as_ref()), context)
    } else {
        None
    };
    let (balance, hash_on) = resilience::balance(upstream, context);
    let (retry, replay_bytes) = resilience::retry(upstream.retry.as_ref(), endpoints.len(), context);
    let fallback = upstream.fallback.iter();
    let fallback = fallback.filter_map(|written| resilience::fallback(name, written, config, context)).collect();
    let spec = UpstreamSpec {
        name: name.as_str().into(),
        endpoints,
        timeout: upstream.timeout.std(),
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
        replay_bytes,
        fallback,
    };
    match previous {
        Some(previous) if **previous == spec => Arc::clone(previous),
        _ => Arc::new(spec),
    }
}

fn endpoint(written: &Endpoint, protocol: model::Protocol) -> EndpointSpec {
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
        prior_knowledge: url.scheme == Scheme::H2c || (protocol == model::Protocol::Http2 && !secure),
        weight: written.weight,
    }
}

fn client_tls(
    name: &Spanned<String>,
    upstream: &Spanned<model::Upstream>,
    previous: Option<&Arc<ClientTls>>,
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
        Err(problems) => {
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
