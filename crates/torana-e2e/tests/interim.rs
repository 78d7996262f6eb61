//! Interim (1xx) replies on their way from an upstream to a client.

use std::future::poll_fn;
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use torana_e2e::client::{Client, get, post};
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::http2::{self, Answer, Client as Http2, block_on};
use torana_e2e::origin::{Origin, ok, reply};
use torana_e2e::stream::Stream;
use torana_e2e::tls::{Authority, connect};
use torana_e2e::wait_for;

const ROUTE: &str = "routes: [ { name: a, upstream: a } ]";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

fn start(origin: &Origin) -> Gateway {
    Setup::new(ROUTE).origin("a", origin).start()
}

/// An origin that sends `first` at once, and `then` when the test says so.
fn in_two_steps(first: &str, then: Vec<u8>) -> (Origin, mpsc::Sender<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let (gate, first) = (Mutex::new(gate), first.to_owned());
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() && conn.send(&first) && gate.lock().unwrap().recv().is_ok() {
            conn.send(&then);
        }
    });
    (origin, go)
}

#[test]
fn hints_reach_the_client_before_the_reply_exists() {
    let (origin, go) = in_two_steps(HINTS, ok("page"));
    let gateway = start(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(get("/", ""));
        let hints = client.reader.head().unwrap().unwrap();
        assert_eq!(hints.raw, b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
        assert!(client.reader.waiting().is_empty());
        go.send(()).unwrap();
        let reply = client.reply();
        assert_eq!((reply.status(), reply.text().as_str(), reply.interim.len()), (200, "page", 0));
    }
    assert_eq!(origin.connections(), 1, "hints cost the upstream its connection");
}

#[test]
fn hints_pass_tls_at_once() {
    let (origin, go) = in_two_steps(HINTS, ok("page"));
    let (authority, dir) = (Authority::new(), Dir::new());
    authority.write(&dir, "one", &["gateway.example"]);
    let listener = "listeners: [ { address: \"127.0.0.1:{port:main}\", \
                    tls: { certificates: [ { cert: one.pem, key: one.key } ] } } ]";
    let gateway = Setup::new(&format!("{listener}\n{ROUTE}")).origin("a", &origin).dir(dir).start();
    let mut client = connect(&authority.client(None, &["http/1.1"]), gateway.port("main"), "gateway.example");
    client.send(get("/", ""));
    assert_eq!(client.reader.head().unwrap().unwrap().status(), 103);
    go.send(()).unwrap();
    assert_eq!(client.reply().text(), "page");
}

#[test]
fn hints_reach_an_http2_client_before_the_reply_exists() {
    let (origin, go) = in_two_steps(&HINTS.replace("Link", "Connection: x-hop\r\nX-Hop: 1\r\nLink"), ok("page"));
    let gateway = start(&origin);
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        let mut requests = client.requests.clone().ready().await.unwrap();
        let (mut response, _) = requests.send_request(http2::get("http", "/"), true).unwrap();
        let hints = poll_fn(|cx| response.poll_informational(cx)).await.expect("hints").unwrap();
        assert_eq!((hints.status().as_u16(), hints.headers().len()), (103, 1));
        assert_eq!(hints.headers()["link"], "</style.css>; rel=preload");
        go.send(()).unwrap();
        let reply = http2::read(response.await.unwrap()).await.unwrap();
        assert_eq!((reply.status(), reply.text().as_str()), (200, "page"));
    });
}

#[test]
fn hints_of_an_http2_upstream_are_passed_on() {
    let hints = |number: &str| (103, [("x-number".parse().unwrap(), number.parse().unwrap())].into_iter().collect());
    let interim = vec![(100, http::HeaderMap::new()), hints("1"), hints("2")];
    let origin = http2::Origin::start(move |seen| Answer {
        interim: interim.clone(),
        data: seen.data.clone().into(),
        ..Answer::default()
    });
    let gateway = Setup::new(ROUTE).endpoint("a", &origin.url()).start();
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(post("/", "", "hello"));
        for number in ["1", "2"] {
            let head = client.reader.head().unwrap().unwrap();
            assert_eq!((head.status(), head.get("x-number")), (103, Some(number)));
        }
        let reply = client.reply();
        assert_eq!((reply.status(), reply.text().as_str(), reply.interim.len()), (200, "hello", 0));
    }
}

