//! `cargo xtask bench skew`: how evenly connections that stay are spread over workers.
//!
//! Each round opens as many connections as asked for, has each answered once, and reads from the metrics how many every
//! worker has. What chance alone would do is drawn beside it: as many connections, each to a worker at random.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::bench::client::{self, Connection};
use crate::bench::options::{self, SkewOptions};
use crate::bench::proxy::free_addresses;
use crate::bench::statistics::Spread;
use crate::bench::supervise::{self, Session};

/// `cargo xtask bench skew`.
pub(super) fn run(args: &[String]) -> Outcome<()> {
    if options::wants_help(args) {
        print!("{}", options::BENCH_USAGE);
        return Ok(());
    }
    let options = SkewOptions::parse(args)?;
    supervise::require(&[("taskset", "util-linux")])?;
    let session = Session::enter(options::LOAD_CORE)?;
    let [address, admin] = free_addresses()?;
    let text = format!(
        "workers: {}\nlisteners: [ {{ address: \"{address}\" }} ]\nadmin: {{ address: \"{admin}\" }}\naccess_log: false\n\
         limits: {{ connections_per_client: 100000 }}\nroutes: [ {{ name: r, respond: {{ body: here }} }} ]\n",
        options.workers
    );
    let file = session.write("torana.yaml", &text)?;
    let mut command = std::process::Command::new(&options.binary);
    let mut server = session.spawn(command.arg("run").arg(&file), "torana.log")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while client::get(address, "/").is_err() {
        server.still_running()?;
        if Instant::now() > deadline {
            return Err(format!("the gateway does not answer; it said:\n{}", server.said()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut seen, mut drawn) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        loads(admin, 0)?;
        let mut held = Vec::new();
        for _ in 0..options.connections {
            let mut connection = Connection::open(address, "/").map_err(|error| format!("cannot connect: {error}"))?;
            connection.ask()?;
            held.push(connection);
        }
        seen.push(most(&loads(admin, options.connections)?));
        let random = RandomState::new();
        let mut chance = vec![0; options.workers];
        for number in 0..options.connections {
            let worker = usize::try_from(random.hash_one(number) % options.workers as u64).unwrap_or(0);
            chance[worker] += 1;
        }
        drawn.push(most(&chance));
    }
    let metrics = metrics(admin)?;
    let moved = value(&metrics, "gateway_connections_moved_total").unwrap_or_default();
    println!("{} connections, {} workers, {} rounds", options.connections, options.workers, options.rounds);
    for (what, counts) in [("busiest worker", seen), ("by chance alone", drawn)] {
        let spread = Spread::of(counts).ok_or("no round was measured")?;
        println!("  {what:16} median {:.0} ({:.0} to {:.0})", spread.median, spread.least, spread.most);
    }
    println!("  moved            {:.1} a round", moved / options.rounds as f64);
    Ok(())
}

fn most(loads: &[u64]) -> f64 {
    loads.iter().max().map_or(0.0, |most| *most as f64)
}

fn metrics(admin: std::net::SocketAddr) -> Outcome<String> {
    client::get(admin, "/metrics").map(|reply| String::from_utf8_lossy(&reply.body).into_owned())
}

fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// The connections of each worker, once there are `all` of them: closing takes a moment.
fn loads(admin: std::net::SocketAddr, all: usize) -> Outcome<Vec<u64>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = metrics(admin)?;
        let of = |line: &str| line.strip_prefix("gateway_worker_connections{")?.rsplit(' ').next()?.parse().ok();
        let loads: Vec<u64> = metrics.lines().filter_map(of).collect();
        if loads.is_empty() {
            return Err("this gateway does not tell its workers' connections".to_owned());
        }
        if loads.iter().sum::<u64>() == all as u64 {
            return Ok(loads);
        }
        if Instant::now() > deadline {
            return Err(format!("{all} connections are expected, and the workers have {loads:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
