use super::*;
use torana_core::head::Version;

/// A request written as `GET host/path?query` and headers `name: value`.
pub(super) fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> (CanonicalTarget, Head) {
    let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    let mut head = Head::default();
    if host.is_empty() {
        head.version = Version::Http10;
    } else {
        head.fields.append_text(b"host", host.as_bytes()).unwrap();
    }
    head.set_method(method.as_bytes());
    head.set_raw_target(if path.is_empty() { b"*" } else { path.as_bytes() });
    for (name, value) in headers {
        head.fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
    }
    let mut target = CanonicalTarget::default();
    target.admit(&head, false).unwrap();
    (target, head)
}

/// The request, from a client on the loopback.
pub(super) fn asked<'a>(target: &'a CanonicalTarget, head: &'a Head) -> Facts<'a> {
    Facts { target, head, client_ip: &IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), tls: None }
}

/// A route on `host/path`, with `methods` separated by blanks.
pub(super) fn route(order: u32, methods: &str, url: &str) -> RoutePattern {
    let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    RoutePattern {
        hosts: if host.is_empty() { Vec::new() } else { vec![HostPattern::parse(host).unwrap()] },
        path: PathPattern::parse(path).unwrap(),
        methods: Methods::parse(methods.split_whitespace()).unwrap(),
        order,
        ..RoutePattern::default()
    }
}

fn routes(list: &[(&str, &str)]) -> Vec<RoutePattern> {
    list.iter().zip(0..).map(|((methods, url), order)| route(order, methods, url)).collect()
}

fn with_header(mut pattern: RoutePattern, name: &str, value: ValueMatch) -> RoutePattern {
    pattern.headers.push((HeaderName::new(name).unwrap(), value));
    pattern
}

fn with_query(mut pattern: RoutePattern, name: &str, value: ValueMatch) -> RoutePattern {
    pattern.query.push((name.to_owned(), value));
    pattern
}

fn exact(text: &str) -> ValueMatch {
    ValueMatch::Exact(text.into())
}

fn find(matcher: &Matcher, method: &str, url: &str, headers: &[(&str, &str)]) -> Outcome {
    let (target, head) = request(method, url, headers);
    matcher.find(asked(&target, &head), &mut Captures::default())
}

fn winner(matcher: &Matcher, url: &str) -> Option<u32> {
    match find(matcher, "GET", url, &[]) {
        Outcome::Matched(route) => Some(route.0),
        _ => None,
    }
}

fn captures(pattern: &str, url: &str) -> Option<Vec<String>> {
    let matcher = Matcher::compile(vec![route(0, "", pattern)]);
    let (target, head) = request("GET", url, &[]);
    let mut captures = Captures::default();
    let outcome = matcher.find(asked(&target, &head), &mut captures);
    let names = matcher.patterns()[0].path.names();
    (outcome == Outcome::Matched(RouteId(0))).then(|| {
        assert_eq!(captures.len(), names.len());
        (0..names.len()).map(|index| captures.get(target.path(), index).to_owned()).collect()
    })
}

#[test]
fn prefixes_end_at_segments() {
    let rest = |url: &str| captures("/api/users/*", url).map(|list| list[0].clone());
    assert_eq!(rest("h/api/users").as_deref(), Some(""));
    assert_eq!(rest("h/api/users/").as_deref(), Some(""));
    assert_eq!(rest("h/api/users/5/x").as_deref(), Some("5/x"));
    assert_eq!(rest("h/api//users/%41").as_deref(), Some("A"));
    for url in ["h/api/usersX", "h/api/user", "h/api", "h/", "h/Api/users"] {
        assert_eq!(rest(url), None, "{url}");
    }
}

#[test]
fn exact_paths_and_parameters() {
    assert!(captures("/ping", "h/ping").is_some());
    assert!(captures("/ping", "h/ping/").is_none() && captures("/ping/", "h/ping/").is_some());
    assert!(captures("/", "h/").is_some() && captures("/", "h/a").is_none());
    let two = captures("/u/{id}/o/{order}", "h/u/5/o/%2a");
    assert_eq!(two, Some(vec!["5".to_owned(), "%2A".to_owned()]));
    assert!(captures("/u/{id}", "h/u/").is_none(), "a parameter is never empty");
    assert!(captures("/u/{id}", "h/u/1/").is_none());
    assert_eq!(captures("/f/{path*}", "h/f/a/b"), Some(vec!["a/b".to_owned()]));
    assert_eq!(captures("/{a}/{b*}", "h/x"), Some(vec!["x".to_owned(), String::new()]));
    assert_eq!(captures("/*", "h/"), Some(vec![String::new()]));
    assert!(captures("/caf%c3%a9/é", "h/café/%c3%A9").is_some(), "literals are read as requests are");
}

