//! Consumers as they are written.

use super::Context;
use crate::directory::Directory;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use torana_config::model::{self, Config};
use torana_core::consumer::{
    Consumer, ConsumerFacts, Digest, FoundKey, Key, RuntimeConsumers, Signer, SignerKey, User,
};
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::written::Spanned;

/// Where a key was written, to say where the other is.
type Places = HashMap<[u8; 32], Span>;

pub(super) fn compile(
    config: &Config,
    runtime: Option<&Arc<dyn RuntimeConsumers>>,
    context: &mut Context<'_>,
) -> Directory {
    let mut directory = Directory {
        routes: config.routes.clone(),
        plans: config.plans.keys().map(|name| name.as_str().into()).collect(),
        runtime: runtime.cloned(),
        ..Directory::default()
    };
    let mut places = Places::new();
    for written in &config.consumers {
        add(written, &mut directory, &mut places, context);
    }
    for name in runtime.map(|runtime| runtime.names()).unwrap_or_default() {
        if directory.has(&name) {
            let span =
                config.consumers.iter().find(|written| *written.name.value == *name).map(|written| written.name.span);
            let message =
                format!("the consumer {} was also made while the gateway ran", torana_core::diagnostic::quoted(&name));
            let hint =
                "what is written here counts, and its keys go on; remove the other with `DELETE /consumers/{name}`";
            context
                .report(Diagnostic::warning("consumers.shadowed", message).at(span.unwrap_or(Span::NONE)).hint(hint));
        }
    }
    directory
}

fn add(written: &model::Consumer, directory: &mut Directory, places: &mut Places, context: &mut Context<'_>) {
    let names = |names: &[Spanned<String>]| names.iter().map(|name| name.as_str()).collect();
    let consumer = Arc::new(Consumer::new(ConsumerFacts {
        name: written.name.as_str().into(),
        plan: written.plan.as_ref().map(|plan| plan.as_str().into()),
        tags: names(&written.tags),
        active: written.active,
        ips: written.ips.iter().map(|network| network.value).collect(),
        routes: names(&written.routes),
        roles: names(&written.roles),
        scopes: names(&written.scopes),
    }));
    for (index, key) in written.keys.iter().enumerate() {
        let Some(digest) = digest_of(key) else { continue };
        if let Some(first) = places.insert(digest.0, key.span) {
            let diagnostic =
                Diagnostic::error("config.consumer_key", "a key stands here twice: whose it is would be chance");
            context.report(diagnostic.label(key.span, "second").also(first, "first"));
        }
        let id = key.name.as_ref().map_or_else(|| (index + 1).to_string(), |name| name.value.clone());
        let expires = key.expires.as_ref().map(|expires| expires.unix());
        let key = Arc::new(Key { id: id.into(), digest, expires, active: key.active, revoked: false });
        directory.keys.entry(digest.shelf()).or_default().push(FoundKey { key, consumer: Arc::clone(&consumer) });
    }
    for password in &*written.basic {
        // What is no hash has been reported.
        let Ok(hash) = password.password_hash.parse() else { continue };
        let name = password.username.as_ref().unwrap_or(&written.name);
        let user = User { password: hash, consumer: Arc::clone(&consumer) };
        directory.users.insert(name.as_str().into(), Arc::new(user));
    }
    for signature in &written.signatures {
        if let Some(key) = signer_key(signature, context) {
            let signer = Signer { key, consumer: Arc::clone(&consumer) };
            directory.signers.insert(signature.id.as_str().into(), Arc::new(signer));
        }
    }
    for name in &written.certificates {
        directory.certificates.insert(name.as_str().into(), Arc::clone(&consumer));
    }
    if let Entry::Vacant(place) = directory.consumers.entry(Arc::clone(&consumer.name)) {
        place.insert(consumer);
    }
}

