//! The page about codes: what requests are refused with, and what diagnostics are called.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::meanings::MEANINGS;
use super::{NOTE, cell};
use crate::Outcome;
use crate::workspace;

/// Where diagnostics and replies of the admin interface are made, besides torana-config, which lists its own codes.
const SOURCES: &[&str] = &[
    "crates/torana-core/src/ask.rs",
    "crates/torana-core/src/policy.rs",
    "crates/torana-core/src/rewrite",
    "crates/torana-core/src/site.rs",
    "crates/torana-core/src/welcome.rs",
    "crates/torana-plane/src/compile",
    "crates/torana-identity/src",
    "crates/torana-policies/src",
    "crates/torana-targets/src",
    "crates/torana-store/src",
    "crates/torana-net/src/tls",
    "crates/torana/src/gateway/reload.rs",
    "crates/torana/src/wire.rs",
    "crates/torana-control/src/admin",
];

pub(super) fn page(listing: &Value) -> Outcome<String> {
    let mut page = format!(
        "{NOTE}\n# Codes\n\nCodes are stable: programs may depend on them. Texts are for people and may change.\n\n\
         ## Refusals\n\nReplies the gateway makes itself. The code stands in the reply's body (`application/problem+json`), in the access\n\
         log and in `gateway_refusals_total`. *Origin* is who made the request fail; *retry* says whether the same request may\n\
         succeed when it is sent again.\n\n| code | status | origin | retry | what the caller reads |\n|---|---|---|---|---|\n"
    );
    let mut refusals = BTreeMap::new();
    for refusal in listing["refusals"].as_array().into_iter().flatten() {
        let text = |key: &str| cell(refusal[key].as_str().unwrap_or_default());
        let line = format!(
            "| `{}` | {} | {} | {} | {} |\n",
            text("code"),
            refusal["status"],
            text("origin"),
            text("retry"),
            text("message")
        );
        refusals.insert(text("code"), line);
    }
    page.extend(refusals.values().map(String::as_str));
    page.push_str(
        "\n## Diagnostics\n\nWhat can be wrong with a configuration: `torana check`, `torana run` and `GET /diagnostics` report them with the lines\n\
         they are on. Those marked as warnings do not keep a configuration from being taken up.\n\n| code | meaning |\n|---|---|\n",
    );
    let mut diagnostics = BTreeMap::new();
    for pair in listing["diagnostics"].as_array().into_iter().flatten() {
        let text = |at: usize| cell(pair[at].as_str().unwrap_or_default());
        diagnostics.insert(text(0), text(1));
    }
    let known: BTreeSet<&str> = refusals.keys().chain(diagnostics.keys()).map(String::as_str).collect();
    let found: BTreeSet<String> = found()?.into_iter().filter(|code| !known.contains(code.as_str())).collect();
    agree(&found)?;
    let (admin, others): (Vec<_>, Vec<_>) = MEANINGS.iter().partition(|(code, _)| code.starts_with("admin."));
    diagnostics.extend(others.iter().map(|(code, meaning)| ((*code).to_owned(), (*meaning).to_owned())));
    page.extend(diagnostics.iter().map(|(code, meaning)| format!("| `{code}` | {meaning} |\n")));
    page.push_str(
        "\n## The admin interface\n\nCodes in the bodies of its own refusals.\n\n| code | meaning |\n|---|---|\n",
    );
    page.extend(admin.iter().map(|(code, meaning)| format!("| `{code}` | {meaning} |\n")));
    Ok(page)
}

/// Every code in the sources has a meaning, and every meaning a code.
fn agree(found: &BTreeSet<String>) -> Outcome<()> {
    let listed: BTreeSet<String> = MEANINGS.iter().map(|(code, _)| (*code).to_owned()).collect();
    let new: Vec<_> = found.difference(&listed).cloned().collect();
    let gone: Vec<_> = listed.difference(found).cloned().collect();
    if new.is_empty() && gone.is_empty() {
        return Ok(());
    }
    Err(format!(
        "xtask/src/reference/meanings.rs: codes without a meaning: [{}]; meanings without a code in the sources: [{}]",
        new.join(", "),
        gone.join(", ")
    ))
}

/// String literals of the form `area.reason`, tests left out.
fn found() -> Outcome<BTreeSet<String>> {
    let mut codes = BTreeSet::new();
    for source in SOURCES {
        let path = workspace::root().join(source);
        let files = if path.is_file() { vec![path] } else { workspace::files(&path, ".rs")? };
        let is_test = |file: &str| file.ends_with("tests.rs") || file.contains("/tests/");
        for file in files.iter().filter(|file| !is_test(&file.to_string_lossy())) {
            let text = workspace::read(file)?;
            // Tests stand at the end of a file.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            // Escaped quotes end no literal.
            let code = code.replace(r"\\", "").replace("\\\"", "");
            codes.extend(code.split('"').skip(1).step_by(2).filter(|literal| is_code(literal)).map(str::to_owned));
        }
    }
    Ok(codes)
}

fn is_code(literal: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    // Hosts and files look alike.
    let is_file =
        [".pem", ".key", ".yaml", ".example", ".redb", ".rs", ".lua"].iter().any(|ending| literal.ends_with(ending));
    !is_file && literal.split_once('.').is_some_and(|(area, reason)| is_name(area) && is_name(reason))
}
