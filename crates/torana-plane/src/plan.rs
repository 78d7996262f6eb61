//! A configuration as compiled: immutable, everything resolved.
//!
//! A request path that needs a name looked up, a text parsed or a default
//! applied is a bug of [`compile`](crate::compile): all of that is done here,
//! once, off the path.

use crate::directory::Directory;
use crate::matcher::Matcher;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_config::Fingerprint;
use torana_config::model::{self, ListenAddress};
use torana_core::event::Tally;
use torana_core::exchange::{Exchange, RouteId};
use torana_core::forwarded::{Emit, TrustedProxies};
use torana_core::names::HeaderName;
use torana_core::operation::Operate;
use torana_core::pace::{free, stepwise};
use torana_core::policy::Policy;
use torana_core::rewrite::{ForwardHost, Rewrite};
use torana_core::site::KeptList;
use torana_core::stage::Stage;
use torana_core::store::Store;
use torana_core::target::{Target, UpstreamId};
use torana_core::written::Spanned;
use torana_net::service::{ListenerId, Listening, Settings};
use torana_upstream::discover::Source;
use torana_upstream::spec::UpstreamSpec;
use torana_upstream::state::{State, Watch};

/// A configuration as compiled. Shared by all workers, never changed. A copy is
/// cheap: what is large is shared.
#[derive(Clone)]
pub struct Plan {
    /// Counts up with every plan of this process.
    pub revision: u64,
    /// Identifies the documents it was compiled from, without what references
    /// in them stand for. For showing.
    pub checksum: Arc<str>,
    /// Identifies the values it was compiled from. Not for showing.
    pub fingerprint: Fingerprint,
    /// How many workers were asked for; `None`: as many as there are cores.
    pub workers: Option<u32>,
    /// Where connections are accepted.
    pub listeners: Vec<Listener>,
    /// Routes; a [`RouteId`] is a position in here.
    pub routes: Arc<[Arc<Route>]>,
    /// What they were compiled from, by the same positions: what did not change
    /// is used again.
    pub(crate) known: Arc<Vec<Known>>,
    /// Finds the route of a request.
    pub matcher: Arc<Matcher>,
    /// Upstreams; an [`UpstreamId`] is a position in here.
    pub upstreams: Vec<Arc<UpstreamSpec>>,
    /// What is known about them, by the same positions. Handed on from plan to
    /// plan.
    pub states: Vec<Arc<State>>,
    /// Stores, by name; handed on from plan to plan.
    pub stores: Vec<PlanStore>,
    /// Whose word about the client is taken.
    pub trusted_proxies: TrustedProxies,
    /// Which forwarding fields upstreams are sent.
    pub emit: Emit,
    /// Request headers that belong to some route's policy: removed from what
    /// clients send, in every spelling, on every route.
    pub owned_headers: Vec<HeaderName>,
    /// Parameters of queries that some route's policy takes credentials from:
    /// what they hold is not logged, on any route.
    pub credential_parameters: Vec<Box<str>>,
    /// The access log; `None` when it is off.
    pub access_log: Option<AccessLog>,
    /// How the gateway stops.
    pub shutdown: Shutdown,
    /// Where a new process may ask for the sockets; `None`: nowhere.
    pub upgrade_socket: Option<std::path::PathBuf>,
    /// The admin interface; `None` when it is off.
    pub admin: Option<Admin>,
    /// The id the next new listener gets: ids are never used twice, so that a
    /// connection of a removed listener is not taken for one of another.
    pub next_listener: u32,
    /// What policies and targets hand on to the next plan.
    pub kept: KeptList,
    /// What policies count.
    pub tallies: Vec<PolicyTally>,
    /// Callers that the gateway itself holds credentials of.
    pub consumers: Arc<Directory>,
    /// Where what is made while the gateway runs is kept; `None`: nowhere.
    pub state_dir: Option<std::path::PathBuf>,
    /// What people may have policies do.
    pub offers: Vec<Offer>,
}

/// A store that policies name.
#[derive(Clone)]
pub struct PlanStore {
    /// Its name, unique.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// Identifies its configuration.
    pub fingerprint: Fingerprint,
    /// Itself.
    pub store: Arc<dyn Store>,
}

/// Where connections are accepted.
#[derive(Clone)]
pub struct Listener {
    /// Stays with the listener over reloads, as long as its name does.
    pub id: ListenerId,
    /// Its name, unique.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: ListenAddress,
    /// Limits per connection and request.
    pub settings: Settings,
    /// How its connections start.
    pub listening: Arc<Listening>,
}

/// What is done with requests that match.
#[derive(Clone)]
pub struct Route {
    /// Its name, unique.
    pub name: Arc<str>,
    /// Its path pattern as written; `*` where any path matches. The label of
    /// metrics: unlike a path, it has as many values as there are routes.
    pub pattern: Arc<str>,
    /// Both as the labels of its metrics, `route="…",path="…"`, escaped.
    pub series: Arc<str>,
    /// The policies by stage, in a stage as written.
    pub chain: Vec<Link>,
    /// Whether one of them answers CORS preflights.
    pub answers_preflights: bool,
    /// Whether one of them sees what is forwarded.
    pub watches_forwarding: bool,
    /// What answers.
    pub target: Arc<dyn Target>,
    /// The key the target stands under: `upstream`, `redirect`.
    pub target_kind: &'static str,
    /// How the path changes on its way to the target.
    pub rewrite: Option<Rewrite>,
    /// What `Host` an upstream sees.
    pub host: ForwardHost,
    /// For the whole exchange, instead of the listener's limit; zero: none.
    pub timeout: Option<Duration>,
    /// Bytes of a request body, instead of the listener's limit.
    pub body_bytes: Option<u64>,
    /// Names of what the pattern captures, in order.
    pub captures: Vec<String>,
}

