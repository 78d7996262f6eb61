//! Step 7: what happened is counted and written down, once per exchange.

use super::guard;
use crate::forwarder::Forwarder;
use crate::view::View;
use crate::worker::Tools;
use std::time::Instant;
use torana_core::exchange::Exchange;

/// Ends an exchange whose reply was sent or given up at `ended`.
pub(crate) fn account<F: Forwarder>(view: &View<F>, tools: &Tools, exchange: &mut Exchange, ended: Instant) {
    for link in view.ran(exchange).iter().rev() {
        // Too late for a reply; what is left to tell is told by the log.
        if let Err(rejection) = guard::call(link.name, || link.policy.on_end(exchange)) {
            exchange.notes.code.get_or_insert(rejection.refusal.code);
            exchange.notes.cause = exchange.notes.cause.take().or(rejection.cause);
        }
    }
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
        tools.log.borrow_mut().record(&view.plan, exchange, ended, tools.clock.wall());
    }
}
