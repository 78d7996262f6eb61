//! Steps with a title, a time and a verdict; and what is said at the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::workspace::{outcome, shown, succeed};

/// What has to have worked for a step to make sense.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Build,
    ReleaseBuild,
}

enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Step {
    title: &'static str,
    took: Duration,
    verdict: Verdict,
}

/// Steps that have been made. One that fails does not keep others from being made: all problems are worth knowing.
#[derive(Default)]
pub(super) struct Steps {
    made: Vec<Step>,
    /// Closing lines of the test runners.
    results: Vec<String>,
}

impl Steps {
    /// Makes a step that is a function of this program.
    pub(super) fn run(&mut self, title: &'static str, needs: Needs, work: impl FnOnce() -> Outcome<()>) {
        if let Some(missing) = self.missing(needs) {
            return self.skip(title, missing);
        }
        println!("\n=== {title}");
        let start = Instant::now();
        let verdict = match work() {
            Ok(()) => Verdict::Passed,
            Err(message) => {
                println!("{message}");
                Verdict::Failed(message.lines().next().unwrap_or_default().to_owned())
            }
        };
        let took = start.elapsed();
        let word = if matches!(verdict, Verdict::Passed) { "passed" } else { "FAILED" };
        println!("=== {title}: {word} in {}", seconds(took));
        self.made.push(Step { title, took, verdict });
    }

    /// Makes a step that is a command.
    pub(super) fn command(&mut self, title: &'static str, command: &mut Command, needs: Needs) {
        self.run(title, needs, || succeed(command));
    }

    /// Makes a step that runs tests, and remembers what the runner says at the end.
    pub(super) fn tests(&mut self, title: &'static str, command: &mut Command) {
        let mut results = Vec::new();
        self.run(title, Needs::Build, || watch(command, &mut results));
        self.results.extend(results.iter().map(|line| format!("{title}: {line}")));
    }

    /// Leaves a step out, and says why.
    pub(super) fn skip(&mut self, title: &'static str, why: &str) {
        println!("\n=== {title}: skipped ({why})");
        self.made.push(Step { title, took: Duration::ZERO, verdict: Verdict::Skipped(why.to_owned()) });
    }

    fn missing(&self, needs: Needs) -> Option<&'static str> {
        let title = match needs {
            Needs::Nothing => return None,
            Needs::Build => "build",
            Needs::ReleaseBuild => "release build",
        };
        let failed = |step: &Step| step.title == title && !matches!(step.verdict, Verdict::Passed);
        self.made.iter().any(failed).then_some(if needs == Needs::Build {
            "the build failed"
        } else {
            "the release build failed"
        })
    }

    /// Sums up.
    pub(super) fn finish(self) -> Outcome<()> {
        println!("\n=== summary");
        for step in &self.made {
            let (word, more) = match &step.verdict {
                Verdict::Passed => ("passed", ""),
                Verdict::Failed(why) => ("FAILED", why.as_str()),
                Verdict::Skipped(why) => ("skipped", why.as_str()),
            };
            println!("{:28} {word:8} {:>8}  {more}", step.title, seconds(step.took));
        }
        for line in &self.results {
            println!("{line}");
        }
        let total: Duration = self.made.iter().map(|step| step.took).sum();
        let failed: Vec<_> =
            self.made.iter().filter(|step| matches!(step.verdict, Verdict::Failed(_))).map(|step| step.title).collect();
        if failed.is_empty() {
            println!("ci: PASSED, {} steps in {}", self.made.len(), seconds(total));
            return Ok(());
        }
        println!("ci: FAILED in {}", seconds(total));
        Err(format!("{} of {} steps failed: {}", failed.len(), self.made.len(), failed.join(", ")))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Runs a command, shows all it says, and keeps the lines that sum up its tests.
fn watch(command: &mut Command, results: &mut Vec<String>) -> Outcome<()> {
    println!("$ {}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start `{}`: {error}", shown(command)))?;
    let (lines, received) = mpsc::channel();
    let readers: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|err| Box::new(err) as _)];
    for reader in readers.into_iter().flatten() {
        let lines = lines.clone();
        std::thread::spawn(move || {
            // A line that is not UTF-8 is shown as well as it can be.
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
    }
    drop(lines);
    let mut totals = Totals::default();
    for line in received {
        // The terminal may have gone away; the verdict is in the exit status.
        let _ = writeln!(std::io::stdout(), "{line}");
        totals.add(&line, results);
    }
    let status = child.wait().map_err(|error| format!("cannot wait for `{}`: {error}", shown(command)))?;
    results.extend(totals.line());
    outcome(command, status)
}

/// cargo's own runner has a closing line per test program: their sum.
#[derive(Default)]
struct Totals {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Totals {
    fn add(&mut self, line: &str, results: &mut Vec<String>) {
        let line = line.trim();
        if line.starts_with("Summary [") {
            results.push(line.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        self.programs += 1;
        let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    fn line(&self) -> Option<String> {
        let Totals { programs, passed, failed, ignored } = self;
        (*programs > 0)
            .then(|| format!("{passed} passed, {failed} failed, {ignored} ignored in {programs} test programs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_kept() {
        let (mut totals, mut results) = (Totals::default(), Vec::new());
        for line in [
            "     Summary [   3.1s] 12 tests run: 12 passed, 1 skipped",
            "test a::b ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ] {
            totals.add(line, &mut results);
        }
        assert_eq!(results, ["Summary [   3.1s] 12 tests run: 12 passed, 1 skipped"]);
        assert_eq!(totals.line().as_deref(), Some("4 passed, 2 failed, 1 ignored in 2 test programs"));
    }
}
