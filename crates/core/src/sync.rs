//! The atomics, and the lock for slow paths, that cores are written with: the standard library's, or the model checker's under `cfg(seawall_loom)`.

#[cfg(seawall_loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard, atomic};
#[cfg(not(seawall_loom))]
pub use std::sync::atomic;
#[cfg(not(seawall_loom))]
#[expect(
    clippy::disallowed_types,
    reason = "for slow paths only: who names it says why it is off the success path"
)]
pub use std::sync::{Arc, Mutex, MutexGuard};

/// Keeps a word on cache lines of its own, so that writers of its neighbours do not slow it.
pub use crossbeam_utils::CachePadded;
