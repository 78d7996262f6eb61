//! Signatures of all kinds, and every way they should not count.

use super::*;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use torana_core::consumer::{Consumer, ConsumerFacts, Consumers, Digest, FoundKey, Unavailable, User};
use torana_core::policy::entry;
use torana_core::testing::{TestNames, exchange, reply, run, show_diagnostics, written};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

struct Keys {
    ed: Ed25519KeyPair,
    ecdsa: EcdsaKeyPair,
}

struct Book(HashMap<&'static str, Arc<Signer>>);

impl Consumers for Book {
    fn key(&self, _: &Digest) -> Result<Option<FoundKey>, Unavailable> {
        Ok(None)
    }
    fn user(&self, _: &str) -> Option<Arc<User>> {
        None
    }
    fn signer(&self, id: &str) -> Option<Arc<Signer>> {
        self.0.get(id).cloned()
    }
    fn certificate(&self, _: &str) -> Option<Arc<Consumer>> {
        None
    }
    fn route_name(&self, _: u32) -> Option<&str> {
        None
    }
}

fn der(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Box<[u8]> {
    key.as_der().unwrap().as_ref().into()
}

fn setup(config: &str) -> (Keys, Arc<dyn Policy>) {
    let keys = Keys {
        ed: Ed25519KeyPair::generate().unwrap(),
        ecdsa: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    };
    let signer = |name: &str, key: SignerKey| {
        let facts = ConsumerFacts { name: name.into(), active: name != "off", ..ConsumerFacts::default() };
        Arc::new(Signer { key, consumer: Arc::new(Consumer::new(facts)) })
    };
    let book = HashMap::from([
        ("h", signer("shop", SignerKey::Hmac(SECRET.into()))),
        ("e", signer("ed", SignerKey::Ed25519(der(keys.ed.public_key())))),
        ("p", signer("ec", SignerKey::EcdsaP256(der(keys.ecdsa.public_key())))),
        ("off", signer("off", SignerKey::Hmac(SECRET.into()))),
    ]);
    let site = TestNames::new("r", "/*").serving(Arc::new(Book(book)));
    let policy = (entry::<HmacAuth>().build)(&written(config), &site);
    (keys, policy.unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems))))
}

const ALL: &str = r#"("@method" "@authority" "@path" "@query")"#;

/// A request with what is said to be signed, and the signature of what is.
fn signed(params: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let request = "POST /a?b=1 HTTP/1.1\nHost: api.example\nX-A: 1";
    let input = format!("s={params}");
    let (input, _) = message::read(input.as_bytes(), b"s=::").unwrap();
    let signature = sign(&input.base(&exchange(request)).unwrap_or_default());
    format!("{request}\nSignature-Input: s={params}\nSignature: s=:{}:", STANDARD.encode(signature))
}

fn by_hmac(base: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), base).as_ref().to_vec()
}

fn asked(policy: &dyn Policy, request: &str) -> String {
    let mut asked = exchange(request);
    let shown = run(policy, &mut asked, reply("200"));
    match asked.identity {
        Some(identity) => {
            assert!(!shown.contains("signature"), "{shown}");
            identity.subject.to_string()
        }
        None => shown.lines().next().unwrap().replace("rejected hmac_auth.", ""),
    }
}

