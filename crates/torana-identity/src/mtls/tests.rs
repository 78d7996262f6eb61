//! Certificates of several authorities, on connections for several hosts.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use std::rc::Rc;
use torana_core::consumer::{ConsumerFacts, Consumers, Digest, FoundKey, Signer, Unavailable, User};
use torana_core::exchange::{Connection, RouteId};
use torana_core::policy::entry;
use torana_core::testing::{CLIENT, TestNames, exchange, reply, run, show_diagnostics, written};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(issuer: &CertifiedIssuer<'static, KeyPair>, common_name: &str, names: &[SanType], until: i32) -> Arc<[u8]> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names.to_vec();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().to_vec().into()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// One consumer: `billing`, for one route.
struct Book(Arc<Consumer>);

impl Consumers for Book {
    fn key(&self, _: &Digest) -> Result<Option<FoundKey>, Unavailable> {
        Ok(None)
    }
    fn user(&self, _: &str) -> Option<Arc<User>> {
        None
    }
    fn signer(&self, _: &str) -> Option<Arc<Signer>> {
        None
    }
    fn certificate(&self, name: &str) -> Option<Arc<Consumer>> {
        (name == "uri:spiffe://corp/billing").then(|| self.0.clone())
    }
    fn route_name(&self, route: u32) -> Option<&str> {
        ["orders", "users"].get(route as usize).copied()
    }
}

fn policy(config: &serde_json::Value) -> Arc<dyn Policy> {
    let facts = ConsumerFacts {
        name: "billing".into(),
        active: true,
        routes: ["orders"].into_iter().collect(),
        ..ConsumerFacts::default()
    };
    let site = TestNames::new("r", "/*").serving(Arc::new(Book(Arc::new(Consumer::new(facts)))));
    let built = (entry::<Mtls>().build)(&written(&config.to_string()), &site);
    built.unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)))
}

/// What becomes of a request for `api.example` on a connection that was made
/// for `server_name`.
fn asked(policy: &dyn Policy, server_name: Option<&str>, chain: &[Arc<[u8]>], route: u32) -> String {
    let mut asked = exchange("GET / HTTP/1.1\nHost: api.example\nX-Cert: forged");
    asked.route = Some(RouteId(route));
    let server_name = server_name.map(Into::into);
    let tls = Tls { version: "TLSv1.3", server_name, client_chain: chain.to_vec() };
    asked.connection = Rc::new(Connection { listener: "test".into(), peer: Some(CLIENT), local: None, tls: Some(tls) });
    let shown = run(policy, &mut asked, reply("200"));
    match asked.identity {
        Some(identity) => {
            assert_eq!(shown.contains("forged"), policy.owned_headers().is_empty(), "{shown}");
            format!("{} {}", identity.subject, identity.consumer.as_deref().unwrap_or("-"))
        }
        None => shown.lines().next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn a_certificate_is_its_consumer_or_its_own_first_name() {
    let ca = authority("ca");
    let policy = policy(&serde_json::json!({ "headers": { "sha256": "X-Cert" } }));
    let host = Some("api.example");
    let billing = leaf(&ca, "b", &[dns("billing.corp"), uri("spiffe://corp/billing")], 2100);
    assert_eq!(asked(&*policy, host, std::slice::from_ref(&billing), 0), "billing billing");
    assert_eq!(asked(&*policy, None, std::slice::from_ref(&billing), 0), "billing billing");
    assert_eq!(asked(&*policy, host, &[billing], 1), "rejected mtls.not_here 403", "another route");
    assert_eq!(asked(&*policy, host, &[leaf(&ca, "b", &[dns("Web.corp")], 2100)], 0), "web.corp -");
    assert_eq!(asked(&*policy, host, &[leaf(&ca, "plain", &[], 2100)], 0), "plain -");
    assert_eq!(asked(&*policy, host, &[], 0), "rejected mtls.missing 403");
    assert_eq!(asked(&*policy, host, &[leaf(&ca, "old", &[], 2021)], 0), "rejected mtls.expired 403");
    assert_eq!(asked(&*policy, host, &[b"no certificate".to_vec().into()], 0), "rejected mtls.unreadable 403");
}

#[test]
fn a_connection_for_one_host_is_none_for_another() {
    // The policy of a host must not be passed by asking for another in the handshake.
    let ca = authority("ca");
    let policy = policy(&serde_json::json!({}));
    let chain = [leaf(&ca, "c", &[], 2100)];
    assert_eq!(asked(&*policy, Some("other.example"), &chain, 0), "rejected mtls.misdirected 421");
    assert_eq!(asked(&*policy, Some("api.example"), &chain, 0), "c -");
}

#[test]
fn a_route_may_trust_fewer_authorities_than_its_listener() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let policy = policy(&serde_json::json!({ "ca": ours.pem() }));
    let host = Some("api.example");
    assert_eq!(asked(&*policy, host, &[leaf(&ours, "a", &[], 2100)], 0), "a -");
    let foreign = leaf(&theirs, "a", &[], 2100);
    assert_eq!(asked(&*policy, host, std::slice::from_ref(&foreign), 0), "rejected mtls.untrusted 403");
    // What stands in the chain besides does not vouch for it.
    let chain = [foreign, ours.der().to_vec().into()];
    assert_eq!(asked(&*policy, host, &chain, 0), "rejected mtls.untrusted 403");
}

#[test]
fn names_are_matched_whole() {
    let fits = |pattern: &str, name: &str| Pattern::read(pattern).unwrap().fits(name);
    assert!(fits("dns:*.Corp.example", "dns:a.corp.example") && fits("cn:a", "cn:a"));
    assert!(fits("uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/a/b") && fits("dns:A.b", "dns:a.b"));
    for (pattern, name) in [
        ("dns:*.corp.example", "dns:corp.example"),
        ("dns:*.corp.example", "dns:a.b.corp.example"),
        ("dns:*.corp.example", "dns:acorp.example"),
        ("dns:*.corp.example", "cn:a.corp.example"),
        ("uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/"),
        ("uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/../admin"),
        ("uri:spiffe://corp/ns/*", "uri:spiffe://corp/nsx"),
        ("uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/%2e%2e/admin"),
        ("cn:a", "dns:a"),
        ("cn:*", "cn:a"),
    ] {
        assert!(!fits(pattern, name), "{pattern} {name}");
    }
    for wrong in [
        "a",
        "dns:",
        "dns:*",
        "dns:*.",
        "dns:a*",
        "uri:spiffe://a*",
        "uri:*",
        "uri:spiffe://*",
        "cn:",
        "ip:1",
        "sha256:ab",
    ] {
        assert_eq!(Pattern::read(wrong), None, "{wrong}");
    }
}

#[test]
fn what_cannot_be_is_said() {
    let said = |config: &str| {
        let problems = (entry::<Mtls>().build)(&written(config), &TestNames::new("r", "/*")).err();
        problems.map(|problems| show_diagnostics(&problems)).unwrap_or_default()
    };
    assert!(said(r#"{ "ca": "hunter2" }"#).contains("mtls.ca") && !said(r#"{ "ca": "hunter2" }"#).contains("hunter2"));
    assert!(said(r#"{ "allow": "shop" }"#).contains("mtls.name"));
    assert!(said(r#"{ "headers": { "subjekt": "X-A" } }"#).contains("did you mean `subject`"));
    assert!(said(r#"{ "headers": { "subject": "Authorization" } }"#).contains("mtls.header"));
}
