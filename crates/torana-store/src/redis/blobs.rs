//! Bytes by key.

use super::Redis;
use super::link::Link;
use bytes::Bytes;
use redis::{Cmd, FromRedisValue, RedisResult, cmd};
use std::sync::Arc;
use std::time::Duration;
use torana_core::store::{Blobs, Soon, StoreError};

/// How many keys are looked through at a time.
const STEP: u32 = 500;
/// How often a key may vanish between being there and being read.
const TRIES: u32 = 3;

impl Redis {
    fn blob(&self, key: &[u8]) -> Vec<u8> {
        [self.settings.prefix.as_bytes(), b"blob:", key].concat()
    }

    fn tag(&self, tag: &str) -> Vec<u8> {
        [self.settings.prefix.as_bytes(), b"tag:", tag.as_bytes()].concat()
    }

    fn query<T: FromRedisValue + 'static>(&self, command: Cmd) -> Soon<Result<T, StoreError>> {
        let settings = Arc::clone(&self.settings);
        Soon::Later(Box::pin(async move {
            let query = |mut connection| async move { command.query_async(&mut connection).await };
            Link::of(&settings).run(&settings, query).await
        }))
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 50)
}

impl Blobs for Redis {
    fn get(&self, key: &[u8]) -> Soon<Result<Option<Bytes>, StoreError>> {
        let mut command = cmd("GET");
        command.arg(self.blob(key));
        self.query(command)
    }

    fn put(&self, key: &[u8], value: Bytes, ttl: Duration, tags: &[&str]) -> Soon<Result<(), StoreError>> {
        let key = self.blob(key);
        let mut commands = redis::pipe();
        // First of all, so that nothing is kept that its tags do not know. The
        // keys may be on several nodes, so each is a step of its own.
        for tag in tags {
            let tag = self.tag(tag);
            commands.cmd("SADD").arg(&tag).arg(&key).ignore();
            commands.cmd("PEXPIRE").arg(&tag).arg(millis(ttl)).arg("NX").ignore();
            commands.cmd("PEXPIRE").arg(&tag).arg(millis(ttl)).arg("GT").ignore();
        }
        commands.cmd("SET").arg(&key).arg(&value[..]).arg("PX").arg(millis(ttl)).ignore();
        let settings = Arc::clone(&self.settings);
        Soon::Later(Box::pin(async move {
            let put = |mut connection| async move { commands.query_async(&mut connection).await };
            Link::of(&settings).run(&settings, put).await
        }))
    }

    fn add(&self, key: &[u8], value: Bytes, ttl: Duration) -> Soon<Result<Option<Bytes>, StoreError>> {
        let (key, settings) = (self.blob(key), Arc::clone(&self.settings));
        Soon::Later(Box::pin(async move {
            let add = |mut connection| async move {
                for _ in 0..TRIES {
                    let mut set = cmd("SET");
                    set.arg(&key).arg(&value[..]).arg("NX").arg("PX").arg(millis(ttl));
                    let is_set: Option<String> = set.query_async(&mut connection).await?;
                    if is_set.is_some() {
                        return Ok(None);
                    }
                    let known: Option<Bytes> = cmd("GET").arg(&key).query_async(&mut connection).await?;
                    if known.is_some() {
                        return Ok(known);
                    }
                }
                Err(redis::RedisError::from((redis::ErrorKind::Client, "the key comes and goes")))
            };
            Link::of(&settings).run(&settings, add).await
        }))
    }

    fn delete(&self, key: &[u8]) -> Soon<Result<(), StoreError>> {
        let mut command = cmd("UNLINK");
        command.arg(self.blob(key));
        self.query(command)
    }

    fn delete_tagged(&self, tag: &str) -> Soon<Result<(), StoreError>> {
        let (tag, settings) = (self.tag(tag), Arc::clone(&self.settings));
        Soon::Later(Box::pin(async move {
            let link = Link::of(&settings);
            // In parts, each within the time of a request. A key leaves its
            // tag after it is gone: whoever breaks off here can begin again.
            loop {
                let tag = tag.clone();
                let part = |mut connection| async move {
                    let mut some = cmd("SRANDMEMBER");
                    some.arg(&tag).arg(STEP);
                    let keys: Vec<Bytes> = some.query_async(&mut connection).await?;
                    if keys.is_empty() {
                        return Ok(true);
                    }
                    unlink(&keys, &mut connection).await?;
                    let mut gone = cmd("SREM");
                    gone.arg(&tag);
                    for key in &keys {
                        gone.arg(&key[..]);
                    }
                    let _: u64 = gone.query_async(&mut connection).await?;
                    Ok(false)
                };
                if link.run(&settings, part).await? {
                    return Ok(());
                }
            }
        }))
    }

    fn delete_prefix(&self, prefix: &[u8]) -> Soon<Result<(), StoreError>> {
        let (pattern, settings) = (pattern(&self.blob(prefix)), Arc::clone(&self.settings));
        Soon::Later(Box::pin(async move {
            let link = Link::of(&settings);
            let mut cursor = 0_u64;
            loop {
                let pattern = pattern.clone();
                let part = |mut connection| async move {
                    let mut scan = cmd("SCAN");
                    scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
                    let (next, keys): (u64, Vec<Bytes>) = scan.query_async(&mut connection).await?;
                    unlink(&keys, &mut connection).await?;
                    Ok(next)
                };
                cursor = link.run(&settings, part).await?;
                if cursor == 0 {
                    return Ok(());
                }
            }
        }))
    }
}

async fn unlink(keys: &[Bytes], connection: &mut redis::aio::MultiplexedConnection) -> RedisResult<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut commands = redis::pipe();
    for key in keys {
        commands.cmd("UNLINK").arg(&key[..]).ignore();
    }
    commands.query_async(connection).await
}

/// A pattern of `SCAN` for keys that begin with `prefix`.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}
