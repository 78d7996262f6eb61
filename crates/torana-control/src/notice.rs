//! Messages to whoever operates the gateway, on standard error.
//!
//! One line each, unless a diagnostic needs its excerpt. No time stamps:
//! journald, Docker and Kubernetes add their own. Never a secret: everything
//! that comes from a configuration comes from `torana_config::report`.

use std::io::Write;

/// Says something worth knowing.
pub fn say(text: &str) {
    write("", text);
}

/// Says that something is wrong.
pub fn warn(text: &str) {
    write("warning: ", text);
}

/// Says several things, each on a line of its own.
pub fn lines(text: &str) {
    text.lines().for_each(say);
}

fn write(level: &str, text: &str) {
    // Nobody is left to be told if standard error is gone, and a gateway does
    // not stop for that.
    // In one piece: during a hand-over two processes write to the same place.
    let line = format!("torana: {level}{}\n", text.trim_end());
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
