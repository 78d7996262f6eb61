//! The vectors of Project Wycheproof: signatures that broken implementations take for good, and good ones that they do
//! not, judged by the same code that judges tokens. What is signed are its messages, since nobody can sign tokens with its
//! keys; what a token is, is tested in `tests`.

use super::algorithm::{Algorithm, Allowed};
use super::key::{Key, KeySet, Signature};
use super::tests::{claims, pairs};
use serde_json::{Map, Value, json};
use wycheproof::ecdsa::TestName as Ecdsa;
use wycheproof::eddsa::TestName as EdDsa;
use wycheproof::mac::TestName as Mac;
use wycheproof::rsa_pkcs1_verify::TestName as Pkcs1;
use wycheproof::rsa_pss_verify::TestName as Pss;

/// What is expected of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// Every verdict is the set's.
    AsSaid,
    /// None of its good ones counts: they are not what RFC 7518 means by this algorithm.
    Nothing,
}

use Expected::{AsSaid, Nothing};

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn groups(json: &str) -> Vec<Value> {
    let mut set: Value = serde_json::from_str(json).unwrap();
    std::mem::take(set["testGroups"].as_array_mut().unwrap())
}

/// The key of a group, as read from PEM and, if there is one, from a key set.
fn key_sets(group: &Value, allowed: Allowed) -> Vec<KeySet> {
    let pem = group["publicKeyPem"].as_str().unwrap();
    let pem = Key::of_pem(None, pem, allowed).map(|key| KeySet::of(vec![key]));
    let jwk = group.get("publicKeyJwk").or_else(|| group.get("keyJwk")).filter(|jwk| jwk.is_object());
    let jwk = jwk.and_then(|jwk| {
        let set: Map<String, Value> = [("keys".to_owned(), Value::from(vec![jwk.clone()]))].into_iter().collect();
        KeySet::of_jwks(&set)
    });
    pem.into_iter().chain(jwk).collect()
}

/// Judges a set: how many signatures counted, how many did not.
fn judge(json: &str, algorithm: Algorithm, expected: Expected) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    let allowed = Allowed::of(&[]);
    for group in groups(json) {
        let keys = key_sets(&group, allowed);
        assert!(expected == Nothing || !keys.is_empty(), "a key is not read: {}", group["publicKeyPem"]);
        for test in group["tests"].as_array().unwrap() {
            let (message, signature) = (bytes(&test["msg"]), bytes(&test["sig"]));
            for keys in &keys {
                let verdict = keys.judge(None, algorithm, allowed, &message, &signature) == Signature::Good;
                let right = match (expected, test["result"].as_str().unwrap()) {
                    (AsSaid, "invalid") | (Nothing, "valid") => !verdict,
                    (AsSaid, "valid") => verdict,
                    // Some sets have bad signatures that are good ones by another algorithm.
                    _ => true,
                };
                assert!(right, "{algorithm:?}: {verdict} for {test}");
                *if verdict { &mut good } else { &mut bad } += 1;
            }
        }
    }
    (good, bad)
}

#[test]
fn signatures_count_as_wycheproof_says() {
    use Algorithm::{ES256, ES384, PS256, PS384, PS512, RS256, RS384, RS512};
    let sets = [
        (Pkcs1::Rsa2048Sha256.json_data(), RS256, AsSaid),
        (Pkcs1::Rsa2048Sha384.json_data(), RS384, AsSaid),
        (Pkcs1::Rsa2048Sha512.json_data(), RS512, AsSaid),
        (Pkcs1::Rsa3072Sha256.json_data(), RS256, AsSaid),
        (Pkcs1::Rsa3072Sha384.json_data(), RS384, AsSaid),
        (Pkcs1::Rsa3072Sha512.json_data(), RS512, AsSaid),
        (Pkcs1::Rsa4096Sha256.json_data(), RS256, AsSaid),
        (Pkcs1::Rsa4096Sha384.json_data(), RS384, AsSaid),
        (Pkcs1::Rsa4096Sha512.json_data(), RS512, AsSaid),
        (Pkcs1::Rsa8192Sha256.json_data(), RS256, AsSaid),
        (Pkcs1::Rsa2048Sha512_256.json_data(), RS256, Nothing),
        (Pkcs1::Rsa2048Sha3_256.json_data(), RS256, Nothing),
        (Pkcs1::Rsa2048Sha256.json_data(), PS256, Nothing),
        (Pss::RsaPss2048Sha256Mgf1SaltLen32.json_data(), PS256, AsSaid),
        (Pss::RsaPss3072Sha256Mgf1SaltLen32.json_data(), PS256, AsSaid),
        (Pss::RsaPss4096Sha256Mgf1SaltLen32.json_data(), PS256, AsSaid),
        (Pss::RsaPss2048Sha384Mgf1SaltLen48.json_data(), PS384, AsSaid),
        (Pss::RsaPss4096Sha384Mgf1SaltLen48.json_data(), PS384, AsSaid),
        (Pss::RsaPss4096Sha512Mgf1SaltLen64.json_data(), PS512, AsSaid),
        // The salt is as long as the digest, and the digest the same throughout (RFC 7518 §3.5).
        (Pss::RsaPss2048Sha256Mgf1SaltLen0.json_data(), PS256, Nothing),
        (Pss::RsaPss4096Sha512Mgf1SaltLen32.json_data(), PS512, Nothing),
        (Pss::RsaPss2048Sha256Mgf1Sha1_20.json_data(), PS256, Nothing),
        (Pss::RsaPss2048Sha1Mgf1SaltLen20.json_data(), PS256, Nothing),
        (Pss::RsaPss2048Shake256.json_data(), PS512, Nothing),
        (Pss::RsaPss2048Sha256Mgf1SaltLen32.json_data(), RS256, Nothing),
        (Ecdsa::EcdsaSecp256r1Sha256P1363.json_data(), ES256, AsSaid),
        (Ecdsa::EcdsaSecp384r1Sha384P1363.json_data(), ES384, AsSaid),
        // Not as DER, not with another digest, not on another curve (RFC 7518 §3.4).
        (Ecdsa::EcdsaSecp256r1Sha256.json_data(), ES256, Nothing),
        (Ecdsa::EcdsaSecp384r1Sha384.json_data(), ES384, Nothing),
        (Ecdsa::EcdsaSecp256r1Sha512P1363.json_data(), ES256, Nothing),
        (Ecdsa::EcdsaSecp384r1Sha512P1363.json_data(), ES384, Nothing),
        (Ecdsa::EcdsaSecp256k1Sha256P1363.json_data(), ES256, Nothing),
        (EdDsa::Ed25519.json_data(), Algorithm::EdDsa, AsSaid),
        (EdDsa::Ed448.json_data(), Algorithm::EdDsa, Nothing),
    ];
    let (mut good, mut bad) = (0, 0);
    for (json, algorithm, expected) in sets {
        let counts = judge(json, algorithm, expected);
        assert!(expected == Nothing || (counts.0 > 0 && counts.1 > 0), "{algorithm:?}: {counts:?}");
        good += counts.0;
        bad += counts.1;
    }
    // As many as there are in the crate: none was passed over.
    assert!(good > 900 && bad > 5000, "{good} counted and {bad} did not");
}