#[test]
fn captures_of_losing_branches_do_not_stay() {
    let matcher = Matcher::compile(routes(&[("", "/{a}/{b}/x"), ("", "/{c}/*")]));
    let (target, head) = request("GET", "h/1/2/y", &[]);
    let mut captures = Captures::default();
    assert_eq!(matcher.find(asked(&target, &head), &mut captures), Outcome::Matched(RouteId(1)));
    assert_eq!((captures.len(), captures.get(target.path(), 0), captures.get(target.path(), 1)), (2, "1", "2/y"));
}

#[test]
fn the_total_order() {
    // Written worst first, so that order of writing never helps.
    let matcher = Matcher::compile(routes(&[
        ("", "/*"),
        ("", "/a/*"),
        ("", "/{x}/b"),
        ("", "/a/{y}"),
        ("", "/a/b/*"),
        ("", "/a/b"),
        ("GET", "/a/b"),
        ("", "*.b.example/*"),
        ("", "*.a.b.example/*"),
        ("", "x.a.b.example/*"),
    ]));
    for (url, expected) in [
        ("h/z", 0),
        ("h/a", 1),
        ("h/a/b/c", 4),
        ("h/a/b", 6),
        ("h/a/c", 3),
        ("h/z/b", 2),
        ("h/a/c/d", 1),
        ("x.b.example/a/b", 7),
        ("y.a.b.example/a/b", 8),
        ("x.a.b.example/a/b", 9),
        ("b.example/a/b", 6),
        ("/a/c", 3),
    ] {
        assert_eq!(winner(&matcher, url), Some(expected), "{url}");
    }
}

#[test]
fn predicates_break_ties_and_fall_through() {
    let list = vec![
        route(0, "", "/a"),
        with_header(route(1, "", "/a"), "x-version", exact("v2")),
        with_header(with_header(route(2, "", "/a"), "x-version", exact("v2")), "accept", ValueMatch::Present),
        with_query(route(3, "", "/a"), "beta", exact("1")),
        with_header(route(4, "GET", "/a"), "x-none", ValueMatch::Present),
        route(5, "", "/*"),
    ];
    let matcher = Matcher::compile(list);
    let to = |url: &str, headers: &[(&str, &str)]| find(&matcher, "GET", url, headers);
    assert_eq!(to("h/a", &[]), Outcome::Matched(RouteId(0)));
    assert_eq!(to("h/a", &[("X-Version", "v2")]), Outcome::Matched(RouteId(1)));
    assert_eq!(to("h/a", &[("X-Version", "v1"), ("x-version", "v2")]), Outcome::Matched(RouteId(1)));
    assert_eq!(to("h/a", &[("X-Version", "v1, v2")]), Outcome::Matched(RouteId(0)));
    assert_eq!(to("h/a?beta=1", &[("X-Version", "v2"), ("Accept", "*/*")]), Outcome::Matched(RouteId(2)));
    assert_eq!(to("h/a?x&b%65ta=%31", &[]), Outcome::Matched(RouteId(3)));
    assert_eq!(to("h/a?beta=11", &[]), Outcome::Matched(RouteId(0)));
    assert_eq!(to("h/a", &[("x-none", "")]), Outcome::Matched(RouteId(4)));
    assert_eq!(to("h/b", &[("x-none", "")]), Outcome::Matched(RouteId(5)));
}

#[test]
fn a_route_that_fails_makes_room_across_hosts() {
    let matcher = Matcher::compile(routes(&[("", "/a"), ("", "h/b"), ("", "*.h/c")]));
    assert_eq!(winner(&matcher, "h/a"), Some(0));
    assert_eq!(winner(&matcher, "x.h/a"), Some(0));
    assert_eq!(winner(&matcher, "h/b"), Some(1));
    assert_eq!(winner(&matcher, "h/c"), None);
}

