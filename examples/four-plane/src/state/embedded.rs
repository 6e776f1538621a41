//! The catalog in the memory of one process, for when there is no PostgreSQL.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use async_trait::async_trait;

use super::popularity::{HALF_LIFE, whole};
use super::search::Names;
use super::views::Views;
use super::{Catalog, Counted, StateError, View};
use crate::data::City;

/// The cities of the binary, and views counted in memory.
///
/// Views survive a restart when the owner writes [`Self::image`] to a [`Snapshot`](super::snapshot::Snapshot).
#[derive(Debug)]
pub struct Embedded {
    /// By population, largest first.
    cities: &'static [City],
    /// Places in `cities`.
    by_id: HashMap<u32, usize>,
    names: Names,
    views: RwLock<Views>,
    recorded: AtomicU64,
}

impl Embedded {
    /// Over these cities, which are sorted by population, largest first, with the views that were kept.
    pub fn new(cities: &'static [City], views: Views) -> Self {
        Self {
            cities,
            by_id: cities.iter().enumerate().map(|(place, city)| (city.id, place)).collect(),
            names: Names::of(cities),
            views: RwLock::new(views),
            recorded: AtomicU64::new(0),
        }
    }

    /// The views as they are kept on disk.
    pub fn image(&self) -> Views {
        self.views.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many times views were recorded since the start: whether there is something new to keep.
    pub fn recorded(&self) -> u64 {
        self.recorded.load(Relaxed)
    }

    /// The item with this id.
    pub fn find(&self, id: u32) -> Option<&'static City> {
        self.by_id.get(&id).and_then(|place| self.cities.get(*place))
    }

    /// As [`Catalog::search`].
    pub fn found(&self, query: &str, limit: usize) -> Vec<City> {
        self.names.matches(query, limit).into_iter().filter_map(|place| self.cities.get(place).cloned()).collect()
    }

    /// As [`Catalog::largest`].
    pub fn first(&self, limit: usize) -> Vec<City> {
        self.cities.iter().take(limit).cloned().collect()
    }

    fn ranked<R: Ord>(
        &self,
        items: impl Iterator<Item = (u32, R)>,
        limit: usize,
        count: impl Fn(R) -> u64,
    ) -> Vec<Counted> {
        let mut ranked: Vec<_> =
            items.filter_map(|(id, rank)| self.by_id.get(&id).map(|place| (Reverse(rank), *place))).collect();
        // Places are by population and then by id, as the cities are.
        ranked.sort_unstable();
        let counted = |(Reverse(rank), place): (Reverse<R>, usize)| {
            self.cities.get(place).map(|city| Counted { item: city.clone(), count: count(rank) })
        };
        ranked.into_iter().take(limit).filter_map(counted).collect()
    }
}

#[async_trait]
impl Catalog for Embedded {
    async fn item(&self, id: u32) -> Result<Option<City>, StateError> {
        Ok(self.find(id).cloned())
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, StateError> {
        Ok(self.found(query, limit))
    }

    async fn largest(&self, limit: usize) -> Result<Vec<City>, StateError> {
        Ok(self.first(limit))
    }

    async fn record_views(&self, views: &[View], at: SystemTime) -> Result<(), StateError> {
        let mut counted = self.views.write().unwrap_or_else(PoisonError::into_inner);
        views.iter().filter(|view| self.by_id.contains_key(&view.item)).for_each(|view| counted.record(view, at));
        self.recorded.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn popular(&self, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        Ok(self.ranked(views.popular(now), limit, |heat| heat.count(now, HALF_LIFE)))
    }

    async fn seen_together(&self, item: u32, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        Ok(self.ranked(views.together(item, now).map(in_thousandths), limit, in_whole))
    }

    async fn recommended(&self, user: &str, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        Ok(self.ranked(views.recommended(user, now).into_iter().map(in_thousandths), limit, in_whole))
    }
}

/// Weights that differ by less are equal: they are sums in whatever order.
fn in_thousandths((item, weight): (u32, f64)) -> (u32, u64) {
    (item, whole(weight * 1_000.0))
}

/// Rounded, as counts are shown.
const fn in_whole(thousandths: u64) -> u64 {
    thousandths.saturating_add(500) / 1_000
}
