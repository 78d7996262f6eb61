use super::*;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use torana_core::json::JsonError;
use torana_core::outbound::Ended;
use torana_core::testing::TestWorker;

fn run_with(program: &str, input: &str, variables: &[(&str, &str)], budget: Budget) -> Result<String, Fault> {
    let names: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
    let program = match Reshape::compile(program, &names) {
        Ok(program) => program,
        Err(error) => panic!("`{program}`: {error:?}"),
    };
    let value = |text: &str| read(text.as_bytes()).unwrap();
    let output = program.run(value(input), variables.iter().map(|(_, text)| value(text)).collect(), budget)?;
    let mut text = Vec::new();
    write(&output, budget.size, &mut text)?;
    Ok(String::from_utf8(text).unwrap())
}

fn run(program: &str, input: &str) -> Result<String, Fault> {
    run_with(program, input, &[], Budget::ASIDE)
}

fn error(program: &str) -> ReshapeError {
    Reshape::compile(program, &["$request"]).unwrap_err()
}

#[test]
fn bodies_are_renamed_joined_cut_and_converted() {
    let user =
        r#"{"user_id": "42", "first": "Ada", "last": "L", "ssn": "1", "born": "1815-12-10", "tags": ["a","b","c"]}"#;
    let cases = [
        ("{userId: .user_id, name: \"\\(.first) \\(.last)\"}", r#"{"userId":"42","name":"Ada L"}"#),
        ("del(.ssn, .born, .tags, .last) | .id = (.user_id | tonumber) | del(.user_id)", r#"{"id":42,"first":"Ada"}"#),
        (".tags[1:] | map(ascii_upcase) | join(\"-\")", r#""B-C""#),
        (".born | strptime(\"%Y-%m-%d\") | mktime | todate", r#""1815-12-10T00:00:00Z""#),
        ("1700000000 | todate", r#""2023-11-14T22:13:20Z""#),
        ("\"2023-11-14T22:13:20Z\" | fromdate", "1700000000"),
        ("1700000000 | strftime(\"%d.%m.%Y\")", r#""14.11.2023""#),
        ("with_entries(select(.key | test(\"^(first|last)$\"))) | map_values(length)", r#"{"first":3,"last":1}"#),
        ("[paths(type == \"array\")]", r#"[["tags"]]"#),
        ("walk(if type == \"string\" then length else . end) | .tags", "[1,1,1]"),
        ("[.tags[] as $tag | {$tag}] | group_by(.tag) | length", "3"),
        ("reduce range(5) as $n (0; . + $n)", "10"),
        ("[limit(3; repeat(1))] + [1 | until(. > 100; . * 2)]", "[1,1,1,128]"),
        (".tags |= . + [\"d\"] | .tags[-1]", r#""d""#),
        (".n = 2 | .n *= 3 | .n", "6"),
        ("try error(\"x\") catch .", r#""x""#),
        ("[.. | strings] | length", "8"),
        ("@base64 \"\\(.first)\" | @base64d", r#""Ada""#),
        ("[1,2] | [.[] * 2, 3] | tojson | fromjson | flatten | add", "9"),
        ("def twice(f): f | f; .tags | twice(.[1:])", r#"["c"]"#),
        ("[(1,2) * (3,4)]", "[3,4,6,8]"),
    ];
    for (program, expected) in cases {
        assert_eq!(run(program, user).as_deref(), Ok(expected), "{program}");
    }
}

#[test]
fn numbers_keep_their_digits() {
    let text = r#"{"a":1.10,"b":123456789012345678901234567890,"c":-0.0,"d":1E+20}"#;
    assert_eq!(run(".", text).as_deref(), Ok(text));
    assert_eq!(run("[nan, infinite]", "null").as_deref(), Ok("[null,null]"));
}

#[test]
fn numbers_are_written_as_json_writes_them() {
    for (program, written) in [("08.88", "8.88"), (". | tonumber", "7.5"), ("[1e3, 0, 1E+2]", "[1e3,0,1E+2]")] {
        let output = run(program, "\"007.50\"").unwrap();
        assert_eq!(output, written, "{program}");
        assert!(serde_json::from_str::<serde_json::Value>(&output).is_ok());
    }
    assert_eq!(
        run(".", "[-0.10, 1.50E-7, 12345678901234567890123]").unwrap(),
        "[-0.10,1.50E-7,12345678901234567890123]"
    );
}

#[test]
fn numbers_beyond_doubles_are_written_as_infinities_are() {
    let long = "1".repeat(310);
    for (program, written) in [("8E8448844444444", "null"), (&*long, "null"), ("[-1e999, 1e-999]", "[null,1e-999]")] {
        assert_eq!(run(program, "null").as_deref(), Ok(written), "{program}");
    }
    let most = "1.7976931348623157e308";
    assert_eq!(run(most, "null").as_deref(), Ok(most));
}

#[test]
fn variables_have_values() {
    let shown =
        run_with("{id, m: $request.method}", r#"{"id":1}"#, &[("$request", r#"{"method":"GET"}"#)], Budget::INLINE);
    assert_eq!(shown.as_deref(), Ok(r#"{"id":1,"m":"GET"}"#));
}

#[test]
fn there_is_exactly_one_output() {
    assert_eq!(run("empty", "null"), Err(Fault::Nothing));
    assert_eq!(run("1, 2", "null"), Err(Fault::Several));
}

#[test]
fn what_reaches_beyond_the_program_does_not_exist() {
    for (program, name) in [
        ("halt", "halt"),
        ("halt_error", "halt_error"),
        (". | env.PATH", "env"),
        ("$ENV.PATH", "$ENV"),
        ("input", "input"),
        ("[inputs]", "inputs"),
        ("debug", "debug"),
        ("stderr", "stderr"),
        ("localtime", "localtime"),
        ("$__loc__", "$__loc__"),
        ("get_search_list", "get_search_list"),
        ("input_line_number", "input_line_number"),
        ("$other", "$other"),
    ] {
        let error = error(program);
        assert!(error.message.contains(&format!("`{name}`")), "{program}: {error:?}");
        assert_eq!(error.offset, program.find(name).unwrap_or(0), "{program}");
    }
    for program in ["import \"a\" as a; .", "include \"a\"; .", "import \"f\" as $x; ."] {
        assert!(Reshape::compile(program, &[]).is_err(), "{program}");
    }
    // Names of the guards are no names.
    for program in ["!tick", ".a | !sized", "torana__main"] {
        assert!(Reshape::compile(program, &[]).is_err(), "{program}");
    }
}

#[test]
fn errors_stand_where_they_are() {
    assert_eq!(error(".a |").offset, 4);
    assert_eq!(error(".a | foo(1)").offset, 5);
    assert_eq!(error(".a | {b: (}").offset, 10);
    assert!(error("$req").hint.contains("$request"));
}

#[test]
fn recursion_is_refused() {
    for program in [
        "def f: f; f",
        "def f: [f]; f",
        "def f(g): g | f(g); f(.)",
        "def f: def g: f; g; f",
        "def f($n): if $n > 0 then f($n - 1) else . end; f(3)",
        ".a | (def f: 1 + f; f)",
    ] {
        assert!(error(program).message.contains("calls itself"), "{program}");
    }
    // Of another number of arguments, or hidden by one: other functions.
    assert_eq!(run("def f: 1; def f(g): f + g; f(2)", "null").as_deref(), Ok("3"));
    assert_eq!(run("def f(f): f; f(7)", "null").as_deref(), Ok("7"));
    assert_eq!(run("def f: 1; def g: f; def f: g; f", "null").as_deref(), Ok("1"));
}

#[test]
fn loops_without_end_are_stopped() {
    let budget = Budget { turns: 20_000, ..Budget::ASIDE };
    for program in [
        "[range(1e12)]",
        "last(repeat(1))",
        "until(false; .)",
        "[while(true; 1)]",
        "[recurse(1)]",
        "reduce range(1e12) as $n (0; 1)",
        "[foreach range(1e12) as $n (0; 1)] | 1",
        "[range(1000)] | [.[] as $a | .[] as $b | .[] as $c | 1]",
        "[try repeat(1) catch 2]",
        "first(range(1e12) | select(. < 0))",
        "[limit(1e12; repeat(1))]",
        "[range(1000)] | [combinations(5)]",
        "isempty(repeat(empty))",
        "[range(30)] | [.[] | (.,.) | (.,.) | (.,.) | (.,.) | (.,.) | (.,.) | (.,.) | (.,.) | (.,.) | (.,.) | (.,.) | (.,.)] | 1",
    ] {
        assert_eq!(run_with(program, "null", &[], budget), Err(Fault::TooLong), "{program}");
    }
}

#[test]
fn what_grows_is_stopped() {
    let budget = Budget { size: 1 << 20, ..Budget::ASIDE };
    for program in [
        "\"a\" * 3000000000",
        "reduce range(60) as $n (\"ab\"; . + .)",
        "reduce range(60) as $n (\"ab\"; \"\\(.)\\(.)\")",
        "reduce range(60) as $n ([1]; . + .)",
        "reduce range(60) as $n ([1]; .[0:0] = .)",
        "reduce range(60) as $n (10; . * .)",
        "reduce range(60) as $n (\"abc\"; @base64)",
        "reduce range(60) as $n ([1]; [., .]) | tojson",
        "reduce range(60) as $n ([1]; [., .]) | tostring",
        "reduce range(60) as $n ([1]; [., .])",
        "reduce range(60) as $n ({a: \"ab\"}; .a += .a)",
        "reduce range(60) as $n ({a: \"ab\"}; .a *= 100)",
        "reduce range(1000000) as $n (null; [.]) | 1",
        "reduce range(1000000) as $n (null; {a: 1, b: .}) | 1",
        "[recurse(if . == null then [] else [.] end)] | 1",
    ] {
        let fault = run_with(program, "null", &[], budget).unwrap_err();
        assert!(matches!(fault, Fault::TooLarge | Fault::TooLong), "{program}: {fault:?}");
    }
}

#[test]
fn programs_without_measure_are_refused() {
    assert!(error(&"(".repeat(5000)).message.contains("deeply"));
    assert!(error(&".|".repeat(7000)).message.contains("deeply"));
    assert!(error(&" ".repeat(LONGEST + 1)).message.contains("longer"));
    assert!(Reshape::compile(&format!("{}1", "try ".repeat(3000)), &[]).is_err());
    // As large as they may be, on a stack as small as a worker's.
    let pipes = vec!["."; 200].join(" | ");
    let sums = vec!["1"; 200].join(" + ");
    let fields: Vec<String> = (0..200).map(|n| format!("f{n}: .a.b[0]")).collect();
    let fields = format!("{{{}}} | length", fields.join(", "));
    let lists = format!("{}1{} | 1", "[".repeat(90), "]".repeat(90));
    let tries = format!("{}1", "try ".repeat(90));
    for (program, expected) in [(pipes, "{}"), (sums, "200"), (fields, "200"), (lists, "1"), (tries, "1")] {
        assert_eq!(run(&program, "{}").as_deref(), Ok(expected), "{program}");
    }
}

#[test]
fn faults_do_not_tell_what_the_input_holds() {
    let fault = run(".a.b", r#"{"a": "secret \"4711\" secret"}"#).unwrap_err();
    let Fault::Failed(why) = &fault else { panic!("{fault:?}") };
    assert!(!why.contains("secret") && !why.contains("47") && why.contains("cannot index"), "{why}");
}

#[test]
fn only_json_with_one_reading_is_read() {
    assert_eq!(read(b"{\"a\":1,\"a\":2}").unwrap_err(), JsonError::Repeated);
    for text in [&b"NaN"[..], b"# comment\n1", b"b\"x\"", b"{1:2}", b"1 2", b"+1"] {
        assert_eq!(read(text).unwrap_err(), JsonError::NotJson);
    }
}

#[test]
fn values_of_json_become_values_of_programs() {
    let text = r#"{"a":[1,-2.5,"x",null,true],"b":{}}"#;
    let value = from_value(&serde_json::from_str(text).unwrap());
    let mut written = Vec::new();
    write(&value, text.len(), &mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), text);
}

#[test]
fn a_compiled_program_is_shared_by_threads() {
    let program = Reshape::compile(".n + 1", &[]).unwrap();
    std::thread::scope(|scope| {
        for n in 0..4_usize {
            let program = &program;
            scope.spawn(move || {
                let input = read(format!("{{\"n\": {n}}}").as_bytes()).unwrap();
                assert_eq!(program.run(input, Vec::new(), Budget::INLINE), Ok(Val::from(n + 1)));
            });
        }
    });
}

#[test]
fn what_is_large_or_slow_is_shaped_aside() {
    let worker = TestWorker::new();
    worker.waits.set(true);
    let length = Reshape::compile("length", &[]).unwrap();
    let slow = Reshape::compile("[range(50000)] | length", &[]).unwrap();
    assert_eq!(slow.run(Val::Null, Vec::new(), Budget::INLINE), Err(Fault::TooLong));
    let mut cx = Context::from_waker(Waker::noop());
    for (program, size, expected) in [(&length, LARGEST_INLINE + 1, 0), (&slow, 4, 50_000_usize)] {
        let mut shaping = pin!(program.apply(Some(&*worker), Val::Null, size, Vec::new()));
        assert!(shaping.as_mut().poll(&mut cx).is_pending());
        worker.waiting.take().into_iter().for_each(|work| assert_eq!(work(), Ended::Done));
        assert_eq!(shaping.as_mut().poll(&mut cx), Poll::Ready(Ok(Val::from(expected))));
    }
    let mut shaping = pin!(length.apply(Some(&*worker), Val::Null, 4, Vec::new()));
    assert_eq!(shaping.as_mut().poll(&mut cx), Poll::Ready(Ok(Val::from(0_usize))), "small and quick: here");
    worker.is_full.set(true);
    let mut shaping = pin!(slow.apply(Some(&*worker), Val::Null, 4, Vec::new()));
    assert_eq!(shaping.as_mut().poll(&mut cx), Poll::Ready(Err(Fault::Busy)));
}

#[test]
fn what_panics_aside_is_a_fault() {
    let worker = TestWorker::new();
    let mut broken = pin!(with_budget::<()>(Some(&*worker), usize::MAX, |_| panic!("on purpose")));
    let polled = broken.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(Err(Fault::Broken.into())));
}
