//! The policies of a route.

use super::site::PlanSite;
use super::{Context, Upstreams};
use crate::plan::Link;
use torana_config::model::KindUse;
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::written::Spanned;

/// Builds the policies that `uses` names in `route`, or for every route, in their order. One that
/// cannot be built is an error, so there will be no plan without it.
pub(super) fn links(
    uses: &[Spanned<KindUse>],
    route: Option<&str>,
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Vec<Link> {
    let mut links = Vec::new();
    for (index, written) in uses.iter().enumerate() {
        // Counted by kind: other policies may come and go beside it.
        let count = uses.iter().take(index).filter(|other| other.name.value == written.name.value).count();
        let owner = format!("{}/{}/{count}", route.unwrap_or_default(), written.name.value);
        links.extend(link(written, owner, route, upstreams, context));
    }
    links
}

fn link(
    written: &KindUse,
    owner: String,
    route: Option<&str>,
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<Link> {
    let kinds = context.registries.policies;
    let Some(kind) = kinds.iter().find(|kind| kind.name == *written.name) else {
        let near = did_you_mean(&written.name, kinds.iter().map(|kind| kind.name));
        context.report(
            Diagnostic::error("config.unknown_policy", format!("there is no policy {}", written.name.shown()))
                .at(written.name.span)
                .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))),
        );
        return None;
    };
    let site = PlanSite::new(owner, written.config.span, upstreams, context).counting(kind.name, kind.events, route);
    let built = (kind.build)(&written.config, &site);
    context.diagnostics.append(&mut site.into_warnings());
    match built {
        Ok(policy) => Some(Link { name: kind.name, stage: kind.stage, policy }),
        Err(diagnostics) => {
            // An empty list would let the route through without its policy.
            if !diagnostics.iter().any(Diagnostic::is_error) {
                let message = format!("the policy `{}` cannot be built", kind.name);
                context.report(Diagnostic::error("config.policy_failed", message).at(written.name.span));
            }
            context.diagnostics.extend(diagnostics);
            None
        }
    }
}

/// Global policies, then the route's own, by stage; in a stage as written.
pub(super) fn order(global: &[Link], own: Vec<Link>) -> Vec<Link> {
    let mut chain: Vec<Link> = global.iter().cloned().chain(own).collect();
    // Stable, so the order as written survives.
    chain.sort_by_key(|link| link.stage);
    chain
}
