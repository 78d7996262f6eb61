//! `cargo xtask budget`: user instructions and allocations of one plain proxied request.
//!
//! valgrind counts what the proxy executes, so a busy machine changes nothing and CI can hold the
//! line. After a warm-up callgrind is told to write out and reset its counters; then come the counted
//! requests and a second dump, which holds them and nothing of start-up or shutdown. How many connections to the origin
//! the proxy needs depends on how the replies happen to fall; what it spends on a new one is not the requests', so a pass
//! in which it made one is counted again. Threads are counted apart: those that have nothing to do with requests, such as
//! the one that watches files, allocate when they please.
//!
//! Sixteen connections send together and wait together: the proxy finds several ready at a time, as
//! it does under load. Kernel work is not counted; the benchmark's CPU time is for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::bench::callgrind::{self, Profile};
use crate::bench::certificate;
use crate::bench::client::{Connection, Reply};
use crate::bench::options::{self, BudgetOptions};
use crate::bench::origin::Origin;
use crate::bench::proxy::{self, Prepared, Product, Running};
use crate::bench::supervise::{self, Session};
use crate::workspace::installed;

const CONNECTIONS: u32 = 16;
const WARM_UP: u32 = 500;
/// Fewer than one allocation in a hundred requests is background work, not the request.
const NONE: f64 = 0.01;
/// A thread that executes fewer instructions for each request has nothing to do with them.
const ASIDE: u64 = 20;
/// How often to count again if the proxy made connections to the origin meanwhile.
const PASSES: u32 = 5;

pub(super) const PROGRAMS: [(&str, &str); 4] =
    [("valgrind", "valgrind"), ("callgrind_control", "valgrind"), ("openssl", "openssl"), ("taskset", "util-linux")];

/// `cargo xtask budget`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    if options::wants_help(args) {
        print!("{}", options::BUDGET_USAGE);
        return Ok(());
    }
    let options = BudgetOptions::parse(args)?;
    supervise::require(&PROGRAMS)?;
    let session = Session::enter(options::LOAD_CORE)?;
    let profile = count(&session, &options)?;
    let per_request = |count: u64| ratio(count, options.requests);
    let instructions = per_request(profile.instructions);
    let allocations = per_request(profile.total_allocations());
    println!("{}: {} requests on {CONNECTIONS} connections", options.product.name(), options.requests);
    println!("  user instructions per request: {instructions:.0}{}", limit(options.max_instructions));
    println!("  allocations per request:       {allocations:.3}{}", limit(options.max_allocations));
    for name in callgrind::ALLOCATORS {
        if let Some(calls) = profile.allocations.get(name) {
            println!("    {name}: {:.3}", per_request(*calls));
        }
    }
    verdict(&options, instructions, allocations)
}

fn limit(most: Option<f64>) -> String {
    most.map(|most| format!("   (budget {most})")).unwrap_or_default()
}

fn verdict(options: &BudgetOptions, instructions: f64, allocations: f64) -> Outcome<()> {
    let mut broken = Vec::new();
    if let Some(most) = options.max_instructions
        && instructions > most
    {
        broken.push(format!("{instructions:.0} instructions per request, the budget is {most}"));
    }
    if let Some(most) = options.max_allocations
        && allocations >= most + NONE
    {
        broken.push(format!("{allocations:.3} allocations per request, the budget is {most}"));
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}. To see where: build with `cargo build --profile profiling`, run `cargo xtask budget --bin \
         target/profiling/torana --keep /tmp/budget`, then `callgrind_annotate --tree=caller` on the files in /tmp/budget, one a thread",
        broken.join("; ")
    ))
}

pub(super) fn ratio(count: u64, requests: u32) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a run of minutes has far fewer than 2^52 instructions")]
    let count = count as f64;
    count / f64::from(requests)
}

