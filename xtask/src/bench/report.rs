//! The tables, on the terminal and in `bench/RESULTS.md`.

use std::process::Command;

use crate::Outcome;
use crate::bench::beside;
use crate::bench::footprint::{Idle, Start};
use crate::bench::markdown::{met, show, table};
use crate::bench::options::{BenchOptions, results};
use crate::bench::policies;
use crate::bench::profile::Place;
use crate::bench::proxy::{Product, first_line};
use crate::bench::rounds::Row;
use crate::bench::scenario::{Kind, Scenario, Tool};
use crate::bench::statistics::Spread;

/// How to read the tables; it goes with every result so that no figure travels alone.
const METHOD: &str = "\
Written by `cargo xtask bench --write`; do not edit.

## How to read this

- **CPU / nginx** is the figure that counts: on-CPU nanoseconds of the proxy's process group per completed request, against nginx in the
  same round; the median over interleaved rounds and, in brackets, the whole range. Lower is better. Requests per second
  depend on what the machine leaves over and are there for orientation.
- One worker of each proxy pinned to core 0; load generator and origin share core 1. Where **core** is well below 100 %, they or other programs set the pace, not the proxy.
- **foreign** is the share of the machine that other programs used, **steal** what the hypervisor took. Above a few per cent, do not quote.
- **valid** are the rounds without a single failed request; others do not count and are listed below the table.
- **reconnects** are connections to the origin per 1 000 requests: near 0 for a pool that works.
- **floor** is no product but what sockets cost a proxy: it passes on every piece that comes, with the headers that torana adds, and reads and checks nothing
  (`xtask/src/bench/floor.rs`). What a proxy costs above it is what a program can do something about.
- Where the command below says `--dist`, torana is the build of `cargo xtask dist`, which is what is shipped; without, that of `cargo build --release`,
  4 to 10 % dearer. nginx and haproxy are Debian's.
- On loopback the kernel charges a packet's receive work to its sender, for all proxies alike.
- A second table, **us/request**, tells where that time goes, by a profile of one window more (`--profile`). What the kernel does for a system call
  stands under the call.

## The same work

Ten prefix routes, the request matching the sixth; pooled keep-alive connections to the origin; X-Forwarded-For, -Proto and -Host set (checked before each scenario);
hop-by-hop headers replaced; limits and timeouts on; no access log. torana also makes X-Request-Id and traceparent and keeps its metrics; nginx makes no request id, because
its slow generator would flatter torana. Requests carry 7 headers (about 500 bytes), replies 6. Configurations: `bench/nginx.conf`, `bench/haproxy.cfg`, `bench/torana.yaml`.
torana accepts clients when they speak (`defer_accept`), which is its default; nginx and haproxy can be told to (`listen … deferred`, `defer-accept`) and are
measured as they come: it decides new connections.
";

