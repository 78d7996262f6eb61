//! Dropping copies by hand, through the admin interface.

use super::key::{Named, authority};
use super::{Inner, PURGED, time};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use torana_core::canonical::CanonicalTarget;
use torana_core::head::Head;
use torana_core::names::KnownName;
use torana_core::operation::{Operate, Operation};

/// The operation `purge`.
pub(super) static PURGE: Operation = Operation {
    name: "purge",
    about: "drop copies that caches keep: of a URL, of all below one, with a tag, or all of them",
    arguments: |generator| generator.subschema_for::<Which>(),
};

/// Which copies are dropped: exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "CachePurge")]
struct Which {
    /// All variants of this URL, `https://shop.example/items/7?lang=de`, asked for over `http` or `https`.
    url: Option<String>,
    /// Those of all URLs of this host that begin so, `https://shop.example/items/`.
    prefix: Option<String>,
    /// Those whose replies had this tag.
    tag: Option<String>,
    /// All of them.
    all: bool,
}

/// Purges the copies of one cache.
pub(super) struct Purge(pub(super) Arc<Inner>);

impl Operate for Purge {
    fn operate(&self, arguments: &Value) -> Result<Value, String> {
        let which: Which = Which::deserialize(arguments).map_err(|error| error.to_string())?;
        let store = &self.0.store;
        let now = time::now();
        let purged = match which {
            Which { url: Some(url), prefix: None, tag: None, all: false } => {
                let (target, authority) = read(&url)?;
                let query = self.0.key.query_of(target.query());
                store.purge(now, |key, _| {
                    let named = Named::of(key);
                    named.authority == authority && named.path == target.path().as_bytes() && named.query == query
                })
            }
            Which { url: None, prefix: Some(prefix), tag: None, all: false } => {
                let (target, authority) = read(&prefix)?;
                let begins = target.path_and_query().as_bytes();
                store.purge(now, |key, _| {
                    let named = Named::of(key);
                    let mut uri = named.path.iter().chain(named.query);
                    named.authority == authority && begins.iter().all(|byte| uri.next() == Some(byte))
                })
            }
            Which { url: None, prefix: None, tag: Some(tag), all: false } => {
                store.purge(now, |_, entry| entry.tags.iter().any(|known| **known == *tag.as_bytes()))
            }
            Which { url: None, prefix: None, tag: None, all: true } => store.purge(now, |_, _| true),
            _ => return Err("say one of `url`, `prefix`, `tag` and `all`".to_owned()),
        };
        self.0.tally.count(&PURGED);
        let (kept, bytes) = store.size();
        Ok(json!({ "purged": purged, "kept": kept, "bytes": bytes }))
    }
}

/// Reads a URL as requests for it are read.
fn read(url: &str) -> Result<(CanonicalTarget, Vec<u8>), String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("`{url}` is not a URL"))?;
    let is_secure = scheme.eq_ignore_ascii_case("https");
    if !is_secure && !scheme.eq_ignore_ascii_case("http") {
        return Err(format!("`{url}` is not an `http` or `https` URL"));
    }
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let mut head = Head::default();
    head.set_raw_target(url.as_bytes());
    let _ = head.fields.set(KnownName::Host, host.as_bytes());
    let mut target = CanonicalTarget::default();
    target.admit(&head, is_secure).map_err(|error| format!("`{url}` cannot be asked for: {error}"))?;
    let authority = authority(target.host(), target.effective_port());
    Ok((target, authority))
}
