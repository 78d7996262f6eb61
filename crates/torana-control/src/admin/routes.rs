//! Every page there is. Requests are routed by this table, and `/` lists it.

use hyper::Method;

/// A page, and how to ask for it.
#[derive(Debug)]
pub(super) struct Route {
    /// `GET` stands for `HEAD` too.
    pub(super) method: Method,
    /// The path; `{id}` stands for a number.
    pub(super) path: &'static str,
    pub(super) page: Page,
    /// What it is for.
    pub(super) about: &'static str,
    /// Whether it is answered without a token: only what tells nothing, for
    /// probes.
    pub(super) is_open: bool,
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    Index,
    Live,
    Ready,
    Status,
    Metrics,
    Config,
    Listeners,
    Routes,
    Upstreams,
    Diagnostics,
    Explain,
    Reload,
    Revisions,
    Revision,
    Diff,
    Rollback,
    Version,
    OpenApi,
}

const fn get(path: &'static str, page: Page, about: &'static str) -> Route {
    Route { method: Method::GET, path, page, about, is_open: false }
}

const fn post(path: &'static str, page: Page, about: &'static str) -> Route {
    Route { method: Method::POST, path, page, about, is_open: false }
}

const fn probe(path: &'static str, page: Page, about: &'static str) -> Route {
    Route { method: Method::GET, path, page, about, is_open: true }
}

pub(super) static ROUTES: &[Route] = &[
    get("/", Page::Index, "the pages there are"),
    probe("/livez", Page::Live, "200 while the process runs"),
    probe("/healthz", Page::Live, "the same as `/livez`"),
    probe("/readyz", Page::Ready, "200 while requests should be sent here, 503 once the gateway is stopping"),
    get(
        "/status",
        Page::Status,
        "how it is doing: `ok`, `degraded` (the configuration on disk is not in force: refused or rolled back) or `draining`",
    ),
    get("/metrics", Page::Metrics, "Prometheus metrics"),
    get("/config", Page::Config, "the configuration in force, without secrets, with its revision and checksum"),
    get("/listeners", Page::Listeners, "where connections are accepted, with certificates"),
    get("/routes", Page::Routes, "the routes"),
    get("/upstreams", Page::Upstreams, "the upstreams, their endpoints and connection pools"),
    get("/diagnostics", Page::Diagnostics, "what was wrong with the last configuration looked at"),
    post(
        "/explain",
        Page::Explain,
        "what would become of a request, and why: its route, what would be sent to which endpoint; nothing is sent or changed",
    ),
    post("/reload", Page::Reload, "take up the configuration as it is on disk, and say what came of it"),
    get("/revisions", Page::Revisions, "the configurations that were in force, with how much each changed"),
    get("/revisions/{id}", Page::Revision, "one of them, with its documents"),
    get("/revisions/{id}/diff/{other}", Page::Diff, "what turns the documents of one into those of the other"),
    post(
        "/revisions/{id}/rollback",
        Page::Rollback,
        "put one of them in force again, until the files change or a reload",
    ),
    get("/version", Page::Version, "what is running"),
    get("/openapi.json", Page::OpenApi, "these pages as an OpenAPI description"),
];

/// The routes of `path`, one per method, each with the numbers in the path.
pub(super) fn find(path: &str) -> Vec<(&'static Route, Vec<u64>)> {
    ROUTES.iter().filter_map(|route| Some((route, numbers(route.path, path)?))).collect()
}

/// The numbers in `path` if it is of the form `template`. Nothing is decoded:
/// no page has a name that would need it.
fn numbers(template: &str, path: &str) -> Option<Vec<u64>> {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    let mut numbers = Vec::new();
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(numbers),
            (Some(wanted), Some(found)) if wanted.starts_with('{') => {
                // `+1` and `01` are not what is listed.
                let is_plain = found == "0" || found.bytes().next().is_some_and(|first| (b'1'..=b'9').contains(&first));
                numbers.push(found.parse().ok().filter(|_| is_plain)?);
            }
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_where_the_template_has_braces() {
        let template = "/revisions/{id}/diff/{other}";
        assert_eq!(numbers(template, "/revisions/3/diff/10"), Some(vec![3, 10]));
        for path in ["/revisions/3/diff", "/revisions/3/diff/", "/revisions/3/diff/1/", "/revisions/x/diff/1"] {
            assert_eq!(numbers(template, path), None, "{path}");
        }
        for id in ["+1", "01", "", "-1", "18446744073709551616", "%31"] {
            assert_eq!(numbers("/{id}", &format!("/{id}")), None, "{id}");
        }
        assert_eq!(numbers("/", "/"), Some(vec![]));
    }

    #[test]
    fn only_probes_are_open_and_nothing_is_there_twice() {
        let open: Vec<_> = ROUTES.iter().filter(|route| route.is_open).map(|route| route.path).collect();
        assert_eq!(open, ["/livez", "/healthz", "/readyz"]);
        for (at, route) in ROUTES.iter().enumerate() {
            let is_same = |other: &&Route| (&other.method, other.path) == (&route.method, route.path);
            assert_eq!(ROUTES.iter().position(|other| is_same(&other)), Some(at), "{}", route.path);
        }
    }
}
