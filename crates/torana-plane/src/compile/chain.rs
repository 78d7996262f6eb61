//! The policies of a route.

use super::site::PlanSite;
use super::{Context, Upstreams};
use crate::plan::Link;
use torana_config::model::KindUse;
use torana_core::policy::{self, Built};
use torana_core::written::Spanned;

/// Builds the policies that `uses` names in `route`, or for every route, in their order. One that
/// cannot be built is an error, so there will be no plan without it.
pub(super) fn links(
    uses: &[Spanned<KindUse>],
    route: Option<&str>,
    captures: &[String],
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Vec<Link> {
    let mut links = Vec::new();
    for (index, written) in uses.iter().enumerate() {
        // Counted by kind: other policies may come and go beside it.
        let count = uses.iter().take(index).filter(|other| other.name.value == written.name.value).count();
        let owner = format!("{}/{}/{count}", route.unwrap_or_default(), written.name.value);
        links.extend(link(written, owner, (route, captures), upstreams, context));
    }
    links
}

fn link(
    written: &KindUse,
    owner: String,
    (route, captures): (Option<&str>, &[String]),
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<Link> {
    let kinds = context.registries.policies;
    let site = PlanSite::new(owner, written.config.span, upstreams, context).counting(&written.name, route);
    let site = site.capturing(captures);
    let built = policy::build(kinds, written, &site);
    context.has_asked |= site.has_asked();
    context.diagnostics.append(&mut site.into_warnings());
    match built {
        Ok(Built { name, stage, policy }) => Some(Link { name, stage, policy }),
        Err(diagnostics) => {
            context.diagnostics.extend(diagnostics);
            None
        }
    }
}

/// Global policies, then the route's own, by stage; in a stage as written, but
/// those first that answer preflights, so that nothing refuses one before, and
/// nothing refuses anything that they do not get to see.
pub(super) fn order(global: &[Link], own: Vec<Link>) -> Vec<Link> {
    let mut chain: Vec<Link> = global.iter().cloned().chain(own).collect();
    // Stable, so the order as written survives.
    chain.sort_by_key(|link| (link.stage, !link.policy.answers_preflights()));
    chain
}
