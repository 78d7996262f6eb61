//! As written, and how that becomes keys and rules.

use super::algorithm::{Algorithm, Allowed};
use super::claims::Rules;
use super::key::{Key, KeySet};
use super::remote::{RemoteKeys, Source, origin};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_core::ask::Ask;
use torana_core::credential::Place;
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::names::{HeaderName, KnownName};
use torana_core::reserved::not_ownable;
use torana_core::site::{Site, share};
use torana_core::units::{ByteSize, Duration};
use torana_core::wanted::Wanted;
use torana_core::written::{OneOrMany, Spanned};

/// Verifies JSON Web Tokens and tells services who the caller is.
///
/// Keys come from `secret`, `public_key`, `keys`, `jwks` or `discover`; or
/// from `issuers`, where there are several. The algorithm is a property of the
/// key: what a token says about it is only compared.
///
/// A token counts if its signature, `exp`, `nbf`, `iat`, issuer and audience
/// are right. Callers without one get 401 and `No token provided`, with one
/// that does not count 401 and `Invalid token`; what exactly is wrong is in
/// the log.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Shared secret of HMAC tokens, such as `${env:JWT_SECRET}` or
    /// `${file:/run/secrets/jwt}`. At least 16 bytes; RFC 7518 asks for 32.
    pub secret: Option<Spanned<String>>,
    /// Whether `secret` (here, in `keys` and in `issuers`) is written in base64. Default false.
    pub secret_is_base64: bool,
    /// Public key in PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`), such as `${file:jwt.pem}`.
    pub public_key: Option<Spanned<String>>,
    /// Several keys.
    pub keys: Vec<Spanned<KeyConfig>>,
    /// Where the issuer publishes its keys: URL of a JSON Web Key Set, or `{ upstream, path }`.
    /// Fetched when needed, and again for keys that are not known; the last good set is kept
    /// through an outage.
    pub jwks: Option<Ask>,
    /// Whether to find the keys by OpenID Connect discovery at `issuer`, which is a URL then. The
    /// keys have to be at the same origin. Default false.
    pub discover: bool,
    /// Algorithms that are accepted, of those that the keys can have. Default: `HS256` for
    /// secrets, all for other keys.
    pub algorithms: OneOrMany<Spanned<Algorithm>>,
    /// Issuer (`iss`) of the tokens, letter by letter. Default: any, since the keys decide.
    pub issuer: Option<Spanned<String>>,
    /// Several issuers, each with its own keys. A token is verified with the keys of its issuer
    /// only, whatever key it names.
    pub issuers: Vec<Spanned<IssuerConfig>>,
    /// Whom tokens have to be for (`aud`): a name, a list of which one is enough, or
    /// `{ any: […], all: […] }`. Default: no matter.
    pub audience: Wanted,
    /// Claims that have to be there.
    pub required_claims: OneOrMany<String>,
    /// Whether tokens have to expire. Default true.
    pub require_exp: bool,
    /// How far clocks may differ, at most `5m`. Default `10s`.
    pub leeway: Spanned<Duration>,
    /// Where tokens stand: `{ header: X-Token }`, with a `scheme` or without, `{ cookie: name }` or
    /// `{ query: name }`; one or a list. Default: `Authorization`, behind `Bearer`.
    pub from: OneOrMany<Spanned<PlaceConfig>>,
    /// Whether requests without a token go on, anonymously. One that does not count is refused
    /// all the same. Default false.
    pub optional: bool,
    /// Whether a token in a header goes on to the upstream. Default false: services are told who the
    /// caller is by `claims_to_headers`, and a token that they do not have they cannot lose. From
    /// cookies and queries it is removed in any case.
    pub forward_token: bool,
    /// Headers that tell the upstream what is claimed: `{ sub: X-User-Id }`. What clients send
    /// under these names, in any spelling, is removed on every route. A path such as
    /// `realm_access.roles` leads into a claim. Lists and maps are written as JSON.
    pub claims_to_headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Short for `claims_to_headers: { sub: X-User-Id, role: X-User-Role, email: X-User-Email }`.
    /// Default false.
    pub identity_headers: bool,
    /// Claims that hold roles; the first that there is counts. Default `roles`, then `role`.
    pub roles: OneOrMany<String>,
    /// Claims that hold permissions. Default `permissions`.
    pub permissions: OneOrMany<String>,
    /// Claims that hold scopes. Default `scope`, then `scp`.
    pub scopes: OneOrMany<String>,
    /// The longest token that is looked at. Default 8KiB.
    pub max_token_bytes: ByteSize,
    /// Memory for tokens that were verified, shared by all workers; `0` verifies each time.
    /// Default 8MiB.
    pub cache: ByteSize,
    /// How long keys are not fetched again after they were, whatever keys tokens name. Default
    /// `10s`.
    pub cooldown: Spanned<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        let list = |names: &[&str]| OneOrMany(names.iter().map(|name| (*name).to_owned()).collect());
        Config {
            secret: None,
            secret_is_base64: false,
            public_key: None,
            keys: Vec::new(),
            jwks: None,
            discover: false,
            algorithms: OneOrMany::default(),
            issuer: None,
            issuers: Vec::new(),
            audience: Wanted::default(),
            required_claims: OneOrMany::default(),
            require_exp: true,
            leeway: Duration::from_secs(10).into(),
            from: OneOrMany::default(),
            optional: false,
            forward_token: false,
            claims_to_headers: BTreeMap::new(),
            identity_headers: false,
            roles: list(&["roles", "role"]),
            permissions: list(&["permissions"]),
            scopes: list(&["scope", "scp"]),
            max_token_bytes: ByteSize::kib(8),
            cache: ByteSize::mib(8),
            cooldown: Duration::from_secs(10).into(),
        }
    }
}

