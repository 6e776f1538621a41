use std::{fmt, time::Duration};

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use seawall_core::Environment;

use crate::TimeoutLayer;

/// What a limit that is none comes to: the longest time that the clock can tell.
const LONGEST: Duration = Duration::from_nanos(u64::MAX);

/// Publishes through the `metrics` facade what a timeout layer knows beside the events that
/// [`MetricsObserver`](seawall_core::MetricsObserver) counts.
///
/// | metric | |
/// |---|---|
/// | `seawall_timeout_limit_seconds{name}` | how long a call may take that begins now: it moves where the timeout is adaptive, and is infinite where only deadlines count |
/// | `seawall_timeout_spared_total{name}` | calls that would have been refused for their deadline, were that enforced |
///
/// ```
/// use seawall_timeout::{TimeoutConfig, TimeoutLayer, TimeoutMetrics};
/// use std::time::Duration;
///
/// let layer = TimeoutLayer::new(TimeoutConfig::attempt(Duration::from_secs(1))?);
/// let metrics = TimeoutMetrics::new("catalog");
/// // Before each scrape:
/// metrics.scrape(&layer);
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Clone)]
pub struct TimeoutMetrics {
    limit: Gauge,
    spared: Counter,
}

impl TimeoutMetrics {
    /// The metrics of what is called `name`, at the recorder that is installed at this time.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        describe_gauge!("seawall_timeout_limit_seconds", Unit::Seconds, "How long a call may take now.");
        describe_counter!("seawall_timeout_spared_total", "Calls that would have been refused for their deadline.");
        Self {
            limit: gauge!("seawall_timeout_limit_seconds", "name" => name.clone()),
            spared: counter!("seawall_timeout_spared_total", "name" => name),
        }
    }

    /// Brings the figures of `layer` up to date: before each scrape.
    pub fn scrape<E: Environment, D, L>(&self, layer: &TimeoutLayer<E, D, L>) {
        let limit = layer.limit();
        self.limit.set(if limit >= LONGEST { f64::INFINITY } else { limit.as_secs_f64() });
        self.spared.absolute(layer.spared());
    }
}

impl fmt::Debug for TimeoutMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutMetrics").finish_non_exhaustive()
    }
}
