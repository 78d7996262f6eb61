//! Dropping copies by hand, through the admin interface.

use super::key::{BETWEEN, authority, uri_of};
use super::{Inner, PURGED, time};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use torana_core::canonical::CanonicalTarget;
use torana_core::head::Head;
use torana_core::names::KnownName;
use torana_core::operation::{Operate, Operation};
use torana_core::store::Soon;

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

/// Copies that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// Of this URI, as it is within keys.
    Uri(Vec<u8>),
    /// Of those that begin so.
    Prefix(Vec<u8>),
    Tag(Vec<u8>),
    All,
}

impl Meant {
    /// Whether a copy under `key` with these tags is.
    pub(super) fn means(&self, key: &[u8], tags: &[Box<[u8]>]) -> bool {
        match self {
            Meant::Uri(uri) => uri_of(key) == uri,
            Meant::Prefix(prefix) => uri_of(key).starts_with(prefix),
            Meant::Tag(tag) => tags.iter().any(|known| **known == **tag),
            Meant::All => true,
        }
    }

    /// As bytes, for other gateways.
    pub(super) fn written(&self) -> Vec<u8> {
        let (kind, rest) = match self {
            Meant::Uri(uri) => (b'u', &uri[..]),
            Meant::Prefix(prefix) => (b'p', &prefix[..]),
            Meant::Tag(tag) => (b't', &tag[..]),
            Meant::All => (b'a', &[][..]),
        };
        [&[kind], rest].concat()
    }

    /// The same, read.
    pub(super) fn read(bytes: &[u8]) -> Option<Meant> {
        match bytes.split_first()? {
            (b'u', uri) => Some(Meant::Uri(uri.into())),
            (b'p', prefix) => Some(Meant::Prefix(prefix.into())),
            (b't', tag) => Some(Meant::Tag(tag.into())),
            (b'a', []) => Some(Meant::All),
            _ => None,
        }
    }
}

/// Purges the copies of one cache.
pub(super) struct Purge(pub(super) Arc<Inner>);

impl Purge {
    fn meant(&self, arguments: &Value) -> Result<Meant, String> {
        let which: Which = Which::deserialize(arguments).map_err(|error| error.to_string())?;
        match which {
            Which { url: Some(url), prefix: None, tag: None, all: false } => {
                let (target, authority) = read(&url)?;
                let query = self.0.key.query_of(target.query());
                Ok(Meant::Uri([&authority, target.path().as_bytes(), &query].join(&BETWEEN)))
            }
            Which { url: None, prefix: Some(prefix), tag: None, all: false } => {
                let (target, authority) = read(&prefix)?;
                let path_and_query = match target.query() {
                    Some(query) => format!("{}\0?{query}", target.path()),
                    None => target.path().to_owned(),
                };
                Ok(Meant::Prefix([&authority, path_and_query.as_bytes()].join(&BETWEEN)))
            }
            Which { url: None, prefix: None, tag: Some(tag), all: false } => Ok(Meant::Tag(tag.into_bytes())),
            Which { url: None, prefix: None, tag: None, all: true } => Ok(Meant::All),
            _ => Err("say one of `url`, `prefix`, `tag` and `all`".to_owned()),
        }
    }

    fn report(&self, purged: usize) -> Value {
        let (kept, bytes) = self.0.store.size();
        json!({ "purged": purged, "kept": kept, "bytes": bytes })
    }
}

impl Operate for Purge {
    fn operate(&self, arguments: &Value) -> Result<Soon<Value>, String> {
        let meant = self.meant(arguments)?;
        let purged = self.0.store.purge(time::now(), |key, entry| meant.means(key, &entry.tags));
        self.0.tally.count(&PURGED);
        if self.0.shared.is_none() {
            return Ok(Soon::Now(self.report(purged)));
        }
        let inner = Arc::clone(&self.0);
        Ok(Soon::Later(Box::pin(async move {
            let result = inner.purge_shared(meant).await;
            let mut report = Purge(inner).report(purged);
            report["store"] = match result {
                Ok(()) => json!({ "purged": true }),
                Err(error) => json!({ "purged": false, "error": error.to_string() }),
            };
            report
        })))
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