/// A key.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// What tokens call it (`kid`). Without, it may be meant by any token.
    pub kid: Option<String>,
    /// A shared secret.
    pub secret: Option<Spanned<String>>,
    /// A public key in PEM.
    pub public_key: Option<Spanned<String>>,
    /// Its algorithms. Default: those of the policy.
    pub algorithms: OneOrMany<Spanned<Algorithm>>,
}

/// An issuer.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerConfig {
    /// Its name, as tokens have it in `iss`.
    pub issuer: Option<Spanned<String>>,
    /// A shared secret.
    pub secret: Option<Spanned<String>>,
    /// A public key in PEM.
    pub public_key: Option<Spanned<String>>,
    /// Several keys.
    pub keys: Vec<Spanned<KeyConfig>>,
    /// Where it publishes its keys.
    pub jwks: Option<Ask>,
    /// Whether to find its keys by discovery.
    pub discover: bool,
    /// Algorithms that are accepted from it. Default: those of the policy.
    pub algorithms: OneOrMany<Spanned<Algorithm>>,
    /// Whom its tokens have to be for. Default: as the policy says.
    pub audience: Wanted,
}

/// A place that tokens may stand in; one of the three.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlaceConfig {
    /// A header.
    pub header: Option<Spanned<String>>,
    /// What stands before the token in the header. Default: `Bearer` in `Authorization`, else
    /// nothing.
    pub scheme: Option<String>,
    /// A cookie.
    pub cookie: Option<String>,
    /// A parameter of the query.
    pub query: Option<String>,
}

/// Who is believed.
pub(super) struct Authority {
    /// The `iss` of its tokens; `None`: any.
    pub(super) issuer: Option<Box<str>>,
    /// Its keys.
    pub(super) keys: Keys,
    /// What its keys may be used with.
    pub(super) allowed: Allowed,
    /// Whom its tokens have to be for.
    pub(super) audience: Wanted,
}

impl Authority {
    /// The keys, if they are published.
    pub(super) fn remote(&self) -> Option<&RemoteKeys> {
        match &self.keys {
            Keys::Here(_) => None,
            Keys::Remote(keys, _) => Some(keys),
        }
    }
}

/// Where keys are.
pub(super) enum Keys {
    /// In the configuration.
    Here(KeySet),
    /// Published by the issuer.
    Remote(Arc<RemoteKeys>, Source),
}

