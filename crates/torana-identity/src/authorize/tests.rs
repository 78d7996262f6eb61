use super::*;
use torana_core::identity::{Facts, Identity};
use torana_core::policy::entry;
use torana_core::testing::{TestNames, exchange, reply, run, show_diagnostics, written};

fn build(config: &str) -> Result<Arc<dyn Policy>, String> {
    let site = TestNames::new("test", "/*");
    (entry::<Authorize>().build)(&written(config), &site).map_err(|problems| show_diagnostics(&problems))
}

fn caller(subject: &str, roles: &[&str], permissions: &[&str], scopes: &[&str]) -> Option<Identity> {
    let names = |list: &[&str]| list.iter().copied().collect();
    let facts = Facts {
        subject: subject.into(),
        proven_by: "test",
        roles: names(roles),
        permissions: names(permissions),
        scopes: names(scopes),
        ..Facts::default()
    };
    Some(facts.into())
}

/// `ok`, or the code and the log's reason.
fn decided(config: &str, identity: Option<Identity>, request: &str) -> String {
    let policy = build(config).unwrap();
    let mut asked = exchange(request);
    asked.identity = identity;
    let explained = policy.explain(&mut asked).unwrap();
    let verdict = torana_core::testing::ready(policy.on_request(&mut asked));
    match verdict {
        torana_core::verdict::Decision::Continue => {
            assert!(explained.ends_with("allows it"), "{explained}");
            "ok".to_owned()
        }
        torana_core::verdict::Decision::Reject(rejection) => {
            let cause = rejection.cause.unwrap();
            assert!(explained.ends_with(&*cause), "{explained}");
            format!("{}: {cause}", rejection.refusal.code)
        }
        torana_core::verdict::Decision::Answer(_) => "answered".to_owned(),
    }
}

const GET: &str = "GET /x HTTP/1.1\nHost: a";

