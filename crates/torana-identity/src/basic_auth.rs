//! A name and a password (RFC 7617), compared with an argon2id hash.
//!
//! The hash is made to be slow, so it is computed on threads that are no
//! workers (each takes the memory the hash says, mostly 19 MiB), and a password
//! that was right is remembered for a moment. Everybody costs the same, known or not.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use torana_core::consumer::{Consumer, ConsumerFacts, Consumers, Cost, NotHere, PasswordHash, User};
use torana_core::credential::{Found, Place, find};
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::names::{HeaderName, KnownName};
use torana_core::outbound::{Line, Outbound, aside};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::Duration;
use torana_core::verdict::{Decision, Verdict};
use torana_core::welcome::Welcome;
use torana_core::written::{Spanned, Written};

#[cfg(test)]
mod tests;

torana_core::refusals! {
    /// No name and password where they are needed.
    MISSING = "basic_auth.missing" 401 Caller Never "Authentication is required.";
    /// The password is wrong, or there is nobody of that name; what callers are told of all that follow.
    INVALID = "basic_auth.invalid" 401 Caller Never "The user name or the password is not valid." error "Invalid credentials";
    /// What stands in `Authorization` is no name and password, or stands there twice.
    MALFORMED = "basic_auth.malformed" 401 Caller Never "The credentials cannot be read." as INVALID;
    /// The right password of a consumer that is switched off.
    INACTIVE = "basic_auth.inactive" 401 Caller Never "The consumer is switched off." as INVALID;
    /// The right password, but its consumer may not use this route, or not from this address.
    NOT_HERE = "basic_auth.not_here" 403 Caller Never "The credentials are not valid here." error "Forbidden";
    /// So many passwords are being verified that there is no room for another, or verifying this one failed.
    BUSY = "basic_auth.busy" 503 Gateway IfSafe "Authentication is not available at the moment.";
}

torana_core::events! {
    VERIFIED = "verified" "A password was compared with its hash.";
}

/// Longest credentials, in base64.
const LONGEST: usize = 4096;

/// Right passwords that are remembered.
const MOST_KNOWN: usize = 1024;

/// What is computed for who is not known where nobody has a password.
const USUAL: Cost = Cost { memory: 19456, passes: 2, lanes: 1 };

/// Admits callers with a name and a password: those of `consumers`, and those of `users`.
///
/// Only argon2id hashes are taken. Comparing one takes tens of milliseconds of another thread; a password that was right
/// is remembered as a keyed digest for `remember`. In the whole gateway, 2 are compared at a time and 64 wait; more are
/// refused with 503. Use it over TLS only: what is sent is the password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What browsers show when they ask for the password. Default `torana`.
    #[serde(default = "realm")]
    pub realm: Spanned<String>,
    /// More users, for this policy only; each acts as a consumer of that name without a plan. Default: none.
    #[serde(default)]
    pub users: Vec<Spanned<UserConfig>>,
    /// Whether requests without `Authorization: Basic` are let through, without an identity. Default `false`.
    #[serde(default)]
    pub optional: bool,
    /// Whether upstreams get the password. Default `false`: it is taken out of the request.
    #[serde(default)]
    pub forward_credentials: bool,
    /// How long a password that was right is remembered; a change of the configuration forgets it at once. `0s`: not at
    /// all. Default `1m`.
    #[serde(default = "minute")]
    pub remember: Spanned<Duration>,
    /// The plan of consumers that have none. Default: none.
    #[serde(default)]
    pub default_plan: Option<Spanned<String>>,
    /// A header that tells upstreams the name of the consumer, such as `X-Consumer`. What clients send under this name is
    /// removed on every route. Default: none.
    #[serde(default)]
    pub consumer_header: Option<Spanned<String>>,
}

/// A name and the hash of its password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// The name.
    pub name: Spanned<String>,
    /// The argon2id hash of the password: `$argon2id$v=19$m=19456,t=2,p=1$…`. In YAML, write it in single quotes.
    pub password_hash: Spanned<String>,
}

impl fmt::Debug for UserConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

fn realm() -> Spanned<String> {
    "torana".into()
}

fn minute() -> Spanned<Duration> {
    Duration::from_secs(60).into()
}

/// The policy `basic_auth`.
pub struct BasicAuth {
    users: HashMap<Box<str>, Arc<User>>,
    /// What the passwords cost, each cost once.
    costs: Arc<[Cost]>,
    challenge: Box<[u8]>,
    place: Place,
    optional: bool,
    forward_credentials: bool,
    remember: std::time::Duration,
    welcome: Welcome,
    known: Known,
    tally: Arc<torana_core::event::Tally>,
}

