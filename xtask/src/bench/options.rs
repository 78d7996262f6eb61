//! What the command line of `bench` and `budget` may say.

use std::path::PathBuf;

use crate::Outcome;
use crate::bench::proxy::Product;
use crate::bench::scenario::{self, Scenario};

/// The core every proxy is pinned to.
pub(super) const PROXY_CORE: u32 = 0;
/// The core of the load generator, the origin and this program.
pub(super) const LOAD_CORE: u32 = 1;

pub(super) const BENCH_USAGE: &str = "\
usage: cargo xtask bench [OPTIONS]
       cargo xtask bench reload [OPTIONS]
       cargo xtask bench scrape [OPTIONS]
       cargo xtask bench policies [OPTIONS]
       cargo xtask bench skew [--connections N] [--workers N] [--rounds N] [--bin PATH | --dist]

Measures torana, nginx and haproxy, one worker each on core 0; load generator and origin on core 1.

  --rounds N            interleaved rounds per scenario (default 5)
  --seconds S           length of one window (default 3)
  --only A,B            scenarios: get tls post big h2 churn idle start binary, and `fixed`
                        (2 000 requests/s), which only runs when named
  --proxies A,B         of torana,nginx,haproxy,floor (default all; nginx is the baseline and always runs;
                        floor forwards without reading anything: what the kernel alone costs)
  --connections N       idle connections of the `idle` scenario (default 5000)
  --profile             also tell where the time goes, by a window more with `perf`
  --bin PATH            the gateway (default target/release/torana)
  --dist                the gateway that `cargo xtask dist` has built
  --write               also write the tables to bench/RESULTS.md

Quote only figures of an otherwise idle machine: see `foreign load` in the tables.
";

pub(super) const POLICIES_USAGE: &str = "\
usage: cargo xtask bench policies [OPTIONS]

Measures what policies cost: CPU time against nginx and haproxy, and instructions and allocations by callgrind.

  --rounds N            interleaved rounds per row (default 5; 0: only count instructions)
  --seconds S           length of one window (default 2)
  --requests N          counted requests per row (default 2000; 0: only measure CPU time)
  --only A,B            rows, see below (default all)
  --own-only            count instructions of torana only
  --keep DIR            copy callgrind's files there, for callgrind_annotate
  --bin PATH            the gateway (default target/release/torana)
  --dist                the gateway that `cargo xtask dist` has built
  --write               also write the rows to bench/RESULTS.md

rows:
";

pub(super) const RELOAD_USAGE: &str = "\
usage: cargo xtask bench reload [OPTIONS]

Latency of requests with and without reloads of a large configuration beside them, in windows that take turns.

  --routes N            routes of the configuration (default 10000)
  --reloads R           reloads a second, if they are made that fast (default 20)
";

pub(super) const SCRAPE_USAGE: &str = "\
usage: cargo xtask bench scrape [OPTIONS]

Latency of requests with and without scrapes of the metrics beside them, in windows that take turns, when every route
of a large configuration has been used.

  --routes N            routes of the configuration (default 10000)
  --scrapes R           scrapes a second (default 1)
";

/// What both of them may be told.
pub(super) const BESIDE_USAGE: &str = "  --rate R              requests a second (default 2000)
  --workers N           workers of the gateway (default 1)
  --rounds N            pairs of windows (default 5)
  --seconds S           length of a window (default 5)
  --max-ratio X         fail if the median ratio of the p99 is above
  --write               also write the figures to bench/RESULTS.md
  --bin PATH            the gateway (default target/release/torana)
  --dist                the gateway that `cargo xtask dist` has built
";

pub(super) const BUDGET_USAGE: &str = "\
usage: cargo xtask budget [OPTIONS]

Counts user instructions and allocator calls per plain proxied request with valgrind's callgrind.

  --bin PATH            the gateway (default target/release/torana)
  --dist                the gateway that `cargo xtask dist` has built
  --proxy NAME          measure nginx or haproxy instead, to check the method; no limits unless given
  --requests N          counted requests, after a warm-up (default 4000)
  --max-instructions N  fail above this many per request (default 20000)
  --max-allocations N   fail above this many per request (default 0; less than 0.01 counts as none)
  --keep DIR            copy callgrind's files there, for callgrind_annotate
";

