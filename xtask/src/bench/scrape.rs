//! `cargo xtask bench scrape`: how long a scrape of the metrics of many used routes takes, and what it does to the
//! latency of requests.

use crate::Outcome;
use crate::bench::beside::{self, Gateway};
use crate::bench::client::Connection;
use crate::bench::options::{self, BesideOptions};
use crate::bench::origin::Origin;
use crate::bench::supervise::{self, Session};

/// `cargo xtask bench scrape`.
pub(super) fn run(args: &[String]) -> Outcome<()> {
    if options::wants_help(args) {
        print!("{}{}", options::SCRAPE_USAGE, options::BESIDE_USAGE);
        return Ok(());
    }
    let options = BesideOptions::parse_scrape(args)?;
    supervise::require(&beside::PROGRAMS)?;
    let session = Session::enter(options::LOAD_CORE)?;
    let origin = Origin::start(&session)?;
    let gateway = Gateway::start(&session, &options, |addresses| {
        session.write("torana.yaml", &beside::configuration(&options, addresses, origin.address))
    })?;
    // A route that has had no request has no numbers to show.
    let mut connection = Connection::open(gateway.address, "/").map_err(|error| format!("cannot connect: {error}"))?;
    for route in 0..options.routes {
        connection.set_request("GET", &beside::path(route));
        connection.ask()?;
    }
    let text = String::from_utf8(crate::bench::client::get(gateway.admin, "/metrics")?.body)
        .map_err(|_| "the metrics are not text")?;
    let shown = text.lines().filter(|line| line.starts_with("gateway_request_duration_seconds_count{")).count();
    if shown < options.routes {
        return Err(format!("{} routes were used, but only {shown} are in the metrics", options.routes));
    }
    let alone = format!("a scrape: {} lines, {:.1} MB", text.lines().count(), text.len() as f64 / 1e6);
    beside::compare(&gateway, &options, "scrapes", &alone, &|| gateway.scrape(), &|| gateway.admin("GET", "/readyz"))
}
