//! From a configuration as written to a [`Plan`].
//!
//! Everything that can be wrong is found here, in one go, and said on the
//! user's lines; a plan exists only if nothing was. A policy that cannot be
//! built, like a certificate that cannot be read, is an error: its route is
//! not served without it.
//!
//! Compiling reads the files a configuration names (certificates) and nothing
//! else: no names are resolved, nothing is connected to or executed.

mod chain;
mod listeners;
mod matching;
mod rewrite;
mod routes;
mod target;
mod upstreams;

#[cfg(test)]
mod golden_tests;

use crate::plan::{AccessLog, LogOutput, Plan, Shutdown};
use std::path::PathBuf;
use std::sync::Arc;
use torana_config::model::{self, Config};
use torana_core::diagnostic::{Diagnostic, Severity};
use torana_core::forwarded::{Emit, ForwardingFamily, TrustedProxies};
use torana_core::names::HeaderName;
use torana_core::policy::PolicyEntry;
use torana_core::target::TargetEntry;
use torana_net::tls::TlsProblem;

/// A configuration to compile.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The configuration, checked by `torana-config`.
    pub config: &'a Config,
    /// Its checksum.
    pub checksum: &'a str,
    /// How the admin interface shows it: without secrets.
    pub shown: &'a serde_json::Value,
}

/// The kinds of policies and targets there are.
#[derive(Clone, Copy)]
pub struct Registries<'a> {
    /// Policies.
    pub policies: &'a [PolicyEntry],
    /// Targets.
    pub targets: &'a [TargetEntry],
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
}

/// Compiles `source`. With the plan in force as `previous`, what did not
/// change is taken over, so that pools and TLS sessions survive.
#[must_use]
pub fn compile(source: Source<'_>, registries: Registries<'_>, previous: Option<&Plan>) -> Compiled {
    let config = source.config;
    let mut context = Context { registries, previous, diagnostics: Vec::new(), files: Vec::new() };
    let (listeners, next_listener) = listeners::compile(config, &mut context);
    let upstreams = upstreams::compile(config, &mut context);
    let (routes, patterns) = routes::compile(config, &upstreams, &mut context);
    let Context { diagnostics, files, .. } = context;
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Compiled { plan: None, diagnostics, files };
    }
    let admin = config.admin.on();
    let plan = Plan {
        revision: previous.map_or(1, |previous| previous.revision + 1),
        checksum: source.checksum.into(),
        workers: config.workers.as_ref().map(|workers| workers.value),
        listeners,
        owned_headers: owned_headers(&routes),
        routes,
        matcher: crate::matcher::Matcher::compile(patterns),
        upstreams: upstreams.specs,
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
        admin: admin.map(|admin| admin.address.value.clone()),
        config: source.shown.clone(),
        next_listener,
    };
    Compiled { plan: Some(plan), diagnostics, files }
}

fn access_log(log: &model::AccessLog) -> AccessLog {
    let output = match log.output.as_str() {
        "stdout" => LogOutput::Stdout,
        "stderr" => LogOutput::Stderr,
        path => LogOutput::File(path.into()),
    };
    AccessLog { output }
}

/// A header that one route's policy owns is removed on all routes: a client
/// could otherwise forge it where the policy does not run.
fn owned_headers(routes: &[crate::plan::Route]) -> Vec<HeaderName> {
    let mut owned: Vec<HeaderName> = Vec::new();
    for name in routes.iter().flat_map(|route| &route.chain).flat_map(|link| link.policy.owned_headers()) {
        if !owned.contains(name) {
            owned.push(name.clone());
        }
    }
    owned
}

/// What the parts of the compiler share.
struct Context<'a> {
    registries: Registries<'a>,
    previous: Option<&'a Plan>,
    diagnostics: Vec<Diagnostic>,
    files: Vec<PathBuf>,
}

impl Context<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports TLS problems at the places `span` finds for them.
    fn report_tls(
        &mut self,
        problems: Vec<TlsProblem>,
        span: impl Fn(torana_net::tls::Which) -> torana_core::diagnostic::Span,
    ) {
        for problem in problems {
            let diagnostic = match problem.severity {
                Severity::Error => Diagnostic::error(problem.code, problem.message),
                Severity::Warning => Diagnostic::warning(problem.code, problem.message),
            };
            self.report(diagnostic.at(span(problem.which)).maybe_hint(problem.hint));
        }
    }
}

/// The upstreams of a plan and where each stands.
struct Upstreams {
    specs: Vec<Arc<torana_upstream::spec::UpstreamSpec>>,
}
