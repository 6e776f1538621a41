//! `docs/metrics.md` beside what the crates register.
#![cfg(feature = "metrics")]

use std::{
    collections::BTreeSet,
    future::ready,
    pin::pin,
    sync::{PoisonError, RwLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use seawall::{
    Reason, Rejection,
    bulkhead::{BulkheadConfig, BulkheadLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer},
    core::{
        Class, Clock, Criticality, Enforced, Enforcement, MetricsObserver, Observer, Outcome, Pattern, VirtualClock,
    },
    rate_limiter::{
        AdaptiveQuota, AdaptiveRate, DistributedKeyedGcra, DistributedQuota, Gcra, KeyedGcra, OneQuota, Plan, Plans,
        QueueingGcra, QueueingKeyedGcra, QueueingQuota, Quota, Quotas, RateLimiterMetrics,
    },
};

/// Those whose layers tell an observer.
const PATTERNS: [Pattern; 9] = [
    Pattern::CircuitBreaker,
    Pattern::Bulkhead,
    Pattern::LoadShedder,
    Pattern::RateLimiter,
    Pattern::Throttle,
    Pattern::Timeout,
    Pattern::Retry,
    Pattern::Fallback,
    Pattern::Pool,
];

/// Name, kind and labels of each metric.
type Table = BTreeSet<(String, String, Vec<String>)>;

#[derive(Default)]
struct Registered(RwLock<Table>);

impl Registered {
    fn note(&self, key: &Key, kind: &str) {
        let labels = key.labels().map(|label| label.key().to_owned()).collect();
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.insert((key.name().to_owned(), kind.to_owned(), labels));
    }
}

impl Recorder for Registered {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key, "counter");
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key, "gauge");
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key, "histogram");
        Histogram::noop()
    }
}

/// The rows of the document, one for each pattern where there is one for all.
fn documented() -> Table {
    let rows = include_str!("../../../docs/metrics.md").lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let labels: Vec<_> = cells[3].split(", ").map(str::to_owned).collect();
        PATTERNS.map(|pattern| (cells[1].replace("{pattern}", pattern.as_str()), cells[2].clone(), labels.clone()))
    })
    .collect()
}

fn tell_everything(pattern: Pattern) {
    let observer = MetricsObserver::new(pattern, "x");
    observer.on_call(Outcome::Finished(Class::Success));
    observer.on_reject(&Rejection::new(pattern, Reason::Overloaded).with_criticality(Criticality::Default));
    observer.on_cut(&Rejection::new(pattern, Reason::AttemptTimeout));
    observer.on_wait(Duration::from_millis(1));
    match pattern {
        Pattern::Retry => {
            observer.on_retry(1, Duration::ZERO, Outcome::TimedOut);
            observer.on_give_up("budget");
        }
        Pattern::Fallback => {
            observer.on_degraded("value");
            observer.on_give_up("error");
        }
        _ => {}
    }
}

fn scrape_every_limiter() -> Result<(), Box<dyn std::error::Error>> {
    let (metrics, clock) = (RateLimiterMetrics::new("x"), VirtualClock::new());
    let (now, quota) = (clock.now(), Quota::per_second(10)?);
    metrics.scrape(&Gcra::new(quota), now);
    metrics.scrape_queueing(&QueueingGcra::new(QueueingQuota::new(quota), clock.clone()), now);
    let lines = QueueingKeyedGcra::<str, _>::new(QueueingQuota::new(KeyedGcra::new(quota)), clock);
    metrics.scrape_lines(&lines);
    metrics.scrape_keyed(lines.limiter(), now);
    let quotas = Quotas::new().with(OneQuota::keyed(quota).with_name("each")?);
    metrics.scrape_quotas(&quotas.with(OneQuota::shared(quota).with_name("all")?), now);
    metrics.scrape_plans(&Plans::new(quota, Plan::new(quota, quota))?, now);
    metrics.scrape_adaptive(&AdaptiveRate::new(AdaptiveQuota::default()));
    metrics.scrape_distributed(&DistributedKeyedGcra::new(DistributedQuota::new(quota, 2)?).figures());
    metrics.scrape_enforced(&Enforced::new(Gcra::new(quota), Enforcement::Shadow));
    Ok(())
}

#[test]
fn the_table_in_the_documentation_is_what_is_registered() {
    let registered = Registered::default();
    metrics::with_local_recorder(&registered, || {
        PATTERNS.into_iter().for_each(tell_everything);
        scrape_every_limiter().unwrap();
        let judged = BreakerConfig::builder().min_calls(1).build().unwrap();
        let breaker = CircuitBreakerLayer::with_env(judged, seawall::http::env());
        let call = breaker.run(ready(Ok::<_, std::io::Error>(http::Response::new(()))));
        let ended = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ended, Poll::Ready(Ok(_))));
        let bulkhead: BulkheadLayer = BulkheadLayer::new(BulkheadConfig::new(1).unwrap());

        seawall::client().with_breaker(breaker).metrics("x").scrape();
        seawall::server().with_bulkhead(bulkhead).metrics("x").scrape();
    });

    let (registered, documented) = (registered.0.into_inner().unwrap(), documented());
    let missing: Vec<_> = registered.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&registered).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:#?}");
    assert!(gone.is_empty(), "in docs/metrics.md, but not registered: {gone:#?}");
}
