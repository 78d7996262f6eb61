//! Consumers and plans. Nothing in here says what a credential is: it may have been meant.

use std::collections::{HashMap, HashSet};

use torana_core::consumer::{Digest, PasswordHash};
use torana_core::diagnostic::{Diagnostic, Span, did_you_mean};
use torana_core::written::Spanned;

use super::{Found, check_name};
use crate::model::{Consumer, ConsumerKey, ConsumerPassword, SignatureKey};

/// 16 random characters of base64 are 96 bits.
const SHORTEST_KEY: usize = 16;

/// Heads are not longer by default.
const LONGEST_KEY: usize = 4096;

/// RFC 2104 §3: shorter than the digest is weaker than it.
const SHORTEST_SECRET: usize = 32;

pub(super) fn check(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for name in found.config.plans.keys() {
        check_name(name, "a plan", diagnostics);
    }
    if let Some(state_dir) = found.config.state_dir.as_ref().filter(|path| path.as_os_str().is_empty()) {
        let message = "expected the path of a directory, found no text";
        diagnostics.push(Diagnostic::error("config.invalid_value", message).at(state_dir.span));
    }
    let mut names: HashMap<&str, Span> = HashMap::new();
    let mut users: HashMap<&str, Span> = HashMap::new();
    let mut signers: HashMap<&str, Span> = HashMap::new();
    let mut certificates: HashMap<&str, Span> = HashMap::new();
    let name_routes = found.config.consumers.iter().any(|consumer| !consumer.routes.is_empty());
    let routes = if name_routes { routes(found) } else { None };
    for consumer in &found.config.consumers {
        check_name(&consumer.name, "a consumer", diagnostics);
        once(&mut names, &consumer.name, "consumers are named", diagnostics);
        plan(found, consumer, diagnostics);
        if let Some(routes) = &routes {
            consumer.routes.iter().for_each(|route| known_route(route, routes, diagnostics));
        }
        // What is left of a key in error would seem to be neither this nor that.
        consumer.keys.iter().filter(|key| !found.has_gap(key.span)).for_each(|written| key(written, diagnostics));
        for password in &*consumer.basic {
            let name = password.username.as_ref().unwrap_or(&consumer.name);
            once(&mut users, name, "passwords are for", diagnostics);
            hash(password, diagnostics);
        }
        for signer in &consumer.signatures {
            once(&mut signers, &signer.id, "signing keys have the id", diagnostics);
            if !found.has_gap(signer.span) {
                signing(signer, diagnostics);
            }
        }
        for name in &consumer.certificates {
            once(&mut certificates, name, "consumers have the certificate", diagnostics);
            certificate(name, diagnostics);
        }
    }
}

/// What stands twice would be one or the other by chance.
fn once<'c>(seen: &mut HashMap<&'c str, Span>, name: &'c Spanned<String>, what: &str, into: &mut Vec<Diagnostic>) {
    if let Some(first) = seen.insert(name, name.span) {
        let diagnostic = Diagnostic::error("config.duplicate_name", format!("two {what} {}", name.shown()));
        let diagnostic = diagnostic.label(name.span, "second").also(first, "first");
        into.push(diagnostic.hint("give one of them another name"));
    }
}

fn plan(found: &Found<'_>, consumer: &Consumer, diagnostics: &mut Vec<Diagnostic>) {
    let Some(plan) = &consumer.plan else { return };
    let plans = &found.config.plans;
    let is_lost = !found.whole || !found.gaps.knows(found.tree, "plans");
    if is_lost || plans.contains_key(plan.as_str()) {
        return;
    }
    let near = did_you_mean(plan, plans.keys().map(|name| name.as_str())).filter(|_| plan.raw().is_none());
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add it to `plans`".to_owned(),
    };
    let message = format!("there is no plan {}", plan.shown());
    diagnostics.push(Diagnostic::error("config.unknown_plan", message).at(plan.span).hint(hint));
}

