//! Routes of the plan before, to be used again.
//!
//! A route compiles to the same as before if the same was written, and if all that it asked about is as it was. The
//! loader says which routes are the same: it hands out the very same ones. Of its surroundings a route may ask for the
//! positions of upstreams and nothing else; one with a policy or a target that asked for more, that keeps state or
//! counts, is compiled anew, as is one about which there is something to say.

use super::Upstreams;
use crate::matcher::RoutePattern;
use crate::plan::{Link, Plan, Route};
use std::collections::HashMap;
use std::sync::Arc;
use torana_config::model;
use torana_core::pace::stepwise;
use torana_core::written::Spanned;

/// A route of the plan before that may be used again.
#[derive(Clone, Copy)]
pub(super) struct Again<'p> {
    pub(super) route: &'p Arc<Route>,
    pub(super) pattern: &'p Arc<RoutePattern>,
    pub(super) own: &'p [Link],
}

/// For each of `routes`, in order, what the plan `before` has of it.
pub(super) fn find<'p>(
    routes: &[Arc<Spanned<model::Route>>],
    upstreams: &Upstreams,
    before: Option<&'p Plan>,
) -> Vec<Option<Again<'p>>> {
    let Some(before) = before.filter(|before| has_positions(before, upstreams)) else {
        return vec![None; routes.len()];
    };
    let again = |at: usize| {
        let own = before.known.get(at)?.own.as_deref()?;
        Some(Again { route: before.routes.get(at)?, pattern: before.matcher.patterns().get(at)?, own })
    };
    let is_at = |at: usize, route: &Arc<Spanned<model::Route>>| {
        before.known.get(at).is_some_and(|known| Arc::ptr_eq(&known.written, route))
    };
    let mut elsewhere: Option<HashMap<*const Spanned<model::Route>, usize>> = None;
    let mut next = 0;
    let mut find = |route: &Arc<Spanned<model::Route>>| {
        // Mostly the one behind the last.
        if !is_at(next, route) {
            let all = || before.known.iter().enumerate().map(|(at, known)| (Arc::as_ptr(&known.written), at)).collect();
            next = *elsewhere.get_or_insert_with(all).get(&Arc::as_ptr(route))?;
        }
        next += 1;
        again(next - 1)
    };
    stepwise(routes).map(&mut find).collect()
}

