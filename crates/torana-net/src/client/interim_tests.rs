use super::*;
use std::cell::RefCell;
use std::time::Duration;
use torana_core::deadline::Deadline;
use torana_core::head::{Fields, Method};
use torana_core::interim::Interim;
use torana_core::testing;

/// Remembers what it is offered, a line each.
#[derive(Default)]
struct Client(RefCell<Vec<String>>);

impl Interim for Client {
    fn offer(&self, status: Status, fields: &Fields) {
        let mut line = status.to_string();
        for (name, value) in fields.iter() {
            line += &format!(" {}={}", String::from_utf8_lossy(name.text), String::from_utf8_lossy(value));
        }
        self.0.borrow_mut().push(line);
    }
}

/// What the client is offered of these replies, and why they are given up.
fn passed(replies: &[&str]) -> (Vec<String>, Option<String>) {
    let (client, fields) = (Client::default(), Fields::default());
    let outgoing = Outgoing {
        method: Method::Get,
        method_text: "GET",
        target: &[b"/"],
        fields: &fields,
        upgrade: false,
        deadline: Deadline::NONE,
        body_idle: Duration::ZERO,
        interim: Some(&client),
    };
    let mut interims = Interims::default();
    let mut failed = None;
    for text in replies {
        let mut head = testing::reply(text).head;
        match interims.pass_on(&mut head, &outgoing) {
            Ok(()) => assert!(head.fields.is_empty(), "the head is for the next reply"),
            Err(rejection) => {
                assert_eq!(rejection.refusal.code, refuse::UPSTREAM_MALFORMED.code);
                failed = rejection.cause.map(String::from);
                break;
            }
        }
    }
    (client.0.take(), failed)
}

#[test]
fn all_but_100_are_passed_on_in_their_order() {
    let replies = ["102", "100\nlink: </a>", "103\nLink: </b>\nX-Own: 1", "199"];
    assert_eq!(passed(&replies), (vec!["102".into(), "103 link=</b> X-Own=1".into(), "199".into()], None));
}

#[test]
fn what_is_about_the_connection_is_not_passed_on() {
    let reply = "103\nConnection: close, X-Hop\nX-Hop: 1\nKeep-Alive: timeout=5\nTrailer: x\nTE: trailers\n\
                 Upgrade: x\nContent-Length: 0\nLink: </a>";
    assert_eq!(passed(&[reply]), (vec!["103 link=</a>".into()], None));
}

#[test]
fn one_that_nominates_without_end_is_passed_on_bare() {
    let many = (0..40).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(passed(&[&format!("103\nconnection: {many}\nlink: </a>")]), (vec!["103".into()], None));
}

#[test]
fn one_that_announces_a_body_is_none() {
    for field in ["content-length: 5", "transfer-encoding: chunked", "content-length: x"] {
        let (offered, failed) = passed(&[&format!("103\n{field}")]);
        assert!(offered.is_empty() && failed.is_some(), "{field}: {offered:?}");
    }
}

#[test]
fn there_is_an_end_of_them() {
    let (offered, failed) = passed(&["103"; 33]);
    assert_eq!((offered.len(), failed.as_deref()), (32, Some("too many interim replies")));
    // Those the client does not see count, too.
    assert!(passed(&["100"; 33]).1.is_some());
}

#[test]
fn a_switch_of_protocols_is_none() {
    assert_eq!(passed(&["101\nupgrade: x"]).0, [""; 0]);
    assert!(passed(&["101\nupgrade: x"]).1.is_some());
}
