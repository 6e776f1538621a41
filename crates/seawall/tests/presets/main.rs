//! What each preset does under a hang, a failure, a refusal, a deadline and too much load, in virtual time: every constant
//! and every part of both.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod fallback;
#[cfg(feature = "metrics")]
mod metrics;
mod scope;
mod scripted;
mod server;
mod settings;
