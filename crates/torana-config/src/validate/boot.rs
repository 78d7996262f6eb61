//! Listeners, admin, limits.

use std::collections::HashMap;

use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::store::MEMORY;
use torana_core::units::Duration;
use torana_core::written::Spanned;

use super::{Found, check_name};
use crate::model::{Admin, Limits, ListenAddress};

pub(super) fn check(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    listeners(found, diagnostics);
    admin(found, diagnostics);
    for name in found.config.stores.keys() {
        check_name(name, "a store", diagnostics);
        if name.as_str() == MEMORY {
            let message = format!("a store cannot be called `{MEMORY}`");
            let hint = "that name stands for the memory of the gateway, which is always there";
            diagnostics.push(Diagnostic::error("config.bad_name", message).at(name.span).hint(hint));
        }
    }
    limits(&found.config.limits, diagnostics);
    for listener in &found.config.listeners {
        limits(&listener.limits, diagnostics);
    }
    let shutdown = &found.config.shutdown;
    if shutdown.readiness_delay.is_zero() && shutdown.drain_timeout.is_zero() && shutdown.drain_timeout.span.is_known()
    {
        let message = "`shutdown.drain_timeout` is `0s`: requests in flight are cut at once";
        diagnostics.push(Diagnostic::warning("config.no_drain", message).at(shutdown.drain_timeout.span));
    }
    upgrade(found, diagnostics);
    if let Some(log) = found.config.access_log.on()
        && log.output.is_empty()
    {
        let message = "expected `stdout`, `stderr` or a path, found no text";
        diagnostics.push(Diagnostic::error("config.invalid_value", message).at(log.output.span));
    }
}

/// Where it is listened for successors, nothing else can be.
fn upgrade(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(socket) = &found.config.upgrade.socket else { return };
    if socket.as_os_str().is_empty() {
        let message = "expected the path of a socket, found no text";
        diagnostics.push(Diagnostic::error("config.invalid_value", message).at(socket.span));
        return;
    }
    let admin = found.config.admin.on().map(|admin| &admin.address);
    for address in found.config.listeners.iter().map(|listener| &listener.address).chain(admin) {
        if matches!(&address.value, ListenAddress::Unix(path) if *path == socket.value) {
            let message = format!("`upgrade.socket` and {} are one socket", address.shown());
            let diagnostic = Diagnostic::error("config.overlapping_listeners", message)
                .label(socket.span, "second")
                .also(address.span, "first");
            diagnostics.push(diagnostic.hint("give `upgrade.socket` a path of its own"));
        }
    }
}

fn listeners(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let listeners = &found.config.listeners;
    let written = found.tree.get("listeners");
    if listeners.is_empty()
        && found.whole
        && written.is_none_or(|list| list.items().is_empty())
        && !lost(found, written)
    {
        let hint = "add one: `listeners: [ { address: 127.0.0.1:8080 } ]`";
        let diagnostic = Diagnostic::error("config.no_listeners", "there are no listeners");
        diagnostics.push(diagnostic.at(written.unwrap_or(found.tree).span).hint(hint));
    }
    let mut names: HashMap<String, Span> = HashMap::new();
    for listener in listeners {
        let span = listener.name.as_ref().map_or(listener.address.span, |name| name.span);
        if let Some(name) = &listener.name {
            check_name(name, "a listener", diagnostics);
        }
        // Two listeners at one address are reported as that.
        let Some(first) = names.insert(listener.label(), span) else {
            continue;
        };
        if let Some(name) = &listener.name {
            let message = format!("two listeners are named {}", name.shown());
            let diagnostic =
                Diagnostic::error("config.duplicate_name", message).label(span, "second").also(first, "first");
            diagnostics.push(diagnostic.hint("give one of them another name"));
        }
    }
    for (index, listener) in listeners.iter().enumerate() {
        for other in &listeners[..index] {
            if listener.address.overlaps(&other.address) {
                let message = format!("{} and {} overlap", listener.address.shown(), other.address.shown());
                let diagnostic = Diagnostic::error("config.overlapping_listeners", message)
                    .label(listener.address.span, "second")
                    .also(other.address.span, "first");
                diagnostics
                    .push(diagnostic.hint("connections would reach either by chance: change a port or an address"));
            }
        }
    }
}

/// Whether the list itself was in error.
fn lost(found: &Found<'_>, written: Option<&torana_core::written::Written>) -> bool {
    written.is_some_and(|list| found.gaps.lost(list.span))
}

