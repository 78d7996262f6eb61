use super::exposition::render;
use super::*;
use crate::plan::Route;
use crate::testing::{Gateway, plan};
use std::time::Duration;
use torana_core::head::{Method, Status};
use torana_net::service::ConnectionEvent;

fn many_routes(count: usize) -> String {
    let routes: Vec<String> = (0..count)
        .map(|n| format!(r#"{{ "name": "route-{n}", "match": {{ "path": "/service-{n}/*" }}, "respond": {{}} }}"#))
        .collect();
    format!(r#"{{ "routes": [ {} ] }}"#, routes.join(","))
}

#[test]
fn workers_are_summed_and_the_text_is_prometheus() {
    let metrics = Metrics::new();
    let mut plan =
        plan(r#"{ "routes": [ { "name": "a", "match": { "path": "/x/*" }, "respond": {} } ] }"#, None).unwrap();
    // No configuration has such a name: labels are escaped all the same.
    Arc::get_mut(&mut Arc::get_mut(&mut plan.routes).unwrap()[0]).unwrap().series =
        exposition::route_labels("a\"b", "/x/*");
    metrics.plan_in_force(&plan);
    let route: &Route = &plan.routes[0];
    for _ in 0..2 {
        let worker = metrics.add_worker();
        worker.route(route).observe(Method::Get, Status::OK, Duration::from_millis(2), 10, 20);
        worker.route(route).observe(Method::Get, Status::NOT_FOUND, Duration::from_secs(3600), 0, 1);
        worker.unrouted().observe(Method::Extension, Status::NOT_FOUND, Duration::ZERO, 0, 0);
        worker.refused("route.not_found");
        worker.connection(ConnectionEvent::Opened);
        worker.connection(ConnectionEvent::Opened);
        worker.connection(ConnectionEvent::Closed);
        worker.connection(ConnectionEvent::Limited("limit.connections"));
        worker.log_lines_dropped(5);
    }
    metrics.admin_refused("admin.host");
    metrics.pinned(true);
    let text = render(&metrics.snapshot());
    for line in [
        r#"gateway_request_duration_seconds_bucket{route="a\"b",path="/x/*",method="GET",status="2xx",le="0.001"} 0"#,
        r#"gateway_request_duration_seconds_bucket{route="a\"b",path="/x/*",method="GET",status="2xx",le="0.002"} 2"#,
        r#"gateway_request_duration_seconds_bucket{route="a\"b",path="/x/*",method="GET",status="2xx",le="+Inf"} 2"#,
        r#"gateway_request_duration_seconds_sum{route="a\"b",path="/x/*",method="GET",status="2xx"} 0.004000"#,
        r#"gateway_request_duration_seconds_bucket{route="a\"b",path="/x/*",method="GET",status="4xx",le="60"} 0"#,
        r#"gateway_request_duration_seconds_count{route="a\"b",path="/x/*",method="GET",status="4xx"} 2"#,
        r#"gateway_request_duration_seconds_count{route="_unmatched",path="",method="_OTHER",status="4xx"} 2"#,
        r#"gateway_request_body_bytes_total{route="a\"b",path="/x/*"} 20"#,
        r#"gateway_response_body_bytes_total{route="a\"b",path="/x/*"} 42"#,
        r#"gateway_refusals_total{code="route.not_found"} 2"#,
        "gateway_connections 2",
        "gateway_connections_accepted_total 4",
        r#"gateway_connections_limited_total{code="limit.connections"} 2"#,
        r#"gateway_config_info{checksum="abc"} 1"#,
        "gateway_config_revision 1",
        "gateway_config_pinned 1",
        r#"gateway_admin_refusals_total{code="admin.host"} 1"#,
        "gateway_access_log_lines_dropped_total 10",
        "gateway_workers 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n\n{text}");
    }
    for metric in names::ALL {
        assert_eq!(text.matches(&format!("# TYPE {} {}\n", metric.name, metric.kind)).count(), 1, "{}", metric.name);
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn reloads_are_counted_and_removed_routes_forgotten() {
    let gateway = Gateway::new(&many_routes(2));
    gateway.metrics.plan_in_force(&gateway.cell.load());
    gateway.send("GET /service-0/ HTTP/1.1\nHost: a");
    gateway.send("GET /service-1/ HTTP/1.1\nHost: a");
    assert_eq!(gateway.metrics.snapshot().reloads, 0);
    gateway.cell.swap(plan(&many_routes(1), Some(&gateway.cell.load())).unwrap());
    gateway.metrics.plan_in_force(&gateway.cell.load());
    gateway.metrics.reload_failed();
    gateway.send("GET /service-0/ HTTP/1.1\nHost: a");
    let snapshot = gateway.metrics.snapshot();
    assert_eq!((snapshot.reloads, snapshot.failed_reloads, snapshot.plan.revision), (1, 1, 2));
    let counts: Vec<(&str, u64)> =
        snapshot.routes.iter().flat_map(|r| r.durations.iter().map(|(_, _, h)| (&*r.labels, h.count()))).collect();
    assert_eq!(counts, [(r#"route="route-0",path="/service-0/*""#, 2)], "counters go on over a reload");
}

#[test]
fn series_are_all_there_and_only_the_wanted_stay() {
    // Several times as many as are read or taken out at a time.
    let (all, few) = (plan(&many_routes(1000), None).unwrap(), plan(&many_routes(300), None).unwrap());
    let metrics = Metrics::new();
    let worker = metrics.add_worker();
    let observe = |route: &Arc<Route>| worker.route(route).observe(Method::Get, Status::OK, Duration::ZERO, 1, 0);
    all.routes.iter().for_each(observe);
    metrics.plan_in_force(&all);
    // The series of requests without a route is always there.
    assert_eq!(metrics.snapshot().routes.len(), 1001);
    metrics.plan_in_force(&few);
    all.routes.iter().take(300).for_each(observe);
    let snapshot = metrics.snapshot();
    let counted: Vec<_> = snapshot.routes.iter().filter(|route| route.request_bytes == 2).collect();
    assert_eq!((snapshot.routes.len(), counted.len()), (301, 300), "what stays goes on counting");
    observe(&all.routes[999]);
    assert_eq!(metrics.snapshot().routes.len(), 302);
}

#[test]
fn pools_are_published() {
    let gateway = Gateway::new(
        r#"{ "upstreams": { "u": { "endpoints": ["http://127.0.0.1:1"] } }, "routes": [ { "name": "r", "upstream": "u" } ] }"#,
    );
    gateway.plane.housekeeping();
    let text = render(&gateway.metrics.snapshot());
    assert!(text.contains("gateway_upstream_connections{upstream=\"u\",endpoint=\"http://fake\",state=\"idle\"} 1\n"));
    assert!(text.contains("gateway_upstream_failures_total{upstream=\"u\",endpoint=\"http://fake\"} 2\n"));
}

/// The bar is 50 ms in a release build (`cargo test --release -- --ignored`).
#[test]
#[ignore = "timing: run alone, with --release, on a quiet machine"]
fn a_scrape_of_ten_thousand_routes_is_quick() {
    let plan = plan(&many_routes(10_000), None).unwrap();
    let metrics = Metrics::new();
    for _ in 0..2 {
        let worker = metrics.add_worker();
        for route in plan.routes.iter() {
            worker.route(route).observe(Method::Get, Status::OK, Duration::from_millis(2), 10, 20);
        }
    }
    // The best of a few: other processes may be busy.
    let scrape = || {
        let started = std::time::Instant::now();
        let snapshot = metrics.snapshot();
        let summed = started.elapsed();
        let text = render(&snapshot);
        println!("{} bytes in {:?}, {summed:?} of it to sum up", text.len(), started.elapsed());
        started.elapsed()
    };
    let best = (0..5).map(|_| scrape()).min().unwrap();
    assert!(best < Duration::from_millis(50));
}
