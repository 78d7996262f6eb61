//! Routes.

use super::matching::Matched;
use super::{Context, Upstreams, chain, matching, target};
use crate::matcher::RoutePattern;
use crate::metrics::exposition;
use crate::plan::{Link, Route};
use torana_config::model::{self, Config};
use torana_core::rewrite;

/// The routes and, position by position, what they match. With an error
/// reported the lists may be shorter than what was written.
pub(super) fn compile(
    config: &Config,
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> (Vec<Route>, Vec<RoutePattern>) {
    // Built once for all routes: a limit on every route is one limit.
    let global = chain::links(&config.policies, None, &[], upstreams, context);
    let matched: Vec<Matched> =
        config.routes.iter().enumerate().map(|(order, route)| matching::read(route, order, context)).collect();
    matching::report_shadows(&config.routes, &matched, context);
    let routes = config
        .routes
        .iter()
        .zip(&matched)
        .filter_map(|(written, matched)| route(written, matched, &global, upstreams, context))
        .collect();
    (routes, matched.into_iter().map(|matched| matched.pattern).collect())
}

fn route(
    written: &model::Route,
    matched: &Matched,
    global: &[Link],
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<Route> {
    let own = chain::links(&written.policies, Some(&written.name), matched.pattern.path.names(), upstreams, context);
    let rewrite = written.rewrite.as_ref().map(|rewrite| &rewrite.value);
    let host = rewrite::host(rewrite.and_then(|rewrite| rewrite.host.as_ref()), &mut context.diagnostics);
    if !matched.has_path {
        // Rewrites and targets name what the path captures: without it, all
        // they name would seem to be missing.
        return None;
    }
    let pattern = &matched.pattern;
    let path = rewrite.and_then(|written| rewrite::path(written, &pattern.path.route_path(), &mut context.diagnostics));
    let chain = chain::order(global, own);
    let (target_kind, target) = target::target(written, pattern, &chain, upstreams, context)?;
    Some(Route {
        answers_preflights: chain.iter().any(|link| link.policy.answers_preflights()),
        watches_forwarding: chain.iter().any(|link| link.policy.sees_forwarding()),
        series: exposition::route_labels(&written.name, pattern.path.as_str()),
        name: written.name.as_str().into(),
        pattern: pattern.path.as_str().into(),
        chain,
        target,
        target_kind,
        rewrite: path,
        host,
        timeout: written.timeout.as_ref().map(|timeout| timeout.std()),
        body_bytes: written.body_bytes.as_ref().map(|bytes| bytes.bytes()),
        captures: pattern.path.names().to_vec(),
    })
}
