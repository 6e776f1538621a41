use std::fmt;

use metrics::{Gauge, describe_gauge, gauge};
use seawall_core::{Clock, Environment};

use crate::RetryLayer;

/// Publishes through the `metrics` facade what a retry layer knows beside the events that
/// [`MetricsObserver`](seawall_core::MetricsObserver) counts: `seawall_retry_budget_balance{name}`, what is left of its
/// [`Budget`](crate::Budget) as [`Budget::balance`](crate::Budget::balance) says. Absent where there is none.
///
/// ```
/// use seawall_backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer, RetryMetrics};
///
/// let layer = RetryLayer::new(RetryConfig::new(IfUnknown::OnlyUnsent));
/// let metrics = RetryMetrics::new("catalog");
/// // Before each scrape:
/// metrics.scrape(&layer);
/// ```
#[derive(Clone)]
pub struct RetryMetrics {
    balance: Gauge,
}

impl RetryMetrics {
    /// The metrics of what is called `name`, at the recorder that is installed at this time.
    pub fn new(name: impl Into<String>) -> Self {
        describe_gauge!("seawall_retry_budget_balance", "Retries that the budget would pay for now.");
        Self { balance: gauge!("seawall_retry_budget_balance", "name" => name.into()) }
    }

    /// Brings the figures of `layer` up to date: before each scrape.
    pub fn scrape<E: Environment, P, W>(&self, layer: &RetryLayer<E, P, W>) {
        if let Some(budget) = layer.config().budget() {
            #[expect(clippy::cast_precision_loss, reason = "balances stay far below 2⁵³")]
            self.balance.set(budget.balance(layer.clock().now()) as f64);
        }
    }
}

impl fmt::Debug for RetryMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryMetrics").finish_non_exhaustive()
    }
}
