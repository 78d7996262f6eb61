//! Four small services to route to.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Interval, interval, sleep};

/// Where each service listens.
pub(super) struct Services {
    pub(super) users: SocketAddr,
    pub(super) orders: SocketAddr,
    pub(super) products: SocketAddr,
    pub(super) payments: SocketAddr,
}

#[derive(Clone, Copy)]
enum Service {
    Users,
    Orders,
    Products,
    Payments,
}

/// Longest body a service reads.
const BODY_BYTES: usize = 64 * 1024;

/// How long a slow payment takes: less than the upstream's timeout, so that it
/// shows in the metrics and not as an error.
const SLOW: Duration = Duration::from_millis(600);

impl Services {
    /// Starts all on free ports, on a thread that ends with the process.
    pub(super) fn start() -> io::Result<Services> {
        let bind = || {
            let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok::<_, io::Error>((socket, address))
        };
        let ((users, users_at), (orders, orders_at)) = (bind()?, bind()?);
        let ((products, products_at), (payments, payments_at)) = (bind()?, bind()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            let local = tokio::task::LocalSet::new();
            local.spawn_local(serve(users, Service::Users));
            local.spawn_local(serve(orders, Service::Orders));
            local.spawn_local(serve(products, Service::Products));
            local.spawn_local(serve(payments, Service::Payments));
            runtime.block_on(local);
        };
        std::thread::Builder::new().name("demo-services".to_owned()).spawn(run)?;
        Ok(Services { users: users_at, orders: orders_at, products: products_at, payments: payments_at })
    }
}

async fn serve(socket: std::net::TcpListener, service: Service) {
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    let count = Rc::new(Cell::new(0_u64));
    loop {
        let Ok((io, _)) = listener.accept().await else { continue };
        let count = count.clone();
        let answer = service_fn(move |request| {
            count.set(count.get() + 1);
            let count = count.get();
            async move { Ok::<_, Infallible>(answer(service, request, count).await) }
        });
        // The gateway closes connections as it pleases.
        tokio::task::spawn_local(async move {
            drop(http1::Builder::new().serve_connection(TokioIo::new(io), answer).await)
        });
    }
}

async fn answer(service: Service, request: Request<Incoming>, count: u64) -> Response<Reply> {
    let path = request.uri().path().to_owned();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).skip(1);
    let id = segments.next();
    match service {
        Service::Users => users(id),
        Service::Products => products(id),
        Service::Orders if id == Some("events") => events(),
        Service::Orders => orders(request, count).await,
        Service::Payments => payments(count).await,
    }
}

fn users(id: Option<&str>) -> Response<Reply> {
    let names = ["Radia", "Ada", "Grace", "Barbara"].iter().cycle();
    let user = |id: usize| json!({ "id": id, "name": names.clone().nth(id % 4) });
    match id.map(str::parse) {
        None => reply(StatusCode::OK, (1..=4).map(user).collect()),
        Some(Ok(id)) => reply(StatusCode::OK, user(id)),
        Some(Err(_)) => reply(StatusCode::NOT_FOUND, json!({ "error": "no such user" })),
    }
}

fn products(sku: Option<&str>) -> Response<Reply> {
    let list = [("sku-1", "kettle", 39), ("sku-2", "book", 24), ("sku-3", "lamp", 55)];
    let shown = |(sku, name, price): (&str, &str, u32)| json!({ "sku": sku, "name": name, "price": price });
    match sku {
        None => reply(StatusCode::OK, list.map(shown).into_iter().collect()),
        Some(sku) => match list.into_iter().find(|(known, ..)| *known == sku) {
            Some(product) => reply(StatusCode::OK, shown(product)),
            None => reply(StatusCode::NOT_FOUND, json!({ "error": "no such product" })),
        },
    }
}

async fn orders(request: Request<Incoming>, count: u64) -> Response<Reply> {
    if request.method() != Method::POST {
        return reply(StatusCode::OK, json!([{ "id": 1, "sku": "sku-2", "state": "shipped" }]));
    }
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES).collect().await else {
        return reply(StatusCode::PAYLOAD_TOO_LARGE, json!({ "error": "an order is not that long" }));
    };
    let Ok(order) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        return reply(StatusCode::BAD_REQUEST, json!({ "error": "an order is JSON" }));
    };
    let mut created = reply(StatusCode::CREATED, json!({ "id": count, "order": order, "state": "accepted" }));
    // Digits are a header value.
    if let Ok(location) = HeaderValue::from_str(&format!("/api/orders/{count}")) {
        created.headers_mut().insert(LOCATION, location);
    }
    created
}

/// Every third fails, every fifth is slow.
async fn payments(count: u64) -> Response<Reply> {
    if count.is_multiple_of(5) {
        sleep(SLOW).await;
    }
    if count.is_multiple_of(3) {
        return reply(StatusCode::SERVICE_UNAVAILABLE, json!({ "error": "the bank is having lunch" }));
    }
    reply(StatusCode::OK, json!({ "payment": count, "state": "paid" }))
}

fn events() -> Response<Reply> {
    let mut events = Response::new(Reply::Events { left: 5, clock: interval(Duration::from_millis(400)) });
    events.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    events
}

fn reply(status: StatusCode, value: Value) -> Response<Reply> {
    let mut reply = Response::new(Reply::Whole(Some(format!("{value}\n").into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// The body of a reply.
enum Reply {
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
