//! Tries failed calls again after growing, randomised waits, within one shared budget.
//!
//! - [`Backoff`] is the sequence of waits: constant, linear, exponential, Fibonacci or listed, with a [`Jitter`]. It needs
//!   neither Tower nor a runtime.
//! - [`RetrySchedule`] decides after each attempt: a pure core.
//! - [`RetryLayer`] is the Tower layer, and [`RetryLayer::run`] does the same for any block of code.
//!
//! ```
//! use seawall_backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer};
//! # use tower::{ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let client = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id + 1) });
//! let retry = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat));
//! let answer = retry.protect(client).oneshot(41).await;
//! assert_eq!(answer.ok(), Some(42));
//! # }
//! ```
//!
//! A call is retried when its outcome is worth it (the environment's classifier and [`RetryWhen`] say so), when doing it
//! twice does no harm ([`CallContext::idempotent`](seawall_core::CallContext::idempotent), or [`IfUnknown`]) or the other
//! side has not acted on it, when attempts are left, when the next one would start before the deadline, and when the
//! [`Budget`] pays. Otherwise the caller gets the last outcome unchanged, at once.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod advice;
mod backoff;
mod config;
mod curve;
mod delays;
mod error;
mod figures;
mod future;
mod jitter;
mod layer;
#[cfg(feature = "metrics")]
mod metrics;
mod pauses;
mod replay;
mod run;
mod schedule;
mod service;
mod shell;
mod spent;
mod stage;
mod watch;

pub use advice::{Advice, ByClass, Ended, Hint, RetryWhen};
pub use backoff::{Backoff, Position};
pub use config::{IfUnknown, RetryConfig};
pub use delays::Delays;
pub use error::{BackoffError, RetryError};
pub use figures::RetryFigures;
pub use future::RetryFuture;
pub use jitter::Jitter;
pub use layer::RetryLayer;
#[cfg(feature = "metrics")]
pub use metrics::RetryMetrics;
pub use pauses::Pauses;
pub use replay::{CloneRequest, Rebuild, Replay};
pub use run::RetryRun;
pub use schedule::{Next, RetrySchedule, Stopped};
pub use seawall_core::{Budget, Error, Rejection, WrapErrorLayer};
pub use service::Retry;
