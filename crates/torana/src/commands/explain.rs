//! `torana explain`

use super::{FAILED, REFUSED, admin, plan};
use crate::cli::{self, Format};
use crate::terminal::{Terminal, paint};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use torana_config::report::Style;
use torana_plane::explain::{Question, explain};

pub(super) fn run(asked: &cli::Explain, terminal: Terminal) -> ExitCode {
    let (file, method, url) = match asked.question() {
        Ok(words) => words,
        Err(error) => error.exit(),
    };
    let explained = match (file, &asked.admin) {
        (Some(file), _) => of_file(file, method, url, asked, terminal),
        (None, Some(address)) => of_running(address, method, url, asked).map_err(|error| failed(&error, terminal)),
        (None, None) => Err(ExitCode::from(FAILED)),
    };
    let explanation = match explained {
        Ok(explanation) => explanation,
        Err(code) => return code,
    };
    match asked.format {
        Format::Json => terminal.out(&format!("{explanation:#}\n")),
        Format::Text => terminal.out(&text(&explanation, terminal.out_style())),
    }
    if explanation["outcome"]["kind"] == "refused" { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS }
}

fn failed(error: &str, terminal: Terminal) -> ExitCode {
    terminal.error(&format!("error: {error}\n"));
    ExitCode::from(FAILED)
}

fn of_file(file: &Path, method: &str, url: &str, asked: &cli::Explain, terminal: Terminal) -> Result<Value, ExitCode> {
    let plan = plan(file, terminal)?;
    let question = Question { method, url, headers: &asked.headers, client_ip: asked.client };
    let explanation = explain(&plan, &question).map_err(|error| failed(&error.to_string(), terminal))?;
    serde_json::to_value(&explanation).map_err(|error| failed(&error.to_string(), terminal))
}

fn of_running(address: &str, method: &str, url: &str, asked: &cli::Explain) -> Result<Value, String> {
    let token = asked.token.clone().or_else(|| std::env::var("TORANA_ADMIN_TOKEN").ok());
    let question = json!({ "method": method, "url": url, "headers": asked.headers, "client": asked.client });
    let (status, reply) = admin::post(address, token.as_deref(), "/explain", &question)?;
    match (status, &reply["why"], &reply["detail"]) {
        (200, ..) => Ok(reply),
        (_, Value::String(why), _) => Err(why.clone()),
        (_, _, Value::String(detail)) => Err(format!("the admin interface answers with {status}: {detail}")),
        _ => Err(format!("the admin interface answers with {status}: is it the one of a gateway?")),
    }
}

/// The text of a member; nothing for what is not there.
fn word<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

