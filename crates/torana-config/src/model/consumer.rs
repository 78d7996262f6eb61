//! Consumers and plans: callers that the gateway itself holds credentials of, and what they get.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use torana_core::units::{Moment, Network};
use torana_core::written::{OneOrMany, Spanned, Written};

use super::boot::yes;

/// A caller with credentials of its own: an application, a partner, a team.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Name for logs, limits and upstreams; unique.
    pub name: Spanned<String>,
    /// Name of its plan under `plans`. Default: none, or what the policy that admits it says.
    #[serde(default)]
    pub plan: Option<Spanned<String>>,
    /// Words to find it by. Default: none.
    #[serde(default)]
    pub tags: Vec<Spanned<String>>,
    /// Whether its credentials count. `false` switches all of them off. Default `true`.
    #[serde(default = "yes")]
    pub active: bool,
    /// Keys for the policy `api_key`. Several, so that a new one can be in use before the old one is taken away.
    #[serde(default)]
    pub keys: Vec<Spanned<ConsumerKey>>,
    /// A name and a password for the policy `basic_auth`, or a list of them.
    #[serde(default)]
    pub basic: OneOrMany<Spanned<ConsumerPassword>>,
    /// Keys that sign requests, for the policy `hmac_auth`.
    #[serde(default)]
    pub signatures: Vec<Spanned<SignatureKey>>,
    /// Names of client certificates for the policy `mtls`: `cn:` and a common name, `dns:` or `uri:` and a subject
    /// alternative name, or `sha256:` and the fingerprint of the certificate.
    #[serde(default)]
    pub certificates: Vec<Spanned<String>>,
    /// Addresses and networks it may call from. Default: everywhere.
    #[serde(default)]
    pub ips: Vec<Spanned<Network>>,
    /// Names of the routes it may use. Default: every route whose policies ask for its credentials.
    #[serde(default)]
    pub routes: Vec<Spanned<String>>,
    /// What it is, for `authorize` and others.
    #[serde(default)]
    pub roles: Vec<Spanned<String>>,
    /// What its credentials are for.
    #[serde(default)]
    pub scopes: Vec<Spanned<String>>,
}

/// A key of a consumer: `key` or `digest`.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerKey {
    /// What it is called where it may be seen, such as logs. Default: its number in the list, from 1.
    #[serde(default)]
    pub name: Option<Spanned<String>>,
    /// The key itself, best as a reference: `${env:MOBILE_KEY}`. At least 16 characters that a header can carry. Only
    /// its digest is kept.
    #[serde(default)]
    pub key: Option<Spanned<String>>,
    /// The key's digest in its place: `sha256:` and 64 hexadecimal digits, as from `printf %s "$KEY" | sha256sum`.
    #[serde(default)]
    pub digest: Option<Spanned<String>>,
    /// When it ends. Default: never.
    #[serde(default)]
    pub expires: Option<Spanned<Moment>>,
    /// Whether it counts. Default `true`.
    #[serde(default = "yes")]
    pub active: bool,
}

/// A name and a password.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerPassword {
    /// The name. Default: the consumer's.
    #[serde(default)]
    pub username: Option<Spanned<String>>,
    /// The argon2id hash of the password: `$argon2id$v=19$m=19456,t=2,p=1$…`, as from `argon2` or `htpasswd`. In YAML,
    /// write it in single quotes.
    pub password_hash: Spanned<String>,
}

/// A key that signs requests (RFC 9421): a `secret` that both sides have, or a `public_key`.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureKey {
    /// What signatures name it by, `keyid`; unique.
    pub id: Spanned<String>,
    /// The secret of `hmac-sha256`, at least 32 characters, best as a reference.
    #[serde(default)]
    pub secret: Option<Spanned<String>>,
    /// A public key in PEM (`BEGIN PUBLIC KEY`): Ed25519 for `ed25519`, P-256 for `ecdsa-p256-sha256`.
    #[serde(default)]
    pub public_key: Option<Spanned<String>>,
}

impl fmt::Debug for ConsumerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, expires, active, .. } = self;
        let mut shown = f.debug_struct("ConsumerKey");
        shown.field("name", name).field("expires", expires).field("active", active).finish_non_exhaustive()
    }
}

impl fmt::Debug for ConsumerPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerPassword").field("username", &self.username).finish_non_exhaustive()
    }
}

impl fmt::Debug for SignatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What consumers of a plan get: a map that policies read, each under its own name.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerPlan(pub Written);

impl<'de> Deserialize<'de> for ConsumerPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer).map(ConsumerPlan)
    }
}

impl JsonSchema for ConsumerPlan {
    fn schema_name() -> Cow<'static, str> {
        "ConsumerPlan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "What consumers of the plan get: the names of policies, each with what it reads.",
            "type": "object"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_show() {
        let key = ConsumerKey {
            name: None,
            key: Some("hunter2".into()),
            digest: Some("hunter2".into()),
            expires: None,
            active: true,
        };
        let password = ConsumerPassword { username: None, password_hash: "hunter2".into() };
        let signer = SignatureKey { id: "k".into(), secret: Some("hunter2".into()), public_key: None };
        let shown = format!("{key:?}{password:?}{signer:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
