//! Step 4: the route's target answers.

use super::guard;
use crate::forwarder::Forwarder;
use crate::plan::Route;
use crate::refusals::{NOT_FOUND, PANIC, REWRITE};
use crate::tools::{Scratch, Tools};
use crate::view::View;
use torana_core::exchange::Exchange;
use torana_core::refusal::Rejection;
use torana_core::reply::{Reply, ReplyFields};
use torana_core::rewrite::ForwardHost;
use torana_core::target::{Answer, UpstreamId, Way};

pub(super) async fn dispatch<F: Forwarder>(
    view: &View<F>,
    tools: &Tools,
    exchange: &mut Exchange,
) -> Result<Reply, Rejection> {
    let Some(route) = view.route(exchange) else { return Err(Rejection::new(&NOT_FOUND)) };
    if view.plan.access_log.is_some() {
        // The one extra look at the clock is only for the log.
        exchange.notes.dispatched = Some(tools.clock.now());
    }
    let deadline = exchange.deadline;
    // A block, so that an answer which borrows the exchange is gone before it
    // is forwarded.
    let (upstream, way) = {
        match guard::call(route.target_kind, || route.target.answer(exchange))? {
            Answer::Forward(upstream) => (upstream, None),
            Answer::ForwardBy(index) => along(route, index)?,
            Answer::Now(reply) => return Ok(*reply),
            Answer::Reject(rejection) => return Err(rejection),
            Answer::Wait(future) => return guard::wait(route.target_kind, deadline, future).await?,
        }
    };
    let result = match prepare(route, upstream, way, tools, exchange) {
        None => view.forwarder.forward(upstream, exchange).await,
        Some(rejection) => Err(*rejection),
    };
    match way {
        None => result,
        Some(way) => mark(&way.reply, result),
    }
}

/// Makes the exchange what is forwarded; answers why it cannot be. Boxed, since
/// forwarding waits and would hold room for it.
fn prepare(
    route: &Route,
    upstream: UpstreamId,
    way: Option<&Way>,
    tools: &Tools,
    exchange: &mut Exchange,
) -> Option<Box<Rejection>> {
    let mut prepared = rewrite(route, way, tools, exchange);
    if prepared.is_ok() {
        exchange.notes.upstream = Some(upstream);
        if route.watches_forwarding {
            prepared = show(route, exchange);
        }
    }
    prepared.err().map(Box::new)
}

/// Where the exchange would be forwarded to, rewritten for it; `None` where
/// the target would answer by itself.
pub(super) fn preview(route: &Route, tools: &Tools, exchange: &mut Exchange) -> Result<Option<UpstreamId>, Rejection> {
    let (upstream, way) = match guard::call(route.target_kind, || route.target.answer(exchange))? {
        Answer::Forward(upstream) => (upstream, None),
        Answer::ForwardBy(index) => along(route, index)?,
        Answer::Now(_) | Answer::Wait(_) => return Ok(None),
        Answer::Reject(rejection) => return Err(rejection),
    };
    rewrite(route, way, tools, exchange)?;
    Ok(Some(upstream))
}

fn along(route: &Route, index: usize) -> Result<(UpstreamId, Option<&Way>), Rejection> {
    match route.target.ways().get(index) {
        Some(way) => Ok((way.upstream, Some(way))),
        // Like a panic, it is the target's own mistake.
        None => Err(Rejection::new(&PANIC).because(format_args!("`{}` has no way {index}", route.target_kind))),
    }
}

/// Applies the rewrite of the way, or else the route's. A policy may have set
/// path and host before: then it meant to, and its word stands.
fn rewrite(route: &Route, way: Option<&Way>, tools: &Tools, exchange: &mut Exchange) -> Result<(), Rejection> {
    if matches!(exchange.forward.host, ForwardHost::Preserve) {
        exchange.forward.host = way.and_then(|way| way.host.as_ref()).unwrap_or(&route.host).clone();
    }
    let Some(rewrite) = way.and_then(|way| way.rewrite.as_ref()).or(route.rewrite.as_ref()) else { return Ok(()) };
    if !exchange.forward.path.is_empty() {
        return Ok(());
    }
    let Scratch { text, target, .. } = &mut *tools.scratch.borrow_mut();
    rewrite
        .apply(exchange.target(), &exchange.captures, text, target)
        .map_err(|error| Rejection::new(&REWRITE).because(error))?;
    exchange.forward.path.push_str(target.path());
    Ok(())
}

/// Shows the policies what is forwarded.
fn show(route: &Route, exchange: &mut Exchange) -> Result<(), Rejection> {
    route.chain.iter().try_for_each(|link| guard::call(link.name, || link.policy.on_forward(exchange)))
}

/// Puts the fields of a way on what came of it.
fn mark(fields: &ReplyFields, mut result: Result<Reply, Rejection>) -> Result<Reply, Rejection> {
    fields.write(match &mut result {
        Ok(reply) => &mut reply.head.fields,
        Err(rejection) => rejection.fields.get_or_insert_default(),
    });
    result
}
