//! From a rewrite as written to one that can be done.

use super::{Change, Config, ForwardHost, HostRewrite, Rewrite};
use crate::canonical::{Scheme, canonical_authority_of, canonical_path};
use crate::diagnostic::{Diagnostic, did_you_mean, quoted};
use crate::template::{Template, TemplateError};
use crate::written::Spanned;

/// The path of the route that a rewrite is for.
#[derive(Clone, Debug)]
pub struct RoutePath<'a> {
    /// Its pattern as written.
    pub pattern: &'a str,
    /// The names of what it captures, in order.
    pub names: &'a [String],
    /// Whether the last of them is what `*` matches.
    pub has_rest: bool,
    /// The literal segments it begins with, as a canonical path without
    /// trailing slash; perhaps empty.
    pub literal: String,
}

/// Compiles what a rewrite does with the path; `None` if it leaves it, or if
/// something is wrong, which is then in `diagnostics`.
pub fn path(written: &Config, route: &RoutePath<'_>, diagnostics: &mut Vec<Diagnostic>) -> Option<Rewrite> {
    if let Some(path) = &written.path {
        return whole(path, route, diagnostics);
    }
    if let Some(by) = &written.replace_prefix {
        return matched(by, route, diagnostics);
    }
    if written.strip_prefix.is_none() && written.add_prefix.is_none() {
        return None;
    }
    let mut canonical = |prefix: &Option<Spanned<String>>| match prefix {
        None => Some(String::new()),
        Some(prefix) => canonical_prefix(prefix, diagnostics),
    };
    let (strip, add) = (canonical(&written.strip_prefix)?, canonical(&written.add_prefix)?);
    if let Some(prefix) = &written.strip_prefix {
        warn_unless_reachable(prefix, &strip, route, diagnostics);
    }
    let within = root_if_empty(&add);
    Some(Rewrite { change: Change::Prefix { strip, add }, within })
}

/// A strip that no matching path can have is a misunderstanding.
fn warn_unless_reachable(
    prefix: &Spanned<String>,
    strip: &str,
    route: &RoutePath<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let literal = route.literal.as_str();
    let is_under =
        |long: &str, short: &str| long.strip_prefix(short).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    // Longer than the literal part is fine: the rest of the path may have it.
    if is_under(literal, strip) || is_under(strip, literal) {
        return;
    }
    let message = format!("no path that `{}` matches begins with {}", route.pattern, prefix.shown());
    diagnostics.push(
        Diagnostic::warning("rewrite.never_applies", message)
            .at(prefix.span)
            .hint("strip a prefix of the route's own path"),
    );
}

fn matched(by: &Spanned<String>, route: &RoutePath<'_>, diagnostics: &mut Vec<Diagnostic>) -> Option<Rewrite> {
    let canonical = canonical_prefix(by, diagnostics)?;
    if !route.has_rest {
        let message =
            format!("`replace_prefix` needs a route whose path ends in `/*`; this one is `{}`", route.pattern);
        diagnostics.push(
            Diagnostic::error("rewrite.no_rest", message).at(by.span).hint("write `path` to replace the whole path"),
        );
        return None;
    }
    let rest = route.names.len().saturating_sub(1);
    let within = root_if_empty(&canonical);
    Some(Rewrite { change: Change::Matched { by: canonical, rest }, within })
}

fn whole(path: &Spanned<String>, route: &RoutePath<'_>, diagnostics: &mut Vec<Diagnostic>) -> Option<Rewrite> {
    let template = match Template::compile(path, route.names) {
        Ok(template) => template,
        Err(error) => {
            diagnostics.push(template_problem(&error, path, route));
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
    check_canonical(path, &plain, diagnostics)?;
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

fn template_problem(error: &TemplateError, text: &Spanned<String>, route: &RoutePath<'_>) -> Diagnostic {
    if text.raw().is_some() {
        // What a reference stands for is not shown, and the error quotes it.
        let message = format!("the value of {} is no path with the captures of `{}`", text.shown(), route.pattern);
        return Diagnostic::error("rewrite.template", message).at(text.span);
    }
    let diagnostic = Diagnostic::error("rewrite.template", error.to_string()).at(text.span);
    let TemplateError::Unknown(name) = error else { return diagnostic };
    let names = route.names;
    diagnostic.hint(match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None if names.is_empty() => format!("`{}` captures nothing", route.pattern),
        None => format!("`{}` captures `{}`", route.pattern, names.join("`, `")),
    })
}

/// A prefix as paths are compared with it: canonical, no trailing slash.
fn canonical_prefix(prefix: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    check_canonical(prefix, prefix, diagnostics)?;
    Some(prefix.trim_end_matches('/').to_owned())
}

/// Refuses a path that would not come out as it was written.
fn check_canonical(written: &Spanned<String>, path: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<()> {
    let mut canonical = String::new();
    let diagnostic = match canonical_path(path.as_bytes(), &mut canonical) {
        Ok(()) if canonical == path => return Some(()),
        Ok(()) if **written == path && written.raw().is_none() => {
            Diagnostic::error("rewrite.path", format!("the path {} is not in canonical form", written.shown()))
                .hint(format!("write `{canonical}`"))
        }
        Ok(()) => Diagnostic::error("rewrite.path", format!("the path {} is not in canonical form", written.shown()))
            .hint("no `.` or `..`, no repeated slashes, special characters percent-encoded"),
        Err(error) => Diagnostic::error("rewrite.path", format!("{} cannot be a path: {error}", written.shown())),
    };
    diagnostics.push(diagnostic.at(written.span));
    None
}

fn root_if_empty(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

/// What `Host` the upstream sees. What cannot be a host is said in
/// `diagnostics`.
pub fn host(written: Option<&Spanned<HostRewrite>>, diagnostics: &mut Vec<Diagnostic>) -> ForwardHost {
    let Some(written) = written else { return ForwardHost::Preserve };
    match &written.value {
        HostRewrite::Preserve => ForwardHost::Preserve,
        HostRewrite::Upstream => ForwardHost::Endpoint,
        HostRewrite::Name(name) => {
            let mut canonical = String::new();
            if let Err(error) = canonical_authority_of(name.as_bytes(), Scheme::Http, &mut canonical) {
                let shown = quoted(written.raw().unwrap_or(name));
                diagnostics.push(
                    Diagnostic::error("rewrite.host", format!("{shown} cannot be a host: {error}"))
                        .at(written.span)
                        .hint("`preserve`, `upstream`, or a name such as `internal.example`"),
                );
            }
            ForwardHost::Fixed(canonical.into())
        }
    }
}
