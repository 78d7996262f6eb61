use super::super::server::{ServerTls, ServerTlsSpec};
use super::super::testing::*;
use super::*;
use std::path::PathBuf;
use torana_core::diagnostic::Severity;

fn problems(spec: &ServerTlsSpec) -> Vec<TlsProblem> {
    ServerTls::build(spec, None).map(|built| built.warnings).unwrap_or_else(|problems| problems)
}

/// The one problem of a listener with these files.
fn problem(files: CertificateFiles) -> TlsProblem {
    let mut problems = problems(&spec(vec![files]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn every_problem_is_reported_at_once() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let good = authority.files(&scratch, "good", &["good.example"]);
    let missing =
        CertificateFiles { cert: PathBuf::from("/nonexistent/a.pem"), key: PathBuf::from("/nonexistent/a.key") };
    let mixed = CertificateFiles { key: authority.files(&scratch, "other", &["x.example"]).key, ..good.clone() };
    let empty = CertificateFiles { cert: scratch.write("empty.pem", ""), ..good.clone() };
    let spec = spec(vec![good, missing, mixed, empty]);
    let spec = with_client_auth(&spec, scratch.write("ca.pem", "no authority"), true);
    let found = ServerTls::build(&spec, None).unwrap_err();
    let found: Vec<_> = found.iter().map(|problem| (problem.which, problem.code)).collect();
    let expected = [
        (Which::Certificate(1), "tls.unreadable"),
        (Which::Key(1), "tls.unreadable"),
        (Which::Key(2), "tls.key_mismatch"),
        (Which::Certificate(3), "tls.not_pem"),
        (Which::Ca, "tls.not_pem"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_listener_needs_a_certificate() {
    let found = problems(&ServerTlsSpec::default());
    assert_eq!((found[0].code, found[0].severity), ("tls.no_certificate", Severity::Error));
}

#[test]
fn files_that_are_something_else() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let good = authority.files(&scratch, "good", &["good.example"]);
    let hint = |files: CertificateFiles| problem(files).hint.unwrap();
    let cert = |contents: &[u8]| CertificateFiles { cert: scratch.write("x.pem", contents), ..good.clone() };
    let key = |contents: &[u8]| CertificateFiles { key: scratch.write("x.key", contents), ..good.clone() };

    assert!(hint(cert(&std::fs::read(&good.key).unwrap())).contains("swapped"));
    assert!(hint(key(&std::fs::read(&good.cert).unwrap())).contains("swapped"));
    assert!(hint(cert(&der(&good.cert))).contains("openssl x509 -inform der"));
    assert!(hint(cert(b"hello")).contains("BEGIN CERTIFICATE"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(hint(key(encrypted.as_bytes())).contains("openssl pkey -in"));
    let pem = std::fs::read_to_string(&good.cert).unwrap();
    let cut = problem(cert(&pem.as_bytes()[..pem.len() / 2]));
    assert!(cut.message.contains("no `-----END` line"), "{cut}");
    assert!(problem(cert(pem.replacen("MII", "M!!", 1).as_bytes())).message.contains("base64"));
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(problem(cert(hollow.as_bytes())).code, "tls.bad_certificate");
    let hollow = hollow.replace("CERTIFICATE", "PRIVATE KEY");
    assert_eq!(problem(key(hollow.as_bytes())).code, "tls.bad_key");
}

#[test]
fn what_is_not_a_file_of_sane_size_is_not_read() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let good = authority.files(&scratch, "good", &["good.example"]);
    let directory = problem(CertificateFiles { cert: scratch.0.clone(), ..good.clone() });
    assert!(directory.message.contains("is not a file"), "{directory}");
    let endless = problem(CertificateFiles { cert: PathBuf::from("/dev/zero"), ..good.clone() });
    assert!(endless.message.contains("is not a file"), "{endless}");
    let huge = scratch.write("huge.pem", vec![b'x'; 8 * 1024 * 1024 + 1]);
    assert!(problem(CertificateFiles { cert: huge, ..good }).message.contains("8 MiB"));
}

#[test]
fn problems_never_quote_a_key() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let (cert, key) = authority.issue(&["good.example"]);
    let secret: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let broken = [
        key.replace("-----END PRIVATE KEY-----", ""),
        key.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY----"),
        key.replace("M", "*"),
        key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        key.replace("-----BEGIN", "----BEGIN"),
    ];
    for broken in broken {
        for files in [(cert.clone(), broken.clone()), (broken, key.clone())] {
            let found = problems(&spec(vec![save(&scratch, "x", &files)]));
            assert!(!found.is_empty());
            let text = format!("{found:?}");
            for line in &secret {
                assert!(!text.contains(line) && !text.contains(&line.replace('M', "*")), "{text}");
            }
        }
    }
}

#[test]
fn a_chain_in_the_wrong_order_is_recognised() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let (cert, key) = authority.issue(&["good.example"]);
    let found = problem(save(&scratch, "x", &(format!("{}{cert}", authority.pem()), key.clone())));
    assert_eq!((found.which, found.code), (Which::Key(0), "tls.key_mismatch"));
    assert!(found.hint.unwrap().contains("put that one first"));
    let right = (format!("{cert}{}", authority.pem()), key);
    assert_eq!(problems(&spec(vec![save(&scratch, "x", &right)])), Vec::new());
}

#[test]
fn every_usual_kind_of_key_is_taken() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let kinds =
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256];
    for kind in kinds {
        let files = authority.issue_with(&["good.example"], kind, |_| {});
        assert_eq!(problems(&spec(vec![save(&scratch, "x", &files)])), Vec::new());
        // A key and its certificate may share a file, in any order.
        let both = scratch.write("both.pem", format!("{}{}", files.1, files.0));
        assert_eq!(problems(&spec(vec![CertificateFiles { cert: both.clone(), key: both }])), Vec::new());
    }
}

#[test]
fn dates_and_names_are_warnings() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let issue = |names: &[&str], edit: &dyn Fn(&mut rcgen::CertificateParams)| {
        problem(save(&scratch, "x", &authority.issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256, edit)))
    };
    let expired = issue(&["a.example"], &|params| params.not_after = rcgen::date_time_ymd(2024, 2, 29));
    assert_eq!((expired.severity, expired.code), (Severity::Warning, "tls.expired"));
    assert!(expired.message.ends_with("expired on 2024-02-29"), "{expired}");
    let early = issue(&["a.example"], &|params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
    assert_eq!((early.severity, early.code), (Severity::Warning, "tls.not_yet_valid"));
    let nameless = issue(&[], &|_| {});
    assert_eq!((nameless.severity, nameless.code), (Severity::Warning, "tls.no_dns_name"));
    // CVE-2025-66220: not read as `bank.example`.
    let nul = issue(&["good.example"], &|params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("bank.example\0.evil.example".try_into().unwrap()));
    });
    assert_eq!((nul.severity, nul.code), (Severity::Warning, "tls.unusable_name"));
}

#[test]
fn a_certificate_for_an_address_belongs_in_the_first_place() {
    let (scratch, authority) = (Scratch::new(), Authority::new("a"));
    let address = authority.files(&scratch, "address", &["127.0.0.1"]);
    let name = authority.files(&scratch, "name", &["a.example"]);
    assert_eq!(problems(&spec(vec![address.clone(), name.clone()])), Vec::new());
    let found = problems(&spec(vec![name, address]));
    assert_eq!((found[0].which, found[0].code), (Which::Certificate(1), "tls.no_dns_name"));
}
