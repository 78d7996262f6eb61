//! The trie against a matcher too simple to be wrong, and its costs.

use super::tests::{request, route};
use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::hint::black_box;
use std::time::{Duration, Instant};

const HOSTS: [&str; 6] = ["", "a.x", "*.x", "b.a.x", "*.a.x", "y"];
const PATHS: [&str; 20] = [
    "/*",
    "/",
    "/a",
    "/a/",
    "/a/*",
    "/{p}",
    "/{p}/",
    "/{p}/*",
    "/a/b",
    "/a/{p}",
    "/{p}/b",
    "/{p}/{q}",
    "/a/b/*",
    "/a/{p}/*",
    "/{p}/b/*",
    "/{p}/{q}/*",
    "/a/b/c",
    "/{p}/b/c",
    "/a/{p}/c",
    "/b/{p}/{r*}",
];
const METHODS: [&str; 5] = ["", "GET", "POST", "GET POST", "PURGE"];

fn pattern() -> impl Strategy<Value = RoutePattern> {
    let value = || {
        prop::sample::select(vec![
            ValueMatch::Present,
            ValueMatch::Absent,
            ValueMatch::Exact("1".into()),
            ValueMatch::Prefix("1".into()),
            ValueMatch::OneOf(vec!["1".into(), "2".into()]),
        ])
    };
    (
        prop::collection::vec(prop::sample::select(HOSTS[1..].to_vec()), 0..3),
        prop::sample::select(PATHS.to_vec()),
        prop::sample::select(METHODS.to_vec()),
        prop::collection::vec((prop::sample::select(vec!["x-a", "accept"]), value()), 0..3),
        prop::collection::vec((prop::sample::select(vec!["p", "q"]), value()), 0..2),
        0..4u32,
    )
        .prop_map(|(hosts, path, methods, headers, query, order)| RoutePattern {
            hosts: hosts.into_iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
            headers: headers.into_iter().map(|(name, value)| (HeaderName::new(name).unwrap(), value)).collect(),
            query: query.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..route(order, methods, path)
        })
}

fn any_request() -> impl Strategy<Value = (CanonicalTarget, Head)> {
    (
        prop::sample::select(vec!["", "a.x", "x", "c.x", "b.a.x", "c.b.a.x", "y", "z"]),
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "z"]), 0..4),
        any::<bool>(),
        prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PURGE", "BREW"]),
        prop::collection::vec(
            (prop::sample::select(vec!["x-a", "accept"]), prop::sample::select(vec!["1", "2", "12"])),
            0..3,
        ),
        prop::sample::select(vec!["", "?p=1", "?q=12", "?p=2&p=1&q", "?q=3"]),
    )
        .prop_map(|(host, segments, slash, method, headers, query)| {
            let mut url = format!("{host}/{}", segments.join("/"));
            if slash && !segments.is_empty() {
                url.push('/');
            }
            request(method, &(url + query), &headers)
        })
}

/// Tests every route and sorts by the documented order.
fn naive(patterns: &[RoutePattern], request: &Request<'_>) -> (Vec<usize>, bool) {
    let host_rank = |pattern: &RoutePattern| {
        let any = [HostPattern::Any];
        let hosts = if pattern.hosts.is_empty() { &any[..] } else { &pattern.hosts[..] };
        hosts.iter().filter(|host| host.matches(request.host)).map(HostPattern::rank).min()
    };
    let mut all_but_method = false;
    let mut matching: Vec<usize> = (0..patterns.len())
        .filter(|&route| {
            let pattern = &patterns[route];
            let predicates = Predicates::new(&pattern.methods, &pattern.headers, &pattern.query);
            let rest = host_rank(pattern).is_some()
                && pattern.path.matches(request.path)
                && predicates.check_all_but_method(request).is_ok();
            all_but_method |= rest;
            rest && predicates.methods.allow(request)
        })
        .collect();
    matching.sort_by(|&one, &other| {
        let (a, b) = (&patterns[one], &patterns[other]);
        host_rank(a).cmp(&host_rank(b)).then(a.path.specificity(&b.path)).then_with(|| {
            let key =
                |p: &RoutePattern| (p.methods.is_any(), Reverse(p.headers.len()), Reverse(p.query.len()), p.order);
            key(a).cmp(&key(b)).then(one.cmp(&other))
        })
    });
    (matching, all_but_method)
}

