use super::super::server::facts;
use super::super::testing::*;
use super::*;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

/// A listener with a default, a wildcard, an exact name under it and one more.
struct Site {
    authority: Authority,
    scratch: Scratch,
    server: Arc<rustls::ServerConfig>,
}

fn site() -> Site {
    let (authority, scratch) = (Authority::new("site"), Scratch::new());
    let certificates = vec![
        authority.files(&scratch, "first", &["first.example", "www.first.example"]),
        authority.files(&scratch, "wild", &["*.shop.example", "shop.example"]),
        authority.files(&scratch, "exact", &["api.shop.example"]),
        authority.files(&scratch, "upper", &["Upper.Example"]),
    ];
    let server = build(&spec(certificates)).config();
    Site { authority, scratch, server }
}

impl Site {
    /// Which of the files a client is shown that asks for `name`.
    fn shown(&self, name: &str) -> &'static str {
        let config = Arc::new(unverifying(client(&self.authority, any_version(), None)));
        self.whose(&shake(Arc::clone(&self.server), &config, name).unwrap().shown())
    }

    fn whose(&self, shown: &rustls_pki_types::CertificateDer<'_>) -> &'static str {
        let files = ["first", "wild", "exact", "upper"];
        let is = |name: &&str| der(&self.scratch.0.join(format!("{name}.pem"))) == *shown;
        files.into_iter().find(is).unwrap()
    }
}

/// A client that takes any certificate, to see which one it is shown.
fn unverifying(mut config: ClientConfig) -> ClientConfig {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{DigitallySignedStruct, Error};
    use rustls_pki_types::{CertificateDer, UnixTime};

    #[derive(Debug)]
    struct TakeAny;

    impl ServerCertVerifier for TakeAny {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            super::super::provider().signature_verification_algorithms.supported_schemes()
        }
    }

    config.dangerous().set_certificate_verifier(Arc::new(TakeAny));
    config
}

#[test]
fn exact_names_come_before_wildcards_and_wildcards_before_the_first() {
    let site = site();
    assert_eq!(site.shown("first.example"), "first");
    assert_eq!(site.shown("www.first.example"), "first");
    assert_eq!(site.shown("shop.example"), "wild");
    assert_eq!(site.shown("www.shop.example"), "wild");
    assert_eq!(site.shown("api.shop.example"), "exact");
    assert_eq!(site.shown("upper.example"), "upper");
    assert_eq!(site.shown("unknown.example"), "first");
}

#[test]
fn a_wildcard_stands_for_one_label() {
    let site = site();
    assert_eq!(site.shown("a.b.shop.example"), "first");
    assert_eq!(site.shown("www.api.shop.example"), "first");
}

#[test]
fn without_a_name_the_first_certificate_is_shown() {
    let site = site();
    // An address is never sent as SNI.
    assert_eq!(site.shown("192.0.2.1"), "first");
    let mut quiet = unverifying(client(&site.authority, any_version(), None));
    quiet.enable_sni = false;
    let done = shake(Arc::clone(&site.server), &Arc::new(quiet), "api.shop.example").unwrap();
    assert_eq!(site.whose(&done.shown()), "first");
    assert_eq!(facts(&done.server).server_name, None);
}

#[test]
fn mixed_case_means_the_same() {
    let site = site();
    assert_eq!(site.shown("API.Shop.EXAMPLE"), "exact");
    assert_eq!(site.shown("WWW.SHOP.example"), "wild");
    assert_eq!(site.shown("UPPER.example"), "upper");
    // And for a client that verifies what it sees.
    let config = Arc::new(client(&site.authority, any_version(), None));
    let done = shake(Arc::clone(&site.server), &config, "Api.Shop.Example").unwrap();
    assert_eq!(facts(&done.server).server_name.as_deref(), Some("api.shop.example"));
}

/// The name and the certificate a listener finds for a ClientHello with `sni` on the wire, whatever a client
/// library would have made of it.
fn resolve_raw(site: &Site, sni: &str) -> Option<(String, &'static str)> {
    let placeholder = "x".repeat(sni.len());
    let config = Arc::new(client(&site.authority, any_version(), None));
    let name = ServerName::try_from(placeholder.clone()).unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    let at = hello.windows(sni.len()).position(|window| window == placeholder.as_bytes()).unwrap();
    hello[at..at + sni.len()].copy_from_slice(sni.as_bytes());
    let mut acceptor = Acceptor::default();
    let mut rest = hello.as_slice();
    acceptor.read_tls(&mut rest).unwrap();
    let accepted = acceptor.accept().ok()??;
    let name = accepted.client_hello().server_name()?.to_owned();
    let shown = site.server.cert_resolver.resolve(accepted.client_hello())?;
    Some((name, site.whose(&shown.cert[0])))
}

#[test]
fn a_trailing_dot_on_the_wire_means_the_same() {
    let site = site();
    assert_eq!(resolve_raw(&site, "api.shop.example.").unwrap().1, "exact");
    assert_eq!(resolve_raw(&site, "www.shop.example.").unwrap().1, "wild");
    assert_eq!(resolve_raw(&site, "Upper.EXAMPLE.").unwrap().1, "upper");
    assert_eq!(resolve_raw(&site, "api.shop.example").unwrap().1, "exact");
}

#[test]
fn names_that_are_none_are_refused() {
    let site = site();
    for name in ["api.shop.example\0", "*.shop.example", "api..shop.example", ".shop.example", "api shop example"] {
        assert_eq!(resolve_raw(&site, name), None, "{name:?}");
    }
}

#[test]
fn of_two_keys_the_client_gets_the_one_it_can_verify() {
    let (authority, scratch) = (Authority::new("two"), Scratch::new());
    let rsa = authority.issue_with(&["two.example"], &rcgen::PKCS_RSA_SHA256, |_| {});
    let certificates = [authority.files(&scratch, "ecdsa", &["two.example"]), save(&scratch, "rsa", &rsa)];
    let table: Vec<_> = certificates
        .iter()
        .map(|files| super::super::certs::load_identity(files, 0, &super::super::provider(), &mut Vec::new()).unwrap())
        .collect();
    let table = SniTable::new(table.iter().map(|one| (Arc::clone(&one.key), one.facts.dns_names.as_slice())));
    let ecdsa = SignatureScheme::ECDSA_NISTP256_SHA256;
    let rsa = SignatureScheme::RSA_PSS_SHA256;
    for name in [Some("two.example"), Some("unknown.example"), None] {
        assert_eq!(table.choose(name, &[rsa, ecdsa]), Some(0));
        assert_eq!(table.choose(name, &[rsa]), Some(1));
        assert_eq!(table.choose(name, &[SignatureScheme::ED448]), None);
    }
}

#[test]
fn names_have_one_form() {
    assert_eq!(normalise("a.example"), "a.example");
    assert_eq!(normalise("A.Example."), "a.example");
    assert!(matches!(normalise("a.example."), Cow::Borrowed("a.example")));
}
