//! Figures of seawall's layers that are read when somebody scrapes, not counted on the way.

use std::sync::{PoisonError, RwLock};

use metrics::{counter, gauge};
use seawall::backoff_with_jitter::RetryLayer;
use seawall::http::ReceiveDeadlineLayer;
use seawall::pool::PoolStatus;
use seawall::{PresetMetrics, Publish};
use seawall_core::Environment;

use super::metrics::install;

type Reading = Box<dyn Fn() + Send + Sync>;

static READINGS: RwLock<Vec<Reading>> = RwLock::new(Vec::new());

/// Sets all figures to what they are at this time.
pub fn read() {
    for reading in READINGS.read().unwrap_or_else(PoisonError::into_inner).iter() {
        reading();
    }
}

/// Calls `reading` before each scrape from here on.
pub fn before_scrape(reading: impl Fn() + Send + Sync + 'static) {
    install();
    READINGS.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(reading));
}

/// What a layer publishes of itself, under `name`.
pub fn of(name: &str, layer: &impl Publish) {
    install();
    let mut metrics = PresetMetrics::new();
    layer.publish(name, &mut metrics);
    before_scrape(move || metrics.scrape());
}

/// Connections of a pool, as far as there is one: `seawall_pool_connections{name, state}`, `seawall_pool_limit{name}`,
/// `seawall_pool_waiters{name}`, `seawall_pool_created_total{name}`, `seawall_pool_stale_total{name}`,
/// `seawall_pool_repeated_total{name}`.
pub fn of_pool(name: &'static str, status: impl Fn() -> Option<PoolStatus> + Send + Sync + 'static) {
    install();
    let connections = |state: &'static str| gauge!("seawall_pool_connections", "name" => name, "state" => state);
    let [idle, in_use, connecting] = ["idle", "in_use", "connecting"].map(connections);
    let (limit, waiters) =
        (gauge!("seawall_pool_limit", "name" => name), gauge!("seawall_pool_waiters", "name" => name));
    let created = counter!("seawall_pool_created_total", "name" => name);
    let stale = counter!("seawall_pool_stale_total", "name" => name);
    let repeated = counter!("seawall_pool_repeated_total", "name" => name);
    before_scrape(move || {
        let Some(status) = status() else { return };
        for (gauge, count) in [
            (&idle, status.idle),
            (&in_use, status.in_use),
            (&connecting, status.connecting),
            (&limit, status.max),
            (&waiters, status.waiters),
        ] {
            gauge.set(u32::try_from(count).map_or(f64::from(u32::MAX), f64::from));
        }
        created.absolute(status.totals.created);
        stale.absolute(status.totals.closed.stale);
        repeated.absolute(status.totals.repeated);
    });
}

/// What a retry publishes of itself, and attempts after the first: `seawall_retry_attempts_total{name}`.
pub fn of_retry<E: Environment, P, W>(name: &'static str, retry: &RetryLayer<E, P, W>)
where
    P: Clone + Send + Sync + 'static,
    W: Clone + Send + Sync + 'static,
{
    let attempts = counter!("seawall_retry_attempts_total", "name" => name);
    of(name, retry);
    let retry = retry.clone();
    before_scrape(move || attempts.absolute(retry.figures().retries));
}

/// Requests that arrived when their caller had stopped waiting: `seawall_deadline_expired_total`.
pub fn of_deadlines(received: &ReceiveDeadlineLayer) {
    install();
    let expired = counter!("seawall_deadline_expired_total");
    let received = received.clone();
    before_scrape(move || expired.absolute(received.expired()));
}

#[cfg(test)]
mod tests {
    use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
    use seawall::load_shedder::{QueueingLoadShedderLayer, QueueingShedderConfig};

    use super::*;

    #[tokio::test]
    async fn a_scrape_says_what_a_bulkhead_and_a_shedder_are_at() {
        let bulkhead: BulkheadLayer = BulkheadLayer::new(BulkheadConfig::new(7).unwrap());
        let shedder: QueueingLoadShedderLayer = QueueingLoadShedderLayer::new(QueueingShedderConfig::default());
        of("scraped", &bulkhead);
        of("scraped", &shedder);
        let mut call = Box::pin(bulkhead.run(std::future::pending::<Result<(), ()>>()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());

        read();

        let text = crate::services::metrics::render();
        for line in [
            "seawall_bulkhead_limit{name=\"scraped\"} 7",
            "seawall_bulkhead_in_flight{name=\"scraped\"} 1",
            "seawall_bulkhead_queued{name=\"scraped\"} 0",
            "seawall_load_shedder_in_flight{name=\"scraped\"} 0",
            "seawall_load_shedder_queued{name=\"scraped\"} 0",
            "seawall_load_shedder_limit_cuts_total{name=\"scraped\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
