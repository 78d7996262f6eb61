use super::super::testing::*;
use super::*;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, SupportedProtocolVersion};

const EACH_VERSION: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

/// An authority for servers, one for clients, and a listener with one certificate.
struct Setup {
    scratch: Scratch,
    servers: Authority,
    clients: Authority,
    ca: PathBuf,
    /// Client certificate by `clients`.
    alice: CertificateFiles,
    /// Client certificate by somebody else.
    mallory: CertificateFiles,
    open: ServerTlsSpec,
}

fn setup() -> Setup {
    let (scratch, servers, clients) = (Scratch::new(), Authority::new("servers"), Authority::new("clients"));
    let ca = scratch.write("clients.pem", clients.pem());
    let alice = clients.files(&scratch, "alice", &["alice.clients"]);
    let mallory = Authority::new("elsewhere").files(&scratch, "mallory", &["alice.clients"]);
    let open = spec(vec![servers.files(&scratch, "site", &["site.example"])]);
    Setup { scratch, servers, clients, ca, alice, mallory, open }
}

impl Setup {
    fn optional(&self) -> ServerTlsSpec {
        with_client_auth(&self.open, self.ca.clone(), false)
    }

    fn required(&self) -> ServerTlsSpec {
        with_client_auth(&self.open, self.ca.clone(), true)
    }

    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&CertificateFiles>,
    ) -> Arc<rustls::ClientConfig> {
        Arc::new(client(&self.servers, versions, identity))
    }
}

fn meet(server: &ServerTls, client: &Arc<rustls::ClientConfig>) -> Result<Handshake, Error> {
    shake(server.config(), client, "site.example")
}

#[test]
fn both_versions_are_spoken_unless_told_otherwise() {
    let setup = setup();
    let both = build(&setup.open);
    let new = build(&ServerTlsSpec { min_version: MinVersion::Tls13, ..setup.open.clone() });
    let (client12, client13) = (setup.client(&[&TLS12], None), setup.client(&[&TLS13], None));
    assert_eq!(facts(&meet(&both, &client12).unwrap().server).version, "TLSv1.2");
    assert_eq!(facts(&meet(&both, &client13).unwrap().server).version, "TLSv1.3");
    assert_eq!(facts(&meet(&new, &client13).unwrap().server).version, "TLSv1.3");
    assert!(meet(&new, &client12).is_err());
}

#[test]
fn facts_of_an_anonymous_client() {
    let setup = setup();
    let done = meet(&build(&setup.open), &setup.client(any_version(), None)).unwrap();
    let facts = facts(&done.server);
    assert_eq!(facts.server_name.as_deref(), Some("site.example"));
    assert!(facts.client_chain.is_empty());
}

