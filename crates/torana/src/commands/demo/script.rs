//! The demo's configuration, and what to try with it.

use super::services::Services;
use std::fmt::Write;
use std::path::Path;

/// What the demo shows.
pub(super) struct Script {
    /// Text of `torana.yaml`.
    pub(super) config: String,
    /// What is printed.
    pub(super) lines: String,
    /// `127.0.0.1:8080`.
    pub(super) gateway: String,
}

impl Script {
    pub(super) fn new(directory: &Path, port: u16, admin: u16, services: &Services) -> Script {
        let config = CONFIG
            .replace("{port}", &port.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{users}", &services.users.to_string())
            .replace("{orders}", &services.orders.to_string())
            .replace("{products}", &services.products.to_string())
            .replace("{payments}", &services.payments.to_string());
        Script { config, lines: lines(directory, port, admin), gateway: format!("127.0.0.1:{port}") }
    }
}

const CONFIG: &str = r#"# What `torana demo` runs. Change it: the gateway takes it up at once.
listeners:
  - address: 127.0.0.1:{port}
admin: { address: 127.0.0.1:{admin} }
access_log: { output: access.log }
shutdown: { drain_timeout: 2s }

upstreams:
  users: { endpoints: [ "http://{users}" ] }
  orders: { endpoints: [ "http://{orders}" ] }
  products: { endpoints: [ "http://{products}" ] }
  payments: { endpoints: [ "http://{payments}" ], timeout: 1s }

routes:
  - name: users
    match: { path: /api/users/*, methods: GET }
    upstream: users
    rewrite: { strip_prefix: /api }
  - name: users-v2
    match: { path: /api/users/*, methods: GET, headers: { x-api-version: v2 } }
    respond: { json: { version: 2, message: "users are on holiday until the next release" } }
  - name: orders
    match: { path: /api/orders/*, methods: [ GET, POST ] }
    upstream: orders
    rewrite: { strip_prefix: /api }
  - name: products
    match: { path: /api/products/* }
    policies: [ headers: { response: { set: { cache-control: "max-age=60" } } } ]
    upstream: products
    rewrite: { strip_prefix: /api }
  - name: shop
    match: { path: "/shop/{category}/items/{sku}" }
    upstream: products
    rewrite: { path: "/products/{sku}" }
  - name: payments
    match: { path: /api/payments/*, methods: [ GET, POST ] }
    upstream: payments
    rewrite: { strip_prefix: /api }
  - name: dashboard
    match: { path: "/api/dashboard/{userId}", methods: GET }
    aggregate:
      parts:
        user: { upstream: users, path: "/users/{userId}", required: true, pass_status: 404 }
        orders: { upstream: orders, path: "/orders?customerId={userId}", default: [] }
        product: { upstream: products, path: "/products/{orders.0.sku}" }
        payment: { upstream: payments, path: "/payments/{userId}", select: .state, default: unknown, timeout: 300ms }
      response: "{user: .user.name, orders, lastProduct: .product.name, payment}"
      variants:
        mobile:
          when: headers["x-client"] == "mobile"
          without: [ product, payment ]
          response: "{user: .user.name, orderCount: (.orders | length)}"
  - name: old
    match: { path: /v1/* }
    redirect: { to: "/api/{rest}" }
  - name: ping
    match: { path: /ping }
    respond: { body: pong }
"#;

/// What to try: why, and the line. `{gw}`, `{admin}`, `{torana}`, `{config}`
/// and `{log}` stand for what is running. Tests run every one of them.
const LINES: &[(&str, &str)] = &[
    ("routing: this goes to `users`", "curl {gw}/api/users/7"),
    ("path parameters, rewritten to /products/sku-2", "curl {gw}/shop/books/items/sku-2"),
    ("a header decides: `users-v2` is more specific", "curl -H 'x-api-version: v2' {gw}/api/users/7"),
    (
        "a body goes through",
        "curl -H 'content-type: application/json' -d '{\"sku\":\"sku-2\",\"count\":3}' {gw}/api/orders",
    ),
    ("a redirect, followed", "curl -iL {gw}/v1/products/sku-1"),
    ("nothing there: 404, as RFC 9457 has it", "curl -i {gw}/api/nothing"),
    ("wrong method: 405 says which are right", "curl -i -X DELETE {gw}/api/users/7"),
    ("ways out of a path are refused", "curl -i --path-as-is {gw}/api/users/..%2f..%2fpayments"),
    ("`payments` fails and dawdles on purpose: try it a few times", "curl -i -d '{\"amount\":5}' {gw}/api/payments"),
    (
        "one answer of four services; try until `payments` fails, and its default says so",
        "curl -i {gw}/api/dashboard/7",
    ),
    ("the same for mobile clients: less, from fewer services", "curl -H 'x-client: mobile' {gw}/api/dashboard/7"),
    ("without its required part there is no answer", "curl -i {gw}/api/dashboard/nobody"),
    ("a stream of events, as they happen", "curl -N {gw}/api/orders/events"),
    ("HTTP/2 without TLS", "curl -i --http2-prior-knowledge {gw}/ping"),
    ("why does a request go where it goes?", "{torana} explain {config} GET /api/users/7 -H 'x-api-version: v2'"),
    ("metrics for Prometheus", "curl {admin}/metrics"),
    ("what is running", "curl {admin}/routes"),
    ("edit the file and save: it is in force at once; or ask for it", "curl -X POST {admin}/reload"),
    ("every request", "tail -n 3 {log}"),
];

fn lines(directory: &Path, port: u16, admin: u16) -> String {
    let torana = std::env::current_exe().map_or_else(|_| "torana".to_owned(), |path| path.display().to_string());
    let mut out = String::from("\nTry:\n");
    for (why, line) in LINES {
        let line = line
            .replace("{gw}", &format!("http://127.0.0.1:{port}"))
            .replace("{admin}", &format!("http://127.0.0.1:{admin}"))
            .replace("{torana}", &torana)
            .replace("{config}", &directory.join("torana.yaml").display().to_string())
            .replace("{log}", &directory.join("access.log").display().to_string());
        // Writing to a String cannot fail.
        let _ = write!(out, "\n  # {why}\n  {line}\n");
    }
    out.push_str("\nCtrl-C ends the demo.\n\n");
    out
}
