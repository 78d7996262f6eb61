//! Import cycles between the first-level modules of a crate.

use std::collections::{BTreeMap, BTreeSet};

use super::arrows::Package;
use super::source;

/// Cycles that are there on purpose, each as its modules in alphabetical order, and why. A cycle that is gone has to
/// be removed here: the list only gets shorter.
const KNOWN: &[(&str, &[&str], &str)] = &[
    (
        "torana-core",
        &["units", "written"],
        "a unit reads itself from a written value; decoding a written value words its complaints about units",
    ),
    (
        "torana-net",
        &["buffer", "io"],
        "a buffer reads from a stream, a stream writes out of a buffer: one polls the other",
    ),
    (
        "torana-net",
        &["client", "serve", "tunnel"],
        "both HTTP/2 roles pump bodies alike, and a tunnel joins the link of a server to the end of a client",
    ),
];

/// Crates whose modules do not know each other at all: each is a family of leaves.
const LEAVES: &[&str] = &["torana-identity", "torana-policies", "torana-targets"];

type Graph = BTreeMap<String, BTreeSet<String>>;

/// What is wrong with the imports inside crates.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let graph = graph(package);
        if LEAVES.contains(&package.name.as_str()) {
            for (from, to) in graph.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to))) {
                wrong.push(format!(
                    "{}: `{from}` uses its sibling `{to}`: what both need belongs to torana-core",
                    package.name
                ));
            }
        }
        let found = cycles(&graph);
        let known = || KNOWN.iter().filter(|(name, ..)| *name == package.name);
        for cycle in &found {
            if !known().any(|(_, modules, _)| cycle.iter().eq(modules.iter())) {
                wrong.push(format!(
                    "{}: the modules {} import each other: {}",
                    package.name,
                    cycle.join(", "),
                    ring(&graph, cycle)
                ));
            }
        }
        for (_, modules, _) in known() {
            if !found.iter().any(|cycle| cycle.iter().eq(modules.iter())) {
                wrong.push(format!(
                    "{}: the cycle of {} is gone: remove it from KNOWN",
                    package.name,
                    modules.join(", ")
                ));
            }
        }
    }
    wrong
}

/// Which first-level module uses which. The root is no module: it names them all, and they may use its macros.
fn graph(package: &Package) -> Graph {
    let modules: BTreeSet<&String> = package.sources.iter().filter_map(|source| source.module.first()).collect();
    let mut graph = Graph::new();
    for source in &package.sources {
        let Some(from) = source.module.first() else { continue };
        let uses = source::uses(source).into_iter().filter(|name| name != from && modules.contains(name));
        graph.entry(from.clone()).or_default().extend(uses);
    }
    graph
}

/// The strongly connected components of more than one module.
fn cycles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph.keys().map(|from| (from, reachable(graph, from))).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (from, to) in &reach {
        let both = |other: &&&String| reach.get(**other).is_some_and(|back| back.contains(*from));
        let cycle: Vec<String> = to.iter().filter(both).map(|name| (*name).clone()).collect();
        if cycle.len() > 1 && !found.contains(&cycle) {
            found.push(cycle);
        }
    }
    found
}

fn reachable<'a>(graph: &'a Graph, from: &String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&String> = graph.get(from).into_iter().flatten().collect();
    while let Some(name) = open.pop() {
        if seen.insert(name) {
            open.extend(graph.get(name).into_iter().flatten());
        }
    }
    seen
}

/// The arrows inside a cycle, for finding the one to cut.
fn ring(graph: &Graph, cycle: &[String]) -> String {
    let inside = |from: &String| -> Vec<String> {
        let to = graph.get(from).into_iter().flatten().filter(|to| cycle.contains(to));
        to.map(|to| format!("{from} → {to}")).collect()
    };
    cycle.iter().flat_map(inside).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found_and_chains_are_not() {
        let graph: Graph = [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["a", "d"]), ("d", vec![])]
            .into_iter()
            .map(|(from, to)| (from.to_owned(), to.into_iter().map(str::to_owned).collect()))
            .collect();
        assert_eq!(cycles(&graph), [["a", "b", "c"]]);
        assert_eq!(ring(&graph, &cycles(&graph)[0]), "a → b, b → c, c → a");
    }
}
