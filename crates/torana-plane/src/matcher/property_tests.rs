//! The trie against a matcher too simple to be wrong, and its costs.

use super::tests::{asked, request, route};
use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::hint::black_box;
use std::time::{Duration, Instant};
use torana_expr::regex::Regex;

const HOSTS: [&str; 6] = ["", "a.x", "*.x", "b.a.x", "*.a.x", "y"];
const PATHS: [&str; 27] = [
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
    "~/a/(?<q>[^/]+)",
    "~/a/b/.*",
    "~/(?<q>.*)",
    "~/a(/(?<q>.*))?",
    "~.*/c",
    "~/b/[ab]/(?<q>c|a)",
    "~/a/.*b",
];
const CONDITIONS: [&str; 5] = [
    "method == 'GET'",
    "headers['x-a'] == '1' || path.endsWith('c')",
    "size(path) > 4",
    "!(query.p == '1')",
    "client.ip.within('10.0.0.0/8')",
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
            ValueMatch::Regex(Box::new(Regex::whole("1.*").unwrap())),
        ])
    };
    let media = || prop::sample::select(vec!["application/json", "application/*", "text/*"]);
    let others = (
        prop::collection::vec((prop::sample::select(vec!["c", "d"]), value()), 0..3),
        prop::collection::vec(media(), 0..3),
        prop::collection::vec(prop::sample::select(vec!["127.0.0.0/8", "10.0.0.0/8", "127.0.0.1/32"]), 0..2),
        prop::option::of(prop::sample::select(CONDITIONS.to_vec())),
    );
    (
        prop::collection::vec(prop::sample::select(HOSTS[1..].to_vec()), 0..3),
        prop::sample::select(PATHS.to_vec()),
        prop::sample::select(METHODS.to_vec()),
        prop::collection::vec((prop::sample::select(vec!["x-a", "accept"]), value()), 0..3),
        prop::collection::vec((prop::sample::select(vec!["p", "q"]), value()), 0..2),
        0..4u32,
        prop::option::weighted(0.4, others),
    )
        .prop_map(|(hosts, path, methods, headers, query, order, others)| {
            let (cookies, media, clients, when) = others.unwrap_or_default();
            RoutePattern {
                hosts: hosts.into_iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
                headers: headers.into_iter().map(|(name, value)| (HeaderName::new(name).unwrap(), value)).collect(),
                query: query.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                cookies: cookies.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                content_types: media.into_iter().map(|text| MediaPattern::parse(text).unwrap()).collect(),
                clients: clients.into_iter().map(|text| text.parse().unwrap()).collect(),
                when: when.map(|text| Expr::condition(text).unwrap()),
                ..route_on(order, methods, path)
            }
        })
}

/// A route on a path, or, behind `~`, a regular expression.
fn route_on(order: u32, methods: &str, path: &str) -> RoutePattern {
    match path.strip_prefix('~') {
        None => route(order, methods, path),
        Some(regex) => RoutePattern { path: PathPattern::regex(regex).unwrap(), ..route(order, methods, "/") },
    }
}

fn any_request() -> impl Strategy<Value = (CanonicalTarget, Head)> {
    (
        prop::sample::select(vec!["", "a.x", "x", "c.x", "b.a.x", "c.b.a.x", "y", "z"]),
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "z"]), 0..4),
        any::<bool>(),
        prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PURGE", "BREW"]),
        prop::collection::vec(
            prop_oneof![
                (prop::sample::select(vec!["x-a", "accept"]), prop::sample::select(vec!["1", "2", "12"])),
                Just(("cookie", "c=1; d=2")),
                Just(("content-type", "application/json; charset=utf-8")),
                Just(("content-type", "text/plain")),
            ],
            0..5,
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
            let predicates = Predicates::new(pattern);
            let rest = host_rank(pattern).is_some()
                && pattern.path.matches(request.path)
                && predicates.check_all_but_method(request, &Captures::default()).is_ok();
            all_but_method |= rest;
            rest && predicates.methods.allow(request)
        })
        .collect();
    matching.sort_by(|&one, &other| {
        let (a, b) = (&patterns[one], &patterns[other]);
        host_rank(a).cmp(&host_rank(b)).then(a.path.specificity(&b.path)).then_with(|| {
            let others = |p: &RoutePattern| {
                let lists = [p.content_types.len(), p.clients.len(), p.when.iter().len()];
                p.cookies.len() + lists.iter().filter(|&&length| length > 0).count()
            };
            let key = |p: &RoutePattern| {
                let (headers, query) = (Reverse(p.headers.len()), Reverse(p.query.len()));
                (p.methods.is_any(), headers, query, Reverse(others(p)), p.order)
            };
            key(a).cmp(&key(b)).then(one.cmp(&other))
        })
    });
    (matching, all_but_method)
}

