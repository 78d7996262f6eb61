//! The plane on one worker.

use crate::forwarder::Forwarder;
use crate::log::{LogBuffer, LogSink};
use crate::metrics::{Metrics, WorkerMetrics};
use crate::path;
use crate::swap::PlanCell;
use crate::view::View;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use torana_core::canonical::CanonicalTarget;
use torana_core::clock::{Clock, SystemClock};
use torana_core::exchange::Exchange;
use torana_core::forwarded::ForwardingFields;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::trace::IdSource;
use torana_net::service::{ConnectionEvent, ListenerId, Listening, Service, Settings};

/// Answers the requests of one worker's connections.
pub struct WorkerPlane<F: Forwarder> {
    cell: Arc<PlanCell>,
    generation: Cell<u64>,
    view: RefCell<Rc<View<F>>>,
    tools: Tools,
    /// Counts calls of [`housekeeping`](WorkerPlane::housekeeping).
    ticks: Cell<u32>,
}

/// What the steps of the path need besides the plan. One per worker.
pub(crate) struct Tools {
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) log: RefCell<LogBuffer>,
    pub(crate) ids: RefCell<IdSource>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) clock: Rc<dyn Clock>,
}

/// Buffers that requests share: borrowed for a moment, never across an await.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) forwarding: ForwardingFields,
    /// Names that a `Connection` field nominates.
    pub(crate) nominated: Vec<u8>,
    pub(crate) text: String,
    pub(crate) target: CanonicalTarget,
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
        let metrics = metrics.add_worker();
        // The number first: a plan swapped in between is looked at again.
        let generation = cell.generation();
        let plan = cell.load();
        let forwarder = forwarder.succeed(&plan.upstreams, &plan.states);
        WorkerPlane {
            cell: Arc::clone(cell),
            generation: Cell::new(generation),
            view: RefCell::new(View::new(plan, forwarder, Arc::clone(&metrics))),
            tools: Tools::new(metrics, log, IdSource::random(), clock),
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
        let generation = self.cell.generation();
        if generation != self.generation.get() {
            self.refresh(generation);
        }
        Rc::clone(&self.view.borrow())
    }

    #[cold]
    fn refresh(&self, generation: u64) {
        let plan = self.cell.load();
        let forwarder = self.view.borrow().forwarder.succeed(&plan.upstreams, &plan.states);
        let view = View::new(plan, forwarder, Arc::clone(&self.tools.metrics));
        self.generation.set(generation);
        // The old view lives on in the exchanges that have pinned it.
        drop(self.view.replace(view));
    }
}

impl Tools {
    pub(crate) fn new(metrics: Arc<WorkerMetrics>, log: LogSink, ids: IdSource, clock: Rc<dyn Clock>) -> Tools {
        Tools {
            log: RefCell::new(LogBuffer::new(log, Arc::clone(&metrics))),
            metrics,
            ids: RefCell::new(ids),
            scratch: RefCell::default(),
            clock,
        }
    }
}

impl<F: Forwarder> Service for WorkerPlane<F> {
    fn settings(&self, listener: ListenerId) -> Settings {
        let view = self.view();
        match view.plan.listener(listener) {
            Some(listener) => Settings { draining: self.cell.is_draining(), ..listener.settings },
            // Removed by a reload: its connections end as soon as they can.
            None => Settings { draining: true, ..Settings::default() },
        }
    }

    fn listening(&self, listener: ListenerId) -> Option<Arc<Listening>> {
        self.view().plan.listener(listener).map(|listener| Arc::clone(&listener.listening))
    }

    async fn serve(&self, exchange: &mut Exchange) -> Reply {
        let view = self.view();
        view.pin(exchange);
        path::handle(&view, &self.tools, exchange).await
    }

    fn reject(&self, exchange: &mut Exchange, rejection: Rejection) -> Reply {
        let view = match View::of(exchange) {
            Some(view) => view,
            None => {
                let view = self.view();
                view.pin(exchange);
                view
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
