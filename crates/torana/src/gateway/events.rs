//! Health and breakers beside the requests: probing, and telling what changed.

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;
use torana_control::notice;
use torana_plane::metrics::Metrics;
use torana_plane::plan::Plan;
use torana_upstream::breaker::{Breaker, Transition};
use torana_upstream::health::event::{Event, Observer};
use torana_upstream::health::probe::{Prober, prober as halves};
use torana_upstream::state::Watch;

/// Lines that may wait to be written. Whoever causes an event must not wait for
/// standard error; what does not fit is counted by the metrics all the same.
const WAITING: usize = 1024;

/// Counts what happens to upstreams, and tells it on standard error.
pub(super) fn watch(metrics: &Arc<Metrics>) -> io::Result<Watch> {
    let (sender, lines) = sync_channel(WAITING);
    thread::Builder::new().name("torana-events".into()).spawn(move || tell(&lines))?;
    let counting = Counting { metrics: metrics.clone(), lines: sender.clone() };
    let metrics = metrics.clone();
    Ok(Watch {
        health: Arc::new(counting),
        breaker: Arc::new(move |breaker: &Breaker, transition: &Transition| {
            metrics.breaker_event(breaker.name(), transition);
            let _ = sender.try_send(shown(breaker, transition));
        }),
    })
}

fn tell(lines: &Receiver<String>) {
    for line in lines {
        notice::say(&line);
    }
}

struct Counting {
    metrics: Arc<Metrics>,
    lines: SyncSender<String>,
}

impl Observer for Counting {
    fn observe(&self, event: &Event) {
        self.metrics.health_event(event);
        let line = match event {
            Event::Endpoint { upstream, endpoint, to, reason, words, .. } => {
                let now = if to.is_usable() { "is back" } else { "is out" };
                format!("upstream {upstream}: {endpoint} {now} ({}): {words}", reason.code())
            }
            Event::Panic { upstream, on: true, usable, candidates } => format!(
                "upstream {upstream}: only {usable} of {candidates} endpoints are usable; all are asked until more are back"
            ),
            Event::Panic { upstream, on: false, usable, candidates } => {
                format!("upstream {upstream}: {usable} of {candidates} endpoints are usable; health counts again")
            }
        };
        let _ = self.lines.try_send(line);
    }
}

fn shown(breaker: &Breaker, transition: &Transition) -> String {
    let mut line = format!(
        "breaker {}: {} after {} ({})",
        breaker.name(),
        transition.to.as_str(),
        transition.from.as_str(),
        transition.why.as_str()
    );
    if let Some(time) = transition.open_for {
        // Writing to a String cannot fail.
        let _ = write!(line, ", for {} s", time.as_secs());
    }
    line
}

/// Starts the thread that probes.
pub(super) fn prober() -> io::Result<Prober> {
    let (prober, probing) = halves();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    thread::Builder::new().name("torana-health".into()).spawn(move || runtime.block_on(probing.run()))?;
    Ok(prober)
}

/// Puts what is known about the upstreams of `plan` in force, and probes what
/// it wants probed.
pub(super) fn adopt(prober: &Prober, plan: &Plan) {
    let pairs = plan.upstreams.iter().zip(&plan.states).map(|(spec, state)| (&**spec, state.health()));
    prober.update(pairs, Instant::now());
}
