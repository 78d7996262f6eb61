//! The only file that names policies, targets, stores, configuration and plane
//! together: which kinds there are, and the way from a path to a plan.

use crate::checksum;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use torana_config::model::{Config, EndpointUrl, ListenAddress, Origin};
use torana_config::report::{self, Style};
use torana_config::schema::Kinds;
use torana_config::{Environment, Loaded, Loader, ProcessEnvironment};
use torana_control::revisions::Document;
use torana_control::running::Operation;
use torana_core::consumer::RuntimeConsumers;
use torana_core::diagnostic::Diagnostic;
use torana_core::pace::step;
use torana_core::policy::PolicyEntry;
use torana_core::written::{KindSchema, Spanned};
use torana_plane::compile::{Registries, Source, compile, examine};
use torana_plane::plan::Plan;
use torana_store::records::Records;
use torana_upstream::state::Watch;

/// All policies, of both crates.
static POLICIES: [PolicyEntry; torana_identity::REGISTRY.len() + torana_policies::REGISTRY.len()] = {
    let (callers, others) = (torana_identity::REGISTRY, torana_policies::REGISTRY);
    let mut all = [callers[0]; torana_identity::REGISTRY.len() + torana_policies::REGISTRY.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = if index < callers.len() { callers[index] } else { others[index - callers.len()] };
        index += 1;
    }
    all
};

static REGISTRIES: Registries<'static> =
    Registries { policies: &POLICIES, targets: torana_targets::REGISTRY, stores: torana_store::REGISTRY };

/// A configuration taken from disk, all that is known about it.
pub(crate) struct Built {
    /// What was loaded.
    pub(crate) loaded: Arc<Loaded>,
    /// The plan, if there is no error.
    pub(crate) plan: Option<Plan>,
    /// Errors and warnings of loading and compiling.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Every file and directory it depends on.
    pub(crate) files: Vec<PathBuf>,
}

impl Built {
    /// The diagnostics as a person reads them; empty if there are none.
    pub(crate) fn rendered(&self, style: Style) -> String {
        report::render(&self.diagnostics, &self.loaded.sources, style)
    }

    /// The diagnostics for programs.
    pub(crate) fn to_json(&self) -> Value {
        report::to_json(&self.diagnostics, &self.loaded.sources)
    }

    /// The files of the configuration, as they may be shown.
    pub(crate) fn documents(&self) -> Arc<[Document]> {
        let documents = torana_config::documents(&self.loaded);
        documents.into_iter().map(|document| Document { path: document.path, text: document.text }).collect()
    }
}

/// What configurations are made of: files, and what they refer to.
#[derive(Clone)]
pub(crate) struct Input {
    /// A file or a directory.
    path: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Input {
    /// The files at `path`, and the environment of the process.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Input {
        Input { path: path.into(), variables: BTreeMap::new() }
    }

    /// The same with variables that go before those of the environment, which
    /// cannot be changed while there are threads.
    pub(crate) fn with_variables(self, variables: BTreeMap<String, String>) -> Input {
        Input { variables, ..self }
    }
}

impl Environment for Input {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.variable(name).or_else(|| ProcessEnvironment.variable(name))
    }
}

/// The configuration at `path`, for commands that only ask about it.
pub(crate) fn look_at(path: &Path) -> Built {
    let input = Input::new(path);
    let loaded = with_kinds(|kinds| torana_config::load(&input.path, kinds, &input));
    build_again(Arc::new(loaded), None, &Watch::default(), &Keeper::idle())
}

/// Configurations on disk, to be loaded again and again: what did not change
/// is not read again.
pub(crate) struct OnDisk {
    input: Input,
    loader: Loader,
}

impl OnDisk {
    /// What `input` names.
    pub(crate) fn new(input: Input) -> OnDisk {
        OnDisk { input, loader: with_kinds(Loader::new) }
    }

    /// Loads and compiles what is there now. With the plan in force as
    /// `previous`, what did not change is taken over from it. `watch` is told
    /// what happens to upstreams when the plan is in force.
    pub(crate) fn build(&mut self, previous: Option<&Plan>, watch: &Watch, keeper: &Keeper) -> Built {
        let loaded = self.loader.load(&self.input.path, &self.input);
        build_again(Arc::new(loaded), previous, watch, keeper)
    }
}

