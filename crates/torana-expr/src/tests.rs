use super::*;
use proptest::prelude::*;
use torana_core::head::Version;

/// A request and who sent it.
struct Asked {
    target: CanonicalTarget,
    head: Head,
    identity: Option<Identity>,
    tls: Option<Tls>,
    captures: Captures,
    names: Vec<String>,
}

impl Asked {
    fn new(method: &str, url: &str, headers: &[(&str, &[u8])]) -> Asked {
        let (host, path) = url.split_at(url.find('/').unwrap());
        let mut head = Head::default();
        head.version = Version::Http11;
        head.fields.append_text(b"host", host.as_bytes()).unwrap();
        head.set_method(method.as_bytes());
        head.set_raw_target(path.as_bytes());
        for (name, value) in headers {
            head.fields.append_text(name.as_bytes(), value).unwrap();
        }
        let mut target = CanonicalTarget::default();
        target.admit(&head, false).unwrap();
        Asked { target, head, identity: None, tls: None, captures: Captures::default(), names: Vec::new() }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            target: &self.target,
            head: &self.head,
            client_ip: [10, 1, 2, 3].into(),
            tls: self.tls.as_ref(),
            identity: self.identity.as_ref(),
            captures: &self.captures,
            names: &self.names,
        }
    }

    /// The value or why there is none.
    fn ask(&self, text: &str) -> String {
        let expr = Expr::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match expr.evaluate(&self.subject()) {
            Ok(Value::Bool(value)) => value.to_string(),
            Ok(Value::Int(value)) => value.to_string(),
            Ok(Value::Text(value)) => format!("`{value}`"),
            Err(fault) => format!("fault: {fault}"),
        }
    }
}

fn usual() -> Asked {
    let headers: [(&str, &[u8]); 6] = [
        ("X-Tenant", b"acme"),
        ("x-two", b"1"),
        ("x-two", b"2"),
        ("x-bytes", b"caf\xe9"),
        ("cookie", b"a=1; session=s3"),
        ("content-length", b"17"),
    ];
    let mut asked = Asked::new("POST", "Shop.example/items/17?page=2&q=a%20b&d=1&d=2", &headers);
    asked.captures.push(7, 9);
    asked.names = vec!["id".to_owned()];
    asked
}

#[test]
fn every_part_can_be_read() {
    let mut asked = usual();
    for (text, value) in [
        ("method", "`POST`"),
        ("scheme", "`http`"),
        ("host", "`shop.example`"),
        ("path", "`/items/17`"),
        ("headers[\"X-TENANT\"]", "`acme`"),
        ("headers.host", "`Shop.example`"),
        ("query.q", "`a b`"),
        ("cookies.session", "`s3`"),
        ("captures.id", "`17`"),
        ("client.ip", "`10.1.2.3`"),
        ("identity.subject", "fault: `identity.subject` is missing"),
        ("tls.version", "fault: `tls.version` is missing"),
        ("headers.nope", "fault: the header `nope` is missing"),
        ("headers[\"x-two\"]", "fault: the header `x-two` is there more than once"),
        ("query.d", "fault: the query parameter `d` is there more than once"),
        ("headers[\"x-bytes\"]", "fault: the header `x-bytes` is not UTF-8"),
    ] {
        assert_eq!(asked.ask(text), value, "{text}");
    }
    asked.identity = Some(Identity::new("alice", "key"));
    asked.tls = Some(Tls { version: "TLSv1.3", server_name: Some("shop.example".into()), client_chain: Vec::new() });
    assert_eq!(asked.ask("identity.subject + '/' + identity.proven_by"), "`alice/key`");
    assert_eq!(asked.ask("tls.version == 'TLSv1.3' && tls.server_name == host"), "true");
}

/// A caller with claims, as a token has them.
fn known() -> Asked {
    let claims = serde_json::json!({
        "sub": "alice", "tenant": "acme", "level": 3, "verified": true, "none": null,
        "groups": ["a", "b"], "one": "a", "realm": { "tier": "gold", "x.y": { "z": "deep" } }, "https://x.example/id": "7"
    });
    let serde_json::Value::Object(claims) = claims else { panic!("an object") };
    let mut asked = usual();
    asked.identity = Some(Identity::from(torana_core::identity::Facts {
        subject: "alice".into(),
        proven_by: "jwt",
        issuer: Some("https://id.example".into()),
        roles: ["admin", "support"].into_iter().collect(),
        scopes: ["read"].into_iter().collect(),
        plan: Some("gold".into()),
        claims,
        ..torana_core::identity::Facts::default()
    }));
    asked
}