fn assert_agree(patterns: &[RoutePattern], requests: &[(CanonicalTarget, Head)]) {
    let matcher = Matcher::compile(patterns.to_vec());
    let shadows = shadowed(patterns);
    for (target, head) in requests {
        let seen = Request::new(target, head).unwrap();
        let (expected, all_but_method) = naive(patterns, &seen);
        let mut captures = Captures::default();
        let outcome = matcher.find(target, head, &mut captures);
        match expected.first() {
            Some(&route) => {
                assert_eq!(outcome, Outcome::Matched(route_id(route)));
                assert_captures(&patterns[route], target.path(), &captures);
                assert!(shadows.iter().all(|shadow| shadow.route != route_id(route)), "a shadowed route won");
            }
            None if all_but_method => assert!(matches!(outcome, Outcome::MethodNotAllowed(_)), "{outcome:?}"),
            None => assert_eq!(outcome, Outcome::NotFound),
        }
        let explanation = matcher.explain(target, head);
        assert_eq!(explanation.outcome, outcome);
        let matched: Vec<usize> = explanation
            .considered
            .iter()
            .filter(|one| matches!(one.rule, Rule::Wins | Rule::LessSpecific(_)))
            .map(|one| one.route.0 as usize)
            .collect();
        assert_eq!(matched, expected, "the explanation lists what matches, in order");
        assert_eq!(explanation.considered.iter().filter(|one| one.rule == Rule::Wins).count(), expected.len().min(1));
        assert_eq!(explanation.considered.len(), patterns.len(), "and accounts for every route once");
    }
}

/// Putting the captures back into the pattern gives the path.
fn assert_captures(pattern: &RoutePattern, path: &str, captures: &Captures) {
    assert_eq!(captures.len(), pattern.path.names().len());
    let mut rebuilt = String::new();
    let mut next = 0;
    for segment in pattern.path.as_str().split('/').skip(1) {
        rebuilt.push('/');
        if segment.contains(['{', '*']) {
            rebuilt.push_str(captures.get(path, next));
            next += 1;
        } else {
            rebuilt.push_str(segment);
        }
    }
    // `/a/*` matches `/a` too, without the slash.
    assert!(rebuilt == path || rebuilt == format!("{path}/"), "{rebuilt} {path}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_trie_agrees_with_trying_every_route(
        patterns in prop::collection::vec(pattern(), 0..14),
        requests in prop::collection::vec(any_request(), 20),
    ) {
        assert_agree(&patterns, &requests);
    }

    #[test]
    fn also_where_many_children_share_a_node(
        names in prop::collection::vec("[a-e]{1,2}", 1..30),
        asked in prop::collection::vec("[a-e]{1,2}", 10),
    ) {
        let patterns: Vec<_> = names.iter().zip(0..).map(|(name, order)| route(order, "", &format!("/{name}/*"))).collect();
        let requests: Vec<_> = asked.iter().map(|name| request("GET", &format!("h/{name}/x"), &[])).collect();
        assert_agree(&patterns, &requests);
    }
}

/// The gateway of a large company: many hosts or one, services with a handful
/// of routes each.
fn large(count: u32) -> Vec<RoutePattern> {
    (0..count)
        .map(|n| match n % 5 {
            0 => route(n, "", &format!("/api/service-{}/v1/*", n / 5)),
            1 => route(n, "GET", &format!("/api/service-{}/v1/items/{{id}}", n / 5)),
            2 => route(n, "POST", &format!("/api/service-{}/v1/items", n / 5)),
            3 => route(n, "", &format!("tenant-{}.shop.example/*", n / 5)),
            _ => route(n, "", &format!("*.tenant-{}.example/orders/{{order}}/lines", n / 5)),
        })
        .collect()
}

struct Count {
    nodes: usize,
    candidates: usize,
}

