use super::*;
use proptest::prelude::*;
use torana_core::deadline::Deadline;

#[test]
fn parts_are_asked_at_once_and_make_one_answer() {
    let services = Services::of_dashboard();
    let dashboard = build(DASHBOARD, "/api/dashboard/{userId}");
    let expected = r#"{"user":{"id":7,"name":"Ada"},"recentOrders":[{"id":1}],"unreadCount":3}"#;
    services.hold_all();
    let mut exchange = request(&services, "GET /api/dashboard/7 HTTP/1.1\nHost: a");
    let mut answer = dashboard.begin(&mut exchange);
    assert!(services.sent.borrow().is_empty(), "nothing happens before it is polled: explanations ask as well");
    assert!(poll(&mut answer).is_none());
    let lines = ["users GET /users/7", "orders GET /orders?customerId=7&limit=5", "notes GET /notifications/7/unread"];
    assert_eq!(services.lines(), lines);
    // The last first.
    for path in ["/notifications/7/unread", "/orders?customerId=7&limit=5"] {
        services.let_go(path);
        assert!(poll(&mut answer).is_none());
    }
    services.let_go("/users/7");
    assert_eq!(show(poll(&mut answer).unwrap()), format!("200 {expected}"));
    drop(answer);
    assert_eq!(dashboard.counts(), "1 × complete\n");
    assert_eq!(dashboard.target.describe(), "aggregate user (users, required), orders (orders), unread (notes)");
    assert_eq!(dashboard.target.upstreams(), [UpstreamId(0), UpstreamId(1), UpstreamId(2)]);
}

#[test]
fn a_part_that_refers_to_another_waits_for_it() {
    let config = r#"{ "parts": {
        "account": { "upstream": "orders", "path": "/accounts/{user.account.id}", "query": { "tags": "{user.tags.1}" } },
        "user": { "upstream": "users", "path": "/users/{id}" },
        "notes": { "upstream": "notes", "path": "/notes", "depends_on": "account" }
    } }"#;
    let services = Services::answering(&[
        ("/users/7", Says::Json(200, r#"{"account":{"id":123456789012345678901234567890},"tags":["a","b&c"]}"#)),
        ("/accounts/123456789012345678901234567890?tags=b%26c", Says::Json(200, "1.10")),
        ("/notes", Says::Json(200, "[]")),
    ]);
    services.hold_all();
    let built = build(config, "/x/{id}");
    assert_eq!(
        built.target.describe(),
        "aggregate user (users); then account (orders); then notes (notes)",
        "the order, as `explain` shows it"
    );
    let mut exchange = request(&services, "GET /x/7 HTTP/1.1\nHost: a");
    let mut answer = built.begin(&mut exchange);
    let paths = ["/users/7", "/accounts/123456789012345678901234567890?tags=b%26c", "/notes"];
    for (count, path) in paths.iter().enumerate() {
        assert!(poll(&mut answer).is_none());
        assert_eq!(services.lines().len(), count + 1);
        assert!(services.lines()[count].ends_with(path), "{:?}", services.lines());
        services.let_go(path);
    }
    let expected = r#"200 {"account":1.10,"user":{"account":{"id":123456789012345678901234567890},"tags":["a","b&c"]},"notes":[]}"#;
    assert_eq!(show(poll(&mut answer).unwrap()), expected, "in the order written, numbers with all their digits");
}

#[test]
fn no_more_are_asked_at_a_time_than_the_cap() {
    let config = r#"{ "concurrency": 2, "parts": {
        "a": { "upstream": "users", "path": "/a" }, "b": { "upstream": "users", "path": "/b" },
        "c": { "upstream": "users", "path": "/c" }, "d": { "upstream": "users", "path": "/d" } } }"#;
    let paths = ["/a", "/b", "/c", "/d"];
    let services = Services::answering(&paths.map(|path| (path, Says::Json(200, "1"))));
    services.hold_all();
    let built = build(config, "/x/{id}");
    let mut exchange = request(&services, "GET /x/7 HTTP/1.1\nHost: a");
    let mut answer = built.begin(&mut exchange);
    assert!(poll(&mut answer).is_none());
    for (done, path) in ["/b", "/a", "/d", "/c"].iter().enumerate() {
        assert_eq!(services.sent.borrow().len(), (done + 2).min(4));
        services.let_go(path);
        assert_eq!(poll(&mut answer).map(show).is_some(), done == 3);
    }
}