#[test]
fn an_http2_upstream_that_never_stops_announcing_is_given_up() {
    let interim = vec![(103, http::HeaderMap::new()); 33];
    let origin = http2::Origin::start(move |_| Answer { interim: interim.clone(), ..Answer::default() });
    let gateway = Setup::new(ROUTE).endpoint("a", &origin.url()).start();
    let reply = gateway.ask(get("/", ""));
    assert_eq!((reply.status(), reply.code().as_str()), (502, "upstream.malformed"));
}

#[test]
fn a_client_of_1_0_gets_the_reply_only() {
    let origin = Origin::replying(|_| [HINTS.as_bytes(), &ok("page")].concat());
    let gateway = start(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.0\r\nhost: x\r\n\r\n");
    let all = client.until_closed();
    assert!(all.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&all));
}

#[test]
fn what_is_about_the_connection_stays_there() {
    let hints = "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: x\r\nTrailer: x\r\nTE: gzip\r\nUpgrade: x\r\nContent-Length: 0\r\nX-Own: 1\r\n\r\n";
    let origin = Origin::replying(move |_| [hints.as_bytes(), &ok("page")].concat());
    let gateway = start(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(get("/", ""));
        let head = client.reader.head().unwrap().unwrap();
        assert_eq!(head.raw, b"HTTP/1.1 103 Early Hints\r\nX-Own: 1\r\n\r\n");
        assert_eq!(client.reply().text(), "page");
    }
    assert_eq!(origin.connections(), 1, "`Connection: close` of an interim reply is not the final one's");
}

/// A reply without a body that announces one: whoever believes it takes the
/// next reply for that body, and the client's next request gets the wrong one.
#[test]
fn hints_that_announce_a_body_are_refused() {
    for field in ["Content-Length: 5", "Content-Length: 40", "Transfer-Encoding: chunked"] {
        for body in ["hello", "5\r\nhello\r\n0\r\n\r\n", ""] {
            let bytes = format!("HTTP/1.1 103 Early Hints\r\n{field}\r\n\r\n{body}").into_bytes();
            let origin = Origin::replying(move |_| [bytes.as_slice(), &ok("page")].concat());
            let gateway = start(&origin);
            let mut client = gateway.connect();
            for _ in 0..2 {
                let reply = client.ask(get("/", ""));
                let told = (reply.status(), reply.code(), reply.interim.len());
                assert_eq!(told, (502, "upstream.malformed".to_owned(), 0), "{field}, {body:?}");
            }
            assert_eq!(origin.connections(), 2, "a connection out of step was used again");
        }
    }
}

#[test]
fn malformed_hints_are_refused() {
    for (hints, passed) in [
        ("HTTP/1.1 103 Early Hints\r\nno field\r\n\r\n", 0),
        ("HTTP/1.1 103 Early Hints\r\nlink: a\0b\r\n\r\n", 0),
        ("HTTP/1.1 103 Early Hints\r\nlink : a\r\n\r\n", 0),
        ("HTTP/1.1 103 Early Hints\r\n\r\n\r\n", 1),
        ("HTTP/1.1 099 Early\r\n\r\n", 0),
    ] {
        let origin = Origin::replying(move |_| [hints.as_bytes(), &ok("page")].concat());
        let reply = start(&origin).ask(get("/", ""));
        let told = (reply.status(), reply.code(), reply.interim.len());
        assert_eq!(told, (502, "upstream.malformed".to_owned(), passed), "{hints:?}");
    }
}

#[test]
fn the_order_is_kept_up_to_the_last() {
    let many: String = (0..32).map(|n| format!("HTTP/1.1 {} Any\r\nx-number: {n}\r\n\r\n", 102 + n % 9)).collect();
    let origin = Origin::replying(move |_| [many.as_bytes(), &ok("page")].concat());
    let gateway = start(&origin);
    let mut client = gateway.connect();
    // Pipelined: what announces the second reply comes behind the first.
    client.send([get("/1", ""), get("/2", "")].concat());
    for _ in 0..2 {
        for n in 0..32 {
            let head = client.reader.head().unwrap().unwrap();
            assert_eq!((head.status(), head.get("x-number")), (102 + n % 9, Some(n.to_string().as_str())));
        }
        let reply = client.reply();
        assert_eq!((reply.status(), reply.text().as_str(), reply.interim.len()), (200, "page", 0));
    }
}

