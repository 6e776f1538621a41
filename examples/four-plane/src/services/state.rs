//! The state role: database and cache, each behind a listener of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use seawall_core::MonotonicClock;
use tokio::task::JoinHandle;

use super::flush;
use super::listening::{FaultyListener, Port};
use super::metrics::RequestMetrics;
use super::serving::{self, Serving, answer, loopback_listener};
use crate::data;
use crate::link::{Instance, Reporter, StateParts};
use crate::state::connect::{EMBEDDED, POSTGRESQL, REDIS};
use crate::state::forward::{Part, Upstream, accept};
use crate::state::provision::chain;
use crate::state::snapshot::{Snapshot, SnapshotError};
use crate::state::{Backend, Embedded, MemoryCache, Provisioned, provision};

/// How often the views of the embedded database are kept; as much of them a crash loses.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound, or a database or cache given by URL cannot be used.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let serving = Serving::new(&instance, serving::checks(&instance));
    let provisioned = provision(&instance.options).await?;
    for note in &provisioned.notes {
        instance.report.event("warn", note);
    }
    let (embedded, keeper) = embedded(&provisioned, &instance)?;
    let database = Upstream::new(&provisioned.database, || Upstream::Catalog(embedded));
    let cache = Upstream::new(&provisioned.cache, || Upstream::Cache(Arc::new(MemoryCache::new(MonotonicClock))));
    let part = |name, upstream| Part {
        name,
        upstream,
        faults: instance.faults.clone(),
        metrics: Arc::new(RequestMetrics::new(name, &instance.name())),
    };
    let listeners = (loopback_listener().await?, loopback_listener().await?, loopback_listener().await?);
    instance.report.state(parts(&provisioned));
    let (database_at, cache_at) = (listeners.0.local_addr()?, listeners.1.local_addr()?);
    instance.report.listening(database_at, listeners.2.local_addr()?, Some(cache_at));
    let flushing = flush::run(instance.faults.clone(), cache.clone(), provisioned.cache.url(), instance.report.clone());
    let passing = [
        tokio::spawn(accept(listeners.0, part("database", database))),
        tokio::spawn(accept(listeners.1, part("cache", cache))),
        tokio::spawn(flushing),
    ];
    let admin = FaultyListener::new(listeners.2, Port::Own, serving.faults())?;
    let routes = serving.admin().fallback_service(serving.observed(Router::new())?);
    answer(admin, routes, instance.ending.clone()).await?;
    serving::drained(instance.ending.clone()).await;
    for passing in passing {
        passing.abort();
    }
    if let Some(keeper) = keeper {
        keeper.stop().await?;
    }
    provisioned.stop().await;
    Ok(())
}

fn parts(provisioned: &Provisioned) -> StateParts {
    let name = |backend: &Backend, server: &str| match backend {
        Backend::Embedded => EMBEDDED.to_owned(),
        Backend::Server { .. } => server.to_owned(),
    };
    StateParts {
        database: name(&provisioned.database, POSTGRESQL),
        cache: name(&provisioned.cache, REDIS),
        database_url: provisioned.database.url(),
        redis_url: provisioned.cache.url(),
    }
}

/// The embedded database; only where it is used, its views are kept.
fn embedded(provisioned: &Provisioned, instance: &Instance) -> anyhow::Result<(Arc<Embedded>, Option<Keeper>)> {
    if provisioned.database != Backend::Embedded {
        return Ok((Arc::new(Embedded::new(&[], crate::state::views::Views::default())), None));
    }
    let folder: PathBuf = instance.options.data.join("embedded");
    let snapshot = Snapshot::in_folder(&folder)?;
    let image = match snapshot.read() {
        Err(error @ SnapshotError::Content { .. }) => {
            let aside = snapshot.set_aside()?;
            let text = format!("{}; it is now {}, and views are counted anew", chain(&error), aside.display());
            instance.report.event("warn", text);
            snapshot.read()?
        }
        read => read?,
    };
    let embedded = Arc::new(Embedded::new(data::cities(), image));
    let keeper = Keeper::start(Arc::clone(&embedded), snapshot, instance.report.clone());
    Ok((embedded, Some(keeper)))
}

/// Writes the views of the embedded database to disk every few seconds.
struct Keeper {
    embedded: Arc<Embedded>,
    snapshot: Snapshot,
    repeating: JoinHandle<()>,
}

impl Keeper {
    fn start(embedded: Arc<Embedded>, snapshot: Snapshot, report: Reporter) -> Self {
        let (views, file) = (Arc::clone(&embedded), snapshot.clone());
        let repeating = tokio::spawn(async move {
            let mut kept = views.recorded();
            loop {
                tokio::time::sleep(KEEP_EVERY).await;
                let recorded = views.recorded();
                if recorded != kept {
                    match write(&views, &file).await {
                        Ok(()) => kept = recorded,
                        Err(error) => report.event("error", format!("views are not kept: {error:#}")),
                    }
                }
            }
        });
        Self { embedded, snapshot, repeating }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.repeating.abort();
        write(&self.embedded, &self.snapshot).await
    }
}

async fn write(embedded: &Arc<Embedded>, snapshot: &Snapshot) -> anyhow::Result<()> {
    let (embedded, snapshot) = (Arc::clone(embedded), snapshot.clone());
    tokio::task::spawn_blocking(move || snapshot.write(&embedded.image())).await??;
    Ok(())
}
