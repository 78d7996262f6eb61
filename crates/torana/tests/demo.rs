//! What `torana demo` prints works as printed.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Gateway, torana};

/// How the explanation of each line begins, and what shows that the line did
/// what it says.
const EXPECTED: &[(&str, &[&str])] = &[
    ("without a token", &["HTTP/1.1 401 ", "No token provided", "www-authenticate: Bearer"]),
    ("with one", &["HTTP/1.1 200 ", r#"{"id":7,"email":"grace@shop.example","name":"Grace Hopper"}"#]),
    ("(the same", &[r#""name":"Radia Perlman""#, r#""name":"Barbara Liskov""#]),
    ("a token that has expired", &["HTTP/1.1 401 ", "Invalid token"]),
    ("a token that somebody else", &["HTTP/1.1 401 ", "Invalid token"]),
    ("a good token of a customer", &["HTTP/1.1 403 ", "authorize.denied"]),
    ("a forged X-User-Id", &[r#""customer":"7""#]),
    ("an API key", &["HTTP/1.1 200 ", "x-ratelimit-limit: 1000"]),
    ("everybody else", &["HTTP/1.1 200 ", "x-ratelimit-limit: 100\r"]),
    ("a body goes through", &["HTTP/1.1 201 ", r#""count":3"#, "accepted"]),
    ("110 at once", &["100 200\n", " 429\n"]),
    ("…and what the 429", &["HTTP/1.1 429 ", "retry-after: ", "rate_limit.exceeded"]),
    ("asked twice", &["x-cache: HIT", "kettle"]),
    ("drop what is kept", &["\"purged\""]),
    ("one answer of four", &["HTTP/1.1 200 ", r#""recentOrders":[{"id":1"#, r#""ships_to":"us""#, r#""balance":12.5"#]),
    ("the same for mobile", &[r#"{"name":"Grace","orders":[{"id":1,"state":"shipped"}"#]),
    ("nobody answers", &["HTTP/1.1 200 ", "x-torana-partial: balance\r", r#""balance":null"#, r#""code":"timeout""#]),
    ("without its required part", &["HTTP/1.1 404 ", "aggregate.part_failed"]),
    ("somebody else's dashboard", &["HTTP/1.1 403 ", "authorize.denied"]),
    ("paid twice", &["HTTP/1.1 201 ", "idempotency-replayed: true", r#""by":"7""#]),
    ("a browser asks", &["HTTP/1.1 20", "access-control-allow-origin: https://shop.example"]),
    ("a stream of events", &["\"orders_left\":4", "\"orders_left\":0"]),
    ("nothing there", &["HTTP/1.1 404 ", "route.not_found"]),
    ("wrong method", &["HTTP/1.1 405 ", "allow: GET"]),
    ("ways out of a path", &["HTTP/1.1 400 "]),
    ("HTTP/2", &["HTTP/2 200", r#"{"status":"ok"}"#]),
    ("why does a request", &["route `users`", "the caller is `2`", "allows it"]),
    ("metrics", &["gateway_request_duration_seconds_count{", "/api/users/*"]),
    ("which routes", &["\"name\": \"dashboard\""]),
    ("edit ", &["\"revision\": 2"]),
    ("every request", &["\"path\":"]),
    ("vouchers", &["the voucher machine is jammed", "Payments are being looked after"]),
    ("the breaker is open", &["\"phase\": \"open\""]),
];

/// What a line must not say, by the same words.
const UNEXPECTED: &[(&str, &str)] = &[("a forged X-User-Id", r#""customer":"1""#), ("the same for mobile", "balance")];

#[test]
fn every_printed_line_works() {
    Command::new("curl").arg("--version").output().expect("curl is installed (Debian: curl)");
    let mut demo = Gateway::start(torana().args(["demo", "--port", "0", "--admin-port", "0"]).stdout(Stdio::piped()));
    let mut printed = BufReader::new(demo.take_stdout()).lines().map_while(Result::ok);
    let printed: Vec<_> = printed.by_ref().take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let lines: Vec<_> = printed
        .windows(2)
        .filter_map(|pair| Some((pair[0].strip_prefix("  # ")?, pair[1].strip_prefix("  ")?)))
        .collect();
    assert_eq!(lines.len(), EXPECTED.len(), "{lines:#?}");
    for ((why, line), (begin, expected)) in lines.iter().zip(EXPECTED) {
        assert!(why.starts_with(begin), "`{why}` stands where `{begin}` should");
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
        for expected in *expected {
            assert!(text.contains(expected), "{why}:\n{line}\nshould say {expected}:\n{text}");
        }
        if let Some((_, unexpected)) = UNEXPECTED.iter().find(|(begin, _)| why.starts_with(begin)) {
            assert!(!text.contains(unexpected), "{why}:\n{line}\nshould not say {unexpected}:\n{text}");
        }
    }
    demo.signal(rustix::process::Signal::INT);
    assert_eq!(demo.exit_code(), Some(0));
}

#[test]
fn what_runs_is_the_example_and_its_secrets_are_new() {
    let secret = || {
        let mut demo = Gateway::start(
            torana().args(["demo", "--port", "0", "--admin-port", "0", "--no-traffic"]).stdout(Stdio::piped()),
        );
        let mut printed = BufReader::new(demo.take_stdout()).lines().map_while(Result::ok);
        let line = printed.find(|line| line.contains(" explain ")).unwrap();
        let config = Path::new(line.split(' ').find(|word| word.ends_with(".yaml")).unwrap());
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/microservices.yaml");
        assert_eq!(std::fs::read_to_string(config).unwrap(), std::fs::read_to_string(example).unwrap());
        let variables = std::fs::read_to_string(config.with_file_name("env")).unwrap();
        let secret = variables.lines().find_map(|line| line.strip_prefix("export JWT_SECRET=")).unwrap();
        assert!(secret.len() >= 32, "{secret}");
        secret.to_owned()
    };
    assert_ne!(secret(), secret());
}

#[test]
fn it_ends_by_itself_and_leaves_nothing() {
    let started = std::time::Instant::now();
    let output = torana()
        .args(["demo", "--port", "0", "--admin-port", "0", "--no-traffic", "--exit-after", "200ms"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config = text.split(' ').find(|word| word.ends_with(".yaml")).unwrap();
    assert!(!Path::new(config).exists());
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_taken_port_is_said_and_avoided() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = torana()
        .args(["demo", "--port", &port, "--admin-port", "0", "--no-traffic", "--exit-after", "10ms"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.contains(&format!("port {port} is in use")), "{text}");
}