#[test]
fn what_is_known_of_the_caller() {
    let asked = known();
    for (text, value) in [
        ("identity.issuer + ' ' + identity.plan", "`https://id.example gold`"),
        ("identity.consumer", "fault: `identity.consumer` is missing"),
        ("identity.claims.tenant", "`acme`"),
        ("identity.claims['https://x.example/id']", "`7`"),
        ("identity.claims.realm.tier == identity.plan", "true"),
        ("identity.claims['realm.tier']", "`gold`"),
        ("identity.claims.realm['x.y'].z", "`deep`"),
        ("int(identity.claims.level) >= 3 && identity.claims.verified == 'true'", "true"),
        ("headers['x-tenant'] == identity.claims.tenant", "true"),
        ("'admin' in identity.roles && !('owner' in identity.roles)", "true"),
        ("['owner', 'support'].exists(r, r in identity.roles)", "true"),
        ("'read' in identity.scopes || 'x' in identity.permissions", "true"),
        ("'b' in identity.claims.groups && !('c' in identity.claims.groups)", "true"),
        ("'a' in identity.claims.one && captures.id in identity.claims['https://x.example/id']", "false"),
        ("'tenant' in identity.claims && !('none' in identity.claims)", "true"),
        ("has(identity.claims.realm.tier) && !has(identity.claims.realm.no) && has(identity.roles)", "true"),
        ("size(identity.claims.tenant) == 4", "true"),
        ("identity.claims.no == 'x'", "fault: the claim `no` is missing"),
        ("identity.claims.realm.no.more == 'x'", "fault: the claim `realm.no.more` is missing"),
        ("identity.claims.none == ''", "fault: the claim `none` is missing"),
        ("identity.claims.groups == 'a'", "fault: the claim `groups` is a list or an object"),
        ("'a' in identity.claims.level", "fault: the claim `level` is not a list of texts"),
        ("!('a' in identity.claims.no)", "fault: the claim `no` is missing"),
    ] {
        assert_eq!(asked.ask(text), value, "{text}");
    }
    let anonymous = usual();
    for (text, value) in [
        ("'admin' in identity.roles", "fault: `identity.roles` is missing"),
        ("!('blocked' in identity.roles)", "fault: `identity.roles` is missing"),
        ("identity.claims.tenant == ''", "fault: the claim `tenant` is missing"),
        ("has(identity.roles) || has(identity.claims.tenant) || 'sub' in identity.claims", "false"),
    ] {
        assert_eq!(anonymous.ask(text), value, "{text}");
    }
    let expr = Expr::compile("'a' in identity.claims.groups && identity.claims.tenant == host").unwrap();
    assert!(expr.is_native() && expr.parts() == Parts::IDENTITY.with(Parts::TARGET));
}

#[test]
fn conditions() {
    let asked = usual();
    for (text, holds) in [
        ("method == 'POST' && path.startsWith(\"/items/\")", "true"),
        ("method in ['GET', 'HEAD'] || headers[\"x-tenant\"] == 'acme'", "true"),
        ("!(host == 'shop.example')", "false"),
        ("path.endsWith('17') && path.contains('ems')", "true"),
        ("path.matches('^/items/[0-9]+$')", "true"),
        ("path.matches('[a-z]+$')", "false"),
        ("'x-tenant' in headers && !('x-none' in headers) && 'page' in query", "true"),
        ("has(headers.cookie) && !has(tls.version)", "true"),
        ("'x-two' in headers", "true"),
        ("client.ip.within('10.0.0.0/8') && client.ip != '10.1.2.4'", "true"),
        ("client.ip == '::ffff:10.1.2.3'", "true"),
        ("int(headers['content-length']) > 16", "true"),
        ("int(query.page) + 1 == 3", "true"),
        ("size(path) == 9 ? true : false", "true"),
        ("['/a/', '/items/'].exists(x, path.startsWith(x))", "true"),
        ("['/items/', '17'].all(x, path.contains(x))", "true"),
        ("[].exists(x, path == x) || [].all(x, path == x)", "true"),
        ("headers['x-tenant'].upperAscii() == 'ACME'", "true"),
        ("captures.id in ['17', '18'] && captures.id == path.substring(7)", "true"),
        ("query.q == 'a b' && path < '/j'", "true"),
        ("headers['x-bytes'].startsWith('caf')", "true"),
    ] {
        assert_eq!(asked.ask(text), holds, "{text}");
    }
}

