use super::*;
use torana_core::target::entry;
use torana_core::testing::{TestNames, exchange, show_answer, target_transcript, written};

fn run(config: &str, request: &str) -> String {
    target_transcript(&entry::<Versions>(), config, &[], request)
}

/// What becomes of a request, without the line that describes the target.
fn answer(config: &str, request: &str) -> String {
    let shown = run(config, request);
    shown.split_once('\n').map(|(_, answer)| answer.to_owned()).unwrap_or_default()
}

fn get(lines: &str) -> String {
    format!("GET /api/users HTTP/1.1\nHost: a{lines}")
}

const HEADER: &str = r#"{ "header": "Api-Version", "default": "v1",
    "v1": { "upstream": "users" }, "v2": { "upstream": "orders" }, "2024-06-01": { "upstream": "orders" } }"#;

#[test]
fn the_whole_of_it() {
    let shown = run(HEADER, &get("\nAPI-VERSION: v2"));
    let described = "versions by header Api-Version: v1 (default) users, v2 orders, 2024-06-01 orders";
    assert_eq!(shown, format!("{described}\nforward to 1\nvary: api-version\n"));
}

#[test]
fn a_header_says_it() {
    for (lines, upstream) in [
        ("", 0),
        ("\napi-version:", 0),
        ("\napi-version: v1", 0),
        ("\napi-version: 1", 0),
        ("\napi-version: V2", 1),
        ("\napi-version: 2", 1),
        ("\napi-version: 2024-06-01", 1),
        ("\napi-version: v2\nApi-Version: 2", 1),
        ("\napi-version: v2, v2,", 1),
    ] {
        assert_eq!(answer(HEADER, &get(lines)), format!("forward to {upstream}\nvary: api-version\n"), "{lines}");
    }
}