impl PolicyKind for BasicAuth {
    const NAME: &'static str = "basic_auth";
    const STAGE: Stage = Stage::Identify;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static torana_core::event::Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let users = users(&config, site, &mut problems);
        let is_quotable = |c: char| c == ' ' || (c.is_ascii_graphic() && !matches!(c, '\u{22}' | '\\'));
        if !config.realm.chars().all(is_quotable) {
            let message = format!("{} cannot be a realm", config.realm.shown());
            let hint = "write letters, digits, blanks and signs of ASCII, without quotes and backslashes";
            problems.push(Diagnostic::error("basic_auth.realm", message).at(config.realm.span).hint(hint));
        }
        let welcome = Welcome::new(Self::NAME, config.consumer_header.as_ref(), config.default_plan.as_ref(), site);
        let known = Known::new();
        match (welcome, known) {
            (Ok(welcome), Some(known)) if problems.is_empty() => Ok(Arc::new(BasicAuth {
                costs: costs_of(&users, welcome.consumers()),
                users,
                challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", config.realm.value).into_bytes().into(),
                place: Place::Header { name: KnownName::Authorization.into(), scheme: Some("Basic".into()) },
                optional: config.optional,
                forward_credentials: config.forward_credentials,
                remember: config.remember.std(),
                welcome,
                known,
                tally: site.tally(),
            })),
            (welcome, _) => Err(problems.into_iter().chain(welcome.err().into_iter().flatten()).collect()),
        }
    }
}

fn costs_of(users: &HashMap<Box<str>, Arc<User>>, consumers: &dyn Consumers) -> Arc<[Cost]> {
    let own = users.values().map(|user| user.password.cost());
    let mut costs: BTreeSet<Cost> = own.chain(consumers.costs()).collect();
    if costs.is_empty() {
        costs.insert(USUAL);
    }
    costs.into_iter().collect()
}

fn users(config: &Config, site: &dyn Site, problems: &mut Vec<Diagnostic>) -> HashMap<Box<str>, Arc<User>> {
    let mut users = HashMap::new();
    for written in &config.users {
        let name = &written.name;
        let password = match written.password_hash.parse::<PasswordHash>() {
            Ok(password) => password,
            Err(which) => {
                let message = format!("expected an argon2id hash, found text {which}");
                problems.push(Diagnostic::error("basic_auth.password_hash", message).at(written.password_hash.span));
                continue;
            }
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@');
        if name.is_empty() || !name.chars().all(is_plain) {
            let message = format!("{} is not a name for a user", name.shown());
            let hint = "names have letters, digits, `-`, `_`, `.`, `/` and `@`";
            problems.push(Diagnostic::error("basic_auth.user", message).at(name.span).hint(hint));
            continue;
        }
        let facts = ConsumerFacts { name: name.as_str().into(), active: true, ..ConsumerFacts::default() };
        let user = User { password, consumer: Arc::new(Consumer::new(facts)) };
        let is_twice = users.insert(name.as_str().into(), Arc::new(user)).is_some();
        if is_twice || site.consumers().user(name).is_some() {
            let message = format!("there are two passwords for {}", name.shown());
            problems.push(Diagnostic::error("basic_auth.user", message).at(name.span));
        }
    }
    users
}

impl Policy for BasicAuth {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let said = match read(&self.place, exchange) {
            Ok(None) if self.optional => return Verdict::CONTINUE,
            Ok(None) => return self.challenge(&MISSING).into(),
            Ok(Some(said)) => said,
            Err(why) => return self.challenge(&MALFORMED).because(why).into(),
        };
        if let Some(user) = self.known.find(&said, Instant::now()) {
            return Verdict::Now(self.settle(exchange, &user));
        }
        Verdict::Wait(Box::pin(async move {
            let Some(outbound) = exchange.outbound.clone() else {
                return Decision::Reject(Rejection::new(&BUSY).because("there is no way out"));
            };
            match self.verify(&said, &*outbound).await {
                Ok(user) => self.settle(exchange, &user),
                Err(rejection) => Decision::Reject(rejection),
            }
        }))
    }

    fn owned_headers(&self) -> &[HeaderName] {
        self.welcome.owned_headers()
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        Some(match read(&self.place, exchange) {
            Ok(None) if self.optional => "anonymous: there is no password".to_owned(),
            Ok(None) => format!("refuses with {}", MISSING.code),
            // That would take as long as verifying it.
            Ok(Some(_)) => "the password would be verified".to_owned(),
            Err(why) => format!("refuses with {}: {why}", MALFORMED.code),
        })
    }
}

/// What a request says.
struct Said {
    name: Box<str>,
    password: Box<[u8]>,
}

/// The name and the password of a request; `None`: it has none.
fn read(place: &Place, exchange: &Exchange) -> Result<Option<Said>, &'static str> {
    let encoded = match find(std::slice::from_ref(place), exchange) {
        Found::None => return Ok(None),
        Found::Several => return Err("there are two"),
        Found::One(encoded, _) if encoded.len() > LONGEST => return Err("they are too long"),
        Found::One(encoded, _) => encoded,
    };
    let decoded = STANDARD.decode(encoded).map_err(|_| "they are no base64")?;
    let at = decoded.iter().position(|byte| *byte == b':').ok_or("there is no colon")?;
    let (name, password) = decoded.split_at(at);
    let name = std::str::from_utf8(name).map_err(|_| "the name is no UTF-8")?;
    Ok(Some(Said { name: name.into(), password: password.get(1..).unwrap_or_default().into() }))
}

