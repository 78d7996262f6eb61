//! The one place where the control plane and the workers meet.

use crate::plan::Plan;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The plan in force, shared by all threads.
///
/// A worker compares [`generation`](PlanCell::generation) with the one it
/// built its view from, one atomic load per request, and only looks at the
/// plan itself when they differ. Nothing here blocks.
pub struct PlanCell {
    plan: ArcSwap<Plan>,
    /// Plans that were in force and may still be held by workers. Whoever drops
    /// the last handle frees thousands of routes: that must not be a worker.
    retired: Mutex<Vec<Arc<Plan>>>,
    generation: AtomicU64,
    draining: AtomicBool,
}

impl PlanCell {
    /// A cell holding the first plan, as generation 1.
    #[must_use]
    pub fn new(plan: Plan) -> Arc<PlanCell> {
        Arc::new(PlanCell {
            plan: ArcSwap::from_pointee(plan),
            retired: Mutex::default(),
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

    /// Puts `plan` in force. Workers see it with their next request; exchanges
    /// under way end under the old one, which is kept until
    /// [`free_retired`](PlanCell::free_retired) finds nobody else holding it.
    pub fn swap(&self, plan: Plan) {
        let old = self.plan.swap(Arc::new(plan));
        // After the plan: whoever sees the new number finds the new plan. The
        // other way round a worker could keep the old one under the new number.
        self.generation.fetch_add(1, Ordering::Release);
        // What was replaced before is mostly unused by now: whoever swaps often
        // need not ask for it. This one the workers still hold.
        self.free_retired();
        lock(&self.retired).push(old);
    }

    /// Frees the plans nobody uses any more; how many are still in use. For a
    /// thread that may take its time.
    pub fn free_retired(&self) -> usize {
        let mut retired = lock(&self.retired);
        // Nobody can get hold of one that only this list has.
        let (unused, used): (Vec<_>, _) =
            std::mem::take(&mut *retired).into_iter().partition(|plan| Arc::strong_count(plan) == 1);
        *retired = used;
        let left = retired.len();
        drop(retired);
        unused.into_iter().filter_map(Arc::into_inner).for_each(Plan::free);
        left
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

/// A list of handles is as good after a panic as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    #[test]
    fn a_replaced_plan_is_freed_where_it_is_asked_for_and_only_unused() {
        let plan = || plan(r#"{ "routes": [ { "name": "a", "respond": {} } ] }"#, None).unwrap();
        let cell = PlanCell::new(plan());
        let held = cell.load();
        let gone = Arc::downgrade(&held);
        cell.swap(plan());
        let unheld = Arc::downgrade(&cell.load());
        cell.swap(plan());
        assert!(unheld.upgrade().is_some(), "nobody but the cell lets go of it");
        assert_eq!(cell.free_retired(), 1);
        assert!(unheld.upgrade().is_none());
        drop(held);
        assert!(gone.upgrade().is_some(), "a worker that lets go frees nothing");
        assert_eq!(cell.free_retired(), 0);
        assert!(gone.upgrade().is_none());
    }
}