fn admin(found: &Found<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(admin) = found.config.admin.on() else {
        return;
    };
    let address = &admin.address;
    // A token that was lost to an error is not a missing one.
    let has_token =
        admin.token.is_some() || found.tree.get("admin").is_some_and(|written| !found.gaps.knows(written, "token"));
    if !address.is_local() && !has_token {
        let message =
            format!("the admin address {} can be reached from other machines, and there is no token", address.shown());
        let hint = "add `token: \"${env:TORANA_ADMIN_TOKEN}\"`, or use `127.0.0.1:9901` or `unix:` and a path";
        diagnostics.push(Diagnostic::error("config.admin_not_local", message).at(address.span).hint(hint));
    }
    admin_token(admin, diagnostics);
    admin_hosts(admin, diagnostics);
    // Where an address was lost, the default that stands in for it is not what was meant.
    let is_meant = found.whole && found.gaps.knows(found.tree, "admin");
    for listener in found.config.listeners.iter().filter(|_| is_meant) {
        if listener.address.overlaps(address) {
            let by_default = if address.span.is_known() { "" } else { " (its default)" };
            let message =
                format!("{} overlaps the admin address {}{by_default}", listener.address.shown(), address.shown());
            let diagnostic = Diagnostic::error("config.overlapping_listeners", message)
                .at(listener.address.span)
                .also(address.span, "admin");
            diagnostics.push(diagnostic.hint("change a port, or turn the admin interface off: `admin: false`"));
        }
    }
}

/// Says nothing of the value: it may have been meant.
fn admin_token(admin: &Admin, diagnostics: &mut Vec<Diagnostic>) {
    // 16 random characters of base64 are 96 bits.
    const LEAST: usize = 16;
    // Heads of the admin interface are short.
    const MOST: usize = 4096;
    let Some(token) = &admin.token else { return };
    let wrong = if token.len() < LEAST {
        format!("`admin.token` has fewer than {LEAST} characters")
    } else if token.len() > MOST {
        format!("`admin.token` has more than {MOST} characters")
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        "`admin.token` has characters that cannot be sent in a header".to_owned()
    } else {
        return;
    };
    let hint = "make one with `openssl rand -hex 32`";
    diagnostics.push(Diagnostic::error("config.admin_token", wrong).at(token.span).hint(hint));
}

fn admin_hosts(admin: &Admin, diagnostics: &mut Vec<Diagnostic>) {
    for host in &admin.hosts {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.is_empty() || !host.chars().all(is_name) {
            let message = format!("expected a host name, found {}", host.shown());
            let hint = "write names only, without ports and wildcards; IP addresses need not be listed";
            diagnostics.push(Diagnostic::error("config.invalid_value", message).at(host.span).hint(hint));
        }
    }
}

fn limits(limits: &Limits, diagnostics: &mut Vec<Diagnostic>) {
    let sizes = [("header_bytes", &limits.header_bytes), ("uri_bytes", &limits.uri_bytes)];
    for (key, size) in sizes {
        // Below this, an ordinary browser's request does not fit.
        const LEAST: u64 = 256;
        // Heads are kept in memory as a whole, per connection.
        const MOST: u64 = 16 << 20;
        if let Some(size) = size
            && !(LEAST..=MOST).contains(&size.bytes())
        {
            let message = format!("`limits.{key}` has to be from 256B to 16MiB, found {}", size.shown());
            diagnostics.push(Diagnostic::error("config.out_of_range", message).at(size.span));
        }
    }
    not_zero(
        "limits.head_timeout",
        limits.head_timeout.as_ref(),
        "slow clients would hold connections for ever",
        diagnostics,
    );
    not_zero(
        "limits.idle_timeout",
        limits.idle_timeout.as_ref(),
        "every connection would end after one request",
        diagnostics,
    );
    not_zero(
        "limits.tls_handshake_timeout",
        limits.tls_handshake_timeout.as_ref(),
        "no handshake could finish",
        diagnostics,
    );
}

/// Refuses `0s` where it would mean something nobody wants.
pub(super) fn not_zero(key: &str, value: Option<&Spanned<Duration>>, why: &str, diagnostics: &mut Vec<Diagnostic>) {
    if let Some(value) = value.filter(|value| value.is_zero()) {
        let diagnostic = Diagnostic::error("config.zero_timeout", format!("`{key}` cannot be `0s`: {why}"));
        diagnostics.push(diagnostic.at(value.span).hint("give it a time, or remove the key for the default"));
    }
}
