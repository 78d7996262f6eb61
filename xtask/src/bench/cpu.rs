//! CPU time and memory of a process group, and what the rest of the machine did meanwhile.
//!
//! `utime` and `stime` count ticks of 10 ms, too coarse for a window of seconds; the scheduler's own
//! account, `schedstat`, counts nanoseconds.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::Outcome;

/// On-CPU nanoseconds of each thread of a group, by thread id.
#[derive(Debug)]
pub(super) struct Usage {
    threads: HashMap<u32, u64>,
}

impl Usage {
    /// Reads the whole process group. It is never empty: a group without processes is an error.
    pub(super) fn of_group(group: u32) -> Outcome<Self> {
        let mut threads = HashMap::new();
        for process in members(group)? {
            // A thread may end while being read; it is then not counted.
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let Some(id) = number(&task.file_name()) else {
                    continue;
                };
                if let Some(time) = on_cpu(&task.path()) {
                    threads.insert(id, time);
                }
            }
        }
        if threads.is_empty() {
            return Err(format!("process group {group} is gone, or the kernel keeps no /proc/PID/task/TID/schedstat"));
        }
        Ok(Self { threads })
    }

    /// Nanoseconds between two readings. What a thread that ended in between had used is lost.
    pub(super) fn since(&self, earlier: &Self) -> u64 {
        self.threads.iter().map(|(id, now)| now.saturating_sub(earlier.threads.get(id).copied().unwrap_or(0))).sum()
    }
}

fn on_cpu(task: &Path) -> Option<u64> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Proportional set size of the whole group, in bytes.
pub(super) fn memory(group: u32) -> Outcome<u64> {
    let mut kilobytes = 0;
    for process in members(group)? {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let value = pss.and_then(|v| v.split_whitespace().next()).and_then(|v| v.parse::<u64>().ok());
        kilobytes += value.ok_or_else(|| format!("{path} has no Pss"))?;
    }
    Ok(kilobytes * 1024)
}

/// Processes whose group this is: a server and its workers, however they are related.
pub(super) fn members(group: u32) -> Outcome<Vec<u32>> {
    let entries = fs::read_dir("/proc").map_err(|e| format!("cannot read /proc: {e}"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| number(&entry.file_name()))
        .filter(|process| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // "pid (name) state ppid pgrp …"; the name may hold spaces and parentheses.
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            fields.split_whitespace().nth(2).and_then(|f| f.parse().ok()) == Some(group)
        })
        .collect())
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// Ticks of all cores together since boot, and of this program with the children it has waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    total: u64,
    busy: u64,
    steal: u64,
    own: u64,
}

/// Shares of a window, of all cores together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub(super) busy: f64,
    pub(super) steal: f64,
    /// This program and the load generator.
    pub(super) own: f64,
}

impl Machine {
    pub(super) fn now() -> Outcome<Self> {
        let text = fs::read_to_string("/proc/stat").map_err(|e| format!("cannot read /proc/stat: {e}"))?;
        let line = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; the guest columns repeat user's.
        let fields: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|f| f.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, steal] = fields[..] else {
            return Err(format!("/proc/stat begins in an unknown way: {line}"));
        };
        let busy = user + nice + system + irq + softirq;
        Ok(Self { total: busy + idle + iowait + steal, busy, steal, own: own_ticks() })
    }

    #[allow(clippy::cast_precision_loss, reason = "ticks since boot are far below 2^52")]
    pub(super) fn since(&self, earlier: &Self) -> Shares {
        let total = self.total.saturating_sub(earlier.total).max(1) as f64;
        let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / total;
        Shares {
            busy: share(self.busy, earlier.busy),
            steal: share(self.steal, earlier.steal),
            own: share(self.own, earlier.own),
        }
    }
}

fn own_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // utime stime cutime cstime: fields 14 to 17, counted after the name from 3.
    fields.split_whitespace().skip(11).take(4).filter_map(|f| f.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_its_own_group_and_memory() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let group = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!(members(group).unwrap().contains(&std::process::id()));
        assert!(memory(group).unwrap() > 0);
        let before = Usage::of_group(group).unwrap();
        assert!(Usage::of_group(group).unwrap().since(&before) < 10_000_000_000);
    }

    #[test]
    fn shares_are_of_all_cores() {
        let then = Machine { total: 1000, busy: 100, steal: 10, own: 5 };
        let now = Machine { total: 1200, busy: 200, steal: 30, own: 55 };
        let shares = now.since(&then);
        assert!(
            (shares.busy - 0.5).abs() < 1e-9 && (shares.steal - 0.1).abs() < 1e-9 && (shares.own - 0.25).abs() < 1e-9
        );
    }
}
