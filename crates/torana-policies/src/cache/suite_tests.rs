//! Cases of the requirements that public suites for caches check, written anew
//! from RFC 9111: a reply is kept or not, and given out again or not.

use super::tests::Bench;
use torana_core::civil::http_date;

/// What the first reply says (`@+10` is the date in ten seconds), how long
/// nothing happens, what the second request says, and whether it is answered
/// with the first reply.
type Case = (&'static str, u64, &'static str, bool);

fn with_dates(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        match line.split_once('@') {
            Some((before, offset)) => {
                let offset: i64 = offset.parse().unwrap();
                let date = http_date(super::time::wall().saturating_add_signed(offset));
                out.push_str(before);
                out.push_str(std::str::from_utf8(&date).unwrap());
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn check(config: &str, status: u16, cases: &[Case]) {
    for (said, pause, request, is_copy) in cases {
        let bench = Bench::new(config);
        let said_now = with_dates(&said.replace(" | ", "\n"));
        bench.send("GET /a HTTP/1.1\nHost: a", &format!("{status}\n{said_now}\nfirst"));
        bench.pass(*pause);
        let request = format!("GET /a HTTP/1.1\nHost: a\n{}", request.replace(" | ", "\n"));
        let seen = bench.send(request.trim_end(), "200\nCache-Control: no-store\n\nsecond");
        assert_eq!(seen.asked.is_none(), *is_copy, "{status} `{said}`, {pause} s, `{request}`: {seen:?}");
    }
}

#[test]
fn freshness_by_cache_control() {
    check(
        "{}",
        200,
        &[
            ("X: 1", 0, "", false),
            ("Cache-Control: max-age=3600", 1, "", true),
            ("Cache-Control: max-age=3600", 3599, "", true),
            ("Cache-Control: max-age=3600", 3600, "", false),
            ("Cache-Control: max-age=0", 0, "", false),
            ("Cache-Control: MaX-aGe=3600", 0, "", true),
            ("Cache-Control: max-age=2147483648", 9, "", true),
            ("Cache-Control: max-age=99999999999", 9, "", true),
            ("Cache-Control: max-age=3600 | Expires: @-10000", 9, "", true),
            ("Cache-Control: max-age=3600 | Expires: 0", 9, "", true),
            ("Cache-Control: max-age=0 | Expires: @+10000", 0, "", false),
            ("Cache-Control: max-age=1, s-maxage=3600", 9, "", true),
            ("Cache-Control: max-age=3600, s-maxage=1", 9, "", false),
            ("Cache-Control: s-maxage=3600 | Expires: @-10000", 9, "", true),
            ("Cache-Control: foobar=\"max-age=3600\", max-age=1", 2, "", false),
            ("Cache-Control: public", 0, "", false),
        ],
    );
}

#[test]
fn freshness_by_expires_and_age() {
    check(
        "{}",
        200,
        &[
            ("Expires: @+100 | Date: @+0", 50, "", true),
            ("Expires: @+100 | Date: @+0", 101, "", false),
            ("Expires: @-100 | Date: @+0", 0, "", false),
            ("Expires: @+0 | Date: @+0", 0, "", false),
            ("Expires: @+300 | Date: @+400", 0, "", false),
            ("Expires: 0 | Date: @+0", 0, "", false),
            ("Expires: @+100", 50, "", true),
            ("Expires: @+100 | Expires: @+200 | Date: @+0", 0, "", false),
            // As old as it says, or as its date does.
            ("Cache-Control: max-age=3600 | Age: 7200", 0, "", false),
            ("Cache-Control: max-age=3600 | Age: 1800", 9, "", true),
            ("Cache-Control: max-age=3600 | Age: 3590", 11, "", false),
            ("Cache-Control: max-age=3600 | Age: 0, 7200", 0, "", false),
            ("Cache-Control: max-age=3600 | Age: abc", 9, "", true),
            ("Cache-Control: max-age=60 | Date: @-100", 0, "", false),
            ("Cache-Control: max-age=60 | Date: @-50", 5, "", true),
            ("Cache-Control: max-age=60 | Date: @+100", 59, "", true),
        ],
    );
}

#[test]
fn what_must_not_be_kept() {
    check(
        "{}",
        200,
        &[
            ("Cache-Control: no-store, max-age=60", 0, "", false),
            ("Cache-Control: No-StOrE, max-age=60", 0, "", false),
            ("Cache-Control: max-age=60 | Cache-Control: no-store", 0, "", false),
            ("Cache-Control: private, max-age=60", 0, "", false),
            ("Cache-Control: private=\"set-cookie\", max-age=60", 0, "", false),
            ("Cache-Control: no-cache, max-age=60", 0, "", false),
            ("Cache-Control: no-cache, max-age=60 | ETag: \"1\"", 0, "", false),
            ("Cache-Control: max-age=60 | Set-Cookie: a=b", 0, "", false),
            ("Cache-Control: max-age=60 | Vary: *", 0, "", false),
            ("Cache-Control: max-age=60 | Vary: Foo, *", 0, "Foo: 1", false),
            ("Cache-Control: max-age=60 | Pragma: no-cache", 0, "", true),
        ],
    );
}

#[test]
fn nothing_is_used_stale_without_leave() {
    check(
        "{}",
        200,
        &[
            ("Cache-Control: max-age=1", 2, "", false),
            ("Cache-Control: max-age=1, must-revalidate", 2, "Cache-Control: max-stale", false),
            ("Cache-Control: max-age=1, proxy-revalidate", 2, "Cache-Control: max-stale=9", false),
            ("Cache-Control: s-maxage=1", 2, "Cache-Control: max-stale=9", false),
            ("Cache-Control: max-age=1, no-cache", 0, "Cache-Control: max-stale=9", false),
            ("Cache-Control: max-age=1", 2, "Cache-Control: max-stale", true),
            ("Cache-Control: max-age=1, stale-while-revalidate=60", 2, "", true),
            ("Cache-Control: max-age=1, stale-while-revalidate=60, must-revalidate", 2, "", false),
            ("Cache-Control: s-maxage=1, stale-while-revalidate=60", 2, "", true),
            ("Cache-Control: max-age=1, stale-while-revalidate=1", 2, "", false),
        ],
    );
}

#[test]
fn requests_that_vary() {
    check(
        "{}",
        200,
        &[
            ("Cache-Control: max-age=60 | Vary: Foo", 0, "", true),
            ("Cache-Control: max-age=60 | Vary: Foo", 0, "Foo: 1", false),
            ("Cache-Control: max-age=60 | Vary: Foo", 0, "Bar: 1", true),
            ("Cache-Control: max-age=60 | Vary: Foo, Bar", 0, "Bar: 1", false),
            ("Cache-Control: max-age=60 | Vary: Foo | Vary: Bar", 0, "Bar: 1", false),
            ("Cache-Control: max-age=60 | Vary: ", 0, "Bar: 1", true),
        ],
    );
}

#[test]
fn statuses_that_are_understood() {
    const EXPLICIT: &[Case] = &[("Cache-Control: max-age=60", 9, "", true), ("X: 1", 0, "", false)];
    const NEVER: &[Case] = &[("Cache-Control: max-age=60", 9, "", false)];
    for status in [200, 203, 204, 300, 301, 302, 307, 308, 400, 403, 404, 405, 410, 414, 451, 500, 501, 502, 503, 504] {
        check("{}", status, EXPLICIT);
    }
    // Unknown, partial, or about this request alone.
    for status in [201, 202, 205, 206, 299, 304, 401, 407, 416, 418, 429, 499, 599] {
        check("{}", status, NEVER);
    }
}

#[test]
fn guessing_only_where_it_is_wanted_and_allowed() {
    const GUESSED: &[Case] = &[
        ("Last-Modified: @-10000 | Date: @+0", 999, "", true),
        ("Last-Modified: @-10000 | Date: @+0", 1001, "", false),
        ("Last-Modified: @-10000 | Date: @+0 | Cache-Control: max-age=9", 10, "", false),
        ("Last-Modified: @+100 | Date: @+0", 0, "", false),
        ("Last-Modified: @-10000000 | Date: @+0", 86_000, "", true),
        ("Last-Modified: @-10000000 | Date: @+0", 86_401, "", false),
    ];
    const NOT: &[Case] = &[("Last-Modified: @-10000 | Date: @+0", 0, "", false)];
    let guesses = r#"{ "heuristics": true }"#;
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        check(guesses, status, GUESSED);
        check("{}", status, NOT);
    }
    for status in [302, 307, 400, 403, 500, 503] {
        check(guesses, status, NOT);
        check(guesses, status, &[("Cache-Control: public | Last-Modified: @-10000 | Date: @+0", 9, "", true)]);
    }
}
