//! The plan being built, as policies and targets see it.

use super::implicit::Implicit;
use super::{Context, Upstreams};
use crate::directory::Directory;
use crate::plan::{Offer, PolicyTally};
use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_config::Remnant;
use torana_config::model::ConsumerPlan;
use torana_core::consumer::Consumers;
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::event::{Event, Tally};
use torana_core::operation::{Operate, Operation};
use torana_core::policy::{self, PolicyEntry};
use torana_core::site::{self, EVERYBODY, Keepsakes, Kept, KeptList, Service, Site};
use torana_core::store::Store;
use torana_core::store::nowhere::Nowhere;
use torana_core::target::UpstreamId;
use torana_core::written::{KindUse, Spanned, Written};

/// What one policy or target may ask.
pub(super) struct PlanSite<'a> {
    upstreams: &'a Upstreams,
    remnant: Option<&'a Remnant>,
    is_whole: bool,
    captures: &'a [String],
    /// Who keeps what it keeps: the same in every plan.
    owner: String,
    keepsakes: &'a Keepsakes,
    implicit: &'a Implicit,
    before: Option<&'a KeptList>,
    kinds: &'a [PolicyEntry],
    /// How many policies it has built for itself.
    inner: Cell<usize>,
    counts: Option<Counts<'a>>,
    tallies: &'a RefCell<Vec<PolicyTally>>,
    offers: &'a RefCell<Vec<Offer>>,
    warnings: RefCell<Vec<Diagnostic>>,
    /// Whether it was asked for more than where upstreams are.
    has_asked: Cell<bool>,
    plans: &'a BTreeMap<Spanned<String>, Spanned<ConsumerPlan>>,
    consumers: Arc<Directory>,
}

/// Who counts what.
#[derive(Clone, Copy)]
struct Counts<'a> {
    kind: &'static str,
    events: &'static [&'static Event],
    route: Option<&'a str>,
}

impl<'a> PlanSite<'a> {
    /// For `owner`, whose configuration is at `span`.
    pub(super) fn new(owner: String, span: Span, upstreams: &'a Upstreams, context: &Context<'a>) -> PlanSite<'a> {
        PlanSite {
            upstreams,
            remnant: context.remnant,
            is_whole: !context.has_gap(span),
            captures: &[],
            owner,
            keepsakes: context.keepsakes,
            implicit: context.implicit,
            before: context.previous.map(|plan| &plan.kept),
            kinds: context.registries.policies,
            inner: Cell::default(),
            counts: None,
            tallies: context.tallies,
            offers: context.offers,
            warnings: RefCell::default(),
            has_asked: Cell::default(),
            plans: context.plans,
            consumers: Arc::clone(&context.consumers),
        }
    }

    /// The same for a policy of this name in `route`, or in all of them: it may
    /// count.
    pub(super) fn counting(self, name: &str, route: Option<&'a str>) -> PlanSite<'a> {
        match self.kinds.iter().find(|kind| kind.name == name) {
            Some(kind) => self.counting_events(kind.name, kind.events, route),
            None => self,
        }
    }

    /// The same for one of the kind `kind` that may count `events`.
    pub(super) const fn counting_events(
        mut self,
        kind: &'static str,
        events: &'static [&'static Event],
        route: Option<&'a str>,
    ) -> PlanSite<'a> {
        self.counts = Some(Counts { kind, events, route });
        self
    }

    /// The same in a route whose path captures these.
    pub(super) const fn capturing(mut self, captures: &'a [String]) -> PlanSite<'a> {
        self.captures = captures;
        self
    }

    /// Notes that what is built depends on more than where upstreams are.
    pub(super) fn ask(&self) {
        self.has_asked.set(true);
    }

    /// Whether it does.
    pub(super) const fn has_asked(&self) -> bool {
        self.has_asked.get()
    }

    /// What it was warned of.
    pub(super) fn into_warnings(self) -> Vec<Diagnostic> {
        self.warnings.into_inner()
    }
}

impl Site for PlanSite<'_> {
    fn upstream(&self, name: &str) -> Option<UpstreamId> {
        match self.upstreams.specs.binary_search_by(|spec| (*spec.name).cmp(name)) {
            Ok(position) => u32::try_from(position).ok().map(UpstreamId),
            // One in error is there all the same. No plan comes of it, so its
            // number is never used.
            Err(_) => {
                self.ask();
                self.remnant?.may_have_upstream(name).then_some(UpstreamId(u32::MAX))
            }
        }
    }

    fn upstreams(&self) -> Vec<&str> {
        self.ask();
        self.upstreams.specs.iter().map(|spec| &*spec.name).collect()
    }

    fn service(&self, url: &Spanned<String>) -> Result<Service, Box<Diagnostic>> {
        self.ask();
        self.implicit.service(url, self.upstreams.specs.len())
    }

    fn captured_names(&self) -> &[String] {
        self.captures
    }

    fn owner(&self) -> &str {
        &self.owner
    }

    fn store(&self, name: &str) -> Option<Arc<dyn Store>> {
        self.ask();
        let found = self.upstreams.stores.iter().find(|store| *store.name == *name);
        let missing = || self.remnant?.may_have_store(name).then(|| Arc::new(Nowhere) as Arc<dyn Store>);
        found.map(|found| Arc::clone(&found.store)).or_else(missing)
    }

    fn stores(&self) -> Vec<&str> {
        self.ask();
        self.upstreams.stores.iter().map(|store| &*store.name).collect()
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn warn(&self, warning: Diagnostic) {
        self.warnings.borrow_mut().push(warning);
    }

    fn consumers(&self) -> Arc<dyn Consumers> {
        self.ask();
        self.consumers.clone()
    }

    fn plan(&self, name: &str) -> Option<&Written> {
        self.ask();
        self.plans.get(name).map(|plan| &plan.value.0)
    }

    fn plans(&self) -> Vec<&str> {
        self.ask();
        self.plans.keys().map(|name| name.as_str()).collect()
    }

    fn tally(&self) -> Arc<Tally> {
        self.ask();
        let Some(Counts { kind, events, route }) = self.counts else { return Arc::new(Tally::new(&[])) };
        let tally = site::keep(self, "events", || Tally::new(events));
        let route = route.map(Into::into);
        self.tallies.borrow_mut().push(PolicyTally { policy: kind, route, tally: Arc::clone(&tally) });
        tally
    }

    fn offer(&self, operation: &'static Operation, operate: Arc<dyn Operate>) {
        self.ask();
        if let Some(Counts { kind, route, .. }) = self.counts {
            let offer = Offer { policy: kind, route: route.map(Into::into), operation: operation.name, operate };
            self.offers.borrow_mut().push(offer);
        }
    }

    fn keep(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept {
        self.ask();
        self.keepsakes.keep(self.before, &self.owner, name, kind, make)
    }

    fn share(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept {
        self.ask();
        self.keepsakes.keep(self.before, EVERYBODY, name, kind, make)
    }

    fn policy(&self, used: &KindUse) -> Result<Kept, Vec<Diagnostic>> {
        self.ask();
        let index = self.inner.replace(self.inner.get() + 1);
        let inner = PlanSite {
            owner: format!("{}/{}/{index}", self.owner, used.name.value),
            consumers: Arc::clone(&self.consumers),
            inner: Cell::default(),
            warnings: RefCell::default(),
            has_asked: Cell::default(),
            ..*self
        };
        let inner = inner.counting(&used.name, self.counts.and_then(|counts| counts.route));
        let built = policy::build(self.kinds, used, &inner);
        self.warnings.borrow_mut().extend(inner.into_warnings());
        Ok(Arc::new(built?))
    }
}
