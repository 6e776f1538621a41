use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use super::Observer;
use crate::{Class, Outcome, Pattern, Rejection};

/// Counts through the `metrics` facade:
/// `seawall_<pattern>_calls_total{name, outcome}` and `seawall_<pattern>_rejections_total{name, reason}`, which together are
/// all calls. Why those were cut that ended by it is in `seawall_<pattern>_cuts_total{name, reason}`.
///
/// Those whose [criticality](Rejection::criticality) a gate goes by are also in
/// `seawall_<pattern>_rejected_total{name, criticality, reason}`.
///
/// How long those waited that a gate let in out of its queue is in the histogram `seawall_<pattern>_wait_seconds{name}`.
/// A retry also counts `seawall_retry_retries_total{name, after}` by the outcome of the attempt before,
/// `seawall_retry_repeats_total{name, attempt}` by the number of the attempt (2 to 9, and `10` for all above: what the calls
/// and these leave is how many calls took how many attempts), and `seawall_retry_given_up_total{name, reason}`; a fallback
/// `seawall_fallback_degraded_total{name, source}` and `seawall_fallback_given_up_total{name, reason}`.
///
/// One observer is for one layer. A preset of `seawall` that is given one makes one for each of its layers
/// ([`Observer::for_layer`]), under the same name: of the two timeouts that of an attempt counts as `<name>.attempt`.
///
/// The outcome is one of `success`, `failure`, `overload`, `ignored`, `timed_out`, `deadline_exceeded`,
/// `cancelled`, `panicked`. The counters of
/// outcomes are there from the start, the others once there is something to count; each is registered once.
#[derive(Clone)]
pub struct MetricsObserver {
    pattern: Pattern,
    name: Arc<str>,
    success: Counter,
    failure: Counter,
    overload: Counter,
    ignored: Counter,
    timed_out: Counter,
    deadline_exceeded: Counter,
    cancelled: Counter,
    panicked: Counter,
    waits: Arc<OnceLock<Histogram>>,
    retries: Arc<ByLabel>,
    repeats: Arc<ByLabel>,
    rejections: Arc<ByLabel>,
    rejected: Arc<[ByLabel; 4]>,
    cuts: Arc<ByLabel>,
    given_up: Arc<ByLabel>,
    degraded: Arc<ByLabel>,
}

impl MetricsObserver {
    /// Registers the counters of the instance `name` of `pattern` with the recorder that is installed at this time.
    pub fn new(pattern: Pattern, name: impl Into<String>) -> Self {
        let name: Arc<str> = name.into().into();
        let calls = |outcome: Outcome| {
            let metric = format!("seawall_{}_calls_total", pattern.as_str());
            describe_counter!(metric.clone(), "Calls by how they ended.");
            counter!(metric, "name" => name.to_string(), "outcome" => outcome.as_str())
        };
        Self {
            success: calls(Outcome::Finished(Class::Success)),
            failure: calls(Outcome::Finished(Class::Failure)),
            overload: calls(Outcome::Finished(Class::Overload)),
            ignored: calls(Outcome::Finished(Class::Ignored)),
            timed_out: calls(Outcome::TimedOut),
            deadline_exceeded: calls(Outcome::DeadlineExceeded),
            cancelled: calls(Outcome::Cancelled),
            panicked: calls(Outcome::Panicked),
            waits: Arc::default(),
            retries: Arc::default(),
            repeats: Arc::default(),
            rejections: Arc::default(),
            rejected: Arc::default(),
            cuts: Arc::default(),
            given_up: Arc::default(),
            degraded: Arc::default(),
            pattern,
            name,
        }
    }

    fn labelled(&self, what: &str, help: &'static str, label: &'static str, value: &'static str) -> Counter {
        let metric = format!("seawall_{}_{what}_total", self.pattern.as_str());
        describe_counter!(metric.clone(), help);
        counter!(metric, "name" => self.name.to_string(), label => value)
    }
}

