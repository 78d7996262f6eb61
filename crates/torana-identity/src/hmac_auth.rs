//! Signed requests (RFC 9421, HTTP Message Signatures): the caller proves to
//! have a key without sending it, and what was signed cannot be changed.

use crate::{refuses, unix_now};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use torana_core::consumer::{NotHere, Signer, SignerKey};
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::names::{HeaderName, KnownName};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::{Site, keep};
use torana_core::stage::Stage;
use torana_core::units::Duration;
use torana_core::verdict::Verdict;
use torana_core::welcome::Welcome;
use torana_core::written::{Spanned, Written};

mod message;

#[cfg(test)]
mod tests;

torana_core::refusals! {
    /// No signature where one is needed.
    MISSING = "hmac_auth.missing" 401 Caller Never "Authentication is required." error "No signature provided";
    /// The signature is wrong; what callers are told of all that follow.
    INVALID = "hmac_auth.invalid" 401 Caller Never "The signature is not valid." error "Invalid signature";
    /// The signature's fields cannot be read, or there are several signatures.
    MALFORMED = "hmac_auth.malformed" 401 Caller Never "The signature cannot be read." as INVALID;
    /// Nobody has a key of that name, or it has another algorithm.
    KEY_UNKNOWN = "hmac_auth.key_unknown" 401 Caller Never "The signature's key is not known." as INVALID;
    /// The signature does not cover what it has to.
    COMPONENTS = "hmac_auth.components" 401 Caller Never "The signature does not cover enough." as INVALID;
    /// The signature is too old, from the future, or has expired.
    EXPIRED = "hmac_auth.expired" 401 Caller Never "The signature does not hold at this time." as INVALID;
    /// The signature, or its nonce, was used before.
    REPLAYED = "hmac_auth.replayed" 401 Caller Never "The signature was used before." as INVALID;
    /// A good signature of a consumer that is switched off.
    INACTIVE = "hmac_auth.inactive" 401 Caller Never "The consumer is switched off." as INVALID;
    /// A good signature, but its consumer may not use this route, or not from this address.
    NOT_HERE = "hmac_auth.not_here" 403 Caller Never "The signature is not valid here." error "Forbidden";
    /// So many signatures are remembered that a repeated one could not be told.
    BUSY = "hmac_auth.busy" 503 Gateway IfSafe "Authentication is not available at the moment.";
}

/// Admits callers that sign their requests (RFC 9421) with a key of `consumers`: `hmac-sha256`, `ed25519` or
/// `ecdsa-p256-sha256`.
///
/// A request has exactly one signature, with `created` and `keyid`; what it covers is taken from the request as the
/// gateway has read it, so a path in another spelling than the canonical one does not verify. Each signature counts once:
/// its `nonce`, or else what was signed, is remembered until it would be too old. The algorithm is the key's. Component
/// parameters such as `;req` and `;sf` are not read. `content-digest` can be required to be signed; that the body fits it
/// is the upstream's to check.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What a signature has to cover: names of headers, and `@method`, `@authority`, `@scheme`, `@path`, `@query`,
    /// `@request-target`, `@target-uri`. A part of a target that is covered as a whole is covered. Default: `@method`,
    /// `@authority`, `@path` and `@query`.
    #[serde(default = "required")]
    pub require: Vec<Spanned<String>>,
    /// How old a signature may be. Longer takes more memory, and gives clocks more room. Default `5m`; at most `1h`.
    #[serde(default = "five_minutes")]
    pub max_age: Spanned<Duration>,
    /// How far in the future a signature may be made, for clocks that differ. Default `30s`; at most `5m`.
    #[serde(default = "half_minute")]
    pub leeway: Spanned<Duration>,
    /// Whether a signature needs a `nonce`. Without, the same request twice in a second is one too many. Default `false`.
    #[serde(default)]
    pub require_nonce: bool,
    /// Whether requests without a signature are let through, without an identity. Default `false`.
    #[serde(default)]
    pub optional: bool,
    /// Whether upstreams get the signature. Default `false`.
    #[serde(default)]
    pub forward_signature: bool,
    /// The plan of consumers that have none. Default: none.
    #[serde(default)]
    pub default_plan: Option<Spanned<String>>,
    /// A header that tells upstreams the name of the consumer, such as `X-Consumer`. What clients send under this name is
    /// removed on every route. Default: none.
    #[serde(default)]
    pub consumer_header: Option<Spanned<String>>,
}

fn required() -> Vec<Spanned<String>> {
    ["@method", "@authority", "@path", "@query"].map(Into::into).into()
}

fn five_minutes() -> Spanned<Duration> {
    Duration::from_secs(300).into()
}

