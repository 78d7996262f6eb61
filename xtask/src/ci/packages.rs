//! Debian packages that tests and the budget need.

use std::process::Command;

use crate::Outcome;
use crate::workspace::installed;
use crate::workspace::succeed;

/// A program, and the package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("valgrind", "valgrind"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("redis-server", "redis-server"),
    ("taskset", "util-linux"),
];

/// Installs what is missing, if this user may. What stays missing is reported by the step that needs it, so a machine
/// without apt-get can still run everything else.
pub(super) fn install() -> Outcome<()> {
    let missing = missing();
    if missing.is_empty() {
        println!("all there: {}", PROGRAMS.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", "));
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if installed("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        println!("not installed: {}. As root, run `{command}`; steps that need them will fail", missing.join(", "));
        return Ok(());
    }
    println!("installing: {command}");
    let quiet = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(args).stdin(std::process::Stdio::null());
        succeed(&mut apt)
    };
    // The list of packages may be missing or old; if it cannot be fetched, the packages may still be cached.
    let _ = quiet(&["update", "--quiet", "--quiet"]);
    let mut install = vec!["install", "--yes", "--no-install-recommends", "--quiet", "--quiet"];
    install.extend(&missing);
    if let Err(error) = quiet(&install) {
        println!("{error}; steps that need {} will fail", missing.join(", "));
    }
    Ok(())
}

fn missing() -> Vec<&'static str> {
    PROGRAMS.iter().filter(|(program, _)| installed(program).is_none()).map(|(_, package)| *package).collect()
}