/// Options of `cargo xtask bench`.
#[derive(Debug)]
pub(super) struct BenchOptions {
    pub(super) rounds: usize,
    pub(super) seconds: u32,
    pub(super) scenarios: Vec<Scenario>,
    pub(super) products: Vec<Product>,
    pub(super) connections: usize,
    /// Whether to tell where the time goes.
    pub(super) profile: bool,
    pub(super) binary: PathBuf,
    pub(super) write: bool,
    /// The command line as typed, for the report.
    pub(super) typed: String,
}

impl BenchOptions {
    pub(super) fn parse(args: &[String]) -> Outcome<Self> {
        let mut options = Self {
            rounds: 5,
            seconds: 3,
            scenarios: scenario::all().into_iter().filter(|s| s.by_default).collect(),
            products: Product::ALL.to_vec(),
            connections: 5000,
            profile: false,
            binary: default_binary(),
            write: false,
            typed: typed("bench", args),
        };
        let mut args = Arguments::new(args, "bench");
        while let Some(flag) = args.flag() {
            match flag.as_str() {
                "--rounds" => options.rounds = args.number("--rounds", 1)?,
                "--seconds" => options.seconds = args.number("--seconds", 1)?,
                "--connections" => options.connections = args.number("--connections", 1)?,
                "--profile" => options.profile = true,
                "--only" => options.scenarios = scenarios(&args.value("--only")?)?,
                "--proxies" => options.products = products(&args.value("--proxies")?)?,
                "--bin" => options.binary = PathBuf::from(args.value("--bin")?),
                "--dist" => options.binary = built("dist/torana"),
                "--write" => options.write = true,
                other => return Err(args.unknown(other)),
            }
        }
        Ok(options)
    }

    /// Those of the products that can do what `scenario` asks: the floor knows nothing but small requests in the clear.
    pub(super) fn rivals(&self, scenario: &Scenario) -> Vec<Product> {
        let is_small = ["get", "fixed"].contains(&scenario.name);
        self.products.iter().copied().filter(|product| is_small || *product != Product::Floor).collect()
    }

    /// Refuses to start without the gateway, rather than after ten minutes of the others.
    pub(super) fn require_binary(&self) -> Outcome<()> {
        if !self.products.contains(&Product::Torana) {
            return Ok(());
        }
        require_binary(&self.binary)
    }
}

/// Options of `cargo xtask bench policies`.
#[derive(Debug)]
pub(super) struct PoliciesOptions {
    pub(super) rounds: usize,
    pub(super) seconds: u32,
    pub(super) requests: u32,
    /// Rows by name; empty for all.
    pub(super) only: Vec<String>,
    pub(super) own_only: bool,
    pub(super) keep: Option<PathBuf>,
    pub(super) binary: PathBuf,
    pub(super) write: bool,
    /// The command line as typed, for the record.
    pub(super) typed: String,
}

impl PoliciesOptions {
    pub(super) fn parse(args: &[String]) -> Outcome<Self> {
        let mut options = Self {
            rounds: 5,
            seconds: 2,
            requests: 2000,
            only: Vec::new(),
            own_only: false,
            keep: None,
            binary: default_binary(),
            write: false,
            typed: typed("bench policies", args),
        };
        let mut args = Arguments::new(args, "bench policies");
        while let Some(flag) = args.flag() {
            match flag.as_str() {
                "--rounds" => options.rounds = args.number("--rounds", 0)?,
                "--seconds" => options.seconds = args.number("--seconds", 1)?,
                "--requests" => options.requests = args.number("--requests", 0)?,
                "--only" => options.only = args.value("--only")?.split(',').map(str::to_owned).collect(),
                "--own-only" => options.own_only = true,
                "--keep" => options.keep = Some(PathBuf::from(args.value("--keep")?)),
                "--bin" => options.binary = PathBuf::from(args.value("--bin")?),
                "--dist" => options.binary = built("dist/torana"),
                "--write" => options.write = true,
                other => return Err(args.unknown(other)),
            }
        }
        if options.rounds == 0 && options.requests == 0 {
            return Err("nothing to measure: --rounds and --requests are both 0".to_owned());
        }
        require_binary(&options.binary)?;
        Ok(options)
    }
}

/// Options of `cargo xtask bench reload` and `bench scrape`.
#[derive(Clone, Debug)]
pub(super) struct BesideOptions {
    pub(super) routes: usize,
    /// How often a second what is done beside requests is done.
    pub(super) times: f64,
    pub(super) rate: u32,
    pub(super) workers: u32,
    pub(super) rounds: usize,
    pub(super) seconds: u32,
    pub(super) max_ratio: Option<f64>,
    pub(super) binary: PathBuf,
    pub(super) write: bool,
    /// As it was typed, without the gateway's place.
    pub(super) typed: String,
}

