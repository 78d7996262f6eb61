//! Whole output of the commands, compared with files. `UPDATE=1 cargo test -p
//! torana --test cli` writes them anew: read the difference before committing.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli")
}

/// Runs `torana` with `line` in the directory of the golden files and compares
/// exit code, standard output and standard error with the file `name`.
fn compare(name: &str, line: &str) {
    let output = support::torana()
        .args(split(line))
        .current_dir(golden())
        .env("TORANA_TEST_TOKEN", "hunter2-the-secret")
        .output()
        .unwrap();
    let mut text = format!("$ torana {line}\n{}", String::from_utf8(output.stdout).unwrap());
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !stderr.is_empty() {
        text.push_str(&format!("--- standard error\n{stderr}"));
    }
    text.push_str(&format!("--- exit code {}\n", output.status.code().unwrap()));
    assert!(!text.contains('\x1b'), "colours in a pipe:\n{text}");
    assert!(!text.contains("hunter2"), "a secret is shown:\n{text}");
    let path = golden().join(format!("{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{} differs; this is new:\n{text}", path.display());
}

/// Words of a line; single quotes hold spaces together.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match (c, words.last_mut()) {
            ('\'', _) => quoted = !quoted,
            (' ', _) if !quoted => words.push(String::new()),
            (_, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    words
}

#[test]
fn help_of_every_command() {
    compare("help", "--help");
    for command in ["run", "check", "explain", "routes", "schema", "demo", "version", "completions"] {
        compare(&format!("help_{command}"), &format!("{command} --help"));
    }
}

#[test]
fn check() {
    compare("check_good", "check good.yaml");
    compare("check_good_json", "check --format json good.yaml");
    compare("check_bad", "check bad.yaml");
    compare("check_bad_json", "check --format json bad.yaml");
    compare("check_missing", "check missing.yaml");
    compare("check_admin", "check admin.yaml");
}

#[test]
fn every_mistake_is_found_in_one_run() {
    compare("check_everything", "check everything.yaml");
}

#[test]
fn mistakes_in_aggregates() {
    compare("check_aggregate", "check aggregate.yaml");
}

#[test]
fn what_follows_from_a_mistake_is_not_said() {
    compare("check_follow_ups", "check follow_ups.yaml");
}

#[test]
fn explain() {
    compare(
        "explain_route",
        "explain good.yaml GET http://shop.example/api/users/7?page=2 -H 'accept: */*' --client 10.1.2.3",
    );
    compare("explain_header", "explain good.yaml GET /api/users/7 -H 'x-api-version: v2'");
    compare("explain_not_found", "explain good.yaml GET /nothing");
    compare("explain_method", "explain good.yaml DELETE /api/users/7");
    compare("explain_traversal", "explain good.yaml GET /api/users/..%2f..%2fadmin");
    compare("explain_json", "explain good.yaml GET /ping --format json");
    compare("explain_no_request", "explain good.yaml GET ftp://shop.example/");
    compare("explain_bad_file", "explain bad_reference.yaml GET /");
}

#[test]
fn routes() {
    compare("routes", "routes good.yaml");
    compare("routes_json", "routes good.yaml --format json");
}

#[test]
fn targets_that_choose() {
    compare("targets_routes", "routes targets.yaml");
    compare("targets_bad", "check targets_bad.yaml");
    compare("targets_split", "explain targets.yaml GET /cart/7 -H 'cookie: cohort=b'");
    compare("targets_drawn", "explain targets.yaml GET /search");
    compare("targets_default", "explain targets.yaml GET /api/users/7");
    compare("targets_version", "explain targets.yaml GET /api/users/7?a=b -H 'api-version: 2'");
    compare("targets_unknown", "explain targets.yaml GET /api/users/7 -H 'api-version: v3'");
}

#[test]
fn policies_with_mistakes() {
    compare("policies_bad", "check policies_bad.yaml");
}

#[test]
fn what_is_not_understood() {
    compare("typo", "chekc");
    compare("file_missing", "no-such-file.yaml");
    compare("no_arguments", "explain good.yaml");
}

#[test]
fn colours_only_where_wanted() {
    let run = |arguments: &[&str], no_color: bool| {
        let mut command = support::torana();
        command.args(arguments).current_dir(golden());
        if no_color {
            command.env("NO_COLOR", "1");
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(run(&["--color", "always", "check", "bad.yaml"], true).contains('\x1b'), "asked for outright");
    assert!(!run(&["check", "bad.yaml"], false).contains('\x1b'), "a pipe");
    assert!(!run(&["--color", "never", "check", "bad.yaml"], false).contains('\x1b'));
}

#[test]
fn the_schema_is_json_and_knows_the_keys() {
    let output = support::torana().arg("schema").output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["$defs"]["Config"]["properties"]["listeners"].is_object());
    assert!(schema.to_string().contains("strip_prefix"));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = support::torana().args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("explain"), "{shell}");
    }
}
