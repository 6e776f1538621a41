//! What catalog and recommendation both stand on: database and cache, guarded and checked.

use std::sync::Arc;

use super::cached::CacheAside;
use super::database::Database;
use super::serving::{self, Serving};
use crate::link::Instance;
use crate::state::connect::{self, Dial};

/// The state plane as one instance calls it, and the instance as it answers, with the health of both in it.
pub(super) struct StateSide {
    pub(super) serving: Serving,
    pub(super) database: Arc<Database>,
    pub(super) cache: Arc<CacheAside>,
}

impl StateSide {
    /// For this instance.
    pub(super) fn of(instance: &Instance) -> anyhow::Result<Self> {
        let mut checks = serving::checks(instance);
        let dial = Dial::new(instance.topology.clone());
        let database = Arc::new(Database::new(connect::database(&dial), instance));
        database.check(&mut checks)?;
        let cache = Arc::new(CacheAside::new(connect::cache(&dial), instance));
        cache.check(&mut checks)?;
        Ok(Self { serving: Serving::new(instance, checks), database, cache })
    }
}
