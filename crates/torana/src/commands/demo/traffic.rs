//! A few requests a second, so that there is something to see.

use super::people::{ADA, GRACE, Login};
use std::fmt::Write;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use torana_control::notice;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(250);

/// How long the tokens count: each request has one of its own.
const TOKENS: Duration = Duration::from_secs(300);

/// Who asks.
#[derive(Clone, Copy)]
enum Caller {
    /// Nobody in particular.
    Anybody,
    Admin,
    Customer,
    /// A program with a key.
    Partner,
}

use Caller::{Admin, Anybody, Customer, Partner};

/// What is asked, over and over: mostly what works, and far below the limits.
const REQUESTS: &[(Caller, &str, &str, &str)] = &[
    (Admin, "GET", "/api/users/1", ""),
    (Anybody, "GET", "/api/products", ""),
    (Partner, "GET", "/api/orders", ""),
    (Customer, "POST", "/api/payments", "{\"amount\":5,\"with\":\"card\"}"),
    (Customer, "GET", "/api/dashboard/7", ""),
    (Anybody, "GET", "/api/products/sku-3", ""),
    (Partner, "POST", "/api/orders", "{\"sku\":\"sku-1\",\"count\":1}"),
    (Customer, "POST", "/api/payments", "{\"amount\":5,\"with\":\"voucher\"}"),
    (Anybody, "GET", "/api/users/1", ""),
    (Admin, "GET", "/api/users/2", ""),
    (Customer, "POST", "/api/payments", "{\"amount\":9,\"with\":\"card\"}"),
    (Anybody, "GET", "/health", ""),
];

/// What talks to the gateway.
pub(super) struct Traffic {
    gateway: String,
    login: Login,
    key: String,
}

impl Traffic {
    pub(super) fn new(gateway: String, login: Login, key: String) -> Traffic {
        Traffic { gateway, login, key }
    }

    /// Starts to send, on a thread that ends with the process.
    pub(super) fn start(self) {
        let run = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(self.send_all());
        };
        if let Err(error) = std::thread::Builder::new().name("demo-traffic".to_owned()).spawn(run) {
            notice::warn(&format!("no sample traffic: {error}"));
        }
    }

    async fn send_all(self) {
        loop {
            for (caller, method, path, body) in REQUESTS {
                // Nobody waits for the answers, and a gateway that is
                // stopping gives none.
                let _ = self.send(*caller, method, path, body).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn send(&self, caller: Caller, method: &str, path: &str, body: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(&self.gateway).await?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: torana-demo\r\nconnection: close\r\n{}",
            self.gateway,
            self.credential(caller)
        );
        if !body.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes()).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        Ok(())
    }

    fn credential(&self, caller: Caller) -> String {
        let bearer = |person| format!("authorization: Bearer {}\r\n", self.login.token(person, TOKENS));
        match caller {
            Anybody => String::new(),
            Admin => bearer(ADA),
            Customer => bearer(GRACE),
            Partner => format!("x-api-key: {}\r\n", self.key),
        }
    }
}