fn query(value: &Value) -> String {
    value["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default()
}

fn text(explanation: &Value, style: Style) -> String {
    let mut out = String::new();
    let bold = |text: &str| paint(style, "1", text);
    // Writing to a String cannot fail; so for all of these.
    let request = &explanation["request"];
    if request.is_object() {
        let url = format!(
            "{}://{}{}{}",
            word(request, "scheme"),
            word(request, "host"),
            word(request, "path"),
            query(request)
        );
        let (method, client) = (word(request, "method"), word(explanation, "client_ip"));
        let _ = writeln!(out, "{}  {method} {url} from {client}", bold("request "));
    }
    let _ = writeln!(out, "{}  {}", bold("outcome "), outcome(&explanation["outcome"], style));
    if let Some(target) = explanation["target"].as_str() {
        let _ = writeln!(out, "{}  {target}", bold("target  "));
    }
    let policies: Vec<String> = list(explanation, "policies")
        .iter()
        .map(|step| format!("{} ({})", word(step, "policy"), word(step, "stage")))
        .collect();
    if !policies.is_empty() {
        let _ = writeln!(out, "{}  {}", bold("policies"), policies.join(", "));
    }
    for step in list(explanation, "policies").iter().filter(|step| step["says"].is_string()) {
        let _ = writeln!(out, "          {}: {}", word(step, "policy"), word(step, "says"));
    }
    endpoint(&explanation["endpoint"], style, &mut out);
    let forwarded = &explanation["forwarded"];
    if forwarded.is_object() {
        let title = format!("as `{}` would get it, before policies", word(forwarded, "upstream"));
        let _ = writeln!(out, "\n{}", bold(&title));
        let _ = writeln!(out, "  {} {}{}", word(forwarded, "method"), word(forwarded, "path"), query(forwarded));
        for pair in list(forwarded, "headers") {
            let (name, value) = (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
            let _ = writeln!(out, "  {name}: {value}");
        }
    }
    routes(list(explanation, "candidates"), style, &mut out);
    out
}

fn outcome(outcome: &Value, style: Style) -> String {
    match word(outcome, "kind") {
        "route" => paint(style, "32", &format!("route `{}`", word(outcome, "name"))),
        "answered" => format!("answered by the gateway with {}", outcome["status"]),
        _ => {
            let cause = outcome["cause"].as_str().map(|cause| format!(" ({cause})")).unwrap_or_default();
            let (status, code, message) = (&outcome["status"], word(outcome, "code"), word(outcome, "message"));
            paint(style, "31", &format!("refused with {status} {code}: {message}{cause}"))
        }
    }
}

/// Which endpoint, why, and how all of them stand.
fn endpoint(chosen: &Value, style: Style, out: &mut String) {
    if !chosen.is_object() {
        return;
    }
    let (why, algorithm) = (word(chosen, "why"), word(chosen, "algorithm"));
    let endpoints = list(chosen, "endpoints");
    let is_possible = endpoints.iter().any(|endpoint| endpoint["share"].as_f64().is_some_and(|share| share > 0.0));
    let chosen_text = match chosen["name"].as_str() {
        Some(name) => format!("{} ({algorithm}): {why}", paint(style, "32", name)),
        None if is_possible => format!("one of those below ({algorithm}): {why}"),
        None => paint(style, "31", &format!("none ({why})")),
    };
    let _ = writeln!(out, "{}  {chosen_text}", paint(style, "1", "endpoint"));
    if chosen["panic"] == true {
        let _ = writeln!(out, "          health is set aside: too few endpoints are usable");
    }
    let _ = writeln!(out, "\n{}", paint(style, "1", "endpoints"));
    let names = endpoints.iter().map(|endpoint| word(endpoint, "endpoint").chars().count()).max().unwrap_or(0);
    for endpoint in endpoints {
        let name = word(endpoint, "endpoint");
        let mark = if chosen["name"] == endpoint["endpoint"] { paint(style, "32", "*") } else { " ".to_owned() };
        let percent = endpoint["share"].as_f64().unwrap_or_default() * 100.0;
        let against: Vec<&str> = list(endpoint, "out").iter().filter_map(Value::as_str).collect();
        let health = if against.is_empty() { "usable".to_owned() } else { format!("out: {}", against.join(", ")) };
        let breaker = endpoint["breaker"].as_str().map(|phase| format!(", breaker {phase}")).unwrap_or_default();
        let weight = &endpoint["weight"];
        let _ = writeln!(out, "{mark} {name:names$}  weight {weight}  {percent:>3.0} %  {health}{breaker}");
    }
}

fn routes(candidates: &[Value], style: Style, out: &mut String) {
    if candidates.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint(style, "1", "routes considered"));
    let width = |member| candidates.iter().map(|candidate| word(candidate, member).chars().count()).max().unwrap_or(0);
    let (names, paths) = (width("route"), width("path"));
    for candidate in candidates {
        let mark = if candidate["wins"] == true { paint(style, "32", "*") } else { " ".to_owned() };
        let (route, path, rule) = (word(candidate, "route"), word(candidate, "path"), word(candidate, "rule"));
        let _ = writeln!(out, "{mark} {route:names$}  {path:paths$}  {rule}");
    }
}