#[test]
fn method_not_allowed_only_if_all_else_matches() {
    let matcher = Matcher::compile(vec![
        route(0, "GET", "/a"),
        route(1, "POST PURGE", "/a"),
        with_header(route(2, "PUT", "/a"), "x-put", ValueMatch::Present),
        route(3, "DELETE", "other/a"),
    ]);
    let names = |outcome| match outcome {
        Outcome::MethodNotAllowed(set) => set.iter().map(Method::as_str).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    };
    assert_eq!(names(find(&matcher, "PATCH", "h/a", &[])), "GET HEAD POST");
    assert_eq!(names(find(&matcher, "PATCH", "h/a", &[("x-put", "")])), "GET HEAD POST PUT");
    assert_eq!(find(&matcher, "PATCH", "h/b", &[]), Outcome::NotFound);
    assert_eq!(find(&matcher, "PURGE", "h/a", &[]), Outcome::Matched(RouteId(1)));
    assert_eq!(find(&matcher, "HEAD", "h/a", &[]), Outcome::Matched(RouteId(0)));
    let (target, head) = request("BREW", "h/a", &[]);
    assert_eq!(matcher.allow(asked(&target, &head)), "GET, HEAD, POST, PURGE");
    assert_eq!(names(find(&matcher, "BREW", "h/a", &[])), "GET HEAD POST");
    let (target, head) = request("GET", "h/b", &[]);
    assert_eq!(matcher.allow(asked(&target, &head)), "");
    let only_header = Matcher::compile(vec![with_header(route(0, "PUT", "/a"), "x-put", ValueMatch::Present)]);
    assert_eq!(find(&only_header, "GET", "h/a", &[]), Outcome::NotFound);
}

#[test]
fn requests_without_a_path_match_no_route() {
    let matcher = Matcher::compile(routes(&[("", "/*")]));
    assert_eq!(find(&matcher, "OPTIONS", "h", &[]), Outcome::NotFound);
    let (target, head) = request("OPTIONS", "h", &[]);
    let explanation = matcher.explain(asked(&target, &head));
    assert_eq!(explanation.considered[0].rule, Rule::NoPath);
}

#[test]
fn a_websocket_over_http2_is_a_get() {
    let matcher = Matcher::compile(routes(&[("GET", "/ws")]));
    let mut head = Head::default();
    head.version = Version::Http2;
    head.set_method(b"CONNECT");
    head.set_protocol(b"websocket");
    head.set_raw_target(b"/ws");
    head.set_raw_authority(b"h");
    let mut target = CanonicalTarget::default();
    target.admit(&head, false).unwrap();
    assert_eq!(matcher.find(asked(&target, &head), &mut Captures::default()), Outcome::Matched(RouteId(0)));
}

#[test]
fn explanations_name_the_deciding_rule() {
    let matcher = Matcher::compile(vec![
        route(0, "", "/*"),
        route(1, "POST", "/a"),
        with_header(route(2, "GET", "/a"), "x-v", exact("2")),
        with_query(route(3, "GET", "/a"), "q", ValueMatch::Present),
        route(4, "GET", "/a"),
        route(5, "GET", "/a"),
        route(6, "", "/a"),
        route(7, "", "/b"),
        route(8, "", "other/a"),
        route(9, "", "*.example/a"),
    ]);
    let (target, head) = request("GET", "x.example/a", &[]);
    let told: Vec<_> = matcher
        .explain(asked(&target, &head))
        .considered
        .iter()
        .map(|one| format!("{}: {}", one.route.0, one.rule))
        .collect();
    assert_eq!(
        told,
        [
            "9: wins",
            "2: the header `x-v` does not match",
            "3: the query parameter `q` does not match",
            "1: the method does not match",
            "4: matches, but the winner has a more specific host",
            "5: matches, but the winner has a more specific host",
            "6: matches, but the winner has a more specific host",
            "0: is the default route, and another one matches",
            "7: the path does not match",
            "8: the host does not match",
        ]
    );
    let (target, head) = request("GET", "h/a", &[]);
    let rule = |route: u32| {
        let explanation = matcher.explain(asked(&target, &head));
        explanation.considered.into_iter().find(|one| one.route.0 == route).map(|one| one.rule)
    };
    assert_eq!(rule(4), Some(Rule::Wins));
    assert_eq!(rule(5), Some(Rule::LessSpecific(Reason::Order)));
    assert_eq!(rule(6), Some(Rule::LessSpecific(Reason::Methods)));
    assert_eq!(rule(0), Some(Rule::LessSpecific(Reason::Default)));
}