fn half_minute() -> Spanned<Duration> {
    Duration::from_secs(30).into()
}

/// Signatures remembered at a time, over all workers: some 5 MiB.
const MOST_REMEMBERED: usize = 100_000;

/// Longest field.
const LONGEST: usize = 4096;

/// The policy `hmac_auth`.
pub struct HmacAuth {
    input: HeaderName,
    signature: HeaderName,
    require: Vec<String>,
    max_age: u64,
    leeway: u64,
    require_nonce: bool,
    optional: bool,
    forward_signature: bool,
    welcome: Welcome,
    seen: Arc<Seen>,
}

impl PolicyKind for HmacAuth {
    const NAME: &'static str = "hmac_auth";
    const STAGE: Stage = Stage::Identify;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        for (name, time, most) in [("max_age", &config.max_age, 3600), ("leeway", &config.leeway, 300)] {
            if time.std().as_secs() > most || (name == "max_age" && time.is_zero()) {
                let message = format!("`{name}` has to be up to {most} seconds, found {}", time.shown());
                problems.push(Diagnostic::error("hmac_auth.window", message).at(time.span));
            }
        }
        for component in &config.require {
            let is_derived = matches!(
                component.as_str(),
                "@method" | "@authority" | "@scheme" | "@path" | "@query" | "@request-target" | "@target-uri"
            );
            let is_field = HeaderName::new(component).is_some() && *component.value == component.to_ascii_lowercase();
            if !is_derived && !is_field {
                let message = format!("{} is no part of a request that can be signed", component.shown());
                let hint = "write the name of a header in lower case, or one such as `@method`";
                problems.push(Diagnostic::error("hmac_auth.component", message).at(component.span).hint(hint));
            }
        }
        let welcome = Welcome::new(Self::NAME, config.consumer_header.as_ref(), config.default_plan.as_ref(), site);
        let names = HeaderName::new("signature-input").zip(HeaderName::new("signature"));
        match (welcome, names) {
            (Ok(welcome), Some((input, signature))) if problems.is_empty() => Ok(Arc::new(HmacAuth {
                input,
                signature,
                require: config.require.into_iter().map(|component| component.value).collect(),
                max_age: config.max_age.std().as_secs(),
                leeway: config.leeway.std().as_secs(),
                require_nonce: config.require_nonce,
                optional: config.optional,
                forward_signature: config.forward_signature,
                welcome,
                seen: keep(site, "seen", Seen::default),
            })),
            (welcome, _) => Err(problems.into_iter().chain(welcome.err().into_iter().flatten()).collect()),
        }
    }
}

impl Policy for HmacAuth {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let now = unix_now();
        match self.judge(exchange, now) {
            Ok(Some(good)) => {
                if let Err(rejection) = self.use_up(&good, now) {
                    return rejection.into();
                }
                if !self.forward_signature {
                    exchange.head.fields.remove(&self.input);
                    exchange.head.fields.remove(&self.signature);
                }
                self.welcome.admit(exchange, &good.signer.consumer);
                Verdict::CONTINUE
            }
            Ok(None) => Verdict::CONTINUE,
            Err(rejection) => rejection.into(),
        }
    }

    fn owned_headers(&self) -> &[HeaderName] {
        self.welcome.owned_headers()
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        Some(match self.judge(exchange, unix_now()) {
            Ok(Some(good)) => {
                self.welcome.identify(exchange, &good.signer.consumer);
                format!("the caller is `{}`, if the signature was not used before", good.signer.consumer.name)
            }
            Ok(None) => "anonymous: there is no signature".to_owned(),
            Err(rejection) => refuses(&rejection),
        })
    }
}

/// A signature that is right, if it is new.
struct Good {
    signer: Arc<Signer>,
    /// What tells it from others.
    mark: [u8; 16],
    /// When it was made.
    created: u64,
}

