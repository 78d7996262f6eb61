//! Runs wrk and h2load and reads what they print.

use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::bench::client::HEADERS;
use crate::bench::proxy::Running;
use crate::bench::scenario::{Load, Tool};
use crate::bench::supervise::Session;

/// What a load generator counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    /// Milliseconds; h2load tells it only where it logs each request.
    pub(super) p99: Option<f64>,
    /// Failures in the tool's own words; empty when all went well.
    pub(super) failures: Vec<String>,
}

impl Counted {
    /// Fails if anything did.
    pub(super) fn all_answered(&self) -> Outcome<()> {
        if self.failures.is_empty() { Ok(()) } else { Err(self.failures.join("; ")) }
    }
}

/// Applies `load` to `proxy` for `length`.
pub(super) fn run(session: &Session, load: &Load, proxy: &Running, length: Duration) -> Outcome<Counted> {
    let (scheme, address) = if load.tls { ("https", proxy.tls) } else { ("http", proxy.plain) };
    // One of the ten routes in the middle, so that a linear search costs its average.
    let url = format!("{scheme}://{address}/r5/{}", load.path);
    let log = session.path("requests.tsv");
    let mut command = match load.tool {
        Tool::Get | Tool::Post(_) | Tool::Churn => wrk(session, load, length)?,
        Tool::Http2(streams) => h2load(load, length, &["-m", &streams.to_string()]),
        Tool::Rate(rate) => {
            let each = (f64::from(rate) / f64::from(load.connections)).to_string();
            let _ = std::fs::remove_file(&log);
            let log = log.display().to_string();
            h2load(load, length, &["--h1", "--rps", &each, "--log-file", &log])
        }
    };
    let tool = command.get_program().to_string_lossy().into_owned();
    let text = session
        .spawn(command.arg(url), "load.log")
        .and_then(|load| load.output(length + Duration::from_secs(20)))
        .map_err(|e| format!("{tool}: {e}"))?;
    let counted = match load.tool {
        Tool::Get | Tool::Post(_) | Tool::Churn => read_wrk(&text),
        Tool::Http2(_) => read_h2load(&text, length),
        Tool::Rate(_) => read_h2load(&text, length).map(|c| Counted { p99: logged_p99(&log), ..c }),
    };
    counted.ok_or_else(|| format!("{tool} printed something unknown:\n{text}"))
}

fn wrk(session: &Session, load: &Load, length: Duration) -> Outcome<Command> {
    let mut command = Command::new("wrk");
    command.args(["--latency", "-t1", "-c", &load.connections.to_string(), "-d", &seconds(length)]);
    for (name, value) in HEADERS {
        command.arg("-H").arg(format!("{name}: {value}"));
    }
    if let Some(script) = &load.script {
        command.arg("-s").arg(session.write("load.lua", script)?);
    }
    match load.tool {
        Tool::Churn => {
            command.args(["-H", "Connection: close"]);
        }
        Tool::Post(size) => {
            let lua = format!(
                "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = string.rep('x', {size})\n"
            );
            command.arg("-s").arg(session.write("post.lua", &lua)?);
        }
        _ => {}
    }
    Ok(command)
}

fn h2load(load: &Load, length: Duration, more: &[&str]) -> Command {
    let mut command = Command::new("h2load");
    command.args(["-t1", "-c", &load.connections.to_string(), "-D", &seconds(length)]).args(more);
    for (name, value) in HEADERS {
        command.arg("-H").arg(format!("{}: {value}", name.to_ascii_lowercase()));
    }
    command
}

/// Both tools take whole seconds only.
fn seconds(length: Duration) -> String {
    length.as_secs().max(1).to_string()
}

/// "  12345 requests in 3.00s, …", "Requests/sec: 4115.2", "     99%   12.34ms", and complaints.
fn read_wrk(text: &str) -> Option<Counted> {
    let mut counted = Counted::default();
    let mut seen = false;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            counted.requests = count.parse().ok()?;
            seen = true;
        } else if let Some(rate) = line.strip_prefix("Requests/sec:") {
            counted.per_second = rate.trim().parse().ok()?;
        } else if let Some(time) = line.strip_prefix("99%") {
            counted.p99 = milliseconds(time.trim());
        } else if line.starts_with("Socket errors:") || line.starts_with("Non-2xx") || line.starts_with("unable to") {
            counted.failures.push(line.to_owned());
        }
    }
    seen.then_some(counted)
}

fn milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(n) = text.strip_suffix("us") {
        (n, 0.001)
    } else if let Some(n) = text.strip_suffix("ms") {
        (n, 1.0)
    } else if let Some(n) = text.strip_suffix('s') {
        (n, 1000.0)
    } else {
        (text.strip_suffix('m')?, 60_000.0)
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// "requests: 100 total, 100 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout" and
/// "status codes: 100 2xx, 0 3xx, 0 4xx, 0 5xx".
fn read_h2load(text: &str, length: Duration) -> Option<Counted> {
    let figures = |label: &str| -> Option<Vec<(u64, String)>> {
        let line = text.lines().find_map(|line| line.strip_prefix(label))?;
        let pairs = line.split(',').filter_map(|part| part.trim().split_once(' '));
        Some(pairs.filter_map(|(n, name)| Some((n.parse().ok()?, name.to_owned()))).collect())
    };
    let mut counted = Counted::default();
    for (count, name) in figures("requests:")? {
        match name.as_str() {
            "succeeded" => counted.requests = count,
            "failed" | "errored" | "timeout" if count > 0 => counted.failures.push(format!("{count} {name}")),
            _ => {}
        }
    }
    for (count, name) in figures("status codes:")? {
        if name != "2xx" && count > 0 {
            counted.failures.push(format!("{count} replies {name}"));
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a window has far fewer than 2^52 requests")]
    let requests = counted.requests as f64;
    counted.per_second = requests / length.as_secs_f64();
    Some(counted)
}

/// h2load's log: start, status, microseconds, one request a line.
fn logged_p99(log: &std::path::Path) -> Option<f64> {
    let text = std::fs::read_to_string(log).ok()?;
    let mut times: Vec<u32> = text.lines().filter_map(|l| l.split('\t').nth(2)?.parse().ok()).collect();
    times.sort_unstable();
    times.get(times.len() * 99 / 100).map(|us| f64::from(*us) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wrk() {
        let text = "Running 1s test\n  Latency Distribution\n     50%    2.00ms\n     99%  840.00us\n  \
                    12345 requests in 1.00s, 3MB read\n  Socket errors: connect 0, read 1, write 0, timeout 0\n\
                    Requests/sec:  12300.5\n";
        let counted = read_wrk(text).unwrap();
        assert_eq!((counted.requests, counted.per_second, counted.p99), (12345, 12300.5, Some(0.84)));
        assert_eq!(counted.failures.len(), 1);
        assert_eq!(read_wrk("nonsense"), None);
    }

    #[test]
    fn reads_h2load() {
        let text = "requests: 30 total, 32 started, 30 done, 28 succeeded, 2 failed, 2 errored, 0 timeout\n\
                    status codes: 28 2xx, 0 3xx, 0 4xx, 2 5xx\n";
        let counted = read_h2load(text, Duration::from_secs(2)).unwrap();
        assert_eq!((counted.requests, counted.per_second), (28, 14.0));
        assert_eq!(counted.failures, ["2 failed", "2 errored", "2 replies 5xx"]);
    }
}
