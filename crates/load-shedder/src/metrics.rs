use std::{fmt, sync::Arc};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use crate::{LimitCut, ShedderFigures};

/// Publishes shedders through the `metrics` facade.
///
/// | metric | |
/// |---|---|
/// | `seawall_load_shedder_limit{name}` | the steady limit |
/// | `seawall_load_shedder_limit_in_force{name}` | the limit with its sway and its probes |
/// | `seawall_load_shedder_in_flight{name}` | how much is under way |
/// | `seawall_load_shedder_base_latency_seconds{name}` | the latency without queueing; not a number before it is known |
/// | `seawall_load_shedder_latency_seconds{name}` | what a call took in the last window; not a number before the first |
/// | `seawall_load_shedder_floor{name}` | what is refused whatever the limit: all below 0 sheddable, 1 degraded, 2 default, 3 critical |
/// | `seawall_load_shedder_queued{name}` | how many wait |
/// | `seawall_load_shedder_oldest_wait_seconds{name}` | how long the one that has waited longest; 0 where nobody does |
/// | `seawall_load_shedder_spared_total{name, for}` | calls that would have been refused for their `deadline`, or for the `load` |
/// | `seawall_load_shedder_limit_cuts_total{name}` | how often the limit was cut by more than a fifth |
///
/// Cuts are told as they happen, the others when somebody scrapes. Calls, refusals by reason and criticality and waits are what
/// [`MetricsObserver`](seawall_core::MetricsObserver) counts. Handles are registered once; clones share them.
///
/// ```
/// use seawall_load_shedder::{LoadShedderConfig, LoadShedderLayer, ShedderMetrics};
///
/// let layer = LoadShedderLayer::new(LoadShedderConfig::default());
/// let metrics = ShedderMetrics::new("edge");
/// let cuts = metrics.clone();
/// layer.gate().on_cut(move |cut| cuts.count(cut));
/// // Before each scrape:
/// metrics.scrape(&layer.gate().figures());
/// ```
#[derive(Clone)]
pub struct ShedderMetrics {
    handles: Arc<Handles>,
}

struct Handles {
    name: String,
    limit: Gauge,
    limit_in_force: Gauge,
    in_flight: Gauge,
    base_latency: Gauge,
    latency: Gauge,
    floor: Gauge,
    queued: Gauge,
    oldest_wait: Gauge,
    spared_for_load: Counter,
    spared_for_deadline: Counter,
    cuts: Counter,
}

const SPARED: &str = "seawall_load_shedder_spared_total";
const CUTS: &str = "seawall_load_shedder_limit_cuts_total";

impl ShedderMetrics {
    /// The metrics of what is called `name`, at the recorder that is installed at this time.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let gauge = |what: &str, help: &'static str| {
            let metric = format!("seawall_load_shedder_{what}");
            describe_gauge!(metric.clone(), help);
            gauge!(metric, "name" => name.clone())
        };
        let spared = |reason: &'static str| counter!(SPARED, "name" => name.clone(), "for" => reason);
        describe_counter!(SPARED, "Calls that would have been refused.");
        describe_counter!(CUTS, "How often the limit was cut by more than a fifth.");
        let handles = Handles {
            limit: gauge("limit", "The limit, without its sway."),
            limit_in_force: gauge("limit_in_force", "The limit with its sway and its probes."),
            in_flight: gauge("in_flight", "How much is under way."),
            base_latency: gauge("base_latency_seconds", "The latency without queueing."),
            latency: gauge("latency_seconds", "What a call took in the last window."),
            floor: gauge("floor", "The least criticality that is let in: 0 to 3."),
            queued: gauge("queued", "How many calls wait."),
            oldest_wait: gauge("oldest_wait_seconds", "How long the call waits that has waited longest."),
            spared_for_load: spared("load"),
            spared_for_deadline: spared("deadline"),
            cuts: counter!(CUTS, "name" => name.clone()),
            name,
        };
        Self { handles: Arc::new(handles) }
    }

    /// Counts one cut.
    pub fn count(&self, _: &LimitCut) {
        self.handles.cuts.increment(1);
    }

    /// Publishes what a shedder is at: before each scrape.
    #[expect(clippy::cast_precision_loss, reason = "a number of calls that wait")]
    pub fn scrape(&self, figures: &ShedderFigures) {
        let handles = &*self.handles;
        let seconds = |time: Option<std::time::Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64());
        handles.limit.set(figures.limit);
        handles.limit_in_force.set(figures.limit_in_force);
        handles.in_flight.set(figures.in_flight);
        handles.base_latency.set(seconds(figures.base_latency));
        handles.latency.set(seconds(figures.latency));
        handles.floor.set(figures.floor as u32);
        handles.queued.set(figures.queued as f64);
        handles.oldest_wait.set(figures.oldest_wait.unwrap_or_default());
        let for_deadline = figures.would_have_refused_for_deadlines;
        handles.spared_for_deadline.absolute(for_deadline);
        handles.spared_for_load.absolute(figures.would_have_refused.saturating_sub(for_deadline));
    }
}

impl fmt::Debug for ShedderMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShedderMetrics").field("name", &self.handles.name).finish_non_exhaustive()
    }
}
