//! Step 7: what happened is counted and written down, once per exchange.

use super::guard;
use crate::forwarder::Forwarder;
use crate::tools::Tools;
use crate::view::View;
use std::time::Instant;
use torana_core::exchange::Exchange;

/// Ends an exchange whose reply was sent or given up at `ended`.
pub(crate) fn account<F: Forwarder>(view: &View<F>, tools: &Tools, exchange: &mut Exchange, ended: Instant) {
    end(view, exchange, 0);
    let notes = &exchange.notes;
    let took = ended.saturating_duration_since(notes.started);
    view.route_metrics(exchange.route).observe(
        exchange.head.method,
        notes.status,
        took,
        notes.request_bytes,
        notes.response_bytes,
    );
    if let Some(code) = notes.code {
        tools.metrics.refused(code);
    }
    if view.plan.access_log.is_some() {
        tools.log.borrow_mut().record(&view.plan, exchange, ended, tools.clock.wall_at(ended));
    }
}

/// Tells the policies that ran that it is over, back to the one at `to` of the
/// chain.
pub(crate) fn end<F: Forwarder>(view: &View<F>, exchange: &mut Exchange, to: usize) {
    for link in view.ran(exchange).iter().skip(to).rev() {
        // Too late for a reply; what is left to tell is told by the log.
        if let Err(rejection) = guard::call(link.name, || link.policy.on_end(exchange)) {
            exchange.notes.code.get_or_insert(rejection.refusal.code);
            exchange.notes.cause = exchange.notes.cause.take().or(rejection.cause);
        }
    }
}
