//! `tests/golden/compile/NAME.in.yaml` compiles to `NAME.out.txt`: the
//! diagnostics as a user reads them, then the plan if there is one. With
//! `UPDATE=1` in the environment the expectations are rewritten.

use super::{Compiled, Examined, Source, compile, examine};
use crate::plan::{Plan, Route};
use crate::testing::{REGISTRIES, kinds, plan};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use torana_config::report::{Style, render};
use torana_config::{Kinds, load};

fn compile_file(path: &Path) -> String {
    let (policies, targets) = kinds();
    let kinds = Kinds { policies: &policies, targets: &targets, stores: &[] };
    let loaded = load(path, &kinds, &std::collections::BTreeMap::new());
    let mut diagnostics = loaded.diagnostics.clone();
    let mut plan = None;
    match &loaded.config {
        Ok(config) => {
            let source =
                Source { config, checksum: "abc", watch: &torana_upstream::state::Watch::default(), runtime: None };
            let compiled = compile(source, REGISTRIES, None);
            diagnostics.extend(compiled.diagnostics);
            plan = compiled.plan;
        }
        Err(remnant) => diagnostics.extend(examine(remnant, REGISTRIES).diagnostics),
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.as_ref().map(|label| label.span));
    let mut out = render(&diagnostics, &loaded.sources, Style::Plain);
    if let Some(plan) = &plan {
        describe(plan, &mut out);
    }
    // Paths of files depend on where the sources lie.
    let directory = path.parent().unwrap().display().to_string();
    out.replace(&format!("{directory}/"), "")
}

fn describe(plan: &Plan, out: &mut String) {
    writeln!(out, "revision {}, workers {:?}, log {:?}", plan.revision, plan.workers, plan.access_log).unwrap();
    writeln!(out, "{:?}, admin {:?}", plan.shutdown, plan.admin.as_ref().map(|admin| &admin.address)).unwrap();
    for listener in &plan.listeners {
        let (settings, how) = (&listener.settings, &listener.listening);
        let proxies = how.proxy_protocol.len();
        let (id, name, address) = (listener.id.0, &listener.name, &listener.address);
        writeln!(
            out,
            "listener {id} {name} at {address}: {} body bytes, http2 {}, {proxies} proxies",
            settings.body_bytes, how.http2
        )
        .unwrap();
    }
    for upstream in &plan.upstreams {
        writeln!(out, "upstream {}: {:?}, {:?}", upstream.name, upstream.timeout, upstream.protocol).unwrap();
        for endpoint in &upstream.endpoints {
            writeln!(out, "  {endpoint:?}").unwrap();
        }
        for source in &upstream.sources {
            writeln!(out, "  {source:?}").unwrap();
        }
    }
    for (route, pattern) in plan.routes.iter().zip(plan.matcher.patterns()) {
        describe_route(route, out);
        writeln!(out, "  hosts {:?}, methods {:?}, headers {:?}", pattern.hosts, pattern.methods, pattern.headers)
            .unwrap();
        if !(pattern.query.is_empty() && pattern.cookies.is_empty()) {
            writeln!(out, "  query {:?}, cookies {:?}", pattern.query, pattern.cookies).unwrap();
        }
        if let Some(when) = &pattern.when {
            let (media, clients) = (&pattern.content_types, &pattern.clients);
            writeln!(out, "  media {media:?}, clients {clients:?}, when {when:?}, native {}", when.is_native())
                .unwrap();
        }
    }
}

fn describe_route(route: &Route, out: &mut String) {
    writeln!(out, "route {} {}: {}, chain {:?}", route.name, route.pattern, route.target.describe(), route.chain)
        .unwrap();
    writeln!(out, "  host {:?}, timeout {:?}, body {:?}", route.host, route.timeout, route.body_bytes).unwrap();
    if let Some(rewrite) = &route.rewrite {
        writeln!(out, "  {:?} within {}", rewrite.change, rewrite.within).unwrap();
    }
}

#[test]
fn golden_pairs() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compile");
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let input = entry.unwrap().path();
        let Some(name) = input.file_name().and_then(|name| name.to_str()?.strip_suffix(".in.yaml")) else { continue };
        let output = directory.join(format!("{name}.out.txt"));
        let actual = compile_file(&input);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&output, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&output).unwrap_or_default();
        assert!(actual == expected, "{name} compiles differently:\n{actual}");
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn a_policy_that_cannot_be_built_leaves_no_plan() {
    let with = |policies: &str| {
        plan(&format!(r#"{{ "routes": [ {{ "name": "r", "policies": [{policies}], "respond": {{}} }} ] }}"#), None)
    };
    assert!(with("").is_ok());
    for broken in [r#"{ "middle": { "id": "unbuildable" } }"#, r#"{ "middle": {} }"#, r#""middle""#, r#""jwt""#] {
        let problems = with(broken).unwrap_err();
        assert!(problems.iter().any(torana_core::diagnostic::Diagnostic::is_error), "{broken}");
    }
    let global =
        r#"{ "policies": [ { "early": { "id": "unbuildable" } } ], "routes": [ { "name": "r", "respond": {} } ] }"#;
    assert!(plan(global, None).is_err());
}

#[test]
fn what_did_not_change_is_the_same_object() {
    let config = |port: u16| {
        format!(
            r#"{{ "upstreams": {{ "a": {{ "endpoints": ["http://127.0.0.1:1"] }}, "b": {{ "endpoints": ["http://127.0.0.1:{port}"] }} }},
                 "routes": [ {{ "name": "a", "upstream": "a" }}, {{ "name": "b", "match": {{ "path": "/b" }}, "upstream": "b" }} ] }}"#
        )
    };
    let first = plan(&config(2), None).unwrap();
    let second = plan(&config(3), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first.upstreams[0], &second.upstreams[0]));
    assert!(!Arc::ptr_eq(&first.upstreams[1], &second.upstreams[1]));
    assert_eq!((second.revision, second.listeners[0].id), (2, first.listeners[0].id));
}

#[test]
fn a_compiled_plan_is_for_all_threads() {
    fn sent<T: Send + Sync>() {}
    sent::<Plan>();
    sent::<Compiled>();
    sent::<Examined>();
}