/// The names of the routes; `None` if some may be missing.
fn routes<'f>(found: &'f Found<'_>) -> Option<HashSet<&'f str>> {
    let is_lost = !found.whole || !found.gaps.knows(found.tree, "routes");
    (!is_lost).then(|| found.config.routes.iter().map(|route| route.name.as_str()).collect())
}

/// A route that was renamed would silently be out of reach.
fn known_route(route: &Spanned<String>, routes: &HashSet<&str>, diagnostics: &mut Vec<Diagnostic>) {
    if !routes.contains(route.as_str()) {
        let near = did_you_mean(route, routes.iter().copied()).filter(|_| route.raw().is_none());
        let message = format!("there is no route {}", route.shown());
        let diagnostic = Diagnostic::error("config.unknown_route", message).at(route.span);
        diagnostics.push(diagnostic.maybe_hint(near.map(|near| format!("did you mean `{near}`?"))));
    }
}

fn key(written: &Spanned<ConsumerKey>, diagnostics: &mut Vec<Diagnostic>) {
    let mut wrong = |span: Span, message: &str, hint: &str| {
        diagnostics.push(Diagnostic::error("config.consumer_key", message).at(span).hint(hint));
    };
    const MAKE: &str = "make one with `openssl rand -hex 32`";
    match (&written.key, &written.digest) {
        (Some(key), None) if key.len() < SHORTEST_KEY => {
            wrong(key.span, &format!("a key has fewer than {SHORTEST_KEY} characters"), MAKE);
        }
        (Some(key), None) if key.len() > LONGEST_KEY => {
            wrong(key.span, &format!("a key has more than {LONGEST_KEY} characters"), MAKE);
        }
        (Some(key), None) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            wrong(key.span, "a key has characters that cannot be sent in a header", MAKE);
        }
        (Some(_), None) => {}
        (None, Some(digest)) => {
            if digest.strip_prefix("sha256:").and_then(Digest::from_hex).is_none() {
                let hint = "as from `printf %s \"$KEY\" | sha256sum`";
                wrong(digest.span, "a digest is not `sha256:` and 64 hexadecimal digits", hint);
            }
        }
        _ => wrong(written.span, "a key is neither `key` nor `digest`, or both", "keep one of them"),
    }
}

fn hash(written: &ConsumerPassword, diagnostics: &mut Vec<Diagnostic>) {
    if let Err(which) = written.password_hash.parse::<PasswordHash>() {
        let message = format!("expected an argon2id hash, found text {which}");
        let hint =
            "make one with `argon2 \"$(openssl rand -hex 8)\" -id -e -m 14 -t 2 -p 1`; in YAML, in single quotes";
        let diagnostic = Diagnostic::error("config.password_hash", message);
        diagnostics.push(diagnostic.at(written.password_hash.span).hint(hint));
    }
}

fn signing(written: &Spanned<SignatureKey>, diagnostics: &mut Vec<Diagnostic>) {
    let (span, message) = match (&written.secret, &written.public_key) {
        (Some(secret), None) if secret.len() < SHORTEST_SECRET => {
            (secret.span, format!("a secret has fewer than {SHORTEST_SECRET} characters"))
        }
        (Some(_), None) | (None, Some(_)) => return,
        _ => (written.span, "a signing key is neither `secret` nor `public_key`, or both".to_owned()),
    };
    diagnostics.push(Diagnostic::error("config.signature_key", message).at(span));
}

fn certificate(name: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) {
    let is_name = name.split_once(':').is_some_and(|(kind, rest)| match kind {
        "cn" | "dns" | "uri" => !rest.is_empty(),
        "sha256" => rest.len() == 64 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
        _ => false,
    });
    if !is_name {
        let message = format!("{} is not a name of certificates", name.shown());
        let hint = "write `cn:NAME`, `dns:NAME`, `uri:spiffe://…`, or `sha256:` and 64 hexadecimal digits, lower case";
        diagnostics.push(Diagnostic::error("config.certificate_name", message).at(name.span).hint(hint));
    }
}
