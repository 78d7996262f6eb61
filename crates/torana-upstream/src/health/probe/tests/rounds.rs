//! The prober over time: who is asked when, and what reloads keep.

use super::super::{MOST_AT_ONCE, Round, prober};
use super::servers::{Manner, Server, says};
use super::{active, run, targets, upstream, watched};
use crate::health::active::Verdict;
use crate::health::event::{Event, Observer, Reason};
use crate::health::spec::{ActiveSpec, Check, HealthSpec, HttpCheck};
use crate::health::{HealthSpec as Spec, UpstreamHealth};
use crate::spec::UpstreamSpec;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const HOUR: Duration = Duration::from_secs(3600);

/// Passes on why standings change.
struct Tell(UnboundedSender<Reason>);

impl Observer for Tell {
    fn observe(&self, event: &Event) {
        if let Event::Endpoint { reason, .. } = event {
            let _ = self.0.send(*reason);
        }
    }
}

fn told(upstream: &UpstreamSpec, active: &ActiveSpec) -> (Arc<UpstreamHealth>, UnboundedReceiver<Reason>) {
    let (sender, receiver) = unbounded_channel();
    let observer: Arc<dyn Observer> = Arc::new(Tell(sender));
    let spec = Spec { active: Some(active.clone()), ..Spec::default() };
    let health = UpstreamHealth::new(&upstream.name, &upstream.endpoints, &spec, None, &observer, Instant::now());
    (health, receiver)
}

fn quick(check: Check) -> ActiveSpec {
    let soon = Duration::from_millis(20);
    ActiveSpec { interval: soon, unhealthy_interval: soon, edge_interval: soon / 2, ..active(check) }
}

fn get() -> Check {
    Check::Http(HttpCheck::get("/health"))
}

/// Makes the probes that are due now, and waits for all of them.
async fn finish_all(round: &mut Round) {
    round.launch(Instant::now());
    while let Some(ended) = round.running.join_next_with_id().await {
        round.finish(ended, &mut || 0);
    }
}

#[test]
fn an_endpoint_goes_out_and_comes_back() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let upstream = upstream("u", &[server.address], None);
        let (health, mut reasons) = told(&upstream, &ActiveSpec { require: true, ..quick(get()) });
        let (prober, probing) = prober();
        let task = tokio::task::spawn_local(probing.run());
        prober.update([(&upstream, &health)], Instant::now());
        assert_eq!(reasons.recv().await, Some(Reason::ProbesPassed));
        server.behave(says(503, ""));
        assert_eq!(reasons.recv().await, Some(Reason::ProbesFailed));
        let seen = &health.snapshot().endpoints[0];
        assert_eq!(seen.standing.to_string(), "unhealthy");
        let words = "3 failed in a row, the last: 503, expected 200-399";
        assert_eq!(seen.cause, Some((Reason::ProbesFailed, words.into())));
        server.behave(says(200, ""));
        assert_eq!(reasons.recv().await, Some(Reason::ProbesPassed));
        assert!(health.standing(0).is_usable());
        assert!(prober.metrics().passed.value() >= 3 && prober.metrics().failed.value() >= 3);
        assert_eq!(prober.metrics().targets.value(), 1);
        // Without anyone who could ask it, the prober ends.
        drop(prober);
        task.await.unwrap();
    });
}

#[test]
fn identical_targets_of_several_upstreams_are_probed_once() {
    run(async {
        let server = Server::start(says(500, "")).await;
        let (one, two, other) = (
            upstream("one", &[server.address], None),
            upstream("two", &[server.address, server.address], None),
            upstream("other", &[server.address], None),
        );
        let spec = active(get());
        let healths =
            [watched(&one, &spec), watched(&two, &spec), watched(&other, &active(Check::Http(HttpCheck::get("/"))))];
        let mut round = Round::default();
        let pairs = [(&one, &healths[0]), (&two, &healths[1]), (&other, &healths[2])];
        round.update(targets(&pairs), Instant::now(), &mut || 0);
        finish_all(&mut round).await;
        // Another path is another question.
        assert_eq!((round.entries.len(), server.taken()), (2, 2));
        for (health, index) in [(&healths[0], 0), (&healths[1], 0), (&healths[1], 1), (&healths[2], 0)] {
            assert_eq!(health.verdict(index), Verdict::Unhealthy);
            assert_eq!(health.endpoints()[index].snapshot().probes.failed, 1);
        }
    });
}

#[test]
fn a_reload_keeps_verdict_counts_and_schedule() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let upstream = upstream("u", &[server.address], None);
        let spec = ActiveSpec { edge_interval: HOUR, interval: HOUR, ..active(get()) };
        let health = watched(&upstream, &spec);
        let mut round = Round::default();
        round.update(targets(&[(&upstream, &health)]), Instant::now(), &mut || 0);
        finish_all(&mut round).await;
        let due = round.due.clone();
        // A new view of the same upstream, and a second upstream of the same
        // place, which need not wait an hour to know.
        server.behave(says(500, ""));
        let next = HealthSpec { active: Some(spec.clone()), ..HealthSpec::default() };
        let quiet = crate::health::tests::quiet();
        let view =
            UpstreamHealth::new(&upstream.name, &upstream.endpoints, &next, Some(&health), &quiet, Instant::now());
        let mut second = upstream.clone();
        second.name = "second".into();
        let required = ActiveSpec { require: true, ..spec.clone() };
        let second_health = watched(&second, &spec);
        round.update(targets(&[(&upstream, &view), (&second, &second_health)]), Instant::now(), &mut || u64::MAX);
        assert_eq!((round.due.clone(), server.taken()), (due, 1));
        assert_eq!(view.verdict(0), Verdict::Healthy);
        // `require` makes it another target: it has to be asked itself.
        let third = watched(&second, &required);
        assert!(!third.is_usable(0));
        round.update(targets(&[(&upstream, &view), (&second, &third)]), Instant::now(), &mut || 0);
        assert_eq!(round.entries.len(), 2);
        finish_all(&mut round).await;
        assert_eq!((third.standing(0).to_string().as_str(), server.taken()), ("unhealthy", 2));
    });
}

