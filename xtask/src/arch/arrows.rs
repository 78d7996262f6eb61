//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::source::Source;

/// Every arrow there is, and no other: what a crate may name. An arrow nobody uses any more is to be removed here.
///
/// Those absent by design are listed in `ARCHITECTURE.md`. If one of them seems needed, the trait in between is missing
/// something.
pub(super) const ARROWS: &[(&str, &[&str])] = &[
    ("torana-core", &[]),
    ("torana-config", &["torana-core"]),
    ("torana-http1", &["torana-core"]),
    ("torana-net", &["torana-core", "torana-http1"]),
    ("torana-upstream", &["torana-core", "torana-net"]),
    ("torana-expr", &["torana-core"]),
    ("torana-reshape", &["torana-core"]),
    ("torana-identity", &["torana-core", "torana-expr"]),
    ("torana-policies", &["torana-core", "torana-expr", "torana-reshape"]),
    ("torana-targets", &["torana-core", "torana-expr", "torana-reshape"]),
    ("torana-store", &["torana-core"]),
    ("torana-plane", &["torana-core", "torana-config", "torana-expr", "torana-net", "torana-upstream"]),
    ("torana-control", &[]),
    (
        "torana",
        &[
            "torana-core",
            "torana-config",
            "torana-net",
            "torana-upstream",
            "torana-identity",
            "torana-policies",
            "torana-targets",
            "torana-store",
            "torana-plane",
            "torana-control",
        ],
    ),
    // It tests the program from outside, so it may know nothing of the inside.
    ("torana-e2e", &[]),
    ("xtask", &[]),
];

/// Dependencies that only some crates may name, so that what they do stays in one place. torana-e2e brings clients and
/// origins of its own: it must not test the gateway with the gateway.
const WALLS: &[(&str, &[&str], &str)] = &[
    ("h2", &["torana-net", "torana-e2e"], "HTTP/2 is torana-net's business"),
    ("rustls", &["torana-net", "torana-e2e"], "TLS is torana-net's business"),
    ("tokio-rustls", &["torana-net", "torana-e2e"], "TLS is torana-net's business"),
    ("socket2", &["torana-net", "torana-e2e"], "sockets are torana-net's business"),
    ("redb", &["torana-store"], "what is kept in files is torana-store's business"),
    ("redis", &["torana-store"], "speaking with stores is torana-store's business"),
    ("httparse", &["torana-http1"], "reading HTTP/1 is torana-http1's business"),
    ("hyper", &["torana-control", "torana", "torana-e2e"], "hyper serves what is not on the path of requests"),
    ("clap", &["torana"], "the command line is the binary's business"),
    ("notify", &["torana-control"], "watching files is the control plane's business"),
];

/// Words that a crate without I/O does not contain.
const IO: &[&str] = &["std::fs", "process::Command", "std::thread", "TcpStream", "TcpListener", "UdpSocket", "tokio::"];

/// Crates that talk about bytes and never move any.
const WITHOUT_IO: &[&str] = &["torana-core", "torana-expr", "torana-http1", "torana-identity", "torana-policies"];

/// One crate: its `Cargo.toml` as cargo read it, and its sources.
pub(super) struct Package {
    pub(super) name: String,
    /// Workspace crates it depends on, and whether only its tests do.
    pub(super) arrows: BTreeMap<String, bool>,
    /// Other crates its code (not its tests) depends on.
    pub(super) foreign: BTreeSet<String>,
    pub(super) sources: Vec<Source>,
}

impl Package {
    pub(super) fn new(package: &Value, members: &BTreeSet<String>, sources: Vec<Source>) -> Package {
        let (mut arrows, mut foreign) = (BTreeMap::new(), BTreeSet::new());
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = dependency["name"].as_str().unwrap_or_default().to_owned();
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if members.contains(&name) {
                let only_tests: &mut bool = arrows.entry(name).or_insert(true);
                *only_tests &= is_dev;
            } else if !is_dev {
                foreign.insert(name);
            }
        }
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        Package { name, arrows, foreign, sources }
    }
}

/// What is wrong with the arrows.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some((_, allowed)) = ARROWS.iter().find(|(of, _)| of == name) else {
            wrong.push(format!("{name}: the crate is not in the table of arrows (xtask/src/arch/arrows.rs)"));
            continue;
        };
        for (to, only_tests) in &package.arrows {
            if !allowed.contains(&to.as_str()) {
                let kind = if *only_tests { " (for tests)" } else { "" };
                wrong.push(format!("{name}: must not depend on {to}{kind}; allowed: {}", allowed.join(", ")));
            } else if !only_tests && !names(package, to) {
                wrong.push(format!("{name}: depends on {to}, but no source of it says so: remove the dependency"));
            }
        }
        for to in allowed.iter().filter(|to| !package.arrows.contains_key(**to)) {
            wrong.push(format!("{name}: the arrow to {to} is allowed but not there: remove it from the table"));
        }
        walls(package, &mut wrong);
        io(package, &mut wrong);
    }
    wrong
}

fn names(package: &Package, other: &str) -> bool {
    let path = format!("{}::", other.replace('-', "_"));
    package.sources.iter().any(|source| source.code.contains(&path))
}

fn walls(package: &Package, wrong: &mut Vec<String>) {
    for (dependency, allowed, why) in WALLS {
        if package.foreign.contains(*dependency) && !allowed.contains(&package.name.as_str()) {
            wrong.push(format!("{}: must not depend on {dependency}: {why}", package.name));
        }
    }
}

fn io(package: &Package, wrong: &mut Vec<String>) {
    if !WITHOUT_IO.contains(&package.name.as_str()) {
        return;
    }
    for source in &package.sources {
        for word in IO.iter().filter(|word| source.code.contains(**word)) {
            wrong.push(format!("{}: names {word}, but {} does no I/O", shown(&source.path), package.name));
        }
    }
}

fn shown(path: &Path) -> String {
    crate::workspace::relative(path)
}
