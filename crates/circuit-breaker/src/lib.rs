//! Stops calling a dependency that fails or is slow, and finds out carefully when it is well again.
//!
//! ```
//! use seawall_circuit_breaker::{BreakerConfig, CircuitBreakerLayer, Error};
//! use std::io;
//! use tower::{Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let layer = CircuitBreakerLayer::new(BreakerConfig::default());
//! let mut client = layer.protect(service_fn(async |_: ()| Err::<(), _>(io::Error::other("down"))));
//!
//! for _ in 0..20 {
//!     assert!(matches!(client.ready().await.unwrap().call(()).await, Err(Error::Inner(_))));
//! }
//! let refused = client.ready().await.unwrap().call(()).await.unwrap_err();
//! assert!(refused.rejection().is_some_and(|rejection| rejection.retry_after().is_some()));
//! # }
//! ```
//!
//! It does the same for a client of one's own, and for any future without Tower:
//!
//! ```no_run
//! # use seawall_circuit_breaker::{BreakerConfig, CircuitBreakerLayer, Error};
//! # use tower::{Service, ServiceExt};
//! # async fn call() -> Result<(), Error<reqwest::Error>> {
//! let layer = CircuitBreakerLayer::new(BreakerConfig::default());
//! let mut client = layer.protect(reqwest::Client::new());
//!
//! let request = reqwest::Request::new(reqwest::Method::GET, "http://127.0.0.1:8080/".parse().unwrap());
//! let response = client.ready().await?.call(request).await?;
//!
//! let same_breaker = layer.run(reqwest::get("http://127.0.0.1:8080/")).await?;
//! # let _ = (response, same_breaker);
//! # Ok(())
//! # }
//! ```
//!
//! By default only `Err` is a failure. For HTTP, where a 500 is an `Ok`, give the layer a classifier:
//! `CircuitBreakerLayer::with_env(config, Env::new().with_classifier(…))`.
//!
//! What counts, what opens and closes it, and what each setting means is on the pages of [`Breaker`] and
//! [`BreakerConfigBuilder`].
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod admission;
mod breaker;
mod builder;
mod change;
mod check;
mod config;
mod control;
mod count_window;
mod counters;
mod error;
mod evidence;
mod figures;
mod guard;
mod hooks;
mod hot;
mod layer;
mod ledger;
mod lock;
mod mark;
#[cfg(feature = "metrics")]
mod metrics;
mod peers;
mod ramp;
mod recording;
mod recovery;
mod results;
mod schedule;
mod seconds;
mod settings;
mod snapshot;
mod state;
mod streak;
mod tick;
mod ticket;
mod time_window;
mod transitions;
mod watch;
mod word;

pub use breaker::Breaker;
pub use builder::BreakerConfigBuilder;
pub use change::{Cause, Change, Outage};
pub use config::{BreakerConfig, CountAs, Window};
pub use error::BreakerConfigError;
pub use figures::Figures;
pub use guard::BreakerGuard;
pub use layer::{CircuitBreaker, CircuitBreakerLayer, KeyedCircuitBreakerLayer};
#[cfg(feature = "metrics")]
pub use metrics::BreakerMetrics;
pub use peers::Peers;
pub use recovery::Recovery;
pub use seawall_core::{Class, Clock, Env, Error, MonotonicClock, Outcome, Rejection, Timestamp, WrapErrorLayer};
pub use snapshot::Snapshot;
pub use state::State;
pub use ticket::BreakerTicket;