/// The number of the attempt after so many.
fn ordinal(attempts: u32) -> &'static str {
    const NUMBERS: [&str; 9] = ["2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let index = usize::try_from(attempts).unwrap_or(usize::MAX).saturating_sub(1);
    NUMBERS.get(index).copied().unwrap_or("10")
}

/// As many as there are reasons, and more than there are fixed words of any other kind.
const SLOTS: usize = 24;

/// Counters that differ in one label, each registered when its value is first seen, and found again without a lock.
#[derive(Default)]
struct ByLabel {
    slots: [OnceLock<(&'static str, Counter)>; SLOTS],
}

impl ByLabel {
    fn increment(&self, value: &'static str, register: impl Fn() -> Counter) {
        for slot in &self.slots {
            let (known, counter) = slot.get_or_init(|| (value, register()));
            if *known == value {
                counter.increment(1);
                return;
            }
        }
        register().increment(1);
    }
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver")
            .field("pattern", &self.pattern)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Observer for MetricsObserver {
    const PER_CALL: bool = true;

    fn for_layer(self, pattern: Pattern, part: &'static str) -> Self {
        if part.is_empty() {
            Self::new(pattern, &*self.name)
        } else {
            Self::new(pattern, format!("{}.{part}", self.name))
        }
    }

    fn on_reject(&self, rejection: &Rejection) {
        let reason = rejection.reason().as_str();
        self.rejections
            .increment(reason, || self.labelled("rejections", "Calls that were refused, by reason.", "reason", reason));
        let Some(criticality) = rejection.criticality() else { return };
        if let Some(rejected) = self.rejected.get(criticality as usize) {
            rejected.increment(reason, || {
                let metric = format!("seawall_{}_rejected_total", self.pattern.as_str());
                describe_counter!(metric.clone(), "Calls that were refused, by how much they mattered and by reason.");
                let (name, criticality) = (self.name.to_string(), criticality.as_str());
                counter!(metric, "name" => name, "criticality" => criticality, "reason" => reason)
            });
        }
    }

    fn on_cut(&self, rejection: &Rejection) {
        let reason = rejection.reason().as_str();
        self.cuts.increment(reason, || self.labelled("cuts", "Calls that were cut, by reason.", "reason", reason));
    }

    fn on_call(&self, outcome: Outcome) {
        match outcome {
            Outcome::Finished(Class::Success) => &self.success,
            Outcome::Finished(Class::Failure) => &self.failure,
            Outcome::Finished(Class::Overload) => &self.overload,
            Outcome::Finished(Class::Ignored) => &self.ignored,
            Outcome::TimedOut => &self.timed_out,
            Outcome::DeadlineExceeded => &self.deadline_exceeded,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Panicked => &self.panicked,
        }
        .increment(1);
    }

    fn on_wait(&self, waited: Duration) {
        let waits = || {
            let metric = format!("seawall_{}_wait_seconds", self.pattern.as_str());
            describe_histogram!(metric.clone(), Unit::Seconds, "How long calls waited before they went on.");
            histogram!(metric, "name" => self.name.to_string())
        };
        self.waits.get_or_init(waits).record(waited);
    }

    fn on_retry(&self, attempts: u32, _: Duration, outcome: Outcome) {
        let after = outcome.as_str();
        self.retries.increment(after, || {
            self.labelled("retries", "Attempts after the first, by the outcome of the one before.", "after", after)
        });
        let attempt = ordinal(attempts);
        self.repeats.increment(attempt, || {
            self.labelled("repeats", "Attempts after the first, by their number.", "attempt", attempt)
        });
    }

    fn on_give_up(&self, reason: &'static str) {
        self.given_up.increment(reason, || {
            self.labelled(
                "given_up",
                "Calls that were not tried again although they failed, by reason.",
                "reason",
                reason,
            )
        });
    }

    fn on_degraded(&self, source: &'static str) {
        self.degraded.increment(source, || {
            self.labelled("degraded", "Calls that were answered by something else, by what that was.", "source", source)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            PoisonError, RwLock,
            atomic::{AtomicU64, Ordering::Relaxed},
        },
    };

    use metrics::{Gauge, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;
    use crate::{Criticality, Reason};

    /// How often each counter was registered, and what it counts.
    #[derive(Default)]
    struct Registry {
        counters: RwLock<BTreeMap<String, (u64, Arc<AtomicU64>)>>,
    }

    /// Adds up what is recorded, in milliseconds.
    struct Milliseconds(Arc<AtomicU64>);

    impl HistogramFn for Milliseconds {
        fn record(&self, seconds: f64) {
            let milliseconds = Duration::from_secs_f64(seconds).as_millis().try_into().unwrap_or(u64::MAX);
            self.0.fetch_add(milliseconds, Relaxed);
        }
    }

    impl Registry {
        /// Another use of the metric of that name.
        fn register(&self, key: &Key) -> Arc<AtomicU64> {
            let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
            let name = format!("{}{:?}", key.name(), labels.collect::<Vec<_>>()).replace('"', "");
            let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
            let (times, count) = counters.entry(name).or_default();
            *times = times.saturating_add(1);
            Arc::clone(count)
        }

        fn read(&self) -> Vec<(String, u64, u64)> {
            let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
            let counted = counters.iter().filter(|(_, (_, count))| count.load(Relaxed) > 0);
            counted.map(|(name, (times, count))| (name.clone(), *times, count.load(Relaxed))).collect()
        }
    }

    impl Recorder for Registry {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.register(key))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::new(Milliseconds(self.register(key))))
        }
    }

    #[test]
    fn each_counter_is_registered_once_however_often_it_counts_and_clones_count_together() {
        let registry = Registry::default();
        metrics::with_local_recorder(&registry, || {
            let observer = MetricsObserver::new(Pattern::Retry, "catalog");
            for observer in [observer.clone(), observer] {
                for _ in 0..50 {
                    observer.on_reject(&Rejection::new(Pattern::Retry, Reason::QueueFull));
                    observer.on_reject(
                        &Rejection::new(Pattern::Retry, Reason::Closed).with_criticality(Criticality::Sheddable),
                    );
                    observer.on_call(Outcome::TimedOut);
                    observer.on_wait(Duration::from_millis(1));
                    observer.on_retry(2, Duration::ZERO, Outcome::TimedOut);
                    observer.on_give_up("budget");
                    observer.on_degraded("value");
                }
            }
        });

        let counted = |name: &str| (format!("seawall_retry_{name}"), 1, 100);
        assert_eq!(
            registry.read(),
            [
                counted("calls_total[name=catalog, outcome=timed_out]"),
                counted("degraded_total[name=catalog, source=value]"),
                counted("given_up_total[name=catalog, reason=budget]"),
                counted("rejected_total[name=catalog, criticality=sheddable, reason=closed]"),
                counted("rejections_total[name=catalog, reason=closed]"),
                counted("rejections_total[name=catalog, reason=queue_full]"),
                counted("repeats_total[name=catalog, attempt=3]"),
                counted("retries_total[name=catalog, after=timed_out]"),
                counted("wait_seconds[name=catalog]"),
            ]
        );
    }

    #[test]
    fn attempts_are_told_apart_up_to_the_tenth() {
        assert_eq!([0, 1, 2, 8, 9, 10, u32::MAX].map(ordinal), ["2", "2", "3", "9", "10", "10", "10"]);
    }

    #[test]
    fn more_values_than_there_is_room_for_are_counted_too() {
        let registry = Registry::default();
        let values: Vec<&'static str> = (0..SLOTS + 2).map(|value| &*value.to_string().leak()).collect();
        metrics::with_local_recorder(&registry, || {
            let observer = MetricsObserver::new(Pattern::Fallback, "catalog");
            for value in values.iter().chain(&values) {
                observer.on_degraded(value);
            }
        });

        let counts: Vec<u64> = registry.read().into_iter().map(|(_, _, count)| count).collect();
        assert_eq!(counts, [2; SLOTS + 2]);
    }
}
