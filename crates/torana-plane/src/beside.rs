//! What policies have done beyond their exchange, on one worker and under one
//! plan.

use crate::forwarder::Forwarder;
use crate::path;
use crate::tools::Tools;
use crate::view::View;
use std::any::Any;
use std::rc::Rc;
use std::time::Duration;
use torana_core::exchange::{Exchange, RouteId};
use torana_core::outbound::{Full, Line, Outbound, OutboundRequest, ReadReply, Work};
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::target::UpstreamId;
use torana_core::verdict::LocalBoxFuture;

/// A view, and what it takes to do things beside the exchanges that it serves.
pub(crate) struct Beside<F> {
    view: Rc<View<F>>,
    tools: Rc<Tools>,
}

impl<F: Forwarder> Beside<F> {
    pub(crate) fn new(view: Rc<View<F>>, tools: Rc<Tools>) -> Rc<Beside<F>> {
        Rc::new(Beside { view, tools })
    }

    pub(crate) const fn view(&self) -> &Rc<View<F>> {
        &self.view
    }

    /// Makes this what serves `exchange`, to its end.
    pub(crate) fn pin(self: &Rc<Self>, exchange: &mut Exchange) {
        exchange.plan = Some(Rc::clone(&self.view) as Rc<dyn Any>);
        exchange.outbound = Some(Rc::clone(self) as Rc<dyn Outbound>);
    }
}

impl<F: Forwarder> Outbound for Beside<F> {
    fn send(
        &self,
        upstream: UpstreamId,
        request: OutboundRequest,
    ) -> LocalBoxFuture<'static, Result<Reply, Rejection>> {
        self.view.forwarder.send(upstream, request)
    }

    fn ask_again(&self, mut again: Box<Exchange>, read: ReadReply) {
        let (view, tools) = (Rc::clone(&self.view), Rc::clone(&self.tools));
        tokio::task::spawn_local(async move {
            let before = again.policies_run;
            let reply = path::behind(&view, &tools, &mut again).await;
            read(reply).await;
            path::end(&view, &mut again, before);
        });
    }

    fn route_name(&self, route: RouteId) -> &str {
        self.view.plan.route(route).map_or("", |route| &route.name)
    }

    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn take_aside(&self, line: Line, work: Work) -> Result<(), Full> {
        self.tools.aside.take(line, work)
    }

    fn spawn(&self, work: LocalBoxFuture<'static, ()>) {
        tokio::task::spawn_local(work);
    }
}
