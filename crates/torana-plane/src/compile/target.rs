//! The target of a route.

use super::site::PlanSite;
use super::{Context, Upstreams};
use crate::matcher::RoutePattern;
use crate::plan::Link;
use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_config::model::{Redirect, Respond, Route};
use torana_core::consumer::Consumers;
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::event::Tally;
use torana_core::head::Method;
use torana_core::names::HeaderName;
use torana_core::operation::{Operate, Operation};
use torana_core::rewrite::RoutePath;
use torana_core::site::{Kept, Service, Site};
use torana_core::store::Store;
use torana_core::target::{Names, Target, UpstreamId};
use torana_core::written::{Entry, KindUse, Node, Reference, Spanned, Written};

/// Builds the target of `route`, which matches `pattern` and has the policies
/// `chain`.
pub(super) fn target(
    route: &Route,
    pattern: &RoutePattern,
    chain: &[Link],
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<(&'static str, Arc<dyn Target>)> {
    let (name, written, span) = written(route)?;
    let Some(kind) = context.registries.targets.iter().find(|kind| kind.name == name) else {
        context.report(Diagnostic::error("config.unknown_target", format!("there is no target `{name}`")).at(span));
        return None;
    };
    let has_gap = context.has_gap(written.span);
    let site = PlanSite::new(format!("{}/{name}", route.name.value), written.span, upstreams, context);
    let site =
        if kind.events.is_empty() { site } else { site.counting_events(kind.name, kind.events, Some(&route.name)) };
    let owned = chain.iter().flat_map(|link| link.policy.owned_headers()).cloned().collect();
    let names = RouteNames { route: &route.name, pattern, owned, site };
    let built = (kind.build)(&written, &names);
    context.has_asked |= names.site.has_asked();
    context.diagnostics.append(&mut names.site.into_warnings());
    match built {
        Ok(target) => Some((kind.name, target)),
        Err(mut diagnostics) => {
            if has_gap {
                // What is said about the whole of it may be about what is
                // missing.
                diagnostics
                    .retain(|diagnostic| diagnostic.primary.as_ref().is_some_and(|label| label.span != written.span));
            } else if !diagnostics.iter().any(Diagnostic::is_error) {
                let message = format!("the target `{name}` cannot be built");
                context.report(Diagnostic::error("config.target_failed", message).at(span));
            }
            context.diagnostics.extend(diagnostics);
            None
        }
    }
}

/// Builds a fixed answer that is no route's.
pub(super) fn fixed(respond: &Spanned<Respond>, context: &mut Context<'_>) -> Option<Arc<dyn Target>> {
    let kind = context.registries.targets.iter().find(|kind| kind.name == "respond");
    let Some(kind) = kind else {
        let message = "this build has no fixed answers";
        context.report(Diagnostic::error("config.unknown_target", message).at(respond.span));
        return None;
    };
    let nothing = Upstreams { specs: Vec::new(), states: Vec::new(), stores: Vec::new() };
    let written = written_respond(respond);
    let site = PlanSite::new(String::new(), respond.span, &nothing, context);
    let names = RouteNames { route: "", pattern: &RoutePattern::default(), owned: Vec::new(), site };
    let built = (kind.build)(&written, &names);
    context.diagnostics.append(&mut names.site.into_warnings());
    match built {
        Ok(target) => Some(target),
        Err(diagnostics) => {
            context.diagnostics.extend(diagnostics);
            None
        }
    }
}

/// What a target kind may ask.
struct RouteNames<'a> {
    route: &'a str,
    pattern: &'a RoutePattern,
    owned: Vec<HeaderName>,
    site: PlanSite<'a>,
}

impl Names for RouteNames<'_> {
    fn route(&self) -> &str {
        self.route
    }

    fn path(&self) -> RoutePath<'_> {
        self.pattern.path.route_path()
    }

    fn takes_safe_methods(&self) -> bool {
        let methods = &self.pattern.methods;
        methods.is_any() || methods.set().iter().any(Method::is_safe)
    }

    fn owned_headers(&self) -> &[HeaderName] {
        self.site.ask();
        &self.owned
    }
}

