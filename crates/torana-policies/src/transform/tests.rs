use super::*;
use torana_core::policy::entry;
use torana_core::testing::transcript;

fn run(config: &str, request: &str, reply: &str) -> String {
    transcript(&entry::<Transform>(), config, request, reply)
}

fn post(body: &str) -> String {
    format!(
        "POST /users?tag=a&tag=b&page=2 HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: {}\nX-A: 1\nx-a: 2\n\n{body}",
        body.len()
    )
}

/// The body as it goes on is not in a transcript: it comes back as the reply.
fn shaped(config: &str, body: &str) -> String {
    let config = format!(r#"{{ "response": {config} }}"#);
    let shown = run(&config, "GET / HTTP/1.1\nHost: a", &format!("200\nContent-Type: application/json\n\n{body}"));
    shown.split_once("--\n").map_or(shown.clone(), |(_, reply)| reply.to_owned())
}

#[test]
fn a_request_goes_on_with_another_body() {
    let config = r#"{ "request": { "jq": "{userId: .user_id, name: \"\\(.first) \\(.last)\"}" } }"#;
    let policy = (entry::<Transform>().build)(
        &torana_core::testing::written(config),
        &torana_core::testing::TestNames::new("r", "/*").counting(EVENTS),
    )
    .unwrap();
    let mut exchange = torana_core::testing::exchange(&post(r#"{"user_id":1,"first":"Ada","last":"L","x":2}"#));
    exchange.head.fields.append_text(b"Content-Digest", b"sha-256=:x:").unwrap();
    assert!(matches!(torana_core::testing::ready(policy.on_request(&mut exchange)), Decision::Continue));
    assert_eq!(exchange.body.data(), br#"{"userId":1,"name":"Ada L"}"#);
    let names: Vec<_> = exchange.head.fields.iter().map(|(name, _)| name.text.to_ascii_lowercase()).collect();
    assert_eq!(names, [&b"host"[..], b"content-type", b"x-a", b"x-a"]);
}

#[test]
fn a_reply_comes_back_with_another_body() {
    let reply = "200\nContent-Type: application/vnd.a+json\nETag: \"1\"\nContent-Length: 30\nAccept-Ranges: bytes\n\n\
                 {\"id\":1,\"password\":\"x\"}";
    let config = r#"{ "response": { "jq": "del(.password)" } }"#;
    let shown = run(config, "GET /a HTTP/1.1\nHost: a\nAccept-Encoding: br\nRange: bytes=0-1", reply);
    let expected = "GET /a\nhost: a\naccept-encoding: identity\n--\n\
                    200\ncontent-type: application/vnd.a+json\n\n{\"id\":1}\n1 × changed\n";
    assert_eq!(shown, expected);
}

#[test]
fn a_program_knows_the_request() {
    let config = r#"{ "response": { "jq": "$request | del(.client_ip)" } }"#;
    let shown = run(
        config,
        "GET /a/b?tag=a&tag=b%20c&p=2 HTTP/1.1\nHost: h\nX-A: 1\nx-a: 2",
        "200\ncontent-type: application/json\n\n{}",
    );
    let expected = r#"{"method":"GET","path":"/a/b","query":{"tag":["a","b c"],"p":"2"},"headers":{"host":"h","x-a":"1, 2","accept-encoding":"identity"},"captures":{"rest":""},"identity":null}"#;
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn what_is_not_for_it_is_left_alone() {
    let config = r#"{ "request": { "jq": "1" }, "response": { "jq": "1", "status": ["2xx"] } }"#;
    for reply in [
        "200\ncontent-type: text/plain\n\n{}",
        "404\ncontent-type: application/json\n\n{}",
        "206\ncontent-type: application/json\n\n{}",
        "200\ncontent-type: application/json",
    ] {
        let shown = run(config, "POST / HTTP/1.1\nHost: a\nContent-Type: text/plain\n\n{}", reply);
        assert!(shown.contains("1 × other_type") || shown.contains("2 × other_type"), "{shown}");
        assert!(!shown.contains("changed") && !shown.contains("rejected"), "{shown}");
    }
    let head = run(config, "HEAD / HTTP/1.1\nHost: a", "200\ncontent-type: application/json\n\n{}");
    assert!(!head.contains("×"), "{head}");
    let forced = run(r#"{ "response": { "jq": "1", "force": true } }"#, "GET / HTTP/1.1\nHost: a", "200\n\n{}");
    assert!(forced.contains("\n1\n1 × changed"), "{forced}");
}

#[test]
fn requests_that_cannot_be_read_are_the_callers_fault() {
    let config = r#"{ "request": { "jq": ".a.b" }, "max_body": "1KiB" }"#;
    let run = |request: &str| run(config, request, "200");
    assert!(run(&post("{")).starts_with("rejected transform.request 400\n"));
    assert!(run(&post("{\"a\":1,\"a\":2}")).starts_with("rejected transform.request 400\n"));
    assert!(run(&post("{\"a\":1}")).starts_with("rejected transform.unfit 422\n"));
    assert!(run(&post(&format!("[{}1]", "1,".repeat(600)))).starts_with("rejected transform.too_long 413\n"));
    let compressed = post("{}").replace("X-A: 1", "Content-Encoding: gzip");
    assert!(run(&compressed).starts_with("rejected transform.request 400\n"));
}

#[test]
fn replies_that_cannot_be_read_are_refused_or_passed() {
    let run = |malformed: &str, reply: &str| {
        let config = format!(r#"{{ "response": {{ "jq": ".a", "malformed": "{malformed}" }}, "max_body": 10 }}"#);
        run(&config, "GET / HTTP/1.1\nHost: a", reply)
    };
    for reply in [
        "200\ncontent-type: application/json\n\n{",
        "200\ncontent-type: application/json\ncontent-encoding: gzip\n\n{}",
        "200\ncontent-type: application/json\n\n{\"a\":\"aaaaaaaaaaaaa\"}",
    ] {
        assert!(run("refuse", reply).contains("reply rejected transform.body\n"), "{reply}");
        let shown = run("pass", reply);
        assert!(shown.contains(&format!("\n\n{}\n1 × passed", reply.split_once("\n\n").unwrap().1)), "{shown}");
    }
    // Read, and no result: that was never what `pass` is for.
    assert!(run("pass", "200\ncontent-type: application/json\n\n[]").contains("reply rejected transform.body\n"));
}

#[test]
fn xml_becomes_json_and_back() {
    let xml = "<?xml version=\"1.0\"?>\n<!-- c --><order id='7' note=\"a&lt;b\"><item>1</item><item>x &amp; &#x41;</item><empty/>\
               <n:t xml:lang=\"de\">hallo</n:t><c><![CDATA[ <raw> ]]></c></order>";
    let config = r#"{ "response": { "from": "xml" } }"#;
    let shown = run(config, "GET / HTTP/1.1\nHost: a", &format!("200\ncontent-type: text/xml\n\n{xml}"));
    let json = r##"{"order":{"@id":"7","@note":"a<b","item":["1","x & A"],"empty":null,"n:t":{"@xml:lang":"de","#text":"hallo"},"c":" <raw> "}}"##;
    assert!(shown.contains(&format!("content-type: application/json\n\n{json}\n")), "{shown}");
    let back = shaped(r#"{ "to": "xml" }"#, json);
    let expected = "200\ncontent-type: application/xml; charset=utf-8\n\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
                    <order id=\"7\" note=\"a&lt;b\"><item>1</item><item>x &amp; A</item><empty/><n:t xml:lang=\"de\">hallo</n:t>\
                    <c> &lt;raw&gt; </c></order>\n1 × changed\n";
    assert_eq!(back, expected);
    // Numbers as in JSON, which has no `nan`.
    let config = r#"{ "to": "xml", "jq": "{a: {b: (\"08.50\" | tonumber), c: nan}}" }"#;
    let numbers = shaped(config, "{}");
    assert!(numbers.contains("<a><b>8.5</b><c/></a>") || numbers.contains("<a><b>8.5</b><c></c></a>"), "{numbers}");
}

#[test]
fn what_xml_could_do_to_a_reader_is_refused() {
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
    let deep = format!("{}{}", "<a>".repeat(1000), "</a>".repeat(1000));
    let many = format!("<a>{}</a>", "<b/>".repeat(200_001));
    for xml in [
        bomb,
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
        "<a>&unknown;</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a b='1' b='2'/>",
        "<a></b>",
        "<a>",
        "<a/><b/>",
        "<a/>text",
        "text",
        "",
        "<?xml version=\"1.0\" encoding=\"utf-16\"?><a/>",
        &deep,
        &many,
    ] {
        assert!(xml::read(&Bytes::copy_from_slice(xml.as_bytes())).is_err(), "{}", &xml[..xml.len().min(60)]);
    }
}

#[test]
fn what_is_no_xml_is_not_written_as_such() {
    for (json, _) in [
        ("[1]", 0),
        ("{}", 0),
        (r#"{"a":1,"b":2}"#, 0),
        (r#"{"a b":1}"#, 0),
        (r#"{"a":{"@x y":1}}"#, 0),
        (r#"{"a":"\u0001"}"#, 0),
        (r#"{"a":[1]}"#, 0),
        (r#"{"a":{"b":[[1]]}}"#, 0),
        (r#"{"a><script":1}"#, 0),
    ] {
        assert!(shaped(r#"{ "to": "xml" }"#, json).starts_with("reply rejected transform.body"), "{json}");
    }
}

#[test]
fn all_mistakes_at_once() {
    let config = r#"{ "request": { "jq": "env" }, "response": { "jq": "def f: f; f", "status": ["2xx", "9xx"] }, "max_body": "1GiB" }"#;
    let shown = run(config, "GET / HTTP/1.1\nHost: a", "200");
    for part in
        ["error transform.jq: there is no function `env`", "`f` calls itself", "transform.status", "transform.max_body"]
    {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(run("{}", "GET / HTTP/1.1\nHost: a", "200").starts_with("error transform.nothing"));
    assert!(run(r#"{ "request": {} }"#, "GET / HTTP/1.1\nHost: a", "200").starts_with("error transform.nothing"));
}

#[test]
fn a_program_alone_is_a_whole_shape() {
    let long = shaped(r#"{ "jq": "{id: .user_id}" }"#, r#"{"user_id":7}"#);
    assert_eq!(shaped(r#""{id: .user_id}""#, r#"{"user_id":7}"#), long);
    assert!(long.contains(r#"{"id":7}"#), "{long}");
    assert!(shaped(r#""{id: ""#, "{}").contains("error transform."), "{}", shaped(r#""{id: ""#, "{}"));
    assert!(shaped("7", "{}").contains("expected a program in jq or a map"), "{}", shaped("7", "{}"));
}
