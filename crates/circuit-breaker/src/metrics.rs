use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use seawall_core::Timestamp;

use crate::{breaker::Breaker, change::Change, state::State};

/// Publishes breakers through the `metrics` facade.
///
/// | metric | |
/// |---|---|
/// | `seawall_circuit_breaker_state{name, state}` | 1 for the state it is in, 0 for each other of [`State::ALL`] |
/// | `seawall_circuit_breaker_state_changes_total{name, to}` | changes to this state |
/// | `seawall_circuit_breaker_failure_ratio{name}` | the window's share of failures |
/// | `seawall_circuit_breaker_slow_ratio{name}` | the window's share of slow calls |
/// | `seawall_circuit_breaker_probes_total{name}` | calls let through to probe |
/// | `seawall_circuit_breaker_late_results_total{name}` | results that came too late to count |
/// | `seawall_circuit_breaker_spared_total{name}` | calls that would have been refused, were that enforced |
///
/// States are told as they change, the others when somebody scrapes. A ratio is absent until there have been enough results
/// to judge by, and not a number while there are too few again. Calls and refusals are what
/// [`MetricsObserver`](seawall_core::MetricsObserver) counts. Handles are registered once; clones share them.
///
/// ```
/// use seawall_circuit_breaker::{BreakerConfig, BreakerMetrics, CircuitBreakerLayer, Clock, MonotonicClock};
///
/// let layer = CircuitBreakerLayer::new(BreakerConfig::default());
/// let metrics = BreakerMetrics::new("catalog");
/// metrics.follow(layer.gate());
/// // Before each scrape:
/// metrics.scrape(layer.gate(), MonotonicClock.now());
/// ```
///
/// Of a keyed layer the changes of all keys are counted together:
///
/// ```
/// use seawall_circuit_breaker::{BreakerConfig, BreakerMetrics, KeyedCircuitBreakerLayer};
///
/// let metrics = BreakerMetrics::new("hosts");
/// let config = BreakerConfig::builder().on_change(move |change| metrics.count(change)).build()?;
/// let layer = KeyedCircuitBreakerLayer::<str, _>::new(100, config, String::as_str)?;
/// # let _ = layer;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BreakerMetrics {
    handles: Arc<Handles>,
}

struct Handles {
    name: String,
    states: OnceLock<[Gauge; State::ALL.len()]>,
    changes: [Counter; State::ALL.len()],
    failure_ratio: OnceLock<Gauge>,
    slow_ratio: OnceLock<Gauge>,
    scraped: OnceLock<Scraped>,
}

fn describe() {
    describe_gauge!("seawall_circuit_breaker_state", "1 for the state that the breaker is in, 0 for the others.");
    describe_counter!("seawall_circuit_breaker_state_changes_total", "Changes of state, by the new one.");
    describe_gauge!("seawall_circuit_breaker_failure_ratio", "Share of failures in the window.");
    describe_gauge!("seawall_circuit_breaker_slow_ratio", "Share of slow calls in the window.");
    describe_counter!("seawall_circuit_breaker_probes_total", "Calls let through to find out whether it works again.");
    describe_counter!("seawall_circuit_breaker_late_results_total", "Results of an earlier state, which do not count.");
    describe_counter!("seawall_circuit_breaker_spared_total", "Calls that would have been refused.");
}

/// What is known when somebody scrapes.
struct Scraped {
    probes: Counter,
    late: Counter,
    spared: Counter,
}

impl BreakerMetrics {
    /// The metrics of what is called `name`, at the recorder that is installed at this time.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        describe();
        let changes = State::ALL.map(
            |to| counter!("seawall_circuit_breaker_state_changes_total", "name" => name.clone(), "to" => to.as_str()),
        );
        let handles = Handles {
            name,
            changes,
            states: OnceLock::new(),
            failure_ratio: OnceLock::new(),
            slow_ratio: OnceLock::new(),
            scraped: OnceLock::new(),
        };
        Self { handles: Arc::new(handles) }
    }

    /// Tells each change of `breaker` from here on, and the state it is in.
    pub fn follow(&self, breaker: &Breaker) {
        let metrics = self.clone();
        breaker.on_change(move |change| {
            metrics.count(change);
            metrics.show(change.to);
        });
        self.show(breaker.state());
    }

    /// Counts one change.
    pub fn count(&self, change: &Change) {
        for (state, changes) in State::ALL.iter().zip(&self.handles.changes) {
            if *state == change.to {
                changes.increment(1);
            }
        }
    }

    /// Brings the figures of `breaker` up to `now`: before each scrape.
    pub fn scrape(&self, breaker: &Breaker, now: Timestamp) {
        let snapshot = breaker.snapshot(now);
        let handles = &*self.handles;
        self.show(snapshot.state);
        let ratio = |gauge: &OnceLock<Gauge>, metric: &'static str, share: Option<f64>| {
            if share.is_some() || gauge.get().is_some() {
                gauge.get_or_init(|| gauge!(metric, "name" => handles.name.clone())).set(share.unwrap_or(f64::NAN));
            }
        };
        ratio(&handles.failure_ratio, "seawall_circuit_breaker_failure_ratio", snapshot.failure_ratio);
        ratio(&handles.slow_ratio, "seawall_circuit_breaker_slow_ratio", snapshot.slow_ratio);
        let scraped = handles.scraped.get_or_init(|| Scraped {
            probes: counter!("seawall_circuit_breaker_probes_total", "name" => handles.name.clone()),
            late: counter!("seawall_circuit_breaker_late_results_total", "name" => handles.name.clone()),
            spared: counter!("seawall_circuit_breaker_spared_total", "name" => handles.name.clone()),
        });
        scraped.probes.absolute(snapshot.probes);
        scraped.late.absolute(snapshot.late);
        scraped.spared.absolute(snapshot.spared);
    }

    fn show(&self, state: State) {
        let gauges = self.handles.states.get_or_init(|| {
            State::ALL.map(|state| {
                gauge!("seawall_circuit_breaker_state", "name" => self.handles.name.clone(), "state" => state.as_str())
            })
        });
        for (other, gauge) in State::ALL.iter().zip(gauges) {
            gauge.set(if *other == state { 1.0 } else { 0.0 });
        }
    }
}

impl fmt::Debug for BreakerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerMetrics").field("name", &self.handles.name).finish_non_exhaustive()
    }
}
