//! Aggregates, asked of services that answer when the test says so.

mod configuration;
mod failures;
mod keeping;
mod references;
mod running;

use super::Aggregate;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use torana_core::exchange::{Exchange, RouteId};
use torana_core::outbound::{Full, Line, Outbound, OutboundRequest, ReadReply, Work};
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::site::{Site, UpstreamId};
use torana_core::target::{Answer, Target, entry};
use torana_core::testing::{TestNames, exchange, reply, show_counts, show_diagnostics, written};
use torana_core::verdict::LocalBoxFuture;

/// The dashboard of the documents.
const DASHBOARD: &str = r#"{
    "parts": {
        "user":   { "upstream": "users", "path": "/users/{userId}", "required": true },
        "orders": { "upstream": "orders", "path": "/orders?customerId={userId}&limit=5", "select": ".data", "default": [] },
        "unread": { "upstream": "notes", "path": "/notifications/{userId}/unread", "select": ".count", "default": 0, "timeout": "500ms" }
    },
    "response": "{user: .user, recentOrders: .orders, unreadCount: .unread}"
}"#;

/// What a service answers: a status and a body, or how it is not reached.
#[derive(Clone)]
enum Says {
    Json(u16, &'static str),
    Other(&'static str),
    Fails(&'static torana_core::refusal::Refusal),
    Never,
}

/// Services that answer by the path they are asked for; each when it is let.
#[derive(Default)]
struct Services {
    answers: RefCell<BTreeMap<String, Says>>,
    /// The paths whose answers are held back. `None`: none is.
    held: RefCell<Option<Vec<String>>>,
    sent: RefCell<Vec<String>>,
    /// The deadline of each request, as the time it was given.
    given: RefCell<Vec<Option<Duration>>>,
    dropped: RefCell<Vec<String>>,
    slept: RefCell<Vec<Duration>>,
    /// Whether the time that was slept for is over.
    time_is_over: RefCell<bool>,
    /// How much was done aside.
    aside: Cell<usize>,
}

/// A request under way; tells when it is given up.
struct UnderWay {
    path: String,
    services: Rc<Services>,
    is_done: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_done {
            self.services.dropped.borrow_mut().push(self.path.clone());
        }
    }
}

/// The same as what exchanges hold.
struct Worker(Rc<Services>);

impl Services {
    fn answering(answers: &[(&str, Says)]) -> Rc<Services> {
        let services = Services::default();
        *services.answers.borrow_mut() =
            answers.iter().map(|(path, says)| ((*path).to_owned(), says.clone())).collect();
        Rc::new(services)
    }

    /// Those of the dashboard, all well.
    fn of_dashboard() -> Rc<Services> {
        Services::answering(&[
            ("/users/7", Says::Json(200, r#"{"id":7,"name":"Ada"}"#)),
            ("/orders?customerId=7&limit=5", Says::Json(200, r#"{"data":[{"id":1}],"more":true}"#)),
            ("/notifications/7/unread", Says::Json(200, r#"{"count":3}"#)),
        ])
    }

    fn now_says(&self, path: &str, says: Says) {
        self.answers.borrow_mut().insert(path.to_owned(), says);
    }

    fn hold_all(&self) {
        *self.held.borrow_mut() = Some(Vec::new());
    }

    fn is_free(&self, path: &str) -> bool {
        self.held.borrow().as_ref().is_none_or(|free| free.iter().any(|known| known == path))
    }

    fn let_go(&self, path: &str) {
        if let Some(free) = &mut *self.held.borrow_mut() {
            free.push(path.to_owned());
        }
    }

    /// The request lines so far: `users GET /users/7`.
    fn lines(&self) -> Vec<String> {
        self.sent.borrow().iter().map(|text| text.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

impl Outbound for Worker {
    fn send(
        &self,
        upstream: UpstreamId,
        request: OutboundRequest,
    ) -> LocalBoxFuture<'static, Result<Reply, Rejection>> {
        let services = Rc::clone(&self.0);
        let upstream = ["users", "orders", "notes"][upstream.0 as usize];
        let path = request.path_and_query.clone();
        let mut text = format!("{upstream} {} {path}\n", request.method);
        for (name, value) in request.fields.iter() {
            let _ = writeln!(text, "{}: {}", String::from_utf8_lossy(name.text), String::from_utf8_lossy(value));
        }
        let _ = write!(text, "{}", String::from_utf8_lossy(request.body.data()));
        services.sent.borrow_mut().push(text);
        services.given.borrow_mut().push(request.deadline.left(Instant::now()));
        let mut under_way = UnderWay { path, services, is_done: false };
        Box::pin(std::future::poll_fn(move |_| {
            let services = &under_way.services;
            if !services.is_free(&under_way.path) {
                return Poll::Pending;
            }
            let says = services.answers.borrow().get(&under_way.path).cloned();
            let answer = match says.unwrap_or(Says::Json(404, r#"{"error":"no such thing"}"#)) {
                Says::Never => return Poll::Pending,
                Says::Json(status, body) => Ok(reply(&format!("{status}\ncontent-type: application/json\n\n{body}"))),
                Says::Other(text) => Ok(reply(text)),
                Says::Fails(refusal) => Err(Rejection::new(refusal).because("as the test has it")),
            };
            under_way.is_done = true;
            Poll::Ready(answer)
        }))
    }

    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        self.0.slept.borrow_mut().push(time);
        let services = Rc::clone(&self.0);
        Box::pin(std::future::poll_fn(
            move |_| {
                if *services.time_is_over.borrow() { Poll::Ready(()) } else { Poll::Pending }
            },
        ))
    }

    fn take_aside(&self, _: Line, work: Work) -> Result<(), Full> {
        self.0.aside.set(self.0.aside.get() + 1);
        work();
        Ok(())
    }

    fn spawn(&self, _: LocalBoxFuture<'static, ()>) {
        unreachable!("aggregates do nothing beside the exchange");
    }

    fn ask_again(&self, _: Box<Exchange>, _: ReadReply) {
        unreachable!("aggregates ask services");
    }

    fn route_name(&self, _: RouteId) -> &str {
        "r"
    }
}

/// A built aggregate and the route it is for.
struct Built {
    target: Arc<dyn Target>,
    names: TestNames,
}

fn build(config: &str, path: &str) -> Built {
    let names = TestNames::new("r", path).counting(super::EVENTS);
    match (entry::<Aggregate>().build)(&written(config), &names) {
        Ok(target) => Built { target, names },
        Err(problems) => panic!("{}", show_diagnostics(&problems)),
    }
}

/// What is wrong with a configuration for a route with this path.
fn wrong(config: &str, path: &str) -> String {
    let names = TestNames::new("r", path);
    match (entry::<Aggregate>().build)(&written(config), &names) {
        Ok(_) => show_diagnostics(&names.warnings.take()),
        Err(problems) => show_diagnostics(&problems),
    }
}

/// A request whose path's last segment the route captures.
fn request(services: &Rc<Services>, text: &str) -> Exchange {
    let mut exchange = exchange(text);
    let path = exchange.target().path();
    let (start, end) = (path.rfind('/').unwrap() + 1, path.len());
    exchange.captures.push(start, end);
    exchange.outbound = Some(Rc::new(Worker(Rc::clone(services))));
    exchange
}

impl Built {
    /// Begins to answer.
    fn begin<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Result<Reply, Rejection>> {
        match self.target.answer(exchange) {
            Answer::Wait(future) => future,
            _ => panic!("an aggregate waits for its parts"),
        }
    }

    /// The answer of services that hold nothing back, as text.
    fn ask(&self, services: &Rc<Services>, text: &str) -> String {
        let mut exchange = request(services, text);
        let result = poll(&mut self.begin(&mut exchange)).expect("nothing is held back");
        show(result)
    }

    fn counts(&self) -> String {
        let mut out = String::new();
        show_counts(&self.names.tally(), &mut out);
        out
    }
}

fn poll<T>(future: &mut LocalBoxFuture<'_, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Status, fields but for the type, and body; or the code of a refusal and why.
fn show(result: Result<Reply, Rejection>) -> String {
    match result {
        Ok(reply) => {
            let mut out = reply.head.status.code().to_string();
            for (name, value) in reply.head.fields.iter() {
                let (name, value) = (String::from_utf8_lossy(name.text), String::from_utf8_lossy(value));
                if name != "content-type" {
                    let _ = write!(out, " {name}: {value};");
                }
            }
            let _ = write!(out, " {}", String::from_utf8_lossy(reply.body.data()));
            out
        }
        Err(rejection) => {
            let status = rejection.status.unwrap_or(rejection.refusal.status);
            format!("{} {}: {}", status.code(), rejection.refusal.code, rejection.cause.unwrap_or_default())
        }
    }
}
