//! Where database and cache are, and the clients that reach them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::postgres::PostgresCatalog;
use super::redis::RedisCache;
use super::remote::RemoteCatalog;
use super::{Cache, Catalog, Counted, StateError, View};
use crate::data::City;
use crate::link::{Endpoint, Role, StateParts, Topology};

/// What the state instance calls PostgreSQL in [`StateParts::database`].
pub const POSTGRESQL: &str = "postgresql";
/// What the state instance calls Redis in [`StateParts::cache`].
pub const REDIS: &str = "redis";
/// What the state instance calls either embedded part.
pub const EMBEDDED: &str = "embedded";

/// Finds the state instance's listeners, also after it was started anew on other ports.
#[derive(Debug, Clone)]
pub struct Dial {
    topology: watch::Receiver<Topology>,
}

impl Dial {
    /// Follows the topology.
    pub fn new(topology: watch::Receiver<Topology>) -> Self {
        Self { topology }
    }

    /// Always the same addresses.
    pub fn fixed(database: SocketAddr, cache: SocketAddr, state: StateParts) -> Self {
        let endpoint =
            Endpoint { role: Role::State, instance: 1, address: database, cache: Some(cache), healthy: true };
        Self { topology: watch::channel(Topology { endpoints: vec![endpoint], state: Some(state) }).1 }
    }

    pub(super) async fn database(&self) -> Result<TcpStream, StateError> {
        let address = self.topology.borrow().of(Role::State).next().map(|state| state.address);
        dial(address.ok_or(StateError::Absent)?).await.map_err(StateError::database)
    }

    pub(super) async fn cache(&self) -> Result<TcpStream, StateError> {
        let address = self.topology.borrow().of(Role::State).next().and_then(|state| state.cache);
        dial(address.ok_or(StateError::Absent)?).await.map_err(StateError::cache)
    }

    pub(super) fn parts(&self) -> Option<StateParts> {
        self.topology.borrow().state.clone()
    }
}

async fn dial(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The database that the topology names, whichever it is at the time of a call.
pub fn database(dial: &Dial) -> Arc<dyn Catalog> {
    Arc::new(Database {
        dial: dial.clone(),
        embedded: RemoteCatalog::new(dial.clone()),
        postgres: PostgresCatalog::new(dial.clone()),
    })
}

/// The cache that the topology names; both kinds speak RESP.
pub fn cache(dial: &Dial) -> Arc<dyn Cache> {
    Arc::new(RedisCache::new(dial.clone()))
}

#[derive(Debug)]
struct Database {
    dial: Dial,
    embedded: RemoteCatalog,
    postgres: PostgresCatalog,
}

impl Database {
    fn part(&self) -> &dyn Catalog {
        match self.dial.topology.borrow().state.as_ref() {
            Some(parts) if parts.database == POSTGRESQL => &self.postgres,
            _ => &self.embedded,
        }
    }
}

#[async_trait]
impl Catalog for Database {
    async fn item(&self, id: u32) -> Result<Option<City>, StateError> {
        self.part().item(id).await
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, StateError> {
        self.part().search(query, limit).await
    }

    async fn largest(&self, limit: usize) -> Result<Vec<City>, StateError> {
        self.part().largest(limit).await
    }

    async fn record_views(&self, views: &[View], at: SystemTime) -> Result<(), StateError> {
        self.part().record_views(views, at).await
    }

    async fn popular(&self, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        self.part().popular(limit, now).await
    }

    async fn seen_together(&self, item: u32, limit: usize) -> Result<Vec<Counted>, StateError> {
        self.part().seen_together(item, limit).await
    }

    async fn recommended(&self, user: &str, limit: usize) -> Result<Vec<Counted>, StateError> {
        self.part().recommended(user, limit).await
    }
}
