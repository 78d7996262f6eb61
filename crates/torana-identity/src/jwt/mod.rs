//! JSON Web Tokens: who the caller is, by the word of an issuer.
//!
//! Built on `aws-lc-rs`, which the gateway has for TLS anyway, and not on a
//! library for tokens: what remains to be done beside the cryptography is
//! reading three parts of base64url, and the mistakes of this trade (RFC 8725)
//! are made there, so it is better ours than hidden.
//!
//! With a token that was verified before, a request costs a look-up and a
//! comparison of the token; it allocates nothing beyond the room that the
//! headers about the caller take in its own head.

mod algorithm;
mod cache;
mod claims;
mod config;
mod headers;
mod jws;
mod key;
mod refusals;
mod remote;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use algorithm::Algorithm;
pub use config::{Config, IssuerConfig, KeyConfig, PlaceConfig};
pub use refusals::REFUSALS;

use crate::{refuses, seconds, unix_now};
use aws_lc_rs::digest;
use cache::{Cache, Token, Verified};
use claims::Rules;
use config::{Authority, Keys};
use headers::Headers;
use jws::{Jws, Misread};
use key::Signature;
use refusals::{
    ALGORITHM, AMBIGUOUS, CLAIM, ISSUER, KEY_UNKNOWN, KEYS_UNAVAILABLE, MALFORMED, MISSING, SIGNATURE, challenge,
};
use remote::{Known, Manner, RemoteKeys};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::clock::wall_at;
use torana_core::credential::{self, Found, Place};
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::identity::{Facts, claim};
use torana_core::json;
use torana_core::names::{HeaderName, NameSet, is_value_byte};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::{Site, keep};
use torana_core::stage::Stage;
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::Written;

torana_core::events! {
    KNOWN = "token_known" "A token counted that had been verified before.";
    VERIFIED = "token_verified" "A token was verified, and counted.";
    FETCHED = "keys_fetched" "The keys of an issuer were fetched.";
    FAILED = "keys_failed" "The keys of an issuer could not be fetched; the last good ones stay in use.";
    STALE = "keys_stale" "A token was judged by keys that are older than their issuer allows.";
}

/// The policy `jwt`.
pub struct Jwt {
    authorities: Vec<Authority>,
    rules: Rules,
    places: Vec<Place>,
    headers: Vec<(String, HeaderName)>,
    owned: Vec<HeaderName>,
    /// Those of `owned` that are known by number.
    owned_known: NameSet,
    roles: Vec<String>,
    permissions: Vec<String>,
    scopes: Vec<String>,
    optional: bool,
    forward_token: bool,
    longest: usize,
    cooldown: Duration,
    cache: Arc<Cache>,
    tally: Arc<Tally>,
}

impl PolicyKind for Jwt {
    const NAME: &'static str = "jwt";
    const STAGE: Stage = Stage::Identify;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(mut config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let headers = config::headers(&config, &mut problems);
        let places = config::places(&config.from, &mut problems);
        let rules = config::rules(&config, &mut problems);
        let authorities = config::authorities(&mut config, written.span, site, &mut problems);
        if !problems.is_empty() || (authorities.is_empty() && !site.is_whole()) {
            return Err(problems);
        }
        let mut owned_known = NameSet::EMPTY;
        for (_, name) in &headers {
            if let HeaderName::Known(known) = name {
                owned_known.insert(*known);
            }
        }
        // What was verified under other rules says nothing about these.
        let name = format!("tokens/{}", fingerprint(written));
        let cache = keep(site, &name, || Cache::new(config.cache.as_usize()));
        Ok(Arc::new(Jwt {
            authorities,
            rules,
            places,
            owned: headers.iter().map(|(_, name)| name.clone()).collect(),
            owned_known,
            headers,
            roles: config.roles.0,
            permissions: config.permissions.0,
            scopes: config.scopes.0,
            optional: config.optional,
            forward_token: config.forward_token,
            longest: config.max_token_bytes.as_usize(),
            cooldown: config.cooldown.std(),
            cache,
            tally: site.tally(),
        }))
    }
}

