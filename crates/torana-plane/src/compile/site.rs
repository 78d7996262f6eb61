//! The plan being built, as policies and targets see it.

use super::implicit::Implicit;
use super::{Context, Upstreams};
use crate::directory::Directory;
use crate::plan::PolicyTally;
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_config::Remnant;
use torana_config::model::ConsumerPlan;
use torana_core::consumer::Consumers;
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::event::Tally;
use torana_core::policy::PolicyEntry;
use torana_core::site::{self, Keepsakes, Kept, KeptList, Service, Site};
use torana_core::target::UpstreamId;
use torana_core::written::{Spanned, Written};

/// What one policy or target may ask.
pub(super) struct PlanSite<'a> {
    upstreams: &'a Upstreams,
    remnant: Option<&'a Remnant>,
    is_whole: bool,
    /// Who keeps what it keeps: the same in every plan.
    owner: String,
    keepsakes: &'a Keepsakes,
    implicit: &'a Implicit,
    before: Option<&'a KeptList>,
    kind: Option<(&'a PolicyEntry, Option<&'a str>)>,
    tallies: &'a RefCell<Vec<PolicyTally>>,
    warnings: RefCell<Vec<Diagnostic>>,
    plans: &'a BTreeMap<Spanned<String>, Spanned<ConsumerPlan>>,
    consumers: Arc<Directory>,
}

impl<'a> PlanSite<'a> {
    /// For `owner`, whose configuration is at `span`.
    pub(super) fn new(owner: String, span: Span, upstreams: &'a Upstreams, context: &Context<'a>) -> PlanSite<'a> {
        PlanSite {
            upstreams,
            remnant: context.remnant,
            is_whole: !context.has_gap(span),
            owner,
            keepsakes: context.keepsakes,
            implicit: context.implicit,
            before: context.previous.map(|plan| &plan.kept),
            kind: None,
            tallies: context.tallies,
            warnings: RefCell::default(),
            plans: context.plans,
            consumers: Arc::clone(&context.consumers),
        }
    }

    /// The same for a policy of this kind in `route`, or in all of them: it may
    /// count.
    pub(super) const fn counting(mut self, kind: &'a PolicyEntry, route: Option<&'a str>) -> PlanSite<'a> {
        self.kind = Some((kind, route));
        self
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
            Err(_) => self.remnant?.may_have_upstream(name).then_some(UpstreamId(u32::MAX)),
        }
    }

    fn upstreams(&self) -> Vec<&str> {
        self.upstreams.specs.iter().map(|spec| &*spec.name).collect()
    }

    fn service(&self, url: &Spanned<String>) -> Result<Service, Box<Diagnostic>> {
        self.implicit.service(url, self.upstreams.specs.len())
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn warn(&self, warning: Diagnostic) {
        self.warnings.borrow_mut().push(warning);
    }

    fn consumers(&self) -> Arc<dyn Consumers> {
        self.consumers.clone()
    }

    fn plan(&self, name: &str) -> Option<&Written> {
        self.plans.get(name).map(|plan| &plan.value.0)
    }

    fn plans(&self) -> Vec<&str> {
        self.plans.keys().map(|name| name.as_str()).collect()
    }

    fn tally(&self) -> Arc<Tally> {
        let Some((kind, route)) = self.kind else { return Arc::new(Tally::new(&[])) };
        let tally = site::keep(self, "events", || Tally::new(kind.events));
        let route = route.map(Into::into);
        self.tallies.borrow_mut().push(PolicyTally { policy: kind.name, route, tally: Arc::clone(&tally) });
        tally
    }

    fn keep(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept {
        self.keepsakes.keep(self.before, &self.owner, name, kind, make)
    }
}
