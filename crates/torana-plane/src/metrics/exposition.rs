//! Prometheus' text format, version 0.0.4.

use super::names::{self, Metric};
use super::snapshot::{RouteSeries, Snapshot};
use crate::forwarder::PoolSample;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use torana_core::metric::{HistogramSnapshot, LATENCY_BOUNDS_MICROS};
use torana_core::pace::{step, stepwise};
use torana_upstream::breaker::Phase;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes `snapshot` as text.
#[must_use]
pub fn render(snapshot: &Snapshot) -> String {
    let series: usize = snapshot.routes.iter().map(|route| route.durations.len()).sum();
    let mut text = Text(String::with_capacity(8192 + series * 3072));
    routes(&mut text, &snapshot.routes);
    text.by_code(names::REFUSALS, &snapshot.refusals);
    text.single(names::CONNECTIONS, snapshot.connections);
    text.head(names::WORKER_CONNECTIONS);
    for (worker, open) in snapshot.worker_connections.iter().enumerate() {
        text.value(names::WORKER_CONNECTIONS.name, &format!("worker=\"{worker}\""), *open);
    }
    text.single(names::CONNECTIONS_MOVED, snapshot.connections_moved);
    text.single(names::CONNECTIONS_ACCEPTED, snapshot.connections_accepted);
    text.by_code(names::CONNECTIONS_LIMITED, &snapshot.limited);
    text.single(names::HANDSHAKES_FAILED, snapshot.handshakes_failed);
    pools(&mut text, snapshot);
    standings(&mut text, snapshot);
    sources(&mut text, snapshot);
    text.head(names::POLICY_EVENTS);
    for ((policy, route, event), count) in &snapshot.standings.policies {
        let labels = format!("policy=\"{policy}\",route=\"{}\",event=\"{event}\"", escaped(route));
        text.value(names::POLICY_EVENTS.name, &labels, *count);
    }
    text.head(names::ASIDE_WAITING);
    for (line, counts) in &snapshot.aside {
        text.value(names::ASIDE_WAITING.name, &format!("line=\"{}\"", line.name()), counts.waiting);
    }
    text.head(names::ASIDE_WORK);
    for (line, counts) in &snapshot.aside {
        for (result, count) in counts.results {
            text.value(names::ASIDE_WORK.name, &format!("line=\"{}\",result=\"{result}\"", line.name()), count);
        }
    }
    text.head(names::RELOADS);
    text.value(names::RELOADS.name, "result=\"success\"", snapshot.reloads);
    text.value(names::RELOADS.name, "result=\"failure\"", snapshot.failed_reloads);
    text.head(names::CONFIG_INFO);
    let checksum = escaped(&snapshot.plan.checksum);
    text.value(names::CONFIG_INFO.name, &format!("checksum=\"{checksum}\""), 1);
    text.single(names::CONFIG_REVISION, snapshot.plan.revision);
    text.head(names::CONFIG_SINCE);
    // Writing to a String cannot fail, here and below.
    let since = snapshot.plan.since;
    let _ = writeln!(text.0, "{} {}.{:03}", names::CONFIG_SINCE.name, since.as_secs(), since.subsec_millis());
    text.single(names::CONFIG_PINNED, snapshot.is_pinned.into());
    text.by_code(names::ADMIN_REFUSALS, &snapshot.admin_refusals);
    text.single(names::LOG_DROPPED, snapshot.log_lines_lost);
    text.single(names::WORKERS, snapshot.workers as u64);
    text.0
}

fn routes(text: &mut Text, routes: &[RouteSeries]) {
    text.head(names::REQUEST_DURATION);
    let bounds = Bounds::new();
    let (mut labels, mut start) = (String::new(), String::new());
    for route in routes {
        // Each of them is a page of its own.
        step();
        for (method, class, histogram) in &route.durations {
            labels.clear();
            let _ = write!(labels, "{},method=\"{method}\",status=\"{class}xx\"", route.labels);
            text.histogram(&bounds, &labels, &mut start, histogram);
        }
    }
    text.head(names::REQUEST_BYTES);
    for route in stepwise(routes) {
        text.value(names::REQUEST_BYTES.name, &route.labels, route.request_bytes);
    }
    text.head(names::RESPONSE_BYTES);
    for route in stepwise(routes) {
        text.value(names::RESPONSE_BYTES.name, &route.labels, route.response_bytes);
    }
}

