//! Interleaved windows of load and what they come to per product.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::bench::certificate::Certificate;
use crate::bench::cpu::{Machine, Usage};
use crate::bench::load;
use crate::bench::options::BenchOptions;
use crate::bench::origin::Origin;
use crate::bench::profile::Profile;
use crate::bench::proxy::{self, Product, Running};
use crate::bench::scenario::{Load, Scenario};
use crate::bench::statistics::Spread;
use crate::bench::supervise::Session;

/// Load before a window's first reading: connecting, TLS handshakes and cold caches are over by then.
const LEAD: Duration = Duration::from_millis(700);
/// Load after its last reading, so that the end of the load generator is not in the window.
const TAIL: Duration = Duration::from_millis(300);

/// One window of one product.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    round: usize,
    cpu: f64,
    per_second: f64,
    p99: Option<f64>,
    core: f64,
    foreign: f64,
    steal: f64,
    reconnects: f64,
    failures: Vec<String>,
}

/// All windows of one product in one scenario.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) product: Product,
    pub(super) rounds: usize,
    pub(super) valid: usize,
    /// Microseconds on the CPU per request.
    pub(super) cpu: Option<Spread>,
    /// The same against nginx in the same round.
    pub(super) ratio: Option<Spread>,
    pub(super) per_second: Option<Spread>,
    pub(super) per_second_ratio: Option<Spread>,
    /// Milliseconds.
    pub(super) p99: Option<Spread>,
    /// Share of its core the proxy used: below about 0.9 the load generator set the pace.
    pub(super) core: Option<Spread>,
    /// Share of the machine used by programs not of this benchmark.
    pub(super) foreign: Option<Spread>,
    /// Share of the machine taken by the hypervisor.
    pub(super) steal: Option<Spread>,
    /// Connections opened to the origin per 1 000 requests.
    pub(super) reconnects: Option<Spread>,
    pub(super) cipher: Option<String>,
    /// Where its time goes, if that was looked at.
    pub(super) profile: Option<Profile>,
    /// Why rounds do not count.
    pub(super) failures: Vec<String>,
}

/// Runs all rounds of one scenario.
pub(super) fn measure(
    session: &Session,
    options: &BenchOptions,
    scenario: &Scenario,
    load: &Load,
    origin: &Origin,
    files: &Certificate,
) -> Outcome<Vec<Row>> {
    let mut proxies = Vec::new();
    let mut ciphers = Vec::new();
    for product in &options.rivals(scenario) {
        let prepared = proxy::prepare(session, *product, &options.binary, origin.address, files)?;
        let (running, _) = proxy::start(session, &prepared)?;
        running.check_same_work()?;
        ciphers.push(if load.tls { Some(running.cipher()?) } else { None });
        proxies.push(running);
    }
    let mut rivals: Vec<(&mut Running, &Load)> = proxies.iter_mut().map(|proxy| (proxy, load)).collect();
    let samples = interleave(session, origin, options.rounds, options.seconds, &mut rivals)
        .map_err(|e| format!("scenario {}: {e}", scenario.name))?;
    let baseline = proxies.iter().position(|p| p.product == Product::Nginx).map(|at| samples[at].clone());
    let baseline = baseline.unwrap_or_default();
    let mut rows: Vec<Row> = Vec::new();
    for ((proxy, own), cipher) in proxies.iter().zip(&samples).zip(ciphers) {
        let row = summarise(proxy.product, own, &baseline, cipher);
        let length = Duration::from_secs(u64::from(options.seconds));
        let profile = options.profile.then(|| Profile::take(session, load, proxy, length)).transpose()?;
        rows.push(Row { profile, ..row });
    }
    Ok(rows)
}

/// Windows of all rivals in turns: A B C, then C B A.
pub(super) fn interleave(
    session: &Session,
    origin: &Origin,
    rounds: usize,
    seconds: u32,
    rivals: &mut [(&mut Running, &Load)],
) -> Outcome<Vec<Vec<Sample>>> {
    let mut samples: Vec<Vec<Sample>> = rivals.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..rivals.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let (proxy, load) = &mut rivals[index];
            let sample = window(session, load, proxy, origin, seconds, round)?;
            let name = proxy.product.name();
            eprintln!("  round {} {name:8} {}", round + 1, line(&sample));
            proxy.server.still_running().map_err(|e| format!("{name} died: {e}"))?;
            samples[index].push(sample);
        }
    }
    Ok(samples)
}

/// Origin counters and CPU clock at one end of a window.
struct Reading {
    at: Instant,
    cpu: Usage,
    connections: u64,
    requests: u64,
}

impl Reading {
    fn take(proxy: &Running, origin: &Origin) -> Outcome<Self> {
        let (at, cpu) = (Instant::now(), Usage::of_group(proxy.server.id())?);
        let seen = origin.seen()?;
        Ok(Self { at, cpu, connections: seen.connections, requests: seen.requests })
    }
}