#[test]
fn hints_of_an_upstream_that_fails_precede_the_refusal() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send(ok("page"));
        conn.request();
        conn.send(HINTS);
    });
    let gateway = start(&origin);
    assert_eq!(gateway.ask(get("/", "")).status(), 200);
    let reply = gateway.ask(get("/", ""));
    assert_eq!((reply.status(), reply.code().as_str(), reply.interim), (502, "upstream.closed", vec![103]));
    // It was not closed without a word, so the request is not sent again.
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn hints_may_precede_a_switch_of_protocols() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send(HINTS);
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome");
        conn.until_closed();
    });
    let gateway = start(&origin);
    let mut client = gateway.connect();
    let reply = client.ask(get("/", "connection: upgrade\r\nupgrade: websocket\r\n"));
    assert_eq!((reply.status(), reply.interim), (101, vec![103]));
    assert_eq!(client.reader.exactly(7).unwrap(), b"welcome");
}

#[test]
fn hints_and_the_invitation_to_send_a_body_share_the_connection() {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.head() {
            conn.send(HINTS);
            // The service's own invitation is not the client's.
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.reader.body(&head, false).unwrap();
            conn.send(HINTS);
            conn.send(reply(200, &[], body.data));
        }
    });
    let gateway = start(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
        let mut before: Vec<u16> = (0..2).map(|_| client.reader.head().unwrap().unwrap().status()).collect();
        before.sort_unstable();
        assert_eq!(before, [100, 103]);
        client.send("hello");
        let reply = client.reply();
        assert_eq!((reply.status(), reply.text().as_str()), (200, "hello"));
        assert_eq!(reply.interim, [103]);
    }
}

/// 32 heads of 50 KB are more than the gateway keeps for a client.
#[test]
fn a_client_that_does_not_read_holds_up_no_upstream() {
    let hints = |n| format!("HTTP/1.1 103 Early Hints\r\nx-number: {n}\r\nlink: <{}>\r\n\r\n", "x".repeat(50_000));
    let origin = Origin::start(move |conn| {
        if let Some(seen) = conn.request() {
            for n in 0..32 {
                conn.send(hints(n));
            }
            conn.send(ok("page"));
            conn.record(seen);
            conn.until_closed();
        }
    });
    let gateway = start(&origin);
    let tcp = TcpStream::connect(("127.0.0.1", gateway.port("main"))).unwrap();
    socket2::SockRef::from(&tcp).set_recv_buffer_size(64 * 1024).unwrap();
    let mut client = Client::over(Stream::Tcp(tcp));
    client.send(get("/", ""));
    // Once when it was read, and again when all was sent.
    origin.wait_seen(2);
    let mut last = None;
    loop {
        let head = client.reader.head().unwrap().unwrap();
        if head.status() == 200 {
            assert_eq!(client.reader.body(&head, true).unwrap().data, b"page");
            break;
        }
        assert_eq!((head.status(), head.raw.len() / 1000), (103, 50));
        let number: Option<u8> = head.get("x-number").unwrap().parse().ok();
        assert!(number > last, "{number:?} behind {last:?}");
        last = number;
    }
    assert!(last.is_some(), "none was passed on");
    let line = gateway.log_line("the request", |line| line["status"] == 200);
    assert!(line.get("code").is_none_or(serde_json::Value::is_null), "{line}");
}

/// The deadline for the reply's head is the final head's.
#[test]
fn hints_buy_no_time() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send(HINTS);
        conn.until_closed();
    });
    let config = "routes: [ { name: a, upstream: a, timeout: 300ms } ]";
    let gateway = Setup::new(config).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/", ""));
    assert_eq!(client.reader.head().unwrap().unwrap().status(), 103);
    assert_eq!(client.reply().status(), 504);
    wait_for("the upstream to be released", || (origin.open() == 0).then_some(()));
}

#[test]
fn a_client_that_leaves_between_hints_and_reply_is_noticed() {
    let (origin, _go) = in_two_steps(HINTS, ok("page"));
    let gateway = start(&origin);
    let mut client = gateway.connect();
    client.send(get("/", ""));
    assert_eq!(client.reader.head().unwrap().unwrap().status(), 103);
    drop(client);
    let line = gateway.log_line("the client", |line| line["code"] == "client.gone");
    assert_eq!(line["status"], 499);
}
