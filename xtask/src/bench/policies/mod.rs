//! `cargo xtask bench policies`: what policies cost.
//!
//! The same method as the rest of the benchmark. Before a row is timed, its proxies have to show that they do what the
//! row says: replies are 200, a cached one says `X-Cache: HIT`, the origin sees the headers that policies set. While it
//! is timed, the gateway's own counters have to say the same: a row of new tokens in which one was known does not count.
//!
//! CPU time is what matters and is noisy on a shared machine; instructions of user space are exact, and say what
//! changed. Both stand in the record.

mod record;
mod rows;
mod tokens;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::bench::budget::{self, Asking};
use crate::bench::certificate::{self, Certificate};
use crate::bench::client::{self, Connection, Reply};
use crate::bench::load;
use crate::bench::options::{self, PoliciesOptions};
use crate::bench::origin::Origin;
use crate::bench::proxy::{self, Extra, Prepared, Product, Running};
use crate::bench::rounds;
use crate::bench::scenario::{Load, Tool};
use crate::bench::supervise::{self, Session};
use record::{Figures, Record};
use rows::{Rival, Row};
use tokens::Keys;

pub(super) use record::{keep_beside, without};

/// How often between two windows what a row rules out may happen: as many tokens as the small cache holds.
const AT_A_SEAM: f64 = 70.0;

const CONNECTIONS: u32 = 64;

/// What all rows of a run share.
struct Run {
    session: Session,
    options: PoliciesOptions,
    origin: Origin,
    files: Certificate,
    keys: Keys,
}

/// `cargo xtask bench policies`.
pub(super) fn run(args: &[String]) -> Outcome<()> {
    if options::wants_help(args) {
        print!("{}{}", options::POLICIES_USAGE, listing());
        return Ok(());
    }
    let options = PoliciesOptions::parse(args)?;
    let rows = chosen(&options.only)?;
    supervise::require(&super::PROGRAMS)?;
    if options.requests > 0 {
        supervise::require(&budget::PROGRAMS)?;
    }
    let session = Session::enter(options::LOAD_CORE)?;
    let (files, keys) = (certificate::create(&session)?, Keys::create(&session)?);
    let run = Run { origin: Origin::start(&session)?, session, options, files, keys };
    let mut records = Vec::new();
    for row in &rows {
        eprintln!("{}: {}", row.name, row.title);
        let record = run.row(row).map_err(|e| format!("row {}: {e}", row.name))?;
        println!("{}", record.text(&run.options));
        records.push(record);
    }
    println!("{}", record::summary(&records));
    if run.options.write { record::write(&records, &run.options) } else { Ok(()) }
}

fn listing() -> String {
    rows::all().iter().map(|row| format!("  {:14} {}\n", row.name, row.title)).collect()
}

fn chosen(only: &[String]) -> Outcome<Vec<Row>> {
    let all = rows::all();
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|row| row.name != **name)) {
        return Err(format!("unknown row `{unknown}`; there are:\n{}", listing()));
    }
    Ok(all.into_iter().filter(|row| only.is_empty() || only.iter().any(|name| name == row.name)).collect())
}