#[test]
fn codes_of_shared_secrets_count_as_wycheproof_says() {
    use Algorithm::{HS256, HS384, HS512};
    let sets = [
        (Mac::HmacSha256, HS256, true),
        (Mac::HmacSha384, HS384, true),
        (Mac::HmacSha512, HS512, true),
        (Mac::HmacSha512_256, HS256, false),
        (Mac::HmacSha3_256, HS256, false),
        (Mac::HmacSha512_256, HS512, false),
    ];
    let mut judged = 0;
    for (name, algorithm, is_meant) in sets {
        let length = match algorithm {
            HS256 => 256,
            HS384 => 384,
            _ => 512,
        };
        for group in groups(name.json_data()) {
            for test in group["tests"].as_array().unwrap() {
                let key = Key::of_secret(None, &bytes(&test["key"]), Allowed::of(&[])).unwrap();
                let (message, tag) = (bytes(&test["msg"]), bytes(&test["tag"]));
                let verdict = KeySet::of(vec![key]).judge(None, algorithm, Allowed::of(&[]), &message, &tag);
                // A part of a code is none (RFC 7518 §3.2), even where others take it.
                let is_good = is_meant && test["result"] == "valid" && group["tagSize"] == length;
                assert_eq!(verdict == Signature::Good, is_good, "{algorithm:?}: {test}");
                judged += 1;
            }
        }
    }
    assert!(judged > 800, "{judged}");
}

/// Whatever is changed in a token, and wherever: it does not count any more. Also where base64 has spare bits.
#[test]
fn every_character_of_a_token_counts() {
    for (signer, algorithms) in pairs() {
        for algorithm in *algorithms {
            let token = signer.token(*algorithm, Some("k"), &claims(json!({})));
            let set = json!({ "keys": [signer.jwk("k")] });
            let keys = KeySet::of_jwks(set.as_object().unwrap()).unwrap();
            let counts = |token: &[u8]| {
                super::jws::read(token).is_ok_and(|read| {
                    let key = read.key_id.as_deref();
                    keys.judge(key, read.algorithm, Allowed::of(&[]), read.signed(), &read.signature) == Signature::Good
                })
            };
            assert!(counts(token.as_bytes()), "{algorithm:?}");
            for at in 0..token.len() {
                for other in [b'A', b'_', b'=', b'+', b'.', b'\n', 0xff] {
                    let mut changed = token.clone().into_bytes();
                    if changed[at] != other {
                        changed[at] = other;
                        assert!(!counts(&changed), "{algorithm:?}: {other} at {at} of {token}");
                    }
                }
                // The neighbour in the alphabet of base64, which may differ in a spare bit only.
                let mut changed = token.clone().into_bytes();
                changed[at] ^= 1;
                assert!(!counts(&changed), "{algorithm:?}: a bit at {at} of {token}");
                let mut shorter = token.clone().into_bytes();
                shorter.remove(at);
                assert!(!counts(&shorter), "{algorithm:?}: without {at} of {token}");
            }
            for more in ["A", "AA", "=", ".", "\n", " "] {
                assert!(!counts(format!("{token}{more}").as_bytes()), "{algorithm:?}: {more:?} behind {token}");
            }
        }
    }
}
