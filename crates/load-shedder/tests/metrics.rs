//! What shedders publish.
#![cfg(feature = "metrics")]
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall_core::{
    Admission, CallContext, Class, Criticality, Gate, MetricsObserver, Observer, Outcome, Pattern, Timestamp,
    VirtualClock,
};
use seawall_load_shedder::{
    Enforcement, Fixed, Knee, LimitAlgorithm, LoadShedder, LoadShedderConfig, QueueingLoadShedder,
    QueueingShedderConfig, ShedderMetrics, Window,
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_000 + millis) * 1_000_000)
}

/// The lines of a scrape after `steps`.
fn scraped(steps: impl FnOnce(&ShedderMetrics)) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || steps(&ShedderMetrics::new("edge")));
    let text = handle.render();
    text.lines()
        .filter(|line| line.starts_with("seawall"))
        .map(|line| line.replace("seawall_load_shedder_", ""))
        .collect()
}

#[test]
fn a_scrape_tells_what_a_shedder_is_at() {
    let lines = scraped(|metrics| {
        let clock = VirtualClock::starting_at(at(0));
        let gate = QueueingLoadShedder::with_algorithm(
            Fixed::new(1).unwrap(),
            QueueingShedderConfig::default(),
            clock.clone(),
        );
        gate.shed_below(Criticality::Degraded);
        let _inside = gate.admit(CallContext::new, || at(0));
        let _waiting = gate.admit(CallContext::new, || at(0));
        gate.enforce(Enforcement::Shadow);
        assert!(matches!(gate.admit(CallContext::new, || at(0)), Admission::Admitted(_)));
        clock.advance(Duration::from_millis(3));
        metrics.scrape(&gate.figures());
    });

    for line in [
        "limit{name=\"edge\"} 1",
        "limit_in_force{name=\"edge\"} 1",
        "in_flight{name=\"edge\"} 2",
        "base_latency_seconds{name=\"edge\"} NaN",
        "latency_seconds{name=\"edge\"} NaN",
        "floor{name=\"edge\"} 1",
        "queued{name=\"edge\"} 1",
        "oldest_wait_seconds{name=\"edge\"} 0.003",
        "spared_total{name=\"edge\",for=\"load\"} 1",
        "spared_total{name=\"edge\",for=\"deadline\"} 0",
    ] {
        assert!(lines.iter().any(|other| other == line), "{line} is not in {lines:#?}");
    }
}

/// Falls to a half with the first window and by a tenth with each further one; sways all the time.
struct Falling(f64);

impl LimitAlgorithm for Falling {
    fn limit(&self) -> f64 {
        if self.0 > 90.0 { self.0 } else { 0.5 * self.0 }
    }

    fn steady_limit(&self) -> f64 {
        self.0
    }

    fn update(&mut self, _: &Window) {
        self.0 *= if self.0 > 90.0 { 0.5 } else { 0.85 };
    }
}

#[test]
fn only_deep_cuts_of_the_limit_are_told_and_no_sway() {
    let (sender, cuts) = std::sync::mpsc::channel();
    let lines = scraped(|metrics| {
        let shedder = LoadShedder::with_algorithm(Falling(100.0));
        let counts = metrics.clone();
        shedder.on_cut(move |cut| counts.count(cut));
        shedder.on_cut(move |cut| sender.send((cut.from, cut.to)).unwrap());
        for call in 0..10_000 {
            let Admission::Admitted(passage) = shedder.admit(CallContext::new, || at(call)) else { unreachable!() };
            shedder.finish(passage, Outcome::Finished(Class::Success), || at(call + 1));
        }
        assert!(shedder.inspect(|falling| falling.0 < 40.0), "it fell on");
    });

    assert_eq!(cuts.try_iter().collect::<Vec<_>>(), [(100.0, 50.0)]);
    assert!(lines.contains(&"limit_cuts_total{name=\"edge\"} 1".to_owned()), "{lines:#?}");
}

#[test]
fn knees_limit_is_told_without_its_sway_and_its_base_latency_once_it_is_known() {
    let shedder = LoadShedder::new(LoadShedderConfig::default());
    assert_eq!((shedder.figures().base_latency, shedder.figures().latency), (None, None));
    for call in 0..1_000 {
        let Admission::Admitted(passage) = shedder.admit(CallContext::new, || at(10 * call)) else { unreachable!() };
        shedder.finish(passage, Outcome::Finished(Class::Success), || at(10 * call + 5));
    }

    let figures = shedder.figures();
    assert_eq!(figures.base_latency, Some(Duration::from_millis(5)));
    assert_eq!(figures.latency, Some(Duration::from_millis(5)));
    assert!((figures.limit - shedder.inspect(Knee::steady_limit)).abs() < f64::EPSILON);
}

#[test]
fn refusals_are_counted_by_how_much_the_call_mattered() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let observer = MetricsObserver::new(Pattern::LoadShedder, "edge");
        let shedder = LoadShedder::with_algorithm(Fixed::new(10).unwrap());
        let mut refused = Vec::new();
        for criticality in [Criticality::Default, Criticality::Sheddable] {
            let context = CallContext::new().with_criticality(criticality);
            for _ in 0..12 {
                match shedder.admit(|| context, || at(0)) {
                    Admission::Refused(rejection) => refused.push(rejection),
                    Admission::Admitted(_) => {}
                    Admission::Queued(wait) => match wait {},
                }
            }
        }
        for rejection in &refused {
            observer.on_reject(rejection);
        }
    });

    let text = handle.render();
    for (criticality, count) in [("default", 2), ("sheddable", 12)] {
        let line = format!(
            "seawall_load_shedder_rejected_total{{name=\"edge\",criticality=\"{criticality}\",reason=\"overloaded\"}} {count}"
        );
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}
