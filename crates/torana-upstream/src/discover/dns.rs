//! Asking DNS.
//!
//! A resolver is made for every question: it costs little beside the question,
//! and so changes of `/etc/resolv.conf` and `/etc/hosts` are seen, and nothing
//! of a server that was moved is kept.

use super::shares::shares;
use super::{Answer, DnsSpec, Found, MOST_ENDPOINTS, Question};
use crate::spec::{Address, EndpointSpec};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// For one question, all its parts and attempts included.
const PATIENCE: Duration = Duration::from_secs(10);

/// For one attempt with one server that is configured.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Most targets of SRV records that are asked for.
const MOST_TARGETS: usize = 64;

/// Addresses, and how long the answer holds.
type Addresses = (Vec<IpAddr>, Duration);

pub(super) async fn ask(spec: &DnsSpec) -> Result<Answer, String> {
    let resolver = resolver(&spec.resolvers).map_err(|error| words(&error))?;
    let asked = async {
        match &spec.question {
            Question::Addresses(name, port) => Ok(addresses(&resolver, spec, name, *port).await),
            Question::Service(name) => service(&resolver, spec, name).await,
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(|server| {
            let connection = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().timeout = TIMEOUT;
        builder
    };
    let options = builder.options_mut();
    // When to ask again is decided by whoever asks.
    options.cache_size = 0;
    builder.build()
}

/// A and AAAA records: two questions, and one of them may fail.
async fn addresses(resolver: &TokioResolver, spec: &DnsSpec, name: &str, port: u16) -> Answer {
    let (v4, v6) = tokio::join!(lookup(resolver, name, RecordType::A), lookup(resolver, name, RecordType::AAAA));
    let mut answer = Answer { ttl: Duration::MAX, ..Answer::default() };
    let is_found = |result: &Result<Option<Addresses>, String>| matches!(result, Ok(Some(_)));
    let none = !is_found(&v4) && !is_found(&v6);
    for (part, result) in [("A", v4), ("AAAA", v6)] {
        match result {
            Ok(Some((ips, ttl))) => {
                answer.ttl = answer.ttl.min(ttl);
                for ip in ips {
                    answer.take(endpoint(spec, ip, port, spec.like.weight), 0, &part.into());
                }
            }
            Ok(None) if none => answer.lost.push((part.into(), format!("{name} has no address"))),
            Ok(None) => {}
            Err(error) => answer.lost.push((part.into(), error)),
        }
    }
    // What went wrong is more telling than what is not there.
    answer.lost.sort_by_key(|(_, error)| error.ends_with("has no address"));
    answer
}

/// SRV records and the addresses of their targets.
async fn service(resolver: &TokioResolver, spec: &DnsSpec, name: &str) -> Result<Answer, String> {
    let lookup = match resolver.lookup(name, RecordType::SRV).await {
        Ok(lookup) => lookup,
        Err(error) if is_empty(&error) => return Err(format!("{name} has no SRV records")),
        Err(error) => return Err(words(&error)),
    };
    let mut answer = Answer { ttl: Duration::MAX, ..Answer::default() };
    let mut records = Vec::new();
    for record in lookup.answers() {
        let RData::SRV(srv) = &record.data else { continue };
        answer.ttl = answer.ttl.min(Duration::from_secs(record.ttl.into()));
        // RFC 2782: the target `.` says that the service is not there.
        if srv.target.is_root() || srv.port == 0 || records.len() == MOST_TARGETS {
            answer.left_out += 1;
        } else {
            records.push((srv.priority, srv.weight, srv.port, srv.target.to_ascii()));
        }
    }
    records.sort();
    let mut resolved = Vec::new();
    for (priority, weight, port, target) in records {
        let part: Arc<str> = format!("{target}:{port}").into();
        let (v4, v6) = tokio::join!(
            lookup_or_none(resolver, &target, RecordType::A),
            lookup_or_none(resolver, &target, RecordType::AAAA)
        );
        let ips = match (v4, v6) {
            (Ok(v4), Ok(v6)) => [v4, v6],
            // One of two: better than nothing, and than what was before.
            (Ok(known), Err(_)) | (Err(_), Ok(known)) if !known.0.is_empty() => [known, (Vec::new(), Duration::MAX)],
            (Err(error), _) | (_, Err(error)) => {
                answer.lost.push((part, error));
                continue;
            }
        };
        answer.ttl = ips.iter().fold(answer.ttl, |ttl, (_, other)| ttl.min(*other));
        let ips: Vec<IpAddr> = ips.into_iter().flat_map(|(ips, _)| ips).collect();
        if ips.is_empty() {
            answer.lost.push((part, format!("{target} has no address")));
        } else {
            resolved.push((priority, weight, port, ips, part));
        }
    }
    for tier in resolved.chunk_by(|a, b| a.0 == b.0) {
        let targets: Vec<(u16, usize)> = tier.iter().map(|(_, weight, _, ips, _)| (*weight, ips.len())).collect();
        for ((priority, _, port, ips, part), share) in tier.iter().zip(shares(&targets)) {
            for ip in ips {
                answer.take(endpoint(spec, *ip, *port, share), *priority, part);
            }
        }
    }
    if answer.found.is_empty() && answer.lost.is_empty() {
        return Err(format!("{name} says that the service is not available"));
    }
    Ok(answer)
}

impl Answer {
    fn take(&mut self, endpoint: Option<EndpointSpec>, tier: u16, part: &Arc<str>) {
        match endpoint {
            // A little more than are kept, so that it shows how many are too many.
            Some(endpoint) if self.found.len() < 4 * MOST_ENDPOINTS => {
                self.found.push(Found { endpoint, tier, part: part.clone() });
            }
            _ => self.left_out += 1,
        }
    }
}

/// `None` for an address that cannot be an endpoint's.
fn endpoint(spec: &DnsSpec, ip: IpAddr, port: u16, weight: u32) -> Option<EndpointSpec> {
    let is_nobody = match ip {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    };
    let address = SocketAddr::new(ip, port);
    let name = format!("{}://{address}", spec.scheme).into();
    (!is_nobody).then(|| EndpointSpec { name, address: Address::Socket(address), weight, ..spec.like.clone() })
}

/// The addresses of one kind; `None`: the name has none.
async fn lookup(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Option<Addresses>, String> {
    let lookup = match resolver.lookup(name, kind).await {
        Ok(lookup) => lookup,
        Err(error) if is_empty(&error) => return Ok(None),
        Err(error) => return Err(words(&error)),
    };
    let mut ttl = Duration::MAX;
    let mut ips = Vec::new();
    for record in lookup.answers() {
        // Those of aliases on the way count too.
        ttl = ttl.min(Duration::from_secs(record.ttl.into()));
        match &record.data {
            RData::A(a) => ips.push(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => ips.push(IpAddr::V6(aaaa.0)),
            _ => {}
        }
    }
    Ok(Some((ips, ttl)).filter(|(ips, _)| !ips.is_empty()))
}

async fn lookup_or_none(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Addresses, String> {
    lookup(resolver, name, kind).await.map(|found| found.unwrap_or((Vec::new(), Duration::MAX)))
}

/// Whether the name is there and has no such records.
fn is_empty(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError)
}

fn words(error: &NetError) -> String {
    let code = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        NetError::Timeout => return "no answer".to_owned(),
        other => return other.to_string(),
    };
    match code {
        ResponseCode::NXDomain => "the name does not exist (NXDOMAIN)".to_owned(),
        ResponseCode::ServFail => "the server cannot answer (SERVFAIL)".to_owned(),
        ResponseCode::Refused => "the server does not want to answer (REFUSED)".to_owned(),
        code => format!("the server answers with an error ({code})"),
    }
}
