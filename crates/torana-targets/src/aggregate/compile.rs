//! From parts as written to parts that can be asked for.

use super::graph::Graph;
use super::kept::Keeping;
use super::part::{Json, Parameter, Part, When};
use super::reads::members;
use super::template::{Problem, RESERVED, Scope, Template};
use super::written::{Config, Fail, PartCache, PartConfig};
use std::collections::BTreeMap;
use torana_core::canonical::canonical_path;
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::head::{Method, Status};
use torana_core::names::{HeaderName, KnownName};
use torana_core::rewrite::RoutePath;
use torana_core::target::{Names, find_upstream};
use torana_core::written::{Entry, Node, Spanned, Written};
use torana_expr::Expr;
use torana_reshape::{self as reshape, Reshape, Val};

/// Most parts: their answers are held in memory together.
const MOST_PARTS: usize = 32;
/// Longest name of a part; all of them may stand in one header.
const LONGEST_NAME: usize = 64;

/// Compiles the parts of an aggregate or of a variant of it.
pub(super) struct Compiler<'a> {
    pub(super) config: &'a Config,
    pub(super) names: &'a dyn Names,
    pub(super) entries: &'a [Entry],
    path: RoutePath<'a>,
    part_names: Vec<&'a str>,
    pub(super) problems: Vec<Diagnostic>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(config: &'a Config, names: &'a dyn Names, entries: &'a [Entry]) -> Compiler<'a> {
        let part_names = entries.iter().map(|entry| entry.key.as_str()).collect();
        Compiler { config, names, entries, path: names.path(), part_names, problems: Vec::new() }
    }

    /// The graph, if nothing is wrong; what is, is in `problems`.
    pub(super) fn graph(&mut self) -> Option<Graph> {
        self.check_names();
        let entries = self.entries;
        let mut parts = Vec::new();
        for entry in entries {
            match entry.value.decode::<PartConfig>() {
                Err(found) => self.problems.extend(found),
                Ok(config) => parts.extend(self.part(entry, &config)),
            }
        }
        let forward_headers = self.forward_headers();
        if parts.len() < entries.len() || self.problems.iter().any(Diagnostic::is_error) {
            return None;
        }
        self.check_cycles(&parts);
        let concurrency = self.config.concurrency.map_or(MOST_PARTS, usize::from);
        Some(Graph { parts, concurrency, forward_headers })
    }

    fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    fn check_names(&mut self) {
        let entries = self.entries;
        if entries.len() > MOST_PARTS {
            let message = format!("there are {} parts; at most {MOST_PARTS} can be held together", entries.len());
            let span = entries.get(MOST_PARTS).map_or(self.config.parts.span, |entry| entry.key.span);
            self.report(Diagnostic::error("aggregate.parts", message).at(span));
        }
        for Entry { key, .. } in entries {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let is_name = key.bytes().all(is_plain) && !key.bytes().next().is_none_or(|byte| byte.is_ascii_digit());
            let problem = |message: String| Diagnostic::error("aggregate.name", message).at(key.span);
            if !is_name || key.len() > LONGEST_NAME {
                let hint =
                    format!("letters, digits and `_`, a digit not first, at most {LONGEST_NAME}: as jq names members");
                self.report(problem(format!("{} cannot be the name of a part", key.shown())).hint(hint));
            } else if RESERVED.contains(&key.as_str()) {
                let message = format!("`{{{}.…}}` is a part of the request, so no part can be called that", key.value);
                self.report(problem(message).hint("choose another name"));
            } else if self.path.names.contains(key) {
                let message = format!("`{{{}}}` is both a part and what the route's path captures", key.value);
                self.report(problem(message).hint("rename one of them"));
            } else if key.as_str() == "errors" && self.config.errors && self.config.response.is_none() {
                let message = "the part `errors` and the list of errors would be one member of the answer";
                self.report(problem(message.to_owned()).hint("rename the part, or write `response`"));
            }
        }
    }

    fn part(&mut self, entry: &Entry, config: &PartConfig) -> Option<Part> {
        let before = self.problems.iter().filter(|problem| problem.is_error()).count();
        let upstream = find_upstream(&config.upstream, self.names).map_err(|problem| self.report(*problem)).ok();
        let method = self.method(config);
        let path = self.path_and_query(config);
        let headers = self.headers(&config.headers);
        let body = config.body.as_ref().and_then(|body| self.json(body));
        if let (Some(body), Method::Get | Method::Head) = (&config.body, method) {
            let message = format!("a {} request has no body", method.as_str());
            self.report(Diagnostic::error("aggregate.body", message).at(body.span).hint("add `method: POST`"));
        }
        let timeout = config.timeout.as_ref().and_then(|timeout| {
            if timeout.is_zero() {
                let message = "`timeout` cannot be `0s`: the part could not be answered";
                self.report(Diagnostic::error("config.zero_timeout", message).at(timeout.span));
            }
            Some(timeout.std()).filter(|time| !time.is_zero())
        });
        let select = config.select.as_ref().and_then(|text| self.program(text, "aggregate.program"));
        let when = config.when.as_ref().and_then(|text| self.when(text));
        let keeping = config.cache.as_ref().and_then(|cache| self.keeping(cache, method));
        let required = self.required(config);
        let success = self.statuses(&config.success);
        let pass_status = self.statuses(&config.pass_status);
        if !required && let Some(status) = config.pass_status.first() {
            let message = "the status of a part that is not required does not decide over the whole";
            self.report(
                Diagnostic::error("aggregate.pass_status", message).at(status.span).hint("add `required: true`"),
            );
        }
        let (path, query) = path?;
        let mut part = Part {
            name: entry.key.as_str().into(),
            upstream: upstream?,
            upstream_name: config.upstream.raw().unwrap_or(&config.upstream).into(),
            method,
            path,
            query,
            headers,
            body,
            required,
            default: config.default.as_ref().map_or(Val::Null, |value| reshape::from_value(&value.to_json())),
            timeout,
            when,
            select,
            success,
            pass_status,
            body_bytes: config.body_bytes.map_or(1 << 20, |bytes| bytes.as_usize()),
            keeping,
            needs: Vec::new(),
        };
        part.needs = self.needs(&part, config);
        let after = self.problems.iter().filter(|problem| problem.is_error()).count();
        (before == after).then_some(part)
    }

    fn keeping(&mut self, cache: &Spanned<PartCache>, method: Method) -> Option<Keeping> {
        let before = self.problems.len();
        if method != Method::Get {
            let message = format!("answers to {} are not kept", method.as_str());
            self.report(Diagnostic::error("aggregate.cache", message).at(cache.span).hint("remove `cache`"));
        }
        if let Some(ttl) = cache.ttl.as_ref().filter(|ttl| ttl.is_zero()) {
            let message = "`ttl` cannot be `0s`: nothing would be kept";
            self.report(Diagnostic::error("aggregate.cache", message).at(ttl.span).hint("remove `cache`"));
        }
        (self.problems.len() == before).then(|| Keeping::new(cache, self.names.owned_headers()))
    }

    fn method(&mut self, config: &PartConfig) -> Method {
        let Some(written) = &config.method else { return Method::Get };
        let method = Method::from_bytes(written.as_bytes());
        if matches!(method, Method::Extension | Method::Connect | Method::Trace) {
            let near = did_you_mean(written, Method::NAMED.iter().map(|method| method.as_str()));
            let hint = near.filter(|_| written.raw().is_none()).map(|near| format!("did you mean `{near}`?"));
            let message = format!("{} is not a method to ask a service with", written.shown());
            self.report(Diagnostic::error("aggregate.method", message).at(written.span).maybe_hint(hint));
        } else if !method.is_safe() && self.names.takes_safe_methods() && !self.config.allow_unsafe {
            let message =
                format!("a GET request to the route would send {}, which may change something", method.as_str());
            let hint = "let the route match only `methods: POST` or the like, or add `allow_unsafe: true`";
            self.report(Diagnostic::error("aggregate.unsafe", message).at(written.span).hint(hint));
        }
        method
    }

    fn required(&mut self, config: &PartConfig) -> bool {
        let said = config.required.as_ref();
        let fail = self.config.fail.as_ref();
        let contradiction = match (fail.map(|fail| fail.value), said.map(|said| said.value)) {
            (Some(Fail::All), Some(false)) => Some("`fail: all` requires every part"),
            (Some(Fail::Settled), Some(true)) => Some("`fail: settled` requires no part"),
            _ => None,
        };
        if let (Some(message), Some(said), Some(fail)) = (contradiction, said, fail) {
            let problem = Diagnostic::error("aggregate.fail", message).at(said.span).also(fail.span, "");
            self.report(problem.hint("remove one of them"));
        }
        let required = match fail.map(|fail| fail.value) {
            Some(Fail::All) => true,
            Some(Fail::Settled) => false,
            None => said.is_some_and(|said| said.value),
        };
        if let (true, Some(default), None) = (required, &config.default, &config.when) {
            let message = "the default is never used: without the part there is no answer, since it is required";
            self.report(Diagnostic::warning("aggregate.default", message).at(default.span).hint("remove it"));
        }
        required
    }

    fn statuses(&mut self, written: &[Spanned<u16>]) -> Vec<Status> {
        let mut statuses = Vec::new();
        for status in written {
            match Status::new(status.value).filter(|status| (200..=599).contains(&status.code())) {
                Some(known) => statuses.push(known),
                None => {
                    let message = format!("{} is not the status of an answer", status.shown());
                    self.report(Diagnostic::error("aggregate.status", message).at(status.span).hint("200 to 599"));
                }
            }
        }
        statuses
    }

    fn template(&mut self, text: &Spanned<String>) -> Option<Template> {
        let scope = Scope { path: &self.path, parts: &self.part_names };
        match Template::compile(text, scope) {
            Ok(template) => Some(template),
            Err(Problem { message, hint, is_perhaps_part }) => {
                let problem = if text.raw().is_some() {
                    // What a reference stands for is not shown, and the problem
                    // quotes it.
                    Diagnostic::error("aggregate.reference", format!("the value of {} is no template", text.shown()))
                } else {
                    Diagnostic::error("aggregate.reference", message).maybe_hint(hint)
                };
                if self.names.is_whole() || !is_perhaps_part {
                    self.report(problem.at(text.span));
                }
                None
            }
        }
    }

    fn path_and_query(&mut self, config: &PartConfig) -> Option<(Template, Vec<Parameter>)> {
        let written = &config.path;
        let (path, query) = match written.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (written.as_str(), None),
        };
        let piece = |text: &str| Spanned::new(text.to_owned(), written.span).written_as(written.raw());
        let template = self.template(&piece(path))?;
        let sample = template.sample();
        let mut canonical = String::new();
        let hint = match canonical_path(sample.as_bytes(), &mut canonical) {
            Ok(()) if canonical == sample => None,
            Ok(()) if template.is_literal() && written.raw().is_none() => Some(format!("write `{canonical}`")),
            Ok(()) => Some("no `.` or `..`, no repeated slashes, special characters percent-encoded".to_owned()),
            Err(_) => Some("a path begins with `/`; percent-encode special characters".to_owned()),
        };
        if let Some(hint) = hint {
            let message = format!("{} does not begin with a path in canonical form", written.shown());
            self.report(Diagnostic::error("aggregate.path", message).at(written.span).hint(hint));
        }
        let mut parameters = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (pair, None),
            };
            let value = match value {
                Some(value) => Some(self.template(&piece(value))?),
                None => None,
            };
            let is_fit =
                |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#<>\"\\^`|".contains(&byte));
            if name.contains(['{', '}']) || !is_fit(name) || !value.as_ref().is_none_or(|value| is_fit(&value.sample()))
            {
                let message = format!("{} does not end in a query", written.shown());
                let hint = "`?name={value}&…`, special characters percent-encoded; or write it under `query`";
                self.report(Diagnostic::error("aggregate.query", message).at(written.span).hint(hint));
            }
            parameters.push(Parameter { name: name.into(), value, is_encoded: true });
        }
        for (name, value) in &config.query {
            let value = self.template(value);
            if let Some(first) = parameters.iter().find(|known| *known.name == *name.value) {
                let message = format!("the query parameter `{}` is set twice", first.name);
                let problem = Diagnostic::error("aggregate.query", message).at(name.span);
                self.report(problem.also(written.span, "here as well"));
            }
            parameters.push(Parameter::named(name, value?));
        }
        Some((template, parameters))
    }

    fn headers(&mut self, written: &BTreeMap<Spanned<String>, Spanned<String>>) -> Vec<(HeaderName, Template)> {
        let mut headers = Vec::new();
        for (name, value) in written {
            let known = self.header(name);
            let template = self.template(value);
            if let Some(template) = &template
                && template.is_literal()
                && value.bytes().any(|byte| byte.is_ascii_control())
            {
                let message = format!("the value of {} cannot stand in a header", name.shown());
                self.report(Diagnostic::error("aggregate.header", message).at(value.span));
            }
            headers.extend(known.zip(template));
        }
        headers
    }

    fn header(&mut self, name: &Spanned<String>) -> Option<HeaderName> {
        let Some(header) = HeaderName::new(name) else {
            let message = format!("{} is not a header name", name.shown());
            self.report(Diagnostic::error("aggregate.header", message).at(name.span));
            return None;
        };
        if let HeaderName::Known(known) = header
            && (known.is_hop_by_hop()
                || matches!(
                    known,
                    KnownName::Host | KnownName::ContentLength | KnownName::AcceptEncoding | KnownName::Traceparent
                ))
        {
            let message = format!("the header {} is the gateway's to set", name.shown());
            let hint = "parts are asked by the gateway itself, with a host, a body and a trace of their own";
            self.report(Diagnostic::error("aggregate.header", message).at(name.span).hint(hint));
            return None;
        }
        Some(header)
    }

    fn forward_headers(&mut self) -> Vec<HeaderName> {
        let config = self.config;
        let mut headers = self.names.owned_headers().to_vec();
        for name in config.forward_headers.iter() {
            if let Some(header) = self.header(name).filter(|header| !headers.contains(header)) {
                headers.push(header);
            }
        }
        headers
    }

    fn json(&mut self, written: &Written) -> Option<Json> {
        Some(match &written.node {
            Node::String(_) => {
                let template = self.template(&written.as_spanned()?)?;
                if template.is_literal() { Json::Fixed(Val::utf8_str(template.sample())) } else { Json::Text(template) }
            }
            Node::List(items) => Json::List(items.iter().map(|item| self.json(item)).collect::<Option<_>>()?),
            Node::Map(entries) => {
                let member = |entry: &Entry| Some((reshape::text(&entry.key), self.json(&entry.value)?));
                Json::Object(entries.iter().map(member).collect::<Option<_>>()?)
            }
            _ => Json::Fixed(reshape::from_value(&written.to_json())),
        })
    }

    /// A jq program.
    pub(super) fn program(&mut self, text: &Spanned<String>, code: &'static str) -> Option<Reshape> {
        match Reshape::compile(text, &[]) {
            Ok(program) => Some(program),
            Err(error) => {
                self.report(misread(code, text, error.message, &error.hint, error.offset));
                None
            }
        }
    }

    /// A condition on the request.
    pub(super) fn condition(&mut self, text: &Spanned<String>) -> Option<Expr> {
        let place = torana_expr::Written::of(self.names, "aggregate.when");
        place.condition(text).map_err(|problem| self.report(*problem)).ok()
    }

    fn when(&mut self, text: &Spanned<String>) -> Option<When> {
        if text.trim_start().starts_with('.') {
            self.program(text, "aggregate.when").map(When::Parts)
        } else {
            self.condition(text).map(When::Request)
        }
    }

    /// The positions of the parts that `part` waits for.
    fn needs(&mut self, part: &Part, config: &PartConfig) -> Vec<usize> {
        let mut needs: Vec<usize> = part.path.parts().collect();
        needs.extend(part.query.iter().filter_map(|parameter| parameter.value.as_ref()).flat_map(Template::parts));
        needs.extend(part.headers.iter().flat_map(|(_, template)| template.parts()));
        if let Some(body) = &part.body {
            body.templates(&mut |template| needs.extend(template.parts()));
        }
        if let (Some(When::Parts(_)), Some(text)) = (&part.when, &config.when) {
            let position = |name: &str| self.part_names.iter().position(|known| *known == name);
            needs.extend(members(text).into_iter().filter_map(position));
        }
        for name in config.depends_on.iter() {
            match self.part_names.iter().position(|known| *known == name.as_str()) {
                Some(index) => needs.push(index),
                None if !self.names.is_whole() => {}
                None => {
                    let near = did_you_mean(name, self.part_names.iter().copied()).filter(|_| name.raw().is_none());
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    let message = format!("there is no part {}", name.shown());
                    self.report(Diagnostic::error("aggregate.depends_on", message).at(name.span).maybe_hint(hint));
                }
            }
        }
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// Parts that wait for each other would wait for ever.
    fn check_cycles(&mut self, parts: &[Part]) {
        let mut is_sound = vec![false; parts.len()];
        for start in 0..parts.len() {
            let Some(cycle) = cycle(parts, start, &mut Vec::new(), &mut is_sound) else { continue };
            let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(|&index| &*parts[index].name).collect();
            let message = format!("parts wait for each other: `{}`", names.join("` → `"));
            let mut problem = Diagnostic::error("aggregate.cycle", message);
            for (position, &index) in cycle.iter().enumerate() {
                let span = self.entries[index].key.span;
                problem = if position == 0 { problem.at(span) } else { problem.also(span, "") };
            }
            let hint = "an arrow leads from a part to one that it refers to; remove one of the references";
            return self.report(problem.hint(hint));
        }
    }
}

/// A cycle that can be reached from `at`, if there is one.
fn cycle(parts: &[Part], at: usize, way: &mut Vec<usize>, is_sound: &mut [bool]) -> Option<Vec<usize>> {
    if is_sound[at] {
        return None;
    }
    if let Some(position) = way.iter().position(|&known| known == at) {
        return Some(way.split_off(position));
    }
    way.push(at);
    for &need in &parts[at].needs {
        if let Some(found) = cycle(parts, need, way, is_sound) {
            return Some(found);
        }
    }
    way.pop();
    is_sound[at] = true;
    None
}

fn misread(code: &'static str, text: &Spanned<String>, message: String, hint: &str, offset: usize) -> Diagnostic {
    // What a reference stands for is not shown, and the message quotes it.
    if text.raw().is_some() {
        return Diagnostic::error(code, format!("the value of {} cannot be used", text.shown())).at(text.span);
    }
    let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
    Diagnostic::error(code, message).at(text.span_from(offset)).maybe_hint(hint)
}