fn pools(text: &mut Text, snapshot: &Snapshot) {
    let labels: Vec<String> = snapshot
        .pools
        .iter()
        .map(|pool| format!("upstream=\"{}\",endpoint=\"{}\"", escaped(&pool.upstream), escaped(&pool.endpoint)))
        .collect();
    text.head(names::UPSTREAM_CONNECTIONS);
    for (pool, labels) in snapshot.pools.iter().zip(&labels) {
        for (state, count) in [("idle", pool.idle), ("active", pool.active)] {
            text.value(names::UPSTREAM_CONNECTIONS.name, &format!("{labels},state=\"{state}\""), count);
        }
    }
    let mut each = |metric: Metric, value: fn(&PoolSample) -> u64| {
        text.head(metric);
        for (pool, labels) in snapshot.pools.iter().zip(&labels) {
            text.value(metric.name, labels, value(pool));
        }
    };
    each(names::UPSTREAM_OPENED, |pool| pool.opened);
    each(names::UPSTREAM_REQUESTS, |pool| pool.requests);
    each(names::UPSTREAM_FAILURES, |pool| pool.failures);
}

fn standings(text: &mut Text, snapshot: &Snapshot) {
    let of = |upstream: &str| format!("upstream=\"{}\"", escaped(upstream));
    text.head(names::ENDPOINT_USABLE);
    for (upstream, endpoint, usable) in &snapshot.standings.endpoints {
        let labels = format!("{},endpoint=\"{}\"", of(upstream), escaped(endpoint));
        text.value(names::ENDPOINT_USABLE.name, &labels, u64::from(*usable));
    }
    text.head(names::UPSTREAM_PANIC);
    for (upstream, panics) in &snapshot.standings.panics {
        text.value(names::UPSTREAM_PANIC.name, &of(upstream), u64::from(*panics));
    }
    text.head(names::HEALTH_CHANGES);
    for ((upstream, reason), count) in &snapshot.events.health {
        text.value(names::HEALTH_CHANGES.name, &format!("{},reason=\"{reason}\"", of(upstream)), *count);
    }
    text.head(names::BREAKER_OPEN);
    for (breaker, phase) in &snapshot.standings.breakers {
        let open = !matches!(phase, Phase::Closed | Phase::ForcedClosed);
        text.value(names::BREAKER_OPEN.name, &format!("breaker=\"{}\"", escaped(breaker)), u64::from(open));
    }
    text.head(names::BREAKER_TRANSITIONS);
    for ((breaker, to), count) in &snapshot.events.breaker {
        text.value(names::BREAKER_TRANSITIONS.name, &format!("breaker=\"{}\",to=\"{to}\"", escaped(breaker)), *count);
    }
    by_upstream(text, snapshot, names::RETRIES, ["sent", "over_budget"], |pool| [pool.retries, pool.retries_denied]);
    by_upstream(text, snapshot, names::HEDGES, ["sent", "won"], |pool| [pool.hedges, pool.hedges_won]);
}

/// Two counts of each upstream, summed over its endpoints.
fn by_upstream(
    text: &mut Text,
    snapshot: &Snapshot,
    metric: Metric,
    results: [&str; 2],
    counts: fn(&PoolSample) -> [u64; 2],
) {
    let mut sums: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for pool in &snapshot.pools {
        let sum = sums.entry(&pool.upstream).or_default();
        let counts = counts(pool);
        *sum = [sum[0] + counts[0], sum[1] + counts[1]];
    }
    text.head(metric);
    for (upstream, sum) in sums {
        for (result, count) in results.iter().zip(sum) {
            let labels = format!("upstream=\"{}\",result=\"{result}\"", escaped(upstream));
            text.value(metric.name, &labels, count);
        }
    }
}