/// Requests are counted by the origin, at the moments the CPU clock is read; the load generator says
/// whether any failed. A reply that never reached the origin is a failure too. Where none should reach it,
/// the load generator's whole run is the window, since only it can count.
#[allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a window are far below 2^52")]
fn window(
    session: &Session,
    load: &Load,
    proxy: &Running,
    origin: &Origin,
    seconds: u32,
    round: usize,
) -> Outcome<Sample> {
    let length = Duration::from_secs(u64::from(seconds));
    let machine = Machine::now()?;
    let origin_cpu = Usage::of_group(origin.server.id())?;
    let before = Reading::take(proxy, origin)?;
    let (first, last, counted) = std::thread::scope(|scope| {
        let generator = scope.spawn(|| load::run(session, load, proxy, LEAD + length + TAIL));
        std::thread::sleep(LEAD);
        let first = Reading::take(proxy, origin);
        std::thread::sleep(length);
        let last = Reading::take(proxy, origin);
        let counted = generator.join().unwrap_or_else(|_| Err("the load thread panicked".to_owned()));
        (first, last, counted)
    });
    let (first, last) = (first?, last?);
    let after = Reading::take(proxy, origin)?;
    let shares = Machine::now()?.since(&machine);
    let origin_cpu = Usage::of_group(origin.server.id())?.since(&origin_cpu);
    let ours = (after.cpu.since(&before.cpu) + origin_cpu) as f64 / 1e9;
    let whole = after.at.duration_since(before.at).as_secs_f64();

    let mut failures = Vec::new();
    let counted = match counted {
        Ok(counted) => counted,
        Err(e) => {
            failures.push(e.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect());
            load::Counted::default()
        }
    };
    failures.extend(counted.failures.iter().cloned());
    let (first, last, requests) = match load.per_request {
        0 => (&before, &after, counted.requests),
        each => (&first, &last, (last.requests - first.requests) / u64::from(each)),
    };
    let requests = requests / u64::from(load.together);
    let time = last.at.duration_since(first.at).as_secs_f64();
    let cpu = last.cpu.since(&first.cpu) as f64;
    if requests == 0 {
        failures.push("no request was answered".to_owned());
    }
    let arrived = after.requests - before.requests;
    let should = counted.requests * u64::from(load.per_request);
    if arrived < should || (load.per_request == 0 && arrived > 0) {
        failures.push(format!("{} replies, but {arrived} requests reached the origin", counted.requests));
    }
    Ok(Sample {
        round,
        cpu: cpu / 1000.0 / requests.max(1) as f64,
        per_second: requests as f64 / time,
        p99: counted.p99,
        core: cpu / 1e9 / time,
        foreign: (shares.busy - shares.own - ours / whole / machine_cores()).max(0.0),
        steal: shares.steal,
        reconnects: (last.connections - first.connections) as f64 * 1000.0 / requests.max(1) as f64,
        failures,
    })
}

/// Not `available_parallelism`, which is 1 in this pinned process.
fn machine_cores() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let count = text.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    f64::from(u32::try_from(count).unwrap_or(1))
}

fn line(sample: &Sample) -> String {
    let failures =
        if sample.failures.is_empty() { String::new() } else { format!("  INVALID: {}", sample.failures.join("; ")) };
    format!(
        "{:7.1} us/request  {:7.0} req/s  core {:3.0} %  foreign {:2.0} %  steal {:2.0} %{failures}",
        sample.cpu,
        sample.per_second,
        sample.core * 100.0,
        sample.foreign * 100.0,
        sample.steal * 100.0
    )
}

pub(super) fn summarise(product: Product, samples: &[Sample], baseline: &[Sample], cipher: Option<String>) -> Row {
    let valid: Vec<&Sample> = samples.iter().filter(|s| s.failures.is_empty()).collect();
    let base = |round: usize| baseline.iter().find(|b| b.round == round && b.failures.is_empty());
    let pairs = || valid.iter().filter_map(|s| Some((*s, base(s.round)?)));
    let over = |value: fn(&Sample) -> f64| Spread::of(valid.iter().map(|s| value(s)));
    Row {
        product,
        rounds: samples.len(),
        valid: valid.len(),
        cpu: over(|s| s.cpu),
        ratio: Spread::of(pairs().map(|(own, nginx)| own.cpu / nginx.cpu)),
        per_second: over(|s| s.per_second),
        per_second_ratio: Spread::of(pairs().map(|(own, nginx)| own.per_second / nginx.per_second)),
        p99: Spread::of(valid.iter().filter_map(|s| s.p99)),
        core: over(|s| s.core),
        foreign: over(|s| s.foreign),
        steal: over(|s| s.steal),
        reconnects: over(|s| s.reconnects),
        cipher,
        profile: None,
        failures: samples
            .iter()
            .flat_map(|s| s.failures.iter().map(|f| format!("round {}: {f}", s.round + 1)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize, cpu: f64, failures: &[&str]) -> Sample {
        Sample {
            round,
            cpu,
            per_second: 1.0,
            p99: None,
            core: 1.0,
            foreign: 0.0,
            steal: 0.0,
            reconnects: 0.0,
            failures: failures.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn ratios_are_taken_inside_a_round_and_skip_failed_ones() {
        let nginx = [sample(0, 40.0, &[]), sample(1, 80.0, &[]), sample(2, 40.0, &["1 failed"])];
        let own = [sample(0, 20.0, &[]), sample(1, 20.0, &[]), sample(2, 20.0, &[])];
        let row = summarise(Product::Torana, &own, &nginx, None);
        let ratio = row.ratio.unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (0.25, 0.375, 0.5));
        let base = summarise(Product::Nginx, &nginx, &nginx, None);
        assert_eq!((base.valid, base.rounds), (2, 3));
        assert_eq!(base.failures, ["round 3: 1 failed"]);
    }
}
