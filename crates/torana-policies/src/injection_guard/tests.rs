use super::*;
use torana_core::policy::entry;
use torana_core::testing::{TestNames, exchange, ready, transcript, written};

const BOTH: Wanted = Wanted { sqli: true, xss: true };

/// Payloads as they are published everywhere: the classics of every list.
const SQLI: &[&str] = &[
    "' OR '1'='1",
    "' OR 1=1--",
    "1' OR '1'='1' -- ",
    "admin'--",
    "1 UNION SELECT username, password FROM users",
    "1' UNION ALL SELECT NULL,NULL,NULL--",
    "-1 UNION SELECT 1,2,3",
    "1; DROP TABLE users",
    "1;DROP TABLE users--",
    "'; EXEC xp_cmdshell('dir');--",
    "1 AND 1=1",
    "1 AND SLEEP(5)",
    "1' AND SLEEP(5)#",
    "1 OR 1=1",
    "\" OR \"\"=\"",
    "1' ORDER BY 10--+",
    "1 OR BENCHMARK(10000000,MD5(1))",
    "1' WAITFOR DELAY '0:0:5'--",
    "1/**/UNION/**/SELECT/**/1",
    "1' UNION SELECT LOAD_FILE('/etc/passwd')--",
    "1' AND EXTRACTVALUE(1,CONCAT(0x7e,VERSION()))--",
    "1) OR (1=1",
    "1' HAVING 1=1--",
    "x' AND email IS NULL; --",
    "1' UNION SELECT 1 INTO OUTFILE '/tmp/x'--",
];

const XSS: &[&str] = &[
    "<script>alert(1)</script>",
    "<ScRiPt src=//a.example></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onmouseover=alert(1) x='",
    "<a href=\"javascript:alert(1)\">",
    "<iframe src=javascript:alert(1)>",
    "<body onload=alert(1)>",
    "<object data=\"data:text/html;base64,PHN2Zz4=\">",
    "<style>@import 'x'</style>",
    "<meta http-equiv=refresh content=0>",
    "<!DOCTYPE html>",
    "<?xml version=\"1.0\"?>",
    "<embed src=x>",
    "<link rel=import href=x>",
    "\" onfocus=alert(1) autofocus=\"",
];

const BENIGN: &[&str] = &[
    "",
    "42",
    "-7.5",
    "ada@example.org",
    "Ada Lovelace",
    "O'Brien",
    "It's a nice day, isn't it?",
    "Rock & Roll",
    "select a colour",
    "union of states",
    "https://example.org/a?b=c&d=e#f",
    "2023-11-14T22:13:20Z",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "curl/8.5.0",
    "550e8400-e29b-41d4-a716-446655440000",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "W/\"abc\"",
    "a < b and b > c",
    "1, 2, 3",
    "50% off",
    "Grüße aus Köln",
    "{\"a\":1}",
    "price >= 10",
];

#[test]
fn published_attacks_are_recognised() {
    for payload in SQLI {
        assert_eq!(attack(payload.as_bytes(), BOTH), Some(Kind::Sqli), "{payload}");
    }
    for payload in XSS {
        assert!(attack(payload.as_bytes(), Wanted { sqli: false, xss: true }) == Some(Kind::Xss), "{payload}");
    }
}

#[test]
fn everyday_values_are_not() {
    for value in BENIGN {
        assert_eq!(attack(value.as_bytes(), BOTH), None, "{value}");
    }
}

/// The lines of a list behind its two lines of comment, and whether each is marked as judged wrong.
fn list(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.lines().skip(2).map(|line| line.strip_prefix('!').map_or((line, false), |rest| (rest, true)))
}