/// What compiling has to say.
type Problems = Vec<Diagnostic>;

/// Too short to be a secret at all.
const SHORTEST_SECRET: usize = 16;
/// As long as the shortest digest (RFC 7518 §3.2).
const PROPER_SECRET: usize = 32;

/// Everybody who is believed, or what is wrong.
pub(super) fn authorities(config: &mut Config, span: Span, site: &dyn Site, problems: &mut Problems) -> Vec<Authority> {
    let own = IssuerConfig {
        issuer: config.issuer.take(),
        secret: config.secret.take(),
        public_key: config.public_key.take(),
        keys: std::mem::take(&mut config.keys),
        jwks: config.jwks.take(),
        discover: config.discover,
        algorithms: OneOrMany::default(),
        audience: Wanted::default(),
    };
    let says_nothing = own.issuer.is_none() && own.sources() == 0;
    let compile = |written: &IssuerConfig, span: Span, problems: &mut Problems| {
        let before = problems.len();
        let algorithms = if written.algorithms.is_empty() { &config.algorithms } else { &written.algorithms };
        let audience = if written.audience.is_nothing() { &config.audience } else { &written.audience };
        let compiler = Compiler { base64: config.secret_is_base64, algorithms, span, site };
        let keys = compiler.keys(written, problems)?;
        if matches!(keys, Keys::Remote(..)) && audience.is_nothing() {
            let message = "tokens that the issuer made for other services are accepted too";
            site.warn(Diagnostic::warning("jwt.audience", message).at(span).hint("add `audience`"));
        }
        let allowed = Allowed::of(&values(algorithms));
        let issuer = written.issuer.as_ref().map(|issuer| issuer.as_str().into());
        (problems.len() == before).then(|| Authority { issuer, keys, allowed, audience: audience.clone() })
    };
    if config.issuers.is_empty() {
        return compile(&own, span, problems).into_iter().collect();
    }
    if !says_nothing {
        let message = "there are `issuers` as well as keys of the policy's own";
        problems
            .push(Diagnostic::error("jwt.keys", message).at(span).hint("move the keys to the issuer they belong to"));
    }
    let mut list: Vec<Authority> = Vec::new();
    for written in &config.issuers {
        match &written.issuer {
            None => problems
                .push(Diagnostic::error("jwt.issuer", "the issuer has no name").at(written.span).hint("add `issuer`")),
            Some(name) if list.iter().any(|known| known.issuer.as_deref() == Some(name.as_str())) => {
                problems
                    .push(Diagnostic::error("jwt.issuer", format!("{} is there twice", name.shown())).at(name.span));
            }
            Some(_) => list.extend(compile(written, written.span, problems)),
        }
    }
    list
}

fn values(algorithms: &OneOrMany<Spanned<Algorithm>>) -> Vec<Algorithm> {
    algorithms.iter().map(|algorithm| algorithm.value).collect()
}

impl IssuerConfig {
    fn sources(&self) -> usize {
        let here = self.secret.is_some() || self.public_key.is_some() || !self.keys.is_empty();
        usize::from(here) + usize::from(self.jwks.is_some()) + usize::from(self.discover)
    }
}

struct Compiler<'a> {
    base64: bool,
    algorithms: &'a OneOrMany<Spanned<Algorithm>>,
    span: Span,
    site: &'a dyn Site,
}

