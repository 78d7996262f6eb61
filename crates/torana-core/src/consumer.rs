//! Consumers: callers that the gateway itself holds credentials of.
//!
//! They stand in the configuration, or were made while the gateway ran. What
//! policies see of both is [`Consumers`]: look-ups by what a request brings.
//! Of keys only digests are kept, so nothing in here can tell one.

use crate::identity::{Facts, Identity, Names};
use crate::units::Network;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

mod phc;

pub use phc::{Cost, PasswordHash};

/// The SHA-256 of a key. Keys are long and random, so a slow digest would buy
/// nothing and be a lever for who wants to keep the gateway busy.
#[derive(Clone, Copy)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest written as 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Digest> {
        let text = text.as_bytes();
        let digit = |at: usize| char::from(*text.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = digit(2 * at)? << 4 | digit(2 * at + 1)?;
        }
        (text.len() == 64).then_some(Digest(bytes))
    }

    /// The digest as 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Where tables file it: how long finding that takes tells as much of a
    /// digest as this, which leads to no key.
    #[must_use]
    pub fn shelf(&self) -> u64 {
        self.0.first_chunk().copied().map_or(0, u64::from_le_bytes)
    }
}

/// Takes as long for every other digest.
impl PartialEq for Digest {
    fn eq(&self, other: &Digest) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |all, (one, other)| all | (one ^ other));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// A caller with credentials of its own.
#[derive(Debug, Default)]
pub struct Consumer {
    facts: ConsumerFacts,
    /// What it is to later policies, by who proved it: made once, not with
    /// every request.
    identities: [OnceLock<Identity>; 4],
}

/// What is known about a consumer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerFacts {
    /// Its name, unique.
    pub name: Arc<str>,
    /// Its plan.
    pub plan: Option<Arc<str>>,
    /// What it was marked with.
    pub tags: Names,
    /// Whether its credentials count.
    pub active: bool,
    /// Where it may call from; empty: from everywhere.
    pub ips: Box<[Network]>,
    /// The names of the routes it may use; empty: all of them.
    pub routes: Names,
    /// What it is.
    pub roles: Names,
    /// What its credentials are for.
    pub scopes: Names,
}

/// Why a consumer's good credential does not count for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotHere {
    /// The consumer is switched off.
    Inactive,
    /// The address is not one of its own.
    Address,
    /// The route is not one of its own.
    Route,
}

impl Consumer {
    /// The consumer with these facts.
    #[must_use]
    pub fn new(facts: ConsumerFacts) -> Consumer {
        Consumer { facts, identities: Default::default() }
    }

    /// Whether it may use the route called `route` from `client`.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, route: Option<&str>, client: IpAddr) -> Result<(), NotHere> {
        if !self.active {
            return Err(NotHere::Inactive);
        }
        if !self.ips.is_empty() && !self.ips.iter().any(|network| network.contains(client)) {
            return Err(NotHere::Address);
        }
        if !self.routes.is_empty() && !route.is_some_and(|route| self.routes.contains(route)) {
            return Err(NotHere::Route);
        }
        Ok(())
    }

    /// It, as later policies see it, proved by the policy `proven_by`;
    /// `default_plan`: the plan of consumers without one.
    #[must_use]
    pub fn identity(&self, proven_by: &'static str, default_plan: Option<&Arc<str>>) -> Identity {
        let plan = self.plan.as_ref().or(default_plan);
        let make = || -> Identity {
            let facts = Facts {
                subject: Arc::clone(&self.name),
                proven_by,
                roles: self.roles.clone(),
                scopes: self.scopes.clone(),
                consumer: Some(Arc::clone(&self.name)),
                plan: plan.cloned(),
                ..Facts::default()
            };
            facts.into()
        };
        let is_it =
            |known: &Identity| known.proven_by == proven_by && known.plan.as_deref() == plan.map(|plan| &**plan);
        for place in &self.identities {
            let known = place.get_or_init(make);
            if is_it(known) {
                return known.clone();
            }
        }
        make()
    }
}

impl Deref for Consumer {
    type Target = ConsumerFacts;

    fn deref(&self) -> &ConsumerFacts {
        &self.facts
    }
}

/// A key of a consumer.
#[derive(Clone, Debug)]
pub struct Key {
    /// What it is called where it may be seen: never the key, nor enough of it
    /// to guess the rest.
    pub id: Box<str>,
    /// Its digest.
    pub digest: Digest,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether it counts.
    pub active: bool,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A key with whom it belongs to.
#[derive(Clone, Debug)]
pub struct FoundKey {
    /// The key.
    pub key: Arc<Key>,
    /// Whose it is.
    pub consumer: Arc<Consumer>,
}

/// A name with a password.
#[derive(Debug)]
pub struct User {
    /// The password.
    pub password: PasswordHash,
    /// Whose it is.
    pub consumer: Arc<Consumer>,
}

/// A key that signs requests.
#[derive(Debug)]
pub struct Signer {
    /// What signatures are verified with.
    pub key: SignerKey,
    /// Whose it is.
    pub consumer: Arc<Consumer>,
}

/// What signatures are verified with.
#[derive(Clone, PartialEq, Eq)]
pub enum SignerKey {
    /// `hmac-sha256`: the secret that both sides have.
    Hmac(Box<[u8]>),
    /// `ed25519`: a public key, as `SubjectPublicKeyInfo` (DER).
    Ed25519(Box<[u8]>),
    /// `ecdsa-p256-sha256`: a public key, as `SubjectPublicKeyInfo` (DER).
    EcdsaP256(Box<[u8]>),
}

impl SignerKey {
    /// The algorithm's name in RFC 9421 §6.2.2.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            SignerKey::Hmac(_) => "hmac-sha256",
            SignerKey::Ed25519(_) => "ed25519",
            SignerKey::EcdsaP256(_) => "ecdsa-p256-sha256",
        }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({}, …)", self.algorithm())
    }
}

