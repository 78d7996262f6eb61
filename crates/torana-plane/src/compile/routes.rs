//! Routes.

use super::known::{self, Again};
use super::matching::Matched;
use super::{Context, Upstreams, chain, matching, target};
use crate::matcher::RoutePattern;
use crate::metrics::exposition;
use crate::plan::{Known, Link, Route};
use std::sync::Arc;
use torana_config::model::{self, Config};
use torana_core::pace::stepwise;
use torana_core::rewrite;

/// Routes as they are compiled.
pub(super) struct Routes {
    /// The routes. With an error reported the lists may be shorter than what was
    /// written.
    pub(super) list: Vec<Arc<Route>>,
    /// Position by position, what they match.
    pub(super) patterns: Vec<Arc<RoutePattern>>,
    /// And what they were compiled from.
    pub(super) known: Vec<Known>,
}

pub(super) fn compile(config: &Config, upstreams: &Upstreams, context: &mut Context<'_>) -> Routes {
    // Built once for all routes: a limit on every route is one limit.
    let global = chain::links(&config.policies, None, &[], upstreams, context);
    let before = known::find(&config.routes, upstreams, context.previous);
    let matched: Vec<Matched> = stepwise(config.routes.iter().zip(&before).enumerate())
        .map(|(order, (route, before))| match before {
            Some(again) => Matched::again(again.pattern, order),
            None => matching::read(route, order, context),
        })
        .collect();
    matching::report_shadows(&config.routes, &matched, context);
    let mut list = Vec::with_capacity(config.routes.len());
    let mut known = Vec::with_capacity(config.routes.len());
    for ((written, matched), before) in stepwise(config.routes.iter().zip(&matched).zip(before)) {
        let compiled = match before {
            Some(again) => Some((used_again(again, &global), Some(again.own.to_vec()))),
            None => anew(written, matched, &global, upstreams, context),
        };
        if let Some((route, own)) = compiled {
            list.push(route);
            known.push(Known { written: Arc::clone(written), own });
        }
    }
    Routes { list, patterns: matched.into_iter().map(|matched| matched.pattern).collect(), known }
}

/// A route that compiles to the same as before, behind the policies of all
/// routes as they are now.
fn used_again(again: Again<'_>, global: &[Link]) -> Arc<Route> {
    let had_global = again.route.chain.len() > again.own.len();
    if global.is_empty() && !had_global {
        return Arc::clone(again.route);
    }
    let chain = chain::order(global, again.own.to_vec());
    Arc::new(Route { chain, ..Route::clone(again.route) }.with_flags())
}

/// Compiles a route; with its own policies, if it may be used again.
fn anew(
    written: &model::Route,
    matched: &Matched,
    global: &[Link],
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<(Arc<Route>, Option<Vec<Link>>)> {
    context.has_asked = false;
    let said = context.diagnostics.len();
    let own = chain::links(&written.policies, Some(&written.name), matched.pattern.path.names(), upstreams, context);
    let route = route(written, matched, own.clone(), global, upstreams, context)?;
    let is_alone = !context.has_asked && context.diagnostics.len() == said;
    Some((Arc::new(route), is_alone.then_some(own)))
}

fn route(
    written: &model::Route,
    matched: &Matched,
    own: Vec<Link>,
    global: &[Link],
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<Route> {
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
    let route = Route {
        answers_preflights: false,
        watches_forwarding: false,
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
    };
    Some(route.with_flags())
}

impl Route {
    /// The same with what its chain says about itself.
    fn with_flags(self) -> Route {
        Route {
            answers_preflights: self.chain.iter().any(|link| link.policy.answers_preflights()),
            watches_forwarding: self.chain.iter().any(|link| link.policy.sees_forwarding()),
            ..self
        }
    }
}