/// An object in which no name stands twice, at any depth: RFC 7519 §4 lets
/// readers take the last, and whoever takes the other one than the service
/// behind has let two callers into one token.
fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match json::read(text).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Tells configurations apart without telling what they hold.
fn fingerprint(written: &Written) -> String {
    let text = written.to_json().to_string();
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Policy for Jwt {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let now = seconds(wall_at(exchange.notes.started));
        let (candidate, index) = match self.candidate(exchange, now) {
            Candidate::None if self.optional => return Verdict::CONTINUE,
            Candidate::None => return challenge(Rejection::new(&MISSING)).into(),
            Candidate::Wrong(rejection) => return challenge(rejection).into(),
            Candidate::Known(verified, index) => {
                self.tally.count(&KNOWN);
                self.admit(exchange, &verified, index);
                return Verdict::CONTINUE;
            }
            Candidate::New(candidate, index) => (candidate, index),
        };
        match self.judge_now(candidate, now) {
            Ok(judged) => Verdict::Now(self.settle(exchange, judged, index)),
            Err(candidate) => Verdict::Wait(Box::pin(async move {
                let judged = self.judge_later(exchange, candidate, now).await;
                self.settle(exchange, judged, index)
            })),
        }
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.owned
    }

    fn credential_parameters(&self) -> Vec<&str> {
        self.places.iter().filter_map(Place::parameter).collect()
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        let now = unix_now();
        let looked = || self.places.iter().map(Place::describe).collect::<Vec<_>>().join(" or ");
        let judged = match self.candidate(exchange, now) {
            Candidate::None if self.optional => return Some(format!("anonymous: no token in {}", looked())),
            Candidate::None => return Some(format!("refuses with {}: no token in {}", MISSING.code, looked())),
            Candidate::Wrong(rejection) => Err(rejection),
            Candidate::Known(verified, _) => Ok(verified),
            Candidate::New(candidate, _) => match self.judge_now(candidate, now) {
                Ok(judged) => judged,
                Err(_) => return Some("the issuer's keys would be fetched first".to_owned()),
            },
        };
        Some(match judged {
            Ok(verified) => {
                let says = format!("the caller is `{}`", verified.identity.subject);
                exchange.identity = Some(verified.identity.clone());
                says
            }
            Err(rejection) => refuses(&rejection),
        })
    }
}

/// What a request brings.
enum Candidate {
    None,
    Wrong(Rejection),
    /// A token that was verified before, and where it stands.
    Known(Arc<Verified>, usize),
    New(Box<New>, usize),
}

/// A token to be verified.
struct New {
    jws: Jws,
    /// Who has to vouch for it.
    authority: usize,
}

type Judged = Result<Arc<Verified>, Rejection>;

impl Jwt {
    fn candidate(&self, exchange: &Exchange, now: u64) -> Candidate {
        let wrong = |refusal: &'static Refusal, why: &str| Candidate::Wrong(Rejection::new(refusal).because(why));
        let (token, index) = match credential::find(&self.places, exchange) {
            Found::None => return Candidate::None,
            Found::Several => return wrong(&AMBIGUOUS, "there is more than one"),
            Found::One(token, _) if token.len() > self.longest => {
                return wrong(&MALFORMED, &format!("it is {} bytes long", token.len()));
            }
            Found::One(token, index) => (token, index),
        };
        if let Some(known) = self.cache.find(&token, now).filter(|known| self.is_current(known, now)) {
            return Candidate::Known(known, index);
        }
        let jws = match jws::read(&token) {
            Ok(jws) => jws,
            Err(Misread::Malformed(why)) => return wrong(&MALFORMED, why),
            Err(Misread::Algorithm) => return wrong(&ALGORITHM, "its algorithm is not known here"),
        };
        let said = jws.claims.get("iss").and_then(Value::as_str);
        let vouches = |authority: &Authority| authority.issuer.is_none() || authority.issuer.as_deref() == said;
        match self.authorities.iter().position(vouches) {
            Some(authority) => Candidate::New(Box::new(New { jws, authority }), index),
            None => wrong(&ISSUER, "nobody of that name is believed"),
        }
    }

    /// Whether the keys are those that the token was verified with, and need
    /// not be looked at again.
    fn is_current(&self, verified: &Verified, now: u64) -> bool {
        let mut remote = self.authorities.iter().filter_map(Authority::remote);
        remote.all(|keys| now < keys.look_at()) && self.versions() == verified.keys
    }

    /// Changes with any of the published keys; 0 where there are none.
    fn versions(&self) -> u64 {
        self.authorities.iter().filter_map(Authority::remote).map(RemoteKeys::version).sum()
    }

    /// Judges a token with the keys at hand; gives it back if newer ones may
    /// change the judgement.
    fn judge_now(&self, new: Box<New>, now: u64) -> Result<Judged, Box<New>> {
        let Some(authority) = self.authorities.get(new.authority) else { return Err(new) };
        // Before the keys are taken: a token must not seem to have been
        // verified with keys that came later.
        let versions = self.versions();
        match &authority.keys {
            Keys::Here(keys) => {
                let signature = Self::signature(&new, authority, keys);
                Ok(self.judge(*new, authority, signature, versions, now))
            }
            Keys::Remote(keys, _) => {
                let Some(known) = keys.at_hand(Instant::now(), self.cooldown) else { return Err(new) };
                if known.is_stale(Instant::now()) {
                    self.tally.count(&STALE);
                }
                let signature = Self::signature(&new, authority, &known.keys);
                if may_be_newer(signature, &new) {
                    return Err(new);
                }
                Ok(self.judge(*new, authority, signature, versions, now))
            }
        }
    }

