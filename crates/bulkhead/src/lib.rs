//! Limits how many calls one dependency may hold at once, so that it cannot take the rest down.
//!
//! ```
//! use seawall_bulkhead::{BulkheadConfig, BulkheadLayer};
//! use tower::{Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id + 1) });
//! let mut client = BulkheadLayer::new(BulkheadConfig::new(10)?).protect(client);
//! assert_eq!(client.ready().await?.call(1).await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! [`Bulkhead`] fails fast: the call that finds all places taken is refused at once, for one atomic operation and no
//! clock reading. [`PriorityBulkhead`] also does, and keeps places for calls that matter. [`QueueingBulkhead`] lets a
//! bounded number of calls wait a bounded time, and serves them in an [`Order`]: first come, first served; the newest,
//! the nearest deadline or the most critical first; or each tenant by its [share](Shares), what one leaves idle lent to
//! the others. [`BackPressureLayer`] lets services wait before they are ready. `IsolateLayer` (feature `tokio`) runs a dangerous dependency on a runtime of its own.
//!
//! - A place is taken in `call`, never in `poll_ready` (but for back-pressure), and given back however the call ends: answered, failed, timed
//!   out, dropped or panicked.
//! - A call may weigh more than one place ([`CallContext::cost`](seawall_core::CallContext)).
//! - The limit can change while calls are under way; [`Bulkhead::drain`] ends a service in good order.
//! - All clones of a layer and all services that it makes share the places; [`KeyedLayer`](seawall_core::KeyedLayer)
//!   keeps a bulkhead per host, tenant or route.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod accounts;
mod back_pressure;
mod bulkhead;
mod config;
mod deadline_line;
mod drain;
mod error;
#[cfg(feature = "tokio")]
mod isolate;
mod layer;
mod line;
#[cfg(feature = "metrics")]
mod metrics;
mod order;
mod places;
mod priority;
mod queue;
mod queueing;
mod queueing_config;
mod reserve;
mod share_lines;
mod shares;
mod spares;
mod wait;

pub use back_pressure::{BackPressure, BackPressureLayer, Reserving};
pub use bulkhead::Bulkhead;
pub use config::BulkheadConfig;
pub use drain::Drain;
pub use error::BulkheadError;
#[cfg(feature = "tokio")]
pub use isolate::{Isolate, IsolateFuture, IsolateLayer};
pub use layer::{
    BulkheadLayer, BulkheadService, PriorityBulkheadLayer, PriorityBulkheadService, QueueingBulkheadLayer,
    QueueingBulkheadService,
};
#[cfg(feature = "metrics")]
pub use metrics::BulkheadMetrics;
pub use order::Order;
pub use places::Place;
pub use priority::PriorityBulkhead;
pub use queueing::QueueingBulkhead;
pub use queueing_config::QueueingBulkheadConfig;
pub use reserve::Reserve;
pub use seawall_core::{Enforced, Enforcement, Error, Percent, PercentError, Rejection, WrapErrorLayer};
pub use shares::Shares;
pub use wait::BulkheadWait;
