//! The gateway as its users meet it: the real binary, real sockets.
//!
//! | module | shows |
//! |---|---|
//! | `scenarios` | everything that can be written as data |
//! | `streaming` | bodies, events and tunnels, as they flow |
//! | `interim` | replies before the reply, such as 103 |
//! | `fail_closed` | nobody passes when nobody can tell: everything that proves callers, taken away |
//! | `failures` | what happens when either side goes away |
//! | `caching` | copies of replies: who gets them, and who asks for them |
//! | `resilience` | health, breakers, retries, fallbacks, balancing |
//! | `discovery` | endpoints that come and go, and drained ones |
//! | `deadlines` | how much time there is, and who is told |
//! | `hedging` | a second endpoint is asked when the first is slow |
//! | `identity` | who the caller is, and what happens when nobody can tell |
//! | `mirroring` | copies of requests, and answers compared |
//! | `aggregation` | one answer of several services' answers |
//! | `http2`, `tls` | the other ways to speak; `frames` is HTTP/2 by hand |
//! | `limits` | what takes many connections or streams to show |
//! | `consumers` | keys and other credentials, and the file they are kept in |
//! | `overload` | too long, too many, or twice |
//! | `rate_limit`, `shared_cache` | limits and copies that gateways share through Redis |
//! | `control` | reload and shutdown |
//! | `hand_over` | socket activation, and one process taking over from another |
//! | `secrets` | nothing that is secret is ever shown, wherever it comes from and goes to |
//! | `smuggling`, `downgrade` | requests with two readings, from HTTP/1.1 and from HTTP/2 |
//! | `cve` | other gateways' mistakes, one test each |
//! | `load` | reloads and slow clients beside traffic |

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod aggregation;
mod caching;
mod consumers;
mod control;
mod cve;
mod deadlines;
mod discovery;
mod downgrade;
mod fail_closed;
mod failures;
mod frames;
mod hand_over;
mod hedging;
mod http2;
mod identity;
mod interim;
mod limits;
mod load;
mod mirroring;
mod overload;
mod rate_limit;
mod resilience;
mod scenarios;
mod secrets;
mod shared_cache;
mod smuggling;
mod streaming;
mod tls;