impl Compiler<'_> {
    fn keys(&self, written: &IssuerConfig, problems: &mut Problems) -> Option<Keys> {
        match written.sources() {
            0 if !self.site.is_whole() => return None,
            0 => {
                let hint = "add `secret`, `public_key`, `keys`, `jwks`, or `issuer` with `discover: true`";
                problems.push(
                    Diagnostic::error("jwt.keys", "there are no keys to verify tokens with").at(self.span).hint(hint),
                );
                return None;
            }
            1 => {}
            _ => {
                let message = "there are keys here and keys that the issuer publishes";
                problems.push(Diagnostic::error("jwt.keys", message).at(self.span).hint("keep one of them"));
                return None;
            }
        }
        if let Some(ask) = &written.jwks {
            let service = ask.service(self.site).map_err(|problem| problems.push(*problem)).ok()?;
            let shared = share(self.site, &format!("jwt/keys/{}", ask.key()), RemoteKeys::default);
            return Some(Keys::Remote(shared, Source::Set(service)));
        }
        if written.discover {
            return self.discovery(written, problems);
        }
        let own = KeyConfig {
            kid: None,
            secret: written.secret.clone(),
            public_key: written.public_key.clone(),
            algorithms: OneOrMany::default(),
        };
        let mut keys = Vec::new();
        if own.secret.is_some() || own.public_key.is_some() {
            keys.extend(self.key(&own, self.span, problems));
        }
        for key in &written.keys {
            keys.extend(self.key(key, key.span, problems));
        }
        Some(Keys::Here(KeySet::of(keys)))
    }

    fn discovery(&self, written: &IssuerConfig, problems: &mut Problems) -> Option<Keys> {
        let Some(issuer) = &written.issuer else {
            let message = "`discover` needs to know the issuer";
            problems.push(Diagnostic::error("jwt.issuer", message).at(self.span).hint("add `issuer`, a URL"));
            return None;
        };
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let url = Spanned::new(url, issuer.span).written_as(issuer.raw());
        let document = self.site.service(&url).map_err(|problem| problems.push(*problem)).ok()?;
        if !origin(issuer).starts_with("https://") {
            let message = "the keys are fetched in the clear: whoever is in between can let anyone in";
            self.site.warn(Diagnostic::warning("jwt.insecure", message).at(issuer.span).hint("use `https`"));
        }
        let shared = share(self.site, &format!("jwt/issuer/{}", issuer.value), RemoteKeys::default);
        Some(Keys::Remote(shared, Source::Discovery { document, issuer: issuer.as_str().into() }))
    }

    fn key(&self, written: &KeyConfig, span: Span, problems: &mut Problems) -> Vec<Key> {
        let listed = if written.algorithms.is_empty() { self.algorithms } else { &written.algorithms };
        let id = written.kid.as_deref();
        let mut keys = Vec::new();
        if let Some(secret) = &written.secret {
            let list = if listed.is_empty() { vec![Algorithm::HS256] } else { values(listed) };
            if let Some(bytes) = self.secret(secret, problems) {
                match Key::of_secret(id, &bytes, Allowed::of(&list)) {
                    Some(key) => keys.push(key),
                    None => problems.push(unfit("a secret", "`HS256`, `HS384` and `HS512`", secret.span)),
                }
            }
        }
        if let Some(pem) = &written.public_key {
            match (Key::of_pem(id, pem, Allowed::of(&values(listed))), Key::of_pem(id, pem, Allowed::of(&[]))) {
                (Some(key), _) => keys.push(key),
                (None, Some(_)) => problems.push(unfit("this key", "those of its type", pem.span)),
                (None, None) => problems.push(
                    Diagnostic::error("jwt.public_key", "this is no public key")
                        .at(pem.span)
                        .hint("RSA of 2048 bits or more, P-256, P-384 or Ed25519 in PEM: `-----BEGIN PUBLIC KEY-----`"),
                ),
            }
        }
        if written.secret.is_none() && written.public_key.is_none() && self.site.is_whole() {
            let problem = Diagnostic::error("jwt.keys", "the key has neither `secret` nor `public_key`");
            problems.push(problem.at(span));
        }
        keys
    }

    fn secret(&self, secret: &Spanned<String>, problems: &mut Problems) -> Option<Vec<u8>> {
        // Never the value itself: only what is wrong with it.
        let mut wrong = |message: &str, hint: &str| {
            problems.push(Diagnostic::error("jwt.secret", message).at(secret.span).hint(hint));
            None
        };
        if secret.trim_start().starts_with("-----BEGIN") {
            return wrong("this is a key in PEM, no secret", "use `public_key`");
        }
        let bytes = match self.base64 {
            false => secret.as_bytes().to_vec(),
            true => match STANDARD.decode(secret.trim()) {
                Ok(bytes) => bytes,
                Err(_) => return wrong("this is not base64", "remove `secret_is_base64`, or encode the secret"),
            },
        };
        if bytes.len() < SHORTEST_SECRET {
            return wrong("the secret is shorter than 16 bytes", "make one: `openssl rand -base64 32`");
        }
        if bytes.len() < PROPER_SECRET {
            let message = "the secret is shorter than the 32 bytes that RFC 7518 asks for";
            let hint = "make one: `openssl rand -base64 32`";
            self.site.warn(Diagnostic::warning("jwt.secret", message).at(secret.span).hint(hint));
        }
        Some(bytes)
    }
}

