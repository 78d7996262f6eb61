//! What `torana demo` prints works as printed.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use support::{Gateway, torana};

/// What shows that a line did what it says, by a part of the line.
const EXPECTED: &[(&str, &str)] = &[
    ("/api/users/7", "\"id\":7"),
    ("/shop/books", "\"sku\":\"sku-2\""),
    ("x-api-version: v2' http", "\"version\":2"),
    ("\"count\":3", "accepted"),
    ("/v1/products", "308 Permanent Redirect"),
    ("/api/nothing", "route.not_found"),
    ("-X DELETE", "allow: GET"),
    ("--path-as-is", "400 Bad Request"),
    ("/api/payments", "HTTP/1.1 "),
    ("/api/dashboard/7", "\"lastProduct\":\"book\""),
    ("x-client: mobile", "{\"user\":\"Barbara\",\"orderCount\":1}"),
    ("/api/dashboard/nobody", "aggregate.part_failed"),
    ("/api/orders/events", "\"orders_left\":0"),
    ("--http2-prior-knowledge", "HTTP/2 200"),
    (" explain ", "users-v2"),
    ("/metrics", "gateway_request_duration_seconds"),
    ("/routes", "\"name\": \"users\""),
    ("/reload", "\"revision\": 2"),
    ("tail ", "\"path\":"),
];

#[test]
fn every_printed_line_works() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let mut demo = Gateway::start(torana().args(["demo", "--port", "0", "--admin-port", "0"]).stdout(Stdio::piped()));
    let mut printed = BufReader::new(demo.take_stdout()).lines().map_while(Result::ok);
    let mut lines = Vec::new();
    for line in printed.by_ref().take_while(|line| !line.starts_with("Ctrl-C")) {
        if let Some(command) = line.strip_prefix("  ").filter(|line| !line.starts_with('#')) {
            lines.push(command.to_owned());
        }
    }
    assert!(lines.len() >= 8, "{lines:?}");
    for line in &lines {
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
        // The last that fits: parts of lines are parts of longer ones.
        let (_, expected) = EXPECTED.iter().rev().find(|(part, _)| line.contains(part)).expect("every line is known");
        assert!(text.contains(expected), "{line}\nshould say {expected}:\n{text}");
    }
    demo.signal(rustix::process::Signal::INT);
    assert_eq!(demo.exit_code(), Some(0));
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
    let config = text.split(' ').find(|word| word.ends_with("torana.yaml")).unwrap();
    assert!(!std::path::Path::new(config).exists());
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