fn sources(text: &mut Text, snapshot: &Snapshot) {
    let sources = &snapshot.standings.sources;
    let labels: Vec<String> = sources
        .iter()
        .map(|(upstream, source)| format!("upstream=\"{}\",source=\"{}\"", escaped(upstream), escaped(&source.name)))
        .collect();
    let each = || sources.iter().map(|(_, source)| source).zip(&labels);
    text.head(names::DISCOVERY_AGE);
    for (source, labels) in each() {
        // To the millisecond, as all times are; writing to a String cannot fail.
        let _ = writeln!(text.0, "{}{{{labels}}} {:.3}", names::DISCOVERY_AGE.name, source.age.as_secs_f64());
    }
    text.head(names::DISCOVERY_ENDPOINTS);
    for (source, labels) in each() {
        text.value(names::DISCOVERY_ENDPOINTS.name, labels, source.endpoints as u64);
    }
    text.head(names::DISCOVERY_LEFT_OUT);
    for (source, labels) in each() {
        text.value(names::DISCOVERY_LEFT_OUT.name, labels, source.left_out as u64);
    }
    text.head(names::DISCOVERY_ANSWERS);
    for (source, labels) in each() {
        text.value(names::DISCOVERY_ANSWERS.name, &format!("{labels},result=\"success\""), source.answers);
        text.value(names::DISCOVERY_ANSWERS.name, &format!("{labels},result=\"failure\""), source.failures);
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, metric: Metric) {
        let Metric { name, kind, help } = metric;
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &str, value: u64) {
        self.0.push_str(name);
        if !labels.is_empty() {
            self.0.push('{');
            self.0.push_str(labels);
            self.0.push('}');
        }
        self.number(value);
    }

    fn number(&mut self, value: u64) {
        self.0.push(' ');
        self.0.push_str(itoa::Buffer::new().format(value));
        self.0.push('\n');
    }

    fn single(&mut self, metric: Metric, value: u64) {
        self.head(metric);
        self.value(metric.name, "", value);
    }

    fn by_code(&mut self, metric: Metric, counts: &BTreeMap<&'static str, u64>) {
        self.head(metric);
        for (code, count) in counts {
            self.value(metric.name, &format!("code=\"{code}\""), *count);
        }
    }

    /// The lines of one histogram: cumulative buckets, sum, count. The bulk of
    /// a scrape, so a line is three copies.
    fn histogram(&mut self, bounds: &Bounds, labels: &str, start: &mut String, seen: &HistogramSnapshot) {
        let name = names::REQUEST_DURATION.name;
        start.clear();
        let _ = write!(start, "{name}_bucket{{{labels}");
        let out = &mut self.0;
        let mut number = itoa::Buffer::new();
        let mut count = 0;
        for (bound, bucket) in bounds.0.iter().zip(seen.buckets) {
            count += bucket;
            out.push_str(start);
            out.push_str(bound);
            out.push_str(number.format(count));
            out.push('\n');
        }
        let (seconds, micros) = (seen.sum_micros / 1_000_000, seen.sum_micros % 1_000_000);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {seconds}.{micros:06}");
        let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
    }
}

/// The end of a bucket's labels, `,le="0.005"} `, one per bucket.
struct Bounds([String; LATENCY_BOUNDS_MICROS.len() + 1]);

impl Bounds {
    fn new() -> Bounds {
        Bounds(std::array::from_fn(|index| match LATENCY_BOUNDS_MICROS.get(index) {
            Some(&micros) => {
                let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
                format!(",le=\"{}\"}} ", text.trim_end_matches('0').trim_end_matches('.'))
            }
            None => ",le=\"+Inf\"} ".to_owned(),
        }))
    }
}

/// The labels that tell routes apart.
pub(crate) fn route_labels(name: &str, pattern: &str) -> Arc<str> {
    let mut text = String::with_capacity(name.len() + pattern.len() + 20);
    text.push_str("route=\"");
    escape(name, &mut text);
    text.push_str("\",path=\"");
    escape(pattern, &mut text);
    text.push('"');
    text.into()
}

/// Appends `value` as the inside of a label value.
pub(super) fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    escape(value, &mut out);
    out
}
