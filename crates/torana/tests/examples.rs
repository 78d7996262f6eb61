//! Every file in `examples/` loads and compiles, without a warning, once its
//! secrets are given.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Gateway, Origin, ask, ask_with, torana};

/// Secrets that examples refer to.
const SECRETS: &[(&str, &str)] = &[
    ("JWT_SECRET", "of the tests of the examples, and of nothing else"),
    ("MOBILE_KEY", "of-the-tests-of-the-examples"),
    ("BILLING_SECRET", "of the tests of the examples, and of nothing else"),
    ("REPORTS_SECRET", "of the tests of the examples, and of nothing else"),
];

/// Paths of all examples.
fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_config = |path: &PathBuf| {
        path.extension().is_some_and(|extension| ["yaml", "toml", "json"].iter().any(|known| extension == *known))
    };
    let examples: Vec<_> = paths.filter(is_config).collect();
    assert!(examples.len() >= 8, "only {examples:?}");
    examples
}

fn with_secrets() -> Command {
    let mut command = torana();
    command.envs(SECRETS.iter().copied());
    command
}

#[test]
fn every_example_is_good() {
    for path in examples() {
        let output = with_secrets().arg("check").arg(&path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.starts_with("ok: "), "{}:\n{text}", path.display());
    }
}

/// Whoever forgets to set a secret is told, instead of having one that
/// everybody can read here.
#[test]
fn no_secret_has_a_default() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        for reference in text.split("${env:").skip(1) {
            let (name, default) = reference.split_once('}').unwrap().0.split_once(":-").unwrap_or((reference, ""));
            let is_secret = ["SECRET", "KEY", "TOKEN", "PASSWORD"].iter().any(|part| name.contains(part));
            assert!(!is_secret || default.is_empty(), "{}: {name}", path.display());
        }
    }
}

#[test]
fn the_shop_runs_with_services_of_ones_own() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/microservices.yaml");
    let output = torana()
        .arg("check")
        .arg(&shop)
        .env_remove("JWT_SECRET")
        .env("MOBILE_KEY", "of-the-tests-of-the-examples")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success());
    assert_eq!(text.matches("the environment variable `JWT_SECRET` is not set").count(), 1, "{text}");

    let products = Origin::start();
    let place = format!("http://{}", products.address);
    let nowhere = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let mut gateway = Gateway::start(
        with_secrets()
            .arg("run")
            .arg(&shop)
            .envs([("LISTEN", "127.0.0.1:0"), ("ADMIN", "127.0.0.1:0"), ("ACCESS_LOG", "stderr")])
            .envs([("PRODUCTS_URL_1", &place), ("PRODUCTS_URL_2", &place)])
            .envs([("USERS_URL_1", &nowhere), ("USERS_URL_2", &nowhere)])
            .stdout(Stdio::null()),
    );
    let address = gateway.address("listening on");
    products.answer();
    let (status, reply) = ask(address, "GET", "/api/products/7");
    assert!(status == 200 && reply.ends_with("done"), "{reply}");
    assert_eq!(ask(address, "GET", "/api/users/7").0, 401);

    // Nobody is there, and one has to be let in to learn that.
    let users = |token: &str| ask_with(address, "GET", "/api/users/7", &format!("authorization: Bearer {token}\r\n"));
    assert_eq!(users("a.b.c").0, 401);
    let (status, reply) = users(&token_made_by_hand());
    assert!(status == 502 || status == 503, "{reply}");
}

/// What the lines in the guide make.
fn token_made_by_hand() -> String {
    Command::new("openssl").arg("version").output().expect("openssl is installed (Debian: openssl)");
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/getting-started.md");
    let text = std::fs::read_to_string(guide).unwrap();
    let lines = text.split("```sh\n").map(|block| block.split("```").next().unwrap());
    let lines = lines.into_iter().find(|block| block.contains("openssl dgst")).unwrap();
    let script = format!("{lines}printf %s \"$token\"");
    let output = Command::new("sh").args(["-c", &script]).envs(SECRETS.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
