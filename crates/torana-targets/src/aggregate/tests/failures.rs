use super::*;

torana_core::refusals! {
    /// As an upstream that is not there.
    DOWN = "test.down" 502 Upstream Always "It is down.";
    /// As one that took too long.
    SLOW = "test.slow" 504 Upstream IfSafe "It is slow.";
    /// As one that is not asked any more.
    OPEN = "test.open" 503 Gateway Always "It is given a rest.";
}

const ORDERS: &str = "/orders?customerId=7&limit=5";
const GET: &str = "GET /7 HTTP/1.1\nHost: a";

#[test]
fn each_way_to_fail_gives_the_default_and_says_so() {
    let config = DASHBOARD.replacen("\"parts\"", "\"errors\": true, \"partial_status\": 203, \"parts\"", 1);
    let built = build(&config, "/{userId}");
    let services = Services::of_dashboard();
    let cases = [
        (Says::Fails(&DOWN), "unavailable", "test.down: as the test has it"),
        (Says::Fails(&OPEN), "unavailable", "test.open"),
        (Says::Fails(&SLOW), "timeout", "test.slow"),
        (Says::Json(500, "{}"), "status", "it answered 500"),
        (Says::Json(304, ""), "status", "it answered 304"),
        (Says::Other("200\ncontent-type: text/html\n\n<p>"), "not_json", "`text/html`"),
        (Says::Other("200\n\n{}"), "not_json", "no `Content-Type`"),
        (Says::Other("200\ncontent-type: application/json\ncontent-encoding: gzip\n\nx"), "not_json", "compressed"),
        (Says::Json(200, "{\"data\": "), "not_json", "it is not JSON"),
        (Says::Json(200, r#"{"data":1,"data":2}"#), "not_json", "two members"),
        (Says::Json(200, "[1]"), "select", "`select`"),
    ];
    for (says, code, cause) in cases {
        services.now_says(ORDERS, says);
        let mut exchange = request(&services, GET);
        let shown = show(poll(&mut built.begin(&mut exchange)).unwrap());
        let expected = format!(
            "203 x-torana-partial: orders; cache-control: no-store; {{\"user\":{{\"id\":7,\"name\":\"Ada\"}},\
             \"recentOrders\":[],\"unreadCount\":3,\"errors\":[{{\"part\":\"orders\",\"code\":\"{code}\"}}]}}"
        );
        assert_eq!(shown, expected);
        let noted = exchange.notes.cause.unwrap();
        assert!(noted.starts_with("part `orders` (orders): ") && noted.contains(cause), "{noted}");
    }
    assert_eq!(built.counts(), "11 × partial\n");
    // Two at once, in the order written.
    services.now_says("/notifications/7/unread", Says::Fails(&DOWN));
    let shown = built.ask(&services, GET);
    assert!(shown.contains("x-torana-partial: orders,unread;") && shown.contains("\"unreadCount\":0"), "{shown}");
}

#[test]
fn answers_that_are_too_long_are_not_read() {
    let config = DASHBOARD.replacen("\"select\": \".data\"", "\"select\": \".data\", \"body_bytes\": \"20B\"", 1);
    let services = Services::of_dashboard();
    let mut exchange = request(&services, GET);
    let built = build(&config, "/{userId}");
    let shown = show(poll(&mut built.begin(&mut exchange)).unwrap());
    assert!(shown.contains("x-torana-partial: orders;") && shown.contains("\"recentOrders\":[]"), "{shown}");
    assert!(exchange.notes.cause.unwrap().contains("longer than 20 bytes"));
}

#[test]
fn an_empty_answer_is_null_and_statuses_can_be_success() {
    let config = r#"{ "parts": {
        "gone": { "upstream": "users", "path": "/gone", "default": 1 },
        "none": { "upstream": "users", "path": "/none", "success": [ 200, 404 ] } } }"#;
    let services = Services::answering(&[
        ("/gone", Says::Other("204")),
        ("/none", Says::Other("404\ncontent-type: application/problem+json; charset=utf-8\n\n{\"a\":1}")),
    ]);
    assert_eq!(build(config, "/{id}").ask(&services, GET), r#"200 {"gone":null,"none":{"a":1}}"#);
}

#[test]
fn a_required_part_that_fails_ends_the_whole_and_gives_up_the_others() {
    let cases = [
        (Says::Fails(&DOWN), "502 aggregate.part_failed: part `user` (users): test.down: as the test has it"),
        (Says::Fails(&SLOW), "504 aggregate.part_failed: part `user` (users): test.slow: as the test has it"),
        (Says::Json(404, "{}"), "502 aggregate.part_failed: part `user` (users): it answered 404"),
        (Says::Json(200, "{"), "502 aggregate.part_failed: part `user` (users): its answer: it is not JSON"),
    ];
    for (says, expected) in cases {
        let built = build(DASHBOARD, "/{userId}");
        let services = Services::of_dashboard();
        services.now_says("/users/7", says);
        services.hold_all();
        let mut exchange = request(&services, GET);
        let mut answer = built.begin(&mut exchange);
        assert!(poll(&mut answer).is_none());
        services.let_go("/users/7");
        assert_eq!(show(poll(&mut answer).unwrap()), expected);
        let mut dropped = services.dropped.take();
        dropped.sort();
        assert_eq!(dropped, ["/notifications/7/unread", ORDERS], "their connections are closed");
        drop(answer);
        assert_eq!(built.counts(), "1 × failed\n");
    }
}

#[test]
fn a_status_may_be_passed_on() {
    let config = DASHBOARD.replacen("\"required\": true", "\"required\": true, \"pass_status\": [ 404, 410 ]", 1);
    let services = Services::of_dashboard();
    let built = build(&config, "/{userId}");
    for (status, expected) in [(404, "404 "), (410, "410 "), (403, "502 ")] {
        services.now_says("/users/7", Says::Json(status, r#"{"secret":1}"#));
        let shown = built.ask(&services, GET);
        assert!(shown.starts_with(&format!("{expected}aggregate.part_failed")), "{shown}");
    }
}

#[test]
fn time_that_is_over_fails_what_is_not_there() {
    let services = Services::of_dashboard();
    services.now_says("/notifications/7/unread", Says::Never);
    let mut exchange = request(&services, GET);
    let built = build(DASHBOARD, "/{userId}");
    let mut answer = built.begin(&mut exchange);
    assert!(poll(&mut answer).is_none());
    *services.time_is_over.borrow_mut() = true;
    let expected = r#"200 x-torana-partial: unread; cache-control: no-store; {"user":{"id":7,"name":"Ada"},"recentOrders":[{"id":1}],"unreadCount":0}"#;
    assert_eq!(show(poll(&mut answer).unwrap()), expected);
    drop(answer);
    assert_eq!(services.dropped.take(), ["/notifications/7/unread"]);
    assert!(exchange.notes.cause.unwrap().contains("it took more than 500ms"));
}

#[test]
fn one_word_for_all_parts() {
    let services = Services::of_dashboard();
    services.now_says(ORDERS, Says::Fails(&DOWN));
    let all = DASHBOARD.replacen("\"parts\"", "\"fail\": \"all\", \"parts\"", 1);
    assert!(build(&all, "/{userId}").ask(&services, GET).starts_with("502 aggregate.part_failed: part `orders`"));
    let settled =
        DASHBOARD.replacen("\"parts\"", "\"fail\": \"settled\", \"parts\"", 1).replace(", \"required\": true", "");
    services.now_says("/users/7", Says::Fails(&DOWN));
    let shown = build(&settled, "/{userId}").ask(&services, GET);
    assert!(shown.contains("x-torana-partial: user,orders;") && shown.contains("\"user\":null"), "{shown}");
}

#[test]
fn what_depends_on_a_failed_part_gets_its_default() {
    let config = r#"{ "parts": {
        "user": { "upstream": "users", "path": "/users/7", "default": { "account": "guest" } },
        "account": { "upstream": "orders", "path": "/accounts/{user.account}" },
        "owner": { "upstream": "orders", "path": "/owners/{account.owner}", "default": "nobody" } } }"#;
    let services = Services::answering(&[("/accounts/guest", Says::Json(200, r#"{"owner":null}"#))]);
    let mut exchange = request(&services, GET);
    let built = build(config, "/{id}");
    let shown = show(poll(&mut built.begin(&mut exchange)).unwrap());
    let expected = r#"200 x-torana-partial: user,owner; cache-control: no-store; {"user":{"account":"guest"},"account":{"owner":null},"owner":"nobody"}"#;
    assert_eq!(shown, expected);
    assert!(exchange.notes.cause.unwrap().ends_with("part `owner` (orders): `{account.owner}` is missing"));
}

#[test]
fn an_answer_that_cannot_be_made_is_refused() {
    let config = DASHBOARD.replace("recentOrders: .orders", "recentOrders: .user.name.first");
    let shown = build(&config, "/{userId}").ask(&Services::of_dashboard(), GET);
    assert!(shown.starts_with("502 aggregate.response: `response`: the program failed: "), "{shown}");
    assert!(!shown.contains("Ada"), "what it holds is nobody's business: {shown}");
}
