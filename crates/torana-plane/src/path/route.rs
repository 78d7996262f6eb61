//! Step 2: the route, and the limits it sets.

use crate::matcher::{Facts, Outcome};
use crate::plan::Plan;
use crate::refusals::{METHOD_NOT_ALLOWED, NOT_FOUND};
use torana_core::canonical::TargetForm;
use torana_core::captures::Captures;
use torana_core::deadline::Deadline;
use torana_core::exchange::{Exchange, RouteId};
use torana_core::grpc;
use torana_core::head::{Method, Status};
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;

/// What a server as a whole allows, as far as a gateway can know.
pub(super) const USUAL_METHODS: &[u8] = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Finds the route; answers requests that are about no path.
pub(super) fn route(plan: &Plan, exchange: &mut Exchange) -> Result<Option<Reply>, Rejection> {
    if exchange.target().form() == TargetForm::Asterisk {
        return Ok(Some(Reply::new(Status::NO_CONTENT).with_field(KnownName::Allow, USUAL_METHODS)));
    }
    // Taken out for a moment: the canonical target is read beside it.
    let mut captures = std::mem::take(&mut exchange.captures);
    let outcome = match preflight(plan, exchange, &mut captures) {
        Some(id) => Outcome::Matched(id),
        None => plan.matcher.find(Facts::of(exchange), &mut captures),
    };
    exchange.captures = captures;
    let id = match outcome {
        Outcome::Matched(id) => id,
        Outcome::NotFound => return Err(Rejection::new(&NOT_FOUND)),
        Outcome::MethodNotAllowed(_) => return Err(method_not_allowed(plan, exchange)),
    };
    if exchange.head.method == Method::Trace && !names_trace(plan, id) {
        // TRACE echoes what we add; only on purpose (RFC 9110 §9.3.8).
        return Err(Rejection::new(&METHOD_NOT_ALLOWED).with_field(KnownName::Allow, USUAL_METHODS));
    }
    exchange.route = Some(id);
    let Some(route) = plan.route(id) else { return Err(Rejection::new(&NOT_FOUND)) };
    if let Some(timeout) = route.timeout {
        exchange.deadline = Deadline::after(exchange.notes.started, timeout);
        exchange.end_by = exchange.deadline;
    }
    if exchange.head.fields.contains(KnownName::GrpcTimeout) {
        limit_call(exchange);
    }
    if !exchange.body.is_empty() {
        limit_body(plan, route.body_bytes, exchange);
    }
    Ok(None)
}

/// The route that answers a CORS preflight: the one of the request that is asked
/// about, if one of its policies answers preflights. Any other `OPTIONS` is
/// matched as such.
fn preflight(plan: &Plan, exchange: &Exchange, captures: &mut Captures) -> Option<RouteId> {
    if exchange.head.method != Method::Options {
        return None;
    }
    let fields = &exchange.head.fields;
    let method = fields.get_single(KnownName::AccessControlRequestMethod).ok().flatten()?;
    let method = std::str::from_utf8(method).ok().filter(|_| fields.contains(KnownName::Origin))?;
    match plan.matcher.find_announced(Facts::of(exchange), method, captures) {
        Outcome::Matched(id) => plan.route(id)?.answers_preflights.then_some(id),
        Outcome::MethodNotAllowed(_) | Outcome::NotFound => None,
    }
}

/// A gRPC caller may set a limit of its own, on the whole call, which can only
/// be the shorter one. What is left of it is told to the upstream when it is
/// sent there.
#[cold]
fn limit_call(exchange: &mut Exchange) {
    let fields = &exchange.head.fields;
    if grpc::media_type(fields).is_none() {
        return;
    }
    let Some(timeout) = fields.get_single(KnownName::GrpcTimeout).ok().flatten().and_then(grpc::parse_timeout) else {
        // What cannot be understood is not passed on either: others might.
        exchange.head.fields.remove_known(KnownName::GrpcTimeout);
        return;
    };
    let by = exchange.notes.started.checked_add(timeout).map_or(Deadline::NONE, Deadline::from);
    exchange.deadline = exchange.deadline.earlier(by);
    exchange.end_by = exchange.end_by.earlier(by);
}

#[cold]
fn method_not_allowed(plan: &Plan, exchange: &Exchange) -> Rejection {
    let allow = plan.matcher.allow(Facts::of(exchange));
    Rejection::new(&METHOD_NOT_ALLOWED).with_field(KnownName::Allow, allow.as_bytes())
}

fn names_trace(plan: &Plan, id: RouteId) -> bool {
    plan.matcher.patterns().get(id.0 as usize).is_some_and(|pattern| pattern.methods.set().contains(Method::Trace))
}

/// Sets the limit before anything reads the body. What says that it is longer
/// is refused in step 3.
fn limit_body(plan: &Plan, of_route: Option<u64>, exchange: &mut Exchange) {
    if let Some(limit) = plan.body_limit(of_route, exchange) {
        exchange.body.limit(limit);
    }
}
