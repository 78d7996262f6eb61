//! `torana explain`

use super::{FAILED, REFUSED, plan};
use crate::cli::{self, Format};
use crate::terminal::{Terminal, paint};
use std::fmt::Write;
use std::process::ExitCode;
use torana_config::report::Style;
use torana_plane::explain::{Explanation, Outcome, Question, explain};

pub(super) fn run(asked: &cli::Explain, terminal: Terminal) -> ExitCode {
    let plan = match plan(&asked.file, terminal) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let question =
        Question { method: &asked.method, url: &asked.url, headers: &asked.headers, client_ip: asked.client };
    let explanation = match explain(&plan, &question) {
        Ok(explanation) => explanation,
        Err(error) => {
            terminal.error(&format!("error: {error}\n"));
            return ExitCode::from(FAILED);
        }
    };
    match asked.format {
        Format::Json => match serde_json::to_string_pretty(&explanation) {
            Ok(json) => terminal.out(&format!("{json}\n")),
            Err(error) => terminal.error(&format!("error: {error}\n")),
        },
        Format::Text => terminal.out(&text(&explanation, terminal.out_style())),
    }
    match explanation.outcome {
        Outcome::Refused { .. } => ExitCode::from(REFUSED),
        Outcome::Route { .. } | Outcome::Answered { .. } => ExitCode::SUCCESS,
    }
}

fn text(explanation: &Explanation, style: Style) -> String {
    let mut out = String::new();
    let bold = |text: &str| paint(style, "1", text);
    // Writing to a String cannot fail; so for all of these.
    if let Some(request) = &explanation.request {
        let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}://{}{}{query}", request.scheme, request.host, request.path);
        let _ = writeln!(out, "{}  {} {url} from {}", bold("request "), request.method, explanation.client_ip);
    }
    let outcome = match &explanation.outcome {
        Outcome::Route { name } => paint(style, "32", &format!("route `{name}`")),
        Outcome::Answered { status } => format!("answered by the gateway with {status}"),
        Outcome::Refused { code, status, message, cause } => {
            let cause = cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
            paint(style, "31", &format!("refused with {status} {code}: {message}{cause}"))
        }
    };
    let _ = writeln!(out, "{}  {outcome}", bold("outcome "));
    if let Some(target) = &explanation.target {
        let _ = writeln!(out, "{}  {target}", bold("target  "));
    }
    let policies: Vec<String> =
        explanation.policies.iter().map(|step| format!("{} ({})", step.policy, step.stage)).collect();
    if !policies.is_empty() {
        let _ = writeln!(out, "{}  {}", bold("policies"), policies.join(", "));
    }
    for step in &explanation.policies {
        if let Some(says) = &step.says {
            let _ = writeln!(out, "          {}: {says}", step.policy);
        }
    }
    if let Some(forwarded) = &explanation.forwarded {
        let query = forwarded.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let _ = writeln!(out, "\n{}", bold(&format!("as `{}` would get it, before policies", forwarded.upstream)));
        let _ = writeln!(out, "  {} {}{query}", forwarded.method, forwarded.path);
        for (name, value) in &forwarded.headers {
            let _ = writeln!(out, "  {name}: {value}");
        }
    }
    if !explanation.candidates.is_empty() {
        let _ = writeln!(out, "\n{}", bold("routes considered"));
        let names = explanation.candidates.iter().map(|candidate| candidate.route.chars().count()).max().unwrap_or(0);
        let paths = explanation.candidates.iter().map(|candidate| candidate.path.chars().count()).max().unwrap_or(0);
        for candidate in &explanation.candidates {
            let mark = if candidate.wins { paint(style, "32", "*") } else { " ".to_owned() };
            let _ = writeln!(out, "{mark} {:names$}  {:paths$}  {}", candidate.route, candidate.path, candidate.rule);
        }
    }
    out
}
