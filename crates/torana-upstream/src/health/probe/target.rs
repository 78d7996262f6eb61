//! What is probed: places, whoever they belong to.

use crate::endpoint::host_of;
use crate::health::UpstreamHealth;
use crate::health::spec::ActiveSpec;
use crate::spec::{Address, EndpointSpec, Protocol, UpstreamSpec};
use std::collections::HashMap;
use std::sync::Arc;
use torana_net::client::dial::{Place, Security};
use torana_net::tls::client::{Alpn, ClientTls};

/// Everything a probe depends on. Two endpoints for which it is equal, of one
/// upstream or of several, are probed once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    address: Address,
    pub(super) authority: Arc<str>,
    /// `None` in the clear.
    tls: Option<Arc<ClientTls>>,
    protocol: Protocol,
    prior_knowledge: bool,
    pub(super) active: ActiveSpec,
}

/// An endpoint that takes over what is found about a target.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) health: Arc<UpstreamHealth>,
    pub(super) index: usize,
}

impl Target {
    fn new(upstream: &UpstreamSpec, endpoint: &EndpointSpec, active: &ActiveSpec) -> Target {
        Target {
            address: match (&endpoint.address, active.port) {
                (Address::Socket(address), Some(port)) => Address::Socket((address.ip(), port).into()),
                (Address::Name(name, _), Some(port)) => Address::Name(name.clone(), port),
                (address, _) => address.clone(),
            },
            authority: endpoint.authority.clone(),
            tls: upstream.tls.clone().filter(|_| endpoint.secure),
            protocol: upstream.protocol,
            prior_knowledge: endpoint.prior_knowledge,
            active: active.clone(),
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        match &self.address {
            Address::Socket(address) => Place::Socket(*address),
            Address::Name(name, port) => Place::Name(name, *port),
            Address::Unix(path) => Place::Unix(path),
        }
    }

    /// TLS as requests get it; `http2` if nothing else will do.
    pub(super) fn security(&self, http2: bool) -> Option<Security<'_>> {
        let alpn = match self.protocol {
            _ if http2 => Alpn::Http2,
            Protocol::Http1 => Alpn::Http1,
            Protocol::Http2 => Alpn::Http2,
            Protocol::Auto => Alpn::Auto,
        };
        self.tls.as_ref().map(|tls| Security { tls, host: host_of(&self.authority), alpn })
    }

    /// Whether HTTP/2 is spoken in the clear without having been negotiated.
    pub(super) fn prior_knowledge(&self) -> bool {
        self.tls.is_none() && (self.prior_knowledge || self.protocol == Protocol::Http2)
    }

    /// A text that is equal for equal targets and seldom for others.
    pub(super) fn hint(&self) -> String {
        match &self.address {
            Address::Socket(address) => address.to_string(),
            Address::Name(name, port) => format!("{name}:{port}"),
            Address::Unix(path) => path.display().to_string(),
        }
    }
}

/// The targets of these upstreams, each once, with all endpoints it stands for.
pub(super) fn of_upstreams<'a>(
    upstreams: impl IntoIterator<Item = (&'a UpstreamSpec, &'a Arc<UpstreamHealth>)>,
) -> Vec<(Target, Vec<Subject>)> {
    let mut targets: Vec<(Target, Vec<Subject>)> = Vec::new();
    let mut hints: HashMap<String, Vec<usize>> = HashMap::new();
    for (upstream, health) in upstreams {
        let Some(active) = &health.spec().active else { continue };
        for (index, endpoint) in upstream.endpoints.iter().enumerate() {
            let target = Target::new(upstream, endpoint, active);
            let subject = Subject { health: health.clone(), index };
            let alike = hints.entry(target.hint()).or_default();
            match alike.iter().find(|&&at| targets.get(at).is_some_and(|(known, _)| *known == target)) {
                Some(&at) => targets.get_mut(at).into_iter().for_each(|(_, subjects)| subjects.push(subject.clone())),
                None => {
                    alike.push(targets.len());
                    targets.push((target, vec![subject]));
                }
            }
        }
    }
    targets
}