impl BasicAuth {
    fn challenge(&self, refusal: &'static Refusal) -> Rejection {
        Rejection::new(refusal).with_field(KnownName::WwwAuthenticate, &self.challenge)
    }

    fn user(&self, name: &str) -> Option<Arc<User>> {
        self.users.get(name).cloned().or_else(|| self.welcome.consumers().user(name))
    }

    async fn verify(&self, said: &Said, outbound: &dyn Outbound) -> Result<Arc<User>, Rejection> {
        let user = self.user(&said.name);
        let work = {
            let (user, password, costs) = (user.clone(), said.password.clone(), Arc::clone(&self.costs));
            move || compare(user.as_deref(), &password, &costs, &mut compute)
        };
        let is_right = aside(Some(outbound), Line::Passwords, work)
            .await
            .map_err(|why| Rejection::new(&BUSY).because(why).with_field(KnownName::RetryAfter, b"1"))?;
        self.tally.count(&VERIFIED);
        match user.filter(|_| is_right) {
            Some(user) => {
                if !self.remember.is_zero() {
                    self.known.put(said, &user, Instant::now() + self.remember);
                }
                Ok(user)
            }
            None => Err(self.challenge(&INVALID)),
        }
    }

    fn settle(&self, exchange: &mut Exchange, user: &User) -> Decision {
        let refuse =
            |rejection: Rejection| Decision::Reject(rejection.because(format_args!("`{}`", user.consumer.name)));
        match self.welcome.check(exchange, &user.consumer) {
            Ok(()) => {}
            Err(NotHere::Inactive) => return refuse(self.challenge(&INACTIVE)),
            Err(NotHere::Address | NotHere::Route) => return refuse(Rejection::new(&NOT_HERE)),
        }
        self.place.strip(exchange, self.forward_credentials);
        self.welcome.admit(exchange, &user.consumer);
        Decision::Continue
    }
}

fn compute(cost: Cost, password: &[u8], salt: &[u8], length: usize) -> Option<Vec<u8>> {
    let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(length)).ok()?;
    let mut hash = vec![0; length];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

/// Computes a hash: cost, password, salt, length.
type Compute<'a> = dyn FnMut(Cost, &[u8], &[u8], usize) -> Option<Vec<u8>> + 'a;

/// Whether the password is the user's. Computes a hash of each of the costs, whoever it is: if passwords were compared
/// at their own cost alone, those with a cheaper hash could be told from the others, and from names that nobody has.
fn compare(user: Option<&User>, password: &[u8], costs: &[Cost], compute: &mut Compute<'_>) -> bool {
    let own = user.map(|user| user.password.cost());
    for cost in costs.iter().copied().filter(|cost| Some(*cost) != own) {
        let _ = std::hint::black_box(compute(cost, password, b"nobody-is-known-by", 32));
    }
    user.is_some_and(|user| is_of(&user.password, password, compute))
}

fn is_of(known: &PasswordHash, password: &[u8], compute: &mut Compute<'_>) -> bool {
    let (salt, hash) = known.salt_and_hash();
    let (Ok(salt), Ok(hash)) = (STANDARD_NO_PAD.decode(salt), STANDARD_NO_PAD.decode(hash)) else { return false };
    let computed = compute(known.cost(), password, &salt, hash.len());
    computed.is_some_and(|computed| verify_slices_are_equal(&computed, &hash).is_ok())
}

/// Passwords that were right a moment ago, by a digest with a key that nobody
/// has: what is in memory is of no use to who gets to see it.
struct Known {
    key: hmac::Key,
    list: Mutex<KnownList>,
}

/// Whose password it was, and until when it is remembered.
type KnownList = HashMap<[u8; 32], (Arc<User>, Instant)>;

impl Known {
    fn new() -> Option<Known> {
        let mut key = [0; 32];
        rand::fill(&mut key).ok()?;
        Some(Known { key: hmac::Key::new(hmac::HMAC_SHA256, &key), list: Mutex::default() })
    }

    /// Of both, with the length of the first: what is said by one name must
    /// never be found by another.
    fn digest(&self, said: &Said) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&said.name.len().to_le_bytes());
        context.update(said.name.as_bytes());
        context.update(&said.password);
        let mut digest = [0; 32];
        digest.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        digest
    }

    fn find(&self, said: &Said, now: Instant) -> Option<Arc<User>> {
        let digest = self.digest(said);
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.get(&digest).filter(|(_, until)| now < *until).map(|(user, _)| Arc::clone(user))
    }

    fn put(&self, said: &Said, user: &Arc<User>, until: Instant) {
        let digest = self.digest(said);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= MOST_KNOWN {
            let now = Instant::now();
            list.retain(|_, (_, until)| now < *until);
            if list.len() >= MOST_KNOWN {
                list.clear();
            }
        }
        list.insert(digest, (Arc::clone(user), until));
    }
}