#[test]
fn path_mistakes_get_the_hint_that_helps() {
    for (text, hint) in [
        ("api", "write `/api`"),
        ("", "write `/`"),
        ("/foo*", "`foo/*`"),
        ("/*/x", "stands last"),
        ("/{a*}/x", "stands last"),
        ("/img-{id}.png", "whole segment"),
        ("/{}", "begins with a letter"),
        ("/{1a}", "begins with a letter"),
        ("/{a b}", "letters"),
        ("/{a}/{a}", "its own name"),
        ("/{rest}/*", "`{name*}`"),
        ("/a//b", "merged"),
        ("/a/../b", "without"),
        ("/a/./b", "without"),
        ("/%2e%2e/b", "without"),
        ("/%2e/b", "without"),
        ("/a?b=c", "`query`"),
        ("/a%2fb", "refuses"),
        ("/a;b", "refuses"),
        ("/a\\b", "refuses"),
        ("/100%", "`%25`"),
        ("/a b", "`%20`"),
        ("/a#b", "as a client sends it"),
    ] {
        let error = PathPattern::parse(text).unwrap_err();
        assert!(error.hint.contains(hint), "{text}: {error:?}");
    }
    assert!(PathPattern::parse(&"/a".repeat(65)).is_err());
    assert_eq!(PathPattern::parse("/a%41/{id}/*").unwrap().as_str(), "/aA/{id}/*");
    assert_eq!(PathPattern::parse("/api/v1/{id}/x").unwrap().literal_prefix(), "/api/v1");
    assert_eq!(PathPattern::default(), PathPattern::parse("/*").unwrap());
}

fn shadows(list: &[RoutePattern]) -> Vec<(u32, Vec<u32>)> {
    shadowed(list)
        .into_iter()
        .map(|shadow| (shadow.route.0, shadow.by.into_iter().map(|route| route.0).collect()))
        .collect()
}

#[test]
fn shadowed_routes_are_found() {
    assert_eq!(shadows(&routes(&[("", "/a"), ("", "/a")])), [(1, vec![0])]);
    assert_eq!(shadows(&routes(&[("", "/{x}/*"), ("", "/{y}/{z*}")])), [(1, vec![0])]);
    assert_eq!(shadows(&routes(&[("GET", "/a"), ("HEAD", "/a")])), [(1, vec![0])]);
    assert_eq!(shadows(&routes(&[("GET", "/a"), ("POST", "/a"), ("GET POST", "/a")])), [(2, vec![0, 1])]);
    // Not shadowed: something is left over.
    assert_eq!(shadows(&routes(&[("", "/*"), ("", "/a"), ("", "/{x}"), ("", "h/a"), ("GET", "/a")])), []);
    assert_eq!(shadows(&routes(&[("GET", "/a"), ("", "/a"), ("GET PURGE", "/a")])), []);
    assert_eq!(shadows(&routes(&[("", "/a/*"), ("", "/a"), ("", "/a/")])), []);
    let versioned = vec![
        with_header(route(0, "", "/a"), "v", ValueMatch::Prefix("2".into())),
        with_header(route(1, "", "/a"), "v", exact("2.1")),
        with_header(route(2, "", "/a"), "v", exact("3")),
        with_query(with_header(route(3, "", "/a"), "v", exact("3")), "q", ValueMatch::Present),
        with_query(route(4, "", "/a"), "q", exact("1")),
    ];
    assert_eq!(shadows(&versioned), [(1, vec![0])]);
    let mut two_hosts = route(2, "", "a.example/x");
    two_hosts.hosts.push(HostPattern::parse("b.example").unwrap());
    let list = vec![route(0, "", "a.example/x"), route(1, "", "b.example/x"), two_hosts.clone()];
    assert_eq!(shadows(&list), [(2, vec![0, 1])]);
    assert_eq!(shadows(&[list[0].clone(), two_hosts]), []);
}

fn with_regex(pattern: RoutePattern, regex: &str) -> RoutePattern {
    RoutePattern { path: PathPattern::regex(regex).unwrap(), ..pattern }
}

