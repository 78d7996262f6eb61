//! One answer of several services' answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use torana_e2e::client::{Reply, get};
use torana_e2e::gateway::{Gateway, Setup, event_series};
use torana_e2e::origin::{Conn, Origin, Seen, reply};
use torana_e2e::wait_for;

/// What a service does at the moment.
#[derive(Clone, Default)]
struct Mood(Arc<AtomicU8>);

const WELL: u8 = 0;
/// It closes connections instead of answering.
const DEAD: u8 = 1;
/// It never answers.
const SILENT: u8 = 2;

struct Service {
    origin: Origin,
    mood: Mood,
}

impl Service {
    fn start(answer: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Service {
        let mood = Mood::default();
        let of = mood.clone();
        let script = move |conn: &mut Conn| {
            while let Some(seen) = conn.request() {
                match of.0.load(Ordering::SeqCst) {
                    WELL => {}
                    SILENT => {
                        conn.until_closed();
                        return;
                    }
                    _ => return,
                }
                if !conn.send(reply(200, &[("content-type", "application/json")], answer(&seen))) {
                    return;
                }
            }
        };
        Service { origin: Origin::start(script), mood }
    }

    fn is(&self, mood: u8) {
        self.mood.0.store(mood, Ordering::SeqCst);
    }
}

/// The four services of the examples.
struct Shop {
    users: Service,
    orders: Service,
    notes: Service,
    products: Service,
}

impl Shop {
    fn open() -> Shop {
        let last = |seen: &Seen| seen.target().rsplit('/').next().unwrap_or_default().to_owned();
        Shop {
            users: Service::start(move |seen| {
                format!("{{\"id\":{0},\"name\":\"U{0}\",\"region\":\"n&s\"}}", last(seen))
            }),
            orders: Service::start(|seen| format!("{{\"data\":[\"{}\"]}}", seen.target())),
            notes: Service::start(|_| "{\"count\":3}".to_owned()),
            products: Service::start(|seen| format!("[\"{}\"]", seen.target())),
        }
    }

    fn all(&self) -> [&Service; 4] {
        [&self.users, &self.orders, &self.notes, &self.products]
    }

