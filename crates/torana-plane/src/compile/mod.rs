//! From a configuration as written to a [`Plan`].
//!
//! Everything that can be wrong is found here, in one go, and said on the
//! user's lines; a plan exists only if nothing was. A policy that cannot be
//! built, like a certificate that cannot be read, is an error: its route is
//! not served without it.
//!
//! A configuration that loading found errors in is looked through in the same
//! way ([`examine`]), so that a user need not mend it twice. No plan can come
//! of that: [`compile`] takes a [`SoundConfig`] and nothing else.
//!
//! Compiling reads the files a configuration names (certificates, lists of
//! endpoints) and nothing else: no names are resolved, nothing is connected to or executed.

mod chain;
mod consumers;
mod discover;
mod implicit;
mod known;
mod listeners;
mod matching;
mod resilience;
mod routes;
mod site;
mod stores;
mod target;
mod upstreams;

#[cfg(test)]
mod golden_tests;

pub use discover::endpoints_of_file;

use crate::directory::Directory;
use crate::plan::{AccessLog, Admin, Listener, LogOutput, Offer, Plan, PlanStore, PolicyTally, Route, Shutdown};
use implicit::{Implicit, Services};
use routes::Routes;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use torana_config::model::{self, Config, ConsumerPlan, EndpointUrl};
use torana_config::{Remnant, SoundConfig};
use torana_core::consumer::RuntimeConsumers;
use torana_core::diagnostic::{Diagnostic, Severity, Span};
use torana_core::forwarded::{Emit, ForwardingFamily, TrustedProxies};
use torana_core::names::HeaderName;
use torana_core::policy::PolicyEntry;
use torana_core::site::Keepsakes;
use torana_core::store::StoreEntry;
use torana_core::target::TargetEntry;
use torana_core::written::Spanned;
use torana_net::tls::{TlsProblem, Which};
use torana_upstream::state::{State, Watch};

/// A configuration to compile.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The configuration, checked by `torana-config`.
    pub config: &'a SoundConfig,
    /// Identifies its documents; see [`Plan::checksum`].
    pub checksum: &'a str,
    /// Who is told what happens to its upstreams.
    pub watch: &'a Watch,
    /// Consumers and keys that are not in the configuration.
    pub runtime: Option<&'a Arc<dyn RuntimeConsumers>>,
}

/// The kinds of policies, targets and stores there are.
#[derive(Clone, Copy)]
pub struct Registries<'a> {
    /// Policies.
    pub policies: &'a [PolicyEntry],
    /// Targets.
    pub targets: &'a [TargetEntry],
    /// Stores.
    pub stores: &'a [StoreEntry],
}

/// What came of compiling.
#[derive(Debug)]
pub struct Compiled {
    /// The plan; `None` if any diagnostic is an error.
    pub plan: Option<Plan>,
    /// Everything there is to say, warnings included.
    pub diagnostics: Vec<Diagnostic>,
    /// Files besides the configuration's own that the plan was made from, to
    /// be watched: certificates, keys, authorities.
    pub files: Vec<PathBuf>,
    /// What policies and targets ask, by URL.
    pub services: Vec<Spanned<EndpointUrl>>,
}

