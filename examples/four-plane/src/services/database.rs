//! The database as the services call it: every call is bounded in time, and none is made while the database is in trouble.

use std::sync::Arc;
use std::time::Duration;

use seawall::health::{CheckConfig, HealthError, RecoveryAction, Registry};

use super::figures;
use super::guard::{Guard, Refusal};
use crate::clock;
use crate::data::City;
use crate::link::Instance;
use crate::state::{Catalog, Counted, View};

/// Three times the 99th percentile, within these: less would cut answers that a busy machine delays, more would leave a
/// request no time for a fallback.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(300));

/// Three for each connection: who waits for one gets it within a few queries' time, or is answered without the database.
const PLACES: usize = 30;

/// A [`Catalog`] behind bulkhead, circuit breaker and timeout.
#[derive(Debug)]
pub struct Database {
    catalog: Arc<dyn Catalog>,
    guard: Guard,
}

impl Database {
    /// Over this catalog, called by this instance.
    pub fn new(catalog: Arc<dyn Catalog>, caller: &Instance) -> Self {
        let connections = Arc::clone(&catalog);
        figures::of_pool("database", move || connections.connections());
        Self { catalog, guard: Guard::new("database", TIMEOUT, PLACES, caller) }
    }

    /// Adds the check of the database, and follows what it finds: while it fails, no call is made.
    ///
    /// # Errors
    /// When the registry has such a check already.
    pub fn check(&self, checks: &mut Registry) -> Result<(), HealthError> {
        let catalog = Arc::clone(&self.catalog);
        checks.register("database:connectivity", CheckConfig::database(), move || {
            let catalog = Arc::clone(&catalog);
            async move { catalog.largest(1).await.map(drop) }
        })?;
        self.guard.follow(checks, RecoveryAction::OpenCircuit);
        Ok(())
    }

    /// As [`Catalog::item`].
    ///
    /// # Errors
    /// [`Refusal`], here and below.
    pub async fn item(&self, id: u32) -> Result<Option<City>, Refusal> {
        self.guard.run(self.catalog.item(id)).await
    }

    /// As [`Catalog::search`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, Refusal> {
        self.guard.run(self.catalog.search(query, limit)).await
    }

    /// What is popular now, and the largest items that are not where these are fewer than `limit`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn popular(&self, limit: usize) -> Result<Vec<Counted>, Refusal> {
        let mut popular = self.guard.run(self.catalog.popular(limit, clock::wall())).await?;
        if popular.len() < limit {
            for item in self.guard.run(self.catalog.largest(limit)).await? {
                if popular.len() < limit && popular.iter().all(|counted| counted.item.id != item.id) {
                    popular.push(Counted { item, count: 0 });
                }
            }
        }
        Ok(popular)
    }

    /// As [`Catalog::recommended`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn recommended(&self, user: &str, limit: usize) -> Result<Vec<Counted>, Refusal> {
        self.guard.run(self.catalog.recommended(user, limit, clock::wall())).await
    }

    /// As [`Catalog::record_views`], of this moment.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn record_views(&self, views: &[View]) -> Result<(), Refusal> {
        self.guard.run(self.catalog.record_views(views, clock::wall())).await
    }
}
