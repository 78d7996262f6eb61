use super::*;

fn parts(parts: &str) -> String {
    wrong(&format!("{{ \"parts\": {{ {parts} }} }}"), "/x/{userId}")
}

const USER: &str = r#""user": { "upstream": "users", "path": "/u" }"#;

#[test]
fn names_lead_somewhere() {
    let cases = [
        (
            r#""a": { "upstream": "user", "path": "/" }"#,
            "config.unknown_upstream: there is no upstream `user` (did you mean `users`?)",
        ),
        (
            r#""a": { "upstream": "users", "path": "/{userid}" }"#,
            "aggregate.reference: `{userid}` is neither captured by the route's path nor a part (did you mean `{userId}`?)",
        ),
        (
            r#""user": { "upstream": "users", "path": "/u" }, "a": { "upstream": "users", "path": "/{usr.id}" }"#,
            "(did you mean `{user.id}`?)",
        ),
        (r#""a": { "upstream": "users", "path": "/{nothing}" }"#, "(`/x/{userId}` captures `userId`; parts are `a`)"),
        (
            r#""a": { "upstream": "users", "path": "/{identity.claim.x}" }"#,
            "aggregate.reference: `{identity.claim.x}` is nothing that is known of a caller",
        ),
        (r#""a": { "upstream": "users", "path": "/{query}" }"#, "write `{query.NAME}`"),
        (r#""a": { "upstream": "users", "path": "/{userId" }"#, "a brace without its partner"),
        (
            r#""user": { "upstream": "users", "path": "/u" }, "a": { "upstream": "users", "path": "/a", "depends_on": [ "usr" ] }"#,
            "aggregate.depends_on: there is no part `usr` (did you mean `user`?)",
        ),
        (
            r#""a": { "upstream": "users", "path": "/a", "when": "captures[\"userid\"] == \"1\"" }"#,
            "aggregate.when: the route's path captures no `userid` (did you mean `userId`?)",
        ),
    ];
    for (config, expected) in cases {
        let shown = parts(config);
        assert!(shown.contains(expected) && shown.lines().count() == 1, "{shown}");
    }
}

#[test]
fn names_do_not_collide() {
    let named = |name: &str| parts(&format!(r#""{name}": {{ "upstream": "users", "path": "/" }}"#));
    assert!(
        named("userId").contains("`{userId}` is both a part and what the route's path captures (rename one of them)")
    );
    for name in ["query", "headers", "identity"] {
        assert!(named(name).starts_with("error aggregate.name"), "{}", named(name));
    }
    for name in ["", "a-b", "1a", "a.b", "ä"] {
        assert!(named(name).contains("cannot be the name of a part"), "{}", named(name));
    }
    let errors = r#"{ "errors": true, "parts": { "errors": { "upstream": "users", "path": "/" } } }"#;
    assert!(wrong(errors, "/").starts_with("error aggregate.name"));
    let twice = parts(r#""a": { "upstream": "users", "path": "/?q=1", "query": { "q": "2" } }"#);
    assert!(twice.contains("aggregate.query: the query parameter `q` is set twice"), "{twice}");
}

#[test]
fn cycles_are_named() {
    let shown = parts(
        r#""a": { "upstream": "users", "path": "/{b.id}" }, "b": { "upstream": "users", "path": "/b", "headers": { "x": "{c}" } },
           "c": { "upstream": "users", "path": "/c", "when": ".a.ok" }, "d": { "upstream": "users", "path": "/{a}" }"#,
    );
    assert!(shown.starts_with("error aggregate.cycle: parts wait for each other: `a` → `b` → `c` → `a`"), "{shown}");
    let itself = parts(r#""a": { "upstream": "users", "path": "/a", "depends_on": "a" }"#);
    assert!(itself.contains("`a` → `a`"), "{itself}");
}

#[test]
fn what_cannot_be_sent_is_refused_all_at_once() {
    let shown = parts(
        r#""a": { "upstream": "users", "path": "a/../b" }, "b": { "upstream": "users", "path": "/b?x y=1" },
           "c": { "upstream": "users", "path": "/c", "headers": { "connection": "x", "a b": "y", "host": "z", "x-l": "a\r\nb" } },
           "d": { "upstream": "users", "path": "/d", "method": "get" }, "e": { "upstream": "users", "path": "/e", "body": {} },
           "f": { "upstream": "users", "path": "/f", "timeout": "0s", "select": ".a |", "success": [ 99 ], "pass_status": [ 404 ] },
           "g": { "upstream": "users", "path": "/g", "when": "metod == \"GET\"" }, "h": { "upstream": "users", "path": "/h", "when": ".user |" }"#,
    );
    let codes: Vec<_> = shown.lines().map(|line| line.split([' ', ':']).nth(1).unwrap()).collect();
    let expected = [
        "aggregate.path",
        "aggregate.query",
        "aggregate.header",
        "aggregate.header",
        "aggregate.header",
        "aggregate.header",
        "aggregate.method",
        "aggregate.body",
        "config.zero_timeout",
        "aggregate.program",
        "aggregate.status",
        "aggregate.pass_status",
        "aggregate.when",
        "aggregate.when",
    ];
    assert_eq!(codes, expected, "{shown}");
    assert!(shown.contains("did you mean `GET`?"), "{shown}");
    assert!(parts("").starts_with("error aggregate.none"));
    let many: Vec<String> = (0..33).map(|n| format!(r#""p{n}": {{ "upstream": "users", "path": "/" }}"#)).collect();
    assert!(parts(&many.join(",")).starts_with("error aggregate.parts: there are 33 parts"));
}

#[test]
fn contradictions_are_found() {
    let with = |keys: &str, part: &str| {
        wrong(&format!(r#"{{ {keys}, "parts": {{ "a": {{ "upstream": "users", "path": "/", {part} }} }} }}"#), "/")
    };
    assert!(
        with(r#""fail": "all""#, r#""required": false"#).contains("aggregate.fail: `fail: all` requires every part")
    );
    assert!(with(r#""fail": "settled""#, r#""required": true"#).contains("aggregate.fail"));
    assert!(with(r#""fail": "all""#, r#""default": 1"#).starts_with("warning aggregate.default"));
    assert_eq!(
        with(r#""fail": "all""#, r#""default": 1, "when": "method == \"GET\"""#),
        "",
        "it stands for a skipped part"
    );
    assert!(with(r#""timeout": "0s""#, r#""required": true"#).starts_with("error config.zero_timeout"));
    assert!(with(r#""forward_headers": "te""#, r#""required": true"#).starts_with("error aggregate.header"));
    assert!(with(r#""response": "{a: .a""#, r#""required": true"#).starts_with("error aggregate.program"));
}

#[test]
fn parts_that_nobody_uses_are_told() {
    let of = |response: &str| {
        let parts =
            r#""orders": { "upstream": "orders", "path": "/o" }, "user": { "upstream": "users", "path": "/u" }"#;
        wrong(&format!(r#"{{ "parts": {{ {parts} }}, "response": "{response}" }}"#), "/")
    };
    assert_eq!(
        of("{user: .user, orders: .oders}"),
        "warning aggregate.unused_part: the part `orders` is asked for, and the answer has nothing of it (did you mean \
         `.orders` where it says `.oders`?)\n"
    );
    assert!(of(".user").contains("use it in `response`, or remove it"));
    for used in [
        ".",
        ". + {a: 1}",
        "{user, orders}",
        "[.[]]",
        ".user * .orders",
        r#"{a: .[\"orders\"], b: .user}"#,
        "del(.user) | .orders",
    ] {
        assert_eq!(of(used), "", "{used}");
    }
    let guard = format!(
        r#"{{ "parts": {{ {USER}, "may": {{ "upstream": "users", "path": "/may", "required": true }} }}, "response": ".user" }}"#
    );
    assert_eq!(wrong(&guard, "/"), "", "one that is required decides");
}

#[test]
fn variants_are_checked_as_what_they_come_to() {
    let of = |variant: &str| {
        wrong(
            &format!(
                r#"{{ "parts": {{ {USER}, "orders": {{ "upstream": "orders", "path": "/{{user.id}}" }} }},
            "response": "{{user, orders}}", "variants": {{ "m": {{ {variant} }} }} }}"#
            ),
            "/{id}",
        )
    };
    let when = r#""when": "host == \"m\"""#;
    assert_eq!(of(when), "");
    assert!(of(r#""parts": {}"#).contains("`when`"));
    assert!(
        of(&format!(r#"{when}, "without": "user", "response": ".orders""#))
            .contains("aggregate.reference: `{user.id}`")
    );
    assert!(
        of(&format!(r#"{when}, "without": "ordres""#))
            .contains("aggregate.variant: there is no part `ordres` (did you mean `orders`?)")
    );
    assert!(
        of(&format!(r#"{when}, "parts": {{ "user": {{ "path": "/{{ido}}" }} }}"#)).contains("did you mean `{id}`?")
    );
    assert!(of(&format!(r#"{when}, "parts": {{ "new": {{ "path": "/" }} }}"#)).contains("`upstream`"));
    assert!(of(&format!(r#"{when}, "parts": {{ "user": {{ "paht": "/" }} }}"#)).contains("did you mean `path`?"));
    assert!(of(&format!(r#"{when}, "response": ".user""#)).contains("add it to `without: [ orders ]`"));
    assert!(of(r#""when": "hst == \"m\"""#).starts_with("error aggregate.when"));
}
