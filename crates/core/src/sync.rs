//! The atomics that cores are written with: the standard library's, or the model checker's under `cfg(seawall_loom)`.

#[cfg(seawall_loom)]
pub use loom::sync::atomic;
#[cfg(not(seawall_loom))]
pub use std::sync::atomic;

/// Keeps a word on cache lines of its own, so that writers of its neighbours do not slow it.
pub use crossbeam_utils::CachePadded;
