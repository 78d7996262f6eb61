//! `torana key`

use super::{FAILED, admin};
use crate::cli::{self, Format, KeyCommand};
use crate::terminal::Terminal;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::process::ExitCode;

pub(super) fn run(asked: &cli::Key, terminal: Terminal) -> ExitCode {
    let (at, result) = match &asked.command {
        KeyCommand::Create(create) => {
            let body = body(&[("name", &create.name), ("ttl", &create.life.ttl), ("expires", &create.life.expires)]);
            (&create.at, ask(&create.at, "POST", &path(&create.consumer, &["keys"]), &body))
        }
        KeyCommand::Rotate(rotate) => {
            let (overlap, life) = (&rotate.overlap, &rotate.life);
            let body = body(&[("overlap", overlap), ("ttl", &life.ttl), ("expires", &life.expires)]);
            (&rotate.at, ask(&rotate.at, "POST", &path(&rotate.consumer, &["keys", &rotate.key, "rotate"]), &body))
        }
        KeyCommand::Revoke(revoke) => {
            let path = path(&revoke.consumer, &["keys", &revoke.key]);
            (&revoke.at, ask(&revoke.at, "DELETE", &path, &Value::Null))
        }
        KeyCommand::List(list) => (&list.at, ask(&list.at, "GET", &path(&list.consumer, &["keys"]), &Value::Null)),
    };
    match (result, at.format) {
        (Ok(reply), Format::Json) => terminal.out(&format!("{reply:#}\n")),
        (Ok(reply), Format::Text) => terminal.out(&text(&reply)),
        (Err(error), _) => {
            terminal.error(&format!("error: {error}\n"));
            return ExitCode::from(FAILED);
        }
    }
    ExitCode::SUCCESS
}

fn ask(at: &cli::KeyAt, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let token = at.token.clone().or_else(|| std::env::var("TORANA_ADMIN_TOKEN").ok());
    let (status, reply) = admin::ask(&at.admin, token.as_deref(), method, path, body)?;
    match (status, &reply["detail"], &reply["why"]) {
        (200, ..) => Ok(reply),
        (_, Value::String(detail), Value::String(why)) => Err(format!("{detail}: {why}")),
        (_, Value::String(detail), _) => Err(format!("the admin interface answers with {status}: {detail}")),
        _ => Err(format!("the admin interface answers with {status}: is it the one of a gateway?")),
    }
}

/// What was said on the command line.
fn body(members: &[(&str, &Option<String>)]) -> Value {
    let said = members.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.as_deref()?.into())));
    Value::Object(said.collect::<Map<_, _>>())
}

fn path(consumer: &str, parts: &[&str]) -> String {
    let mut path = "/consumers".to_owned();
    for part in [consumer].iter().chain(parts) {
        path.push('/');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
                path.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path
}

/// A new key stands alone on the first line, for `$(…)` and for eyes.
fn text(reply: &Value) -> String {
    let mut out = String::new();
    let keys = match reply["keys"].as_array() {
        Some(keys) => keys.as_slice(),
        None => std::slice::from_ref(reply),
    };
    if keys.is_empty() {
        return "no keys\n".to_owned();
    }
    if let Some(key) = reply["key"].as_str() {
        let _ = writeln!(out, "{key}");
        let _ = writeln!(out, "# shown this once: keep it now");
    }
    for key in keys {
        let word = |member: &str| key[member].as_str().unwrap_or("-").to_owned();
        let mut line =
            format!("{}{}  {:9}", if reply["key"].is_string() { "# " } else { "" }, word("id"), word("state"));
        for (member, title) in [("name", ""), ("created", "made "), ("expires", "ends "), ("revoked", "revoked ")] {
            if let Some(value) = key[member].as_str() {
                let _ = write!(line, "  {title}{value}");
            }
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_encoded_and_keys_stand_alone() {
        assert_eq!(path("team/a b", &["keys", "x"]), "/consumers/team%2Fa%20b/keys/x");
        let made = json!({ "id": "abc", "state": "active", "name": "ci", "expires": "2100-01-01T00:00:00Z", "key": "trn_abc_x" });
        let shown = text(&made);
        assert_eq!(shown.lines().next(), Some("trn_abc_x"));
        assert!(shown.lines().skip(1).all(|line| line.starts_with('#')), "{shown}");
        assert!(shown.contains("ends 2100"), "{shown}");
        assert_eq!(text(&json!({ "keys": [] })), "no keys\n");
        assert_eq!(text(&json!({ "keys": [{ "id": "a", "state": "revoked" }] })), "a  revoked\n");
        assert_eq!(body(&[("a", &Some("1".into())), ("b", &None)]), json!({ "a": "1" }));
    }
}