#[test]
fn a_regex_stands_behind_the_segments_it_begins_with() {
    // Written worst first, so that order of writing never helps.
    let matcher = Matcher::compile(vec![
        route(0, "", "/*"),
        route(1, "", "/{x}/7"),
        with_regex(route(2, "", "/"), ".*/(7|8)"),
        route(3, "", "/items/*"),
        route(4, "", "/items/{id}"),
        with_regex(route(5, "", "/"), "^/items/(?<number>[0-9]+)$"),
        with_regex(route(6, "GET", "/"), "/items/[0-9]{2}"),
        route(7, "", "/items/77"),
        with_regex(route(8, "", "/"), "/items(/.*)?"),
        with_regex(route(9, "", "h/"), "/.*z"),
    ]);
    for (url, expected) in [
        ("x/items/77", 7),
        ("x/items/78", 6),
        ("x/items/178", 5),
        ("x/items/a", 4),
        ("x/items/a/b", 3),
        ("x/items", 3),
        ("x/other/7", 2),
        ("x/a/b/8", 2),
        ("x/a/9", 0),
        ("h/z", 9),
        ("h/items/7", 5),
        ("h/items/78z", 9),
    ] {
        assert_eq!(winner(&matcher, url), Some(expected), "{url}");
    }
    let (target, head) = request("GET", "x/items/178", &[]);
    let mut captures = Captures::default();
    matcher.find(asked(&target, &head), &mut captures);
    assert_eq!((captures.len(), captures.get(target.path(), 0)), (1, "178"));
}

#[test]
fn regexes_of_one_node_are_tried_in_order_and_make_room() {
    let list = (0..8).map(|n| {
        let pattern = with_regex(route(n, "", "/"), &format!("/a/(?<x>[a-z]*{n}?)"));
        if n == 7 { pattern } else { with_header(pattern, "x-n", exact(&n.to_string())) }
    });
    let matcher = Matcher::compile(list.collect());
    let to = |value: &str| find(&matcher, "GET", "h/a/b", &[("x-n", value)]);
    assert_eq!(to("3"), Outcome::Matched(RouteId(3)));
    assert_eq!(to("none"), Outcome::Matched(RouteId(7)));
    assert_eq!(winner(&matcher, "h/a/b9"), None);
}

#[test]
fn path_regex_mistakes_get_the_hint_that_helps() {
    for (text, hint) in
        [("items/[0-9]+", "`/.*`"), ("/caf\u{e9}", "percent-encoded"), ("", "`.*`"), ("/(?=a)", "linear")]
    {
        let error = PathPattern::regex(text).unwrap_err();
        assert!(error.hint.contains(hint), "{text}: {error:?}");
    }
    assert_eq!(PathPattern::regex("/a/([").unwrap_err().offset, Some(4));
    let pattern = PathPattern::regex("/a/b/(?<year>[0-9]{4})/(?<slug>.+)").unwrap();
    assert_eq!((pattern.as_str(), pattern.literal_prefix()), ("~ /a/b/(?<year>[0-9]{4})/(?<slug>.+)", "/a/b".into()));
    assert_eq!(pattern.names(), ["year", "slug"]);
}

