//! Servers for the prober to ask: real sockets, each with one way to behave.

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use torana_net::tls::CertificateFiles;
use torana_net::tls::client::{ClientTls, ClientTlsSpec};
use torana_net::tls::server::{ServerTls, ServerTlsSpec};

/// What a server does with a connection.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Reads a head, sends these bytes and closes.
    Says(Vec<u8>),
    /// Reads and says nothing.
    Silent,
    /// Sends a head that never ends, a byte at a time.
    Dribbles,
    /// Sends a body that never ends.
    Endless,
    /// Closes at once.
    Closes,
    /// Speaks HTTP/2, invites to send any amount, and never reads.
    Deaf,
    /// Speaks HTTP/2 and answers with a status, a body and trailers.
    Http2 { status: u16, body: Option<Vec<u8>>, grpc_status: Option<&'static str> },
}

/// `HTTP/1.1 <status>` with this body.
pub(super) fn says(status: u16, body: &str) -> Manner {
    let length = body.len();
    Manner::Says(format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").into())
}

/// The answer of a gRPC health service.
pub(super) fn serving(status: u8) -> Manner {
    Manner::Http2 { status: 200, body: Some(vec![0, 0, 0, 0, 2, 8, status]), grpc_status: Some("0") }
}

/// A listening server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    manner: Rc<RefCell<Manner>>,
    seen: Rc<RefCell<Vec<String>>>,
    taken: Rc<Cell<usize>>,
    open: Rc<Cell<usize>>,
    closed: Rc<Notify>,
}

impl Server {
    pub(super) async fn start(manner: Manner) -> Server {
        Server::start_with(manner, None).await
    }

    pub(super) async fn start_with(manner: Manner, tls: Option<Arc<ServerTls>>) -> Server {
        let socket = TcpSocket::new_v4().unwrap();
        // Little room, so that whoever is not read from soon notices.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1024).unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            manner: Rc::new(RefCell::new(manner)),
            seen: Rc::default(),
            taken: Rc::default(),
            open: Rc::default(),
            closed: Rc::default(),
        };
        let ours = server.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (ours, tls) = (ours.clone(), tls.clone());
                ours.taken.set(ours.taken.get() + 1);
                ours.open.set(ours.open.get() + 1);
                tokio::task::spawn_local(async move {
                    match tls {
                        None => ours.serve(socket).await,
                        Some(tls) => match TlsAcceptor::from(tls.config()).accept(socket).await {
                            Ok(socket) => ours.serve(socket).await,
                            Err(_) => None,
                        },
                    };
                    ours.open.set(ours.open.get() - 1);
                    ours.closed.notify_one();
                });
            }
        });
        server
    }

    pub(super) fn behave(&self, manner: Manner) {
        *self.manner.borrow_mut() = manner;
    }

    /// The requests so far, heads as they came.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// Connections so far.
    pub(super) fn taken(&self) -> usize {
        self.taken.get()
    }

    /// Waits until the other side has closed every connection.
    pub(super) async fn left_alone(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }

    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        let manner = self.manner.borrow().clone();
        if let Manner::Http2 { status, body, grpc_status } = manner {
            return self.serve_http2(socket, status, body, grpc_status).await;
        }
        if matches!(manner, Manner::Closes) {
            return None;
        }
        if matches!(manner, Manner::Deaf) {
            // SETTINGS and WINDOW_UPDATE: as much as anyone likes to send.
            socket.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]).await.ok()?;
            socket.write_all(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0]).await.ok()?;
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            loop {
                // How it notices, without reading, that nobody is there.
                socket.write_all(&ping).await.ok()?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.ok()?);
        }
        self.seen.borrow_mut().push(String::from_utf8(head).unwrap());
        match manner {
            Manner::Says(bytes) => socket.write_all(&bytes).await.ok()?,
            Manner::Dribbles => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.ok()?;
                loop {
                    socket.write_all(b"y").await.ok()?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Manner::Endless => {
                socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                loop {
                    socket.write_all(&[b'.'; 4096]).await.ok()?;
                }
            }
            Manner::Silent | Manner::Closes | Manner::Deaf | Manner::Http2 { .. } => {
                socket.read_to_end(&mut Vec::new()).await.ok()?;
            }
        }
        socket.shutdown().await.ok()
    }

    async fn serve_http2(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin,
        status: u16,
        body: Option<Vec<u8>>,
        grpc_status: Option<&'static str>,
    ) -> Option<()> {
        let mut connection = h2::server::handshake(socket).await.ok()?;
        while let Some(Ok((mut request, mut respond))) = connection.accept().await {
            let mut asked = Vec::new();
            // The connection has to be driven for the body to come.
            let reading = async {
                while let Some(Ok(data)) = request.body_mut().data().await {
                    asked.extend_from_slice(&data);
                }
            };
            tokio::select! {
                () = reading => {}
                _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return None,
            }
            self.seen.borrow_mut().push(format!(
                "{} {} {:?} {asked:?}",
                request.method(),
                request.uri(),
                request.headers()
            ));
            let mut reply = http::Response::builder().status(status);
            // A reply without body has its gRPC status in the head.
            if body.is_none()
                && let Some(code) = grpc_status
            {
                reply = reply.header("grpc-status", code);
            }
            let mut stream = respond.send_response(reply.body(()).unwrap(), body.is_none()).ok()?;
            if let Some(body) = body.clone() {
                stream.send_data(Bytes::from(body), grpc_status.is_none()).ok()?;
                if let Some(code) = grpc_status {
                    let code = http::HeaderValue::from_static(code);
                    stream
                        .send_trailers([(http::HeaderName::from_static("grpc-status"), code)].into_iter().collect())
                        .ok()?;
                }
            }
        }
        Some(())
    }
}

/// A certificate for `localhost` and whoever trusts it.
pub(super) struct Authority {
    scratch: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Authority {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torana-probe-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scratch = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&scratch).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { scratch, issuer }
    }

    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.scratch.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    pub(super) fn server(&self, http2: bool) -> Arc<ServerTls> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let files = CertificateFiles {
            cert: self.write("server.pem", &params.signed_by(&key, &self.issuer).unwrap().pem()),
            key: self.write("server.key", &key.serialize_pem()),
        };
        ServerTls::build(&ServerTlsSpec { certificates: vec![files], http2, ..ServerTlsSpec::default() }, None)
            .unwrap()
            .tls
    }

    pub(super) fn client(&self) -> Arc<ClientTls> {
        let ca = Some(self.write("ca.pem", &self.issuer.pem()));
        ClientTls::build(&ClientTlsSpec { ca, ..ClientTlsSpec::default() }, None).unwrap().tls
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}