#[test]
fn http2_is_preferred_where_it_is_offered() {
    let setup = setup();
    let with = build(&setup.open);
    let without = build(&ServerTlsSpec { http2: false, ..setup.open.clone() });
    let offer = |protocols: &[&str]| {
        let mut client = client(&setup.servers, any_version(), None);
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(client)
    };
    let settled = |server: &ServerTls, protocols: &[&str]| meet(server, &offer(protocols)).unwrap().alpn();
    assert_eq!(settled(&with, &["http/1.1", "h2"]).as_deref(), Some("h2"));
    assert_eq!(settled(&with, &["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(settled(&without, &["h2", "http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(settled(&with, &["http/1.0"]).as_deref(), Some("http/1.0"));
    assert_eq!(settled(&with, &[]), None);
    let refused = meet(&without, &offer(&["h2"]));
    assert_eq!(refused.err(), Some(Error::NoApplicationProtocol));
}

#[test]
fn client_certificates() {
    let setup = setup();
    let (open, optional, required) = (build(&setup.open), build(&setup.optional()), build(&setup.required()));
    for versions in EACH_VERSION {
        let nobody = setup.client(versions, None);
        let alice = setup.client(versions, Some(&setup.alice));
        let mallory = setup.client(versions, Some(&setup.mallory));
        // rustls sends a certificate only if it is asked for.
        assert!(facts(&meet(&open, &alice).unwrap().server).client_chain.is_empty());
        assert!(facts(&meet(&optional, &nobody).unwrap().server).client_chain.is_empty());
        for server in [&optional, &required] {
            let chain = facts(&meet(server, &alice).unwrap().server).client_chain;
            assert_eq!(chain.len(), 1);
            assert_eq!(*chain[0], *der(&setup.alice.cert));
            // One that does not verify is not the same as none.
            assert!(meet(server, &mallory).is_err());
        }
        assert_eq!(meet(&required, &nobody).err(), Some(Error::NoCertificatesPresented));
    }
}

#[test]
fn an_expired_client_certificate_is_refused() {
    let setup = setup();
    let expired = setup.clients.issue_with(&["bob.clients"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let bob = save(&setup.scratch, "bob", &expired);
    for server in [build(&setup.optional()), build(&setup.required())] {
        assert!(meet(&server, &setup.client(any_version(), Some(&bob))).is_err());
    }
}

#[test]
fn sessions_resume_on_the_same_listener() {
    let setup = setup();
    let server = build(&setup.open);
    for versions in EACH_VERSION {
        let client = setup.client(versions, None);
        assert!(!meet(&server, &client).unwrap().resumed());
        assert!(meet(&server, &client).unwrap().resumed());
        // Another listener, however alike, has other keys.
        assert!(!meet(&build(&setup.open), &client).unwrap().resumed());
    }
}

#[test]
fn a_resumed_session_still_tells_the_client_certificate() {
    let setup = setup();
    let server = build(&setup.required());
    for versions in EACH_VERSION {
        let alice = setup.client(versions, Some(&setup.alice));
        meet(&server, &alice).unwrap();
        let again = meet(&server, &alice).unwrap();
        assert!(again.resumed());
        assert_eq!(*facts(&again.server).client_chain[0], *der(&setup.alice.cert));
    }
}

/// CVE-2025-23419, CVE-2025-68121: what a client once proved, or did not have to prove, counts only where the
/// same proof is asked for.
#[test]
fn sessions_do_not_cross_policies() {
    let setup = setup();
    let other_ca = setup.scratch.write("other.pem", Authority::new("others").pem());
    let policies = [
        setup.open.clone(),
        setup.optional(),
        setup.required(),
        with_client_auth(&setup.open, other_ca.clone(), false),
        with_client_auth(&setup.open, other_ca, true),
    ];
    for versions in EACH_VERSION {
        for (from, before) in policies.iter().enumerate() {
            for (to, after) in policies.iter().enumerate().filter(|(to, _)| *to != from) {
                let old = build(before);
                let new = rebuild(after, Some(&old));
                // Without a certificate, and with one by the first authority.
                for identity in [None, Some(&setup.alice)] {
                    let client = setup.client(versions, identity);
                    if meet(&old, &client).is_err() {
                        continue;
                    }
                    match meet(&new, &client) {
                        Ok(done) => assert!(!done.resumed(), "{from} to {to}"),
                        Err(_) => assert!(to >= 2, "{from} to {to}"),
                    }
                    if to == 4 || (to == 2 && identity.is_none()) {
                        assert!(meet(&new, &client).is_err(), "{from} to {to}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_reload_without_change_returns_the_same_object() {
    let setup = setup();
    for spec in [setup.open.clone(), setup.required()] {
        let first = build(&spec);
        assert!(Arc::ptr_eq(&first, &rebuild(&spec, Some(&first))));
        // The same contents elsewhere are the same.
        let mut moved = spec.clone();
        let cert = std::fs::read(&spec.certificates[0].cert).unwrap();
        moved.certificates[0].cert = setup.scratch.write("moved.pem", cert);
        assert!(Arc::ptr_eq(&first, &rebuild(&moved, Some(&first))));
        assert_eq!(build(&spec), first);
    }
}

#[test]
fn a_reload_picks_up_a_new_certificate_and_sessions_go_on() {
    let setup = setup();
    for versions in EACH_VERSION {
        let first = build(&setup.open);
        let client = setup.client(versions, None);
        let before = meet(&first, &client).unwrap().shown();
        setup.servers.files(&setup.scratch, "site", &["site.example"]);
        let second = rebuild(&setup.open, Some(&first));
        assert_ne!(first, second);
        assert!(meet(&second, &client).unwrap().resumed());
        let shown = meet(&second, &setup.client(versions, None)).unwrap().shown();
        assert_ne!(shown, before);
        assert_eq!(shown, der(&setup.open.certificates[0].cert));
        // Connections of before go on with what they have.
        assert!(meet(&first, &setup.client(versions, None)).is_ok());
    }
}

#[test]
fn a_reload_notices_every_setting() {
    let setup = setup();
    let first = build(&setup.open);
    let more = setup.servers.files(&setup.scratch, "more", &["more.example"]);
    let changes = [
        ServerTlsSpec { http2: false, ..setup.open.clone() },
        ServerTlsSpec { min_version: MinVersion::Tls13, ..setup.open.clone() },
        ServerTlsSpec { certificates: vec![setup.open.certificates[0].clone(), more], ..setup.open.clone() },
        setup.optional(),
        setup.required(),
    ];
    for change in changes {
        assert!(!Arc::ptr_eq(&first, &rebuild(&change, Some(&first))), "{change:?}");
    }
}

#[test]
fn the_certificates_verify_for_a_client_that_trusts_the_authority_only() {
    let setup = setup();
    let server = build(&setup.open);
    let stranger = Arc::new(client(&setup.clients, any_version(), None));
    assert!(matches!(meet(&server, &stranger), Err(Error::InvalidCertificate(_))));
    let client = setup.client(any_version(), None);
    assert!(shake(server.config(), &client, "other.example").is_err());
}

#[test]
fn post_quantum_key_exchange_is_used() {
    let setup = setup();
    let done = meet(&build(&setup.open), &setup.client(&[&TLS13], None)).unwrap();
    let group = done.server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn garbage_is_answered_with_an_alert() {
    let setup = setup();
    let mut connection = ServerConnection::new(build(&setup.open).config()).unwrap();
    connection.read_tls(&mut &b"GET / HTTP/1.1\r\nHost: site.example\r\n\r\n"[..]).unwrap();
    assert!(connection.process_new_packets().is_err());
    let mut sent = Vec::new();
    connection.write_tls(&mut sent).unwrap();
    assert_eq!(sent.first(), Some(&21), "an alert record");
    assert_eq!(sent.last(), Some(&u8::from(AlertDescription::DecodeError)));
}

#[test]
fn debug_shows_no_key() {
    let setup = setup();
    let text = format!("{:?}", build(&setup.required()));
    assert!(text.contains("site.example") && text.len() < 600, "{text}");
}
