//! Connections to database and cache: pooled, checked after a second of idling, and replaced once when stale.

use std::pin::Pin;
use std::time::Duration;

use seawall::pool::{Manager, Pool, PoolConfig, RunError};

use super::StateError;

/// Connections per instance and part at most: six services together stay below PostgreSQL's default of 100.
const MAX: usize = 10;
/// A caller that waits longer answers without the database or the cache.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// Loopback, and PostgreSQL's fork of a process.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(900);
/// Between connects while they fail: a state instance that was started anew is found at once.
const CONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// A pool with this stack's settings.
pub(super) fn pool<M: Manager>(manager: M) -> Pool<M> {
    let config = PoolConfig::new()
        .with_max(MAX)
        .with_acquire_timeout(ACQUIRE_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_connect_backoff(CONNECT_BACKOFF.0, CONNECT_BACKOFF.1);
    Pool::with_config(manager, config).expect("constants in their ranges")
}

/// What an operation on a connection returns.
pub(crate) type Operation<'a, T, E = StateError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// An operation as a pool takes it. Boxed: the compiler cannot prove that the future of a closure which borrows its
/// connection for any lifetime is `Send`, and services must be.
pub(crate) fn operation<C, T, E, F>(operation: F) -> F
where
    F: for<'a> FnMut(&'a mut C) -> Operation<'a, T, E>,
{
    operation
}

/// Why an operation of a pool failed, as a [`StateError`].
pub(super) fn flattened(error: RunError<StateError>, part: &'static str) -> StateError {
    match error {
        RunError::Operation(error) => error,
        RunError::Pool(source) => StateError::NoConnection { part, source: Box::new(source) },
    }
}