#[test]
fn conditions_bind_together() {
    let config = r#"{ "roles": ["admin", "owner"], "permissions": { "all": ["a", "b"] }, "scopes": "write",
        "methods": ["GET"], "networks": "192.0.2.0/24" }"#;
    let ok = || caller("u", &["owner"], &["a", "b", "c"], &["read", "write"]);
    assert_eq!(decided(config, ok(), GET), "ok");
    for (identity, request, expected) in [
        (
            caller("u", &["Owner"], &["a", "b"], &["write"]),
            GET,
            "authorize.denied: `authorize` denies it: the roles do not suffice",
        ),
        (
            caller("u", &["owner,admin"], &["a", "b"], &["write"]),
            GET,
            "authorize.denied: `authorize` denies it: the roles do not suffice",
        ),
        (
            caller("u", &["admin"], &["a"], &["write"]),
            GET,
            "authorize.denied: `authorize` denies it: the permissions do not suffice",
        ),
        (
            caller("u", &["admin"], &["a", "b"], &["writer"]),
            GET,
            "authorize.denied: `authorize` denies it: the scopes do not suffice",
        ),
        (ok(), "POST /x HTTP/1.1\nHost: a", "authorize.denied: `authorize` denies it: the method is another one"),
        (None, GET, "authorize.anonymous: `authorize` denies it: the roles do not suffice"),
    ] {
        assert_eq!(decided(config, identity, request), expected);
    }
    assert!(
        decided(r#"{ "networks": "10.0.0.0/8" }"#, None, GET).starts_with("authorize.denied"),
        "no matter who it is"
    );
    assert_eq!(decided(r#"{ "authenticated": true }"#, caller("u", &[], &[], &[]), GET), "ok");
    assert!(decided(r#"{ "authenticated": true }"#, None, GET).starts_with("authorize.anonymous"));
    assert_eq!(decided(r#"{ "subjects": ["u", "v"] }"#, caller("v", &[], &[], &[]), GET), "ok");
    assert!(decided(r#"{ "subjects": "u" }"#, caller("v", &[], &[], &[]), GET).starts_with("authorize.denied"));
}

#[test]
fn the_first_rule_that_applies_decides_and_none_refuses() {
    let config = r#"{ "rules": [
        { "name": "no-bots", "deny": true, "roles": "bot" },
        { "name": "readers", "methods": ["GET", "HEAD"], "authenticated": true },
        { "roles": "admin" }
    ] }"#;
    let post = "POST /x HTTP/1.1\nHost: a";
    for (identity, request, expected) in [
        (caller("u", &[], &[], &[]), GET, "ok"),
        (caller("u", &["bot", "admin"], &[], &[]), GET, "authorize.denied: `no-bots` denies it"),
        (caller("u", &[], &[], &[]), post, "authorize.denied: no rule allows it"),
        (caller("u", &["admin"], &[], &[]), post, "ok"),
        (None, GET, "authorize.anonymous: no rule allows it"),
    ] {
        assert_eq!(decided(config, identity, request), expected);
    }
}

/// Agentgateway: a broken deny rule "does not match", so it allows.
#[test]
fn a_rule_that_cannot_be_evaluated_denies() {
    let deny = r#"{ "rules": [
        { "name": "blocked", "deny": true, "when": "headers['x-tenant'] == 'blocked'" },
        { "name": "rest", "authenticated": true }
    ] }"#;
    let user = || caller("u", &[], &[], &[]);
    let with = |fields: &str| format!("{GET}\n{fields}");
    assert_eq!(decided(deny, user(), &with("X-Tenant: a")), "ok");
    assert_eq!(decided(deny, user(), &with("X-Tenant: blocked")), "authorize.denied: `blocked` denies it");
    assert!(
        decided(deny, user(), GET).starts_with("authorize.denied: `blocked` denies it: `when` cannot be evaluated")
    );
    // CVE-2026-26308: repeated, it is no one value.
    let twice = with("X-Tenant: a\nX-Tenant: blocked");
    assert!(decided(deny, user(), &twice).starts_with("authorize.denied: `blocked` denies it: `when` cannot be"));
    let own = r#"{ "when": "headers['x-tenant'] == identity.subject" }"#;
    assert_eq!(decided(own, user(), &with("X-Tenant: u")), "ok");
    assert!(decided(own, user(), &with("X-Tenant: v")).starts_with("authorize.denied"));
    assert!(decided(own, None, &with("X-Tenant: u")).starts_with("authorize.anonymous"));
}

#[test]
fn claims_roles_and_captures_decide_and_what_is_missing_denies() {
    let claims = serde_json::json!({ "tenant": "acme", "groups": ["ops"], "level": 3, "blocked": "no" });
    let serde_json::Value::Object(claims) = claims else { panic!("an object") };
    let facts = Facts { subject: "u".into(), proven_by: "jwt", claims, ..Facts::default() };
    let caller = || {
        let roles = ["admin"].into_iter().collect();
        Some(Identity::from(Facts { roles, consumer: Some("shop".into()), plan: Some("gold".into()), ..facts.clone() }))
    };
    for (when, expected) in [
        ("identity.claims.tenant == 'acme' && 'ops' in identity.claims.groups", "ok"),
        ("'admin' in identity.roles && identity.consumer == 'shop' && identity.plan == 'gold'", "ok"),
        ("int(identity.claims.level) > 2", "ok"),
        ("captures.rest == identity.subject", "ok"),
        ("has(identity.claims.region) ? identity.claims.region == 'eu' : true", "ok"),
        ("'owner' in identity.roles", "authorize.denied: `authorize` denies it: `when` does not hold"),
        (
            "identity.claims.region == 'eu'",
            "authorize.denied: `authorize` denies it: `when` cannot be evaluated: the claim `region` is missing",
        ),
        (
            "!(identity.claims.region == 'us')",
            "authorize.denied: `authorize` denies it: `when` cannot be evaluated: the claim `region` is missing",
        ),
    ] {
        let policy = build(&format!(r#"{{ "when": "{when}" }}"#)).unwrap();
        let mut asked = exchange("GET /u HTTP/1.1\nHost: a");
        asked.captures.push(1, 2);
        asked.identity = caller();
        let decided = match torana_core::testing::ready(policy.on_request(&mut asked)) {
            torana_core::verdict::Decision::Continue => "ok".to_owned(),
            torana_core::verdict::Decision::Reject(rejection) => {
                format!("{}: {}", rejection.refusal.code, rejection.cause.unwrap())
            }
            torana_core::verdict::Decision::Answer(_) => "answered".to_owned(),
        };
        assert_eq!(decided, expected, "{when}");
    }
    // A rule that denies by a claim denies who does not have it, and asks who nobody is.
    let deny = r#"{ "rules": [ { "name": "bad", "deny": true, "when": "identity.claims.blocked == 'yes'" }, {} ] }"#;
    assert_eq!(decided(deny, caller(), GET), "ok");
    assert!(decided(deny, Some(Identity::new("x", "jwt")), GET).starts_with("authorize.denied: `bad` denies it"));
    assert!(decided(deny, None, GET).starts_with("authorize.anonymous: `bad` denies it"));
}

#[test]
fn replies_are_401_to_nobody_and_403_to_somebody() {
    let policy = build(r#"{ "roles": "admin" }"#).unwrap();
    let shown = run(&*policy, &mut exchange(GET), reply("200"));
    assert_eq!(shown, "rejected authorize.anonymous 401\n401\nwww-authenticate: Bearer\n");
    let mut known = exchange(GET);
    known.identity = caller("u", &[], &[], &[]);
    assert_eq!(run(&*policy, &mut known, reply("200")), "rejected authorize.denied 403\n403\n");
}

#[test]
fn mistakes_are_named() {
    for (config, expected) in [
        ("{}", "error authorize.empty"),
        (r#"{ "roles": [] }"#, "expected a name, a list"),
        (r#"{ "methods": "get" }"#, "error authorize.method"),
        (r#"{ "time": { "from": "8" } }"#, "error authorize.time"),
        (r#"{ "when": "method" }"#, "error authorize.when"),
        (r#"{ "when": "captures['id'] == 'a'" }"#, "error authorize.when: the route's path captures no `id`"),
        (r#"{ "when": "captures['rset'] == 'a'" }"#, "did you mean `rest`?"),
        (r#"{ "when": "identity.claims.verified == true" }"#, "error authorize.when: text and true or false"),
        (r#"{ "role": "a" }"#, "did you mean `roles`"),
    ] {
        let shown = build(config).err().unwrap();
        assert!(shown.contains(expected), "{config}: {shown}");
    }
}
