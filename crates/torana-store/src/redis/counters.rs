//! Counters: one script, one step.

use super::Redis;
use super::link::Link;
use aws_lc_rs::digest::{Context, SHA256};
use redis::RedisResult;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use torana_core::store::quota::{Algorithm, Quota, Standing};
use torana_core::store::{Counters, Soon, Standings, StoreError, Take, Taken};

/// The script, and what numbers tickets.
pub(super) struct Script {
    script: Arc<redis::Script>,
    tickets: AtomicU64,
    /// Whether the time of [`Take::now`] counts, and not the server's.
    is_told_time: bool,
}

impl Script {
    pub(super) fn new() -> Script {
        Script {
            script: Arc::new(redis::Script::new(include_str!("take.lua"))),
            tickets: AtomicU64::new(1),
            is_told_time: false,
        }
    }
}

impl Redis {
    /// The same with the gateway's time in place of the server's, for tests
    /// that hold it.
    #[must_use]
    pub fn with_time_of_take(mut self) -> Redis {
        self.script.is_told_time = true;
        self
    }
}

const fn word(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Bucket => "bucket",
        Algorithm::FixedWindow => "fixed",
        Algorithm::SlidingWindow => "sliding",
        Algorithm::SlidingLog => "log",
        Algorithm::Concurrency => "places",
    }
}

/// The key of the counters: a digest, because keys of clients may be secret,
/// long, or hold what stands for something in a key. Limits that have changed
/// are counted anew, so their numbers are part of it.
fn tag(prefix: &str, take: &Take<'_>) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(&(take.scope.len() as u64).to_le_bytes());
    digest.update(take.scope.as_bytes());
    for quota in take.quotas {
        digest.update(&(quota.name.len() as u64).to_le_bytes());
        digest.update(quota.name.as_bytes());
        digest.update(word(quota.algorithm).as_bytes());
        for number in [quota.amount, quota.period, quota.tick, quota.burst] {
            digest.update(&number.to_le_bytes());
        }
    }
    digest.update(take.key);
    let digest = digest.finish();
    let mut text = format!("{prefix}limit:{{");
    for byte in digest.as_ref().iter().take(16) {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('}');
    text
}

/// The key of what one quota remembers besides. By its position: two of one
/// name are two.
fn key(tag: &str, position: usize) -> String {
    format!("{tag}:{position}")
}

impl Counters for Redis {
    fn take(&self, take: &Take<'_>) -> Soon<Result<Taken, StoreError>> {
        let tag = tag(&self.settings.prefix, take);
        let ticket = self.script.tickets.fetch_add(1, Ordering::Relaxed);
        let mut call = redis::Cmd::with_capacity(16 + take.quotas.len() * 7, 1024);
        call.arg("EVALSHA").arg(self.script.script.get_hash());
        call.arg(take.quotas.len() + 1).arg(&tag);
        for position in 0..take.quotas.len() {
            call.arg(key(&tag, position));
        }
        if self.script.is_told_time {
            call.arg(take.now);
        } else {
            call.arg("");
        }
        call.arg(take.cost).arg(take.up_to).arg(member(self.settings.holder, ticket));
        for quota in take.quotas {
            call.arg(word(quota.algorithm));
            for number in [quota.amount, quota.period, quota.tick, quota.burst, quota.slack] {
                call.arg(number);
            }
        }
        let (settings, script) = (Arc::clone(&self.settings), Arc::clone(&self.script.script));
        Soon::Later(Box::pin(async move {
            let link = Link::of(&settings);
            let numbers: Vec<u64> = link
                .run(&settings, |mut connection| async move {
                    match call.query_async(&mut connection).await {
                        Err(error) if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript) => {
                            script.prepare_invoke().load_async(&mut connection).await?;
                            call.query_async(&mut connection).await
                        }
                        result => result,
                    }
                })
                .await?;
            read(&numbers, ticket).ok_or_else(|| StoreError::Refused("an answer that is none".into()))
        }))
    }

    fn release(&self, take: &Take<'_>, ticket: u64) {
        let is_places = |quota: &Quota| quota.algorithm == Algorithm::Concurrency;
        let places = take.quotas.iter().enumerate().filter(|(_, quota)| is_places(quota));
        let tag = tag(&self.settings.prefix, take);
        let keys: Vec<String> = places.map(|(position, _)| key(&tag, position)).collect();
        let settings = Arc::clone(&self.settings);
        tokio::task::spawn_local(async move {
            let member = member(settings.holder, ticket);
            let mut commands = redis::pipe();
            for key in &keys {
                commands.cmd("ZREM").arg(key).arg(&member).ignore();
            }
            let remove = |mut connection| async move {
                let result: RedisResult<()> = commands.query_async(&mut connection).await;
                result
            };
            // Without it the places are free when their time is over.
            let _ = Link::of(&settings).run(&settings, remove).await;
        });
    }
}

fn member(holder: u64, ticket: u64) -> String {
    format!("{holder:x}:{ticket}")
}

fn read(numbers: &[u64], ticket: u64) -> Option<Taken> {
    let (granted, rest) = numbers.split_first()?;
    let mut standings = Standings::default();
    for numbers in rest.chunks_exact(4) {
        let [left, reset, retry, wait] = numbers.try_into().ok()?;
        standings.push(Standing { left, reset, retry, wait });
    }
    Some(Taken { granted: *granted, standings, ticket })
}