#[test]
fn a_fault_beside_what_settles_it_does_not_matter() {
    let asked = usual();
    for (text, value) in [
        ("headers.nope == 'x' || method == 'POST'", "true"),
        ("method == 'POST' || headers.nope == 'x'", "true"),
        ("headers.nope == 'x' && method == 'GET'", "false"),
        ("headers.nope == 'x' && method == 'POST'", "fault: the header `nope` is missing"),
        ("!(headers.nope == 'x')", "fault: the header `nope` is missing"),
        ("size(headers.nope) > 1 || method == 'POST'", "true"),
        ("size(headers.nope) > 1", "fault: the header `nope` is missing"),
        ("int(headers['x-tenant']) > 1 && method == 'GET'", "false"),
        ("9223372036854775807 + int(query.page) > 0 || method == 'POST'", "true"),
        ("headers['x-two'] == '1'", "fault: the header `x-two` is there more than once"),
    ] {
        assert_eq!(asked.ask(text), value, "{text}");
    }
    assert!(asked.ask("1 / (int(query.page) - 2) == 1").starts_with("fault: "));
}

#[test]
fn simple_conditions_never_enter_the_interpreter() {
    let native = |text: &str| Expr::compile(text).unwrap().is_native();
    for text in [
        "method == 'GET'",
        "'/x' == path && path.startsWith('/x')",
        "headers['a'] == 'b' || !(host != 'h')",
        "host in ['a', 'b'] && path.matches('x+')",
        "['a', 'b'].exists(x, headers.a == x)",
        "has(tls.version) && client.ip.within('10.0.0.0/8')",
        "path == captures.rest",
        "headers['x-tenant']",
    ] {
        assert!(native(text), "{text}");
    }
    for text in ["size(path) > 3", "path + 'x' == host", "method == 'GET' && int(query.n) > 2"] {
        assert!(!native(text), "{text}");
    }
}

#[test]
fn what_it_reads_is_known_beforehand() {
    let expr = Expr::compile("method == 'GET' && (size(captures.id) > 2 || captures['id'] == headers.a)").unwrap();
    assert_eq!(expr.reads().len(), 3, "{:?}", expr.reads());
    assert_eq!(expr.parts(), Parts::TARGET.with(Parts::CAPTURES).with(Parts::FIELDS));
    assert!(!expr.parts().contains(Parts::IDENTITY));
    assert_eq!(Expr::compile("size(path)").unwrap().kind(), Kind::Int);
}

#[test]
fn mistakes_are_found_when_compiling_and_shown_where_they_are() {
    for (text, offset, message, hint) in [
        ("methd == 'GET'", 0, "unknown name `methd`", "did you mean `method`?"),
        ("method == GET", 10, "unknown name `GET`", "quotes"),
        ("request.path == '/'", 0, "unknown name `request`", "leave `request.` out"),
        ("path == '/é' && hosst == 'a'", 17, "unknown name `hosst`", "`host`"),
        ("path.startWith('/')", 5, "unknown function `startWith`", "`startsWith`"),
        ("path.startsWith()", 5, "not used like this", "path.startsWith("),
        ("size(headers) > 1", 5, "one name at a time", "headers[\"name\"]"),
        ("headers[path] == 'a'", 8, "written out", ""),
        ("tls.cipher == 'a'", 3, "no field `cipher`", "`version`"),
        ("path == 1", 5, "text and a whole number do not go together", "int("),
        ("path && true", 0, "`&&` takes true or false, and this is text", ""),
        ("path.matches('(')", 13, "not a regular expression", ""),
        ("path.matches(host)", 13, "written out", ""),
        ("(path + 'x').matches('x')", 6, "as it is", "(?i)"),
        ("client.ip.within('10.0.0.1/8')", 17, "not an address or a network", "10.0.0.0/8"),
        ("client.ip == 'localhost'", 13, "not an IP address", ""),
        ("headers['a b'] == ''", 8, "not the name of a header", ""),
        ("method in ['GET', 1]", 18, "one type", ""),
        ("1 in ['GET']", 6, "looked for in a list", ""),
        ("headers.exists(h, h == 'a')", 14, "written out", "exists(x,"),
        ("{'a': 1}.a == 1", 0, "not values here", ""),
        ("path == null", 8, "`null`", "has("),
        ("path ==", 7, "not an expression", ""),
        ("path == '/a' &&\n  (method == 'x'", 32, "not an expression", ""),
        ("", 0, "is empty", ""),
        ("1.5", 0, "not a result", ""),
        ("['a']", 0, "not a result", ""),
        ("now() == 1", 0, "unknown function `now`", ""),
        ("roles == 'admin'", 0, "unknown name `roles`", "in identity.roles"),
        ("claims.sub == 'a'", 0, "unknown name `claims`", "identity.claims["),
        ("identity.claims == 'a'", 8, "one name at a time", "identity.claims["),
        ("identity.claims[path] == 'a'", 16, "written out", "identity.claims["),
        ("identity.claims.a == true", 18, "do not go together", "== \"true\""),
        ("identity.roles == 'admin'", 15, "do not go together", "in identity.roles"),
        ("identity.roles == identity.scopes", 15, "not compared", "in identity.roles"),
        ("identity.roles", 0, "is a set of names", ""),
        ("'a' in [identity.roles]", 16, "only looked into", "in identity.roles"),
        ("('a' + path) in identity.roles", 5, "written out", ""),
        ("1 in identity.roles", 0, "takes text", ""),
        ("identity.role == 'a'", 8, "no field `role`", "`identity.roles`"),
        ("path in identity.claims", 0, "written out", "identity.claims["),
    ] {
        let error = Expr::compile(text).err().unwrap_or_else(|| panic!("{text} compiles"));
        assert!(error.message.contains(message), "{text}: {error:?}");
        assert!(error.hint.contains(hint), "{text}: {error:?}");
        assert_eq!(error.offset, offset, "{text}: {error:?}");
    }
    assert!(Expr::condition("path").unwrap_err().message.contains("true or false"));
}

