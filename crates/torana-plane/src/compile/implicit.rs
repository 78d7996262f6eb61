//! Upstreams that nobody wrote under `upstreams`: policies and targets name
//! them by URL, as a key set or an authority to ask.
//!
//! They are upstreams like the others, with pools, health and TLS that is
//! verified; their name is their origin, which no name that can be written is.

use super::{Context, Upstreams, upstreams};
use std::cell::RefCell;
use torana_config::model::{self, Config, EndpointUrl, Scheme};
use torana_core::diagnostic::Diagnostic;
use torana_core::site::Service;
use torana_core::target::UpstreamId;
use torana_core::written::{Entry, Node, Spanned, Written};

/// What was named by URL.
pub(super) type Services = Vec<Spanned<EndpointUrl>>;

/// The origins that were named so far, each once.
#[derive(Default)]
pub(super) struct Implicit(RefCell<Vec<Spanned<EndpointUrl>>>);

impl Implicit {
    /// Where `url` is, behind `named` upstreams that were written.
    pub(super) fn service(&self, url: &Spanned<String>, named: usize) -> Result<Service, Box<Diagnostic>> {
        let (origin, path_and_query) = split(url);
        let parsed: EndpointUrl = origin.parse().map_err(|_| problem(url))?;
        if parsed.scheme == Scheme::Unix || !is_plain(path_and_query) {
            return Err(problem(url));
        }
        let mut list = self.0.borrow_mut();
        let index = list.iter().position(|known| known.value == parsed).unwrap_or_else(|| {
            list.push(Spanned::new(parsed, url.span));
            list.len() - 1
        });
        let position = u32::try_from(named + index).unwrap_or(u32::MAX);
        Ok(Service { upstream: UpstreamId(position), path_and_query: rooted(path_and_query) })
    }

    /// Adds the upstreams that were named to those that were written.
    pub(super) fn compile(&self, config: &Config, known: &mut Upstreams, context: &mut Context<'_>) -> Services {
        let services = self.0.take();
        for url in &services {
            let name = Spanned::new(url.value.to_string(), url.span);
            let endpoint = Written::new(Node::String(name.value.clone()), url.span);
            let entry = |key: &str, value| Entry { key: Spanned::from(key.to_owned()), value };
            let endpoints = Written::new(Node::List(vec![endpoint]), url.span);
            let written = Written::new(Node::Map(vec![entry("endpoints", endpoints)]), url.span);
            match written.decode::<model::Upstream>() {
                Ok(upstream) => upstreams::add(config, &name, &Spanned::new(upstream, url.span), known, context),
                Err(problems) => context.diagnostics.extend(problems),
            }
        }
        services
    }
}

/// Origin, and what is behind it.
fn split(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(authority..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| authority + at);
    url.split_at_checked(end).unwrap_or((url, ""))
}

fn rooted(path_and_query: &str) -> String {
    if path_and_query.starts_with('/') { path_and_query.to_owned() } else { format!("/{path_and_query}") }
}

/// Whether it can stand in a request line as it is.
fn is_plain(path_and_query: &str) -> bool {
    path_and_query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn problem(url: &Spanned<String>) -> Box<Diagnostic> {
    let message = format!("{} is not a URL to ask", url.shown());
    let hint = "write one such as `https://idp.example/keys`, without user name and fragment";
    Box::new(Diagnostic::error("config.service_url", message).at(url.span).hint(hint))
}
