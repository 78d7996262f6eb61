//! `torana routes`

use super::plan;
use crate::cli::{self, Format};
use crate::show;
use crate::terminal::{Terminal, paint};
use serde_json::Value;
use std::process::ExitCode;
use torana_config::report::Style;

pub(super) fn run(routes: &cli::Routes, terminal: Terminal) -> ExitCode {
    let plan = match plan(&routes.file, terminal) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let shown = show::routes(&plan);
    match routes.format {
        Format::Json => terminal.out(&format!("{shown:#}\n")),
        Format::Text => terminal.out(&table(&shown, terminal.out_style())),
    }
    ExitCode::SUCCESS
}

fn table(routes: &Value, style: Style) -> String {
    let mut rows = vec![["ROUTE", "HOST", "PATH", "METHODS", "WHEN", "POLICIES", "TARGET"].map(str::to_owned)];
    rows.extend(routes.as_array().into_iter().flatten().map(row));
    let widths: [usize; 7] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        let line = line.trim_end();
        out.push_str(&if index == 0 { paint(style, "1", line) } else { line.to_owned() });
        out.push('\n');
    }
    out
}

fn row(route: &Value) -> [String; 7] {
    let text = |key: &str| route[key].as_str().unwrap_or_default().to_owned();
    let list = |key: &str, none: &str| match route[key].as_array() {
        Some(list) if !list.is_empty() => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        _ => none.to_owned(),
    };
    let named = |key: &str, sign: &'static str| {
        let names = route[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(|name| format!("{sign}{name}")).collect::<Vec<_>>()
    };
    let mut when = [("headers", ""), ("query", "?"), ("cookies", "cookie:"), ("content_types", ""), ("clients", "")]
        .map(|(key, sign)| named(key, sign))
        .concat();
    // One line, however it is written.
    when.extend(route["when"].as_str().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")));
    let when = if when.is_empty() { "-".to_owned() } else { when.join(",") };
    [text("name"), list("hosts", "*"), text("path"), list("methods", "*"), when, list("policies", "-"), text("target")]
}