impl Site for RouteNames<'_> {
    fn upstream(&self, name: &str) -> Option<UpstreamId> {
        self.site.upstream(name)
    }

    fn upstreams(&self) -> Vec<&str> {
        self.site.upstreams()
    }

    fn service(&self, url: &Spanned<String>) -> Result<Service, Box<Diagnostic>> {
        self.site.service(url)
    }

    fn owner(&self) -> &str {
        self.site.owner()
    }

    fn store(&self, name: &str) -> Option<Arc<dyn Store>> {
        self.site.store(name)
    }

    fn stores(&self) -> Vec<&str> {
        self.site.stores()
    }

    fn is_whole(&self) -> bool {
        self.site.is_whole()
    }

    fn warn(&self, warning: Diagnostic) {
        self.site.warn(warning);
    }

    fn consumers(&self) -> Arc<dyn Consumers> {
        self.site.consumers()
    }

    fn plan(&self, name: &str) -> Option<&Written> {
        self.site.plan(name)
    }

    fn plans(&self) -> Vec<&str> {
        self.site.plans()
    }

    fn tally(&self) -> Arc<Tally> {
        self.site.tally()
    }

    fn offer(&self, operation: &'static Operation, operate: Arc<dyn Operate>) {
        self.site.offer(operation, operate);
    }

    fn keep(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept {
        self.site.keep(name, kind, make)
    }

    fn share(&self, name: &str, kind: TypeId, make: &mut dyn FnMut() -> Kept) -> Kept {
        self.site.share(name, kind, make)
    }

    fn policy(&self, used: &KindUse) -> Result<Kept, Vec<Diagnostic>> {
        self.site.policy(used)
    }
}

/// The one target of a route as its kind reads it. The model has types of its
/// own for the common ones, for editors and early checks; the kinds, which the
/// plane does not know, read configuration as written.
fn written(route: &Route) -> Option<(&str, Written, Span)> {
    if let Some(upstream) = &route.upstream {
        return Some(("upstream", text(upstream), upstream.span));
    }
    if let Some(redirect) = &route.redirect {
        return Some(("redirect", written_redirect(redirect), redirect.span));
    }
    if let Some(respond) = &route.respond {
        return Some(("respond", written_respond(respond), respond.span));
    }
    let other = route.targets.first()?;
    Some((&other.name, other.config.clone(), other.name.span))
}

fn written_redirect(redirect: &Spanned<Redirect>) -> Written {
    let mut entries = vec![("status", number(&redirect.status))];
    entries.extend(redirect.to.as_ref().map(|to| ("to", text(to))));
    entries.extend(redirect.scheme.clone().map(|scheme| ("scheme", text(&scheme.map(|scheme| scheme.to_string())))));
    entries.extend(redirect.host.as_ref().map(|host| ("host", text(host))));
    entries.extend(redirect.port.as_ref().map(|port| ("port", number(port))));
    map(redirect.span, entries)
}

fn written_respond(respond: &Spanned<Respond>) -> Written {
    let mut entries = vec![("status", number(&respond.status))];
    entries.extend(respond.body.as_ref().map(|body| ("body", text(body))));
    entries.extend(respond.json.as_ref().map(|json| ("json", json.clone())));
    entries.push(("headers", texts(respond.span, &respond.headers)));
    map(respond.span, entries)
}

fn map(span: Span, entries: Vec<(&str, Written)>) -> Written {
    let entries = entries.into_iter().map(|(key, value)| Entry { key: key.into(), value }).collect();
    Written::new(Node::Map(entries), span)
}

fn texts(span: Span, written: &BTreeMap<Spanned<String>, Spanned<String>>) -> Written {
    let entries = written.iter().map(|(key, value)| Entry { key: key.clone(), value: text(value) }).collect();
    Written::new(Node::Map(entries), span)
}

fn number(value: &Spanned<u16>) -> Written {
    scalar(value, Node::Int(value.value.into()))
}

fn text(value: &Spanned<String>) -> Written {
    scalar(value, Node::String(value.value.clone()))
}

/// The value of `of`; still marked as a reference where it was one, so that
/// diagnostics and listings do not show what it stands for.
fn scalar<T>(of: &Spanned<T>, node: Node) -> Written {
    let reference = of.raw().map(|raw| Box::new(Reference { raw: raw.to_owned(), whole: false, failed: false }));
    Written { node, span: of.span, reference }
}
