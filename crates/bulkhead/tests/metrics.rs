//! What bulkheads publish.
#![cfg(feature = "metrics")]

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall_bulkhead::{Bulkhead, BulkheadConfig, BulkheadMetrics, QueueingBulkhead, QueueingBulkheadConfig};
use seawall_core::{CallContext, Clock, Gate, VirtualClock};

/// The lines of a scrape after `steps`.
fn scraped(steps: impl FnOnce(&BulkheadMetrics)) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || steps(&BulkheadMetrics::new("catalog")));
    let text = handle.render();
    let of_ours = text.lines().filter(|line| line.starts_with("seawall"));
    let mut lines: Vec<_> =
        of_ours.map(|line| line.replace("seawall_bulkhead_", "").replace("{name=\"catalog\"}", "")).collect();
    lines.sort();
    lines
}

#[test]
fn a_scrape_tells_places_and_who_waits_for_one() {
    let places = BulkheadConfig::new(2).unwrap();

    let queueing = scraped(|metrics| {
        let clock = VirtualClock::new();
        let bulkhead = QueueingBulkhead::new(QueueingBulkheadConfig::new(places), clock.clone());
        let _held = [(); 3].map(|()| bulkhead.admit(CallContext::new, || clock.now()));
        clock.advance(Duration::from_millis(20));
        metrics.scrape_queueing(&bulkhead);
    });
    let failing_fast = scraped(|metrics| {
        let bulkhead = Bulkhead::new(places);
        let _held = [(); 3].map(|()| bulkhead.admit(CallContext::new, || VirtualClock::new().now()));
        metrics.scrape(&bulkhead);
    });

    assert_eq!(queueing, ["in_flight 2", "limit 2", "oldest_wait_seconds 0.02", "queued 1"]);
    assert_eq!(failing_fast, ["in_flight 2", "limit 2", "oldest_wait_seconds 0", "queued 0"]);
}
