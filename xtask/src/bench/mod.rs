//! The benchmark: torana against nginx and haproxy, and the budgets of one request.
//!
//! What makes the figures worth anything on a shared machine, in order of weight:
//!
//! 1. **CPU per request, not requests per second.** On-CPU nanoseconds of the proxy's whole process
//!    group ([`cpu`]) over completed requests. Other programs slow a window down; they change its CPU time far less.
//! 2. **Interleaved rounds** ([`rounds`]): A B C, then C B A. A ratio is always taken inside one round,
//!    and the median over rounds is reported with its whole range.
//! 3. **The same work** ([`proxy`]): every proxy is asked, before it is measured, to show that it
//!    forwards what the others forward; the origin counts what really reached it.
//! 4. **Nothing hidden**: a window with one failed request does not count and is listed.
//!
//! `bench reload` and `bench scrape` measure torana alone, with and without reloads or scrapes of its metrics beside
//! the requests ([`reload`], [`scrape`]).
//!
//! `bench skew` counts how connections are spread over workers ([`skew`]).
//!
//! `bench policies` measures what policies cost, against proxies that do without or do the like ([`policies`]).
//!
//! `cargo xtask dist` has the compiler see what [`train`] makes the gateway do.
//!
//! `budget` is the part that CI can run: instructions are counted, not timed, so noise does not matter.

mod beside;
pub(crate) mod budget;
mod callgrind;
mod certificate;
mod client;
mod cpu;
pub(crate) mod floor;
mod footprint;
mod load;
mod markdown;
mod options;
pub(crate) mod origin;
mod policies;
mod profile;
mod proxy;
mod reload;
mod report;
mod rounds;
mod scenario;
mod scrape;
mod skew;
mod statistics;
mod supervise;
pub(crate) mod train;

use std::time::Duration;

use crate::Outcome;
use options::BenchOptions;
use scenario::Kind;
use supervise::Session;

/// Programs the benchmark starts and the Debian package each comes from.
const PROGRAMS: [(&str, &str); 6] = [
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("openssl", "openssl"),
    ("taskset", "util-linux"),
];

/// How long a proxy may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// `cargo xtask bench`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    match args.split_first() {
        Some((first, rest)) if first == "reload" => return reload::run(rest),
        Some((first, rest)) if first == "scrape" => return scrape::run(rest),
        Some((first, rest)) if first == "skew" => return skew::run(rest),
        Some((first, rest)) if first == "policies" => return policies::run(rest),
        _ => {}
    }
    if options::wants_help(args) {
        print!("{}", options::BENCH_USAGE);
        return Ok(());
    }
    let options = BenchOptions::parse(args)?;
    supervise::require(&PROGRAMS)?;
    if options.profile {
        supervise::require(&[profile::PROGRAM])?;
    }
    options.require_binary()?;
    let session = Session::enter(options::LOAD_CORE)?;
    let files = certificate::create(&session)?;
    let origin = origin::Origin::start(&session)?;
    let mut report = report::Report::new(&options);
    for scenario in &options.scenarios {
        eprintln!("{}: {}", scenario.name, scenario.title);
        match &scenario.kind {
            Kind::Load(load) => {
                let table = rounds::measure(&session, &options, scenario, load, &origin, &files)?;
                report.load(scenario, table);
            }
            Kind::Idle => report.idle(scenario, footprint::idle(&session, &options, scenario, &origin, &files)?),
            Kind::Start => report.start(scenario, footprint::start(&session, &options, scenario, &origin, &files)?),
            Kind::Binary => report.binary(scenario, footprint::binary(&options, scenario)?),
        }
    }
    println!("{}", report.tables());
    if options.write { report.write() } else { Ok(()) }
}