#[test]
fn cookies_content_types_clients_and_conditions() {
    let condition = |text: &str| Some(Expr::condition(text).unwrap());
    let client = IpAddr::from([10, 1, 2, 3]);
    let matcher = Matcher::compile(vec![
        route(0, "", "/a"),
        RoutePattern { cookies: vec![("beta".into(), exact("on"))], ..route(1, "", "/a") },
        RoutePattern {
            content_types: vec![MediaPattern::parse("application/*").unwrap()],
            cookies: vec![("beta".into(), ValueMatch::Present)],
            ..route(2, "", "/a")
        },
        RoutePattern { clients: vec!["10.0.0.0/8".parse().unwrap()], ..route(3, "", "/b/{id}") },
        RoutePattern { when: condition("captures.id == '7' && int(headers.n) > 3"), ..route(4, "", "/c/{id}") },
        RoutePattern { when: condition("tls.version == 'TLSv1.3'"), ..route(5, "", "/c/{id}") },
    ]);
    let told = |url: &str, headers: &[(&str, &str)], client_ip: IpAddr| {
        let (target, head) = request("GET", url, headers);
        let facts = Facts { client_ip: &client_ip, ..asked(&target, &head) };
        let explanation = matcher.explain(facts);
        let rules = explanation.considered.iter().map(|one| format!("{}: {}", one.route.0, one.rule));
        rules.filter(|rule| !rule.ends_with("the path does not match")).collect::<Vec<_>>()
    };
    assert_eq!(
        told("h/a", &[("cookie", "a=1; beta=off")], client),
        ["2: the content type does not match", "1: the cookie `beta` does not match", "0: wins"]
    );
    assert_eq!(
        told("h/a", &[("cookie", "beta=on"), ("content-type", "application/json; charset=utf-8")], client),
        [
            "2: wins",
            "1: matches, but the winner has more predicates on cookies, content type, client or `when`",
            "0: matches, but the winner has more predicates on cookies, content type, client or `when`"
        ]
    );
    let twice = [("cookie", "beta=on"), ("content-type", "application/json"), ("content-type", "application/json")];
    assert_eq!(told("h/a", &twice, client)[0], "2: the content type does not match");
    assert_eq!(told("h/b/1", &[], client), ["3: wins"]);
    assert_eq!(told("h/b/1", &[], "::ffff:10.1.2.3".parse().unwrap()), ["3: wins"]);
    assert_eq!(told("h/b/1", &[], [11, 1, 2, 3].into()), ["3: the client's address does not match"]);
    assert_eq!(told("h/c/7", &[("n", "4")], client)[0], "4: wins");
    assert_eq!(told("h/c/8", &[("n", "4")], client)[0], "4: `when` is false");
    assert_eq!(
        told("h/c/7", &[], client),
        [
            "4: `when` cannot be evaluated: the header `n` is missing",
            "5: `when` cannot be evaluated: `tls.version` is missing"
        ]
    );
    assert_eq!(find(&matcher, "GET", "h/c/7", &[]), Outcome::NotFound);
}

#[test]
fn the_default_route_is_the_last_of_all() {
    let mut list = vec![
        RoutePattern::default(),
        with_header(route(1, "", "/*"), "x-a", ValueMatch::Absent),
        RoutePattern { when: Some(Expr::condition("method == 'GET'").unwrap()), ..route(2, "", "/*") },
        route(3, "", "*.h/*"),
    ];
    let matcher = Matcher::compile(list.clone());
    assert_eq!(winner(&matcher, "h/x"), Some(1));
    assert_eq!(find(&matcher, "GET", "h/x", &[("x-a", "")]), Outcome::Matched(RouteId(2)));
    assert_eq!(find(&matcher, "POST", "h/x", &[("x-a", "")]), Outcome::Matched(RouteId(0)));
    assert_eq!(shadows(&list), []);
    list.push(RoutePattern { order: 4, ..RoutePattern::default() });
    assert_eq!(shadows(&list), [(4, vec![0])]);
}

#[test]
fn shadows_know_the_other_predicates() {
    let media = |text: &str| vec![MediaPattern::parse(text).unwrap()];
    let net = |text: &str| vec![text.parse().unwrap()];
    let when = |text: &str| Some(Expr::condition(text).unwrap());
    let a = |order| route(order, "", "/a");
    let pairs: [(RoutePattern, RoutePattern, bool); 8] = [
        (
            RoutePattern { content_types: media("application/*"), ..a(0) },
            RoutePattern { content_types: media("application/json"), ..a(1) },
            true,
        ),
        (
            RoutePattern { content_types: media("application/json"), ..a(0) },
            RoutePattern { content_types: media("application/*"), ..a(1) },
            false,
        ),
        (
            RoutePattern { clients: net("10.0.0.0/8"), ..a(0) },
            RoutePattern { clients: net("10.1.0.0/16"), ..a(1) },
            true,
        ),
        (
            RoutePattern { clients: net("10.1.0.0/16"), ..a(0) },
            RoutePattern { clients: net("10.0.0.0/8"), ..a(1) },
            false,
        ),
        (
            RoutePattern { when: when("path == host"), ..a(0) },
            RoutePattern { when: when("path == host"), ..a(1) },
            true,
        ),
        (
            RoutePattern { when: when("path == host"), ..a(0) },
            RoutePattern { when: when("host == path"), ..a(1) },
            false,
        ),
        (with_regex(a(0), "/a+"), with_regex(a(1), "/a+"), true),
        (with_regex(a(0), "/a+"), with_regex(a(1), "/a*"), false),
    ];
    for (first, second, is_shadowed) in pairs {
        let expected = if is_shadowed { vec![(1, vec![0])] } else { vec![] };
        assert_eq!(shadows(&[first.clone(), second.clone()]), expected, "{first:?} {second:?}");
    }
}
