//! Figures of seawall's layers that are read when somebody scrapes, not counted on the way.

use std::sync::{PoisonError, RwLock};

use metrics::{counter, gauge};
use seawall::backoff_with_jitter::RetryLayer;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{BreakerMetrics, CircuitBreakerLayer};
use seawall::http::ReceiveDeadlineLayer;
use seawall::pool::PoolStatus;
use seawall_core::{Clock as _, Environment, MonotonicClock};

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

/// States, changes and ratios of a breaker, as [`BreakerMetrics`] names them.
pub fn of_breaker<E: Environment>(name: &str, breaker: &CircuitBreakerLayer<E>) {
    install();
    let metrics = BreakerMetrics::new(name);
    metrics.follow(breaker.gate());
    let breaker = breaker.clone();
    before_scrape(move || metrics.scrape(breaker.gate(), MonotonicClock.now()));
}

/// Places of a bulkhead, and those that are taken: `seawall_bulkhead_limit{name}`, `seawall_bulkhead_in_flight{name}`.
pub fn of_bulkhead<E: Environment>(name: &'static str, bulkhead: &BulkheadLayer<E>) {
    install();
    let limit = gauge!("seawall_bulkhead_limit", "name" => name);
    let in_flight = gauge!("seawall_bulkhead_in_flight", "name" => name);
    let bulkhead = bulkhead.clone();
    before_scrape(move || {
        limit.set(bulkhead.gate().limit());
        in_flight.set(bulkhead.gate().in_flight());
    });
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

/// Attempts after the first: `seawall_retry_attempts_total{name}`.
pub fn of_retry<E: Environment, P, W>(name: &'static str, retry: &RetryLayer<E, P, W>)
where
    P: Clone + Send + Sync + 'static,
    W: Clone + Send + Sync + 'static,
{
    let attempts = counter!("seawall_retry_attempts_total", "name" => name);
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
    use seawall::bulkhead::BulkheadConfig;

    use super::*;

    #[test]
    fn a_scrape_says_how_many_places_a_bulkhead_has_and_how_many_are_taken() {
        let bulkhead: BulkheadLayer = BulkheadLayer::new(BulkheadConfig::new(7).unwrap());
        of_bulkhead("scraped", &bulkhead);
        let mut call = Box::pin(bulkhead.run(std::future::pending::<Result<(), ()>>()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());

        read();

        let text = crate::services::metrics::render();
        assert!(text.contains("seawall_bulkhead_limit{name=\"scraped\"} 7"), "{text}");
        assert!(text.contains("seawall_bulkhead_in_flight{name=\"scraped\"} 1"), "{text}");
    }
}