impl HmacAuth {
    fn judge(&self, exchange: &Exchange, now: u64) -> Result<Option<Good>, Rejection> {
        let refuse = |refusal: &'static Refusal, why: &str| Err(challenge(refusal).because(why));
        let fields = &exchange.head.fields;
        let (mut inputs, mut signatures) = (fields.values(&self.input), fields.values(&self.signature));
        let (input, signature) = match (inputs.next(), signatures.next()) {
            (None, None) if self.optional => return Ok(None),
            (None, None) => return Err(challenge(&MISSING)),
            (Some(input), Some(signature)) if input.len() <= LONGEST && signature.len() <= LONGEST => {
                (input, signature)
            }
            _ => return refuse(&MALFORMED, "one of the fields is missing or too long"),
        };
        if inputs.next().is_some() || signatures.next().is_some() {
            return refuse(&MALFORMED, "there are several signatures");
        }
        let Some((input, signature)) = message::read(input, signature) else {
            return refuse(&MALFORMED, "the fields are not those of one signature");
        };
        let (Some(key), Some(created)) = (input.key, input.created) else {
            return refuse(&MALFORMED, "`keyid` or `created` is missing");
        };
        if self.require_nonce && input.nonce.is_none_or(str::is_empty) {
            return refuse(&COMPONENTS, "there is no nonce");
        }
        if let Some(missing) = self.require.iter().find(|component| !input.covers(component)) {
            return refuse(&COMPONENTS, &format!("`{missing}` is not signed"));
        }
        let has_expired = input.expires.is_some_and(|expires| expires <= now);
        if created > now.saturating_add(self.leeway) || created.saturating_add(self.max_age) < now || has_expired {
            return refuse(&EXPIRED, "it is too old, or not yet");
        }
        let Some(signer) = self.welcome.consumers().signer(key) else {
            return refuse(&KEY_UNKNOWN, "nobody has a key of that name");
        };
        if input.algorithm.is_some_and(|algorithm| algorithm != signer.key.algorithm()) {
            return refuse(&KEY_UNKNOWN, "the key has another algorithm");
        }
        let Some(base) = input.base(exchange) else {
            return refuse(&COMPONENTS, "what it covers is not there");
        };
        if !verify(&signer.key, &base, &signature) {
            return refuse(&INVALID, &format!("by a key of `{}`", signer.consumer.name));
        }
        match self.welcome.check(exchange, &signer.consumer) {
            Ok(()) => Ok(Some(Good { mark: mark(key, input.nonce, &base), created, signer })),
            Err(NotHere::Inactive) => refuse(&INACTIVE, &signer.consumer.name),
            Err(NotHere::Address | NotHere::Route) => {
                Err(Rejection::new(&NOT_HERE).because(format_args!("`{}`", signer.consumer.name)))
            }
        }
    }

    fn use_up(&self, good: &Good, now: u64) -> Result<(), Rejection> {
        match self.seen.note(good.mark, good.created, self.max_age, now) {
            Noted::New => Ok(()),
            Noted::Again => Err(challenge(&REPLAYED).because(format_args!("of `{}`", good.signer.consumer.name))),
            Noted::Full => Err(Rejection::new(&BUSY).with_field(KnownName::RetryAfter, b"1")),
        }
    }
}

fn challenge(refusal: &'static Refusal) -> Rejection {
    Rejection::new(refusal).with_field(KnownName::WwwAuthenticate, b"Signature")
}

fn verify(key: &SignerKey, base: &[u8], signature: &[u8]) -> bool {
    match key {
        // In constant time.
        SignerKey::Hmac(secret) => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), base, signature).is_ok(),
        SignerKey::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(base, signature).is_ok(),
        SignerKey::EcdsaP256(key) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(base, signature).is_ok()
        }
    }
}

/// Of what was signed, not of the signature: with ECDSA, who has one can make
/// another for the same.
fn mark(key: &str, nonce: Option<&str>, base: &[u8]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(&key.len().to_le_bytes());
    context.update(key.as_bytes());
    match nonce.filter(|nonce| !nonce.is_empty()) {
        Some(nonce) => {
            context.update(b"nonce");
            context.update(nonce.as_bytes());
        }
        None => {
            context.update(b"base");
            context.update(base);
        }
    }
    let mut mark = [0; 16];
    mark.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    mark
}

/// Signatures that were used, until they are too old. Goes on over reloads, and
/// how old that is may be another behind one: so it is remembered when they were
/// made, and not until when they counted.
#[derive(Default)]
struct Seen(Mutex<SeenList>);

#[derive(Default)]
struct SeenList {
    created: HashMap<[u8; 16], u64>,
    /// When it was last cleared of what is too old.
    cleared: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Noted {
    New,
    Again,
    Full,
}

impl Seen {
    fn note(&self, mark: [u8; 16], created: u64, max_age: u64, now: u64) -> Noted {
        let counts = |created: u64| now <= created.saturating_add(max_age);
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.created.get(&mark).is_some_and(|created| counts(*created)) {
            return Noted::Again;
        }
        if list.created.len() >= MOST_REMEMBERED {
            // Once a second: with a full list of new ones it would be for nothing.
            if list.cleared != now {
                list.cleared = now;
                list.created.retain(|_, created| counts(*created));
            }
            if list.created.len() >= MOST_REMEMBERED {
                return Noted::Full;
            }
        }
        list.created.insert(mark, created);
        Noted::New
    }
}
