//! Targets: what answers a route.

use crate::diagnostic::Diagnostic;
use crate::event::Event;
use crate::exchange::Exchange;
use crate::names::HeaderName;
use crate::refusal::{Refusal, Rejection};
use crate::reply::{Reply, ReplyFields};
use crate::rewrite::{ForwardHost, Rewrite, RoutePath};
use crate::site::Site;
pub use crate::site::{UpstreamId, find_upstream};
use crate::verdict::LocalBoxFuture;
use crate::written::Written;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What a target does with an exchange.
pub enum Answer<'a> {
    /// It has the reply.
    Now(Box<Reply>),
    /// It refuses.
    Reject(Rejection),
    /// It will have the reply.
    Wait(LocalBoxFuture<'a, Result<Reply, Rejection>>),
    /// The exchange goes to an upstream as it stands. The common case, spelled
    /// out so that it costs neither a box nor a virtual future.
    Forward(UpstreamId),
    /// The exchange goes to an upstream in this one of the target's
    /// [`ways`](Target::ways).
    ForwardBy(usize),
}

/// A way to an upstream, for a target that has more to say about it than which
/// upstream it is.
///
/// It is data, fixed when the plan is compiled: the plane follows it, so that
/// every target rewrites and answers for its upstreams by the same rules.
pub struct Way {
    /// Where it leads.
    pub upstream: UpstreamId,
    /// What is done with the path, in place of the route's rewrite.
    pub rewrite: Option<Rewrite>,
    /// What `Host` the upstream sees, in place of what the route says.
    pub host: Option<ForwardHost>,
    /// What replies that come this way say besides, refusals among them.
    pub reply: ReplyFields,
}

impl Way {
    /// The way that is nothing but its end.
    #[must_use]
    pub fn to(upstream: UpstreamId) -> Way {
        Way { upstream, rewrite: None, host: None, reply: ReplyFields::default() }
    }
}

/// What answers a route. One value serves all workers.
pub trait Target: Send + Sync {
    /// Answers the exchange, which does not have the route's rewrite yet: it is
    /// made of what is forwarded, and only of that.
    ///
    /// Explanations ask as well, so nothing happens here: a target that acts
    /// does so in the future of [`Answer::Wait`].
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Answer<'a>;

    /// One line for listings and `explain`: `upstream users`, `redirect 308 /v2/{rest}`.
    fn describe(&self) -> String;

    /// Upstreams it may send to, for listings.
    fn upstreams(&self) -> Vec<UpstreamId> {
        self.ways().iter().map(|way| way.upstream).collect()
    }

    /// What [`Answer::ForwardBy`] chooses from.
    fn ways(&self) -> &[Way] {
        &[]
    }
}

/// What a target may ask of the plan being built: what everybody may, and
/// about its route.
pub trait Names: Site {
    /// The route's name.
    fn route(&self) -> &str;
    /// The route's path.
    fn path(&self) -> RoutePath<'_>;
    /// The names of the parameters the route's path captures.
    fn captures(&self) -> &[String] {
        self.path().names
    }
    /// Whether it answers requests that are not to change anything (RFC 9110
    /// §9.2.1), if not only those.
    fn takes_safe_methods(&self) -> bool;
    /// Headers of the request that only the route's policies may set, such as
    /// who the caller is.
    fn owned_headers(&self) -> &[HeaderName];
}

/// What a target is called and how it is made.
pub trait TargetKind {
    /// The key it stands under in a route.
    const NAME: &'static str;
    /// The refusals it may produce.
    const REFUSALS: &'static [&'static Refusal] = &[];
    /// The events it may count, with [`Site::tally`], as policies do.
    const EVENTS: &'static [&'static Event] = &[];
    /// Its configuration.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the target.
    ///
    /// # Errors
    /// What is wrong with the configuration, on the user's lines.
    fn build(config: Self::Config, written: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>>;
}

/// A registered target kind, as data.
#[derive(Clone, Copy)]
pub struct TargetEntry {
    /// [`TargetKind::NAME`]
    pub name: &'static str,
    /// [`TargetKind::REFUSALS`]
    pub refusals: &'static [&'static Refusal],
    /// [`TargetKind::EVENTS`]
    pub events: &'static [&'static Event],
    /// JSON Schema of its configuration.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes and builds.
    pub build: BuildTarget,
}

/// Makes a target of its configuration as written.
pub type BuildTarget = fn(&Written, &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>>;

/// The registry entry of `K`.
#[must_use]
pub const fn entry<K: TargetKind>() -> TargetEntry {
    TargetEntry {
        name: K::NAME,
        refusals: K::REFUSALS,
        events: K::EVENTS,
        schema: |generator| generator.subschema_for::<K::Config>(),
        build: |written, names| K::build(written.decode::<K::Config>()?, written, names),
    }
}
