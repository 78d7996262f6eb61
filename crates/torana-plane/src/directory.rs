//! The consumers of a plan, by what requests bring.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use torana_config::model::Route;
use torana_core::consumer::{
    Consumer, Consumers, Cost, Digest, FoundKey, Key, RuntimeConsumers, Signer, Unavailable, User,
};
use torana_core::written::Spanned;

/// The consumers of a plan: those of the configuration, and those made while
/// the gateway runs.
#[derive(Default)]
pub struct Directory {
    pub(crate) consumers: HashMap<Arc<str>, Arc<Consumer>>,
    /// By [`Digest::shelf`], so that it is not the look-up that compares
    /// digests.
    pub(crate) keys: HashMap<u64, Vec<FoundKey>>,
    pub(crate) users: HashMap<Box<str>, Arc<User>>,
    pub(crate) signers: HashMap<Box<str>, Arc<Signer>>,
    pub(crate) certificates: HashMap<Box<str>, Arc<Consumer>>,
    /// By position.
    pub(crate) routes: Vec<Arc<Spanned<Route>>>,
    pub(crate) plans: Vec<Box<str>>,
    pub(crate) runtime: Option<Arc<dyn RuntimeConsumers>>,
}

impl Directory {
    /// The consumers of the configuration with their keys, by name.
    #[must_use]
    pub fn written(&self) -> Vec<(&Arc<Consumer>, Vec<&Arc<Key>>)> {
        let mut keys: HashMap<&str, Vec<&Arc<Key>>> = HashMap::new();
        for found in self.keys.values().flatten() {
            keys.entry(&found.consumer.name).or_default().push(&found.key);
        }
        let mut list: Vec<_> =
            self.consumers.values().map(|one| (one, keys.remove(&*one.name).unwrap_or_default())).collect();
        for (_, keys) in &mut list {
            keys.sort_by(|one, other| one.id.cmp(&other.id));
        }
        list.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        list
    }

    /// Whether the configuration has a consumer called `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.consumers.contains_key(name)
    }

    /// Whether there is a plan called `name`.
    #[must_use]
    pub fn has_plan(&self, name: &str) -> bool {
        self.plans.iter().any(|plan| **plan == *name)
    }

    /// Whether there is a route called `name`.
    #[must_use]
    pub fn has_route(&self, name: &str) -> bool {
        self.routes.iter().any(|route| *route.name.value == *name)
    }
}

impl Consumers for Directory {
    fn key(&self, digest: &Digest) -> Result<Option<FoundKey>, Unavailable> {
        let own = self.keys.get(&digest.shelf()).into_iter().flatten().find(|found| found.key.digest == *digest);
        if let Some(found) = own {
            return Ok(Some(found.clone()));
        }
        let Some(runtime) = &self.runtime else { return Ok(None) };
        let Some((key, name)) = runtime.key(digest)? else { return Ok(None) };
        // A key without its consumer is nobody's.
        let consumer = self.consumers.get(&name).cloned().or_else(|| runtime.consumer(&name));
        Ok(consumer.map(|consumer| FoundKey { key, consumer }))
    }

    fn user(&self, name: &str) -> Option<Arc<User>> {
        self.users.get(name).cloned()
    }

    fn costs(&self) -> Vec<Cost> {
        self.users.values().map(|user| user.password.cost()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn signer(&self, id: &str) -> Option<Arc<Signer>> {
        self.signers.get(id).cloned()
    }

    fn certificate(&self, name: &str) -> Option<Arc<Consumer>> {
        self.certificates.get(name).cloned()
    }

    fn route_name(&self, route: u32) -> Option<&str> {
        self.routes.get(route as usize).map(|route| route.name.as_str())
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({} consumers)", self.consumers.len())
    }
}