impl BesideOptions {
    pub(super) fn parse_reload(args: &[String]) -> Outcome<Self> {
        Self::parse(args, "bench reload", "--reloads", 20.0)
    }

    pub(super) fn parse_scrape(args: &[String]) -> Outcome<Self> {
        Self::parse(args, "bench scrape", "--scrapes", 1.0)
    }

    fn parse(args: &[String], command: &'static str, often: &'static str, times: f64) -> Outcome<Self> {
        let mut options = Self {
            write: false,
            typed: typed(command, args),
            routes: 10_000,
            times,
            rate: 2000,
            workers: 1,
            rounds: 5,
            seconds: 5,
            max_ratio: None,
            binary: default_binary(),
        };
        let mut args = Arguments::new(args, command);
        while let Some(flag) = args.flag() {
            match flag.as_str() {
                "--write" => options.write = true,
                flag if flag == often => options.times = args.number(often, 0.1)?,
                "--routes" => options.routes = args.number("--routes", 1)?,
                "--rate" => options.rate = args.number("--rate", 1)?,
                "--workers" => options.workers = args.number("--workers", 1)?,
                "--rounds" => options.rounds = args.number("--rounds", 1)?,
                "--seconds" => options.seconds = args.number("--seconds", 1)?,
                "--max-ratio" => options.max_ratio = Some(args.number("--max-ratio", 0.0)?),
                "--bin" => options.binary = PathBuf::from(args.value("--bin")?),
                "--dist" => options.binary = built("dist/torana"),
                other => return Err(args.unknown(other)),
            }
        }
        require_binary(&options.binary)?;
        Ok(options)
    }
}

/// Options of `cargo xtask bench skew`.
#[derive(Debug)]
pub(super) struct SkewOptions {
    pub(super) connections: usize,
    pub(super) workers: usize,
    pub(super) rounds: usize,
    pub(super) binary: PathBuf,
}

impl SkewOptions {
    pub(super) fn parse(args: &[String]) -> Outcome<Self> {
        let mut options = Self { connections: 24, workers: 2, rounds: 20, binary: default_binary() };
        let mut args = Arguments::new(args, "bench");
        while let Some(flag) = args.flag() {
            match flag.as_str() {
                "--connections" => options.connections = args.number("--connections", 1)?,
                "--workers" => options.workers = args.number("--workers", 2)?,
                "--rounds" => options.rounds = args.number("--rounds", 1)?,
                "--bin" => options.binary = PathBuf::from(args.value("--bin")?),
                "--dist" => options.binary = built("dist/torana"),
                other => return Err(args.unknown(other)),
            }
        }
        require_binary(&options.binary)?;
        Ok(options)
    }
}

/// Options of `cargo xtask budget`.
#[derive(Debug)]
pub(super) struct BudgetOptions {
    pub(super) binary: PathBuf,
    pub(super) product: Product,
    pub(super) requests: u32,
    pub(super) max_instructions: Option<f64>,
    pub(super) max_allocations: Option<f64>,
    pub(super) keep: Option<PathBuf>,
}

impl BudgetOptions {
    pub(super) fn parse(args: &[String]) -> Outcome<Self> {
        let mut options = Self {
            binary: default_binary(),
            product: Product::Torana,
            requests: 4000,
            max_instructions: None,
            max_allocations: None,
            keep: None,
        };
        let mut args = Arguments::new(args, "budget");
        while let Some(flag) = args.flag() {
            match flag.as_str() {
                "--bin" => options.binary = PathBuf::from(args.value("--bin")?),
                "--dist" => options.binary = built("dist/torana"),
                "--proxy" => options.product = product(&args.value("--proxy")?)?,
                "--requests" => options.requests = args.number("--requests", 100)?,
                "--max-instructions" => options.max_instructions = Some(args.number("--max-instructions", 0.0)?),
                "--max-allocations" => options.max_allocations = Some(args.number("--max-allocations", 0.0)?),
                "--keep" => options.keep = Some(PathBuf::from(args.value("--keep")?)),
                other => return Err(args.unknown(other)),
            }
        }
        if options.product == Product::Torana {
            options.max_instructions.get_or_insert(20_000.0);
            options.max_allocations.get_or_insert(0.0);
            require_binary(&options.binary)?;
        }
        Ok(options)
    }
}

