//! Policies: behaviour that can be switched on per route.
//!
//! A policy is one file with a type implementing [`PolicyKind`] and one entry
//! in the registry of `torana-policies`; schema, documentation, metrics label,
//! refusal table and listing are derived from the [`PolicyEntry`].

use crate::body::Body;
use crate::diagnostic::Diagnostic;
use crate::event::{Event, Tally};
use crate::exchange::Exchange;
use crate::names::HeaderName;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::site::Site;
use crate::stage::Stage;
use crate::verdict::Verdict;
use crate::written::Written;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The behaviour of a configured policy. One value serves all workers, so its
/// state is shared and must be cheap to share; hooks never block.
pub trait Policy: Send + Sync {
    /// Runs on the way in. `exchange.body` must not be read to its end unless
    /// the policy replaces it.
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let _ = exchange;
        Verdict::CONTINUE
    }

    /// Runs on the way back, also for replies the gateway made itself, if
    /// [`on_request`](Self::on_request) of this policy ran.
    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let _ = (exchange, reply);
        Verdict::CONTINUE
    }

    /// Whether [`on_forward`](Self::on_forward) does anything; asked once, when
    /// a plan is compiled.
    fn sees_forwarding(&self) -> bool {
        false
    }

    /// Runs when the exchange is about to be sent to an upstream: after all
    /// `on_request` hooks, with path, `Host` and body as the upstream is going
    /// to get them. Not for requests that are answered without one.
    fn on_forward(&self, exchange: &mut Exchange) {
        let _ = exchange;
    }

    /// Wraps the request body in a stream adaptor. Runs after all
    /// `on_request` hooks, only when there is a body.
    fn wrap_request(&self, exchange: &Exchange, body: Body) -> Body {
        let _ = exchange;
        body
    }

    /// Wraps the response body in a stream adaptor.
    fn wrap_response(&self, exchange: &Exchange, body: Body) -> Body {
        let _ = exchange;
        body
    }

    /// Request headers that only this policy may set, such as the caller's
    /// identity. As soon as one route of a plan has the policy, what clients
    /// send under these names, in any spelling, is removed on every route.
    fn owned_headers(&self) -> &[HeaderName] {
        &[]
    }

    /// What the policy would make of a request that is not sent, in a few
    /// words: which rule decides, who the caller is. For `torana explain`: it
    /// waits for nothing, counts nothing, and changes nothing but `exchange`,
    /// where it leaves what later policies need to explain themselves.
    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        let _ = exchange;
        None
    }

    /// Runs when the response has been sent or abandoned.
    fn on_end(&self, exchange: &Exchange) {
        let _ = exchange;
    }
}

/// What a policy is called, when it runs, and how it is made.
pub trait PolicyKind {
    /// The name: configuration key, file, metrics label, documentation page.
    const NAME: &'static str;
    /// When it runs.
    const STAGE: Stage;
    /// The refusals it may produce.
    const REFUSALS: &'static [&'static Refusal] = &[];
    /// What it counts; see [`Site::tally`].
    const EVENTS: &'static [&'static Event] = &[];
    /// Its configuration; field docs are the reference page.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the policy. A policy that cannot be made leaves its route
    /// unserved: there is no degraded form of a check.
    ///
    /// # Errors
    /// What is wrong with the configuration, on the user's lines.
    fn build(config: Self::Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>>;
}

/// A registered policy kind, as data.
#[derive(Clone, Copy)]
pub struct PolicyEntry {
    /// [`PolicyKind::NAME`]
    pub name: &'static str,
    /// [`PolicyKind::STAGE`]
    pub stage: Stage,
    /// [`PolicyKind::REFUSALS`]
    pub refusals: &'static [&'static Refusal],
    /// [`PolicyKind::EVENTS`]
    pub events: &'static [&'static Event],
    /// JSON Schema of its configuration.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes and builds.
    pub build: BuildPolicy,
}

/// Makes a policy of its configuration as written.
pub type BuildPolicy = fn(&Written, &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>>;

/// The registry entry of `K`.
#[must_use]
pub const fn entry<K: PolicyKind>() -> PolicyEntry {
    const { assert!(K::EVENTS.len() <= Tally::MOST, "no room to count them") };
    PolicyEntry {
        name: K::NAME,
        stage: K::STAGE,
        refusals: K::REFUSALS,
        events: K::EVENTS,
        schema: <K::Config as JsonSchema>::json_schema,
        build: |written, site| K::build(written.decode::<K::Config>()?, written, site),
    }
}
