//! What all policies that prove consumers do once they know who it is.

use crate::consumer::{Consumer, Consumers, NotHere};
use crate::diagnostic::Diagnostic;
use crate::exchange::Exchange;
use crate::names::HeaderName;
use crate::reserved;
use crate::site::{Site, find_plan};
use crate::written::Spanned;
use std::sync::Arc;

/// Lets consumers in where they may go, and tells everything behind who they
/// are.
pub struct Welcome {
    consumers: Arc<dyn Consumers>,
    proven_by: &'static str,
    header: Vec<HeaderName>,
    default_plan: Option<Arc<str>>,
}

impl Welcome {
    /// For the policy `proven_by`. `header`: where upstreams find the name of
    /// the consumer; `default_plan`: the plan of those without one.
    ///
    /// # Errors
    /// The header is none that a policy can own, or there is no such plan.
    pub fn new(
        proven_by: &'static str,
        header: Option<&Spanned<String>>,
        default_plan: Option<&Spanned<String>>,
        site: &dyn Site,
    ) -> Result<Welcome, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut headers = Vec::new();
        if let Some(header) = header {
            match HeaderName::new(header).map(|name| (reserved::not_ownable(&name), name)) {
                Some((None, name)) => headers.push(name),
                Some((Some(why), _)) => {
                    let message = format!("{} cannot tell upstreams who is calling: {why}", header.shown());
                    problems.push(Diagnostic::error("consumers.header", message).at(header.span));
                }
                None => {
                    let message = format!("{} is not the name of a header", header.shown());
                    problems.push(Diagnostic::error("consumers.header", message).at(header.span));
                }
            }
        }
        if let Some(plan) = default_plan.filter(|_| site.is_whole())
            && let Err(problem) = find_plan(plan, site)
        {
            problems.push(*problem);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let default_plan = default_plan.map(|plan| plan.as_str().into());
        Ok(Welcome { consumers: site.consumers(), proven_by, header: headers, default_plan })
    }

    /// Whom credentials belong to.
    #[must_use]
    pub fn consumers(&self) -> &dyn Consumers {
        &*self.consumers
    }

    /// The headers that only the policy may set.
    #[must_use]
    pub fn owned_headers(&self) -> &[HeaderName] {
        &self.header
    }

    /// Whether `consumer` may make this request.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, exchange: &Exchange, consumer: &Consumer) -> Result<(), NotHere> {
        let route = exchange.route.and_then(|route| self.consumers.route_name(route.0));
        consumer.admits(route, exchange.client_ip)
    }

    /// Tells everything behind that `consumer` is calling.
    pub fn admit(&self, exchange: &mut Exchange, consumer: &Consumer) {
        for name in &self.header {
            exchange.head.fields.remove(name);
            // Names of consumers are letters, digits and a few signs.
            let _ = exchange.head.fields.append_text(name.as_str().as_bytes(), consumer.name.as_bytes());
        }
        self.identify(exchange, consumer);
    }

    /// The same for policies that explain themselves.
    pub fn identify(&self, exchange: &mut Exchange, consumer: &Consumer) {
        exchange.identity = Some(consumer.identity(self.proven_by, self.default_plan.as_ref()));
    }
}
