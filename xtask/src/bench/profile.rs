//! Where the time of a request goes: in the program, and in which system calls.
//!
//! A profile by `perf`, in a window of its own, since looking costs time. What
//! the kernel does under a system call counts as that call: on loopback a write
//! holds all that its peer's kernel does with it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::bench::cpu;
use crate::bench::load;
use crate::bench::proxy::Running;
use crate::bench::scenario::Load;
use crate::bench::supervise::Session;

/// What this needs and its package.
pub(super) const PROGRAM: (&str, &str) = ("perf", "linux-perf");

/// Samples a second.
const RATE: &str = "4999";
/// Load before and behind the samples.
const MARGIN: Duration = Duration::from_secs(1);

/// Where a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the program, the C library included.
    Program,
    /// In calls that write to sockets.
    Write,
    /// In calls that read from them.
    Read,
    /// In waiting for events: what it costs, not the wait.
    Wait,
    /// In calls that open, register and close.
    Connection,
    /// Elsewhere in the kernel: interrupts, faults, switching.
    Other,
}

impl Place {
    pub(super) const ALL: [Self; 6] =
        [Self::Program, Self::Write, Self::Read, Self::Wait, Self::Connection, Self::Other];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Write => "write",
            Self::Read => "read",
            Self::Wait => "epoll_wait",
            Self::Connection => "accept, close …",
            Self::Other => "other kernel",
        }
    }

    /// The place of a sample: its call chain as `perf script` prints it, the innermost function first.
    fn of(chain: &str) -> Self {
        let is_kernel = chain.lines().next().is_some_and(|line| line.contains("[kernel"));
        if !is_kernel {
            return Self::Program;
        }
        let call = chain.lines().find_map(|line| {
            let symbol = line.split_whitespace().nth(1)?;
            // `write` and `writev` have left their own functions before they do anything.
            let prefixes = ["__x64_sys_", "__arm64_sys_", "ksys_", "do_"];
            prefixes.iter().find_map(|prefix| Self::of_call(symbol.strip_prefix(prefix)?))
        });
        call.unwrap_or(Self::Other)
    }

    /// The place of a system call.
    fn of_call(name: &str) -> Option<Self> {
        match name {
            "sendto" | "sendmsg" | "sendmmsg" | "write" | "writev" | "sendfile64" | "splice" => Some(Self::Write),
            "recvfrom" | "recvmsg" | "read" | "readv" => Some(Self::Read),
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => Some(Self::Wait),
            "accept" | "accept4" | "close" | "connect" | "epoll_ctl" | "fcntl" | "getsockopt" | "poll" | "ppoll"
            | "setsockopt" | "shutdown" | "socket" => Some(Self::Connection),
            _ => None,
        }
    }
}

/// Which part of its time a proxy spends at each of [`Place::ALL`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Profile(pub(super) [f64; Place::ALL.len()]);

impl Profile {
    /// Of what `perf script` prints; `None` if there is no sample.
    #[allow(clippy::cast_precision_loss, reason = "counts of samples are far below 2^52")]
    fn read(text: &str) -> Option<Self> {
        let mut counts = [0_u64; Place::ALL.len()];
        for chain in text.split("\n\n").map(str::trim).filter(|chain| !chain.is_empty()) {
            let place = Place::of(chain);
            if let Some(at) = Place::ALL.iter().position(|known| *known == place) {
                counts[at] += 1;
            }
        }
        let all: u64 = counts.iter().sum();
        (all > 0).then(|| Self(counts.map(|count| count as f64 / all as f64)))
    }

    /// Puts `load` on `proxy` for `length` and a moment more, and looks where it is.
    pub(super) fn take(session: &Session, load: &Load, proxy: &Running, length: Duration) -> Outcome<Self> {
        let file = session.path("perf.data");
        std::thread::scope(|scope| {
            let generator = scope.spawn(|| load::run(session, load, proxy, length + MARGIN * 2));
            std::thread::sleep(MARGIN);
            let recorded = record(session, proxy, &file, length);
            let counted = generator.join().unwrap_or_else(|_| Err("the load thread panicked".to_owned()));
            recorded?;
            counted?.all_answered()
        })?;
        let mut script = Command::new("perf");
        script.args(["script", "-F", "ip,sym,dso", "-i"]).arg(&file);
        let output = script.output().map_err(|e| format!("cannot start perf: {e}"))?;
        let _ = std::fs::remove_file(&file);
        Self::read(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
            format!("perf has no sample of {}:\n{}", proxy.product.name(), String::from_utf8_lossy(&output.stderr))
        })
    }
}

fn record(session: &Session, proxy: &Running, file: &Path, length: Duration) -> Outcome<()> {
    let processes: Vec<String> = cpu::members(proxy.server.id())?.iter().map(u32::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-g", "-e", "cpu-clock", "-F", RATE, "-p", &processes.join(","), "-o"]).arg(file);
    perf.args(["--", "sleep", &length.as_secs_f64().to_string()]);
    session.spawn(&mut perf, "perf.log")?.output(length + Duration::from_secs(20)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "
        ffffffff81b2c3d4 tcp_ack ([kernel.kallsyms])
        ffffffff81b2c3d5 tcp_sendmsg ([kernel.kallsyms])
        ffffffff81a2c3d5 __x64_sys_sendto ([kernel.kallsyms])
            7f1234567890 __send (/usr/lib/libc.so.6)

        ffffffff81a2c3d5 ep_poll ([kernel.kallsyms])
        ffffffff81a2c3d6 __x64_sys_epoll_wait ([kernel.kallsyms])

            55d0c0ffee00 torana_net::serve (/torana)
            55d0c0ffee01 main (/torana)

        ffffffff81a2c3d5 clear_page ([kernel.kallsyms])
            55d0c0ffee01 main (/torana)

        ffffffff81b2c3d4 tcp_ack ([kernel.kallsyms])
        ffffffff81a2c3d5 do_writev ([kernel.kallsyms])
        ffffffff81a2c3d6 do_syscall_64 ([kernel.kallsyms])
";

    #[test]
    fn samples_are_put_where_they_were_taken() {
        let expected = Place::ALL.map(|place| match place {
            Place::Write => 0.4,
            Place::Program | Place::Wait | Place::Other => 0.2,
            Place::Read | Place::Connection => 0.0,
        });
        assert_eq!(Profile::read(SCRIPT), Some(Profile(expected)));
        assert_eq!(Profile::read("\n"), None);
    }
}
