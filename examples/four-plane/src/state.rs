//! Database and cache: one trait each, an embedded part and a real server behind it.
//!
//! Every byte passes through the state instance's two listeners. Behind the database's stands either the [`Embedded`]
//! catalog, spoken to in frames of JSON ([`wire`]), or PostgreSQL; behind the cache's either [`MemoryCache`] or Redis, both
//! spoken to in RESP ([`resp`]), so that one client serves either. [`connect`] gives the clients that the topology asks for,
//! [`provision()`] finds or starts the servers.

pub mod cache;
pub mod catalog;
pub mod connect;
pub(crate) mod connections;
pub mod embedded;
pub mod error;
pub mod forward;
pub mod memory_cache;
pub mod popularity;
pub mod postgres;
pub mod provision;
pub mod redis;
pub mod remote;
pub mod resp;
pub mod search;
pub mod server;
pub mod snapshot;
pub mod views;
pub mod wire;

pub use cache::{Cache, Cached};
pub use catalog::{Catalog, Counted, View};
pub use embedded::Embedded;
pub use error::StateError;
pub use memory_cache::MemoryCache;
pub use provision::{Backend, Provisioned, provision};
