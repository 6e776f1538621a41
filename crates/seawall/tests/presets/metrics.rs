use std::pin::pin;

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall::{
    PresetMetrics,
    bulkhead::{Bulkhead, BulkheadConfig, BulkheadLayer, QueueingBulkheadConfig, QueueingBulkheadLayer},
    core::{Enforced, Enforcement, GateLayer, VirtualClock},
    load_shedder::{
        Fixed, LimitAlgorithm, LoadShedder, QueueingLoadShedder, QueueingShedderConfig, ThrottleConfig, ThrottleLayer,
        Window,
    },
};
use tower::{Layer, ServiceExt};

use crate::scripted::{Does, Handler, MS, SECOND, Scripted, drive, env, get, poll_once};

/// The lines of a scrape of what `publish` makes, after `steps`.
fn scraped(publish: impl FnOnce() -> PresetMetrics, steps: impl FnOnce()) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let metrics = publish();
        steps();
        metrics.scrape();
    });
    let text = handle.render();
    text.lines().filter(|line| line.starts_with("seawall")).map(|line| line.replace("seawall_", "")).collect()
}

fn assert_has(lines: &[String], expected: &[&str]) {
    for line in expected {
        assert!(lines.iter().any(|other| other == line), "{line} is not in {lines:#?}");
    }
}

#[test]
fn a_server_tells_limit_and_calls_inside_and_what_waits_where_it_has_a_queue() {
    let clock = VirtualClock::new();
    let one = || Fixed::new(1).unwrap();
    let layers = seawall::server_with_env(env(&clock));
    let queue = QueueingLoadShedder::with_algorithm(one(), QueueingShedderConfig::default(), clock.clone());
    let queueing = layers.clone().with_shedder(GateLayer::<QueueingLoadShedder<_, _>, _>::with_env(queue, env(&clock)));
    let layers =
        layers.with_shedder(GateLayer::<LoadShedder<_>, _>::with_env(LoadShedder::with_algorithm(one()), env(&clock)));
    let handler = Scripted::new(&clock, Does::Hang);

    let refusing = scraped(
        || layers.metrics("web"),
        || {
            let mut calls = [(); 2].map(|()| Box::pin(layers.layer(Handler(handler.clone())).oneshot(get())));
            let ended = calls.each_mut().map(|call| poll_once(call.as_mut()).is_ready());
            assert_eq!(ended, [false, true]);
        },
    );
    let mut calls = [(); 2].map(|()| Box::pin(queueing.layer(Handler(handler.clone())).oneshot(get())));
    let waiting = scraped(
        || queueing.metrics("web"),
        || {
            assert!(calls.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));
            clock.advance(3 * MS);
        },
    );

    assert_has(
        &refusing,
        &[
            "load_shedder_limit{name=\"web\"} 1",
            "load_shedder_in_flight{name=\"web\"} 0",
            "load_shedder_queued{name=\"web\"} 0",
            "load_shedder_limit_cuts_total{name=\"web\"} 0",
            "timeout_limit_seconds{name=\"web\"} inf",
        ],
    );
    assert_has(
        &waiting,
        &[
            "load_shedder_limit{name=\"web\"} 1",
            "load_shedder_in_flight{name=\"web\"} 1",
            "load_shedder_queued{name=\"web\"} 1",
            "load_shedder_oldest_wait_seconds{name=\"web\"} 0.003",
        ],
    );
}

/// Falls to a half with the first window, and stays there.
struct Halved(f64);

impl LimitAlgorithm for Halved {
    fn limit(&self) -> f64 {
        self.0
    }

    fn update(&mut self, _: &Window) {
        self.0 = 50.0;
    }
}

