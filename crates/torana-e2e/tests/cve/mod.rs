//! Mistakes of other gateways, each as a test from outside, named after its
//! number. Where one mistake has several numbers, the test has the first and
//! its comment the rest.
//!
//! The mechanism of each stands in one line; what the rule of this gateway is,
//! and where it is decided, is documented there (`torana-core::canonical`,
//! `torana-plane::path::admit`, `torana-http1`).

mod headers;
mod identity;
mod paths;
mod rows;
mod tokens;
mod wire;

use torana_e2e::both::Wire;
use torana_e2e::client::{Client, Reply, get};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, Seen, ok};

/// A gateway with a public subtree, served by `public`, and a guarded one,
/// which answers 403 itself: whatever reaches `public` as `/admin` has passed
/// the guard.
struct Guarded {
    public: Origin,
    gateway: Gateway,
}

const GUARDED: &str = "routes:
  - { name: public, match: { path: /* }, upstream: public }
  - { name: admin, match: { path: /admin/* }, respond: { status: 403, body: guarded } }
  - { name: strip, match: { path: /strip/* }, upstream: public, rewrite: { strip_prefix: /strip } }
  - { name: under, match: { path: /under/* }, upstream: public, rewrite: { replace_prefix: /tenant/7 } }
  - { name: capture, match: { path: '/capture/{name}' }, upstream: public, rewrite: { path: '/files/{name}' } }
";

impl Guarded {
    fn new() -> Guarded {
        let public = Origin::replying(|seen| ok(seen.target()));
        let gateway = Setup::new(GUARDED).origin("public", &public).start();
        Guarded { public, gateway }
    }

    /// What becomes of a target: the reply, and the target the origin saw.
    fn ask(&self, target: &str) -> (Reply, Option<String>) {
        let reply = self.gateway.ask(get(target, "connection: close\r\n"));
        let seen = self.public.take_seen();
        assert!(seen.len() <= 1, "{target}: seen {} times", seen.len());
        (reply, seen.first().map(|seen| seen.target().to_owned()))
    }

    /// Refused, guarded, or forwarded as something that no server reads as
    /// `/admin`.
    fn does_not_pass(&self, target: &str) {
        let (reply, seen) = self.ask(target);
        match seen {
            None => assert!(matches!(reply.status(), 400 | 403 | 414), "{target}: {}", reply.status()),
            Some(seen) => assert!(!could_mean_admin(&seen), "{target} went through as {seen}"),
        }
    }
}

/// Decodes and folds a path in every way some server does, once: a service
/// that decodes twice misreads what anybody sends it.
fn could_mean_admin(target: &str) -> bool {
    let mut path = target.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    for _ in 0..2 {
        let flat = path.replace('\\', "/").split('/').map(|part| part.split(';').next().unwrap_or_default()).fold(
            Vec::new(),
            |mut parts, part| {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part.to_owned()),
                }
                parts
            },
        );
        if flat.first().is_some_and(|first| first == "admin") {
            return true;
        }
        path = decoded(&path);
    }
    false
}

/// Percent-decodes once, losing nothing that is not an escape.
fn decoded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        match rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

/// One route to one origin.
fn plain() -> (Origin, Gateway) {
    let origin = Origin::replying(|seen| ok(&seen.body.data));
    let gateway = Setup::new("routes: [ { name: a, upstream: a } ]").origin("a", &origin).start();
    (origin, gateway)
}

/// What the origin saw of a GET request with these header lines.
fn seen_with(fields: &str) -> Seen {
    seen_by(Wire::Http1, fields)
}

fn seen_by(wire: Wire, fields: &str) -> Seen {
    let (origin, gateway) = plain();
    assert_eq!(wire.get(&gateway, "/", fields).status, 200, "{fields} over {wire:?}");
    origin.only()
}

fn closed_or_refused(client: &mut Client) -> Option<u16> {
    client.reply_to("GET").map(|reply| reply.status())
}

#[test]
fn the_judge_of_this_suite_sees_through_disguises() {
    for disguised in [
        "/admin",
        "//admin/x",
        "/a/../admin",
        "/a/%2e%2e/admin",
        "/%61dmin",
        "/a/..%2fadmin",
        "/a\\..\\admin",
        "/a/..;/admin",
        "/ADMIN",
    ] {
        assert!(could_mean_admin(disguised), "{disguised}");
    }
    for innocent in ["/", "/x/admin", "/administrator", "/a?x=/admin", "/%2561dmin"] {
        assert!(!could_mean_admin(innocent), "{innocent}");
    }
}
