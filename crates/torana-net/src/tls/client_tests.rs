use super::super::server::ServerTls;
use super::super::testing::*;
use super::*;
use rustls::Error;

struct Setup {
    scratch: Scratch,
    authority: Authority,
    ca: PathBuf,
    server: Arc<ServerTls>,
}

fn setup() -> Setup {
    let (scratch, authority) = (Scratch::new(), Authority::new("upstreams"));
    let ca = scratch.write("ca.pem", authority.pem());
    let server = build(&spec(vec![authority.files(&scratch, "users", &["users.internal", "10.0.0.1"])]));
    Setup { scratch, authority, ca, server }
}

fn client(spec: &ClientTlsSpec) -> Arc<ClientTls> {
    let built = ClientTls::build(spec, None).unwrap();
    assert_eq!(built.warnings, Vec::new());
    built.tls
}

/// Connects as the dialer does.
fn connect(server: &ServerTls, client: &ClientTls, alpn: Alpn, host: &str) -> Result<Handshake, Error> {
    let name = client.server_name(host).unwrap();
    shake(server.config(), &client.config(alpn), &name.to_str())
}

impl Setup {
    fn spec(&self) -> ClientTlsSpec {
        ClientTlsSpec { ca: Some(self.ca.clone()), ..ClientTlsSpec::default() }
    }
}

#[test]
fn the_upstream_is_verified_by_its_own_authority() {
    let setup = setup();
    let ours = client(&setup.spec());
    assert!(connect(&setup.server, &ours, Alpn::Auto, "users.internal").is_ok());
    assert!(connect(&setup.server, &ours, Alpn::Auto, "10.0.0.1").is_ok());
    let wrong_name = connect(&setup.server, &ours, Alpn::Auto, "orders.internal");
    assert!(matches!(wrong_name, Err(Error::InvalidCertificate(_))));
    let wrong_address = connect(&setup.server, &ours, Alpn::Auto, "10.0.0.2");
    assert!(matches!(wrong_address, Err(Error::InvalidCertificate(_))));

    let other = setup.scratch.write("other.pem", Authority::new("upstreams").pem());
    let theirs = client(&ClientTlsSpec { ca: Some(other), ..ClientTlsSpec::default() });
    let refused = connect(&setup.server, &theirs, Alpn::Auto, "users.internal");
    assert!(matches!(refused, Err(Error::InvalidCertificate(_))));
}

#[test]
fn the_systems_authorities_do_not_vouch_for_a_private_one() {
    let setup = setup();
    // On a machine without any, building fails: that is refusing, too.
    if let Ok(built) = ClientTls::build(&ClientTlsSpec::default(), None) {
        assert!(connect(&setup.server, &built.tls, Alpn::Auto, "users.internal").is_err());
    }
}

#[test]
fn an_expired_upstream_is_refused() {
    let setup = setup();
    let expired = setup.authority.issue_with(&["users.internal"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    });
    let server = ServerTls::build(&spec(vec![save(&setup.scratch, "old", &expired)]), None).unwrap().tls;
    let refused = connect(&server, &client(&setup.spec()), Alpn::Auto, "users.internal");
    assert!(matches!(refused, Err(Error::InvalidCertificate(_))));
}

#[test]
fn the_configured_name_is_sent_and_expected() {
    let setup = setup();
    let named = client(&ClientTlsSpec { server_name: Some("Users.Internal.".into()), ..setup.spec() });
    let done = connect(&setup.server, &named, Alpn::Auto, "192.0.2.9").unwrap();
    assert_eq!(done.server.server_name(), Some("users.internal"));
    let other = client(&ClientTlsSpec { server_name: Some("orders.internal".into()), ..setup.spec() });
    assert!(connect(&setup.server, &other, Alpn::Auto, "users.internal").is_err());
}

#[test]
fn hosts_of_urls_are_names() {
    let plain = client(&setup().spec());
    let name = |host: &str| plain.server_name(host).map(|name| name.to_str().into_owned());
    assert_eq!(name("users.internal").as_deref(), Ok("users.internal"));
    assert_eq!(name("users.internal.").as_deref(), Ok("users.internal"));
    assert_eq!(name("10.0.0.1").as_deref(), Ok("10.0.0.1"));
    assert_eq!(name("[2001:db8::1]").as_deref(), Ok("2001:db8::1"));
    for host in ["", ".", "[2001:db8::1", "a b", "users.internal:443", "/run/users.sock", "a..b"] {
        assert_eq!(name(host), Err(InvalidServerName(host.to_owned())));
    }
}

#[test]
fn protocols() {
    let setup = setup();
    let client = client(&setup.spec());
    let settled = |alpn| connect(&setup.server, &client, alpn, "users.internal").unwrap().alpn();
    assert_eq!(settled(Alpn::Auto).as_deref(), Some("h2"));
    assert_eq!(settled(Alpn::Http1).as_deref(), Some("http/1.1"));
    assert_eq!(settled(Alpn::Http2).as_deref(), Some("h2"));
}

#[test]
fn the_client_certificate_is_shown_when_asked_for() {
    let setup = setup();
    let identity = setup.authority.files(&setup.scratch, "gateway", &["gateway.internal"]);
    let server = spec(vec![setup.authority.files(&setup.scratch, "strict", &["users.internal"])]);
    let server = build(&with_client_auth(&server, setup.ca.clone(), true));
    let nobody = client(&setup.spec());
    assert!(connect(&server, &nobody, Alpn::Auto, "users.internal").is_err());
    let gateway = client(&ClientTlsSpec { certificate: Some(identity.clone()), ..setup.spec() });
    for resumed in [false, true] {
        let done = connect(&server, &gateway, Alpn::Auto, "users.internal").unwrap();
        assert_eq!(done.resumed(), resumed);
        let chain = super::super::server::facts(&done.server).client_chain;
        assert_eq!(*chain[0], *der(&identity.cert));
    }
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let setup = setup();
    let identity = setup.authority.files(&setup.scratch, "gateway", &["gateway.internal"]);
    let spec = ClientTlsSpec { certificate: Some(identity), ..setup.spec() };
    let first = client(&spec);
    let rebuild = |spec: &ClientTlsSpec| ClientTls::build(spec, Some(&first)).unwrap().tls;
    assert!(Arc::ptr_eq(&first, &rebuild(&spec)));
    assert!(!Arc::ptr_eq(&first, &rebuild(&setup.spec())));
    assert!(!Arc::ptr_eq(&first, &rebuild(&ClientTlsSpec { server_name: Some("a.b".into()), ..spec.clone() })));
    // Same paths, other contents.
    setup.authority.files(&setup.scratch, "gateway", &["gateway.internal"]);
    let second = rebuild(&spec);
    assert_ne!(first, second);
    setup.scratch.write("ca.pem", Authority::new("next").pem());
    assert_ne!(second, rebuild(&spec));
}

#[test]
fn every_problem_is_reported_at_once() {
    let missing = |name: &str| PathBuf::from("/nonexistent").join(name);
    let spec = ClientTlsSpec {
        ca: Some(missing("ca.pem")),
        certificate: Some(CertificateFiles { cert: missing("a.pem"), key: missing("a.key") }),
        server_name: Some("https://users.internal".into()),
    };
    let problems = ClientTls::build(&spec, None).unwrap_err();
    let found: Vec<_> = problems.iter().map(|problem| problem.which).collect();
    assert_eq!(found, [Which::ServerName, Which::Ca, Which::Certificate(0), Which::Key(0)]);
    assert_eq!(spec.files().count(), 3);
}