#[test]
fn parts_are_asked_only_if_they_are_to_be() {
    let config = r#"{ "errors": true, "parts": {
        "user": { "upstream": "users", "path": "/users/{id}" },
        "offers": { "upstream": "orders", "path": "/offers", "when": ".user.premium and (.user.age > 17)", "default": [] },
        "notes": { "upstream": "notes", "path": "/notes", "when": "query[\"full\"] == \"1\"", "default": "none", "required": true }
    } }"#;
    let services = Services::answering(&[("/offers", Says::Json(200, "[1]")), ("/notes", Says::Json(200, "\"n\""))]);
    let built = build(config, "/x/{id}");
    let ask = |user, target: &str| {
        services.now_says("/users/7", Says::Json(200, user));
        built.ask(&services, &format!("GET {target} HTTP/1.1\nHost: a"))
    };
    let young = r#"{"premium":true,"age":12}"#;
    assert_eq!(
        ask(r#"{"premium":true,"age":30}"#, "/x/7?full=1"),
        r#"200 {"user":{"premium":true,"age":30},"offers":[1],"notes":"n","errors":[]}"#
    );
    let skipped = format!(r#"200 {{"user":{young},"offers":[],"notes":"none","errors":[]}}"#);
    for target in ["/x/7", "/x/7?full=0", "/x/7?full=1&full=1"] {
        assert_eq!(ask(young, target), skipped, "not to be asked is no failure: {target}");
    }
    assert!(services.lines().iter().filter(|line| line.contains("/offers")).count() == 1);
    assert_eq!(built.counts(), "4 × complete\n");
}

#[test]
fn a_variant_is_the_same_definition_for_other_clients() {
    let config = r#"{
        "parts": {
            "product": { "upstream": "users", "path": "/products/{id}", "required": true },
            "reviews": { "upstream": "orders", "path": "/reviews?limit=10", "default": [] },
            "offers": { "upstream": "notes", "path": "/offers" }
        },
        "response": "{title: .product.title, text: .product.text, reviews: .reviews, offers: .offers}",
        "variants": {
            "mobile": {
                "when": "headers[\"x-client\"] == \"mobile\"",
                "parts": { "reviews": { "path": "/reviews?limit=3" } },
                "without": "offers",
                "response": "{title: .product.title, reviews: .reviews}"
            },
            "kiosk": { "when": "host == \"kiosk.example\"", "without": [ "reviews", "offers" ], "response": ".product.title" }
        }
    }"#;
    let services = Services::answering(&[
        ("/products/7", Says::Json(200, r#"{"title":"T","text":"long"}"#)),
        ("/reviews?limit=10", Says::Json(200, "[1,2,3,4]")),
        ("/reviews?limit=3", Says::Json(200, "[1,2,3]")),
        ("/offers", Says::Json(200, "5")),
    ]);
    let built = build(config, "/x/{id}");
    assert_eq!(built.names.warnings.take(), []);
    let ask = |fields: &str| {
        services.sent.take();
        let answer = built.ask(&services, &format!("GET /x/7 HTTP/1.1\n{fields}"));
        (answer, services.sent.borrow().len())
    };
    let web = r#"200 vary: x-client; {"title":"T","text":"long","reviews":[1,2,3,4],"offers":5}"#;
    assert_eq!(ask("Host: a"), (web.to_owned(), 3));
    assert_eq!(ask("Host: a\nx-client: mobile\nx-client: web"), (web.to_owned(), 3), "twice is not that");
    let mobile = r#"200 vary: x-client; {"title":"T","reviews":[1,2,3]}"#;
    assert_eq!(ask("Host: a\nx-client: mobile"), (mobile.to_owned(), 2));
    assert_eq!(ask("Host: kiosk.example"), (r#"200 vary: x-client; "T""#.to_owned(), 1));
    assert!(built.target.describe().ends_with("; variants mobile, kiosk"));
}

#[test]
fn long_answers_are_read_beside_the_worker() {
    let many: Vec<usize> = (0..40_000).collect();
    let long: &'static str = serde_json::to_string(&many).unwrap().leak();
    let config = r#"{ "parts": {
        "all": { "upstream": "users", "path": "/all" }, "few": { "upstream": "users", "path": "/all", "select": "map(. * 2)[-2:]" }
    }, "response": "{few, sum: (.all | add), all}" }"#;
    let services = Services::answering(&[("/all", Says::Json(200, long))]);
    let built = build(config, "/x/{id}");
    let shown = built.ask(&services, "GET /x/7 HTTP/1.1\nHost: a");
    assert_eq!(shown, format!(r#"200 {{"few":[79996,79998],"sum":799980000,"all":{long}}}"#));
    // Two answers, a selection, the answer of them, and its text.
    assert_eq!(services.aside.get(), 5);
}

#[test]
fn head_is_answered_as_get_without_its_body() {
    let services = Services::of_dashboard();
    let dashboard = build(DASHBOARD, "/{userId}");
    let of_get = dashboard.ask(&services, "GET /7 HTTP/1.1\nHost: a");
    let length = of_get.trim_start_matches("200 ").len();
    assert_eq!(dashboard.ask(&services, "HEAD /7 HTTP/1.1\nHost: a"), format!("200 content-length: {length}; "));
    assert!(services.lines().iter().all(|line| line.contains(" GET ")));
}

#[test]
fn a_part_has_its_own_time_and_no_more_than_the_whole() {
    let services = Services::of_dashboard();
    let config = DASHBOARD.replacen("\"parts\"", "\"timeout\": \"2s\", \"parts\"", 1);
    let built = build(&config, "/{userId}");
    let ask = |deadline| {
        let mut exchange = request(&services, "GET /7 HTTP/1.1\nHost: a");
        exchange.deadline = deadline;
        assert!(poll(&mut built.begin(&mut exchange)).is_some());
        let bounds = |time: Duration| time.as_millis().div_ceil(50) * 50;
        let given: Vec<_> = services.given.take().into_iter().map(|time| bounds(time.unwrap())).collect();
        assert_eq!(services.slept.take().into_iter().map(bounds).collect::<Vec<_>>(), given, "told and kept");
        given
    };
    assert_eq!(ask(Deadline::NONE), [2_000, 2_000, 500]);
    let in_a_second = Deadline::after(Instant::now(), Duration::from_secs(1));
    assert_eq!(ask(in_a_second), [950, 950, 500], "a twentieth is left to say so");
}

#[test]
fn parts_get_what_is_known_of_the_request_and_no_credentials() {
    let config = r#"{ "forward_headers": [ "accept-language", "X-Tenant" ], "parts": {
        "a": { "upstream": "users", "path": "/a", "headers": { "x-part": "{id}", "x-none": "{query.none}", "x-tenant": "own" } },
        "b": { "upstream": "users", "path": "/b" } } }"#;
    let services = Services::default();
    let services = Rc::new(services);
    let built = build(config, "/x/{id}");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut exchange = request(
        &services,
        &format!(
            "GET /x/7 HTTP/1.1\nHost: a\nauthorization: secret\ncookie: a=b\nif-none-match: x\naccept-encoding: gzip\n\
             x-user-id: u7\nx-request-id: r1\ntraceparent: {trace}\ntracestate: s=1\nx-forwarded-for: 1.2.3.4\nx-tenant: t\n\
             accept-language: de"
        ),
    );
    exchange.trace = torana_core::trace::TraceContext::parse(trace.as_bytes()).unwrap();
    assert!(poll(&mut built.begin(&mut exchange)).is_some());
    let sent = services.sent.take();
    let without_span = |text: &str| {
        let fields = text.lines().skip(1).map(|line| if line.starts_with("traceparent") { &line[..48] } else { line });
        fields.map(str::to_owned).collect::<Vec<_>>()
    };
    let all = [
        "accept: application/json",
        "tracestate: s=1",
        "x-request-id: r1",
        "x-forwarded-for: 1.2.3.4",
        "x-user-id: u7",
        "accept-language: de",
        "x-tenant: t",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736",
    ];
    assert_eq!(without_span(&sent[1]), all);
    let own = ["x-part: 7", "x-tenant: own"];
    let expected: Vec<_> = all.iter().filter(|line| !line.starts_with("x-tenant")).chain(&own).copied().collect();
    assert_eq!(without_span(&sent[0]), expected);
    let spans: Vec<_> = sent
        .iter()
        .flat_map(|text| text.lines().find_map(|line| Some(line.strip_prefix("traceparent: ")?[36..52].to_owned())))
        .chain(["00f067aa0ba902b7".to_owned()])
        .collect();
    assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2], "{spans:?}");
}