/// What a route was compiled from.
pub(crate) struct Known {
    /// What was written.
    pub(crate) written: Arc<Spanned<model::Route>>,
    /// Its own policies; `None`: it depends on more than what was written.
    pub(crate) own: Option<Vec<Link>>,
}

/// An operation that a policy offers.
#[derive(Clone)]
pub struct Offer {
    /// The policy's name.
    pub policy: &'static str,
    /// The route it is written in; `None` for one of all routes.
    pub route: Option<Arc<str>>,
    /// The operation's name.
    pub operation: &'static str,
    /// Who does it.
    pub operate: Arc<dyn Operate>,
}

/// A policy in a route's chain.
#[derive(Clone)]
pub struct Link {
    /// Its name.
    pub name: &'static str,
    /// When it runs.
    pub stage: Stage,
    /// What it does.
    pub policy: Arc<dyn Policy>,
}

/// What one policy counts.
#[derive(Clone, Debug)]
pub struct PolicyTally {
    /// Its name.
    pub policy: &'static str,
    /// The route it stands in; `None`: it is every route's.
    pub route: Option<Arc<str>>,
    /// Its counts.
    pub tally: Arc<Tally>,
}

/// Where access log lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessLog {
    /// Where to.
    pub output: LogOutput,
}

/// Where access log lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to this file.
    File(std::path::PathBuf),
}

/// The admin interface.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: ListenAddress,
    /// What requests have to bring; `None`: nothing.
    pub token: Option<Arc<str>>,
    /// Names it answers to, besides those everybody has.
    pub hosts: Vec<String>,
    /// How many plans it can go back to.
    pub revisions: u32,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("address", &self.address)
            .field("hosts", &self.hosts)
            .field("revisions", &self.revisions)
            .finish_non_exhaustive()
    }
}

/// How the gateway stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shutdown {
    /// How long exchanges under way may take to end.
    pub drain_timeout: Duration,
    /// How long to accept connections after readiness turned to "no".
    pub readiness_delay: Duration,
}

impl Plan {
    /// The route at `id`.
    #[must_use]
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.0 as usize).map(AsRef::as_ref)
    }

    /// The upstream at `id`.
    #[must_use]
    pub fn upstream(&self, id: UpstreamId) -> Option<&Arc<UpstreamSpec>> {
        self.upstreams.get(id.0 as usize)
    }

    /// The listener with `id`; `None` when a reload has removed it.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        // A handful: a scan beats hashing.
        self.listeners.iter().find(|listener| listener.id == id)
    }

    /// How long the body of `exchange` may be, whose route says `of_route`.
    #[must_use]
    pub fn body_limit(&self, of_route: Option<u64>, exchange: &Exchange) -> Option<u64> {
        let of_listener =
            || self.listener_named(&exchange.connection.listener).map(|listener| listener.settings.body_bytes);
        of_route.or_else(of_listener)
    }

    /// This plan with the endpoints that sources have found by now; `None`:
    /// they are those it has. The same revision: nobody has configured anything.
    #[must_use]
    pub fn rediscovered(&self, watch: &Watch, now: Instant) -> Option<Plan> {
        let mut next: Option<Plan> = None;
        for (index, (spec, state)) in self.upstreams.iter().zip(&self.states).enumerate() {
            if let Some((spec, state)) = state.rediscovered(spec, watch, now) {
                let next = next.get_or_insert_with(|| self.clone());
                next.upstreams[index] = spec;
                next.states[index] = state;
            }
        }
        next
    }

    /// Frees it, in steps: what there is of every route takes its time.
    pub(crate) fn free(self) {
        let Plan { mut routes, known, matcher, .. } = self;
        if let Some(known) = Arc::into_inner(known) {
            free(known);
        }
        if let Some(matcher) = Arc::into_inner(matcher) {
            matcher.free();
        }
        // A slice cannot be taken apart: the others make room for one of them.
        if let Some([one, others @ ..]) = Arc::get_mut(&mut routes) {
            stepwise(others).for_each(|other| *other = Arc::clone(one));
        }
    }

    /// Where endpoints of its upstreams are looked up.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.states.iter().flat_map(|state| state.sources())
    }

    /// Whether `other` was compiled from the same: equal values, references
    /// expanded, and equal certificates.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Plan) -> bool {
        let tls =
            |plan: &Plan| plan.listeners.iter().map(|listener| listener.listening.tls.clone()).collect::<Vec<_>>();
        self.fingerprint == other.fingerprint && tls(self) == tls(other) && self.upstreams == other.upstreams
    }

    /// The listener called `name`.
    #[must_use]
    pub fn listener_named(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| *listener.name == *name)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("revision", &self.revision)
            .field("checksum", &self.checksum)
            .field("listeners", &self.listeners.len())
            .field("routes", &self.routes.len())
            .field("upstreams", &self.upstreams.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage.as_str(), self.name)
    }
}
