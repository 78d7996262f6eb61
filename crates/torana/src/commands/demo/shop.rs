//! What the sample services answer, as `examples/microservices.yaml` expects it
//! of them.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Interval, interval, sleep};

/// Which service is asked.
#[derive(Clone, Copy)]
pub(super) enum Service {
    Users,
    Orders,
    Products,
    Payments,
}

/// What the services remember.
#[derive(Default)]
pub(super) struct Shop {
    orders: Cell<u64>,
    payments: Cell<u64>,
    vouchers: Cell<u64>,
}

/// Longest body a service reads.
const BODY_BYTES: usize = 64 * 1024;

/// How long every fifth payment takes: it shows in the metrics, and is no
/// error.
const SLOW: Duration = Duration::from_millis(300);

/// Whose account nobody answers for.
const SILENT_ACCOUNT: &str = "13";

/// Longer than anybody waits for that.
const SILENCE: Duration = Duration::from_secs(10);

const PEOPLE: [(&str, &str, &str); 4] =
    [("Radia", "Perlman", "emea"), ("Ada", "Lovelace", "emea"), ("Grace", "Hopper", "us"), ("Barbara", "Liskov", "us")];

const PRODUCTS: [(&str, &str, u32); 5] = [
    ("sku-1", "kettle", 39),
    ("sku-2", "book", 24),
    ("sku-3", "lamp", 55),
    ("sku-4", "chair", 80),
    ("sku-5", "rug", 120),
];

impl Shop {
    pub(super) async fn answer(&self, service: Service, request: Request<Incoming>) -> Response<Reply> {
        let uri = request.uri().clone();
        let segments: Vec<_> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        match (service, segments.as_slice()) {
            (_, ["health"]) => reply(StatusCode::OK, &json!({ "status": "ok" })),
            (Service::Users, [_]) => reply(StatusCode::OK, &(1..=4).map(user).collect()),
            (Service::Users, [_, id, ..]) => match id.parse() {
                Ok(id) => reply(StatusCode::OK, &user(id)),
                Err(_) => absent("user"),
            },
            (Service::Products, [_]) => {
                let limit = parameter(&uri, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
                let shown = PRODUCTS.iter().take(limit).map(|known| product(known, parameter(&uri, "region")));
                reply(StatusCode::OK, &shown.collect())
            }
            (Service::Products, [_, sku, ..]) => match PRODUCTS.iter().find(|(known, ..)| known == sku) {
                Some(known) => reply(StatusCode::OK, &product(known, None)),
                None => absent("product"),
            },
            (Service::Orders, [_, "events"]) => events(),
            (Service::Orders, _) if request.method() == Method::POST => self.order(request).await,
            (Service::Orders, [_, id, ..]) => {
                reply(StatusCode::OK, &json!({ "id": id, "sku": "sku-2", "state": "shipped" }))
            }
            (Service::Orders, _) => {
                let customer = parameter(&uri, "customerId").or_else(|| caller(&request));
                reply(StatusCode::OK, &orders_of(customer))
            }
            (Service::Payments, ["accounts", SILENT_ACCOUNT, ..]) => {
                sleep(SILENCE).await;
                reply(StatusCode::OK, &json!({ "account": SILENT_ACCOUNT, "amount": 0 }))
            }
            (Service::Payments, ["accounts", id, ..]) => {
                reply(StatusCode::OK, &json!({ "account": id, "amount": 12.5 }))
            }
            (Service::Payments, _) if request.method() == Method::POST => self.payment(request).await,
            (Service::Payments, _) => reply(StatusCode::OK, &json!({ "payments": self.payments.get() })),
            _ => absent("page"),
        }
    }

    async fn order(&self, request: Request<Incoming>) -> Response<Reply> {
        let order = match body(request).await {
            Ok(order) => order,
            Err(refused) => return *refused,
        };
        let id = next(&self.orders);
        let mut created = reply(StatusCode::CREATED, &json!({ "id": id, "order": order, "state": "accepted" }));
        // Digits are a header value.
        if let Ok(location) = HeaderValue::from_str(&format!("/api/orders/{id}")) {
            created.headers_mut().insert(LOCATION, location);
        }
        created
    }

    /// Every fifth is slow; of ten with a voucher, nine fail.
    async fn payment(&self, request: Request<Incoming>) -> Response<Reply> {
        let by = caller(&request).map(str::to_owned);
        let paid = match body(request).await {
            Ok(paid) => paid,
            Err(refused) => return *refused,
        };
        if paid["with"] == "voucher" && !next(&self.vouchers).is_multiple_of(10) {
            return reply(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "the voucher machine is jammed" }));
        }
        let id = next(&self.payments);
        if id.is_multiple_of(5) {
            sleep(SLOW).await;
        }
        reply(StatusCode::CREATED, &json!({ "payment": id, "amount": paid["amount"], "by": by, "state": "paid" }))
    }
}

fn next(count: &Cell<u64>) -> u64 {
    count.set(count.get() + 1);
    count.get()
}

fn user(id: usize) -> Value {
    let (first, last, region) = PEOPLE[id.wrapping_sub(1) % PEOPLE.len()];
    json!({ "user_id": id, "first_name": first, "last_name": last, "region": region,
            "email_address": format!("{}@shop.example", first.to_lowercase()) })
}

fn product((sku, name, price): &(&str, &str, u32), region: Option<&str>) -> Value {
    let mut shown = json!({ "sku": sku, "name": name, "price": price });
    if let Some(region) = region {
        shown["ships_to"] = region.into();
    }
    shown
}

fn orders_of(customer: Option<&str>) -> Value {
    json!({ "customer": customer, "data": [
        { "id": 1, "sku": "sku-2", "state": "shipped" },
        { "id": 2, "sku": "sku-4", "state": "accepted" },
    ] })
}

/// A query parameter; those of the example need no decoding.
fn parameter<'a>(uri: &'a hyper::Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Who the gateway says is asking.
fn caller(request: &Request<Incoming>) -> Option<&str> {
    request.headers().get("x-user-id")?.to_str().ok()
}

async fn body(request: Request<Incoming>) -> Result<Value, Box<Response<Reply>>> {
    let refused = |status, why: &str| Err(Box::new(reply(status, &json!({ "error": why }))));
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES).collect().await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "nobody needs that much");
    };
    serde_json::from_slice(&body.to_bytes()).or_else(|_| refused(StatusCode::BAD_REQUEST, "this is not JSON"))
}

fn events() -> Response<Reply> {
    let mut events = Response::new(Reply::Events { left: 5, clock: interval(Duration::from_millis(400)) });
    events.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    events
}

fn absent(what: &str) -> Response<Reply> {
    reply(StatusCode::NOT_FOUND, &json!({ "error": format!("no such {what}") }))
}

fn reply(status: StatusCode, value: &Value) -> Response<Reply> {
    let mut reply = Response::new(Reply::Whole(Some(format!("{value}\n").into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// The body of a reply.
pub(super) enum Reply {
    Whole(Option<Bytes>),
    /// Server-sent events, one at a time.
    Events {
        left: u32,
        clock: Interval,
    },
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Reply::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Reply::Events { left: 0, .. } => Poll::Ready(None),
            Reply::Events { left, clock } => {
                ready!(clock.poll_tick(cx));
                *left -= 1;
                let event = format!("event: order\ndata: {{\"orders_left\":{left}}}\n\n");
                Poll::Ready(Some(Ok(Frame::data(event.into()))))
            }
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Reply::Whole(body) => hyper::body::SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Reply::Events { .. } => hyper::body::SizeHint::default(),
        }
    }
}