fn assert_agree(patterns: &[RoutePattern], requests: &[(CanonicalTarget, Head)]) {
    let matcher = Matcher::compile(patterns.to_vec());
    let shadows = shadowed(patterns);
    for (target, head) in requests {
        let seen = Request::new(asked(target, head)).unwrap();
        let (expected, all_but_method) = naive(patterns, &seen);
        let mut captures = Captures::default();
        let outcome = matcher.find(asked(target, head), &mut captures);
        match expected.first() {
            Some(&route) => {
                assert_eq!(outcome, Outcome::Matched(route_id(route)));
                assert_captures(&patterns[route], target.path(), &captures);
                assert!(shadows.iter().all(|shadow| shadow.route != route_id(route)), "a shadowed route won");
            }
            None if all_but_method => assert!(matches!(outcome, Outcome::MethodNotAllowed(_)), "{outcome:?}"),
            None => assert_eq!(outcome, Outcome::NotFound),
        }
        let explanation = matcher.explain(asked(target, head));
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
        if expected.len() > 1 {
            let is_last = |route: usize| Some(&route) == expected.last();
            let is_default = |route: &usize| patterns[*route].is_default();
            let defaults = expected.iter().filter(|route| is_default(route)).count();
            assert!(defaults != 1 || expected.iter().all(|route| !is_default(route) || is_last(*route)));
        }
    }
}

/// Putting the captures back into the pattern gives the path.
fn assert_captures(pattern: &RoutePattern, path: &str, captures: &Captures) {
    assert_eq!(captures.len(), pattern.path.names().len());
    if let Some(regex) = pattern.path.as_regex() {
        let mut alone = Captures::default();
        assert!(regex.capture(path, &mut alone));
        assert_eq!(captures, &alone);
        return;
    }
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

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    nodes: usize,
    candidates: usize,
    searches: usize,
}

impl Visit for Count {
    fn candidate(&mut self, _route: usize, _captures: &Captures) -> ControlFlow<()> {
        self.candidates += 1;
        ControlFlow::Continue(())
    }

    fn node(&mut self) {
        self.nodes += 1;
    }

    fn search(&mut self) {
        self.searches += 1;
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

/// What finding the routes of the probes takes: steps are what costs, and
/// unlike time they are the same every time.
fn walks(patterns: Vec<RoutePattern>) -> Vec<Count> {
    let matcher = Matcher::compile(patterns);
    let walk = |(target, _): &(CanonicalTarget, Head)| {
        let mut visit = Count::default();
        let _ = matcher.trie.walk(target.host(), target.path(), &mut Captures::default(), &mut visit);
        visit
    };
    probes().iter().map(walk).collect()
}

/// A hundred routes by regular expression, most of them told apart by the
/// segments they begin with, some by nothing.
fn regexes(first: u32) -> Vec<RoutePattern> {
    (0..100)
        .map(|n| match n % 4 {
            0 => route_on(first + n, "", &format!("~/shop/{n}/(?<id>[0-9]+)")),
            1 => route_on(first + n, "", &format!("~/api/regex-{n}/.*")),
            2 => route_on(first + n, "GET", &format!("~/[a-z]+-{n}/x")),
            _ => route_on(first + n, "", &format!("~.*\\.type{n}")),
        })
        .collect()
}

#[test]
fn the_walk_does_not_depend_on_the_number_of_routes() {
    let few = walks(large(10));
    assert_eq!(few, walks(large(10_000)), "10 000 routes take exactly the steps of 10");
    // Root, api, service, v1, items, id; with fallbacks to the host-less root.
    assert!(few.iter().all(|count| count.nodes <= 6 && count.candidates <= 2 && count.searches == 0), "{few:?}");
}

#[test]
fn a_hundred_regexes_add_one_search_and_no_step() {
    let plain = walks(large(10_000));
    let mut patterns = large(10_000);
    patterns.extend(regexes(10_000));
    for (alone, beside) in plain.iter().zip(walks(patterns)) {
        // The fifty that begin with no segment are searched for as one.
        assert!(beside.searches <= 1, "{beside:?}");
        assert_eq!(*alone, Count { searches: 0, ..beside });
    }
}

#[test]
fn a_route_that_wins_by_its_segments_is_found_before_any_search() {
    let mut patterns = large(10_000);
    patterns.extend(regexes(10_000));
    let matcher = Matcher::compile(patterns);
    struct Stop(usize);
    impl Visit for Stop {
        fn candidate(&mut self, _route: usize, _captures: &Captures) -> ControlFlow<()> {
            ControlFlow::Break(())
        }

        fn search(&mut self) {
            self.0 += 1;
        }
    }
    for (target, _) in &probes()[..5] {
        let mut visit = Stop(0);
        let found = matcher.trie.walk(target.host(), target.path(), &mut Captures::default(), &mut visit);
        assert_eq!((found, visit.0), (ControlFlow::Break(()), 0), "{}", target.path());
    }
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
                black_box(matcher.find(asked(black_box(target), black_box(head)), &mut captures));
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
            black_box(many.find(asked(black_box(target), black_box(head)), &mut captures));
        }
    }
    let spread_ns = started.elapsed().as_secs_f64() * 1e9 / (200.0 * spread.len() as f64);
    println!(
        "10 routes {best_few:.1} ns, 10 000 routes {best_many:.1} ns, ratio {:.2}; spread over all {spread_ns:.1} ns",
        best_many / best_few
    );
    assert!(best_many / best_few < 1.1);
}
