//! A few requests a second, so that there is something to see.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use torana_control::notice;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(250);

/// What is asked, over and over: mostly what works.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("GET", "/api/users/1", ""),
    ("GET", "/api/products", ""),
    ("GET", "/api/orders", ""),
    ("POST", "/api/payments", "{\"amount\":5}"),
    ("GET", "/api/users/2", ""),
    ("POST", "/api/orders", "{\"sku\":\"sku-1\",\"count\":1}"),
    ("GET", "/shop/home/items/sku-3", ""),
    ("GET", "/api/nothing", ""),
    ("GET", "/ping", ""),
];

/// Starts to send to `gateway`, on a thread that ends with the process.
pub(super) fn start(gateway: &str) {
    let gateway = gateway.to_owned();
    let run = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            for (method, path, body) in REQUESTS.iter().cycle() {
                // Nobody waits for the answers, and a gateway that is
                // stopping gives none.
                let _ = send(&gateway, method, path, body).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
    };
    if let Err(error) = std::thread::Builder::new().name("demo-traffic".to_owned()).spawn(run) {
        notice::warn(&format!("no sample traffic: {error}"));
    }
}

async fn send(gateway: &str, method: &str, path: &str, body: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(gateway).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {gateway}\r\nuser-agent: torana-demo\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    Ok(())
}