fn unfit(what: &str, which: &str, span: Span) -> Diagnostic {
    Diagnostic::error("jwt.algorithms", format!("{what} can have none of `algorithms`"))
        .at(span)
        .hint(format!("the algorithms it can have are {which}"))
}

/// Where tokens stand.
pub(super) fn places(written: &OneOrMany<Spanned<PlaceConfig>>, problems: &mut Problems) -> Vec<Place> {
    let bearer = || Some("Bearer".into());
    if written.is_empty() {
        return vec![Place::Header { name: KnownName::Authorization.into(), scheme: bearer() }];
    }
    let mut places = Vec::new();
    for place in written.iter() {
        let PlaceConfig { header, scheme, cookie, query } = &place.value;
        match (header, cookie, query) {
            (Some(header), None, None) => match HeaderName::new(header) {
                Some(name) => {
                    let usual = if name == KnownName::Authorization.into() { bearer() } else { None };
                    let scheme = match scheme.as_deref() {
                        None => usual,
                        Some("") => None,
                        Some(scheme) => Some(scheme.into()),
                    };
                    places.push(Place::Header { name, scheme });
                }
                None => problems.push(
                    Diagnostic::error("jwt.header", format!("{} is not a header name", header.shown())).at(header.span),
                ),
            },
            (None, Some(name), None) if !name.is_empty() => places.push(Place::Cookie(name.as_str().into())),
            (None, None, Some(name)) if !name.is_empty() => places.push(Place::Query(name.as_str().into())),
            _ => problems
                .push(Diagnostic::error("jwt.from", "a place is one of `header`, `cookie` and `query`").at(place.span)),
        }
    }
    places
}

/// Claims and the headers that tell them.
pub(super) fn headers(config: &Config, problems: &mut Problems) -> Vec<(String, HeaderName)> {
    let mut list: Vec<(String, HeaderName)> = Vec::new();
    let usual = [("sub", "x-user-id"), ("role", "x-user-role"), ("email", "x-user-email")];
    for (claim, header) in usual.into_iter().filter(|_| config.identity_headers) {
        if !config.claims_to_headers.contains_key(claim) {
            list.extend(HeaderName::new(header).map(|name| (claim.to_owned(), name)));
        }
    }
    for (claim, header) in &config.claims_to_headers {
        let problem = |message: &str, hint: &str| {
            let message = format!("{} {message}", header.shown());
            Diagnostic::error("jwt.header", message).at(header.span).hint(hint)
        };
        match HeaderName::new(header) {
            None => problems.push(problem("is not a header name", "letters, digits and `-`")),
            Some(name) => match not_ownable(&name) {
                Some(hint) => problems.push(problem("cannot belong to this policy", hint)),
                None if list.iter().any(|(_, known)| *known == name) => {
                    problems.push(problem("is there twice", "give each claim a header of its own"));
                }
                None => list.push((claim.value.clone(), name)),
            },
        }
    }
    list
}

/// Rules for claims.
pub(super) fn rules(config: &Config, problems: &mut Problems) -> Rules {
    const MOST: Duration = Duration::from_secs(300);
    if config.leeway.value > MOST {
        let problem = Diagnostic::error("jwt.leeway", format!("{} is more than `5m`", config.leeway.shown()));
        problems.push(problem.at(config.leeway.span).hint("let the clocks be set"));
    }
    Rules {
        required: config.required_claims.to_vec(),
        require_exp: config.require_exp,
        leeway: config.leeway.std().as_secs(),
    }
}
