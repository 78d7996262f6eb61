//! One request over either protocol: what holds for HTTP/1.1 has to hold for HTTP/2.

use crate::client::Client;
use crate::gateway::Gateway;
use crate::http2::{self, block_on};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use std::fmt::Write as _;

/// How a request reaches the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge.
    Http2,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// Names and values of the head.
    pub fields: Vec<(String, String)>,
    /// The body as text.
    pub text: String,
}

impl Told {
    /// The `code` of a problem reply; empty if it is none.
    #[must_use]
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.text).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and code.
    #[must_use]
    pub fn verdict(&self) -> (u16, String) {
        (self.status, self.code())
    }

    /// A field of the head.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Wire {
    /// Both of them.
    pub const BOTH: [Wire; 2] = [Wire::Http1, Wire::Http2];

    /// Sends a GET request for `path`; `fields` are header lines, each ending in CRLF.
    ///
    /// # Panics
    /// There is no reply.
    #[must_use]
    pub fn get(self, gateway: &Gateway, path: &str, fields: &str) -> Told {
        self.ask(gateway, "GET", path, fields, "")
    }

    /// Sends a request with a body, if that is not empty.
    ///
    /// # Panics
    /// There is no reply.
    #[must_use]
    pub fn ask(self, gateway: &Gateway, method: &str, path: &str, fields: &str, body: &str) -> Told {
        match self.attempt(gateway.port("main"), method, path, fields, body, &[]) {
            Some(told) => told,
            None => panic!("no reply over {self:?} to {method} {path} with {fields:?}"),
        }
    }

    /// The same with trailers, which may end in no reply at all.
    #[must_use]
    pub fn attempt(
        self,
        port: u16,
        method: &str,
        path: &str,
        fields: &str,
        body: &str,
        trailers: &[(&str, &str)],
    ) -> Option<Told> {
        match self {
            Wire::Http1 => over_http1(port, method, path, fields, body, trailers),
            Wire::Http2 => over_http2(port, method, path, fields, body, trailers),
        }
    }
}

fn over_http1(
    port: u16,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
    trailers: &[(&str, &str)],
) -> Option<Told> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: gateway.example\r\n{fields}");
    if trailers.is_empty() {
        if !body.is_empty() {
            let _ = write!(request, "content-length: {}\r\n", body.len());
        }
        let _ = write!(request, "\r\n{body}");
    } else {
        assert!(!body.is_empty(), "an empty chunk would be the last");
        let _ = write!(request, "transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n", body.len());
        for (name, value) in trailers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        request.push_str("\r\n");
    }
    let mut client = Client::connect(port);
    // A refusal may come, and the connection close, before all is sent.
    let _ = client.try_send(request);
    let reply = client.reply_to(method)?;
    Some(Told { status: reply.status(), text: reply.text(), fields: reply.head.fields })
}

fn over_http2(
    port: u16,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
    trailers: &[(&str, &str)],
) -> Option<Told> {
    let mut request = Request::builder().method(method).uri(format!("http://gateway.example{path}"));
    let headers = request.headers_mut().expect("method and path are valid");
    for line in fields.lines() {
        let (name, value) = line.split_once(':').expect("a header line has a colon");
        append(headers, name, value.trim_matches([' ', '\t']));
    }
    let request = request.body(()).expect("method and path are valid");
    let mut last = HeaderMap::new();
    trailers.iter().for_each(|(name, value)| append(&mut last, name, value));
    let body = body.as_bytes();
    let reply = block_on(async {
        let client = http2::Client::connect(port).await;
        if last.is_empty() {
            client.ask(request, body).await
        } else {
            client.ask_with_trailers(request, body, last).await
        }
    });
    let reply = reply.ok()?;
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = reply.head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Some(Told { status: reply.status(), fields, text: reply.text() })
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    let name: HeaderName = name.parse().expect("HTTP/2 can carry the name");
    headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("HTTP/2 can carry the value"));
}
