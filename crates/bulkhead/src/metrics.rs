use std::{fmt, sync::Arc};

use metrics::{Gauge, describe_gauge, gauge};
use seawall_core::Timer;

use crate::{Bulkhead, QueueingBulkhead};

/// Publishes bulkheads through the `metrics` facade.
///
/// | metric | |
/// |---|---|
/// | `seawall_bulkhead_limit{name}` | how many places there are; 0 after it was closed |
/// | `seawall_bulkhead_in_flight{name}` | how many are taken |
/// | `seawall_bulkhead_queued{name}` | how many calls wait |
/// | `seawall_bulkhead_oldest_wait_seconds{name}` | how long the one that has waited longest; 0 where nobody does |
///
/// All are told when somebody scrapes. Calls, refusals by reason and the histogram of waits are what
/// [`MetricsObserver`](seawall_core::MetricsObserver) counts. Handles are registered once; clones share them.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, BulkheadLayer, BulkheadMetrics};
///
/// let layer = BulkheadLayer::new(BulkheadConfig::new(10)?);
/// let metrics = BulkheadMetrics::new("catalog");
/// // Before each scrape:
/// metrics.scrape(layer.gate());
/// # Ok::<(), seawall_bulkhead::BulkheadError>(())
/// ```
#[derive(Clone)]
pub struct BulkheadMetrics {
    handles: Arc<Handles>,
}

struct Handles {
    name: String,
    limit: Gauge,
    in_flight: Gauge,
    queued: Gauge,
    oldest_wait: Gauge,
}

impl BulkheadMetrics {
    /// The metrics of what is called `name`, at the recorder that is installed at this time.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let gauge = |what: &str, help: &'static str| {
            let metric = format!("seawall_bulkhead_{what}");
            describe_gauge!(metric.clone(), help);
            gauge!(metric, "name" => name.clone())
        };
        let handles = Handles {
            limit: gauge("limit", "How many places there are."),
            in_flight: gauge("in_flight", "How many places are taken."),
            queued: gauge("queued", "How many calls wait."),
            oldest_wait: gauge("oldest_wait_seconds", "How long the call waits that has waited longest."),
            name,
        };
        Self { handles: Arc::new(handles) }
    }

    /// Brings the figures of a bulkhead up to date that lets nobody wait: before each scrape.
    pub fn scrape(&self, bulkhead: &Bulkhead) {
        self.handles.limit.set(bulkhead.limit());
        self.handles.in_flight.set(bulkhead.in_flight());
        self.handles.queued.set(0.0);
        self.handles.oldest_wait.set(0.0);
    }

    /// The same of one that lets calls wait.
    #[expect(clippy::cast_precision_loss, reason = "a number of calls that wait")]
    pub fn scrape_queueing<T: Timer>(&self, bulkhead: &QueueingBulkhead<T>) {
        self.handles.limit.set(bulkhead.limit());
        self.handles.in_flight.set(bulkhead.in_flight());
        self.handles.queued.set(bulkhead.queued() as f64);
        self.handles.oldest_wait.set(bulkhead.oldest_wait().unwrap_or_default());
    }
}

impl fmt::Debug for BulkheadMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadMetrics").field("name", &self.handles.name).finish_non_exhaustive()
    }
}
