//! The fault that empties the cache, once each time that it is asked for.

use tokio::sync::watch;

use super::catalog;
use crate::link::{Fault, FaultKind, Reporter};
use crate::state::StateError;
use crate::state::forward::Upstream;
use crate::state::provision::chain;
use crate::state::redis;

/// Empties what is behind the cache's listener whenever a flush becomes active, for as long as it is polled.
pub(super) async fn run(
    mut faults: watch::Receiver<Vec<Fault>>,
    cache: Upstream,
    redis_url: Option<String>,
    report: Reporter,
) {
    // Faults count up.
    let mut done = 0;
    loop {
        let asked = faults.borrow_and_update().iter().filter(|it| it.kind == FaultKind::Flush).map(|it| it.id).max();
        if let Some(id) = asked.filter(|id| *id > done) {
            done = id;
            if let Err(error) = empty(&cache, redis_url.as_deref()).await {
                report.event("error", format!("the cache cannot be emptied: {}", chain(&error)));
            }
        }
        if faults.changed().await.is_err() {
            return;
        }
    }
}

async fn empty(cache: &Upstream, redis_url: Option<&str>) -> Result<(), StateError> {
    match (cache, redis_url) {
        (Upstream::Cache(memory), _) => memory.clear(),
        (_, Some(url)) => redis::forget(url, catalog::KEYS).await?,
        _ => {}
    }
    Ok(())
}
