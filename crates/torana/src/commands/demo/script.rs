//! What to try with the demo.

use super::Directory;
use super::people::{ADA, EAGER, GRACE, Login, PRINTED};
use std::fmt::Write;
use std::io;
use std::path::Path;

/// What is printed.
pub(super) struct Script {
    /// What stands in the lines for what is running.
    names: [(&'static str, String); 11],
}

/// What to try: why, and the line. What is in braces is in [`Script::new`].
/// Tests run every one of them, in this order.
const LINES: &[(&str, &str)] = &[
    ("without a token: 401 `No token provided`", "curl -i {gw}/api/users/7"),
    (
        "with one: Ada's, an admin; the service's fields have other names here",
        "curl -i -H 'Authorization: Bearer {token}' {gw}/api/users/7",
    ),
    ("(the same, short: curl reads headers from files)", "curl -H @{ada} {gw}/api/users"),
    ("a token that has expired: 401 `Invalid token`, the log knows why", "curl -i -H @{dir}/expired {gw}/api/users/7"),
    ("a token that somebody else signed: 401", "curl -i -H @{dir}/forged {gw}/api/users/7"),
    ("a good token of a customer, who may not see users: 403", "curl -i -H @{grace} {gw}/api/users/7"),
    (
        "a forged X-User-Id does not reach the service: it sees customer 7, not 1",
        "curl -H @{grace} -H 'X-User-Id: 1' {gw}/api/orders",
    ),
    (
        "an API key instead of a token, with the plan `gold`: 1000 a minute",
        "curl -i -H 'X-API-Key: {key}' {gw}/api/orders",
    ),
    ("everybody else: 100 an hour, as the headers say", "curl -i -H @{grace} {gw}/api/orders/42"),
    (
        "a body goes through",
        "curl -i -H @{grace} -H 'Content-Type: application/json' -d '{\"sku\":\"sku-2\",\"count\":3}' {gw}/api/orders",
    ),
    (
        "110 at once, of a customer of their own: 100 times 200, then 429",
        "curl -s -o /dev/null -w '%{http_code}\\n' -H @{dir}/eager '{gw}/api/orders/[1-110]' | sort | uniq -c",
    ),
    ("…and what the 429 says: Retry-After", "curl -i -H @{dir}/eager {gw}/api/orders/1"),
    (
        "asked twice, answered once by the service: X-Cache: HIT",
        "curl -si {gw}/api/products/sku-1 {gw}/api/products/sku-1",
    ),
    ("drop what is kept of the products", "curl -d '{ \"prefix\": \"{gw}/api/products\" }' {admin}/cache/purge"),
    ("one answer of four services", "curl -i -H @{grace} {gw}/api/dashboard/7"),
    (
        "the same for mobile clients: less, from fewer services",
        "curl -H @{grace} -H 'X-Client: mobile' {gw}/api/dashboard/7",
    ),
    (
        "nobody answers for the balance of 13: 200 without it, after half a second, and X-Torana-Partial says so",
        "curl -i -H @{ada} {gw}/api/dashboard/13",
    ),
    ("without its required part there is no answer: 404", "curl -i -H @{ada} {gw}/api/dashboard/nobody"),
    ("somebody else's dashboard: 403", "curl -i -H @{grace} {gw}/api/dashboard/8"),
    (
        "paid twice by accident, done once: Idempotency-Replayed",
        "curl -si -H @{grace} -H 'Idempotency-Key: order-42' -H 'Content-Type: application/json' \
         -d '{\"amount\":5,\"with\":\"card\"}' {gw}/api/payments {gw}/api/payments",
    ),
    (
        "a browser asks whether a page of the shop may call: yes, no token needed",
        "curl -i -X OPTIONS -H 'Origin: https://shop.example' -H 'Access-Control-Request-Method: GET' {gw}/api/users/7",
    ),
    ("a stream of events, as they happen", "curl -N -H @{grace} {gw}/api/orders/events"),
    ("nothing there: 404, as RFC 9457 has it", "curl -i {gw}/api/nothing"),
    ("wrong method: 405 says which are right", "curl -i -X DELETE {gw}/api/products/sku-1"),
    ("ways out of a path are refused: 400", "curl -i --path-as-is {gw}/api/products/..%2f..%2fpayments"),
    ("HTTP/2 without TLS", "curl -i --http2-prior-knowledge {gw}/health"),
    (
        "why does a request go where it goes, and would it be let in?",
        "(. {env}; {torana} explain {config} GET /api/users/7 -H \"$(cat {ada})\")",
    ),
    ("metrics for Prometheus", "curl -s {admin}/metrics | grep '^gateway_request_duration_seconds_count'"),
    ("which routes there are", "curl {admin}/routes"),
    ("edit {config} and save: it is in force at once; or ask for it", "curl -X POST {admin}/reload"),
    ("every request", "tail -n 3 {log}"),
    (
        "vouchers are broken on purpose: after ten or so the breaker spares the service, and the fallback answers",
        "curl -s -H @{grace} -H 'Content-Type: application/json' -d '{\"amount\":5,\"with\":\"voucher\"}' \
         '{gw}/api/payments?try=[1-40]' -w '\\n' | grep . | sort | uniq -c",
    ),
    ("the breaker is open, for half a minute", "curl -s {admin}/upstreams | grep -A 1 '\"phase\"'"),
];

impl Script {
    /// Writes what the lines read, too.
    pub(super) fn new(
        directory: &Directory,
        gateway: &str,
        admin: &str,
        login: &Login,
        key: &str,
    ) -> io::Result<Script> {
        let token = login.token(ADA, PRINTED);
        let header = |name: &str, token: &str| {
            let path = directory.0.join(name);
            std::fs::write(&path, format!("Authorization: Bearer {token}\n"))?;
            Ok::<_, io::Error>(shown(&path))
        };
        header("expired", &login.expired(ADA))?;
        header("forged", &Login::new()?.token(ADA, PRINTED))?;
        header("eager", &login.token(EAGER, PRINTED))?;
        let names = [
            ("{gw}", format!("http://{gateway}")),
            ("{admin}", format!("http://{admin}")),
            ("{torana}", std::env::current_exe().map_or_else(|_| "torana".to_owned(), |path| shown(&path))),
            ("{config}", shown(&directory.config())),
            ("{env}", shown(&directory.variables())),
            ("{log}", shown(&directory.access_log())),
            ("{dir}", shown(&directory.0)),
            ("{ada}", header("ada", &token)?),
            ("{grace}", header("grace", &login.token(GRACE, PRINTED))?),
            ("{key}", key.to_owned()),
            ("{token}", token),
        ];
        Ok(Script { names })
    }

    /// The lines.
    pub(super) fn lines(&self) -> String {
        let mut out = String::from("\nTry:\n");
        for (why, line) in LINES {
            // Writing to a String cannot fail.
            let _ = write!(out, "\n  # {}\n  {}\n", self.filled(why), self.filled(line));
        }
        out.push_str("\nCtrl-C ends the demo.\n\n");
        out
    }

    fn filled(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

fn shown(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// Text as a shell takes it for one word.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:+@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_stays_one_word_in_a_shell() {
        for (text, expected) in
            [("/tmp/a-1", "/tmp/a-1"), ("/tmp/my dir", "'/tmp/my dir'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(text), expected);
        }
    }
}
