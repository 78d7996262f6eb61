//! Requests of the gateway's own.

use crate::attempt::Tries;
use crate::endpoint::BODY_IDLE;
use crate::held::hold;
use crate::replay::Replay;
use crate::time_left;
use crate::upstream::Upstream;
use torana_core::deadline::Deadline;
use torana_core::exchange::Notes;
use torana_core::names::KnownName;
use torana_core::outbound::OutboundRequest;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_net::client::h1::Outgoing;
use torana_net::timer;

/// Sends a request of the gateway's own to `upstream`. It passes the same gates
/// as a client's; nothing stands in for the upstream, since who asks can tell
/// better what to do without it.
pub(crate) async fn send(upstream: &Upstream, mut request: OutboundRequest) -> Result<Reply, Rejection> {
    let place = upstream.place(request.deadline).await?;
    let mut replay = Replay::new(std::mem::take(&mut request.body), upstream.spec.replay_bytes);
    let mut tries = Tries::start(upstream, request.method, request.deadline, None, None);
    let mut notes = Notes::new(timer::coarse_now());
    loop {
        let mut call = tries.next()?;
        let Some(body) = replay.play() else { return Err(tries.over()) };
        let endpoint = &upstream.endpoints[call.index];
        let host = request.host.as_deref().unwrap_or(&endpoint.spec().authority);
        request.fields.set_own(KnownName::Host, host.as_bytes());
        if let Some(header) = &upstream.spec.deadline_header {
            time_left::tell(&mut request.fields, Some(header), call.deadline, Deadline::NONE);
        }
        let outgoing = Outgoing {
            method: request.method,
            method_text: request.method.as_str(),
            target: &[request.path_and_query.as_bytes()],
            fields: &request.fields,
            upgrade: false,
            deadline: call.deadline,
            body_idle: BODY_IDLE,
            interim: None,
        };
        let wait = match endpoint.attempt(&outgoing, body, call.fresh, &mut notes).await {
            Ok(mut reply) => {
                let in_flight = call.in_flight.take();
                match tries.replied(call, &reply, &mut replay) {
                    Some(wait) => wait,
                    None => {
                        replay.settle();
                        hold(&mut reply, place, in_flight);
                        return Ok(reply);
                    }
                }
            }
            Err(failure) => tries.failed(call, failure, &mut replay)?,
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}
