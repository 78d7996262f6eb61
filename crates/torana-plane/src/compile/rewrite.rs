//! Rewrites.

use super::Context;
use crate::matcher::PathPattern;
use crate::rewrite::{Change, Rewrite};
use torana_config::model::{self, HostRewrite};
use torana_core::canonical::{Scheme, canonical_authority_of, canonical_path};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::exchange::ForwardHost;
use torana_core::template::{Template, TemplateError};
use torana_core::written::Spanned;

/// Compiles what a route changes about the path.
pub(super) fn path(written: &model::Rewrite, pattern: &PathPattern, context: &mut Context<'_>) -> Option<Rewrite> {
    if let Some(path) = &written.path {
        return whole(path, pattern, context);
    }
    if let Some(by) = &written.replace_prefix {
        return matched(by, pattern, context);
    }
    if written.strip_prefix.is_none() && written.add_prefix.is_none() {
        return None;
    }
    let mut canonical = |prefix: &Option<Spanned<String>>| match prefix {
        None => Some(String::new()),
        Some(prefix) => canonical_prefix(prefix, context),
    };
    let (strip, add) = (canonical(&written.strip_prefix)?, canonical(&written.add_prefix)?);
    if let Some(prefix) = &written.strip_prefix {
        warn_unless_reachable(prefix, &strip, pattern, context);
    }
    let within = root_if_empty(&add);
    Some(Rewrite { change: Change::Prefix { strip, add }, within })
}

/// A strip that no matching path can have is a misunderstanding.
fn warn_unless_reachable(prefix: &Spanned<String>, strip: &str, pattern: &PathPattern, context: &mut Context<'_>) {
    let literal = pattern.literal_prefix();
    let is_under =
        |long: &str, short: &str| long.strip_prefix(short).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    // Longer than the literal part is fine: the rest of the path may have it.
    if is_under(&literal, strip) || is_under(strip, &literal) {
        return;
    }
    let message = format!("no path that `{}` matches begins with {}", pattern.as_str(), prefix.shown());
    context.report(
        Diagnostic::warning("rewrite.never_applies", message)
            .at(prefix.span)
            .hint("strip a prefix of the route's own path"),
    );
}

fn matched(by: &Spanned<String>, pattern: &PathPattern, context: &mut Context<'_>) -> Option<Rewrite> {
    let canonical = canonical_prefix(by, context)?;
    if !pattern.has_rest() {
        let message =
            format!("`replace_prefix` needs a route whose path ends in `/*`; this one is `{}`", pattern.as_str());
        context.report(
            Diagnostic::error("rewrite.no_rest", message).at(by.span).hint("write `path` to replace the whole path"),
        );
        return None;
    }
    let rest = pattern.names().len().saturating_sub(1);
    let within = root_if_empty(&canonical);
    Some(Rewrite { change: Change::Matched { by: canonical, rest }, within })
}

fn whole(path: &Spanned<String>, pattern: &PathPattern, context: &mut Context<'_>) -> Option<Rewrite> {
    let template = match Template::compile(path, pattern.names()) {
        Ok(template) => template,
        Err(error) => {
            context.report(template_problem(&error, path, pattern));
            return None;
        }
    };
    // With a plain word for each capture the text must be a canonical path.
    let mut plain = String::new();
    let mut rest = path.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        plain.push('x');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    check_canonical(path, &plain, context)?;
    let literal = path.split('{').next().unwrap_or_default();
    let within = if literal.len() == path.len() {
        literal
    } else {
        // The last segment before a capture may be half of one.
        literal.rsplit_once('/').map_or("", |(within, _)| within)
    };
    let within = root_if_empty(within.trim_end_matches('/'));
    Some(Rewrite { change: Change::Whole(template), within })
}

fn template_problem(error: &TemplateError, text: &Spanned<String>, pattern: &PathPattern) -> Diagnostic {
    let diagnostic = Diagnostic::error("rewrite.template", error.to_string()).at(text.span);
    let TemplateError::Unknown(name) = error else { return diagnostic };
    let names = pattern.names();
    diagnostic.hint(match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None if names.is_empty() => format!("`{}` captures nothing", pattern.as_str()),
        None => format!("`{}` captures `{}`", pattern.as_str(), names.join("`, `")),
    })
}

/// A prefix as paths are compared with it: canonical, no trailing slash.
fn canonical_prefix(prefix: &Spanned<String>, context: &mut Context<'_>) -> Option<String> {
    check_canonical(prefix, prefix, context)?;
    Some(prefix.trim_end_matches('/').to_owned())
}

/// Refuses a path that would not come out as it was written.
fn check_canonical(written: &Spanned<String>, path: &str, context: &mut Context<'_>) -> Option<()> {
    let mut canonical = String::new();
    let diagnostic = match canonical_path(path.as_bytes(), &mut canonical) {
        Ok(()) if canonical == path => return Some(()),
        Ok(()) if **written == path => {
            Diagnostic::error("rewrite.path", format!("the path {} is not in canonical form", written.shown()))
                .hint(format!("write `{canonical}`"))
        }
        Ok(()) => Diagnostic::error("rewrite.path", format!("the path {} is not in canonical form", written.shown()))
            .hint("no `.` or `..`, no repeated slashes, special characters percent-encoded"),
        Err(error) => Diagnostic::error("rewrite.path", format!("{} cannot be a path: {error}", written.shown())),
    };
    context.report(diagnostic.at(written.span));
    None
}

fn root_if_empty(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

/// What `Host` the upstream sees.
pub(super) fn host(written: Option<&Spanned<HostRewrite>>, context: &mut Context<'_>) -> ForwardHost {
    let Some(written) = written else { return ForwardHost::Preserve };
    match &written.value {
        HostRewrite::Preserve => ForwardHost::Preserve,
        HostRewrite::Upstream => ForwardHost::Endpoint,
        HostRewrite::Name(name) => {
            let mut canonical = String::new();
            if let Err(error) = canonical_authority_of(name.as_bytes(), Scheme::Http, &mut canonical) {
                context.report(
                    Diagnostic::error("rewrite.host", format!("`{name}` cannot be a host: {error}"))
                        .at(written.span)
                        .hint("`preserve`, `upstream`, or a name such as `internal.example`"),
                );
            }
            ForwardHost::Fixed(canonical.into())
        }
    }
}
