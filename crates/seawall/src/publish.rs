use seawall_backoff_with_jitter::{RetryLayer, RetryMetrics};
use seawall_bulkhead::{Bulkhead, BulkheadMetrics, QueueingBulkhead};
use seawall_circuit_breaker::{Breaker, BreakerMetrics};
use seawall_core::{Clock, Enforced, Entropy, Environment, Gate, GateLayer, KeyedLayer, MayWait, Timer, Timestamp};
use seawall_load_shedder::{LimitAlgorithm, LoadShedder, QueueingLoadShedder, ShedderMetrics, Throttle};
use seawall_timeout::{InheritedTimeoutLayer, TimeoutLayer, TimeoutMetrics};
use tower_layer::Identity;

use crate::PresetMetrics;

/// A layer with figures to publish when somebody scrapes. A layer of one's own in a preset's place needs it for
/// [`Client::metrics`](crate::Client::metrics) and [`Server::metrics`](crate::Server::metrics); an empty body publishes nothing.
pub trait Publish {
    /// Adds what this layer publishes under `name` to `metrics`. Once per layer: events would be counted twice.
    fn publish(&self, name: &str, metrics: &mut PresetMetrics);
}

/// A gate whose layer is [published](Publish).
pub trait PublishGate: Gate {
    /// Handles of its metrics.
    type Metrics: Send + Sync + 'static;

    /// Registers the metrics of what is called `name`.
    fn register(&self, name: &str) -> Self::Metrics;

    /// Brings the figures up to `now`.
    fn scrape(&self, metrics: &Self::Metrics, now: Timestamp);
}

impl<G: PublishGate, E: Environment> Publish for GateLayer<G, E> {
    fn publish(&self, name: &str, metrics: &mut PresetMetrics) {
        let (layer, handles) = (self.clone(), self.gate().register(name));
        metrics.add(move || layer.gate().scrape(&handles, layer.env().clock().now()));
    }
}

impl PublishGate for Breaker {
    type Metrics = BreakerMetrics;

    fn register(&self, name: &str) -> BreakerMetrics {
        let metrics = BreakerMetrics::new(name);
        metrics.follow(self);
        metrics
    }

    fn scrape(&self, metrics: &BreakerMetrics, now: Timestamp) {
        metrics.scrape(self, now);
    }
}

impl PublishGate for Bulkhead {
    type Metrics = BulkheadMetrics;

    fn register(&self, name: &str) -> BulkheadMetrics {
        BulkheadMetrics::new(name)
    }

    fn scrape(&self, metrics: &BulkheadMetrics, _: Timestamp) {
        metrics.scrape(self);
    }
}

impl<T: Timer> PublishGate for QueueingBulkhead<T> {
    type Metrics = BulkheadMetrics;

    fn register(&self, name: &str) -> BulkheadMetrics {
        BulkheadMetrics::new(name)
    }

    fn scrape(&self, metrics: &BulkheadMetrics, _: Timestamp) {
        metrics.scrape_queueing(self);
    }
}

impl<A: LimitAlgorithm, R: Entropy> PublishGate for LoadShedder<A, R> {
    type Metrics = ShedderMetrics;

    fn register(&self, name: &str) -> ShedderMetrics {
        let metrics = ShedderMetrics::new(name);
        let cuts = metrics.clone();
        self.on_cut(move |cut| cuts.count(cut));
        metrics
    }

    fn scrape(&self, metrics: &ShedderMetrics, _: Timestamp) {
        metrics.scrape(&self.figures());
    }
}

impl<A: LimitAlgorithm, T: Timer, R: Entropy> PublishGate for QueueingLoadShedder<A, T, R> {
    type Metrics = ShedderMetrics;

    fn register(&self, name: &str) -> ShedderMetrics {
        let metrics = ShedderMetrics::new(name);
        let cuts = metrics.clone();
        self.on_cut(move |cut| cuts.count(cut));
        metrics
    }

    fn scrape(&self, metrics: &ShedderMetrics, _: Timestamp) {
        metrics.scrape(&self.figures());
    }
}

/// Has no figures but those of its calls.
impl<R: Entropy> PublishGate for Throttle<R> {
    type Metrics = ();

    fn register(&self, _: &str) {}

    fn scrape(&self, (): &(), _: Timestamp) {}
}

impl<G: PublishGate<Wait: MayWait<G::Ticket>>> PublishGate for Enforced<G> {
    type Metrics = G::Metrics;

    fn register(&self, name: &str) -> G::Metrics {
        self.gate().register(name)
    }

    fn scrape(&self, metrics: &G::Metrics, now: Timestamp) {
        self.gate().scrape(metrics, now);
    }
}

impl<E: Environment, P, W> Publish for RetryLayer<E, P, W>
where
    P: Clone + Send + Sync + 'static,
    W: Clone + Send + Sync + 'static,
{
    fn publish(&self, name: &str, metrics: &mut PresetMetrics) {
        let (layer, handles) = (self.clone(), RetryMetrics::new(name));
        metrics.add(move || handles.scrape(&layer));
    }
}

impl<E: Environment, D, L> Publish for TimeoutLayer<E, D, L>
where
    D: Clone + Send + Sync + 'static,
    L: Clone + Send + Sync + 'static,
{
    fn publish(&self, name: &str, metrics: &mut PresetMetrics) {
        let (layer, handles) = (self.clone(), TimeoutMetrics::new(name));
        metrics.add(move || handles.scrape(&layer));
    }
}

/// Has nothing to publish.
impl<E: Environment, L> Publish for InheritedTimeoutLayer<E, L> {
    fn publish(&self, _: &str, _: &mut PresetMetrics) {}
}

/// Nothing: there may be thousands of keys.
impl<Q: ?Sized + ToOwned, F, G: Gate, E: Environment> Publish for KeyedLayer<Q, F, G, E> {
    fn publish(&self, _: &str, _: &mut PresetMetrics) {}
}

/// No layer has nothing to publish.
impl Publish for Identity {
    fn publish(&self, _: &str, _: &mut PresetMetrics) {}
}