#[test]
fn signatures_of_all_kinds_count_once() {
    let (keys, policy) = setup("{}");
    let now = unix_now();
    let by_ed = |base: &[u8]| keys.ed.sign(base).as_ref().to_vec();
    let by_ecdsa = |base: &[u8]| keys.ecdsa.sign(&SystemRandom::new(), base).unwrap().as_ref().to_vec();
    let hmac = signed(&format!("{ALL};created={now};keyid=\"h\";alg=\"hmac-sha256\""), by_hmac);
    let ed = signed(&format!("{ALL};created={now};keyid=\"e\""), by_ed);
    let params = format!("{ALL};created={now};keyid=\"p\"");
    let ecdsa = signed(&params, by_ecdsa);
    for (request, name) in [(&hmac, "shop"), (&ed, "ed"), (&ecdsa, "ec")] {
        assert_eq!(asked(&*policy, request), name);
        assert_eq!(asked(&*policy, request), "replayed 401", "{name}");
    }
    // ECDSA: another signature of the same is no other request.
    assert_eq!(asked(&*policy, &signed(&params, by_ecdsa)), "replayed 401");
    // With nonces, the same request counts once for each.
    let nonce = |nonce: &str| signed(&format!("{ALL};created={now};keyid=\"h\";nonce=\"{nonce}\""), by_hmac);
    assert_eq!([asked(&*policy, &nonce("1")), asked(&*policy, &nonce("2"))], ["shop", "shop"]);
    assert_eq!(asked(&*policy, &nonce("2")), "replayed 401");
    // A nonce is one with any other request, too.
    let other = signed(&format!(r#"("@method" "@target-uri");created={now};keyid="h";nonce="2""#), by_hmac);
    assert_eq!(asked(&*policy, &other), "replayed 401");
}

#[test]
fn what_was_signed_cannot_be_changed() {
    let (_, policy) = setup("{}");
    let params = format!(r#"("@method" "@authority" "@path" "@query" "x-a");created={};keyid="h""#, unix_now());
    let good = signed(&params, by_hmac);
    for (from, to) in [
        ("POST", "PUT"),
        ("/a?", "/A?"),
        ("b=1", "b=2"),
        ("api.example", "apj.example"),
        ("X-A: 1", "X-A: 2"),
        ("X-A: 1", "X-A: 1\nX-A: 1"),
    ] {
        assert_eq!(asked(&*policy, &good.replacen(from, to, 1)), "invalid 401", "{to}");
    }
    assert_eq!(asked(&*policy, &good.replacen("X-A: 1", "Accept: a", 1)), "components 401");
    assert_eq!(asked(&*policy, &good), "shop", "refused ones use nothing up");
}

#[test]
fn every_way_a_signature_should_not_count() {
    let (keys, policy) = setup("{}");
    let now = unix_now();
    let with = |params: &str| signed(&params.replace("NOW", &now.to_string()), by_hmac);
    for (params, expected) in [
        (r#"("@method" "@authority" "@path");created=NOW;keyid="h""#.to_owned(), "components 401"),
        (format!("{ALL};created=NOW"), "malformed 401"),
        (format!("{ALL};keyid=\"h\""), "malformed 401"),
        (format!("{ALL};created=NOW;keyid=\"x\""), "key_unknown 401"),
        (format!("{ALL};created=NOW;keyid=\"off\""), "inactive 401"),
        (format!("{ALL};created={};keyid=\"h\"", now - 301), "expired 401"),
        (format!("{ALL};created={};keyid=\"h\"", now + 60), "expired 401"),
        (format!("{ALL};created=NOW;expires={};keyid=\"h\"", now - 1), "expired 401"),
        (format!("{ALL};created={};keyid=\"h\"", u64::MAX), "expired 401"),
        // CVE-2026-39999: the public key as the secret of another algorithm.
        (format!("{ALL};created=NOW;keyid=\"e\";alg=\"hmac-sha256\""), "key_unknown 401"),
        (format!("{ALL};created=NOW;keyid=\"e\""), "invalid 401"),
    ] {
        assert_eq!(asked(&*policy, &with(&params)), expected, "{params}");
    }
    let public = der(keys.ed.public_key());
    let confused = |base: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), base).as_ref().to_vec();
    assert_eq!(asked(&*policy, &signed(&format!("{ALL};created={now};keyid=\"e\""), confused)), "invalid 401");
    // CVE-2022-21449: zeros are no signature.
    let zeros = signed(&format!("{ALL};created={now};keyid=\"p\""), |_| vec![0; 64]);
    assert_eq!(asked(&*policy, &zeros), "invalid 401");
    let good = with(&format!("{ALL};created=NOW;keyid=\"h\""));
    assert_eq!(asked(&*policy, &good.replace("Signature: s=:", "Signature: s=:AAAA")), "invalid 401");
    let twice = format!("{good}\nSignature: s=:AAAA:");
    assert_eq!(asked(&*policy, &twice), "malformed 401");
    assert_eq!(asked(&*policy, "GET / HTTP/1.1\nHost: a"), "missing 401");
    assert_eq!(asked(&*policy, "GET / HTTP/1.1\nHost: a\nSignature: s=:AAAA:"), "malformed 401");
    assert_eq!(asked(&*policy, &good), "shop");
}

#[test]
fn a_nonce_and_more_may_be_required() {
    let (_, policy) = setup(r#"{ "require": [ "@target-uri", "x-a" ], "require_nonce": true, "max_age": "1m" }"#);
    let with = |components: &str, rest: &str| {
        signed(&format!("({components});created={};keyid=\"h\"{rest}", unix_now() - 30), by_hmac)
    };
    assert_eq!(asked(&*policy, &with(r#""@target-uri" "x-a""#, "")), "components 401");
    assert_eq!(asked(&*policy, &with(r#""@target-uri""#, ";nonce=\"1\"")), "components 401");
    assert_eq!(asked(&*policy, &with(r#""@target-uri" "x-a""#, ";nonce=\"1\"")), "shop");
}

#[test]
fn what_is_remembered_has_a_bound_and_an_end() {
    let seen = Seen::default();
    let mark = |number: usize| {
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(&number.to_le_bytes());
        mark
    };
    for number in 0..MOST_REMEMBERED {
        assert_eq!(seen.note(mark(number), 40, 60, 50), Noted::New);
    }
    let last = mark(MOST_REMEMBERED);
    assert_eq!((seen.note(mark(1), 40, 60, 60), seen.note(last, 40, 60, 60)), (Noted::Again, Noted::Full));
    assert_eq!(seen.note(mark(1), 140, 60, 101), Noted::New, "too old to count anyway");
    assert_eq!(seen.note(last, 140, 60, 102), Noted::New);
    assert_eq!(seen.0.lock().unwrap().created.len(), 2);
}

#[test]
fn a_longer_time_does_not_bring_used_signatures_back() {
    let seen = Seen::default();
    assert_eq!(seen.note([1; 16], 100, 60, 110), Noted::New);
    assert_eq!(seen.note([1; 16], 100, 60, 160), Noted::Again);
    // A reload makes it ten minutes: at 200, the signature counts again, and was used.
    assert_eq!(seen.note([1; 16], 100, 600, 200), Noted::Again);
}

#[test]
fn what_cannot_be_is_said() {
    let said = |config: &str| {
        let problems = (entry::<HmacAuth>().build)(&written(config), &TestNames::new("r", "/*")).err();
        problems.map(|problems| show_diagnostics(&problems)).unwrap_or_default()
    };
    for (config, code) in [
        (r#"{ "max_age": "2h" }"#, "hmac_auth.window"),
        (r#"{ "max_age": "0s" }"#, "hmac_auth.window"),
        (r#"{ "leeway": "6m" }"#, "hmac_auth.window"),
        (r#"{ "require": [ "@status" ] }"#, "hmac_auth.component"),
        (r#"{ "require": [ "Date" ] }"#, "hmac_auth.component"),
    ] {
        assert!(said(config).contains(code), "{config}: {}", said(config));
    }
}