/// Whether upstreams have the positions that they had. Those at the end may have come or gone: who asked for one that was
/// not there has asked for more than a position.
fn has_positions(before: &Plan, upstreams: &Upstreams) -> bool {
    before.upstreams.iter().zip(&upstreams.specs).all(|(before, now)| before.name == now.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Compiled, Source, compile};
    use crate::testing::{REGISTRIES, kinds};
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use torana_config::{Kinds, Loader};
    use torana_upstream::state::Watch;

    struct Reloads {
        path: PathBuf,
        loader: Loader,
        plan: Option<Plan>,
    }

    impl Reloads {
        fn new(name: &str) -> Reloads {
            let path = std::env::temp_dir().join(format!("torana-known-{name}-{}.yaml", std::process::id()));
            let (policies, targets) = kinds();
            Reloads {
                path,
                loader: Loader::new(&Kinds { policies: &policies, targets: &targets, stores: &[] }),
                plan: None,
            }
        }

        /// Reloads with these lines; the names of the routes that are used again.
        fn load(&mut self, head: &str, routes: &[&str]) -> (Vec<String>, Compiled) {
            let lines: String = routes.iter().map(|route| format!("  - {{ {route} }}\n")).collect();
            let text = format!("listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n{head}\nroutes:\n{lines}");
            std::fs::write(&self.path, text).unwrap();
            let loaded = self.loader.load(&self.path, &BTreeMap::new());
            let config = loaded.config.as_ref().unwrap_or_else(|_| panic!("{:?}", loaded.diagnostics));
            let source = Source { config, checksum: "", watch: &Watch::default(), runtime: None };
            let mut compiled = compile(source, REGISTRIES, self.plan.as_ref());
            let plan = compiled.plan.take().unwrap();
            let before: Vec<_> = self.plan.iter().flat_map(|plan| plan.routes.iter()).collect();
            let same = |route: &&Arc<Route>| before.iter().any(|before| Arc::ptr_eq(&before.target, &route.target));
            let again = plan.routes.iter().filter(same).map(|route| route.name.to_string()).collect();
            self.plan = Some(plan);
            (again, compiled)
        }

        fn plan(&self) -> &Plan {
            self.plan.as_ref().unwrap()
        }
    }

    impl Drop for Reloads {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    const UPSTREAMS: &str = "upstreams: { b: { endpoints: [ http://127.0.0.1:1 ] }, c: { endpoints: [ http://h ] } }";
    const A: &str = "name: a, match: { path: /a/* }, upstream: c";
    const B: &str = "name: b, match: { path: \"/b/{id}\" }, upstream: b, rewrite: { strip_prefix: /b }, timeout: 3s";
    const C: &str = "name: c, match: { path: /c }, respond: {}";

    #[test]
    fn routes_that_did_not_change_are_used_again_wherever_they_are() {
        let mut reloads = Reloads::new("same");
        assert!(reloads.load(UPSTREAMS, &[A, B, C]).0.is_empty());
        let before = Arc::clone(&reloads.plan().routes[1]);
        let (again, _) = reloads.load(UPSTREAMS, &["name: new, match: { path: /b/x }, respond: {}", B, A]);
        assert_eq!(again, ["b", "a"]);
        let plan = reloads.plan();
        assert!(Arc::ptr_eq(&plan.routes[1], &before));
        let orders: Vec<_> = plan.matcher.patterns().iter().map(|pattern| pattern.order).collect();
        assert_eq!(orders, [0, 1, 2]);
        let other = C.replace("/c", "/d");
        assert_eq!(reloads.load(UPSTREAMS, &[A, &other]).0, ["a"]);
        assert_eq!(reloads.plan().matcher.patterns()[1].path.as_str(), "/d");
    }

    #[test]
    fn routes_are_compiled_anew_when_upstreams_change_places() {
        let mut reloads = Reloads::new("places");
        reloads.load(UPSTREAMS, &[A, B]);
        let more = UPSTREAMS.replace("{ b:", "{ z: { endpoints: [ http://z ] }, b:");
        assert_eq!(reloads.load(&more, &[A, B]).0, ["a", "b"], "it is behind them");
        let more = UPSTREAMS.replace("{ b:", "{ a: { endpoints: [ http://a ] }, b:");
        assert!(reloads.load(&more, &[A, B]).0.is_empty());
        let leads_to = |at: usize| reloads.plan().routes[at].target.upstreams()[0].0;
        assert_eq!((leads_to(0), leads_to(1)), (2, 1));
    }

    #[test]
    fn policies_of_all_routes_are_those_of_now() {
        let mut reloads = Reloads::new("global");
        let own = format!("{A}, policies: [ {{ late: {{ id: own }} }} ]");
        let chain = |reloads: &Reloads| format!("{:?}", reloads.plan().routes[0].chain);
        reloads.load(UPSTREAMS, &[&own]);
        assert_eq!(chain(&reloads), "[serve/late]");
        let policies =
            |request: &str| format!("{UPSTREAMS}\npolicies: [ {{ early: {{ id: g, request: {request} }} }} ]");
        for request in ["refuse", "watch"] {
            assert_eq!(reloads.load(&policies(request), &[&own]).0, ["a"]);
            assert_eq!(chain(&reloads), "[intake/early, serve/late]");
            assert_eq!(reloads.plan().routes[0].watches_forwarding, request == "watch");
        }
        assert_eq!(reloads.load(UPSTREAMS, &[&own]).0, ["a"]);
        assert_eq!(chain(&reloads), "[serve/late]");
        assert!(!reloads.plan().routes[0].watches_forwarding);
    }

    #[test]
    fn what_asks_for_more_or_is_warned_about_is_compiled_anew() {
        let mut reloads = Reloads::new("more");
        let asks = format!("{A}, policies: [ {{ late: {{ id: own, asks: [ \"http://idp/keys\" ] }} }} ]");
        let ways = "name: w, match: { path: /w }, ways: { to: b, rewrite: {} }";
        for _ in 0..2 {
            let (again, compiled) =
                reloads.load(UPSTREAMS, &[&asks, B, ways, "name: x, match: { path: /w }, upstream: b"]);
            assert!(!again.iter().any(|name| name == "a" || name == "w"), "{again:?}");
            assert_eq!(reloads.plan().upstreams.len(), 3);
            let codes: Vec<_> = compiled.diagnostics.iter().map(|found| &*found.code).collect();
            assert_eq!(codes, ["route.shadowed", "fake.warning"]);
        }
    }
}
