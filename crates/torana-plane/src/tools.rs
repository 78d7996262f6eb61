//! What the steps of the path need besides the plan.

use crate::aside::Aside;
use crate::log::{LogBuffer, LogSink};
use crate::metrics::WorkerMetrics;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use torana_core::canonical::CanonicalTarget;
use torana_core::clock::Clock;
use torana_core::forwarded::ForwardingFields;
use torana_core::trace::IdSource;

/// What the steps of the path need besides the plan. One per worker.
pub(crate) struct Tools {
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) log: RefCell<LogBuffer>,
    pub(crate) ids: RefCell<IdSource>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) clock: Rc<dyn Clock>,
    pub(crate) aside: Arc<Aside>,
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

impl Tools {
    pub(crate) fn new(
        metrics: Arc<WorkerMetrics>,
        log: LogSink,
        ids: IdSource,
        clock: Rc<dyn Clock>,
        aside: Arc<Aside>,
    ) -> Tools {
        Tools {
            log: RefCell::new(LogBuffer::new(log, Arc::clone(&metrics))),
            metrics,
            ids: RefCell::new(ids),
            scratch: RefCell::default(),
            clock,
            aside,
        }
    }
}
