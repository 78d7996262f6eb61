//! HTTP/2 on both sides, over the h2 crate.

use crate::DEADLINE;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet};

/// Runs a test that needs a runtime, on this thread.
///
/// # Panics
/// It takes longer than [`DEADLINE`].
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let local = LocalSet::new();
    let bounded = async { tokio::time::timeout(DEADLINE * 2, test).await.expect("the test ends in time") };
    local.block_on(&runtime, bounded)
}

/// A client connection.
pub struct Client {
    /// Opens streams.
    pub requests: SendRequest<Bytes>,
    /// Ends with the connection, and why.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A complete reply.
#[derive(Debug)]
pub struct Reply {
    /// Its head.
    pub head: http::response::Parts,
    /// Its data.
    pub data: Vec<u8>,
    /// Its trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl Reply {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// The data as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// A field of the head.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    /// Connects with prior knowledge.
    ///
    /// # Panics
    /// Nobody listens, or nobody speaks HTTP/2.
    pub async fn connect(port: u16) -> Client {
        Client::over(TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway listens")).await
    }

    /// Connects with TLS.
    ///
    /// # Panics
    /// The handshake fails, or does not agree on HTTP/2.
    pub async fn connect_tls(config: Arc<ClientConfig>, port: u16, name: &str) -> Client {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway listens");
        let name = ServerName::try_from(name.to_owned()).expect("a valid name");
        let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.expect("the handshake succeeds");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Client::over(tls).await
    }

    async fn over(io: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Client {
        let (requests, connection) = h2::client::handshake(io).await.expect("the gateway speaks HTTP/2");
        Client { requests, connection: tokio::task::spawn_local(connection) }
    }

    /// Sends a request with all of its body and waits for all of the reply.
    ///
    /// # Errors
    /// The stream or the connection was broken off.
    pub async fn ask(&self, request: Request<()>, body: &[u8]) -> Result<Reply, h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut stream) = requests.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        read(response.await?).await
    }

    /// Sends a request with a body and trailers.
    ///
    /// # Errors
    /// The stream or the connection was broken off.
    pub async fn ask_with_trailers(
        &self,
        request: Request<()>,
        body: &[u8],
        trailers: HeaderMap,
    ) -> Result<Reply, h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut stream) = requests.send_request(request, false)?;
        stream.send_data(Bytes::copy_from_slice(body), false)?;
        stream.send_trailers(trailers)?;
        read(response.await?).await
    }
}

/// Reads a reply to its end.
///
/// # Errors
/// It breaks off.
pub async fn read(response: Response<RecvStream>) -> Result<Reply, h2::Error> {
    let (head, mut body) = response.into_parts();
    let (data, trailers) = drain(&mut body).await?;
    Ok(Reply { head, data, trailers })
}

async fn drain(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut data = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        data.extend_from_slice(&part);
    }
    Ok((data, body.trailers().await?))
}

/// A GET request.
///
/// # Panics
/// The path is invalid.
#[must_use]
pub fn get(scheme: &str, path: &str) -> Request<()> {
    request("GET", scheme, path)
}

/// A request for `gateway.example`.
///
/// # Panics
/// The path is invalid.
#[must_use]
pub fn request(method: &str, scheme: &str, path: &str) -> Request<()> {
    let uri = format!("{scheme}://gateway.example{path}");
    Request::builder().method(method).uri(uri).body(()).expect("a valid request")
}

/// A request as the origin got it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its head.
    pub head: Arc<http::request::Parts>,
    /// Its data.
    pub data: Vec<u8>,
    /// Its trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

/// What an origin answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Interim replies before it: a status and fields each.
    pub interim: Vec<(u16, HeaderMap)>,
    /// Fields of the head.
    pub headers: HeaderMap,
    /// Data.
    pub data: Bytes,
    /// Trailers. Without data they are the head: a trailers-only reply.
    pub trailers: Option<HeaderMap>,
    /// Resets the stream after the data instead of ending it.
    pub reset: Option<Reason>,
}

/// An HTTP/2 server with prior knowledge.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Origin {
    /// Answers every request with what `answer` says.
    ///
    /// # Panics
    /// No port is free.
    pub fn start(answer: impl Fn(&Seen) -> Answer + Send + 'static) -> Origin {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let record = seen.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            let serving = async {
                let listener = TcpListener::from_std(listener).expect("a listener can be registered");
                let answer = Rc::new(answer);
                while let Ok((tcp, _)) = listener.accept().await {
                    tokio::task::spawn_local(serve(tcp, answer.clone(), record.clone()));
                }
            };
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            });
        });
        Origin { address, seen, stop: Some(stop) }
    }

    /// As an endpoint in a configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    /// The complete requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
    }
}

async fn serve(tcp: TcpStream, answer: Rc<impl Fn(&Seen) -> Answer + 'static>, record: Arc<Mutex<Vec<Seen>>>) {
    let Ok(mut connection) = h2::server::handshake(tcp).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (answer, record) = (answer.clone(), record.clone());
        tokio::task::spawn_local(async move {
            // A stream the gateway broke off has nobody to tell.
            let _ = reply(request, respond, &*answer, &record).await;
        });
    }
}

async fn reply(
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    answer: &impl Fn(&Seen) -> Answer,
    record: &Mutex<Vec<Seen>>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let (data, trailers) = drain(&mut body).await?;
    let seen = Seen { head: Arc::new(head), data, trailers };
    let Answer { interim, headers, data, trailers, reset } = answer(&seen);
    record.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    for (status, headers) in interim {
        let mut response = Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a valid status");
        *response.headers_mut() = headers;
        respond.send_informational(response)?;
    }
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    let end = data.is_empty() && trailers.is_none() && reset.is_none();
    let mut stream = respond.send_response(response, end)?;
    if end {
        return Ok(());
    }
    stream.send_data(data, trailers.is_none() && reset.is_none())?;
    if let Some(reason) = reset {
        // Lets the data go out first.
        tokio::task::yield_now().await;
        stream.send_reset(reason);
    } else if let Some(trailers) = trailers {
        stream.send_trailers(trailers)?;
    }
    Ok(())
}
