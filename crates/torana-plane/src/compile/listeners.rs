//! Listeners.

use super::{Context, Place};
use crate::plan::Listener;
use std::sync::Arc;
use torana_config::model::{self, ClientAuthMode, Config, LimitValues, TlsVersion};
use torana_core::diagnostic::Span;
use torana_core::written::Spanned;
use torana_net::service::{ListenerId, Listening, Settings};
use torana_net::tls::server::{ClientAuthSpec, ServerTls, ServerTlsSpec};
use torana_net::tls::{CertificateFiles, MinVersion, Which};

/// The listeners, and the id the next new one gets.
pub(super) fn compile(config: &Config, context: &mut Context<'_>) -> (Vec<Listener>, u32) {
    let mut next = context.previous.map_or(0, |previous| previous.next_listener);
    let listeners = config.listeners.iter().map(|written| listener(config, written, &mut next, context)).collect();
    (listeners, next)
}

fn listener(
    config: &Config,
    written: &Spanned<model::Listener>,
    next: &mut u32,
    context: &mut Context<'_>,
) -> Listener {
    let name: Arc<str> = written.label().into();
    let before = context.previous.and_then(|previous| previous.listener_named(&name));
    let id = before.map_or_else(
        || {
            *next += 1;
            ListenerId(*next - 1)
        },
        |before| before.id,
    );
    let limits = config.limits_of(written);
    let tls_before = before.and_then(|before| before.listening.tls.clone());
    let tls = written.tls.as_ref().and_then(|tls| server_tls(tls, written, tls_before.as_ref(), context));
    let trusted = |proxy: &model::ProxyProtocol| proxy.trusted.iter().map(|network| network.net()).collect();
    Listener {
        id,
        address: written.address.value.clone(),
        settings: settings(&limits),
        listening: Arc::new(Listening {
            name: name.clone(),
            tls,
            http2: written.http2,
            defer_accept: written.defer_accept,
            proxy_protocol: written.proxy_protocol.as_ref().map(trusted).unwrap_or_default(),
            handshake_timeout: limits.tls_handshake_timeout.std(),
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
        }),
        name,
    }
}

fn server_tls(
    tls: &model::ListenerTls,
    listener: &Spanned<model::Listener>,
    previous: Option<&Arc<ServerTls>>,
    context: &mut Context<'_>,
) -> Option<Arc<ServerTls>> {
    let files = |certificate: &Spanned<model::Certificate>| CertificateFiles {
        cert: certificate.cert.value.clone(),
        key: certificate.key.value.clone(),
    };
    let spec = ServerTlsSpec {
        certificates: tls.certificates.iter().map(files).collect(),
        min_version: match tls.min_version {
            TlsVersion::V1_2 => MinVersion::Tls12,
            TlsVersion::V1_3 => MinVersion::Tls13,
        },
        client_auth: tls
            .client_auth
            .as_ref()
            .map(|auth| ClientAuthSpec { ca: auth.ca.value.clone(), required: auth.mode == ClientAuthMode::Required }),
        http2: listener.http2,
    };
    context.files.extend(spec.files().map(Into::into));
    let place = |which| place(which, tls, listener.span);
    match ServerTls::build(&spec, previous) {
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

fn place(which: Which, tls: &model::ListenerTls, listener: Span) -> Place<'_> {
    let certificate = |position: usize| tls.certificates.get(position);
    match which {
        Which::Certificate(position) => {
            certificate(position).map_or(Place::of(listener), |pair| Place::file(&pair.cert))
        }
        Which::Key(position) => certificate(position).map_or(Place::of(listener), |pair| Place::file(&pair.key)),
        Which::Ca => tls.client_auth.as_ref().map_or(Place::of(listener), |auth| Place::file(&auth.ca)),
        Which::Section | Which::ServerName => Place::of(listener),
    }
}

fn settings(limits: &LimitValues) -> Settings {
    Settings {
        header_bytes: limits.header_bytes.as_usize(),
        header_count: limits.header_count as usize,
        uri_bytes: limits.uri_bytes.as_usize(),
        body_bytes: limits.body_bytes.bytes(),
        head_timeout: limits.head_timeout.std(),
        idle_timeout: limits.idle_timeout.std(),
        min_body_rate: limits.min_body_rate.bytes(),
        body_rate_grace: limits.body_rate_grace.std(),
        request_timeout: limits.request_timeout.std(),
        http2_streams: limits.http2_streams,
        http2_resets: limits.http2_resets,
        draining: false,
    }
}