/// Compiles `source`. With the plan in force as `previous`, what did not
/// change is taken over, so that pools and TLS sessions survive.
#[must_use]
pub fn compile(source: Source<'_>, registries: Registries<'_>, previous: Option<&Plan>) -> Compiled {
    let config = source.config;
    let watch = source.watch;
    let (keepsakes, implicit) = (Keepsakes::default(), Implicit::default());
    let (tallies, offers) = (RefCell::default(), RefCell::default());
    let known = previous.into_iter().flat_map(|plan| plan.upstreams.iter().zip(&plan.states));
    let mut context = Context {
        before: known.map(|known| (&*known.0.name, known)).collect(),
        tallies: &tallies,
        plans: &config.plans,
        runtime: source.runtime,
        consumers: Arc::default(),
        offers: &offers,
        registries,
        previous,
        watch,
        keepsakes: &keepsakes,
        implicit: &implicit,
        remnant: None,
        has_asked: false,
        diagnostics: Vec::new(),
        files: Vec::new(),
    };
    let Parts { listeners, next_listener, upstreams, stores, services, routes } = parts(config, &mut context);
    let Context { diagnostics, files, consumers, .. } = context;
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Compiled { plan: None, diagnostics, files, services };
    }
    let plan = Plan {
        revision: previous.map_or(1, |previous| previous.revision + 1),
        checksum: source.checksum.into(),
        fingerprint: config.fingerprint(),
        workers: config.workers.as_ref().map(|workers| workers.value),
        listeners,
        owned_headers: owned_headers(&routes.list),
        credential_parameters: credential_parameters(&routes.list),
        routes: routes.list.into(),
        known: routes.known.into(),
        matcher: Arc::new(crate::matcher::Matcher::compile(routes.patterns)),
        upstreams: upstreams.specs,
        states: upstreams.states,
        stores,
        trusted_proxies: TrustedProxies::new(
            config.trusted_proxies.iter().map(|network| network.net()),
            ForwardingFamily::XForwarded,
        ),
        emit: Emit::default(),
        access_log: config.access_log.on().filter(|log| log.enabled).map(access_log),
        shutdown: Shutdown {
            drain_timeout: config.shutdown.drain_timeout.std(),
            readiness_delay: config.shutdown.readiness_delay.std(),
        },
        upgrade_socket: config.upgrade.socket.as_ref().map(|socket| socket.value.clone()),
        admin: config.admin.on().map(admin),
        next_listener,
        kept: keepsakes.into_list(),
        tallies: tallies.into_inner(),
        consumers,
        state_dir: config.state_dir.as_ref().map(|path| path.value.clone()),
        offers: offers.into_inner(),
    };
    Compiled { plan: Some(plan), diagnostics, files, services }
}

/// What else is wrong with a configuration that has errors.
#[derive(Debug)]
pub struct Examined {
    /// What compiling what is left has to say, without what follows from the
    /// errors that are known.
    pub diagnostics: Vec<Diagnostic>,
    /// See [`Compiled::files`].
    pub files: Vec<PathBuf>,
}

/// Looks through what is left of a configuration with errors.
#[must_use]
pub fn examine(remnant: &Remnant, registries: Registries<'_>) -> Examined {
    let mut context = Context {
        registries,
        previous: None,
        watch: &Watch::default(),
        keepsakes: &Keepsakes::default(),
        implicit: &Implicit::default(),
        tallies: &RefCell::default(),
        plans: &remnant.config().plans,
        runtime: None,
        consumers: Arc::default(),
        offers: &RefCell::default(),
        before: HashMap::new(),
        remnant: Some(remnant),
        has_asked: false,
        diagnostics: Vec::new(),
        files: Vec::new(),
    };
    // Made to be thrown away: what matters is what making them says.
    let _ = parts(remnant.config(), &mut context);
    let Context { mut diagnostics, files, .. } = context;
    let is_known =
        |diagnostic: &Diagnostic| diagnostic.primary.as_ref().is_some_and(|label| remnant.is_reported(label.span));
    diagnostics.retain(|diagnostic| !is_known(diagnostic));
    Examined { diagnostics, files }
}

/// The parts of a plan that can be wrong.
struct Parts {
    listeners: Vec<Listener>,
    next_listener: u32,
    upstreams: Upstreams,
    stores: Vec<PlanStore>,
    services: Services,
    routes: Routes,
}

fn parts(config: &Config, context: &mut Context<'_>) -> Parts {
    let (listeners, next_listener) = listeners::compile(config, context);
    let mut upstreams = upstreams::compile(config, context);
    context.consumers = Arc::new(consumers::compile(config, context.runtime, context));
    // Before whoever names them.
    upstreams.stores = stores::compile(config, context);
    let routes = routes::compile(config, &upstreams, context);
    // Behind those that were written, whose positions are in use by now.
    let services = context.implicit.compile(config, &mut upstreams, context);
    let stores = std::mem::take(&mut upstreams.stores);
    Parts { listeners, next_listener, upstreams, stores, services, routes }
}

fn access_log(log: &model::AccessLog) -> AccessLog {
    let output = match log.output.as_str() {
        "stdout" => LogOutput::Stdout,
        "stderr" => LogOutput::Stderr,
        path => LogOutput::File(path.into()),
    };
    AccessLog { output }
}

