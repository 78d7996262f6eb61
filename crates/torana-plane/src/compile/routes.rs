//! Routes.

use super::{Context, Upstreams, chain, matching, rewrite, target};
use crate::matcher::RoutePattern;
use crate::plan::{Link, Route};
use torana_config::model::{self, Config};

/// The routes and, position by position, what they match. With an error
/// reported the lists may be shorter than what was written.
pub(super) fn compile(
    config: &Config,
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> (Vec<Route>, Vec<RoutePattern>) {
    // Built once for all routes: a limit on every route is one limit.
    let global = chain::links(&config.policies, context);
    let before = context.diagnostics.len();
    let patterns: Vec<RoutePattern> =
        config.routes.iter().enumerate().map(|(order, route)| matching::pattern(route, order, context)).collect();
    if context.diagnostics.len() == before {
        // A pattern that was not understood stands for everything and would
        // seem to shadow the rest.
        matching::report_shadows(&config.routes, &patterns, context);
    }
    let routes = config
        .routes
        .iter()
        .zip(&patterns)
        .filter_map(|(written, pattern)| route(written, pattern, &global, upstreams, context))
        .collect();
    (routes, patterns)
}

fn route(
    written: &model::Route,
    pattern: &RoutePattern,
    global: &[Link],
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<Route> {
    let own = chain::links(&written.policies, context);
    let rewrite = written.rewrite.as_ref().map(|rewrite| &rewrite.value);
    let path = rewrite.and_then(|written| rewrite::path(written, &pattern.path, context));
    let host = rewrite::host(rewrite.and_then(|rewrite| rewrite.host.as_ref()), context);
    let (target_kind, target) = target::target(written, pattern.path.names(), upstreams, context)?;
    Some(Route {
        name: written.name.as_str().into(),
        pattern: pattern.path.as_str().into(),
        chain: chain::order(global, own),
        target,
        target_kind,
        rewrite: path,
        host,
        timeout: written.timeout.as_ref().map(|timeout| timeout.std()),
        body_bytes: written.body_bytes.as_ref().map(|bytes| bytes.bytes()),
        captures: pattern.path.names().to_vec(),
    })
}
