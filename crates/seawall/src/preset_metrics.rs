use std::{fmt, sync::Arc};

/// What a preset's layers publish through the `metrics` facade when somebody scrapes: made by
/// [`Client::metrics`](crate::Client::metrics) and [`Server::metrics`](crate::Server::metrics).
///
/// `docs/metrics.md` lists the names. Calls, refusals and waits are no part of it: a
/// [`MetricsObserver`](seawall_core::MetricsObserver) in the preset's environment counts those as they happen. Clones share
/// the handles, which are registered once, with the recorder that is installed when this is made.
#[derive(Clone, Default)]
pub struct PresetMetrics {
    readings: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl PresetMetrics {
    /// Of no layer yet.
    ///
    /// ```
    /// use seawall::{PresetMetrics, Publish, bulkhead::{BulkheadConfig, BulkheadLayer}};
    ///
    /// let layer = BulkheadLayer::new(BulkheadConfig::new(10)?);
    /// let mut metrics = PresetMetrics::new();
    /// layer.publish("catalog", &mut metrics);
    /// // Before each scrape:
    /// metrics.scrape();
    /// # Ok::<(), seawall::bulkhead::BulkheadError>(())
    /// ```
    pub const fn new() -> Self {
        Self { readings: Vec::new() }
    }

    /// Has `reading` called on each scrape too.
    pub fn add(&mut self, reading: impl Fn() + Send + Sync + 'static) {
        self.readings.push(Arc::new(reading));
    }

    /// Brings all figures up to date: before each scrape.
    pub fn scrape(&self) {
        for reading in &self.readings {
            reading();
        }
    }
}

impl fmt::Debug for PresetMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresetMetrics").field("readings", &self.readings.len()).finish_non_exhaustive()
    }
}