#[test]
fn an_upstream_that_joins_a_target_takes_over_its_verdict() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let (one, two) = (upstream("one", &[server.address], None), upstream("two", &[server.address], None));
        let spec = ActiveSpec { require: true, interval: HOUR, ..active(get()) };
        let first = watched(&one, &spec);
        let mut round = Round::default();
        round.update(targets(&[(&one, &first)]), Instant::now(), &mut || 0);
        finish_all(&mut round).await;
        let second = watched(&two, &spec);
        assert!(first.is_usable(0) && !second.is_usable(0));
        round.update(targets(&[(&one, &first), (&two, &second)]), Instant::now(), &mut || 0);
        assert!(second.is_usable(0));
        assert_eq!(server.taken(), 1);
    });
}

#[test]
fn another_question_starts_from_the_old_verdict() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let upstream = upstream("u", &[server.address], None);
        let health = watched(&upstream, &active(get()));
        let mut round = Round::default();
        round.update(targets(&[(&upstream, &health)]), Instant::now(), &mut || 0);
        finish_all(&mut round).await;
        assert_eq!(health.verdict(0), Verdict::Healthy);
        server.behave(says(404, ""));
        let next = HealthSpec { active: Some(active(Check::Http(HttpCheck::get("/typo")))), ..HealthSpec::default() };
        let quiet = crate::health::tests::quiet();
        let view =
            UpstreamHealth::new(&upstream.name, &upstream.endpoints, &next, Some(&health), &quiet, Instant::now());
        view.adopt(Instant::now());
        round.update(targets(&[(&upstream, &view)]), Instant::now(), &mut || 0);
        // One failure does not take a healthy endpoint out, whatever is asked.
        finish_all(&mut round).await;
        assert!(view.standing(0).is_usable() && server.taken() == 2);
    });
}

#[test]
fn what_is_no_longer_a_target_is_left_alone() {
    run(async {
        let server = Server::start(says(500, "")).await;
        let upstream = upstream("u", &[server.address], None);
        let health = watched(&upstream, &active(get()));
        let mut round = Round::default();
        round.update(targets(&[(&upstream, &health)]), Instant::now(), &mut || 0);
        round.launch(Instant::now());
        round.update(Vec::new(), Instant::now(), &mut || 0);
        finish_all(&mut round).await;
        assert!(round.entries.is_empty() && round.due.is_empty() && round.tasks.is_empty());
        assert_eq!(health.verdict(0), Verdict::Unknown);
        // The same for one that was not being asked just then.
        round.update(targets(&[(&upstream, &health)]), Instant::now(), &mut || 0);
        round.update(Vec::new(), Instant::now(), &mut || 0);
        assert!(round.due.is_empty() && server.taken() == 1);
    });
}

#[test]
fn probes_that_cannot_be_made_change_nothing() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let upstream = upstream("u", &[server.address], None);
        let health =
            watched(&upstream, &active(Check::Http(HttpCheck { host: Some("\n".into()), ..HttpCheck::get("/") })));
        let mut round = Round::default();
        round.update(targets(&[(&upstream, &health)]), Instant::now(), &mut || 0);
        finish_all(&mut round).await;
        let seen = &health.snapshot().endpoints[0];
        assert_eq!((seen.standing.is_usable(), seen.probes.passed, seen.probes.failed), (true, 0, 0));
        assert_eq!(seen.probe.as_ref().and_then(|probe| probe.passed), None);
        assert_eq!(health.verdict(0), Verdict::Unknown);
        assert_eq!(round.due.len(), 1);
    });
}

#[test]
fn no_more_probes_run_at_once_than_may() {
    run(async {
        let server = Server::start(Manner::Silent).await;
        let upstream = upstream("u", &[server.address], None);
        // Each path is a target of its own.
        let ways = (0..300).map(|number| {
            let asked = Check::Http(HttpCheck::get(&format!("/{number}")));
            ActiveSpec { timeout: Duration::from_millis(100), ..ActiveSpec::new(asked) }
        });
        let healths: Vec<Arc<UpstreamHealth>> = ways.map(|way| watched(&upstream, &way)).collect();
        let pairs: Vec<_> = healths.iter().map(|health| (&upstream, health)).collect();
        let mut round = Round::default();
        round.update(targets(&pairs), Instant::now(), &mut || 0);
        assert_eq!(round.launch(Instant::now()), None);
        assert_eq!((round.running.len(), round.due.len()), (MOST_AT_ONCE, 300 - MOST_AT_ONCE));
        let ended = round.running.join_next_with_id().await.unwrap();
        round.finish(ended, &mut || 0);
        assert_eq!(round.late, 0);
        round.launch(Instant::now() + Duration::from_secs(1));
        assert_eq!((round.running.len(), round.late), (MOST_AT_ONCE, 1));
    });
}
