//! Step 3: the policies, forwards.

use super::guard;
use crate::forwarder::Forwarder;
use crate::view::View;
use torana_core::exchange::Exchange;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::verdict::Decision;

/// Runs the chain; a policy may answer in place of the target.
pub(super) async fn request<F: Forwarder>(
    view: &View<F>,
    exchange: &mut Exchange,
) -> Result<Option<Box<Reply>>, Rejection> {
    let Some(route) = view.route(exchange) else { return Ok(None) };
    for (index, link) in route.chain.iter().enumerate() {
        // Before it runs: one that refuses or panics has run as well, and may
        // have something to undo on the way back.
        exchange.policies_run = index + 1;
        let deadline = exchange.deadline;
        let verdict = guard::call(link.name, || link.policy.on_request(exchange))?;
        match guard::decide(link.name, deadline, verdict).await? {
            Decision::Continue => {}
            Decision::Answer(reply) => return Ok(Some(reply)),
            Decision::Reject(rejection) => return Err(rejection),
        }
    }
    if !exchange.body.is_empty() {
        for link in &route.chain {
            let body = std::mem::take(&mut exchange.body);
            exchange.body = guard::call(link.name, || link.policy.wrap_request(exchange, body))?;
        }
    }
    Ok(None)
}
