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
//! clock reading. [`QueueingBulkhead`] lets a bounded number of calls wait a bounded time, first come, first served.
//!
//! - A place is taken in `call`, never in `poll_ready`, and given back however the call ends: answered, failed, timed
//!   out, dropped or panicked.
//! - A call may weigh more than one place ([`CallContext::cost`](seawall_core::CallContext)).
//! - The limit can change while calls are under way; [`Bulkhead::drain`] ends a service in good order.
//! - All clones of a layer and all services that it makes share the places; [`KeyedLayer`](seawall_core::KeyedLayer)
//!   keeps a bulkhead per host, tenant or route.
mod bulkhead;
mod config;
mod drain;
mod error;
mod layer;
mod places;
mod queueing;
mod wait;

pub use bulkhead::Bulkhead;
pub use config::{BulkheadConfig, QueueingBulkheadConfig};
pub use drain::Drain;
pub use error::BulkheadError;
pub use layer::{BulkheadLayer, BulkheadService, QueueingBulkheadLayer, QueueingBulkheadService};
pub use places::Place;
pub use queueing::QueueingBulkhead;
pub use seawall_core::{Error, Rejection, WrapErrorLayer};
pub use wait::BulkheadWait;