    /// Judges a token with keys that are fetched if need be.
    async fn judge_later(&self, exchange: &Exchange, new: Box<New>, now: u64) -> Judged {
        let authority = self.authorities.get(new.authority);
        let (Some(authority), Some(outbound)) = (authority, exchange.outbound.clone()) else {
            return Err(Rejection::new(&KEYS_UNAVAILABLE).because("there is no way out"));
        };
        let Keys::Remote(keys, source) = &authority.keys else {
            return Err(Rejection::new(&KEY_UNKNOWN));
        };
        let versions = self.versions();
        let known: Known = match keys.get(source, &outbound, &self.manner()).await {
            Ok(known) => known,
            Err(why) => return Err(Rejection::new(&KEYS_UNAVAILABLE).because(why.0)),
        };
        let mut signature = Self::signature(&new, authority, &known.keys);
        if may_be_newer(signature, &new) {
            let newer = keys.newer(&known, source, &outbound, &self.manner()).await;
            signature = Self::signature(&new, authority, &newer.keys);
        }
        self.judge(*new, authority, signature, versions, now)
    }

    /// How keys are fetched, and where that is counted.
    fn manner(&self) -> Manner {
        Manner { cooldown: self.cooldown, tally: Arc::clone(&self.tally) }
    }

    fn signature(new: &New, authority: &Authority, keys: &key::KeySet) -> Signature {
        let jws = &new.jws;
        keys.judge(jws.key_id.as_deref(), jws.algorithm, authority.allowed, jws.signed(), &jws.signature)
    }

    fn judge(&self, new: New, authority: &Authority, signature: Signature, versions: u64, now: u64) -> Judged {
        let refusal = match signature {
            Signature::Good => return self.believe(new, authority, versions, now),
            Signature::Bad => &SIGNATURE,
            Signature::WrongAlgorithm => &ALGORITHM,
            Signature::UnknownKey => &KEY_UNKNOWN,
        };
        Err(Rejection::new(refusal))
    }

    /// What a token with the right signature says.
    fn believe(&self, new: New, authority: &Authority, keys: u64, now: u64) -> Judged {
        let claims = new.jws.claims;
        let until = self.rules.judge(&claims, &authority.audience, now)?;
        let mut headers = Headers::default();
        for (name, header) in &self.headers {
            let Some(value) = claim(&claims, name).and_then(text) else { continue };
            if !value.bytes().all(is_value_byte) {
                return Err(Rejection::new(&CLAIM).because(format_args!("`{name}` holds control characters")));
            }
            headers.add(header, value.as_bytes());
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(Arc::from);
        let identity = Facts {
            subject: text("sub").unwrap_or_default(),
            proven_by: Jwt::NAME,
            issuer: text("iss"),
            roles: claims::names(&claims, &self.roles, false),
            permissions: claims::names(&claims, &self.permissions, false),
            scopes: claims::names(&claims, &self.scopes, true),
            claims,
            consumer: None,
            plan: None,
        };
        Ok(Arc::new(Verified { token: Token(new.jws.token), identity: identity.into(), headers, until, keys }))
    }

    fn settle(&self, exchange: &mut Exchange, judged: Judged, index: usize) -> Decision {
        match judged {
            Ok(verified) => {
                self.tally.count(&VERIFIED);
                self.cache.put(&verified);
                self.admit(exchange, &verified, index);
                Decision::Continue
            }
            Err(rejection) => Decision::Reject(challenge(rejection)),
        }
    }

    /// Tells everything behind us who the caller is.
    fn admit(&self, exchange: &mut Exchange, verified: &Verified, index: usize) {
        if let Some(place) = self.places.get(index) {
            place.strip(exchange, self.forward_token);
        }
        let fields = &mut exchange.head.fields;
        // Most requests have none of them.
        if fields.may_have_unknown() || fields.contains_any(self.owned_known) {
            self.owned.iter().for_each(|name| fields.remove(name));
        }
        verified.headers.write(fields);
        exchange.identity = Some(verified.identity.clone());
    }
}

/// Whether the issuer may have published the right key meanwhile. A token that
/// names no key may be signed with one that is not there yet.
fn may_be_newer(signature: Signature, new: &New) -> bool {
    signature == Signature::UnknownKey || (signature != Signature::Good && new.jws.key_id.is_none())
}

/// A claim as a header tells it; nothing is told by none.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into()),
        other => Some(other.to_string().into()),
    }
}