impl Run {
    fn row<'a>(&self, row: &'a Row) -> Outcome<Record<'a>> {
        let tokens = self.keys.make(row.tokens)?;
        let mut record = Record::new(row);
        if self.options.rounds > 0 {
            self.time(row, &tokens, &mut record)?;
        }
        if self.options.requests > 0 {
            for (index, rival) in row.rivals.iter().enumerate() {
                // haproxy's threads spin where valgrind runs one at a time.
                if rival.product == Product::Haproxy || (self.options.own_only && rival.product != Product::Torana) {
                    continue;
                }
                let counted = self.count(row, rival, &tokens).map_err(|e| format!("{}: {e}", rival.name))?;
                eprintln!("  {:24} {:7.0} user instructions, {:.2} allocations", rival.name, counted.0, counted.1);
                record.counted(index, counted);
            }
        }
        Ok(record)
    }

    fn prepare(&self, rival: &Rival) -> Outcome<Prepared> {
        let extra = Extra { values: self.keys.values(), ..rival.extra.clone() };
        let (session, gateway) = (&self.session, &self.options.binary);
        proxy::prepare_more(session, rival.product, &extra, gateway, self.origin.address, &self.files)
    }

    fn start(&self, row: &Row, rival: &Rival, tokens: &[String]) -> Outcome<Running> {
        let ready = |plain| ask(plain, row.path, tokens.first()).map(drop);
        let (patience, pause) = (Duration::from_secs(10), Duration::from_millis(1));
        let prepared = self.prepare(rival)?;
        proxy::start_patiently(&self.session, &prepared, patience, pause, ready).map(|(running, _)| running)
    }

    /// Rounds of all rivals.
    fn time(&self, row: &Row, tokens: &[String], record: &mut Record<'_>) -> Outcome<()> {
        let script = script(tokens);
        let loads: Vec<Load> = row.rivals.iter().map(|rival| load(row, rival, script.as_ref())).collect();
        let mut proxies = Vec::new();
        for rival in &row.rivals {
            let running = self.start(row, rival, tokens)?;
            check(row, rival, running.plain, tokens).map_err(|e| format!("{}: {e}", rival.name))?;
            proxies.push(running);
        }
        let before = events(&proxies)?;
        let mut rivals: Vec<(&mut Running, &Load)> = proxies.iter_mut().zip(&loads).collect();
        let (rounds, seconds) = (self.options.rounds, self.options.seconds);
        let samples = rounds::interleave(&self.session, &self.origin, rounds, seconds, &mut rivals)?;
        let after = events(&proxies)?;
        // A window may begin with the tokens that the one before it ended with.
        let at_seams = f64::from(u32::try_from(rounds).unwrap_or(u32::MAX)) * AT_A_SEAM;
        for (event, count) in after {
            let more = count - before.get(&event).copied().unwrap_or(0.0);
            if row.never.contains(&event.as_str()) && more > at_seams {
                return Err(format!("the gateway counted `{event}` {more} times, which must not happen in this row"));
            }
        }
        let base = samples.first().cloned().unwrap_or_default();
        for (index, (rival, own)) in row.rivals.iter().zip(&samples).enumerate() {
            record.timed(index, rounds::summarise(rival.product, own, &base, None));
        }
        Ok(())
    }

    /// Instructions and allocations for each request.
    fn count(&self, row: &Row, rival: &Rival, tokens: &[String]) -> Outcome<Figures> {
        let mut number = 0;
        let mut asking = Asking {
            requests: self.options.requests,
            // Each token has been seen once, and caches are as full as they get.
            warm_up: 500.max(u32::try_from(tokens.len()).unwrap_or(0) * 2),
            per_request: rival.per_request,
            path: row.path,
            next: Box::new(|connection| {
                let token = tokens.get(number % tokens.len().max(1));
                number += 1;
                token.map_or(Ok(()), |token| connection.authorize("GET", row.path, Some(token)))
            }),
            check: Box::new(|reply| is_right(reply, rival, false)),
        };
        let kept: Option<PathBuf> =
            self.options.keep.as_deref().map(|keep| keep.join(format!("{}-{}", row.name, rival.product.name())));
        let profile = budget::profile(&self.session, self.prepare(rival)?, &self.origin, &mut asking, kept.as_deref())?;
        let each = |count: u64| budget::ratio(count, self.options.requests) * f64::from(rival.together);
        Ok((each(profile.instructions), each(profile.total_allocations())))
    }
}

/// Loads torana with every row for so long each, without measuring anything.
pub(super) fn load_all(
    session: Session,
    origin: Origin,
    files: Certificate,
    gateway: &Path,
    length: Duration,
) -> Outcome<()> {
    let options = PoliciesOptions::parse(&["--bin".to_owned(), gateway.display().to_string()])?;
    let keys = Keys::create(&session)?;
    let run = Run { session, options, origin, files, keys };
    for row in &rows::all() {
        eprintln!("  {}: {}", row.name, row.title);
        let tokens = run.keys.make(row.tokens)?;
        let script = script(&tokens);
        for rival in row.rivals.iter().filter(|rival| rival.product == Product::Torana) {
            let running = run.start(row, rival, &tokens)?;
            load::run(&run.session, &load(row, rival, script.as_ref()), &running, length)?.all_answered()?;
            running.server.stop(super::GRACE);
        }
    }
    Ok(())
}

fn load(row: &Row, rival: &Rival, script: Option<&String>) -> Load {
    Load {
        tool: Tool::Get,
        tls: false,
        path: row.path.trim_start_matches("/r5/"),
        connections: CONNECTIONS,
        script: script.cloned(),
        per_request: rival.per_request,
        together: rival.together,
    }
}