#[test]
fn a_server_counts_each_deep_cut_of_its_limit_with_a_queue_and_without() {
    let clock = VirtualClock::new();
    let layers = seawall::server_with_env(env(&clock));
    let queue = QueueingLoadShedder::with_algorithm(Halved(100.0), QueueingShedderConfig::default(), clock.clone());
    let queueing = layers.clone().with_shedder(GateLayer::<QueueingLoadShedder<_, _>, _>::with_env(queue, env(&clock)));
    let refusing = LoadShedder::with_algorithm(Halved(100.0));
    let refusing = layers.with_shedder(GateLayer::<LoadShedder<_>, _>::with_env(refusing, env(&clock)));
    let handler = Handler(Scripted::new(&clock, Does::Take(SECOND)));

    let of_queueing = scraped(
        || queueing.metrics("web"),
        || (0..30).for_each(|_| drop(drive(&clock, queueing.layer(handler.clone()).oneshot(get())).0)),
    );
    let of_refusing = scraped(
        || refusing.metrics("web"),
        || (0..30).for_each(|_| drop(drive(&clock, refusing.layer(handler.clone()).oneshot(get())).0)),
    );

    for lines in [of_queueing, of_refusing] {
        assert_has(&lines, &["load_shedder_limit{name=\"web\"} 50", "load_shedder_limit_cuts_total{name=\"web\"} 1"]);
    }
}

#[test]
fn a_client_tells_state_places_budget_and_limits() {
    let clock = VirtualClock::new();
    let layers = seawall::client_with_env(env(&clock));
    let service = Scripted::new(&clock, Does::Break);
    let hanging = layers.protect(Scripted::new(&clock, Does::Hang));
    let mut under_way = pin!(hanging.oneshot(get()));

    let lines = scraped(
        || layers.metrics("catalog"),
        || {
            for _ in 0..20 {
                drop(drive(&clock, layers.protect(service.clone()).oneshot(get())).0);
            }
            clock.advance(30 * SECOND);
            assert!(poll_once(under_way.as_mut()).is_pending());
        },
    );

    assert_has(
        &lines,
        &[
            "bulkhead_limit{name=\"catalog\"} 100",
            "bulkhead_in_flight{name=\"catalog\"} 1",
            "circuit_breaker_state{name=\"catalog\",state=\"half_open\"} 1",
            "circuit_breaker_state_changes_total{name=\"catalog\",to=\"open\"} 1",
            "circuit_breaker_probes_total{name=\"catalog\"} 1",
            "timeout_limit_seconds{name=\"catalog\"} 5",
            "timeout_limit_seconds{name=\"catalog.attempt\"} 2",
        ],
    );
    assert!(lines.iter().any(|line| line.starts_with("retry_budget_balance{name=\"catalog\"}")), "{lines:#?}");
}

#[test]
fn parts_that_were_replaced_or_left_out_tell_what_they_have() {
    let places = BulkheadConfig::new(3).unwrap();
    let throttle = ThrottleLayer::with_env(ThrottleConfig::default(), seawall::http::env());
    let waiting = QueueingBulkheadLayer::new(QueueingBulkheadConfig::new(places));
    let shadow: GateLayer<Enforced<Bulkhead>> =
        GateLayer::new(Enforced::new(Bulkhead::new(places), Enforcement::Shadow));
    let bulkhead: BulkheadLayer = BulkheadLayer::new(places);

    let client = seawall::client().without_breaker().without_retry().with_throttle(throttle).with_bulkhead(waiting);
    let of_client = scraped(|| client.metrics("catalog"), || ());
    let of_shadow = scraped(|| seawall::client().with_bulkhead(shadow).metrics("catalog"), || ());
    let of_server = scraped(|| seawall::server().without_shedder().with_bulkhead(bulkhead).metrics("web"), || ());

    assert_has(&of_client, &["bulkhead_limit{name=\"catalog\"} 3", "bulkhead_queued{name=\"catalog\"} 0"]);
    assert!(!of_client.iter().any(|line| line.starts_with("circuit_breaker")), "{of_client:#?}");
    assert_has(&of_shadow, &["bulkhead_limit{name=\"catalog\"} 3"]);
    assert_has(&of_server, &["bulkhead_limit{name=\"web\"} 3"]);
}
