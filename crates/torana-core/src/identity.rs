//! Who the caller proved to be.
//!
//! One type for everything that proves a caller (tokens, keys, certificates,
//! an authority that was asked) and for everything that asks afterwards:
//! authorization, limits, cache keys, transformations, the log.

use serde_json::{Map, Value};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An authenticated caller. Set by policies of the `Identify` stage; absent
/// means anonymous, never "not checked yet" to later stages.
///
/// Shared and immutable: a clone is one reference count, so that a policy may
/// keep what it verified for the caller's next request.
#[derive(Clone, PartialEq)]
pub struct Identity(Arc<Facts>);

/// What is known about a caller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The stable name: consumer, subject, certificate name.
    pub subject: Arc<str>,
    /// Which policy proved it.
    pub proven_by: &'static str,
    /// Who vouches for it: the `iss` of a token.
    pub issuer: Option<Arc<str>>,
    /// What the caller is.
    pub roles: Names,
    /// What the caller may do.
    pub permissions: Names,
    /// What the caller's credential was given for.
    pub scopes: Names,
    /// All that its issuer claims about it.
    pub claims: Map<String, Value>,
    /// The consumer that the credential belongs to.
    pub consumer: Option<Arc<str>>,
    /// The plan of the consumer.
    pub plan: Option<Arc<str>>,
}

impl Identity {
    /// A caller of whom no more is known than its name and which policy proved
    /// it.
    #[must_use]
    pub fn new(subject: impl Into<Arc<str>>, proven_by: &'static str) -> Identity {
        Facts { subject: subject.into(), proven_by, ..Facts::default() }.into()
    }

    /// What tells the caller from every other, in three parts: the consumer, or
    /// else which policy proved which name by whose word (two issuers may call
    /// two people the same). `None` for who was proved without a name, such as by
    /// a token without `sub`: two of those are not known to be one.
    #[must_use]
    pub fn who(&self) -> Option<[&str; 3]> {
        let named = |name: &&str| !name.is_empty();
        if let Some(consumer) = self.0.consumer.as_deref().filter(named) {
            return Some(["consumer", consumer, ""]);
        }
        let subject = Some(&*self.0.subject).filter(named)?;
        Some([self.0.proven_by, subject, self.0.issuer.as_deref().unwrap_or_default()])
    }

    /// What is claimed under `name`: a claim of just that name, or else, where
    /// it holds dots, what lies at that path: `realm_access.roles`.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        claim(&self.0.claims, name)
    }
}

/// [`Identity::claim`] of claims that belong to nobody yet.
#[must_use]
pub fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut steps = name.split('.');
    let first = claims.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.as_object()?.get(step))
}

impl From<Facts> for Identity {
    fn from(facts: Facts) -> Self {
        Identity(Arc::new(facts))
    }
}

impl Deref for Identity {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.0
    }
}

/// Claims are personal: what is shown is who it is.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?} by {})", self.subject, self.proven_by)
    }
}

/// Names such as roles, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Box<[Box<str>]>);

impl Names {
    /// Whether `name` is among them, letter by letter.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.binary_search_by(|known| (**known).cmp(name)).is_ok()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut list: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        list.sort_unstable();
        list.dedup();
        Names(list.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_name_and_then_by_path() {
        let claims = serde_json::json!({
            "sub": "7", "realm_access": { "roles": ["a"] }, "https://x.example/role": "b", "a.b": 1, "a": { "b": 2 }
        });
        let Value::Object(claims) = claims else { panic!("an object") };
        let identity = Identity::from(Facts { claims, ..Facts::default() });
        assert_eq!(identity.claim("realm_access.roles"), Some(&serde_json::json!(["a"])));
        assert_eq!(identity.claim("https://x.example/role"), Some(&"b".into()));
        assert_eq!(identity.claim("a.b"), Some(&1.into()), "the whole name comes first");
        for name in ["", "sub.x", "realm_access.groups", "realm_access.", ".roles"] {
            assert_eq!(identity.claim(name), None, "{name}");
        }
    }

    #[test]
    fn callers_are_told_apart_by_consumer_or_by_who_vouches_for_which_name() {
        let of = |proven_by, subject: &str, issuer: Option<&str>, consumer: Option<&str>| {
            let (issuer, consumer) = (issuer.map(Arc::from), consumer.map(Arc::from));
            Identity::from(Facts { subject: subject.into(), proven_by, issuer, consumer, ..Facts::default() })
        };
        let key = of("api_key", "shop", None, Some("shop"));
        assert_eq!(key.who(), of("basic_auth", "shop", None, Some("shop")).who(), "one consumer");
        let others =
            [of("jwt", "shop", None, None), of("jwt", "shop", Some("a"), None), of("jwt", "shop", Some("b"), None)];
        for (at, one) in others.iter().enumerate() {
            assert!(one.who().is_some() && one.who() != key.who());
            assert!(others.iter().skip(at + 1).all(|other| other.who() != one.who()), "{at}");
        }
        assert_eq!(of("jwt", "", Some("a"), None).who(), None);
    }

    #[test]
    fn names_are_compared_whole() {
        let names: Names = ["user", "admin", "user"].into_iter().collect();
        assert!(names.contains("admin") && names.contains("user"));
        assert!(!names.contains("adm") && !names.contains("Admin") && !names.contains(""));
        assert_eq!(names.iter().collect::<Vec<_>>(), ["admin", "user"]);
    }

    #[test]
    fn claims_do_not_show() {
        let mut facts = Facts { subject: "7".into(), proven_by: "jwt", ..Facts::default() };
        facts.claims.insert("email".into(), "a@b.example".into());
        assert_eq!(format!("{:?}", Identity::from(facts)), "Identity(\"7\" by jwt)");
    }
}
