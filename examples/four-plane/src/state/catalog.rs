//! What the services ask of the database.

use std::time::SystemTime;

use async_trait::async_trait;
use seawall::pool::PoolStatus;
use serde::{Deserialize, Serialize};

use super::StateError;
use crate::data::City;

/// How many items of a user's history count for what is seen together and for recommendations. 10: a sitting, not a life.
pub const RECENT_ITEMS: usize = 10;
/// Users whose history is kept; of more, those who have stayed away longest are forgotten.
pub const KNOWN_USERS: usize = 20_000;
/// Users who may be known beyond [`KNOWN_USERS`] before some are forgotten.
pub const KNOWN_BEYOND: usize = 1_000;
/// Others of which is known how often they were seen together with one item: those seen most; at most twice as many.
pub const TOGETHER_KEPT: usize = 25;

/// Somebody looked at an item.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Who, if that is known; only then does the view count for what is seen together.
    pub user: Option<String>,
    /// The item's id; a view of an item that does not exist counts for nothing.
    pub item: u32,
}

/// An item and how often something was seen of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Counted {
    /// The item.
    pub item: City,
    /// Views, the older ones weighed less, or views together.
    pub count: u64,
}

/// The catalog database. Lists are in the order given and never longer than `limit`; ties go to the larger city, then to
/// the smaller id.
///
/// Two items are seen together once when a user views one while the other is among the last [`RECENT_ITEMS`] different
/// items that the same user viewed, and the viewed one is not; viewing an item again only makes it the latest. That counts
/// half as much after each [`TOGETHER_HALF_LIFE`](super::popularity::TOGETHER_HALF_LIFE), and with less than half of it
/// left they were not seen together.
///
/// What is kept is bounded, however many users come: [`KNOWN_USERS`] and [`KNOWN_BEYOND`] histories, twice
/// [`TOGETHER_KEPT`] others of each item.
#[async_trait]
pub trait Catalog: Send + Sync + std::fmt::Debug {
    /// The item with this id.
    async fn item(&self, id: u32) -> Result<Option<City>, StateError>;

    /// Items whose name holds `query`, letter case and accents aside: names that begin with it first, each part by
    /// population. Nothing matches a query without a letter or digit.
    async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, StateError>;

    /// The largest cities.
    async fn largest(&self, limit: usize) -> Result<Vec<City>, StateError>;

    /// Counts views of this moment, in order, and at most once: when the connection breaks, they may be counted or not.
    async fn record_views(&self, views: &[View], at: SystemTime) -> Result<(), StateError>;

    /// The items with the most views, of which one counts half as much after each
    /// [`HALF_LIFE`](super::popularity::HALF_LIFE); an item that has less than half a view left is not popular.
    async fn popular(&self, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError>;

    /// The items that were most often seen together with this one.
    async fn seen_together(&self, item: u32, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError>;

    /// The items that were most often seen together with the user's last [`RECENT_ITEMS`], these left out.
    async fn recommended(&self, user: &str, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError>;

    /// The connections to it, where it is in another process.
    fn connections(&self) -> Option<PoolStatus> {
        None
    }
}