#[test]
fn bombs_are_refused_on_a_small_stack() {
    let deep = |open: &str, close: &str| format!("{}true{}", open.repeat(3_000), close.repeat(3_000));
    let bombs = [
        "(".repeat(4_000),
        deep("(", ")")[..4_000].to_owned(),
        "!".repeat(4_000) + "true",
        "-".repeat(4_000) + "1",
        format!("path{}", ".a".repeat(2_000)),
        format!("1{}", "+1".repeat(2_000)),
        format!("path == 'a'{}", "||path=='a'".repeat(300)),
        format!("{}true{}", "true?".repeat(400), ":true".repeat(400)),
        format!("{}1{}", "[".repeat(100), "]".repeat(100)),
        "x".repeat(5_000),
        format!("size(path{}) > 0", "+path".repeat(240)),
        format!("r'\\' == {}true{}", "(".repeat(300), ")".repeat(300)),
        {
            let list = format!("[{}1]", "1,".repeat(60));
            format!("{list}.all(a, {list}.all(b, {list}.all(c, a == b)))")
        },
    ];
    for bomb in bombs {
        assert!(Expr::compile(&bomb).is_err(), "{bomb:.40}");
    }
    // What the limits allow has to be walked, evaluated and dropped too.
    let asked = usual();
    for (text, value) in [
        (format!("{}true{}", "(".repeat(12), ")".repeat(12)), "true"),
        (format!("{}true", "!".repeat(126)), "true"),
        (format!("size(path{}) > 0", "+path".repeat(29)), "true"),
        (format!("{}size(path) > 0", "false?false:".repeat(11)), "true"),
        (format!("method == 'x'{}", "||method=='x'".repeat(30)), "false"),
        (format!("[{}1].exists(x, x == 2)", "1,".repeat(2_000)), "false"),
    ] {
        assert_eq!(asked.ask(&text), value, "{text:.40}");
    }
}

/// Conditions over a few parts, some of them missing or repeated.
fn condition() -> impl Strategy<Value = String> {
    let text = || {
        prop::sample::select(vec![
            "method",
            "path",
            "host",
            "headers.a",
            "headers['x-two']",
            "headers.nope",
            "query.p",
            "'POST'",
            "'1'",
            "'/a'",
        ])
    };
    let leaf = prop_oneof![
        (text(), prop::sample::select(vec!["==", "!="]), text()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (text(), prop::sample::select(vec!["startsWith", "endsWith", "contains"]), text())
            .prop_map(|(a, f, b)| format!("{a}.{f}({b})")),
        (text(), text(), text()).prop_map(|(a, b, c)| format!("{a} in [{b}, {c}]")),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tests_decide_as_the_interpreter_does(text in condition(), a in "[1a/]{0,2}", post in any::<bool>()) {
        let method = if post { "POST" } else { "GET" };
        let asked = Asked::new(method, "h/a?p=1", &[("a", a.as_bytes()), ("x-two", b"1"), ("x-two", b"1")]);
        let expr = Expr::compile(&text).unwrap();
        prop_assert!(expr.is_native());
        let interpreted = lower::interpreted(&read::read(&text).unwrap()).unwrap();
        let slow = interpreted.value(&asked.subject());
        match expr.evaluate(&asked.subject()) {
            Ok(value) => prop_assert_eq!(Ok(value), slow, "{}", text),
            Err(_) => prop_assert!(slow.is_err(), "{}: {:?}", text, slow),
        }
    }

    #[test]
    fn no_text_makes_compiling_panic(text in "[a-z .\"'()\\[\\]{}!=<>&|?:,+\\-*/%0-9\\\\`]{0,60}") {
        let _ = Expr::compile(&text);
    }
}