fn digest_of(key: &model::ConsumerKey) -> Option<Digest> {
    match (&key.key, &key.digest) {
        (Some(key), None) => digest(&SHA256, key.as_bytes()).as_ref().try_into().ok().map(Digest),
        (None, Some(digest)) => Digest::from_hex(digest.strip_prefix("sha256:")?),
        // Has been reported.
        _ => None,
    }
}

fn signer_key(written: &model::SignatureKey, context: &mut Context<'_>) -> Option<SignerKey> {
    if let Some(secret) = &written.secret {
        return Some(SignerKey::Hmac(secret.as_bytes().into()));
    }
    let pem = written.public_key.as_ref()?;
    let der = public_key(pem);
    let is = |algorithm| der.as_ref().is_some_and(|der| ParsedPublicKey::new(algorithm, der).is_ok());
    if is(&ED25519) {
        return der.map(|der| SignerKey::Ed25519(der.into()));
    }
    if is(&ECDSA_P256_SHA256_ASN1) {
        return der.map(|der| SignerKey::EcdsaP256(der.into()));
    }
    let hint = "make one with `openssl genpkey -algorithm ed25519 | openssl pkey -pubout`";
    let message = "this is no public key for Ed25519 or P-256";
    context.report(Diagnostic::error("config.signature_key", message).at(pem.span).hint(hint));
    None
}

fn public_key(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use crate::testing::plan;
    use aws_lc_rs::digest::{SHA256, digest};
    use torana_core::consumer::{Consumers, Digest};
    use torana_core::testing::show_diagnostics;

    fn digest_of(key: &str) -> Digest {
        Digest(digest(&SHA256, key.as_bytes()).as_ref().try_into().unwrap())
    }

    #[test]
    fn consumers_are_found_by_what_requests_bring() {
        let digest = digest_of("another-key-of-the-shop").to_hex();
        let config = format!(
            r#"{{ "plans": {{ "gold": {{ "x": 1 }} }}, "routes": [ {{ "name": "r", "respond": {{}} }} ], "consumers": [
                {{ "name": "shop", "plan": "gold", "keys": [ {{ "key": "a-key-of-the-shop" }},
                   {{ "name": "old", "digest": "sha256:{digest}", "active": false }} ],
                   "signatures": [ {{ "id": "s1", "secret": "0123456789abcdef0123456789abcdef" }} ],
                   "certificates": [ "dns:shop.example" ], "routes": [ "r" ] }} ] }}"#
        );
        let plan = plan(&config, None).unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)));
        let directory = &plan.consumers;
        let key =
            |key: &str| directory.key(&digest_of(key)).unwrap().map(|found| (found.key.id.clone(), found.key.active));
        assert_eq!(key("a-key-of-the-shop"), Some(("1".into(), true)));
        assert_eq!(key("another-key-of-the-shop"), Some(("old".into(), false)));
        assert_eq!(key("a-key-of-the-shoq"), None);
        assert_eq!(directory.signer("s1").unwrap().key.algorithm(), "hmac-sha256");
        assert_eq!(&*directory.certificate("dns:shop.example").unwrap().name, "shop");
        assert_eq!((directory.route_name(0), directory.route_name(1)), (Some("r"), None));
        assert!(directory.user("shop").is_none() && directory.signer("s2").is_none());
    }

    #[test]
    fn a_key_of_two_consumers_is_refused_without_being_told() {
        let config = r#"{ "routes": [ { "name": "r", "respond": {} } ], "consumers": [
            { "name": "a", "keys": [ { "key": "one-key-for-everybody" } ] },
            { "name": "b", "keys": [ { "key": "one-key-for-everybody" } ],
              "signatures": [ { "id": "x", "public_key": "one-key-for-everybody" } ] } ] }"#;
        let shown = show_diagnostics(&plan(config, None).unwrap_err());
        assert!(shown.contains("config.consumer_key") && shown.contains("config.signature_key"), "{shown}");
        assert!(!shown.contains("everybody"), "{shown}");
    }
}