/// What is missed and what is taken for an attack stands in the lists, so that a change either way is seen.
#[test]
fn the_lists_are_judged_as_they_say() {
    let (mut attacks, mut missed, mut values, mut mistaken) = (0, 0, 0, 0);
    let mut kind = Kind::Sqli;
    for (payload, is_missed) in list(include_str!("attacks.txt")) {
        if payload == "xss" {
            kind = Kind::Xss;
            continue;
        }
        let wanted = Wanted { sqli: kind == Kind::Sqli, xss: kind == Kind::Xss };
        assert_eq!(attack(payload.as_bytes(), wanted), (!is_missed).then_some(kind), "{payload}");
        attacks += 1;
        missed += usize::from(is_missed);
    }
    for (value, is_mistaken) in list(include_str!("everyday.txt")) {
        assert_eq!(attack(value.as_bytes(), BOTH).is_some(), is_mistaken, "{value}");
        values += 1;
        mistaken += usize::from(is_mistaken);
    }
    // As the guide says.
    assert_eq!((attacks, missed, values, mistaken), (124, 7, 210, 2));
}

#[test]
fn what_is_encoded_once_more_is_recognised() {
    for value in [
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "&#60;script&#62;alert(1)",
        "&#x3c;script&#x3E;alert(1)",
        "&#0000060script>alert(1)",
        "%26lt;script%26gt;",
    ] {
        assert_eq!(attack(value.as_bytes(), BOTH), Some(Kind::Xss), "{value}");
    }
    assert_eq!(attack(b"%27%20OR%201%3D1--", BOTH), Some(Kind::Sqli));
}

#[test]
fn nothing_a_stranger_sends_breaks_it() {
    let mut random = torana_core::trace::IdSource::new(7);
    let alphabet = b"'\"`<>=/*-#;()&%x0 \\\t\n\0aA1,.@!|~^{}[]unionselectscript\xff\xc3";
    for _ in 0..20_000 {
        let length = usize::try_from(random.next() % 40).unwrap();
        let value: Vec<u8> =
            (0..length).map(|_| alphabet[usize::try_from(random.next()).unwrap() % alphabet.len()]).collect();
        let _ = attack(&value, BOTH);
    }
}

fn run(config: &str, request: &str) -> String {
    transcript(&entry::<InjectionGuard>(), config, request, "200")
}

/// What the log says of a request; empty if nothing was found.
fn cause(config: &str, request: &str) -> String {
    let policy =
        (entry::<InjectionGuard>().build)(&written(config), &TestNames::new("r", "/*").counting(EVENTS)).unwrap();
    let mut exchange = exchange(request);
    match ready(policy.on_request(&mut exchange)) {
        Decision::Reject(rejection) => {
            format!("{}: {}", rejection.refusal.code, rejection.cause.as_deref().unwrap_or_default())
        }
        _ => exchange.notes.cause.as_deref().unwrap_or_default().to_owned(),
    }
}

const POST: &str = "POST / HTTP/1.1\nHost: a\nContent-Type: application/json\n\n";
const FORM: &str = "POST / HTTP/1.1\nHost: a\nContent-Type: application/x-www-form-urlencoded\n\n";

