//! What is measured, and the figure torana must reach.

/// One scenario of `cargo xtask bench`.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    /// Highest accepted value for torana, in the scenario's own unit (see [`Kind`]).
    pub(super) goal: Option<f64>,
    pub(super) by_default: bool,
}

/// How a scenario is measured.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// CPU per request; the goal is a ratio to nginx.
    Load(Load),
    /// Memory with idle connections; the goal is in MB.
    Idle,
    /// Spawn to the first proxied reply; the goal is in milliseconds.
    Start,
    /// Size of the executable; the goal is in MB.
    Binary,
}

/// One window of load.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) tool: Tool,
    pub(super) tls: bool,
    /// Path behind the route, see `origin`.
    pub(super) path: &'static str,
    pub(super) connections: u32,
    /// Lua that wrk runs, for requests that are not all alike.
    pub(super) script: Option<String>,
    /// Requests that reach the origin for each of the client's. Where none do, the client's are counted.
    pub(super) per_request: u32,
    /// So many requests count as one.
    pub(super) together: u32,
}

/// Who produces the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// wrk, GET on keep-alive connections.
    Get,
    /// wrk, POST of this many bytes.
    Post(u32),
    /// wrk with `Connection: close`: every request opens a connection.
    Churn,
    /// h2load over HTTP/2 with this many streams per connection.
    Http2(u32),
    /// h2load over HTTP/1.1 at this many requests per second in total.
    Rate(u32),
}

fn load(tool: Tool, tls: bool, path: &'static str, connections: u32) -> Kind {
    Kind::Load(Load { tool, tls, path, connections, script: None, per_request: 1, together: 1 })
}

/// All scenarios, in the order they run.
pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, title, kind, goal| Scenario { name, title, kind, goal, by_default: true };
    vec![
        scenario(
            "get",
            "small GET: 1 KB JSON, keep-alive, 64 connections",
            load(Tool::Get, false, "json", 64),
            Some(0.80),
        ),
        scenario(
            "tls",
            "the same over TLS 1.3 (ECDSA P-256), established connections",
            load(Tool::Get, true, "json", 64),
            Some(0.75),
        ),
        scenario(
            "post",
            "POST of 10 KB, 1 KB reply, 64 connections",
            load(Tool::Post(10 * 1024), false, "json", 64),
            Some(0.80),
        ),
        scenario("big", "100 KB reply, 64 connections", load(Tool::Get, false, "big", 64), Some(0.90)),
        scenario(
            "h2",
            "HTTP/2 over TLS, 8 connections of 32 streams, 1 KB JSON",
            load(Tool::Http2(32), true, "json", 8),
            Some(0.90),
        ),
        scenario(
            "churn",
            "new connection per request, 64 at a time, 1 KB JSON",
            load(Tool::Churn, false, "json", 64),
            Some(0.90),
        ),
        Scenario {
            by_default: false,
            ..scenario(
                "fixed",
                "2 000 requests/s on 32 connections, 1 KB JSON",
                load(Tool::Rate(2000), false, "json", 32),
                None,
            )
        },
        scenario("idle", "memory with idle connections, each after one request", Kind::Idle, Some(35.0)),
        scenario("start", "start to first proxied reply", Kind::Start, Some(50.0)),
        scenario("binary", "size of the executable, without shared libraries", Kind::Binary, Some(40.0)),
    ]
}
