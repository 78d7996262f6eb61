//! Four small services to route to, two of them twice.

use super::shop::{Reply, Service, Shop};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::TcpListener;

/// What runs, each under the name of the variable that says where.
const RUNNING: &[(&str, Service)] = &[
    ("USERS_URL_1", Service::Users),
    ("USERS_URL_2", Service::Users),
    ("ORDERS_URL", Service::Orders),
    ("PRODUCTS_URL_1", Service::Products),
    ("PRODUCTS_URL_2", Service::Products),
    ("PAYMENTS_URL", Service::Payments),
];

/// Starts all on free ports, on a thread that ends with the process, and says
/// where they are.
pub(super) fn start() -> io::Result<Vec<(&'static str, SocketAddr)>> {
    let mut places = Vec::new();
    let mut sockets = Vec::new();
    for (name, service) in RUNNING {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        places.push((*name, socket.local_addr()?));
        sockets.push((socket, *service));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        let local = tokio::task::LocalSet::new();
        let shop = Rc::new(Shop::default());
        for (socket, service) in sockets {
            local.spawn_local(serve(socket, service, shop.clone()));
        }
        runtime.block_on(local);
    };
    std::thread::Builder::new().name("demo-services".to_owned()).spawn(run)?;
    Ok(places)
}

async fn serve(socket: std::net::TcpListener, service: Service, shop: Rc<Shop>) {
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    loop {
        let Ok((io, _)) = listener.accept().await else { continue };
        let shop = shop.clone();
        let answer = service_fn(move |request| {
            let shop = shop.clone();
            async move { Ok::<hyper::Response<Reply>, Infallible>(shop.answer(service, request).await) }
        });
        // The gateway closes connections as it pleases.
        tokio::task::spawn_local(async move {
            drop(http1::Builder::new().serve_connection(TokioIo::new(io), answer).await)
        });
    }
}
