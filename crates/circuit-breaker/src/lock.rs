#![cfg_attr(
    not(seawall_loom),
    expect(clippy::disallowed_types, reason = "only a change of state takes it, no call while the circuit is closed")
)]

#[cfg(seawall_loom)]
use loom::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(seawall_loom))]
use std::sync::{Mutex, MutexGuard};

/// The lock that a change of state takes.
#[derive(Debug)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Nothing under the lock runs code of others, so a panic cannot leave it half done.
    pub(crate) fn get(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
