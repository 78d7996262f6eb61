//! The target of a route.

use super::{Context, Upstreams};
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_config::model::{Redirect, Respond, Route};
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::target::{Names, Target, UpstreamId};
use torana_core::written::{Entry, Node, Reference, Spanned, Written};

/// Builds the target of `route`, whose path captures `captures`.
pub(super) fn target(
    route: &Route,
    captures: &[String],
    upstreams: &Upstreams,
    context: &mut Context<'_>,
) -> Option<(&'static str, Arc<dyn Target>)> {
    let (name, written, span) = written(route)?;
    let Some(kind) = context.registries.targets.iter().find(|kind| kind.name == name) else {
        context.report(Diagnostic::error("config.unknown_target", format!("there is no target `{name}`")).at(span));
        return None;
    };
    match (kind.build)(&written, &RouteNames { upstreams, captures }) {
        Ok(target) => Some((kind.name, target)),
        Err(diagnostics) => {
            if !diagnostics.iter().any(Diagnostic::is_error) {
                let message = format!("the target `{name}` cannot be built");
                context.report(Diagnostic::error("config.target_failed", message).at(span));
            }
            context.diagnostics.extend(diagnostics);
            None
        }
    }
}

/// What a target kind may ask.
struct RouteNames<'a> {
    upstreams: &'a Upstreams,
    captures: &'a [String],
}

impl Names for RouteNames<'_> {
    fn upstream(&self, name: &str) -> Option<UpstreamId> {
        let position = self.upstreams.specs.binary_search_by(|spec| (*spec.name).cmp(name)).ok()?;
        u32::try_from(position).ok().map(UpstreamId)
    }

    fn captures(&self) -> &[String] {
        self.captures
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
    map(redirect.span, vec![("to", text(&redirect.to)), ("status", number(&redirect.status))])
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
    Written::new(Node::Int(value.value.into()), value.span)
}

/// A text; still marked as a reference where it was one, so that diagnostics
/// do not show what it stands for.
fn text(value: &Spanned<String>) -> Written {
    let reference = value.raw().map(|raw| Box::new(Reference { raw: raw.to_owned(), whole: false, failed: false }));
    Written { node: Node::String(value.value.clone()), span: value.span, reference }
}
