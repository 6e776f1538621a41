//! The cache in the memory of one process, for when there is no Redis.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use quick_cache::{Weighter, sync};
use redis_protocol::resp2::types::{BytesFrame, Resp2Frame as _};
use tokio::io::{AsyncRead, AsyncWrite};

use super::resp::Resp;
use super::{Cache, Cached, StateError};
use seawall_core::{Clock, MonotonicClock, Timestamp};

/// Most entries that are kept.
const MAX_ENTRIES: usize = 50_000;
/// Most bytes of keys and values that are kept: 64 MiB.
const MAX_BYTES: u64 = 64 << 20;

/// Entries with a time to live, bounded in number and in bytes.
#[derive(Debug)]
pub struct MemoryCache<K = MonotonicClock> {
    entries: sync::Cache<String, Entry, Bytewise>,
    clock: K,
}

#[derive(Debug, Clone)]
struct Entry {
    value: Bytes,
    until: Timestamp,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<String, Entry> for Bytewise {
    fn weight(&self, key: &String, entry: &Entry) -> u64 {
        u64::try_from(key.len().saturating_add(entry.value.len())).unwrap_or(u64::MAX).max(1)
    }
}

impl<K: Clock> MemoryCache<K> {
    /// Empty, on this clock.
    pub fn new(clock: K) -> Self {
        Self { entries: sync::Cache::with_weighter(MAX_ENTRIES, MAX_BYTES, Bytewise), clock }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.clear();
    }

    fn look_up(&self, key: &str) -> Option<Cached> {
        let entry = self.entries.get(key)?;
        let remaining = entry.until.since(self.clock.now());
        if remaining.is_zero() {
            self.entries.remove(key);
            return None;
        }
        Some(Cached { value: entry.value, remaining })
    }

    fn put(&self, key: &str, value: Bytes, ttl: Duration) {
        let until = self.clock.now().saturating_add(ttl);
        self.entries.insert(key.to_owned(), Entry { value, until });
    }

    /// Answers the commands `GET`, `PTTL`, `SET … PX`, `DEL` and `PING` from one connection until the other side closes
    /// it; other commands get an error, as from Redis.
    ///
    /// # Errors
    /// When the connection breaks or what comes is no RESP.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> io::Result<()> {
        let mut connection = Resp::new(stream);
        while let Some(frame) = connection.receive().await? {
            connection.send(&[self.answer(frame)]).await?;
        }
        Ok(())
    }

    fn answer(&self, command: BytesFrame) -> BytesFrame {
        let BytesFrame::Array(frames) = command else { return refused("commands are arrays") };
        let words: Option<Vec<&[u8]>> = frames.iter().map(BytesFrame::as_bytes).collect();
        let Some([name, arguments @ ..]) = words.as_deref() else { return refused("words are strings") };
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"GET", [key]) => text(key)
                .and_then(|key| self.look_up(key))
                .map_or(BytesFrame::Null, |cached| BytesFrame::BulkString(cached.value)),
            (b"PTTL", [key]) => BytesFrame::Integer(
                text(key)
                    .and_then(|key| self.look_up(key))
                    .map_or(-2, |cached| i64::try_from(cached.remaining.as_millis()).unwrap_or(i64::MAX)),
            ),
            (b"SET", [key, value, unit, ttl]) if unit.eq_ignore_ascii_case(b"PX") => {
                let (Some(key), Some(ttl)) = (text(key), text(ttl).and_then(|ttl| ttl.parse().ok())) else {
                    return refused("value is not an integer or out of range");
                };
                self.put(key, Bytes::copy_from_slice(value), Duration::from_millis(ttl));
                BytesFrame::SimpleString(Bytes::from_static(b"OK"))
            }
            (b"DEL", [key]) => {
                BytesFrame::Integer(i64::from(text(key).is_some_and(|key| self.entries.remove(key).is_some())))
            }
            (b"PING", []) => BytesFrame::SimpleString(Bytes::from_static(b"PONG")),
            _ => refused("unknown command, or not this many arguments"),
        }
    }
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

fn refused(reason: &str) -> BytesFrame {
    BytesFrame::Error(format!("ERR {reason}").into())
}

#[async_trait]
impl<K: Clock + std::fmt::Debug> Cache for MemoryCache<K> {
    async fn get(&self, key: &str) -> Result<Option<Cached>, StateError> {
        Ok(self.look_up(key))
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StateError> {
        self.put(key, value, ttl);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StateError> {
        self.entries.remove(key);
        Ok(())
    }
}
