//! What loading comes to: a configuration without errors, or what is left of one with errors.
//!
//! Both can be looked through for more mistakes, so that one run shows them all. Only the first can
//! become a plan: the types see to it, since what is left may lack just the part that keeps
//! strangers out.

use std::collections::HashSet;
use std::ops::Deref;

use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::written::{Spanned, Written};

use crate::fingerprint::Fingerprint;
use crate::gaps::Gaps;
use crate::model::{Config, Route};

/// A configuration in which loading found no error. Nothing but loading makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct SoundConfig {
    config: Config,
    fingerprint: Fingerprint,
}

impl SoundConfig {
    /// Tells it from others.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl Deref for SoundConfig {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// What is left of a configuration without the parts in error, and what not to conclude from their
/// absence.
#[derive(Clone, Debug)]
pub struct Remnant {
    config: Config,
    gaps: Gaps,
    /// Whether every file could be read as a whole.
    whole: bool,
    /// Where errors have been reported.
    reported: HashSet<Span>,
    /// The upstreams as written, those in error included.
    upstreams: HashSet<String>,
    /// The stores as written, those in error included.
    stores: HashSet<String>,
    /// Routes that may match less than what is left of them says.
    unsure_matches: HashSet<Span>,
    knows_admin: bool,
}

/// `config`, with its fingerprint, if nothing is wrong with it. `None` stands for one of which nothing is left.
pub(crate) fn judge(
    config: Option<Config>,
    tree: &Written,
    fingerprint: impl FnOnce() -> Fingerprint,
    gaps: Gaps,
    whole: bool,
    diagnostics: &[Diagnostic],
) -> Result<SoundConfig, Box<Remnant>> {
    let errors = || diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    match config {
        Some(config) if errors().next().is_none() => Ok(SoundConfig { config, fingerprint: fingerprint() }),
        config => {
            let reported = errors().filter_map(|error| Some(error.primary.as_ref()?.span)).collect();
            Err(Box::new(Remnant::new(config.unwrap_or_default(), tree, gaps, whole, reported)))
        }
    }
}

impl Remnant {
    fn new(config: Config, tree: &Written, gaps: Gaps, whole: bool, reported: HashSet<Span>) -> Self {
        let names = |key: &str| {
            let entries = tree.get(key).map(Written::entries).unwrap_or_default();
            entries.iter().map(|entry| entry.key.value.clone()).collect()
        };
        let routes = tree.get("routes").map(Written::items).unwrap_or_default();
        Self {
            upstreams: names("upstreams"),
            stores: names("stores"),
            unsure_matches: routes.iter().filter(|route| !gaps.knows(route, "match")).map(|route| route.span).collect(),
            knows_admin: whole && gaps.knows(tree, "admin"),
            config,
            gaps,
            whole,
            reported,
        }
    }

    /// What is left.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether an error at exactly this place has been reported: nothing else is to be said of it.
    #[must_use]
    pub fn is_reported(&self, span: Span) -> bool {
        self.reported.contains(&span)
    }

    /// Whether something inside `span` was in error, so that a lack in it proves nothing.
    #[must_use]
    pub fn has_gap(&self, span: Span) -> bool {
        !self.whole || self.gaps.touch(span)
    }

    /// Whether what `route` matches is all there. With a condition lost it would seem to take
    /// requests that are not meant for it, and to capture less than it does.
    #[must_use]
    pub fn knows_match(&self, route: &Spanned<Route>) -> bool {
        self.whole && !self.unsure_matches.contains(&route.span)
    }

    /// Whether an upstream called `name` was written, or may have been in what could not be read.
    #[must_use]
    pub fn may_have_upstream(&self, name: &str) -> bool {
        !self.whole || self.upstreams.contains(name)
    }

    /// Whether a store called `name` was written, or may have been in what could not be read.
    #[must_use]
    pub fn may_have_store(&self, name: &str) -> bool {
        !self.whole || self.stores.contains(name)
    }

    /// Whether the address of the admin interface is the one that was meant.
    #[must_use]
    pub fn knows_admin(&self) -> bool {
        self.knows_admin
    }
}