/// Compiles what was loaded before, references as they were expanded then.
/// Certificates are read anew: those of then may have expired.
pub(crate) fn build_again(loaded: Arc<Loaded>, previous: Option<&Plan>, watch: &Watch, keeper: &Keeper) -> Built {
    let mut diagnostics = loaded.diagnostics.clone();
    let mut files = loaded.files.clone();
    let mut plan = None;
    match &loaded.config {
        Ok(config) => {
            step();
            let checksum = checksum::of(loaded.sources.iter().map(|source| source.text.as_str()));
            step();
            let records = keeper.records(config);
            diagnostics.extend(records.as_ref().and_then(|records| lost(config, records)));
            let runtime = records.map(|records| records as Arc<dyn RuntimeConsumers>);
            let source = Source { config, checksum: &checksum, watch, runtime: runtime.as_ref() };
            let compiled = compile(source, REGISTRIES, previous);
            diagnostics.extend(compiled.diagnostics);
            diagnostics.extend(endpoints_at_admin(config));
            files.extend(compiled.files);
            diagnostics.extend(services_at_admin(config, &compiled.services));
            let is_good = !diagnostics.iter().any(Diagnostic::is_error);
            plan = compiled.plan.filter(|_| is_good);
        }
        Err(remnant) => {
            let examined = examine(remnant, REGISTRIES);
            diagnostics.extend(examined.diagnostics);
            if remnant.knows_admin() {
                diagnostics.extend(endpoints_at_admin(remnant.config()));
            }
            files.extend(examined.files);
        }
    }
    loaded.sources.settle(&mut diagnostics);
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.as_ref().map(|label| label.span));
    // What a YAML anchor names is looked at wherever it is used; what is wrong
    // with it is said once.
    diagnostics.dedup();
    Built { loaded, plan, diagnostics, files }
}

/// Who keeps consumers and keys that are made while the gateway runs.
#[derive(Clone, Default)]
pub(crate) struct Keeper {
    /// Set by the first good configuration; `None`: nobody, for as long as the
    /// process lives.
    opened: Arc<OnceLock<Option<Arc<Records>>>>,
    is_idle: bool,
}

impl Keeper {
    /// One that keeps nothing and touches no file: for commands that only look
    /// at a configuration.
    fn idle() -> Keeper {
        Keeper { is_idle: true, ..Keeper::default() }
    }

    fn records(&self, config: &Config) -> Option<Arc<Records>> {
        let open = || config.state_dir.as_ref().map(|directory| Arc::new(Records::open(directory)));
        if self.is_idle { None } else { self.opened.get_or_init(open).clone() }
    }

    /// What is kept, once a configuration was loaded.
    pub(crate) fn opened(&self) -> Option<&Arc<Records>> {
        self.opened.get()?.as_ref()
    }
}

/// Not an error: what is written in the configuration goes on.
fn lost(config: &Config, records: &Records) -> Option<Diagnostic> {
    let (directory, why) = (config.state_dir.as_ref()?, records.lost()?);
    let message = format!("keys that were made while the gateway ran do not count: {why}");
    let hint = "those of the configuration do. Put the file back, or move it away and make the keys anew";
    Some(Diagnostic::warning("consumers.lost", message).at(directory.span).hint(hint))
}

/// The JSON Schema of configurations.
pub(crate) fn schema() -> Value {
    with_kinds(torana_config::schema::json_schema)
}

/// What policies may be told to do through the admin interface.
pub(crate) fn operations() -> Vec<Operation> {
    let of_kind = |kind: &PolicyEntry| {
        let name = kind.name;
        kind.operations.iter().map(move |operation| Operation {
            path: path_of(name, operation.name),
            about: operation.about,
            arguments: arguments(operation.arguments),
        })
    };
    REGISTRIES.policies.iter().flat_map(of_kind).collect()
}

/// Where an operation of a policy is asked for.
pub(crate) fn path_of(policy: &str, operation: &str) -> String {
    format!("/{policy}/{operation}")
}

