//! What gateways tell each other: a stream for each topic.
//!
//! Positions are the server's own ids, a time and a number, so they go on
//! growing when a server has lost everything. Whoever asks what came after a
//! record is given that record first: if it is not there any more, something may
//! be missing.

use super::Redis;
use super::link::Link;
use bytes::Bytes;
use redis::{RedisError, cmd};
use std::sync::Arc;
use torana_core::store::{Heard, Journal, Position, Soon, StoreError};

/// About how many records are remembered.
const REMEMBERED: u32 = 4096;

/// How many are read at a time.
const STEP: usize = 500;

/// A topic that nobody has told anything about for so long is forgotten.
const FORGOTTEN_AFTER: u32 = 7 * 24 * 3600;

/// Bits of a position for the number; there is one for each record of a
/// millisecond.
const NUMBER_BITS: u32 = 20;

impl Redis {
    fn topic(&self, topic: &[u8]) -> Vec<u8> {
        [self.settings.prefix.as_bytes(), b"log:", topic].concat()
    }
}

impl Journal for Redis {
    fn tell(&self, topic: &[u8], record: Bytes) -> Soon<Result<Position, StoreError>> {
        let (topic, settings) = (self.topic(topic), Arc::clone(&self.settings));
        Soon::Later(Box::pin(async move {
            let tell = |mut connection| async move {
                let mut commands = redis::pipe();
                let add = commands.cmd("XADD").arg(&topic).arg("MAXLEN").arg("~").arg(REMEMBERED);
                add.arg("*").arg("r").arg(&record[..]);
                commands.cmd("EXPIRE").arg(&topic).arg(FORGOTTEN_AFTER).ignore();
                let (id,): (String,) = commands.query_async(&mut connection).await?;
                position(&id)
            };
            Link::of(&settings).run(&settings, tell).await
        }))
    }

    fn hear(&self, topic: &[u8], from: Position) -> Soon<Result<Heard, StoreError>> {
        let (topic, settings) = (self.topic(topic), Arc::clone(&self.settings));
        Soon::Later(Box::pin(async move {
            let hear = |mut connection| async move {
                let mut range = cmd("XRANGE");
                range.arg(&topic).arg(id(from)).arg("+").arg("COUNT").arg(STEP);
                let read: Vec<(String, (String, Bytes))> = range.query_async(&mut connection).await?;
                let has_more = read.len() == STEP;
                let mut records = Vec::with_capacity(read.len());
                for (id, (_, record)) in read {
                    records.push((position(&id)?, record));
                }
                let knows = records.first().is_some_and(|(first, _)| *first == from);
                if knows {
                    records.remove(0);
                }
                Ok(Heard { records, has_gap: from != 0 && !knows, has_more })
            };
            Link::of(&settings).run(&settings, hear).await
        }))
    }
}

fn position(id: &str) -> Result<Position, RedisError> {
    let parts = id.split_once('-').and_then(|(time, number)| Some((time.parse::<u64>().ok()?, number.parse().ok()?)));
    let (time, number): (u64, u64) =
        parts.ok_or_else(|| RedisError::from((redis::ErrorKind::Client, "this is no id of a stream")))?;
    Ok(time << NUMBER_BITS | number.min((1 << NUMBER_BITS) - 1))
}

fn id(position: Position) -> String {
    format!("{}-{}", position >> NUMBER_BITS, position & ((1 << NUMBER_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ids_and_grow_like_them() {
        let ids = ["0-1", "1-0", "1764166800000-0", "1764166800000-1", "1764166800001-0"];
        let positions = ids.map(|text| position(text).unwrap());
        assert!(positions.is_sorted());
        assert_eq!(positions.map(id), ids);
        assert!(["", "1", "a-b", "1-"].iter().all(|text| position(text).is_err()));
    }
}
