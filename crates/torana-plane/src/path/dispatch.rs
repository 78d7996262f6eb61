//! Step 4: the route's target answers.

use super::guard;
use crate::forwarder::Forwarder;
use crate::plan::Route;
use crate::refusals::{NOT_FOUND, REWRITE};
use crate::view::View;
use crate::worker::{Scratch, Tools};
use torana_core::exchange::{Exchange, ForwardHost};
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::target::Answer;

pub(super) async fn dispatch<F: Forwarder>(
    view: &View<F>,
    tools: &Tools,
    exchange: &mut Exchange,
) -> Result<Reply, Rejection> {
    let Some(route) = view.route(exchange) else { return Err(Rejection::new(&NOT_FOUND)) };
    rewrite(route, tools, exchange)?;
    if view.plan.access_log.is_some() {
        // The one extra look at the clock is only for the log.
        exchange.notes.dispatched = Some(tools.clock.now());
    }
    let deadline = exchange.deadline;
    // A block, so that an answer which borrows the exchange is gone before it
    // is forwarded.
    let upstream = {
        match guard::call(route.target_kind, || route.target.answer(exchange))? {
            Answer::Forward(upstream) => upstream,
            Answer::Now(reply) => return Ok(*reply),
            Answer::Reject(rejection) => return Err(rejection),
            Answer::Wait(future) => return guard::wait(route.target_kind, deadline, future).await?,
        }
    };
    exchange.notes.upstream = Some(upstream);
    view.forwarder.forward(upstream, exchange).await
}

/// Applies the route's rewrite. A policy may have set path and host before:
/// then it meant to, and its word stands.
pub(super) fn rewrite(route: &Route, tools: &Tools, exchange: &mut Exchange) -> Result<(), Rejection> {
    if matches!(exchange.forward.host, ForwardHost::Preserve) {
        exchange.forward.host = route.host.clone();
    }
    let Some(rewrite) = &route.rewrite else { return Ok(()) };
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