    fn gateway(&self, more: &str) -> Gateway {
        let upstream = |name: &str, service: &Service| {
            format!("  {name}: {{ endpoints: [ '{}' ], health: {{ passive: false }} }}\n", service.origin.url())
        };
        let names = ["users", "orders", "notes", "products"];
        let upstreams: String = names.iter().zip(self.all()).map(|(name, service)| upstream(name, service)).collect();
        let config = format!(
            r#"
admin: {{ address: "127.0.0.1:{{port:admin}}" }}
upstreams:
{upstreams}
routes:
  - name: dashboard
    match: {{ path: "/api/dashboard/{{userId}}" }}
    aggregate:
      {more}
      parts:
        user: {{ upstream: users, path: "/users/{{userId}}", required: true }}
        orders: {{ upstream: orders, path: "/orders?customerId={{userId}}&limit=5", select: .data, default: [] }}
        unread: {{ upstream: notes, path: "/notifications/{{userId}}/unread", select: .count, default: 0, timeout: 500ms }}
        featured: {{ upstream: products, path: "/products?limit=10&region={{user.region}}" }}
      response: "{{user: .user.name, recentOrders: .orders, unreadCount: .unread, featured}}"
      variants:
        mobile:
          when: headers["x-client"] == "mobile"
          parts: {{ featured: {{ path: "/products?limit=3&region={{user.region}}" }} }}
          without: orders
          response: "{{user: .user.name, unread, featured}}"
"#
        );
        Setup::new(&config).start()
    }
}

fn ask(gateway: &Gateway) -> Reply {
    gateway.ask(get("/api/dashboard/7", ""))
}

const USER: &str = r#""user":"U7""#;
const ORDERS: &str = r#""recentOrders":["/orders?customerId=7&limit=5"]"#;
const UNREAD: &str = r#""unreadCount":3"#;
const FEATURED: &str = r#""featured":["/products?limit=10&region=n%26s"]"#;

fn whole(members: [&str; 4]) -> String {
    format!("{{{}}}", members.join(","))
}

fn event(name: &str) -> String {
    event_series("aggregate", "dashboard", name)
}

#[test]
fn each_part_killed_in_turn_gives_its_default() {
    let shop = Shop::open();
    let gateway = shop.gateway("");
    let reply = ask(&gateway);
    assert_eq!((reply.status(), reply.text()), (200, whole([USER, ORDERS, UNREAD, FEATURED])));
    assert_eq!(reply.head.get("content-type"), Some("application/json"));
    assert_eq!((reply.head.get("x-torana-partial"), reply.head.get("cache-control")), (None, None));
    let cases = [
        (&shop.orders, "orders", whole([USER, "\"recentOrders\":[]", UNREAD, FEATURED])),
        (&shop.notes, "unread", whole([USER, ORDERS, "\"unreadCount\":0", FEATURED])),
        (&shop.products, "featured", whole([USER, ORDERS, UNREAD, "\"featured\":null"])),
    ];
    for (service, part, expected) in cases {
        service.is(DEAD);
        let reply = ask(&gateway);
        assert_eq!((reply.status(), reply.text()), (200, expected));
        assert_eq!(reply.head.get("x-torana-partial"), Some(part));
        assert_eq!(reply.head.get("cache-control"), Some("no-store"));
        let upstream = if part == "unread" {
            "notes"
        } else if part == "featured" {
            "products"
        } else {
            part
        };
        let cause = format!("part `{part}` ({upstream}): ");
        gateway.log_line(&cause, |line| line["cause"].as_str().is_some_and(|said| said.starts_with(&cause)));
        service.is(WELL);
    }
    assert_eq!(ask(&gateway).text(), whole([USER, ORDERS, UNREAD, FEATURED]), "all is well again");
    gateway.wait_metric(&event("complete"), 2.0);
    gateway.wait_metric(&event("partial"), 3.0);
    assert!(gateway.admin("GET", "/routes").text().contains(
        "aggregate user (users, required), orders (orders), unread (notes); then featured (products); variants mobile"
    ));
}

#[test]
fn the_required_part_killed_ends_the_whole_and_closes_the_other_connections() {
    let shop = Shop::open();
    let gateway = shop.gateway("");
    shop.orders.is(SILENT);
    shop.notes.is(SILENT);
    shop.users.is(DEAD);
    let started = Instant::now();
    let reply = ask(&gateway);
    assert_eq!((reply.status(), reply.code().as_str()), (502, "aggregate.part_failed"));
    assert!(!reply.text().contains("users"), "what stands behind is nobody's business: {}", reply.text());
    assert!(started.elapsed() < Duration::from_secs(10));
    for service in [&shop.orders, &shop.notes] {
        wait_for("the other connections to be closed", || (service.origin.open() == 0).then_some(()));
    }
    assert_eq!(shop.products.origin.connections(), 0, "what waits for the required part was not asked");
    gateway.log_line("the part", |line| {
        line["code"] == "aggregate.part_failed"
            && line["cause"].as_str().is_some_and(|cause| cause.starts_with("part `user` (users): "))
    });
    gateway.wait_metric(&event("failed"), 1.0);
}

#[test]
fn a_slow_part_is_given_up_at_its_own_time() {
    let shop = Shop::open();
    let gateway = shop.gateway("errors: true");
    shop.notes.is(SILENT);
    let started = Instant::now();
    let reply = ask(&gateway);
    let took = started.elapsed();
    let errors = r#""errors":[{"part":"unread","code":"timeout"}]"#;
    let expected = whole([USER, ORDERS, "\"unreadCount\":0", FEATURED]);
    assert_eq!(reply.text(), format!("{},{errors}}}", &expected[..expected.len() - 1]));
    assert!(took >= Duration::from_millis(490), "{took:?}");
    wait_for("its connection to be closed", || (shop.notes.origin.open() == 0).then_some(()));
}

#[test]
fn a_whole_that_takes_too_long_is_a_timeout_if_a_required_part_is_missing() {
    let shop = Shop::open();
    let gateway = shop.gateway("timeout: 300ms");
    shop.orders.is(SILENT);
    assert_eq!(ask(&gateway).head.get("x-torana-partial"), Some("orders"));
    shop.users.is(SILENT);
    let reply = ask(&gateway);
    assert_eq!((reply.status(), reply.code().as_str()), (504, "aggregate.part_failed"));
}

#[test]
fn web_and_mobile_get_different_shapes_of_one_definition() {
    let shop = Shop::open();
    let gateway = shop.gateway("");
    let web = ask(&gateway);
    assert_eq!((web.text(), web.head.get("vary")), (whole([USER, ORDERS, UNREAD, FEATURED]), Some("x-client")));
    assert_eq!(shop.orders.origin.take_seen().len(), 1);
    let mobile = gateway.ask(get("/api/dashboard/7", "x-client: mobile\r\n"));
    assert_eq!(mobile.text(), r#"{"user":"U7","unread":3,"featured":["/products?limit=3&region=n%26s"]}"#);
    assert_eq!(mobile.head.get("vary"), Some("x-client"));
    assert!(shop.orders.origin.seen().is_empty(), "what a variant does without is not asked");
}

#[test]
fn services_see_one_trace_and_no_credentials() {
    let shop = Shop::open();
    let gateway = shop.gateway("");
    assert_eq!(gateway.ask(get("/api/dashboard/7", "authorization: Bearer s\r\ncookie: a=b\r\n")).status(), 200);
    let seen = shop.all().map(|service| service.origin.only());
    let of =
        |name: &str| seen.iter().map(|seen| seen.head.get(name).unwrap_or_default().to_owned()).collect::<Vec<_>>();
    let parents = of("traceparent");
    assert!(parents.iter().all(|parent| parent[..35] == parents[0][..35]), "one trace: {parents:?}");
    let mut spans: Vec<_> = parents.iter().map(|parent| &parent[36..52]).collect();
    spans.sort_unstable();
    spans.dedup();
    assert_eq!(spans.len(), 4, "each has a span of its own");
    assert!(of("x-request-id").iter().all(|id| id.len() == 32 && *id == of("x-request-id")[0]));
    assert!(of("x-forwarded-for").iter().all(|address| address == "127.0.0.1"));
    assert!(of("authorization").iter().chain(&of("cookie")).all(String::is_empty));
    assert_eq!(shop.users.origin.connections(), 1);
}

#[test]
fn services_are_told_who_is_calling_by_the_gateway_alone() {
    let login = Origin::replying(|seen| match seen.head.get("cookie") {
        Some("session=7") => reply(200, &[("remote-user", "u 7")], ""),
        _ => reply(401, &[], ""),
    });
    let service = Service::start(|seen| format!("\"{}\"", seen.target()));
    let config = r#"
upstreams: { login: { endpoints: [ '{url:login}' ] }, a: { endpoints: [ '{url:a}' ] } }
routes:
  - name: mine
    match: { path: /mine }
    policies: [ forward_auth: { ask: { upstream: login, path: /verify }, copy_headers: Remote-User, subject: Remote-User } ]
    aggregate: { parts: { own: { upstream: a, path: "/of/{identity.subject}" }, all: { upstream: a, path: /all } } }
  - name: open
    match: { path: /open }
    aggregate: { forward_headers: remote-user, parts: { own: { upstream: a, path: "/of/{identity.subject}" }, all: { upstream: a, path: /all } } }
"#;
    let setup = Setup::new(config).known("{url:login}", &login.url()).known("{url:a}", &service.origin.url());
    let gateway = setup.start();
    let forged = "cookie: session=7\r\nremote-user: admin\r\nREMOTE-USER: root\r\n";
    assert_eq!(gateway.ask(get("/mine", forged)).text(), r#"{"own":"/of/u%207","all":"/all"}"#);
    for seen in service.origin.take_seen() {
        assert_eq!(seen.head.all("remote-user"), ["u 7"]);
        assert_eq!(seen.head.get("cookie"), None);
    }
    assert_eq!(gateway.ask(get("/mine", "remote-user: admin\r\n")).status(), 401);
    assert!(service.origin.seen().is_empty(), "who is refused asks no service");
    // Where nobody proves who is calling, nobody is.
    let open = gateway.ask(get("/open", forged));
    assert_eq!(
        (open.text().as_str(), open.head.get("x-torana-partial")),
        (r#"{"own":null,"all":"/all"}"#, Some("own"))
    );
    assert_eq!(service.origin.only().head.get("remote-user"), None);
}

#[test]
fn many_at_once_do_not_mix() {
    let shop = Shop::open();
    let gateway = shop.gateway("");
    std::thread::scope(|scope| {
        for number in 100..200 {
            let gateway = &gateway;
            scope.spawn(move || {
                let reply = gateway.ask(get(&format!("/api/dashboard/{number}"), ""));
                let expected = format!(
                    "{{\"user\":\"U{number}\",\"recentOrders\":[\"/orders?customerId={number}&limit=5\"],{UNREAD},{FEATURED}}}"
                );
                // 500 ms for one part is little on a busy machine: then its
                // default stands there, which is as it should be.
                if reply.head.get("x-torana-partial").is_none() {
                    assert_eq!(reply.text(), expected);
                } else {
                    assert_eq!(reply.text(), expected.replace(UNREAD, "\"unreadCount\":0"));
                }
            });
        }
    });
    assert_eq!(shop.users.origin.seen().len(), 100);
}

#[test]
fn head_has_the_head_of_get() {
    let shop = Shop::open();
    let gateway = shop.gateway("");
    let length = ask(&gateway).text().len();
    let mut client = gateway.connect();
    client.send("HEAD /api/dashboard/7 HTTP/1.1\r\nhost: a\r\n\r\n");
    let reply = client.reply_to("HEAD").unwrap();
    assert_eq!(reply.head.get("content-length"), Some(length.to_string().as_str()));
    client.send(get("/api/dashboard/7", ""));
    assert_eq!(client.reply().text().len(), length, "the connection goes on");
}
