//! Step 6: the policies backwards, only those that ran forwards.

use super::{guard, render};
use crate::forwarder::Forwarder;
use crate::tools::Tools;
use crate::view::View;
use torana_core::exchange::Exchange;
use torana_core::head::Status;
use torana_core::hop;
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::verdict::{Decision, Verdict};

/// Runs the way back on `reply`, to the policy at `to` of the chain.
pub(super) async fn response<F: Forwarder>(
    view: &View<F>,
    tools: &Tools,
    exchange: &mut Exchange,
    reply: &mut Reply,
    to: usize,
) {
    clean(tools, reply);
    for link in view.ran(exchange).iter().skip(to).rev() {
        let deadline = exchange.deadline;
        // Nearly all decide at once: nothing is awaited for them.
        let decided = match guard::call(link.name, || link.policy.on_response(exchange, reply)) {
            Ok(Verdict::Now(Decision::Continue)) => continue,
            Ok(Verdict::Now(decision)) => Ok(decision),
            Ok(Verdict::Wait(future)) => guard::wait(link.name, deadline, future).await,
            Err(rejection) => Err(rejection),
        };
        apply(decided, tools, exchange, reply);
    }
    finish(view, exchange, reply, to);
}

/// [`response`] where nothing can be waited for: a policy that would is
/// passed over.
pub(super) fn response_at_once<F: Forwarder>(
    view: &View<F>,
    tools: &Tools,
    exchange: &mut Exchange,
    reply: &mut Reply,
) {
    for link in view.ran(exchange).iter().rev() {
        let decided = guard::call(link.name, || link.policy.on_response(exchange, reply))
            .and_then(|verdict| guard::decide_at_once(link.name, verdict))
            .map(|decision| decision.unwrap_or(Decision::Continue));
        apply(decided, tools, exchange, reply);
    }
    finish(view, exchange, reply, 0);
}

fn apply(decided: Result<Decision, Rejection>, tools: &Tools, exchange: &mut Exchange, reply: &mut Reply) {
    match decided {
        Ok(Decision::Continue) => {}
        Ok(Decision::Answer(other)) => {
            *reply = *other;
            clean(tools, reply);
        }
        // The rest of the chain sees the refusal as it would see any reply.
        Ok(Decision::Reject(rejection)) | Err(rejection) => *reply = render::render(exchange, rejection),
    }
}

/// Removes what is about the connection the reply came on.
fn clean(tools: &Tools, reply: &mut Reply) {
    let fields = &mut reply.head.fields;
    let switches = reply.head.status == Status::SWITCHING_PROTOCOLS && reply.tunnel.is_some();
    let protocol: Option<Box<[u8]>> = if switches { fields.get(KnownName::Upgrade).map(Into::into) } else { None };
    if hop::strip(fields, &mut tools.scratch.borrow_mut().nominated).is_err() {
        // An upstream out of its mind: nothing it nominates is left, nor
        // anything it does not.
        fields.clear();
    }
    if let Some(protocol) = protocol {
        fields.set_own(KnownName::Connection, b"upgrade");
        // Came from a parsed head.
        let _ = fields.set(KnownName::Upgrade, &protocol);
    }
}

fn finish<F: Forwarder>(view: &View<F>, exchange: &mut Exchange, reply: &mut Reply, to: usize) {
    // Ours, whatever an upstream or policy said: the id in the log.
    reply.head.fields.set_own(KnownName::XRequestId, exchange.request_id.as_bytes());
    exchange.notes.status = reply.head.status;
    if reply.body.is_empty() {
        return;
    }
    for link in view.ran(exchange).iter().skip(to).rev() {
        let body = std::mem::take(&mut reply.body);
        match guard::call(link.name, || link.policy.wrap_response(exchange, body)) {
            Ok(body) => reply.body = body,
            Err(rejection) => {
                *reply = render::render(exchange, rejection);
                reply.head.fields.set_own(KnownName::XRequestId, exchange.request_id.as_bytes());
                exchange.notes.status = reply.head.status;
            }
        }
    }
}