#[test]
fn the_log_says_where_and_never_what() {
    for (request, expected) in [
        (
            "GET /?q=1%27%20OR%20%271%27=%271 HTTP/1.1\nHost: a".to_owned(),
            "injection_guard.sqli: found in the query parameter `q`",
        ),
        ("GET /?q=%3Cscript%3E HTTP/1.1\nHost: a".to_owned(), "injection_guard.xss: found in the query parameter `q`"),
        (
            "GET /?%3Cscript%3E=1 HTTP/1.1\nHost: a".to_owned(),
            "injection_guard.xss: found in the name of a query parameter",
        ),
        ("GET /a/%3Cscript%3E/b HTTP/1.1\nHost: a".to_owned(), "injection_guard.xss: found in the path"),
        ("GET /a/1%20OR%201=1 HTTP/1.1\nHost: a".to_owned(), "injection_guard.sqli: found in the path"),
        (
            "GET /%3Cimg%20src=x%20onerror=alert(1)%20 HTTP/1.1\nHost: a".to_owned(),
            "injection_guard.xss: found in the path",
        ),
        (
            "GET / HTTP/1.1\nHost: a\nUser-Agent: <script>".to_owned(),
            "injection_guard.xss: found in the header `user-agent`",
        ),
        ("GET / HTTP/1.1\nHost: a\nX-Id: 1 OR 1=1".to_owned(), "injection_guard.sqli: found in the header `x-id`"),
        (
            "GET / HTTP/1.1\nHost: a\nCookie: a=b; id=1 OR 1=1".to_owned(),
            "injection_guard.sqli: found in the cookie `id`",
        ),
        (format!("{POST}{{\"a\":[{{\"b\":\"<script>\"}}]}}"), "injection_guard.xss: found in the JSON value `/a/*/b`"),
        (format!("{POST}{{\"<script>\":1}}"), "injection_guard.xss: found in the name of a JSON member"),
        (format!("{POST}{{\"a\": <script>"), "injection_guard.xss: found in the body, which is not JSON"),
        (
            format!("{FORM}a=b&text=%3Cimg+src%3Dx+onerror%3D1%3E"),
            "injection_guard.xss: found in the form field `text`",
        ),
    ] {
        assert_eq!(cause("{}", &request), expected, "{request}");
        let observed = cause(r#"{ "mode": "observe" }"#, &request);
        assert!(
            observed.starts_with("observed by the policy `injection_guard`: ") && !observed.contains("script"),
            "{observed}"
        );
    }
}

#[test]
fn what_is_excluded_is_not_looked_at() {
    let config = r#"{ "exclude": ["query.q", "header.X-Note", "cookie.c", "form.text", "json/items/*/html"] }"#;
    for request in [
        "GET /?q=%3Cscript%3E HTTP/1.1\nHost: a\nx-note: <script>\nCookie: c=<script>".to_owned(),
        format!("{FORM}text=%3Cscript%3E"),
        format!("{POST}{{\"items\":[{{\"html\":\"<script>\"}}]}}"),
    ] {
        assert_eq!(cause(config, &request), "", "{request}");
    }
    assert_ne!(cause(config, &format!("{POST}{{\"items\":{{\"html\":\"<script>\"}}}}")), "");
    assert_eq!(cause(r#"{ "parts": "body" }"#, "GET /?q=%3Cscript%3E HTTP/1.1\nHost: a"), "");
    assert_eq!(cause(r#"{ "detect": "sqli" }"#, "GET /?q=%3Cscript%3E HTTP/1.1\nHost: a"), "");
}

#[test]
fn bodies_are_kept_and_what_cannot_be_looked_at_is_told() {
    let clean = format!("{POST}{{\"a\":\"b\"}}");
    assert!(run("{}", &clean).ends_with("1 × clean\n"));
    assert!(run(r#"{ "max_body": 4 }"#, &clean).starts_with("rejected injection_guard.too_large 413\n"));
    let zipped = clean.replace("Host: a", "Host: a\nContent-Encoding: gzip");
    assert!(run("{}", &zipped).starts_with("rejected injection_guard.unreadable 415\n"));
    let text = clean.replace("application/json", "text/plain");
    assert!(run("{}", &text).ends_with("1 × clean\n1 × unseen\n"));
    let many = format!("{POST}[{}1]", "1,".repeat(15_000));
    assert!(run("{}", &many).ends_with("1 × clean\n"));
    let more: String = (0..MOST_VALUES + 2).map(|_| "a&").collect();
    assert_eq!(
        cause("{}", &format!("GET /?{more} HTTP/1.1\nHost: a")),
        "injection_guard.too_large: it has too many values"
    );
    // Whoever only observes refuses nobody for it.
    let observed = run(r#"{ "mode": "observe" }"#, &format!("GET /?{more} HTTP/1.1\nHost: a"));
    assert!(!observed.contains("rejected") && observed.ends_with("1 × unseen\n"), "{observed}");
}

#[test]
fn places_that_are_none_are_refused() {
    for place in ["q", "query.", "body.a", "json"] {
        let shown = run(&format!(r#"{{ "exclude": "{place}" }}"#), "GET / HTTP/1.1\nHost: a");
        assert!(shown.starts_with("error injection_guard.exclude"), "{shown}");
    }
}
