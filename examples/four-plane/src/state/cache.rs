//! What the services ask of the cache.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use seawall::pool::PoolStatus;

use super::StateError;

/// How long an entry lives: 300 s.
pub const TTL: Duration = Duration::from_mins(5);

/// A value and how long it will still be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// What was set.
    pub value: Bytes,
    /// Time until it goes; its age is the time it was given less this.
    pub remaining: Duration,
}

/// The cache. It may forget an entry at any time before its time is over, never keeps one longer.
#[async_trait]
pub trait Cache: Send + Sync + std::fmt::Debug {
    /// What is there under this key.
    async fn get(&self, key: &str) -> Result<Option<Cached>, StateError>;

    /// Puts a value there for `ttl`, in whole milliseconds, at least 1.
    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StateError>;

    /// Removes what is there.
    async fn delete(&self, key: &str) -> Result<(), StateError>;

    /// The connections to it, where it is in another process.
    fn connections(&self) -> Option<PoolStatus> {
        None
    }
}
