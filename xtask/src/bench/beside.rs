//! What something done beside requests does to their latency.
//!
//! Windows with it and windows without take turns, and a ratio is always taken between neighbours: what else
//! the machine does changes from minute to minute. Whoever asks for it works on the core of the load, beside a request
//! or two that are due just then; so in the windows without, somebody asks as often for something that is no work. The gateway is the same process all the time and may use every
//! core, as it would in earnest; load and origin are on one.
//!
//! Requests are sent at a fixed rate on a schedule, and a latency counts from when its request was due: a gateway that
//! stalls is charged for everybody it kept waiting, not for the one request that happened to be under way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::bench::client::Connection;
use crate::bench::options::{BesideOptions, results};
use crate::bench::policies;
use crate::bench::proxy::{first_line, free_addresses};
use crate::bench::statistics::Spread;
use crate::bench::supervise::{Server, Session};

/// Connections that send; each has its part of the rate.
pub(super) const CONNECTIONS: usize = 8;

/// Programs this needs and their packages.
pub(super) const PROGRAMS: [(&str, &str); 1] = [("taskset", "util-linux")];

/// What one window has seen.
struct Window {
    p50: Duration,
    p99: Duration,
    most: Duration,
    requests: usize,
    /// How long each thing done beside the requests took.
    beside: Vec<Duration>,
}

/// Measures windows with `act` and with `instead`, which asks for nothing, and prints a line for each. `what` is what it
/// is called, `alone` what there is to say of it without requests.
pub(super) fn compare(
    gateway: &Gateway,
    options: &BesideOptions,
    what: &str,
    alone: &str,
    act: &dyn Fn() -> Outcome<Duration>,
    instead: &dyn Fn() -> Outcome<Duration>,
) -> Outcome<()> {
    let mut text = String::new();
    let mut say = |line: &str| {
        println!("{line}");
        text.push_str(line);
        text.push('\n');
    };
    say(alone);
    say(&format!("{} routes, {} requests/s on {CONNECTIONS} connections", options.routes, options.rate));
    // Warms pools and caches; not counted.
    window(gateway, options, instead)?;
    let mut ratios = Vec::new();
    let mut took = Vec::new();
    say(&format!("\nround  {what:<9} requests  {:>9}      p50        p99        most", format!("{what}/s")));
    for round in 0..options.rounds {
        let mut order = [false, true];
        if round % 2 == 1 {
            order.reverse();
        }
        let mut p99 = [Duration::ZERO; 2];
        for with in order {
            let seen = window(gateway, options, if with { act } else { instead })?;
            p99[usize::from(with)] = seen.p99;
            say(&format!(
                "{round:>5}  {:<9} {:>8}  {:>9.1}  {:>9}  {:>9}  {:>9}",
                if with { "with" } else { "without" },
                seen.requests,
                if with { seen.beside.len() as f64 / f64::from(options.seconds) } else { 0.0 },
                millis(seen.p50),
                millis(seen.p99),
                millis(seen.most),
            ));
            if with {
                took.extend(seen.beside.iter().map(Duration::as_secs_f64));
            }
        }
        ratios.push(p99[1].as_secs_f64() / p99[0].as_secs_f64().max(1e-9));
    }
    if let Some(took) = Spread::of(took) {
        let [median, least, most] = [took.median, took.least, took.most].map(|seconds| seconds * 1000.0);
        say(&format!("\n{what} took: median {median:.1} ms ({least:.1} to {most:.1})"));
    }
    let spread = Spread::of(ratios).ok_or("no round was measured")?;
    say(&format!("p99 with {what} / without: median {:.2} ({:.2} to {:.2})", spread.median, spread.least, spread.most));
    if options.write {
        record(what, &text, options)?;
    }
    match options.max_ratio {
        Some(most) if spread.median > most => Err(format!("the median ratio {:.2} is above {most}", spread.median)),
        _ => Ok(()),
    }
}

/// Where a section of `bench/RESULTS.md` begins that this writes.
const BEGIN: &str = "\n## Beside requests: ";

/// Writes what was measured to `bench/RESULTS.md`.
fn record(what: &str, text: &str, options: &BesideOptions) -> Outcome<()> {
    let path = results();
    let before = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let when = first_line(Command::new("date").args(["-u", "+%F %R UTC"]));
    let section = format!(
        "{what}\n\n{when}: `{}`. Windows with and without take turns; in those without, the same client asks as often\nfor `/readyz`. A latency counts from when its request was due.\n\n\
         ```text\n{text}```\n",
        options.typed
    );
    let text = policies::keep_beside(&with_section(policies::without(&before), &section), &before);
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    eprintln!("written to {}", path.display());
    Ok(())
}

