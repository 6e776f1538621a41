//! Where database and cache are, and the clients that reach them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use seawall::pool::PoolStatus;
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
    /// Waits until it is known which it is: an instance that was just started has not been told, and would speak the wrong
    /// language to whatever answers.
    async fn part(&self) -> Result<&dyn Catalog, StateError> {
        let mut topology = self.dial.topology.clone();
        let known = topology.wait_for(|topology| topology.state.is_some()).await.map_err(|_| StateError::Absent)?;
        let is_postgres = known.state.as_ref().is_some_and(|parts| parts.database == POSTGRESQL);
        Ok(if is_postgres { &self.postgres } else { &self.embedded })
    }
}

#[async_trait]
impl Catalog for Database {
    fn connections(&self) -> Option<PoolStatus> {
        match self.dial.parts()?.database.as_str() {
            POSTGRESQL => self.postgres.connections(),
            _ => self.embedded.connections(),
        }
    }

    async fn item(&self, id: u32) -> Result<Option<City>, StateError> {
        self.part().await?.item(id).await
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, StateError> {
        self.part().await?.search(query, limit).await
    }

    async fn largest(&self, limit: usize) -> Result<Vec<City>, StateError> {
        self.part().await?.largest(limit).await
    }

    async fn record_views(&self, views: &[View], at: SystemTime) -> Result<(), StateError> {
        self.part().await?.record_views(views, at).await
    }

    async fn popular(&self, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        self.part().await?.popular(limit, now).await
    }

    async fn seen_together(&self, item: u32, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        self.part().await?.seen_together(item, limit, now).await
    }

    async fn recommended(&self, user: &str, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        self.part().await?.recommended(user, limit, now).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_database_is_asked_nothing_before_it_is_known_which_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint { role: Role::State, instance: 1, address, cache: Some(address), healthy: true };
        let endpoints = vec![endpoint];
        let (tell, topology) = watch::channel(Topology { endpoints: endpoints.clone(), state: None });
        let catalog = database(&Dial::new(topology));
        let asking = tokio::spawn(async move { catalog.largest(1).await });
        tokio::task::yield_now().await;

        let parts = StateParts {
            database: POSTGRESQL.to_owned(),
            cache: REDIS.to_owned(),
            database_url: Some("postgresql://me@127.0.0.1/cities".to_owned()),
            redis_url: None,
        };
        tell.send_replace(Topology { endpoints, state: Some(parts) });
        let (mut stream, _) = tokio::time::timeout(Duration::from_mins(1), listener.accept()).await.unwrap().unwrap();
        let mut begin = [0; 8];
        stream.read_exact(&mut begin).await.unwrap();

        // Version 3.0 of PostgreSQL's protocol, behind the length of the message.
        assert_eq!(begin[4..], [0, 3, 0, 0]);
        asking.abort();
    }
}
