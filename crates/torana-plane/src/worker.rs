//! The plane on one worker.

use crate::beside::Beside;
use crate::forwarder::Forwarder;
use crate::log::LogSink;
use crate::metrics::Metrics;
use crate::path;
use crate::swap::PlanCell;
use crate::tools::Tools;
use crate::view::View;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use torana_core::clock::{Clock, SystemClock};
use torana_core::exchange::Exchange;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::trace::IdSource;
use torana_net::service::{ConnectionEvent, ListenerId, Listening, Service, Settings};

/// Answers the requests of one worker's connections.
pub struct WorkerPlane<F: Forwarder> {
    cell: Arc<PlanCell>,
    generation: Cell<u64>,
    beside: RefCell<Rc<Beside<F>>>,
    tools: Rc<Tools>,
    /// Counts calls of [`housekeeping`](WorkerPlane::housekeeping).
    ticks: Cell<u32>,
}

impl<F: Forwarder> WorkerPlane<F> {
    /// A worker's plane: `forwarder` is one without upstreams, of which the
    /// plan's are made; finished log lines go to `log`.
    #[must_use]
    pub fn new(cell: &Arc<PlanCell>, forwarder: &F, metrics: &Metrics, log: LogSink) -> WorkerPlane<F> {
        WorkerPlane::with_clock(cell, forwarder, metrics, log, Rc::new(SystemClock))
    }

    /// [`new`](WorkerPlane::new) with a clock of the caller's.
    #[must_use]
    pub fn with_clock(
        cell: &Arc<PlanCell>,
        forwarder: &F,
        metrics: &Metrics,
        log: LogSink,
        clock: Rc<dyn Clock>,
    ) -> WorkerPlane<F> {
        let (metrics, aside) = (metrics.add_worker(), metrics.aside());
        // The number first: a plan swapped in between is looked at again.
        let generation = cell.generation();
        let plan = cell.load();
        let forwarder = forwarder.succeed(&plan.upstreams, &plan.states);
        let tools = Rc::new(Tools::new(Arc::clone(&metrics), log, IdSource::random(), clock, aside));
        WorkerPlane {
            cell: Arc::clone(cell),
            generation: Cell::new(generation),
            beside: RefCell::new(Beside::new(View::new(plan, forwarder, metrics), Rc::clone(&tools))),
            tools,
            ticks: Cell::new(0),
        }
    }

    /// To be called about ten times a second: hands over log lines, tends the
    /// pools and publishes their state, and takes up a new plan even without
    /// traffic, so that the old one's connections are let go.
    pub fn housekeeping(&self) {
        let view = self.view();
        self.tools.log.borrow_mut().flush();
        let ticks = self.ticks.get();
        self.ticks.set(ticks.wrapping_add(1));
        // Once a second: no timeout is finer, and nobody scrapes more often.
        if ticks.is_multiple_of(10) {
            view.forwarder.tend(self.tools.clock.now());
            self.tools.metrics.set_pools(|pools| view.forwarder.sample(&mut |pool| pools.push(pool)));
        }
    }

    /// The newest plan as this worker sees it.
    pub(crate) fn view(&self) -> Rc<View<F>> {
        Rc::clone(self.newest().view())
    }

    fn newest(&self) -> Rc<Beside<F>> {
        let generation = self.cell.generation();
        if generation != self.generation.get() {
            self.refresh(generation);
        }
        Rc::clone(&self.beside.borrow())
    }

    #[cold]
    fn refresh(&self, generation: u64) {
        let plan = self.cell.load();
        let forwarder = self.beside.borrow().view().forwarder.succeed(&plan.upstreams, &plan.states);
        let view = View::new(plan, forwarder, Arc::clone(&self.tools.metrics));
        self.generation.set(generation);
        // The old view lives on in the exchanges that have pinned it.
        drop(self.beside.replace(Beside::new(view, Rc::clone(&self.tools))));
    }
}

impl<F: Forwarder> Service for WorkerPlane<F> {
    fn settings(&self, listener: ListenerId) -> Rc<Settings> {
        let newest = self.newest();
        match newest.view().settings(listener) {
            Some(settings) if !self.cell.is_draining() => Rc::clone(settings),
            Some(settings) => Rc::new(Settings { draining: true, ..**settings }),
            // Removed by a reload: its connections end as soon as they can.
            None => Rc::new(Settings { draining: true, ..Settings::default() }),
        }
    }

    fn listening(&self, listener: ListenerId) -> Option<Arc<Listening>> {
        self.view().plan.listener(listener).map(|listener| Arc::clone(&listener.listening))
    }

    async fn serve(&self, exchange: &mut Exchange) -> Reply {
        let newest = self.newest();
        newest.pin(exchange);
        path::handle(newest.view(), &self.tools, exchange).await
    }

    fn reject(&self, exchange: &mut Exchange, rejection: Rejection) -> Reply {
        let view = match View::of(exchange) {
            Some(view) => view,
            None => {
                let newest = self.newest();
                newest.pin(exchange);
                Rc::clone(newest.view())
            }
        };
        path::refuse(&view, &self.tools, exchange, rejection)
    }

    fn account(&self, exchange: &mut Exchange, ended: Instant) {
        // Without a view nothing was asked and nothing answered.
        if let Some(view) = View::<F>::of(exchange) {
            path::account(&view, &self.tools, exchange, ended);
        }
    }

    fn observe(&self, event: ConnectionEvent) {
        self.tools.metrics.connection(event);
    }
}
