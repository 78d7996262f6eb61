//! Policies: behaviour that can be switched on per route.
//!
//! A policy is one file with a type implementing [`PolicyKind`] and one entry
//! in the registry of `torana-policies`; schema, documentation, metrics label,
//! refusal table and listing are derived from the [`PolicyEntry`].

use crate::body::Body;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::event::{Event, Tally};
use crate::exchange::Exchange;
use crate::names::HeaderName;
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::site::Site;
use crate::stage::Stage;
use crate::verdict::Verdict;
use crate::written::{Entry, KindUse, Node, Spanned, Written};
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

    /// Whether [`on_request`](Self::on_request) answers CORS preflights. If so,
    /// it is the first of its stage, and preflights for any method that the
    /// route serves come here, whether or not the route serves `OPTIONS`.
    /// Asked once, when a plan is compiled.
    fn answers_preflights(&self) -> bool {
        false
    }

    /// Request headers that only this policy may set, such as the caller's
    /// identity. As soon as one route of a plan has the policy, what clients
    /// send under these names, in any spelling, is removed on every route.
    fn owned_headers(&self) -> &[HeaderName] {
        &[]
    }

    /// Parameters of the query that this policy takes credentials from. As soon
    /// as one route of a plan has the policy, no log line and no explanation
    /// says what they hold, on any route.
    fn credential_parameters(&self) -> Vec<&str> {
        Vec::new()
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
    /// What people may have it do; see [`Site::offer`].
    const OPERATIONS: &'static [&'static Operation] = &[];
    /// The key that a list in place of the configuration is the value of: one
    /// that most have nothing to say besides.
    const LIST: Option<&'static str> = None;
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
    /// [`PolicyKind::OPERATIONS`]
    pub operations: &'static [&'static Operation],
    /// JSON Schema of its configuration.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes and builds.
    pub build: BuildPolicy,
}

/// Makes a policy of its configuration as written.
pub type BuildPolicy = fn(&Written, &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>>;

/// The schema of a configuration that may be the list of its `key` as well.
fn or_list(key: Option<&str>, map: Schema) -> Schema {
    let list = key.and_then(|key| map.get("properties")?.get(key)?.get("items").cloned());
    let (Some(key), Some(items)) = (key, list) else { return map };
    schemars::json_schema!({ "x-torana-list": key, "anyOf": [map, { "type": "array", "items": items }] })
}

/// The registry entry of `K`.
#[must_use]
pub const fn entry<K: PolicyKind>() -> PolicyEntry {
    const { assert!(K::EVENTS.len() <= Tally::MOST, "no room to count them") };
    PolicyEntry {
        name: K::NAME,
        stage: K::STAGE,
        refusals: K::REFUSALS,
        events: K::EVENTS,
        operations: K::OPERATIONS,
        schema: |generator| or_list(K::LIST, <K::Config as JsonSchema>::json_schema(generator)),
        build: |written, site| match (K::LIST, &written.node) {
            (Some(key), Node::List(_)) => {
                let entry = Entry { key: Spanned::new(key.to_owned(), written.span), value: written.clone() };
                let whole = Written::new(Node::Map(vec![entry]), written.span);
                K::build(whole.decode::<K::Config>()?, &whole, site)
            }
            _ => K::build(written.decode::<K::Config>()?, written, site),
        },
    }
}

/// A policy that was built for another one.
pub struct Built {
    /// Its kind.
    pub name: &'static str,
    /// The stage it would run in.
    pub stage: Stage,
    /// It.
    pub policy: Arc<dyn Policy>,
}

/// Builds the policy `used` of the kinds there are.
///
/// # Errors
/// There is none of that name, or it cannot be built; at least one of the
/// diagnostics is an error.
pub fn build(kinds: &[PolicyEntry], used: &KindUse, site: &dyn Site) -> Result<Built, Vec<Diagnostic>> {
    let Some(kind) = kinds.iter().find(|kind| kind.name == *used.name) else {
        let near = did_you_mean(&used.name, kinds.iter().map(|kind| kind.name));
        let unknown = Diagnostic::error("config.unknown_policy", format!("there is no policy {}", used.name.shown()))
            .at(used.name.span)
            .maybe_hint(near.map(|near| format!("did you mean `{near}`?")));
        return Err(vec![unknown]);
    };
    match (kind.build)(&used.config, site) {
        Ok(policy) => Ok(Built { name: kind.name, stage: kind.stage, policy }),
        Err(mut diagnostics) => {
            // An empty list would let the route through without its policy. Of
            // a configuration with errors no plan comes, and what is lacking
            // has been said.
            if site.is_whole() && !diagnostics.iter().any(Diagnostic::is_error) {
                let message = format!("the policy `{}` cannot be built", kind.name);
                diagnostics.push(Diagnostic::error("config.policy_failed", message).at(used.name.span));
            }
            Err(diagnostics)
        }
    }
}

/// Builds a policy that is written inside the configuration of another, which
/// will run it: like any other, it keeps its state and is warned of.
///
/// # Errors
/// There is no such policy, or it cannot be built.
pub fn inner(site: &dyn Site, used: &KindUse) -> Result<Arc<Built>, Vec<Diagnostic>> {
    let built = site.policy(used)?;
    Ok(built.downcast().unwrap_or_else(|_| unreachable!("a site answers with what `build` made")))
}
