//! Targets: what answers a route.

use crate::diagnostic::Diagnostic;
use crate::exchange::Exchange;
use crate::refusal::{Refusal, Rejection};
use crate::reply::Reply;
use crate::verdict::LocalBoxFuture;
use crate::written::Written;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// An upstream of the running plan, by position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UpstreamId(pub u32);

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
}

/// What answers a route. One value serves all workers.
pub trait Target: Send + Sync {
    /// Answers the exchange.
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Answer<'a>;

    /// One line for listings and `explain`: `upstream users`, `redirect 308 /v2/{rest}`.
    fn describe(&self) -> String;

    /// Upstreams it may send to, for listings.
    fn upstreams(&self) -> Vec<UpstreamId> {
        Vec::new()
    }
}

/// What a target may ask of the plan being built.
pub trait Names {
    /// The upstream called `name`, if the configuration has it.
    fn upstream(&self, name: &str) -> Option<UpstreamId>;
    /// The names of the parameters the route's path captures.
    fn captures(&self) -> &[String];
}

/// What a target is called and how it is made.
pub trait TargetKind {
    /// The key it stands under in a route.
    const NAME: &'static str;
    /// The refusals it may produce.
    const REFUSALS: &'static [&'static Refusal] = &[];
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
        schema: <K::Config as JsonSchema>::json_schema,
        build: |written, names| K::build(written.decode::<K::Config>()?, written, names),
    }
}