#[test]
fn a_part_may_be_asked_with_a_body() {
    let config = r#"{ "allow_unsafe": true, "parts": {
        "user": { "upstream": "users", "path": "/users/{id}" },
        "score": { "upstream": "orders", "method": "POST", "path": "/score",
            "body": { "user": "{user}", "ids": [ "{user.id}", "u-{user.id}", "{{x}}", 1.5, null ] } } } }"#;
    let services = Services::answering(&[("/users/a%22b", Says::Json(200, r#"{"id":7,"n":"\"x\""}"#))]);
    let built = build(config, "/x/{id}");
    built.ask(&services, "GET /x/a%22b HTTP/1.1\nHost: a");
    let sent = services.sent.take();
    assert!(sent[1].starts_with("orders POST /score\n") && sent[1].contains("content-type: application/json\n"));
    let body = r#"{"user":{"id":7,"n":"\"x\""},"ids":[7,"u-7","{x}",1.5,null]}"#;
    assert_eq!(sent[1].lines().last(), Some(body));
}

proptest! {
    /// Whoever answers first, the answer is the same.
    #[test]
    fn any_order_of_answers_gives_the_same_answer(
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        outcomes in proptest::collection::vec(0..4_usize, 6),
        cap in 1..7_u8,
        together in any::<bool>(),
    ) {
        let config = format!(r#"{{ "errors": true, "concurrency": {cap}, "parts": {{
            "a": {{ "upstream": "users", "path": "/a", "default": {{ "id": "d" }} }},
            "b": {{ "upstream": "users", "path": "/b/{{a.id}}" }},
            "c": {{ "upstream": "users", "path": "/c", "select": ".v", "default": 5 }},
            "d": {{ "upstream": "users", "path": "/d/{{b.id}}/{{c}}", "default": [] }},
            "e": {{ "upstream": "users", "path": "/e", "when": ".a.id == 1" }},
            "f": {{ "upstream": "users", "path": "/f" }}
        }} }}"#);
        let says = [Says::Json(200, r#"{"id":1,"v":2}"#), Says::Json(500, "{}"), Says::Json(200, "{"), Says::Other("204")];
        let run = |order: &[usize], together: bool| {
            let services = Rc::new(Services::default());
            services.hold_all();
            let built = build(&config, "/x/{id}");
            let mut exchange = request(&services, "GET /x/7 HTTP/1.1\nHost: a");
            let mut answer = built.begin(&mut exchange);
            loop {
                if let Some(result) = poll(&mut answer) {
                    return show(result);
                }
                // The next of those under way, in this order.
                let part = |path: &str| usize::from(path.as_bytes()[1] - b'a');
                let mut paths: Vec<String> = services.lines().iter().map(|line| line[10..].to_owned()).collect();
                paths.retain(|path| !services.is_free(path));
                paths.sort_by_key(|path| order.iter().position(|index| *index == part(path)));
                for path in paths.iter().take(if together { 2 } else { 1 }) {
                    services.now_says(path, says[outcomes[part(path)]].clone());
                    services.let_go(path);
                }
            }
        };
        prop_assert_eq!(run(&order, together), run(&[0, 1, 2, 3, 4, 5], false));
    }
}

#[test]
fn methods_that_are_not_safe_are_for_routes_that_are_not() {
    let config = r#"{ "parts": { "a": { "upstream": "users", "path": "/a", "method": "POST" } } }"#;
    assert!(wrong(config, "/x").starts_with("error aggregate.unsafe"));
    let mut names = TestNames::new("r", "/x");
    names.safe = false;
    assert!((entry::<Aggregate>().build)(&written(config), &names).is_ok());
}