/// Runs the proxy under callgrind and returns the profile of the counted requests alone.
fn count(session: &Session, options: &BudgetOptions) -> Outcome<Profile> {
    let files = certificate::create(session)?;
    let origin = Origin::start(session)?;
    let plain = proxy::prepare(session, options.product, &options.binary, origin.address, &files)?;
    let mut asking = Asking {
        requests: options.requests,
        warm_up: WARM_UP,
        per_request: 1,
        path: "/r5/json",
        next: Box::new(|_| Ok(())),
        check: Box::new(|reply| match (reply.status, reply.body.len()) {
            (200, 1024) => Ok(()),
            (status, length) => Err(format!("a reply of status {status} and {length} bytes")),
        }),
    };
    profile(session, plain, &origin, &mut asking, options.keep.as_deref())
}

/// What a proxy under callgrind is asked.
pub(super) struct Asking<'a> {
    pub(super) requests: u32,
    pub(super) warm_up: u32,
    /// Requests that reach the origin for each.
    pub(super) per_request: u32,
    pub(super) path: &'static str,
    /// Sets the next request of a connection.
    pub(super) next: Next<'a>,
    /// What replies have to be.
    pub(super) check: Check<'a>,
}

type Next<'a> = Box<dyn FnMut(&mut Connection) -> std::io::Result<()> + 'a>;
type Check<'a> = Box<dyn Fn(&Reply) -> Outcome<()> + 'a>;

/// Starts `prepared` under callgrind and counts what `asking` costs it.
pub(super) fn profile(
    session: &Session,
    prepared: Prepared,
    origin: &Origin,
    asking: &mut Asking<'_>,
    kept: Option<&Path>,
) -> Outcome<Profile> {
    let name = prepared.product.name();
    // A folder apart: torana watches the one its configuration is in, and would take note of every dump.
    let folder = session.folder("dumps")?;
    let dumps = folder.join("callgrind");
    let wrapped = under_callgrind(prepared, &dumps)?;
    let mut running = launch(session, &wrapped, asking)?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(running.plain, asking.path).map_err(|e| format!("cannot connect: {e}"))?);
    }
    exchange(&mut connections, asking.warm_up, asking)?;
    let start = dump(&running, &dumps, 1)?;
    if start.iter().all(|thread| thread.total_allocations() == 0) {
        return Err("callgrind saw no allocation during start-up, so it cannot see the allocator and 0 would mean \
                    nothing: use a binary with symbols (`cargo build --profile profiling`)"
            .to_owned());
    }
    let mut pass = 1;
    let counted = loop {
        let before = origin.seen()?;
        exchange(&mut connections, asking.requests, asking)?;
        let counted = dump(&running, &dumps, 1 + pass)?;
        let after = origin.seen()?;
        let arrived = after.requests - before.requests;
        let should = u64::from(asking.requests) * u64::from(asking.per_request);
        if arrived != should {
            return Err(format!("{} requests sent, but {arrived} reached the origin, not {should}", asking.requests));
        }
        let opened = after.connections - before.connections;
        if opened == 0 || pass == PASSES {
            break counted;
        }
        eprintln!("{name}: made {opened} new connections to the origin meanwhile; counting again");
        pass += 1;
    };
    drop(connections);
    if let Some(directory) = kept {
        keep(&dumps, pass, directory)?;
    }
    running.server.still_running().map_err(|e| format!("{name} died: {e}"))?;
    running.server.stop(Duration::from_secs(5));
    let threads = counted.into_iter().filter(|thread| thread.instructions >= u64::from(asking.requests) * ASIDE);
    let counted = threads.reduce(Profile::and).ok_or_else(|| format!("no thread of {name} did anything"))?;
    fs::remove_dir_all(&folder).map_err(|e| format!("cannot remove {}: {e}", folder.display()))?;
    Ok(counted)
}

