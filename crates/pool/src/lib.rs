#![cfg_attr(doctest, doc = include_str!("../../../docs/pool.md"))]
//! Keeps connections for reuse, replaces stale ones, and says why none could be had.
//!
//! A [`Manager`] opens and checks connections of one kind; a [`Pool`] lends them out.
//!
//! ```
//! use seawall_pool::{Manager, Pool, PoolConfig};
//!
//! struct Database;
//!
//! impl Manager for Database {
//!     type Connection = Vec<&'static str>;
//!     type Error = std::io::Error;
//!
//!     async fn connect(&self) -> Result<Self::Connection, Self::Error> {
//!         Ok(vec!["Lisbon", "Lima"])
//!     }
//!
//!     async fn check(&self, _: &mut Self::Connection) -> Result<(), Self::Error> {
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::with_config(Database, PoolConfig::new().with_max(10))?;
//! let city = pool.run_idempotent(async |connection| Ok(connection[1])).await?;
//! assert_eq!(city, "Lima");
//! # Ok(())
//! # }
//! ```
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod config;
mod connection;
mod drain;
mod error;
mod future;
mod get;
mod inner;
mod layer;
mod manager;
mod pool;
mod run;
mod service;
mod slots;
mod status;
mod tasks;

pub use config::{ConnectFailure, PoolConfig};
pub use connection::Connection;
pub use drain::Drain;
pub use error::{ConnectError, PoolConfigError, PoolError, PoolTimeout, RunError, TimeoutCause};
pub use future::PoolFuture;
pub use get::Get;
pub use layer::PoolLayer;
pub use manager::Manager;
pub use pool::Pool;
pub use service::PoolService;
pub use status::{Checkout, ClosedTotals, PoolStatus, PoolTotals};
