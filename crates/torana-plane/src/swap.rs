//! The one place where the control plane and the workers meet.

use crate::plan::Plan;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The plan in force, shared by all threads.
///
/// A worker compares [`generation`](PlanCell::generation) with the one it
/// built its view from, one atomic load per request, and only looks at the
/// plan itself when they differ. Nothing here blocks.
pub struct PlanCell {
    plan: ArcSwap<Plan>,
    generation: AtomicU64,
    draining: AtomicBool,
}

impl PlanCell {
    /// A cell holding the first plan, as generation 1.
    #[must_use]
    pub fn new(plan: Plan) -> Arc<PlanCell> {
        Arc::new(PlanCell {
            plan: ArcSwap::from_pointee(plan),
            generation: AtomicU64::new(1),
            draining: AtomicBool::new(false),
        })
    }

    /// Counts the plans that were put in force.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The plan in force.
    #[must_use]
    pub fn load(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Puts `plan` in force and returns the one it replaces. Workers see it
    /// with their next request; exchanges under way end under the old one.
    pub fn swap(&self, plan: Plan) -> Arc<Plan> {
        let old = self.plan.swap(Arc::new(plan));
        // After the plan: whoever sees the new number finds the new plan. The
        // other way round a worker could keep the old one under the new number.
        self.generation.fetch_add(1, Ordering::Release);
        old
    }

    /// Tells the workers to finish what is there: from now on every
    /// connection's settings say `draining`.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the gateway is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
