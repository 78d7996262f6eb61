//! The work that `cargo xtask dist` optimises for: something of everything, each for a while.
//!
//! What no load here touches, the compiler takes for rare: it makes that small rather than fast. So this is not only the
//! benchmark's plain requests but its chains of policies, the demo's shop with its traffic, reloads and scrapes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::bench::origin::Origin;
use crate::bench::proxy::{self, Product};
use crate::bench::scenario::{self, Kind};
use crate::bench::supervise::{self, Session};
use crate::bench::{GRACE, certificate, load, options, policies, reload, scrape};

/// How long each load lasts.
const LENGTH: Duration = Duration::from_secs(2);
/// How long the demo runs.
const DEMO: &str = "10s";

/// Programs this needs and their packages.
const PROGRAMS: [(&str, &str); 4] =
    [("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl"), ("taskset", "util-linux")];

/// Fails where something is missing that the loads need.
pub(crate) fn require() -> Outcome<()> {
    supervise::require(&PROGRAMS)
}

/// `xtask bench-train GATEWAY`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    let [gateway] = args else { return Err("usage: xtask bench-train GATEWAY".to_owned()) };
    require()?;
    let session = Session::enter(options::LOAD_CORE)?;
    let files = certificate::create(&session)?;
    let origin = Origin::start(&session)?;
    let path = Path::new(gateway);
    let prepared = proxy::prepare(&session, Product::Torana, path, origin.address, &files)?;
    let (running, _) = proxy::start(&session, &prepared)?;
    for scenario in scenario::all() {
        if let Kind::Load(load) = &scenario.kind {
            eprintln!("  {}: {}", scenario.name, scenario.title);
            load::run(&session, load, &running, LENGTH)?.all_answered()?;
        }
    }
    running.server.stop(GRACE);
    demo(&session, path)?;
    policies::load_all(session, origin, files, path, LENGTH)?;
    let beside = ["--rounds", "1", "--seconds", "2", "--bin", gateway].map(str::to_owned);
    reload::run(&beside)?;
    scrape::run(&beside)
}

fn demo(session: &Session, gateway: &Path) -> Outcome<()> {
    eprintln!("  demo");
    let mut command = Command::new(gateway);
    command.args(["demo", "--exit-after", DEMO]);
    session.spawn(&mut command, "demo.log")?.output(Duration::from_secs(60)).map(drop)
}
