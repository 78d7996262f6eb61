//! What `bench policies` leaves in `bench/RESULTS.md`: a section of its own, in which a run replaces the rows it measured.

use std::process::Command;

use super::rows::Row;
use crate::Outcome;
use crate::bench::markdown::{met, show, table};
use crate::bench::options::{PoliciesOptions, results};
use crate::bench::proxy::{Product, first_line};
use crate::bench::rounds;
use crate::bench::statistics::Spread;

/// Where the section begins; the rest of the file belongs to `cargo xtask bench`.
const BEGIN: &str = "\n## Policies\n";
/// Where each row begins.
const ROW: &str = "\n### Policies: ";

/// How to read the tables.
const METHOD: &str = "
Written by `cargo xtask bench policies --write`, which replaces the rows it measures; each says when and how that was. The
method is that of the rest: ratios inside a round against the first proxy of the table, one worker of each on core 0. The
frame is `bench/torana.yaml`, `bench/nginx.conf` and `bench/haproxy.cfg`; what a row adds is in `bench/policies`.

- **instructions** and **allocations** are those of user space for each request, counted by callgrind over sixteen
  connections that send together. They are exact: a busy machine changes nothing. What policies cost is best read there.
  valgrind does not know the processor's instructions for SHA, so where new tokens are verified it counts more than is run.
- Before a row is timed its proxies have to show that they do what it says (200, `X-Cache: HIT`, headers at the origin);
  what the gateway's own counters say afterwards has to fit: of *new* tokens not one was known, of copies not one was missing.
- `five`: cors, ip_filter, body_limit, rate_limit, headers. `fifteen`: bot_detection, csrf, authorize, load_shed, enrich,
  compress, idempotency, validate, mirror and fault besides; most find that the request is none of theirs.
- `jwt-…-new`: 512 tokens in turn, in a cache that holds fewer than 70 of them; the signature of every request is verified.
- `cache`: all three answer from memory, without the origin; nginx's files are in `/dev/shm`, opened once. CPU time is that
  of whole windows, since only the load generator can count.
- `aggregate`: one request for 4 parts, against 4 plain ones of nginx: its figures are those of 4 requests.
- `chain`: nginx does none of it, and makes no request id. Beside it an nginx that does what it can without a module for
  tokens: a limit, headers, and a log of the same members.
";

/// Instructions and allocations for each request.
pub(super) type Figures = (f64, f64);

/// What was found about a row.
pub(super) struct Record<'a> {
    row: &'a Row,
    timed: Vec<Option<rounds::Row>>,
    counted: Vec<Option<Figures>>,
}

impl<'a> Record<'a> {
    pub(super) fn new(row: &'a Row) -> Self {
        Self { row, timed: row.rivals.iter().map(|_| None).collect(), counted: vec![None; row.rivals.len()] }
    }

    pub(super) fn timed(&mut self, index: usize, row: rounds::Row) {
        self.timed[index] = Some(row);
    }

    pub(super) fn counted(&mut self, index: usize, figures: Figures) {
        self.counted[index] = Some(figures);
    }

    /// Its tables, under a heading.
    pub(super) fn text(&self, options: &PoliciesOptions) -> String {
        let baseline = self.row.rivals.first().map_or("nginx", |rival| rival.name);
        let ratio = format!("CPU / {baseline}");
        let headers = [
            "proxy",
            "CPU us (best)",
            &ratio,
            "req/s",
            "core",
            "foreign",
            "steal",
            "valid",
            "instructions",
            "allocations",
        ];
        let mut cells = Vec::new();
        let mut notes = String::new();
        for (rival, (timed, counted)) in self.row.rivals.iter().zip(self.timed.iter().zip(&self.counted)) {
            let timed = timed.as_ref();
            let percent = |spread: fn(&rounds::Row) -> Option<Spread>| {
                show(timed.and_then(spread), |s| format!("{:.0} %", s.median * 100.0))
            };
            cells.push(vec![
                rival.name.to_owned(),
                show(timed.and_then(|t| t.cpu), |s| format!("{:.1} ({:.1})", s.median, s.least)),
                show(timed.and_then(|t| t.ratio), |s| format!("**{:.2}** ({:.2}..{:.2})", s.median, s.least, s.most)),
                show(timed.and_then(|t| t.per_second), |s| format!("{:.0}", s.median)),
                percent(|t| t.core),
                percent(|t| t.foreign),
                percent(|t| t.steal),
                show(timed, |t| format!("{}/{}", t.valid, t.rounds)),
                show(*counted, |c| format!("{:.0}", c.0)),
                show(*counted, |c| format!("{:.2}", c.1)),
            ]);
            for failure in timed.map(|t| t.failures.as_slice()).unwrap_or_default() {
                notes.push_str(&format!("- {}, not counted: {failure}\n", rival.name));
            }
        }
        let gap = if notes.is_empty() { "" } else { "\n" };
        format!(
            "{ROW}{}\n\n{}. {}, {}; {} rounds of {} s: `{}`\n\n{}{gap}{notes}",
            self.row.name,
            self.row.title,
            first_line(Command::new("date").args(["-u", "+%F %R UTC"])),
            Product::Torana.version(&options.binary),
            options.rounds,
            options.seconds,
            options.typed,
            table(&headers, &cells)
        )
    }