fn admin(admin: &model::Admin) -> Admin {
    Admin {
        address: admin.address.value.clone(),
        token: admin.token.as_ref().map(|token| token.as_str().into()),
        hosts: admin.hosts.iter().map(|host| host.value.clone()).collect(),
        revisions: admin.revisions.value,
    }
}

/// Whoever sends a credential to a route that takes none has sent it all the same.
fn credential_parameters(routes: &[Arc<Route>]) -> Vec<Box<str>> {
    let links = routes.iter().flat_map(|route| &route.chain);
    let mut names: Vec<Box<str>> = links.flat_map(|link| link.policy.credential_parameters()).map(Into::into).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A header that one route's policy owns is removed on all routes: a client
/// could otherwise forge it where the policy does not run.
fn owned_headers(routes: &[Arc<Route>]) -> Vec<HeaderName> {
    let mut owned: Vec<HeaderName> = Vec::new();
    for name in routes.iter().flat_map(|route| &route.chain).flat_map(|link| link.policy.owned_headers()) {
        if !owned.contains(name) {
            owned.push(name.clone());
        }
    }
    owned
}

/// An upstream of the plan before, and where it stands.
type Before<'a> = (&'a Arc<torana_upstream::spec::UpstreamSpec>, &'a Arc<State>);

/// What the parts of the compiler share.
struct Context<'a> {
    registries: Registries<'a>,
    previous: Option<&'a Plan>,
    /// The upstreams of `previous` by name.
    before: HashMap<&'a str, Before<'a>>,
    watch: &'a Watch,
    keepsakes: &'a Keepsakes,
    implicit: &'a Implicit,
    /// What policies of the plan count.
    tallies: &'a RefCell<Vec<PolicyTally>>,
    /// What consumers get.
    plans: &'a BTreeMap<Spanned<String>, Spanned<ConsumerPlan>>,
    runtime: Option<&'a Arc<dyn RuntimeConsumers>>,
    consumers: Arc<Directory>,
    offers: &'a RefCell<Vec<Offer>>,
    /// Where the configuration comes from if loading found errors in it.
    remnant: Option<&'a Remnant>,
    /// Whether a policy or a target has asked for more than where upstreams
    /// are: what it was built into depends on that.
    has_asked: bool,
    diagnostics: Vec<Diagnostic>,
    files: Vec<PathBuf>,
}

impl Context<'_> {
    /// Whether something inside `span` was in error, so that a lack in it
    /// proves nothing.
    fn has_gap(&self, span: Span) -> bool {
        self.remnant.is_some_and(|remnant| remnant.has_gap(span))
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports TLS problems at the places `place` finds for them.
    fn report_tls<'p>(&mut self, problems: Vec<TlsProblem>, place: impl Fn(Which) -> Place<'p>) {
        for problem in problems {
            let place = place(problem.which);
            let message = place.shown(problem.message);
            let diagnostic = match problem.severity {
                Severity::Error => Diagnostic::error(problem.code, message),
                Severity::Warning => Diagnostic::warning(problem.code, message),
            };
            self.report(diagnostic.at(place.span).maybe_hint(problem.hint));
        }
    }
}

/// What a TLS problem is about.
struct Place<'p> {
    span: Span,
    /// The value and how it was written, where it came from a reference.
    hidden: Option<(String, &'p str)>,
}

impl<'p> Place<'p> {
    fn of(span: Span) -> Place<'p> {
        Place { span, hidden: None }
    }

    fn file(path: &'p Spanned<PathBuf>) -> Place<'p> {
        Place { span: path.span, hidden: path.raw().map(|raw| (path.display().to_string(), raw)) }
    }

    fn name(name: &'p Spanned<String>) -> Place<'p> {
        Place { span: name.span, hidden: name.raw().map(|raw| (name.value.clone(), raw)) }
    }

    /// What a reference stands for is not shown, not even where it was meant
    /// to be a path: it may be the very key that should be in the file.
    fn shown(&self, message: String) -> String {
        match &self.hidden {
            Some((value, raw)) if !value.is_empty() => message.replace(value, raw),
            _ => message,
        }
    }
}

/// The upstreams and stores of a plan: what policies and targets name.
struct Upstreams {
    specs: Vec<Arc<torana_upstream::spec::UpstreamSpec>>,
    /// By the same positions.
    states: Vec<Arc<State>>,
    stores: Vec<PlanStore>,
}
