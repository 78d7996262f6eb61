//! `cargo xtask bench reload`: what reloads of a large configuration do to the latency of requests.
//!
//! Windows with reloads and windows without take turns, and a ratio is always taken between neighbours: what else
//! the machine does changes from minute to minute. The gateway is the same process all the time and may use every
//! core, as it would in earnest; load and origin are on one.
//!
//! Requests are sent at a fixed rate on a schedule, and a latency counts from when its request was due: a gateway that
//! stalls is charged for everybody it kept waiting, not for the one request that happened to be under way.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::bench::client::Connection;
use crate::bench::options::{self, ReloadOptions};
use crate::bench::origin::Origin;
use crate::bench::proxy::free_addresses;
use crate::bench::statistics::Spread;
use crate::bench::supervise::{self, Server, Session};

const PROGRAMS: [(&str, &str); 1] = [("taskset", "util-linux")];

/// Connections that send; each has its part of the rate.
const CONNECTIONS: usize = 8;

/// What one window has seen.
struct Window {
    p50: Duration,
    p99: Duration,
    most: Duration,
    requests: usize,
    reloads: usize,
}

/// `cargo xtask bench reload`.
pub(super) fn run(args: &[String]) -> Outcome<()> {
    if options::wants_help(args) {
        print!("{}", options::RELOAD_USAGE);
        return Ok(());
    }
    let options = ReloadOptions::parse(args)?;
    supervise::require(&PROGRAMS)?;
    let session = Session::enter(options::LOAD_CORE)?;
    let origin = Origin::start(&session)?;
    let gateway = Gateway::start(&session, &options, origin.address)?;
    let took = (0..3).map(|_| gateway.reload()).collect::<Outcome<Vec<_>>>()?;
    println!("{} routes, {} requests/s on {CONNECTIONS} connections", options.routes, options.rate);
    println!("one reload without traffic: {}", took.iter().map(|took| millis(*took)).collect::<Vec<_>>().join(", "));
    // Warms pools and caches; not counted.
    window(&gateway, &options, false)?;
    let mut ratios = Vec::new();
    println!("\nround  reloads     requests  reloads/s      p50        p99        most");
    for round in 0..options.rounds {
        let mut order = [false, true];
        if round % 2 == 1 {
            order.reverse();
        }
        let mut p99 = [Duration::ZERO; 2];
        for reloading in order {
            let seen = window(&gateway, &options, reloading)?;
            p99[usize::from(reloading)] = seen.p99;
            println!(
                "{round:>5}  {:<9} {:>10}  {:>9.1}  {:>9}  {:>9}  {:>9}",
                if reloading { "with" } else { "without" },
                seen.requests,
                seen.reloads as f64 / f64::from(options.seconds),
                millis(seen.p50),
                millis(seen.p99),
                millis(seen.most),
            );
        }
        ratios.push(p99[1].as_secs_f64() / p99[0].as_secs_f64().max(1e-9));
    }
    let spread = Spread::of(ratios).ok_or("no round was measured")?;
    println!("\np99 with reloads / without: median {:.2} ({:.2} to {:.2})", spread.median, spread.least, spread.most);
    match options.max_ratio {
        Some(most) if spread.median > most => Err(format!("the median ratio {:.2} is above {most}", spread.median)),
        _ => Ok(()),
    }
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// A gateway with two configurations that differ in one route.
struct Gateway {
    address: SocketAddr,
    admin: SocketAddr,
    file: PathBuf,
    /// Both, written before anything is timed: writing a megabyte on the core of the load would be charged to the
    /// gateway.
    variants: [PathBuf; 2],
    turn: AtomicBool,
    server: Server,
}

impl Gateway {
    fn start(session: &Session, options: &ReloadOptions, origin: SocketAddr) -> Outcome<Self> {
        let [address, admin] = free_addresses()?;
        let texts = [0, 1].map(|variant| configuration(options, address, admin, origin, variant));
        let file = session.write("torana.yaml", &texts[0])?;
        let variants = [session.write("variant-0", &texts[0])?, session.write("variant-1", &texts[1])?];
        let cores = format!("0-{}", std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(2) - 1);
        let mut command = Command::new("taskset");
        command.args(["-c", &cores]).arg(&options.binary).args(["run", "--no-watch"]).arg(&file);
        let server = session.spawn(&mut command, "torana.log")?;
        let mut gateway = Self { address, admin, file, variants, turn: AtomicBool::new(false), server };
        let deadline = Instant::now() + Duration::from_secs(60);
        while ask(gateway.address, "GET", &path(0)).is_err() {
            gateway.server.still_running().map_err(|error| format!("the gateway did not start: {error}"))?;
            if Instant::now() > deadline {
                return Err(format!("the gateway does not answer; it said:\n{}", gateway.server.said()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(gateway)
    }

    /// Puts the other configuration in force; how long that took.
    fn reload(&self) -> Outcome<Duration> {
        let turn = !self.turn.fetch_xor(true, Ordering::Relaxed);
        let fresh = self.file.with_extension("new");
        let replaced =
            fs::hard_link(&self.variants[usize::from(turn)], &fresh).and_then(|()| fs::rename(&fresh, &self.file));
        replaced.map_err(|error| format!("cannot replace {}: {error}", self.file.display()))?;
        let begun = Instant::now();
        ask(self.admin, "POST", "/reload")?;
        Ok(begun.elapsed())
    }
}

fn configuration(
    options: &ReloadOptions,
    address: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    variant: usize,
) -> String {
    let mut text = format!(
        "workers: {}\nlisteners: [ {{ address: \"{address}\" }} ]\nadmin: {{ address: \"{admin}\", revisions: 1 }}\n\
         access_log: false\nupstreams:\n  origin: {{ endpoints: [ \"http://{origin}\" ] }}\nroutes:\n",
        options.workers
    );
    for route in 0..options.routes {
        text.push_str(&format!(
            "  - {{ name: service-{route}, match: {{ path: /service-{route}/* }}, upstream: origin }}\n"
        ));
    }
    text.push_str(&format!(
        "  - {{ name: variant, match: {{ path: /variant-{variant} }}, respond: {{ status: 204 }} }}\n"
    ));
    text
}

fn path(route: usize) -> String {
    format!("/service-{route}/json")
}

/// One request with a connection of its own, answered with 200.
fn ask(address: SocketAddr, method: &str, path: &str) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("{method} http://{address}{path}: {error}");
    let mut connection = Connection::open(address, path).map_err(failed)?;
    if method != "GET" {
        connection.set_request(method, path);
    }
    connection.ask().map(drop).map_err(|error| format!("{method} http://{address}{path}: {error}"))
}

/// Sends for so long and, if asked for, reloads beside it.
fn window(gateway: &Gateway, options: &ReloadOptions, reloading: bool) -> Outcome<Window> {
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Instant::now() + Duration::from_millis(50);
    let end = begin + Duration::from_secs(options.seconds.into());
    let clients: Vec<JoinHandle<Outcome<Vec<Duration>>>> = (0..CONNECTIONS)
        .map(|number| {
            let (address, options, stop) = (gateway.address, options.clone(), stop.clone());
            std::thread::spawn(move || send(address, &options, number, begin, end, &stop))
        })
        .collect();
    let mut reloads = 0;
    let mut failed = None;
    let pause = Duration::from_secs_f64(1.0 / options.reloads);
    let mut due = begin;
    while reloading && failed.is_none() && Instant::now() < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match gateway.reload() {
            Ok(_) => reloads += 1,
            Err(error) => failed = Some(error),
        }
        // One that took too long is not made up for.
        due = (due + pause).max(Instant::now());
    }
    stop.store(failed.is_some(), Ordering::Relaxed);
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.join().map_err(|_| "a client panicked")??);
    }
    if let Some(error) = failed {
        return Err(error);
    }
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    let most = took.last().copied().ok_or("no request was answered")?;
    Ok(Window { p50: at(50), p99: at(99), most, requests: took.len(), reloads })
}

/// Sends this client's part of the rate; how long after it was due each request was answered.
fn send(
    address: SocketAddr,
    options: &ReloadOptions,
    number: usize,
    begin: Instant,
    end: Instant,
    stop: &AtomicBool,
) -> Outcome<Vec<Duration>> {
    let mut connection = Connection::open(address, "/").map_err(|error| format!("cannot connect: {error}"))?;
    let pause = Duration::from_secs_f64(CONNECTIONS as f64 / f64::from(options.rate));
    // Clients are spread over one pause, or all would send at once.
    let mut due = begin + pause.mul_f64(number as f64 / CONNECTIONS as f64);
    let mut took = Vec::new();
    // Weyl's sequence: every route has its turn, neighbours are far apart.
    let mut route = number.wrapping_mul(7919);
    while due < end && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        route = (route + 7919 * CONNECTIONS) % options.routes;
        connection.set_request("GET", &path(route));
        connection.ask().map_err(|error| format!("a request failed: {error}"))?;
        took.push(due.elapsed());
        due += pause;
    }
    Ok(took)
}