pub(super) fn wants_help(args: &[String]) -> bool {
    args.iter().any(|a| a == "--help" || a == "-h")
}

/// Where `cargo build --release` leaves the gateway.
fn default_binary() -> PathBuf {
    built("release/torana")
}

/// A place in cargo's target directory, its own if one was chosen.
fn built(place: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join(place)
}

/// Where the records are.
pub(super) fn results() -> PathBuf {
    workspace().join("bench/RESULTS.md")
}

/// The workspace's root, so that the commands work from any directory.
pub(super) fn workspace() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or_else(|| xtask.clone(), PathBuf::from)
}

fn require_binary(path: &std::path::Path) -> Outcome<()> {
    if path.is_file() {
        return Ok(());
    }
    Err(format!(
        "no gateway at {}: run `cargo build --release` (for --dist: `cargo xtask dist`), name one with --bin PATH, or measure the others alone \
         (bench --proxies nginx,haproxy; budget --proxy nginx)",
        path.display()
    ))
}

fn scenarios(list: &str) -> Outcome<Vec<Scenario>> {
    let known = scenario::all();
    list.split(',')
        .map(|name| {
            known.iter().find(|s| s.name == name).cloned().ok_or_else(|| {
                let names: Vec<_> = known.iter().map(|s| s.name).collect();
                format!("unknown scenario `{name}`; there are: {}", names.join(" "))
            })
        })
        .collect()
}

/// nginx is added where it is missing: every ratio is against it.
fn products(list: &str) -> Outcome<Vec<Product>> {
    let wanted: Vec<Product> = list.split(',').map(product).collect::<Outcome<_>>()?;
    Ok(Product::ALL.into_iter().filter(|p| *p == Product::Nginx || wanted.contains(p)).collect())
}

fn product(name: &str) -> Outcome<Product> {
    Product::ALL
        .into_iter()
        .find(|p| p.name() == name)
        .ok_or_else(|| format!("unknown proxy `{name}`; there are: torana nginx haproxy floor"))
}

/// The command line for a record, but for paths: where files are on this machine is nobody's business.
fn typed(command: &str, args: &[String]) -> String {
    let mut typed = format!("cargo xtask {command}");
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--bin" || word == "--keep" {
            words.next();
        } else {
            typed.push(' ');
            typed.push_str(word);
        }
    }
    typed
}

/// `--flag value` pairs, in any order.
struct Arguments<'a> {
    rest: std::slice::Iter<'a, String>,
    command: &'static str,
}

impl<'a> Arguments<'a> {
    fn new(args: &'a [String], command: &'static str) -> Self {
        Self { rest: args.iter(), command }
    }

    fn flag(&mut self) -> Option<String> {
        self.rest.next().cloned()
    }

    fn value(&mut self, flag: &str) -> Outcome<String> {
        self.rest.next().cloned().ok_or_else(|| format!("{flag} needs a value"))
    }

    fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display>(&mut self, flag: &str, least: T) -> Outcome<T> {
        let value = self.value(flag)?;
        match value.parse::<T>() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(format!("{flag} needs a number of at least {least}, not `{value}`")),
        }
    }

    fn unknown(&self, flag: &str) -> String {
        format!("unknown option `{flag}`; see `cargo xtask {} --help`", self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn nginx_is_always_measured() {
        let options = BenchOptions::parse(&words("--proxies haproxy --only get,idle --rounds 2")).unwrap();
        assert_eq!(options.products, [Product::Nginx, Product::Haproxy]);
        assert_eq!(options.scenarios.len(), 2);
        assert_eq!(options.rounds, 2);
    }

    #[test]
    fn records_have_the_command_without_paths() {
        let args = words("--rounds 2 --bin /some/where --write --keep /else/where --only a,b");
        assert_eq!(typed("bench", &args), "cargo xtask bench --rounds 2 --write --only a,b");
    }

    #[test]
    fn mistakes_say_what_is_possible() {
        assert!(BenchOptions::parse(&words("--only gett")).unwrap_err().contains("get tls post"));
        assert!(BenchOptions::parse(&words("--rounds 0")).unwrap_err().contains("at least 1"));
        assert!(BenchOptions::parse(&words("--loud")).unwrap_err().contains("--help"));
    }
}
