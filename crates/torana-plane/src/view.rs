//! A plan as one worker sees it.

use crate::forwarder::Forwarder;
use crate::metrics::{RouteMetrics, WorkerMetrics};
use crate::plan::{Link, Plan, Route};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use torana_core::exchange::{Exchange, RouteId};
use torana_net::service::{ListenerId, Settings};

/// A plan with what a worker adds to it: pools and counters of its own.
///
/// An exchange pins the view it began with ([`Exchange::plan`]), so it is
/// matched, forwarded and accounted for by one plan, however often the
/// configuration changes meanwhile.
pub struct View<F> {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its upstreams.
    pub forwarder: F,
    /// Counters by route, found when a route is first used.
    routes: Box<[OnceCell<Arc<RouteMetrics>>]>,
    /// What holds for the connections of each listener, to be shared with them.
    settings: Box<[(ListenerId, Rc<Settings>)]>,
    metrics: Arc<WorkerMetrics>,
}

impl<F: Forwarder> View<F> {
    pub(crate) fn new(plan: Arc<Plan>, forwarder: F, metrics: Arc<WorkerMetrics>) -> Rc<View<F>> {
        let routes = plan.routes.iter().map(|_| OnceCell::new()).collect();
        let settings = plan.listeners.iter().map(|listener| (listener.id, Rc::new(listener.settings))).collect();
        Rc::new(View { plan, forwarder, routes, settings, metrics })
    }

    /// The view `exchange` has pinned.
    pub(crate) fn of(exchange: &Exchange) -> Option<Rc<View<F>>> {
        exchange.plan.clone()?.downcast().ok()
    }

    /// What holds for connections of `listener`; `None` when a reload has
    /// removed it.
    pub(crate) fn settings(&self, listener: ListenerId) -> Option<&Rc<Settings>> {
        // A handful: a scan beats hashing.
        self.settings.iter().find(|(id, _)| *id == listener).map(|(_, settings)| settings)
    }

    /// The counters of a route, or of what matches none.
    pub(crate) fn route_metrics(&self, route: Option<RouteId>) -> &RouteMetrics {
        let counted = route.and_then(|id| {
            let route = self.plan.route(id)?;
            let slot = self.routes.get(id.0 as usize)?;
            Some(&**slot.get_or_init(|| self.metrics.route(route)))
        });
        counted.unwrap_or_else(|| self.metrics.unrouted())
    }

    /// The route `exchange` matched.
    pub(crate) fn route(&self, exchange: &Exchange) -> Option<&Route> {
        exchange.route.and_then(|id| self.plan.route(id))
    }

    /// The policies that have run forwards for `exchange`, first to last.
    pub(crate) fn ran(&self, exchange: &Exchange) -> &[Link] {
        let chain = self.route(exchange).map_or(&[][..], |route| &route.chain);
        chain.get(..exchange.policies_run).unwrap_or(chain)
    }
}