/// The same command line behind valgrind. nginx runs in one process: its master does nothing here.
fn under_callgrind(mut prepared: Prepared, dumps: &Path) -> Outcome<Prepared> {
    let valgrind = installed("valgrind").ok_or("valgrind is not installed")?;
    if prepared.product == Product::Nginx
        && let Some(globals) = prepared.args.last_mut()
    {
        globals.push_str(" master_process off;");
    }
    let program = std::mem::replace(&mut prepared.program, valgrind);
    let mut args = vec![
        "--tool=callgrind".to_owned(),
        // A dump must be readable without the one before it.
        "--compress-strings=no".to_owned(),
        "--separate-threads=yes".to_owned(),
        format!("--callgrind-out-file={}", dumps.display()),
        program.display().to_string(),
    ];
    args.append(&mut prepared.args);
    prepared.args = args;
    Ok(prepared)
}

fn launch(session: &Session, prepared: &Prepared, asking: &mut Asking<'_>) -> Outcome<Running> {
    let asking = std::cell::RefCell::new(asking);
    let ask = |plain| {
        let mut connection =
            Connection::open(plain, asking.borrow().path).map_err(|e| format!("cannot connect to {plain}: {e}"))?;
        exchange(std::slice::from_mut(&mut connection), 1, &mut asking.borrow_mut())
    };
    let (running, _) =
        proxy::start_patiently(session, prepared, Duration::from_secs(120), Duration::from_millis(50), ask)?;
    Ok(running)
}

/// `requests` in all: a volley of all connections, then all their replies, and again.
fn exchange(connections: &mut [Connection], requests: u32, asking: &mut Asking<'_>) -> Outcome<()> {
    let mut left = requests as usize;
    while left > 0 {
        let volley = left.min(connections.len());
        let (now, _) = connections.split_at_mut(volley);
        for connection in &mut *now {
            (asking.next)(connection).and_then(|()| connection.send()).map_err(|e| format!("cannot send: {e}"))?;
        }
        for connection in now {
            let reply = connection.receive().map_err(|e| format!("no reply: {e}"))?;
            (asking.check)(&reply)?;
        }
        left -= volley;
    }
    Ok(())
}

/// Has callgrind write the counters of each thread to `DUMPS.NUMBER-THREAD` and start again from zero.
fn dump(running: &Running, dumps: &Path, number: u32) -> Outcome<Vec<Profile>> {
    // taskset and valgrind replace themselves, so the server's own id is still that of the program.
    let id = running.server.id().to_string();
    let output = Command::new("callgrind_control")
        .args(["--dump", &id])
        .output()
        .map_err(|e| format!("cannot start callgrind_control: {e}"))?;
    let threads =
        fs::read_dir(format!("/proc/{id}/task")).map_err(|e| format!("cannot list the threads of {id}: {e}"))?.count();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let profiles: Option<Vec<Profile>> = written(dumps, number)?
            .iter()
            .map(|file| fs::read_to_string(file).ok().and_then(|text| callgrind::parse(&text)))
            .collect();
        // Threads that have ended are among them.
        if let Some(profiles) = profiles.filter(|profiles| profiles.len() >= threads) {
            return Ok(profiles);
        }
        if Instant::now() > deadline {
            return Err(format!(
                "callgrind did not write {}.{number}-* for {threads} threads; callgrind_control said:\n{}{}",
                dumps.display(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The files of one dump, one a thread.
fn written(dumps: &Path, number: u32) -> Outcome<Vec<PathBuf>> {
    let folder = dumps.parent().unwrap_or(dumps);
    let failed = |e: std::io::Error| format!("cannot list {}: {e}", folder.display());
    let beginning = format!("callgrind.{number}-");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(&beginning) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Copies the profiles of the warm-up, as number 1, and of the pass that counts, as number 2.
fn keep(dumps: &Path, pass: u32, directory: &Path) -> Outcome<()> {
    let failed = |e: std::io::Error| format!("cannot copy the profiles to {}: {e}", directory.display());
    fs::create_dir_all(directory).map_err(failed)?;
    for (number, kept) in [(1, 1), (1 + pass, 2)] {
        for file in written(dumps, number)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let thread = name.rsplit('-').next().unwrap_or_default();
            fs::copy(&file, directory.join(format!("callgrind.{kept}-{thread}"))).map_err(failed)?;
        }
    }
    Ok(())
}