/// `text` with this section in place of that of the same name.
fn with_section(text: &str, section: &str) -> String {
    let mut parts = text.split(BEGIN);
    let main = parts.next().unwrap_or_default();
    let name = |section: &str| section.lines().next().unwrap_or_default().to_owned();
    let mut sections: Vec<&str> = parts.filter(|part| name(part) != name(section)).chain([section]).collect();
    sections.sort_unstable();
    let sections = sections.iter().map(|section| format!("{BEGIN}{}\n", section.trim_end()));
    main.trim_end().to_owned() + "\n" + &sections.collect::<String>()
}

/// `text`, which is all of the rest, with the sections of what is there.
pub(super) fn keep(text: &str, before: &str) -> String {
    let sections = policies::without(before).split(BEGIN).skip(1);
    sections.fold(text.to_owned(), |text, section| with_section(&text, section))
}

pub(super) fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// A gateway with a large configuration.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    server: Server,
}

impl Gateway {
    /// Starts it with the file that `configuration` writes for a pair of addresses: listener and admin.
    pub(super) fn start(
        session: &Session,
        options: &BesideOptions,
        configuration: impl FnOnce([SocketAddr; 2]) -> Outcome<std::path::PathBuf>,
    ) -> Outcome<Self> {
        let [address, admin] = free_addresses()?;
        let file = configuration([address, admin])?;
        let cores = format!("0-{}", std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(2) - 1);
        let mut command = Command::new("taskset");
        command.args(["-c", &cores]).arg(&options.binary).args(["run", "--no-watch"]).arg(&file);
        let server = session.spawn(&mut command, "torana.log")?;
        let mut gateway = Self { address, admin, server };
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

    /// How long a scrape took, to its last byte. What comes is thrown away as it comes, in small pieces: keeping it would be
    /// work on the core of the load, and taking much at once would make the load wait.
    pub(super) fn scrape(&self) -> Outcome<Duration> {
        let failed = |error: std::io::Error| format!("a scrape failed: {error}");
        let begun = Instant::now();
        let mut stream = TcpStream::connect(self.admin).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin).map_err(failed)?;
        let mut buffer = vec![0; 32 * 1024];
        let mut status = None;
        loop {
            let count = stream.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            status.get_or_insert_with(|| buffer[..count].starts_with(b"HTTP/1.1 200 "));
            std::thread::yield_now();
        }
        if status == Some(true) { Ok(begun.elapsed()) } else { Err("a scrape was not answered with 200".to_owned()) }
    }

    /// How long a request to the admin interface took.
    pub(super) fn admin(&self, method: &str, path: &str) -> Outcome<Duration> {
        let begun = Instant::now();
        ask(self.admin, method, path)?;
        Ok(begun.elapsed())
    }
}

/// The configuration with as many routes as asked for, all to one origin; more routes may follow it.
pub(super) fn configuration(options: &BesideOptions, [address, admin]: [SocketAddr; 2], origin: SocketAddr) -> String {
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
    text
}

pub(super) fn path(route: usize) -> String {
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

/// Sends for so long and, if there is something to do beside it, does that.
fn window(gateway: &Gateway, options: &BesideOptions, beside: &dyn Fn() -> Outcome<Duration>) -> Outcome<Window> {
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Instant::now() + Duration::from_millis(50);
    let end = begin + Duration::from_secs(options.seconds.into());
    let clients: Vec<JoinHandle<Outcome<Vec<Duration>>>> = (0..CONNECTIONS)
        .map(|number| {
            let (address, options, stop) = (gateway.address, options.clone(), stop.clone());
            std::thread::spawn(move || send(address, &options, number, begin, end, &stop))
        })
        .collect();
    let mut done = Vec::new();
    let mut failed = None;
    let pause = Duration::from_secs_f64(1.0 / options.times);
    let mut due = begin;
    while failed.is_none() && Instant::now() < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match beside() {
            Ok(took) => done.push(took),
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
    Ok(Window { p50: at(50), p99: at(99), most, requests: took.len(), beside: done })
}

/// Sends this client's part of the rate; how long after it was due each request was answered.
fn send(
    address: SocketAddr,
    options: &BesideOptions,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_replaced_and_the_others_stay() {
        let main = "# Results\n\nmain\n";
        let first = with_section(main, "scrapes\n\n1\n");
        let both = with_section(&first, "reloads\n\n2\n");
        assert_eq!(both, format!("{main}{BEGIN}reloads\n\n2\n{BEGIN}scrapes\n\n1\n"));
        assert_eq!(with_section(&both, "scrapes\n\n3"), both.replace('1', "3"));
        assert_eq!(keep(main, &both), both);
        assert_eq!(keep(main, main), main);
    }
}
