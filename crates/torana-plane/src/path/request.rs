//! Step 3: the policies, forwards.

use super::guard;
use crate::forwarder::Forwarder;
use crate::plan::Route;
use crate::view::View;
use torana_core::exchange::Exchange;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::stage::Stage;
use torana_core::verdict::{Decision, Verdict};
use torana_net::refusals::BODY_TOO_LARGE;

/// Runs the chain, from where it has run to; a policy may answer in place of
/// the target.
pub(super) async fn request<F: Forwarder>(
    view: &View<F>,
    exchange: &mut Exchange,
) -> Result<Option<Box<Reply>>, Rejection> {
    let Some(route) = view.route(exchange) else { return Ok(None) };
    let mut is_measured = exchange.body.is_empty();
    for (index, link) in route.chain.iter().enumerate().skip(exchange.policies_run) {
        if !is_measured && link.stage > Stage::Intake {
            is_measured = true;
            measure(view, route, exchange)?;
        }
        // Before it runs: one that refuses or panics has run as well, and may
        // have something to undo on the way back.
        exchange.policies_run = index + 1;
        let deadline = exchange.deadline;
        // Nearly all decide at once: nothing is awaited for them.
        let decision = match guard::call(link.name, || link.policy.on_request(exchange))? {
            Verdict::Now(decision) => decision,
            Verdict::Wait(future) => guard::wait(link.name, deadline, future).await?,
        };
        match decision {
            Decision::Continue => {}
            Decision::Answer(reply) => return Ok(Some(reply)),
            Decision::Reject(rejection) => return Err(rejection),
        }
    }
    if !is_measured {
        measure(view, route, exchange)?;
    }
    if !exchange.body.is_empty() {
        for link in &route.chain {
            let body = std::mem::take(&mut exchange.body);
            exchange.body = guard::call(link.name, || link.policy.wrap_request(exchange, body))?;
        }
    }
    Ok(None)
}

/// Refuses a body that says that it is longer than allowed. Behind the policies
/// of the first stage, since they put on replies what browsers need to read
/// them; before any other, which might read the body.
fn measure<F: Forwarder>(view: &View<F>, route: &Route, exchange: &Exchange) -> Result<(), Rejection> {
    match (exchange.body.remaining(), view.plan.body_limit(route.body_bytes, exchange)) {
        (Some(announced), Some(limit)) if announced > limit => {
            let cause = format_args!("{announced} bytes announced, {limit} allowed");
            Err(Rejection::new(&BODY_TOO_LARGE).because(cause))
        }
        _ => Ok(()),
    }
}