    /// Its line of the summary.
    fn line(&self) -> Vec<String> {
        let own = self.row.rivals.iter().position(|rival| rival.product == Product::Torana);
        let ratio = own.and_then(|at| self.timed[at].as_ref()?.ratio).map(|ratio| ratio.median);
        let figure = |at: Option<usize>| at.and_then(|at| self.counted[at]);
        vec![
            self.row.name.to_owned(),
            show(self.row.rivals.first(), |rival| rival.name.to_owned()),
            show(ratio, |ratio| format!("{ratio:.2}")),
            show(self.row.goal, |goal| format!("≤ {goal:.2}")),
            met(self.row.goal, ratio).to_owned(),
            show(figure(own), |(instructions, _)| format!("{instructions:.0}")),
            show(figure(own), |(_, allocations)| format!("{allocations:.2}")),
            show(figure(Some(0)), |(instructions, _)| format!("{instructions:.0}")),
        ]
    }
}

const SUMMARY: [&str; 8] =
    ["row", "against", "CPU ratio", "goal", "met", "torana, instructions", "allocations", "the other, instructions"];

/// A line for each row.
pub(super) fn summary(records: &[Record<'_>]) -> String {
    table(&SUMMARY, &records.iter().map(Record::line).collect::<Vec<_>>())
}

/// Puts the rows measured into the section of `bench/RESULTS.md`.
pub(super) fn write(records: &[Record<'_>], options: &PoliciesOptions) -> Outcome<()> {
    let path = results();
    let before = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let measured: Vec<Measured> = records
        .iter()
        .map(|record| Measured { name: record.row.name.to_owned(), line: record.line(), text: record.text(options) })
        .collect();
    let order: Vec<&str> = super::rows::all().iter().map(|row| row.name).collect();
    let text = format!("{}{}", without(&before), section(&before, measured, &order));
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    eprintln!("written to {}", path.display());
    Ok(())
}

/// A row as it is written.
struct Measured {
    name: String,
    line: Vec<String>,
    text: String,
}

/// The section with the rows of `before` that were not measured again.
fn section(before: &str, measured: Vec<Measured>, order: &[&str]) -> String {
    let old = before.split_once(BEGIN).map_or("", |(_, section)| section);
    let mut all = measured;
    for text in old.split(ROW).skip(1) {
        let name = text.lines().next().unwrap_or_default().trim().to_owned();
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let line = old.lines().map(cells).find(|cells| cells.len() == SUMMARY.len() && cells.first() == Some(&name));
        if let Some(line) = line
            && all.iter().all(|row| row.name != name)
        {
            all.push(Measured { name, line, text: format!("{ROW}{}\n", text.trim_end()) });
        }
    }
    // A row that is there no more goes.
    let place = |row: &Measured| order.iter().position(|name| *name == row.name);
    all.retain(|row| place(row).is_some());
    all.sort_by_key(place);
    let lines: Vec<_> = all.iter().map(|row| row.line.clone()).collect();
    let texts: String = all.iter().map(|row| row.text.as_str()).collect();
    format!("{BEGIN}{METHOD}\n{}{texts}", table(&SUMMARY, &lines))
}

/// A record without this section.
pub(in crate::bench) fn without(text: &str) -> &str {
    text.split_once(BEGIN).map_or(text, |(main, _)| main)
}

/// `text`, which is all of the rest, with the section of what is there.
pub(in crate::bench) fn keep_beside(text: &str, before: &str) -> String {
    match before.split_once(BEGIN) {
        Some((_, section)) => format!("{}{BEGIN}{section}", text.trim_end_matches('\n').to_owned() + "\n"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, figure: &str) -> Measured {
        let mut line = vec!["x".to_owned(); SUMMARY.len()];
        line[0] = name.to_owned();
        line[2] = figure.to_owned();
        Measured { name: name.to_owned(), line, text: format!("{ROW}{name}\n\ntable {figure}\n") }
    }

    #[test]
    fn rows_are_replaced_and_the_others_stay() {
        let order = ["a", "b"];
        let first = format!("# Results\n\nmain\n{}", section("", vec![measured("b", "1"), measured("a", "2")], &order));
        let second = format!("{}{}", without(&first), section(&first, vec![measured("a", "3")], &order));
        assert!(second.starts_with("# Results\n\nmain\n"));
        assert!(second.contains("table 3") && second.contains("table 1") && !second.contains("table 2"), "{second}");
        assert!(second.find("Policies: a") < second.find("Policies: b"));
        assert_eq!(second.matches("| b ").count(), 1);
        // A second time nothing changes: neither here nor by the rest of the benchmark.
        assert_eq!(format!("{}{}", without(&second), section(&second, Vec::new(), &order)), second);
        assert_eq!(keep_beside("# Results\n\nmain\n", &second), second);
    }
}