/// Collects results in the order they come.
#[derive(Debug)]
pub(super) struct Report<'a> {
    options: &'a BenchOptions,
    summary: Vec<Vec<String>>,
    sections: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(options: &'a BenchOptions) -> Self {
        Self { options, summary: Vec::new(), sections: String::new() }
    }

    pub(super) fn load(&mut self, scenario: &Scenario, rows: Vec<Row>) {
        let headers = [
            "proxy",
            "CPU us/request (best)",
            "CPU / nginx",
            "req/s",
            "req/s / nginx",
            "p99 ms",
            "core",
            "reconnects",
            "foreign",
            "steal",
            "valid",
        ];
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                vec![
                    row.product.name().to_owned(),
                    show(row.cpu, |s| format!("{:.1} ({:.1})", s.median, s.least)),
                    show(row.ratio, |s| format!("**{:.2}** ({:.2}..{:.2})", s.median, s.least, s.most)),
                    show(row.per_second, |s| format!("{:.0}", s.median)),
                    show(row.per_second_ratio, |s| format!("{:.2}", s.median)),
                    show(row.p99, |s| format!("{:.1}", s.median)),
                    show(row.core, |s| format!("{:.0} %", s.median * 100.0)),
                    show(row.reconnects, |s| format!("{:.1}", s.median)),
                    show(row.foreign, |s| format!("{:.0} %", s.median * 100.0)),
                    show(row.steal, |s| format!("{:.0} %", s.median * 100.0)),
                    format!("{}/{}", row.valid, row.rounds),
                ]
            })
            .collect();
        self.section(scenario.title, &table(&headers, &cells));
        let load_is_paced = matches!(&scenario.kind, Kind::Load(load) if matches!(load.tool, Tool::Rate(_)));
        for row in &rows {
            if let Some(cipher) = &row.cipher {
                self.note(&format!("{}: {cipher}", row.product.name()));
            }
            if row.core.is_some_and(|core| core.median < 0.9) && !load_is_paced {
                self.note(&format!(
                    "{}: not saturated: load generator, origin or other programs set the pace",
                    row.product.name()
                ));
            }
            for failure in &row.failures {
                self.note(&format!("{}, not counted: {failure}", row.product.name()));
            }
        }
        self.profiles(&rows);
        let value = |product| rows.iter().find(|r| r.product == product).and_then(|r| r.ratio).map(|s| s.median);
        self.summarise(scenario.title, "x nginx", scenario.goal, value, |v| format!("{v:.2}"));
    }

    /// Where the time goes, of those of which it was looked at.
    fn profiles(&mut self, rows: &[Row]) {
        let cells: Vec<Vec<String>> = rows
            .iter()
            .filter_map(|row| {
                let (profile, cpu) = (row.profile.as_ref()?, row.cpu?);
                let parts = profile.0.iter().map(|share| format!("{:.2}", share * cpu.median));
                Some([row.product.name().to_owned()].into_iter().chain(parts).collect())
            })
            .collect();
        if !cells.is_empty() {
            let headers: Vec<&str> = ["us/request"].into_iter().chain(Place::ALL.map(Place::name)).collect();
            self.sections.push_str(&format!("\n{}", table(&headers, &cells)));
        }
    }

    pub(super) fn idle(&mut self, scenario: &Scenario, rows: Vec<Idle>) {
        let headers = ["proxy", "at rest, MB", "with idle connections, MB", "KB each", "after they closed, MB"];
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let (rest, loaded, after) = (row.at_rest, row.loaded, row.after);
                let name = row.product.name().to_owned();
                vec![name, one(rest), one(loaded), one(row.kilobytes_each()), one(after)]
            })
            .collect();
        let title = format!("{} idle connections, each after one request (Pss)", self.options.connections);
        self.section(&title, &table(&headers, &cells));
        let value = |product| rows.iter().find(|r| r.product == product).map(|r| r.loaded);
        self.summarise(&title, "MB", scenario.goal, value, one);
    }

    pub(super) fn start(&mut self, scenario: &Scenario, rows: Vec<Start>) {
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let Spread { median, least, most } = row.milliseconds;
                vec![row.product.name().to_owned(), format!("{median:.0} ({least:.0}..{most:.0})")]
            })
            .collect();
        self.section(scenario.title, &table(&["proxy", "ms"], &cells));
        let value = |product| rows.iter().find(|r| r.product == product).map(|r| r.milliseconds.median);
        self.summarise(scenario.title, "ms", scenario.goal, value, |v| format!("{v:.0}"));
    }

    pub(super) fn binary(&mut self, scenario: &Scenario, rows: Vec<(Product, f64)>) {
        let value = |product| rows.iter().find(|(p, _)| *p == product).map(|(_, size)| *size);
        self.summarise(scenario.title, "MB", scenario.goal, value, one);
    }

    fn summarise(
        &mut self,
        title: &str,
        unit: &str,
        goal: Option<f64>,
        value: impl Fn(Product) -> Option<f64>,
        text: impl Fn(f64) -> String,
    ) {
        let cell = |product| show(value(product), &text);
        self.summary.push(vec![
            title.to_owned(),
            unit.to_owned(),
            cell(Product::Torana),
            show(goal, |goal| format!("≤ {}", text(goal))),
            met(goal, value(Product::Torana)).to_owned(),
            cell(Product::Nginx),
            cell(Product::Haproxy),
            cell(Product::Floor),
        ]);
    }

    fn section(&mut self, title: &str, body: &str) {
        self.sections.push_str(&format!("\n### {title}\n\n{body}"));
    }

    fn note(&mut self, text: &str) {
        if !self.sections.ends_with("\n\n") && self.sections.ends_with("|\n") {
            self.sections.push('\n');
        }
        self.sections.push_str(&format!("- {text}\n"));
    }

    /// The tables, for the terminal.
    pub(super) fn tables(&self) -> String {
        let headers = ["scenario", "unit", "torana", "goal", "met", "nginx", "haproxy", "floor"];
        let summary = table(&headers, &self.summary);
        let (surroundings, sections) = (self.surroundings(), &self.sections);
        format!("{surroundings}\n## Summary\n\n{summary}\n## Scenarios\n{sections}")
    }

    /// Replaces `bench/RESULTS.md`, all but the sections that are measured apart, with the tables and how to read them.
    pub(super) fn write(&self) -> Outcome<()> {
        let path = results();
        // What is measured apart stays.
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let text = format!("# Benchmark results\n\n{METHOD}\n{}", self.tables());
        let text = policies::keep_beside(&beside::keep(&text, &before), &before);
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        eprintln!("written to {}", path.display());
        Ok(())
    }

    fn surroundings(&self) -> String {
        let options = self.options;
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
        let model = cpu.lines().find(|l| l.starts_with("model name")).and_then(field);
        let cores = cpu.lines().filter(|l| l.starts_with("processor")).count();
        let versions = Product::ALL.iter().filter(|p| **p != Product::Floor && options.products.contains(p));
        let versions: Vec<_> = versions.map(|p| p.version(&options.binary)).collect();
        format!(
            "## This run\n\n- {}\n- {}, {cores} cores, {}\n- {}\n- {}; {}\n- {} rounds, windows of {} s: `{}`\n",
            first_line(Command::new("date").args(["-u", "+%F %R UTC"])),
            model.unwrap_or_else(|| "unknown processor".to_owned()),
            first_line(Command::new("uname").arg("-srm")),
            versions.join("; "),
            first_line(Command::new("wrk").arg("-v")),
            first_line(Command::new("h2load").arg("--version")),
            options.rounds,
            options.seconds,
            options.typed
        )
    }
}

fn one(value: f64) -> String {
    format!("{value:.1}")
}
