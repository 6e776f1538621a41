//! Bounds how long a call may take, per attempt and in total, and carries the deadline on.
//!
//! ```
//! use seawall_timeout::{TimeoutConfig, TimeoutLayer};
//! use std::time::Duration;
//! # use tower::{ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), seawall_timeout::TimeoutError> {
//! # let client = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id + 1) });
//! let timeout = TimeoutLayer::new(TimeoutConfig::total(Duration::from_secs(5))?);
//! let answer = timeout.protect(client).oneshot(41).await;
//! assert_eq!(answer.ok(), Some(42));
//! # Ok(())
//! # }
//! ```
//!
//! The limit is fixed, or follows what is usual ([`AdaptiveConfig`]: 3 × p99). The deadline that a call brings along
//! counts when it is earlier, and a call that brings one that has passed is not even sent. Layers further in learn the
//! deadline through [`CarryDeadline`] or [`TimeoutLayer::inherited`], and calls that a handler makes through
//! [`inherited_deadline`].
//!
//! Streams and bodies are bounded by [`StreamLimits`]; what must finish although its caller has gone, by a `Shield`.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod adaptive;
mod carry;
mod config;
mod error;
mod future;
mod inherited;
mod layer;
#[cfg(feature = "metrics")]
mod metrics;
mod per_request;
mod service;
#[cfg(feature = "tokio")]
mod shield;
mod stall;
#[cfg(feature = "stream")]
mod stream;
mod watch;

pub use adaptive::{AdaptiveConfig, AdaptiveTimeout};
pub use carry::{CarryDeadline, NotCarried};
pub use config::TimeoutConfig;
pub use error::TimeoutError;
pub use future::TimeoutFuture;
pub use inherited::{InheritedTimeout, InheritedTimeoutLayer};
pub use layer::TimeoutLayer;
#[cfg(feature = "metrics")]
pub use metrics::TimeoutMetrics;
pub use per_request::{LimitOf, SameForAll};
pub use seawall_core::{Error, InheritDeadline, LatencyQuantile, Rejection, WrapErrorLayer, inherited_deadline};
pub use service::Timeout;
#[cfg(feature = "tokio")]
pub use shield::{Shield, ShieldFuture};
pub use stall::{StallTimer, StreamLimits};
#[cfg(feature = "stream")]
pub use stream::TimedStream;