/// What is kept outside of the configuration cannot be asked at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unavailable;

/// The consumers of a plan, by what a request brings.
pub trait Consumers: Send + Sync {
    /// The key with this digest.
    ///
    /// # Errors
    /// It is none of the configuration, and what others there are cannot be
    /// known: then it may or may not count, so it does not.
    fn key(&self, digest: &Digest) -> Result<Option<FoundKey>, Unavailable>;
    /// Who says to be `name` and has a password.
    fn user(&self, name: &str) -> Option<Arc<User>>;
    /// What the passwords cost, each cost once: nobody must be told from
    /// somebody else, known or not, by how long the answer takes.
    fn costs(&self) -> Vec<Cost> {
        Vec::new()
    }
    /// The signing key called `id`.
    fn signer(&self, id: &str) -> Option<Arc<Signer>>;
    /// Whom a certificate with this name belongs to: `cn:`, `dns:`, `uri:` or
    /// `sha256:` and what stands there.
    fn certificate(&self, name: &str) -> Option<Arc<Consumer>>;
    /// What the route at this position of the plan is called.
    fn route_name(&self, route: u32) -> Option<&str>;
}

/// A key, and the name of its consumer.
pub type RuntimeKey = (Arc<Key>, Arc<str>);

/// Keys and consumers that were made while the gateway ran.
pub trait RuntimeConsumers: Send + Sync {
    /// The key with this digest, and the name of its consumer.
    ///
    /// # Errors
    /// Nobody knows at the moment.
    fn key(&self, digest: &Digest) -> Result<Option<RuntimeKey>, Unavailable>;
    /// The consumer called `name`, if it was made while the gateway ran.
    fn consumer(&self, name: &str) -> Option<Arc<Consumer>>;
    /// The names of all of them.
    fn names(&self) -> Vec<Arc<str>>;
}

/// No consumers at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Consumers for Nobody {
    fn key(&self, _: &Digest) -> Result<Option<FoundKey>, Unavailable> {
        Ok(None)
    }

    fn user(&self, _: &str) -> Option<Arc<User>> {
        None
    }

    fn signer(&self, _: &str) -> Option<Arc<Signer>> {
        None
    }

    fn certificate(&self, _: &str) -> Option<Arc<Consumer>> {
        None
    }

    fn route_name(&self, _: u32) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer() -> Consumer {
        Consumer::new(ConsumerFacts {
            name: "shop".into(),
            active: true,
            ips: ["10.0.0.0/8".parse().unwrap()].into(),
            routes: ["orders"].into_iter().collect(),
            scopes: ["read"].into_iter().collect(),
            ..ConsumerFacts::default()
        })
    }

    #[test]
    fn digests_are_written_and_read_and_never_shown() {
        let digest = Digest(std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert_ne!(digest, Digest([0; 32]));
        assert_eq!(format!("{digest:?}"), "Digest(…)");
        for wrong in ["", "ab", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65)] {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_consumer_counts_where_it_may_call_from_and_what_it_may_use() {
        let consumer = consumer();
        let admits = |route, client: &str| consumer.admits(route, client.parse().unwrap());
        assert_eq!(admits(Some("orders"), "10.1.2.3"), Ok(()));
        assert_eq!(admits(Some("orders"), "::ffff:10.1.2.3"), Ok(()));
        assert_eq!(admits(Some("orders"), "192.0.2.1"), Err(NotHere::Address));
        assert_eq!(admits(Some("users"), "10.1.2.3"), Err(NotHere::Route));
        assert_eq!(admits(None, "10.1.2.3"), Err(NotHere::Route), "no route is none of its own");
        let off = Consumer::new(ConsumerFacts { active: false, ..consumer.clone_facts() });
        assert_eq!(off.admits(Some("orders"), [10, 0, 0, 1].into()), Err(NotHere::Inactive));
    }

    #[test]
    fn an_identity_is_made_once_for_each_proof_and_plan() {
        let consumer = consumer();
        let hourly: Arc<str> = "hourly".into();
        for proven_by in ["api_key", "basic_auth", "hmac_auth", "mtls", "another", "api_key"] {
            let identity = consumer.identity(proven_by, None);
            assert_eq!((&*identity.subject, identity.proven_by, &identity.plan), ("shop", proven_by, &None));
        }
        let planned = consumer.identity("api_key", Some(&hourly));
        assert_eq!((planned.plan.as_deref(), planned.consumer.as_deref()), (Some("hourly"), Some("shop")));
        assert!(planned.scopes.contains("read"));
    }

    impl Consumer {
        fn clone_facts(&self) -> ConsumerFacts {
            self.facts.clone()
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", SignerKey::Hmac(b"secret".to_vec().into())), "SignerKey(hmac-sha256, …)");
    }
}