impl Visit for Count {
    fn candidate(&mut self, _route: usize) -> ControlFlow<()> {
        self.candidates += 1;
        ControlFlow::Continue(())
    }

    fn node(&mut self) {
        self.nodes += 1;
    }
}

/// Requests for routes that exist however many there are.
fn probes() -> Vec<(CanonicalTarget, Head)> {
    vec![
        request("GET", "h.example/api/service-1/v1/items/17", &[]),
        request("POST", "h.example/api/service-0/v1/items", &[]),
        request("GET", "h.example/api/service-1/v1/other/deep/path", &[]),
        request("GET", "tenant-1.shop.example/anything", &[]),
        request("GET", "a.tenant-0.example/orders/9/lines", &[]),
        request("GET", "h.example/nowhere/at/all", &[]),
    ]
}

#[test]
fn the_walk_does_not_depend_on_the_number_of_routes() {
    let walks = |count: u32| -> Vec<(usize, usize)> {
        let matcher = Matcher::compile(large(count));
        probes()
            .iter()
            .map(|(target, _)| {
                let mut visit = Count { nodes: 0, candidates: 0 };
                let _ = matcher.trie.walk(target.host(), target.path(), &mut Captures::default(), &mut visit);
                (visit.nodes, visit.candidates)
            })
            .collect()
    };
    let few = walks(10);
    assert_eq!(few, walks(10_000));
    // Root, api, service, v1, items, id; with fallbacks to the host-less root.
    assert!(few.iter().all(|&(nodes, candidates)| nodes <= 6 && candidates <= 2), "{few:?}");
}

#[test]
fn shadows_among_ten_thousand_routes_are_found_at_once() {
    let mut patterns = large(10_000);
    // The hard case: one path, told apart by one header.
    for (n, pattern) in patterns.iter_mut().enumerate() {
        *pattern = route(pattern.order, "", "/same");
        let tenant = format!("tenant-{}", n % 9_999);
        pattern.headers.push((HeaderName::new("x-tenant").unwrap(), ValueMatch::Exact(tenant.into())));
    }
    let started = Instant::now();
    let shadows = shadowed(&patterns);
    assert_eq!(shadows, [Shadow { route: RouteId(9_999), by: vec![RouteId(0)] }]);
    assert!(started.elapsed() < Duration::from_secs(20), "quadratic: {:?}", started.elapsed());
    assert_eq!(shadowed(&large(10_000)), []);
}

#[test]
#[ignore = "timing: run alone, with --release, on a quiet machine"]
fn ten_thousand_routes_cost_as_much_as_ten() {
    let (few, many) = (Matcher::compile(large(10)), Matcher::compile(large(10_000)));
    let probes = probes();
    let mut captures = Captures::default();
    let mut time = |matcher: &Matcher| {
        let started = Instant::now();
        for _ in 0..50_000 {
            for (target, head) in &probes {
                black_box(matcher.find(black_box(target), black_box(head), &mut captures));
            }
        }
        started.elapsed().as_secs_f64() * 1e9 / (50_000.0 * probes.len() as f64)
    };
    // Interleaved, best of each: noise only ever adds.
    let (mut best_few, mut best_many) = (f64::MAX, f64::MAX);
    for _ in 0..15 {
        best_few = best_few.min(time(&few));
        best_many = best_many.min(time(&many));
    }
    // All services in turn: what the caches make of 10 000 routes.
    let spread: Vec<_> = (0..2_000)
        .map(|n| request("GET", &format!("h.example/api/service-{}/v1/items/1", n * 7 % 2_000), &[]))
        .collect();
    let started = Instant::now();
    for _ in 0..200 {
        for (target, head) in &spread {
            black_box(many.find(black_box(target), black_box(head), &mut captures));
        }
    }
    let spread_ns = started.elapsed().as_secs_f64() * 1e9 / (200.0 * spread.len() as f64);
    println!(
        "10 routes {best_few:.1} ns, 10 000 routes {best_many:.1} ns, ratio {:.2}; spread over all {spread_ns:.1} ns",
        best_many / best_few
    );
    assert!(best_many / best_few < 1.5);
}
