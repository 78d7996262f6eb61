use super::*;
use torana_core::identity::Identity;
use torana_core::policy::{PolicyEntry, entry};
use torana_core::testing::{TestNames, exchange, reply, run, show_diagnostics, written};

torana_core::refusals! {
    /// Nothing was brought.
    NOTHING = "proof.missing" 401 Caller Never "Nothing.";
    /// Something wrong was brought.
    WRONG = "proof.wrong" 401 Caller Never "Wrong.";
    /// It cannot be told.
    UNKNOWN = "proof.unavailable" 503 Gateway IfSafe "Unavailable.";
}

/// Proves callers who say `right` in their header.
struct Proof {
    header: HeaderName,
    optional: bool,
    waits: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProofConfig {
    /// Test.
    header: String,
    /// Test.
    #[serde(default)]
    optional: bool,
    /// Test.
    #[serde(default)]
    waits: bool,
}

impl PolicyKind for Proof {
    const NAME: &'static str = "proof";
    const STAGE: Stage = Stage::Identify;
    type Config = ProofConfig;

    fn build(config: ProofConfig, _: &Written, _: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let header = HeaderName::new(&config.header).unwrap();
        Ok(Arc::new(Proof { header, optional: config.optional, waits: config.waits }))
    }
}

impl Policy for Proof {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let challenge = format!("Proof {}", self.header);
        let refuse = |refusal: &'static Refusal| {
            Decision::Reject(Rejection::new(refusal).with_field(KnownName::WwwAuthenticate, challenge.as_bytes()))
        };
        let decision = match exchange.head.fields.values(&self.header).next() {
            None if self.optional => Decision::Continue,
            None => refuse(&NOTHING),
            Some(b"right") => {
                exchange.identity = Some(Identity::new(self.header.as_str(), Self::NAME));
                Decision::Continue
            }
            Some(b"unknown") => refuse(&UNKNOWN),
            Some(_) => refuse(&WRONG),
        };
        if self.waits { Verdict::Wait(Box::pin(async move { decision })) } else { Verdict::Now(decision) }
    }

    fn owned_headers(&self) -> &[HeaderName] {
        std::slice::from_ref(&self.header)
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        let is_right = exchange.head.fields.values(&self.header).next() == Some(b"right");
        exchange.identity = is_right.then(|| Identity::new(self.header.as_str(), Self::NAME));
        Some(if is_right { "yes" } else { "no" }.to_owned())
    }
}

/// Proves nothing.
struct Other;

impl PolicyKind for Other {
    const NAME: &'static str = "other";
    const STAGE: Stage = Stage::Shape;
    type Config = serde_json::Value;

    fn build(_: Self::Config, _: &Written, _: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        Ok(Arc::new(Other))
    }
}

impl Policy for Other {}

const KINDS: &[PolicyEntry] = &[entry::<Proof>(), entry::<AnyOf>(), entry::<Other>()];

fn build(config: &str) -> Result<Arc<dyn Policy>, String> {
    let mut site = TestNames::new("test", "/*");
    site.policies = KINDS;
    (entry::<AnyOf>().build)(&written(config), &site).map_err(|problems| show_diagnostics(&problems))
}

fn shown(config: &str, fields: &str) -> String {
    let mut asked = exchange(&format!("GET / HTTP/1.1\nHost: a\n{fields}"));
    // Who was proven elsewhere proves nothing here.
    asked.identity = Some(Identity::new("before", "before"));
    let shown = run(&*build(config).unwrap(), &mut asked, reply("200"));
    let first = shown.lines().next().unwrap().to_owned();
    match asked.identity {
        Some(identity) if first.starts_with("GET") => format!("ok {}", identity.subject),
        Some(_) => panic!("refused and proven"),
        None => {
            let challenges = shown.lines().filter_map(|line| line.strip_prefix("www-authenticate: "));
            std::iter::once(first.as_str()).chain(challenges).collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn the_first_that_succeeds_decides_and_failing_never_passes() {
    for waits in [["false", "false"], ["true", "false"], ["false", "true"], ["true", "true"]] {
        let config = format!(
            r#"[{{ "proof": {{ "header": "x-a", "waits": {} }} }}, {{ "proof": {{ "header": "x-b", "waits": {} }} }}]"#,
            waits[0], waits[1]
        );
        for (fields, expected) in [
            ("X-A: right", "ok x-a"),
            ("X-B: right", "ok x-b"),
            ("X-A: wrong\nX-B: right", "ok x-b"),
            ("X-A: right\nX-B: wrong", "ok x-a"),
            ("X-C: right", "rejected proof.missing 401, Proof x-a, Proof x-b"),
            ("X-A: wrong", "rejected proof.wrong 401, Proof x-a, Proof x-b"),
            ("X-B: wrong", "rejected proof.wrong 401, Proof x-a, Proof x-b"),
            ("X-A: unknown", "rejected proof.unavailable 503"),
            ("X-A: wrong\nX-B: unknown", "rejected proof.unavailable 503"),
        ] {
            assert_eq!(shown(&config, fields), expected, "{fields} {waits:?}");
        }
    }
}

#[test]
fn what_is_optional_inside_proves_nothing() {
    let config = r#"[{ "proof": { "header": "x-a", "optional": true } }]"#;
    assert_eq!(shown(config, "X-C: 1"), "rejected any_of.missing 401");
    assert_eq!(shown(config, "X-A: right"), "ok x-a");
    let nested =
        r#"[{ "any_of": [{ "proof": { "header": "x-a", "optional": true } }] }, { "proof": { "header": "x-b" } }]"#;
    assert_eq!(shown(nested, "X-B: right"), "ok x-b");
    assert_eq!(shown(nested, "X-C: right"), "rejected proof.missing 401, Proof x-b");
}

#[test]
fn it_owns_what_its_members_own_and_explains_them() {
    let policy = build(r#"[{ "proof": { "header": "x-a" } }, { "proof": { "header": "x-b" } }]"#).unwrap();
    let owned: Vec<&str> = policy.owned_headers().iter().map(HeaderName::as_str).collect();
    assert_eq!(owned, ["x-a", "x-b"]);
    let explain = |fields: &str| policy.explain(&mut exchange(&format!("GET / HTTP/1.1\nHost: a\n{fields}"))).unwrap();
    assert_eq!(explain("X-B: right"), "proof: no; proof: yes");
    assert_eq!(explain("X-A: right"), "proof: yes");
}

#[test]
fn members_are_built_or_there_is_no_policy() {
    let problem = |config: &str| build(config).err().unwrap();
    assert!(problem(r#"[{ "prof": { "header": "x" } }]"#).contains("error config.unknown_policy"));
    assert!(problem(r#"[{ "proof": {} }]"#).contains("header"));
    assert!(problem(r#"["other"]"#).contains("error any_of.policy: `other` does not prove"));
    assert!(problem("[]").contains("error"));
}
