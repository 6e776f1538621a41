//! A quota that several processes share.

mod bell;
mod demand;
pub(crate) mod gcra;
pub(crate) mod keyed;
pub(crate) mod quota;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod script;
pub(crate) mod store;
mod supply;
