//! The page about metrics.

use serde_json::Value;

use super::{NOTE, cell};

pub(super) fn page(listing: &Value) -> String {
    let mut page = format!(
        "{NOTE}\n# Metrics\n\nIn the Prometheus text format at `GET /metrics` of the admin address. Labels are closed sets: route names, path\n\
         patterns, reason codes, status classes. Nothing a client sends becomes a label.\n\n| metric | type | meaning |\n|---|---|---|\n"
    );
    for metric in listing["metrics"].as_array().into_iter().flatten() {
        let text = |key: &str| cell(metric[key].as_str().unwrap_or_default());
        page.push_str(&format!("| `{}` | {} | {} |\n", text("name"), text("kind"), text("help")));
    }
    page.push_str(
        "\n## Events of policies and targets\n\nWhat `gateway_policy_events_total` counts. Each has the labels `policy`, which may be a target, `route` and `event`; a\n\
         policy that stands at the top of the file, for every route, counts under the route `_all`. A reload keeps the counts of\n\
         what stays.\n\n\
         | policy | event | meaning |\n|---|---|---|\n",
    );
    for event in listing["events"].as_array().into_iter().flatten() {
        let text = |key: &str| cell(event[key].as_str().unwrap_or_default());
        page.push_str(&format!("| `{}` | `{}` | {} |\n", text("policy"), text("event"), text("help")));
    }
    page
}
