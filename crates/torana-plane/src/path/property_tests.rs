//! The architecture's invariants (a) and (b).

use crate::testing::Gateway;
use proptest::prelude::*;

const CONFIG: &str = r#"{
    "upstreams": { "u": { "endpoints": ["http://127.0.0.1:1"] } },
    "routes": [
        { "name": "all", "upstream": "u" },
        { "name": "user", "match": { "path": "/users/{id}" }, "upstream": "u", "policies": [ { "early": { "id": "p", "owns": ["x-user-id"] } } ] },
        { "name": "moved", "match": { "path": "/moved/*" }, "upstream": "u", "rewrite": { "replace_prefix": "/deep/er" } },
        { "name": "shape", "match": { "path": "/shape/{a}/{b}" }, "upstream": "u", "rewrite": { "path": "/in/{a}{b}/x" } }
    ]
}"#;

thread_local! {
    static GATEWAY: Gateway = Gateway::new(CONFIG);
}

const OWNED: [&str; 10] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-real-ip",
    "forwarded",
    "x-request-id",
    "x-user-id",
];

/// `name` with letters in some case and hyphens perhaps as underscores.
fn spelling(name: &str, seed: u64) -> String {
    let mut bits = seed;
    let mut next = || {
        bits = bits.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits >> 63 == 1
    };
    let underscores = seed.is_multiple_of(4);
    name.chars()
        .map(|c| match c {
            '-' if underscores && next() => '_',
            c if next() => c.to_ascii_uppercase(),
            c => c,
        })
        .collect()
}

fn header() -> impl Strategy<Value = (String, String)> {
    let owned = (0..OWNED.len(), any::<u64>(), "forged[0-9]{1,3}")
        .prop_map(|(n, seed, value)| (spelling(OWNED[n], seed), value));
    let nominating = (0..OWNED.len(), any::<u64>())
        .prop_map(|(n, seed)| (spelling("connection", seed | 1), format!("close, {}", spelling(OWNED[n], seed >> 3))));
    let other = ("x-[a-z]{1,6}", "[a-z]{0,5}");
    prop_oneof![4 => owned, 1 => nominating, 1 => other]
}

/// Names as a CGI-like server would fold them.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// (b): whatever a client sends under a name the gateway owns, in any
    /// spelling, on any route, never reaches an upstream.
    #[test]
    fn the_gateway_owns_its_headers(headers in proptest::collection::vec(header(), 0..12), route in 0..3usize) {
        let path = ["/", "/users/7", "/moved/x"][route];
        let lines: String = headers.iter().map(|(name, value)| format!("\n{name}: {value}")).collect();
        let seen = GATEWAY.with(|gateway| gateway.send(&format!("GET {path} HTTP/1.1\nHost: a.example{lines}")));
        let Some(sent) = &seen.sent else {
            prop_assert_eq!(seen.code(), "header.owned_spelling");
            prop_assert!(headers.iter().any(|(name, _)| name.contains('_')));
            return Ok(());
        };
        prop_assert!(!sent.contains("forged"), "{}", sent);
        let names: Vec<String> = sent.lines().skip(1).filter_map(|l| l.split_once(": ")).map(|(n, _)| folded(n)).collect();
        for (name, count) in [("x-forwarded-for", 1), ("x-forwarded-proto", 1), ("x-forwarded-host", 1), ("x-forwarded-port", 1), ("x-request-id", 1),
            ("x-real-ip", 0), ("forwarded", 0), ("x-forwarded-prefix", 0), ("x-user-id", 0), ("connection", 0), ("traceparent", 1)] {
            prop_assert_eq!(names.iter().filter(|n| *n == name).count(), count, "{}: {}", name, sent);
        }
        prop_assert_eq!(seen.sent_headers("x-forwarded-for"), ["192.0.2.1"]);
    }

    /// (a): what was matched, judged, logged and forwarded is one value.
    #[test]
    fn one_path_for_all(path in "(/(users|moved|shape|%2e|%2E%2e|[.]{1,2}|[a-z.%;\\\\]{0,4}|%[0-9a-f]{2}|)){1,5}") {
        let seen = GATEWAY.with(|gateway| gateway.send(&format!("GET {path} HTTP/1.1\nHost: a")));
        let Some(sent) = &seen.sent else {
            prop_assert!(seen.status() == 400, "{path}: {}", seen.status());
            return Ok(());
        };
        let forwarded = sent.lines().next().and_then(|line| line.strip_prefix("u: GET ")).unwrap_or_default();
        let logged = seen.log["path"].as_str().unwrap_or_default();
        let mut canonical = String::new();
        prop_assert!(torana_core::canonical::canonical_path(path.as_bytes(), &mut canonical).is_ok());
        prop_assert_eq!(logged, &canonical);
        match seen.log["route"].as_str() {
            Some("all") => prop_assert_eq!(forwarded, logged),
            Some("user") => {
                prop_assert_eq!(forwarded, logged);
                prop_assert_eq!(&seen.events[0], &format!("p request {logged}"));
            }
            Some("moved") => prop_assert_eq!(forwarded, logged.replacen("/moved", "/deep/er", 1)),
            Some("shape") => {
                prop_assert!(forwarded.starts_with("/in/") && !forwarded.contains("/../"), "{}", forwarded);
                let mut again = String::new();
                prop_assert!(torana_core::canonical::canonical_path(forwarded.as_bytes(), &mut again).is_ok());
                prop_assert_eq!(&again, forwarded);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
