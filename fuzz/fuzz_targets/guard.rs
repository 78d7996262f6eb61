//! What strangers send to the policies that look into bodies: XML, JSON to be checked, values that may be attacks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torana_core::testing::{TestNames, exchange, reply, run, written};
use torana_policies::REGISTRY;

const CONFIGS: [(&str, &str); 5] = [
    ("transform", r#"{ "request": { "from": "xml", "force": true }, "response": { "to": "xml", "force": true } }"#),
    ("transform", r#"{ "request": { "to": "xml", "force": true }, "response": { "from": "xml", "force": true } }"#),
    (
        "validate",
        r#"{ "body": { "type": "object", "properties": { "a": { "pattern": "^a+$", "format": "email" } } } }"#,
    ),
    ("redact", r#"{ "request": { "remove": ["/**/a", "/b/*/c"], "mask": "/*/d" } }"#),
    ("injection_guard", "{}"),
];

fuzz_target!(|input: &[u8]| {
    // What is done aside would not be ready, and is the same code.
    if input.len() > 16 * 1024 {
        return;
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    for (name, config) in CONFIGS {
        let Some(entry) = REGISTRY.iter().find(|entry| entry.name == name) else { continue };
        let names = TestNames::new("fuzz", "/*").counting(entry.events);
        let Ok(policy) = (entry.build)(&written(config), &names) else { continue };
        let mut exchange = exchange("POST / HTTP/1.1\nHost: a\nContent-Type: application/json");
        exchange.body = text.as_bytes().to_vec().into();
        let mut upstream = reply("200\nContent-Type: application/json");
        upstream.body = text.as_bytes().to_vec().into();
        let _ = run(&*policy, &mut exchange, upstream);
    }
});
