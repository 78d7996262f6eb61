//! Every page there is. Requests are routed by this table, and `/` lists it.

use crate::running::ConsumerTask;
use hyper::Method;

/// A page, and how to ask for it.
#[derive(Debug)]
pub(super) struct Route {
    /// `GET` stands for `HEAD` too.
    pub(super) method: Method,
    /// The path; `{id}` stands for a number, `{name}`, `{address}` and `{key}`
    /// for a name, percent-encoded where it has a `/`.
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
    Drain,
    Undrain,
    Diagnostics,
    Explain,
    Reload,
    Revisions,
    Revision,
    Diff,
    Rollback,
    Version,
    OpenApi,
    Consumers(ConsumerTask),
}

const fn get(path: &'static str, page: Page, about: &'static str) -> Route {
    Route { method: Method::GET, path, page, about, is_open: false }
}

const fn post(path: &'static str, page: Page, about: &'static str) -> Route {
    Route { method: Method::POST, path, page, about, is_open: false }
}

const fn delete(path: &'static str, page: Page, about: &'static str) -> Route {
    Route { method: Method::DELETE, path, page, about, is_open: false }
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
    post(
        "/upstreams/{name}/endpoints/{address}/drain",
        Page::Drain,
        "send no new requests to an endpoint, until it is undone or the endpoint is no longer listed",
    ),
    post("/upstreams/{name}/endpoints/{address}/undrain", Page::Undrain, "send requests to a drained endpoint again"),
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
    get("/consumers", Page::Consumers(ConsumerTask::List), "the consumers: of the configuration, and those made since"),
    post(
        "/consumers",
        Page::Consumers(ConsumerTask::Put),
        "make a consumer, or change one that was made; those of the configuration are changed there",
    ),
    get("/consumers/{name}", Page::Consumers(ConsumerTask::Show), "one of them, with its keys"),
    delete("/consumers/{name}", Page::Consumers(ConsumerTask::Remove), "forget a consumer that was made, and its keys"),
    get(
        "/consumers/{name}/keys",
        Page::Consumers(ConsumerTask::Keys),
        "the keys of a consumer; never the keys themselves",
    ),
    post("/consumers/{name}/keys", Page::Consumers(ConsumerTask::CreateKey), "make a key, which is shown this once"),
    post(
        "/consumers/{name}/keys/{key}/rotate",
        Page::Consumers(ConsumerTask::RotateKey),
        "make a key in the place of another, which goes on for a while; the new one is shown this once",
    ),
    delete(
        "/consumers/{name}/keys/{key}",
        Page::Consumers(ConsumerTask::RevokeKey),
        "take a key back, at once and for good",
    ),
    get("/version", Page::Version, "what is running"),
    get("/openapi.json", Page::OpenApi, "these pages as an OpenAPI description"),
];

/// What stands in a path where the template has braces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Number(u64),
    Name(String),
}

/// The routes of `path`, one per method, each with what the path names.
pub(super) fn find(path: &str) -> Vec<(&'static Route, Vec<Part>)> {
    ROUTES.iter().filter_map(|route| Some((route, parts(route.path, path)?))).collect()
}

/// What `path` names if it is of the form `template`. Only names are decoded,
/// after the path was taken apart: their slashes are theirs.
fn parts(template: &str, path: &str) -> Option<Vec<Part>> {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    let mut parts = Vec::new();
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(parts),
            (Some("{name}" | "{address}" | "{key}"), Some(found)) => parts.push(Part::Name(decoded(found)?)),
            (Some(wanted), Some(found)) if wanted.starts_with('{') => {
                // `+1` and `01` are not what is listed.
                let is_plain = found == "0" || found.bytes().next().is_some_and(|first| (b'1'..=b'9').contains(&first));
                parts.push(Part::Number(found.parse().ok().filter(|_| is_plain)?));
            }
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return None,
        }
    }
}

/// A segment without its percent-encoding; `None` if that is broken, or there
/// is nothing.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? << 4 | digit(rest.next())?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_where_the_template_has_braces() {
        let template = "/revisions/{id}/diff/{other}";
        assert_eq!(parts(template, "/revisions/3/diff/10"), Some(vec![Part::Number(3), Part::Number(10)]));
        for path in ["/revisions/3/diff", "/revisions/3/diff/", "/revisions/3/diff/1/", "/revisions/x/diff/1"] {
            assert_eq!(parts(template, path), None, "{path}");
        }
        for id in ["+1", "01", "", "-1", "18446744073709551616", "%31"] {
            assert_eq!(parts("/{id}", &format!("/{id}")), None, "{id}");
        }
        assert_eq!(parts("/", "/"), Some(vec![]));
    }

    #[test]
    fn names_are_decoded_after_the_path_was_taken_apart() {
        let template = "/upstreams/{name}/endpoints/{address}/drain";
        let names = |path: &str| parts(template, path);
        let name = |name: &str| Part::Name(name.to_owned());
        let path = "/upstreams/team%2fusers/endpoints/http%3A%2F%2F10.0.0.7%3A3000/drain";
        assert_eq!(names(path), Some(vec![name("team/users"), name("http://10.0.0.7:3000")]));
        assert_eq!(names("/upstreams/a/endpoints/[::1]:80/drain"), Some(vec![name("a"), name("[::1]:80")]));
        for path in [
            "/upstreams//endpoints/a/drain",
            "/upstreams/a/endpoints//drain",
            "/upstreams/a/endpoints/%/drain",
            "/upstreams/a/endpoints/%4/drain",
            "/upstreams/a/endpoints/%zz/drain",
            "/upstreams/a/endpoints/%ff/drain",
            "/upstreams/a/endpoints/http://10.0.0.7:3000/drain",
        ] {
            assert_eq!(names(path), None, "{path}");
        }
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