/// A schema with all that it refers to inside.
fn arguments(schema: fn(&mut SchemaGenerator) -> Schema) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    schema(&mut settings.into_generator()).to_value()
}

fn with_kinds<T>(ask: impl FnOnce(&Kinds<'_>) -> T) -> T {
    let policies = REGISTRIES.policies.iter().map(|entry| KindSchema { name: entry.name, schema: entry.schema });
    let targets = REGISTRIES.targets.iter().map(|entry| KindSchema { name: entry.name, schema: entry.schema });
    let stores = REGISTRIES.stores.iter().map(|entry| KindSchema { name: entry.name, schema: entry.schema });
    let (policies, targets, stores): (Vec<_>, Vec<_>, Vec<_>) =
        (policies.collect(), targets.collect(), stores.collect());
    ask(&Kinds { policies: &policies, targets: &targets, stores: &stores })
}

/// An endpoint that is the admin interface would show it to everyone who can
/// reach the gateway (CVE-2025-24030). Names are not resolved here; for those
/// the admin interface refuses what a proxy sends.
fn endpoints_at_admin(config: &Config) -> Vec<Diagnostic> {
    let Some(admin) = config.admin.on() else { return Vec::new() };
    let mut found = Vec::new();
    for endpoint in config.upstreams.values().flat_map(|upstream| &upstream.endpoints) {
        if is_at(&endpoint.url.origin, &admin.address) {
            let message = format!("the endpoint {} is the gateway's own admin interface", endpoint.url.shown());
            found.push(
                Diagnostic::error("upstream.admin_endpoint", message)
                    .at(endpoint.url.span)
                    .also(admin.address.span, "admin")
                    .hint("it would be open to everyone who can reach the route: remove the endpoint"),
            );
        }
    }
    found
}

/// The same of what a policy asks by URL.
fn services_at_admin(config: &Config, services: &[Spanned<EndpointUrl>]) -> Vec<Diagnostic> {
    let Some(admin) = config.admin.on() else { return Vec::new() };
    let at_admin = services.iter().filter(|url| is_at(&url.value.origin, &admin.address));
    let problem = |url: &Spanned<EndpointUrl>| {
        Diagnostic::error("upstream.admin_endpoint", "this URL is the gateway's own admin interface")
            .at(url.span)
            .also(admin.address.span, "admin")
            .hint("what a policy asks is another service")
    };
    at_admin.map(problem).collect()
}

fn is_at(origin: &Origin, address: &ListenAddress) -> bool {
    let (host, port, admin) = match (origin, address, address.socket()) {
        (Origin::Unix(path), ListenAddress::Unix(admin), _) => return path == admin,
        (Origin::Network { host, port }, _, Some(admin)) => (host, *port, admin),
        _ => return false,
    };
    let admin_ip = admin.ip().to_canonical();
    let is_same = match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        // Connecting to "any address" reaches this machine. Which other
        // addresses it has is not known here.
        Ok(ip) => ip == admin_ip || ip.is_unspecified() || (admin_ip.is_unspecified() && ip.is_loopback()),
        Err(_) => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    };
    is_same && port == admin.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_interface_is_recognised_in_every_spelling() {
        let admin: ListenAddress = "127.0.0.1:9901".parse().unwrap();
        let network = |host: &str, port| Origin::Network { host: host.to_owned(), port };
        for host in ["127.0.0.1", "localhost", "LOCALHOST.", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
            assert!(is_at(&network(host, 9901), &admin), "{host}");
        }
        assert!(!is_at(&network("127.0.0.1", 3000), &admin));
        assert!(!is_at(&network("10.0.0.1", 9901), &admin));
        for everywhere in [":9901", "0.0.0.0:9901", "[::]:9901"] {
            let admin: ListenAddress = everywhere.parse().unwrap();
            for host in ["127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0"] {
                assert!(is_at(&network(host, 9901), &admin), "{host} at {everywhere}");
            }
            assert!(!is_at(&network("127.0.0.1", 80), &admin) && !is_at(&network("10.0.0.1", 9901), &admin));
        }
        let socket: ListenAddress = "unix:/run/torana.sock".parse().unwrap();
        assert!(is_at(&Origin::Unix("/run/torana.sock".into()), &socket));
    }
}