/// Requests with the tokens in turn, for wrk.
fn script(tokens: &[String]) -> Option<String> {
    let (first, more) = tokens.split_first()?;
    if more.is_empty() {
        return Some(format!("wrk.headers['Authorization'] = '{first}'\n"));
    }
    let list: String = tokens.iter().map(|token| format!("'{token}',\n")).collect();
    // `init` runs when wrk has read its own headers; a request is made once and sent many times.
    Some(format!(
        "local tokens = {{\n{list}}}\nlocal requests, number = {{}}, 0\n\
         function init(args)\n  for i, token in ipairs(tokens) do\n    wrk.headers['Authorization'] = token\n    \
         requests[i] = wrk.format()\n  end\nend\n\
         function request()\n  number = number % #requests + 1\n  return requests[number]\nend\n"
    ))
}

fn ask(address: SocketAddr, path: &'static str, token: Option<&String>) -> Outcome<Reply> {
    let failed = |e: std::io::Error| format!("cannot connect to {address}: {e}");
    let mut connection = Connection::open(address, path).map_err(failed)?;
    connection.authorize("GET", path, token.map(String::as_str)).map_err(failed)?;
    connection.ask().map_err(|e| format!("GET {path}: {e}"))
}

/// Fails unless the proxy does what its row says.
fn check(row: &Row, rival: &Rival, address: SocketAddr, tokens: &[String]) -> Outcome<()> {
    // The first may fill a cache.
    for token in [tokens.first(), tokens.last()] {
        is_right(&ask(address, row.path, token)?, rival, false)?;
    }
    is_right(&ask(address, row.path, tokens.first())?, rival, true)?;
    if rival.origin_sees.is_empty() {
        return Ok(());
    }
    let echo = ask(address, "/r5/echo", tokens.first())?;
    let seen = String::from_utf8_lossy(&echo.body).to_ascii_lowercase();
    match rival.origin_sees.iter().find(|wanted| !seen.contains(**wanted)) {
        None => Ok(()),
        Some(wanted) => Err(format!("the origin does not get `{}`, but:\n{seen}", wanted.trim())),
    }
}

fn is_right(reply: &Reply, rival: &Rival, is_warm: bool) -> Outcome<()> {
    let head = reply.head.to_ascii_lowercase();
    if reply.status != 200 || !reply.body.starts_with(rival.body_begins.as_bytes()) {
        let body: String = String::from_utf8_lossy(&reply.body).chars().take(200).collect();
        return Err(format!("an unexpected reply:\n{head}{body}"));
    }
    match rival.reply_has.iter().find(|wanted| is_warm && !head.contains(**wanted)) {
        None => Ok(()),
        Some(wanted) => Err(format!("the reply has no `{}`:\n{head}", wanted.trim())),
    }
}

/// What the gateway's policies have counted, by event.
fn events(proxies: &[Running]) -> Outcome<HashMap<String, f64>> {
    let mut counts = HashMap::new();
    for proxy in proxies.iter().filter(|proxy| proxy.product == Product::Torana) {
        let page = client::get(proxy.admin, "/metrics")?;
        for line in String::from_utf8_lossy(&page.body).lines() {
            let Some(rest) = line.strip_prefix("gateway_policy_events_total{") else { continue };
            let event = rest.split("event=\"").nth(1).and_then(|rest| rest.split('"').next());
            let count = rest.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
            if let (Some(event), Some(count)) = (event, count) {
                *counts.entry(event.to_owned()).or_default() += count;
            }
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_take_turns_and_a_single_one_costs_wrk_nothing() {
        assert_eq!(script(&[]), None);
        let one = script(&["Bearer a".to_owned()]).unwrap();
        assert!(one.contains("Bearer a") && !one.contains("function"));
        let two = script(&["Bearer a".to_owned(), "Bearer b".to_owned()]).unwrap();
        assert!(two.contains("'Bearer a',\n'Bearer b',") && two.contains("function request()"));
    }

    #[test]
    fn unknown_rows_are_named() {
        assert!(chosen(&["cahce".to_owned()]).unwrap_err().contains("cache "));
        assert_eq!(chosen(&["cache".to_owned(), "empty".to_owned()]).unwrap().len(), 2);
    }
}
