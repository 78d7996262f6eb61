//! The request path.
//!
//! [`handle`] names the steps; each has a file of its own and none calls
//! another. Every exit, early or not, passes render (if it is a refusal),
//! response and account.

mod account;
mod admit;
mod dispatch;
mod guard;
mod render;
mod request;
mod response;
mod route;

#[cfg(test)]
mod dispatch_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

pub(crate) use account::{account, end};

use crate::forwarder::Forwarder;
use crate::plan::Plan;
use crate::refusals::NOT_FOUND;
use crate::tools::Tools;
use crate::view::View;
use torana_core::deadline::Deadline;
use torana_core::exchange::Exchange;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::target::UpstreamId;

/// Serves an exchange: steps one to six. The seventh, [`account()`], runs when
/// the reply has been sent.
pub(crate) async fn handle<F: Forwarder>(view: &View<F>, tools: &Tools, exchange: &mut Exchange) -> Reply {
    let mut reply = match answer(view, tools, exchange).await {
        Ok(reply) => reply,
        Err(rejection) => render::render(exchange, rejection),
    };
    response::response(view, tools, exchange, &mut reply, 0).await;
    reply
}

/// Asks what lies behind the policies that have run, and takes the reply back
/// to them and no further; steps three to six for a copy of an exchange, which
/// [`end`] and not [`account()`] ends.
pub(crate) async fn behind<F: Forwarder>(view: &View<F>, tools: &Tools, again: &mut Exchange) -> Reply {
    let to = again.policies_run;
    if let Some(timeout) = view.route(again).and_then(|route| route.timeout) {
        again.deadline = Deadline::after(again.notes.started, timeout);
    }
    let answered = match request::request(view, again).await {
        Ok(Some(reply)) => Ok(*reply),
        Ok(None) => dispatch::dispatch(view, tools, again).await,
        Err(rejection) => Err(rejection),
    };
    let mut reply = answered.unwrap_or_else(|rejection| render::render(again, rejection));
    response::response(view, tools, again, &mut reply, to).await;
    reply
}

/// Steps one to four, of which any may end the exchange.
async fn answer<F: Forwarder>(view: &View<F>, tools: &Tools, exchange: &mut Exchange) -> Result<Reply, Rejection> {
    admit::admit(&view.plan, tools, exchange)?;
    if let Some(reply) = route::route(&view.plan, exchange)? {
        return Ok(reply);
    }
    if let Some(reply) = request::request(view, exchange).await? {
        return Ok(*reply);
    }
    dispatch::dispatch(view, tools, exchange).await
}

/// What would become of an exchange.
pub(crate) enum Preview {
    /// The gateway answers by itself, before any route.
    Answered(Reply),
    /// The target of its route answers by itself.
    Served,
    /// It goes to this upstream, as it now stands.
    Forwarded(UpstreamId),
}

/// Does of an exchange what needs nobody else: admits and routes it, asks the
/// target where to, and rewrites it. For explanations; policies are not asked.
pub(crate) fn preview(plan: &Plan, tools: &Tools, exchange: &mut Exchange) -> Result<Preview, Rejection> {
    admit::admit(plan, tools, exchange)?;
    if let Some(reply) = route::route(plan, exchange)? {
        return Ok(Preview::Answered(reply));
    }
    let route = exchange.route.and_then(|id| plan.route(id));
    let Some(route) = route else { return Err(Rejection::new(&NOT_FOUND)) };
    Ok(dispatch::preview(route, tools, exchange)?.map_or(Preview::Served, Preview::Forwarded))
}

/// Renders what the connection refuses on its own, before or instead of
/// [`handle`]. The same way back, but nothing can be waited for.
pub(crate) fn refuse<F: Forwarder>(
    view: &View<F>,
    tools: &Tools,
    exchange: &mut Exchange,
    rejection: Rejection,
) -> Reply {
    admit::identify(tools, exchange);
    let mut reply = render::render(exchange, rejection);
    response::response_at_once(view, tools, exchange, &mut reply);
    reply
}