#[test]
fn what_is_unknown_or_ambiguous_is_refused_with_the_versions_there_are() {
    let supported = ": Supported: v1, v2, 2024-06-01.\n";
    for (lines, refusal) in [
        ("\napi-version: v3", "versions.unknown 400"),
        ("\napi-version: v", "versions.unknown 400"),
        ("\napi-version: vv2", "versions.unknown 400"),
        ("\napi-version: v2x", "versions.unknown 400"),
        ("\napi-version: \u{fc}", "versions.unknown 400"),
        ("\napi-version: v3\napi-version: v4", "versions.unknown 400"),
        ("\napi-version: v1\napi-version: v2", "versions.ambiguous 400"),
        ("\napi-version: v1, v2", "versions.ambiguous 400"),
        ("\napi-version: v3\napi-version: v2", "versions.ambiguous 400"),
    ] {
        assert_eq!(answer(HEADER, &get(lines)), format!("rejected {refusal}{supported}"), "{lines}");
    }
    let strict = HEADER.replace(r#""default": "v1","#, "");
    assert_eq!(answer(&strict, &get("")), format!("rejected versions.missing 400{supported}"));
    let lenient = HEADER.replace(r#""default": "v1","#, r#""default": "v2", "unknown": "default","#);
    assert_eq!(answer(&lenient, &get("\napi-version: v9")), "forward to 1\nvary: api-version\n");
    let ambiguous = answer(&lenient, &get("\napi-version: v1, v2"));
    assert!(ambiguous.starts_with("rejected versions.ambiguous"), "two wishes are never guessed at: {ambiguous}");
}

#[test]
fn a_query_parameter_says_it() {
    let config = HEADER.replace(r#""header": "Api-Version""#, r#""query": "api version""#);
    let asked = |query: &str| answer(&config, &format!("GET /x{query} HTTP/1.1\nHost: a"));
    assert_eq!(asked(""), "forward to 0\n", "nothing varies: the query is part of the URL");
    assert_eq!(asked("?api+version=2"), "forward to 1\n");
    assert_eq!(asked("?api%20version=%762&x=1"), "forward to 1\n");
    assert_eq!(asked("?api+version=&api+version"), "forward to 0\n");
    assert_eq!(asked("?apiversion=2&API+version=2"), "forward to 0\n");
    assert_eq!(asked("?api+version=v2&api+version=2"), "forward to 1\n");
    assert!(asked("?api+version=v1&api+version=v2").starts_with("rejected versions.ambiguous 400"));
    assert!(asked("?api+version=v3").starts_with("rejected versions.unknown 400"));
    assert!(asked(&format!("?api+version={}", "2".repeat(65))).starts_with("rejected versions.unknown 400"));
}

#[test]
fn accept_says_it() {
    let config = HEADER.replace(r#""header": "Api-Version""#, r#""accept": "version""#);
    let asked = |accept: &str| answer(&config, &get(&format!("\nAccept: {accept}")));
    assert_eq!(asked("application/vnd.acme.v2+json"), "forward to 1\nvary: accept\n");
    assert_eq!(asked("application/json; version=2"), "forward to 1\nvary: accept\n");
    assert_eq!(asked("*/*"), "forward to 0\nvary: accept\n");
    assert_eq!(answer(&config, &get("")), "forward to 0\nvary: accept\n");
    assert!(asked("application/json; version=9").starts_with("rejected versions.not_acceptable 406: Supported: v1,"));
    assert!(asked("a/b; version=1, a/b; version=2").starts_with("rejected versions.ambiguous 400"));
}

#[test]
fn the_path_says_it() {
    let config = |rest: &str| {
        format!(
            r#"{{ "path": "{rest}", "v1": {{ "upstream": "users" }},
                 "v2": {{ "upstream": "orders", "rewrite": {{ "replace_prefix": "/api" }} }} }}"#
        )
    };
    let asked = |config: &str, captures: &[(&str, &str)], path: &str| {
        let request = format!("GET {path}?x=1 HTTP/1.1\nHost: a");
        let shown = target_transcript(&entry::<Versions>(), config, captures, &request);
        shown.split_once('\n').unwrap().1.to_owned()
    };
    let named = config("version");
    assert_eq!(asked(&named, &[("version", "v1"), ("rest", "users/7")], "/v1/users/7"), "forward to 0\n");
    let captures = [("version", "V2"), ("rest", "users/7")];
    assert_eq!(asked(&named, &captures, "/V2/users/7"), "forward to 1 /api/users/7?x=1\n");
    assert_eq!(
        asked(&named, &[("version", "v3"), ("rest", "users")], "/v3/users"),
        "rejected versions.not_found 404: Supported: v1, v2.\n"
    );
    // The first segment behind the prefix.
    let rest = config("rest").replace(r#""replace_prefix": "/api""#, r#""strip_prefix": "/api/v2""#);
    assert_eq!(asked(&rest, &[("rest", "v2/users")], "/api/v2/users"), "forward to 1 /users?x=1\n");
    let refused = asked(&rest, &[("rest", "users/v2")], "/api/users/v2");
    assert!(refused.starts_with("rejected versions.not_found 404"), "{refused}");
    let target = (entry::<Versions>().build)(&written(&rest), &TestNames::new("r", "/api/*")).unwrap();
    let mut out = String::new();
    show_answer(&*target, &mut exchange("GET /api/ HTTP/1.1\nHost: a"), &mut out);
    assert_eq!(out, "rejected versions.missing 400: Supported: v1, v2.\n", "there is no segment");
}

#[test]
fn rewrites_stay_in_their_subtree() {
    let config = r#"{ "header": "v", "default": "v2",
        "v2": { "upstream": "users", "rewrite": { "path": "/in/{a}{b}/x", "host": "upstream" } } }"#;
    let asked = |captures: &[(&str, &str)], path: &str| {
        let request = format!("GET {path} HTTP/1.1\nHost: a");
        target_transcript(&entry::<Versions>(), config, captures, &request)
    };
    let good = asked(&[("a", "p"), ("b", "q")], "/p/q");
    assert!(good.ends_with("forward to 0 /in/pq/x, host Endpoint\nvary: v\n"), "{good}");
    let bad = asked(&[("a", "."), ("b", ".")], "/a.b.");
    assert!(bad.contains("forward to 0 refused: "), "{bad}");
}

#[test]
fn replies_say_how_long_a_version_lasts() {
    let config =
        |more: &str| format!(r#"{{ "query": "v", "default": "v1", "v1": {{ "upstream": "users", {more} }} }}"#);
    let said = |more: &str| answer(&config(more), &get("")).replace("forward to 0\n", "");
    assert_eq!(
        said(
            r#""deprecated": "2026-01-01", "sunset": "2999-01-01T12:00:00+01:00", "gone": true,
               "link": "https://a.example/v1""#
        ),
        "deprecation: @1767225600\n\
         sunset: Tue, 01 Jan 2999 11:00:00 GMT\n\
         link: <https://a.example/v1>; rel=\"deprecation\"\n\
         link: <https://a.example/v1>; rel=\"sunset\"\n"
    );
    assert_eq!(said(r#""deprecated": true, "link": "/v1""#), "deprecation: @0\nlink: </v1>; rel=\"deprecation\"\n");
    assert_eq!(said(r#""sunset": "2020-01-01""#), "sunset: Wed, 01 Jan 2020 00:00:00 GMT\n", "late, but served");
    assert_eq!(said(r#""deprecated": false"#), "");
}

#[test]
fn a_version_that_is_gone_is_refused() {
    let config = r#"{ "header": "v", "default": "v1",
        "v1": { "upstream": "users", "deprecated": "2019-01-01", "sunset": "2020-01-01", "gone": true, "link": "/why" },
        "v2": { "upstream": "users" } }"#;
    let gone = "rejected versions.gone 410: Supported: v2.\n\
                deprecation: @1546300800\n\
                sunset: Wed, 01 Jan 2020 00:00:00 GMT\n\
                link: </why>; rel=\"deprecation\"\n\
                link: </why>; rel=\"sunset\"\n\
                vary: v\n";
    assert_eq!(answer(config, &get("\nv: v1")), gone);
    assert_eq!(answer(config, &get("")), gone, "the default is no exception");
    assert_eq!(answer(config, &get("\nv: 2")), "forward to 0\nvary: v\n");
    assert_eq!(answer(config, &get("\nv: 3")), "rejected versions.unknown 400: Supported: v2.\n");
}

#[test]
fn all_mistakes_at_once() {
    let shown = run(
        r#"{ "header": "connection", "default": "v4", "v1": { "upstream": "user" }, "V1": { "upstream": "users" },
             "v 3": { "upstream": "users", "gone": true, "link": "javascript:x",
                      "rewrite": { "path": "/{nope}", "replace_prefix": "/x" } } }"#,
        &get(""),
    );
    let expected = "\
        error versions.header: `connection` is a header that is not there any more (it concerns one connection only \
        (RFC 9110 §7.6.1))\n\
        error versions.duplicate: `v1` and `V1` name the same version (upper and lower case, and `v` before a number, \
        make no difference)\n\
        error versions.name: `v 3` cannot be the name of a version (letters, digits, `.`, `_` and `-`, at most 64)\n\
        error versions.default: there is no version `v4` (did you mean `v1`?)\n\
        error config.unknown_upstream: there is no upstream `user` (did you mean `users`?)\n\
        error versions.no_sunset: `gone` without a `sunset` says nothing (add `sunset`, the date from which on the \
        version is gone)\n\
        error versions.link: `javascript:x` cannot be a link (write a URL with `https://`, or a path; percent-encode \
        other characters)\n\
        error config.rewrite_conflict: `path` and `replace_prefix` cannot both rewrite the path (keep one of them)\n";
    assert_eq!(shown, expected);
}

#[test]
fn each_mistake() {
    let v1 = r#""v1": { "upstream": "users" }"#;
    let more = |more: &str| format!(r#"{{ "header": "v", "v1": {{ "upstream": "users", {more} }} }}"#);
    for (config, expected) in [
        (format!("{{ {v1} }}"), "versions.no_place"),
        (format!(r#"{{ "header": "v", "query": "v", {v1} }}"#), "versions.two_places"),
        (r#"{ "header": "v" }"#.to_owned(), "versions.none"),
        (format!(r#"{{ "header": "a b", {v1} }}"#), "versions.header"),
        (format!(r#"{{ "header": "accept", {v1} }}"#), "write `accept: version`"),
        (format!(r#"{{ "accept": "q", {v1} }}"#), "versions.accept"),
        (format!(r#"{{ "accept": "a b", {v1} }}"#), "versions.accept"),
        (format!(r#"{{ "query": "", {v1} }}"#), "versions.query"),
        (format!(r#"{{ "path": "version", {v1} }}"#), "versions.path: `version` is not captured"),
        (format!(r#"{{ "header": "v", "unknown": "default", {v1} }}"#), "versions.no_default"),
        (format!(r#"{{ "header": "v", "unknown": "rejct", {v1} }}"#), "did you mean `reject`"),
        (format!(r#"{{ "header": "v", "defualt": "v1", {v1} }}"#), "did you mean `default`"),
        (r#"{ "header": "v", "v1": { "upsteam": "users" } }"#.to_owned(), "did you mean `upstream`"),
        (r#"{ "header": "v", "v1": {} }"#.to_owned(), "`upstream` is missing"),
        (r#"{ "header": "v", "v1": "users" }"#.to_owned(), "expected a map"),
        (more(r#""deprecated": "2027-01-01", "sunset": "2026-12-31""#), "versions.sunset"),
        (more(r#""sunset": "2026-02-29""#), "which is not in the calendar"),
        (more(r#""sunset": true"#), "expected a date"),
        (more(r#""deprecated": "soon""#), "which is no date"),
        (more(r#""deprecated": 3"#), "expected a date"),
        (more(r#""link": "/why""#), "add `deprecated` or `sunset`"),
        (more(r#""deprecated": true, "link": "/a>; rel=x, <b""#), "versions.link"),
        (more(r#""rewrite": { "path": "/{nope}" }"#), "rewrite.template"),
        (more(r#""rewrite": { "replace_prefix": "/x" }"#), "rewrite.no_rest"),
        (more(r#""rewrite": { "add_prefix": "/x/../y" }"#), "rewrite.path"),
        (more(r#""rewrite": { "add_prefix": "x" }"#), "config.rewrite_path"),
        (more(r#""rewrite": { "prefix": "/x" }"#), "unknown key `prefix`"),
        (more(r#""rewrite": { "host": "a b" }"#), "rewrite.host"),
    ] {
        let shown = run(&config, &get(""));
        assert!(shown.starts_with("error ") && shown.contains(expected), "{config}: {shown}");
    }
}

#[test]
fn warnings_keep_nothing_from_being_built() {
    let config = r#"{ "path": "version", "v2": { "upstream": "users", "rewrite": { "strip_prefix": "/x" } } }"#;
    let names = TestNames::new("r", "/api/{version}/*");
    let target = (entry::<Versions>().build)(&written(config), &names);
    assert!(target.is_ok());
    let codes: Vec<_> = names.warnings.take().into_iter().map(|warning| (warning.is_error(), warning.code)).collect();
    assert_eq!(codes, [(false, "rewrite.never_applies".into())]);
}

#[test]
fn nothing_a_client_sends_makes_it_panic() {
    use proptest::prelude::*;
    let build = |place: &str| {
        let config = HEADER.replace(r#""header": "Api-Version""#, place);
        (entry::<Versions>().build)(&written(&config), &TestNames::new("r", "/api/*")).unwrap()
    };
    let places = [r#""header": "x""#, r#""accept": "version""#, r#""query": "x""#, r#""path": "rest""#];
    let targets = places.map(build);
    proptest!(|(value in "[ -~\u{80}-\u{ff}]{0,40}", query in "[x=&%0-9a-fv+]{0,40}", at in 0_usize..20)| {
        let mut exchange = exchange(&format!("GET /a/b/c?{query} HTTP/1.1\nHost: a\nx: {value}\naccept: {value}"));
        exchange.captures.push(at.min(6), 6);
        for target in &targets {
            match target.answer(&mut exchange) {
                Answer::ForwardBy(index) => prop_assert!(index < target.ways().len()),
                Answer::Reject(rejection) => prop_assert!(rejection.refusal.code.starts_with("versions.")),
                _ => prop_assert!(false, "it forwards or refuses"),
            }
        }
    });
}
