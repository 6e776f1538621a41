//! What a scrape shows of a breaker.
#![cfg(feature = "metrics")]
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerConfigBuilder, BreakerMetrics, Class, Outcome, State, Timestamp,
};

fn breaker(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> Breaker {
    change(BreakerConfig::builder().jitter(0.0)).build().expect("valid settings").into()
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn calls(breaker: &Breaker, count: usize, class: Class, now: Timestamp) {
    for _ in 0..count {
        if let Ok(ticket) = breaker.try_admit(now) {
            breaker.record(ticket, Outcome::Finished(class), Duration::ZERO, now);
        }
    }
}

/// The lines of a scrape that tell a value, after `steps`, without what they have in common.
fn scraped(steps: impl FnOnce(&dyn Fn() -> Vec<String>)) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let lines = || {
        let mut lines: Vec<String> = handle
            .render()
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.replace("seawall_circuit_breaker_", "").replace("name=\"catalog\",", ""))
            .map(|line| line.replace("{name=\"catalog\"}", ""))
            .collect();
        lines.sort();
        lines
    };
    metrics::with_local_recorder(&recorder, || steps(&lines));
}

/// Of the gauge with a series per state, the one that is 1.
fn state(lines: &[String]) -> Vec<&str> {
    let states = lines.iter().filter(|line| line.starts_with("state{"));
    states.filter_map(|line| line.strip_prefix("state{state=\"")?.strip_suffix("\"} 1")).collect()
}

#[test]
fn exactly_one_state_reads_one_and_it_changes_with_the_breaker_not_with_the_scrape() {
    scraped(|lines| {
        let breaker = breaker(|config| config);
        BreakerMetrics::new("catalog").follow(&breaker);
        let series = lines().iter().filter(|line| line.starts_with("state{")).count();
        assert_eq!((series, state(&lines())), (State::ALL.len(), vec!["closed"]));

        calls(&breaker, 20, Class::Failure, seconds(1));
        assert_eq!(state(&lines()), ["open"]);

        let probe = breaker.try_admit(seconds(7)).expect("a probe");
        assert_eq!(state(&lines()), ["half_open"]);

        drop(probe);
        breaker.disable(seconds(7));
        assert_eq!(state(&lines()), ["disabled"]);
    });
}

#[test]
fn changes_are_counted_by_the_state_they_lead_to() {
    scraped(|lines| {
        let breaker = breaker(|config| config);
        let metrics = BreakerMetrics::new("catalog");
        metrics.follow(&breaker);
        for _ in 0..3 {
            breaker.force_open(seconds(1));
            breaker.reset(seconds(1));
        }
        breaker.force_closed(seconds(1));

        let changes: Vec<String> =
            lines().into_iter().filter_map(|line| Some(line.strip_prefix("state_changes_total")?.to_owned())).collect();

        assert_eq!(
            changes,
            [
                "{to=\"closed\"} 3",
                "{to=\"disabled\"} 0",
                "{to=\"forced_closed\"} 1",
                "{to=\"forced_open\"} 3",
                "{to=\"half_open\"} 0",
                "{to=\"open\"} 0"
            ]
        );
    });
}

#[test]
fn a_ratio_is_absent_before_there_is_enough_to_judge_by_and_no_number_when_there_is_no_longer() {
    scraped(|lines| {
        let breaker = breaker(|config| config.slow_after(Duration::from_secs(9)));
        let metrics = BreakerMetrics::new("catalog");
        let ratios = |now| {
            metrics.scrape(&breaker, now);
            lines().into_iter().filter(|line| line.contains("ratio")).collect::<Vec<_>>()
        };
        calls(&breaker, 4, Class::Failure, seconds(1));
        calls(&breaker, 15, Class::Success, seconds(1));
        assert_eq!(ratios(seconds(1)), [""; 0]);

        calls(&breaker, 1, Class::Success, seconds(1));
        assert_eq!(ratios(seconds(1)), ["failure_ratio 0.2", "slow_ratio 0"]);

        assert_eq!(ratios(seconds(20)), ["failure_ratio NaN", "slow_ratio NaN"]);
    });
}

#[test]
fn probes_late_results_and_spared_calls_are_those_of_the_snapshot() {
    scraped(|lines| {
        let breaker = breaker(|config| config.enforce(0.0));
        let metrics = BreakerMetrics::new("catalog");
        let late = breaker.try_admit(seconds(1)).expect("closed");
        calls(&breaker, 20, Class::Failure, seconds(1));
        breaker.record(late, Outcome::Finished(Class::Success), Duration::ZERO, seconds(1));
        calls(&breaker, 5, Class::Failure, seconds(1));
        calls(&breaker, 2, Class::Success, seconds(7));

        metrics.scrape(&breaker, seconds(7));
        metrics.scrape(&breaker, seconds(7));

        let counted: Vec<String> = lines().into_iter().filter(|line| line.contains("_total ")).collect();
        assert_eq!(counted, ["late_results_total 1", "probes_total 2", "spared_total 5"]);
        assert_eq!(state(&lines()), ["closed"]);
    });
}
