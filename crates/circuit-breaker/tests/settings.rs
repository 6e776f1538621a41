//! What can be set, what cannot, and what it starts with.

use std::time::Duration;

use seawall_circuit_breaker::{Breaker, BreakerConfig, BreakerConfigBuilder, Class, Outcome, State, Timestamp, Window};

fn refused(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> String {
    change(BreakerConfig::builder()).build().map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

#[test]
fn the_defaults_are_these() {
    let defaults = format!("{:#?}\n", BreakerConfig::builder().build().unwrap().to_builder());

    assert_eq!(defaults, include_str!("defaults.txt"));
}

#[test]
fn what_cannot_be_is_refused_with_field_value_and_what_is_allowed() {
    let ratio = |value: &str| format!("failure_ratio is {value}; allowed is a number above 0 and up to 1");
    assert_eq!(refused(|config| config.failure_ratio(0.0)), ratio("0"));
    assert_eq!(refused(|config| config.failure_ratio(f64::NAN)), ratio("NaN"));
    assert_eq!(refused(|config| config.failure_ratio(1.000_001)), ratio("1.000001"));
    assert_eq!(refused(|config| config.failure_ratio(f64::INFINITY)), ratio("inf"));
    assert_eq!(
        refused(|config| config.slow_ratio(-0.1)),
        "slow_ratio is -0.1; allowed is a number above 0 and up to 1"
    );
    assert_eq!(refused(|config| config.jitter(f64::NAN)), "jitter is NaN; allowed is a number from 0 to 1");
    assert_eq!(refused(|config| config.probes(0)), "probes is 0; allowed are 1 to 255");
    assert_eq!(refused(|config| config.probes(256)), "probes is 256; allowed are 1 to 255");
    assert_eq!(refused(|config| config.min_calls(0)), "min_calls is 0; allowed is 1 or more");
    assert_eq!(refused(|config| config.consecutive_failures(0)), "consecutive_failures is 0; allowed is 1 or more");
    assert_eq!(refused(|config| config.slow_after(Duration::ZERO)), "slow_after is 0s; allowed is any time above 0s");
    assert_eq!(refused(|config| config.pushback(Duration::ZERO)), "pushback is 0s; allowed is any time above 0s");
    assert_eq!(
        refused(|config| config.max_probe_age(Duration::ZERO)),
        "max_probe_age is 0s; allowed is any time above 0s"
    );
    assert_eq!(refused(|config| config.window(Window::Calls(0))), "window is 0 calls; allowed are 1 to 65535");
    assert_eq!(
        refused(|config| config.window(Window::Time(Duration::from_millis(1_500)))),
        "window is 1.5s; allowed are whole seconds, 1s to 3600s"
    );
    assert_eq!(
        refused(|config| config.window(Window::Time(Duration::MAX))),
        "window is Duration::MAX; allowed are whole seconds, 1s to 3600s"
    );
    assert_eq!(
        refused(|config| config.max_open_for(Duration::from_secs(1))),
        "max_open_for is 1s; allowed is open_for, 5s, or more"
    );
    assert_eq!(
        refused(|config| config.required_successes(15)),
        "required_successes is 15; allowed are 1 to the number of probes, 14"
    );
    assert_eq!(
        refused(|config| config.probes(2).probes_at_once(3)),
        "probes_at_once is 3; allowed are 1 to the number of probes, 2"
    );
    assert_eq!(
        refused(|config| config.probes_at_once(0)),
        "probes_at_once is 0; allowed are 1 to the number of probes, 14"
    );
    for value in [-0.1, 1.1, f64::NAN] {
        assert_eq!(
            refused(|config| config.enforce(value)),
            format!("enforce is {value}; allowed is a number from 0 to 1")
        );
    }
    assert_eq!(
        refused(BreakerConfigBuilder::no_failure_ratio),
        "no rule is set; allowed is at least one of failure_ratio, slow_after, consecutive_failures and peers"
    );
}

#[test]
fn the_edges_that_have_a_meaning_are_accepted() {
    let accepted = |change: fn(BreakerConfigBuilder) -> BreakerConfigBuilder| assert_eq!(refused(change), "accepted");
    accepted(|config| config.failure_ratio(1.0));
    accepted(|config| config.failure_ratio(f64::MIN_POSITIVE));
    accepted(|config| config.open_for(Duration::ZERO));
    accepted(|config| config.open_for(Duration::MAX));
    accepted(|config| config.open_for(Duration::from_secs(90)));
    accepted(|config| config.jitter(1.0));
    accepted(|config| config.enforce(0.0).ramp(Duration::MAX));
    accepted(|config| config.probes(255).min_calls(u32::MAX));
    accepted(|config| config.window(Window::Calls(10)).min_calls(100));
    accepted(|config| config.window(Window::Calls(65_535)));
    accepted(|config| config.window(Window::Time(Duration::from_secs(3_600))));
    accepted(|config| config.cancelled_after(Duration::ZERO).stable_for(Duration::MAX));
    accepted(|config| config.max_probe_age(Duration::MAX).slow_after(Duration::MAX));
}

#[test]
fn thresholds_change_while_it_runs_and_the_window_stays() {
    let now = Timestamp::from_nanos(1);
    let config = BreakerConfig::default();
    let breaker = Breaker::from(config.clone());
    for outcome in [Class::Failure, Class::Success, Class::Success, Class::Success] {
        let ticket = breaker.try_admit(now).unwrap();
        breaker.record(ticket, Outcome::Finished(outcome), Duration::ZERO, now);
    }

    let stricter = config.to_builder().min_calls(5).failure_ratio(0.4).build().unwrap();
    assert_eq!(breaker.reconfigure(&stricter), Ok(()));
    assert_eq!(breaker.state(), State::Closed);
    let ticket = breaker.try_admit(now).unwrap();
    breaker.record(ticket, Outcome::Finished(Class::Failure), Duration::ZERO, now);

    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn open_times_change_while_it_runs_from_the_next_opening_on() {
    let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
    let config = |open_for, max_open_for, stable_for| {
        BreakerConfig::builder()
            .min_calls(1)
            .open_for(Duration::from_secs(open_for))
            .max_open_for(Duration::from_secs(max_open_for))
            .stable_for(Duration::from_secs(stable_for))
    };
    let breaker = Breaker::from(config(1, 60, 60).jitter(1.0).build().unwrap());
    assert_eq!(breaker.reconfigure(&config(10, 15, 5).jitter(0.0).build().unwrap()), Ok(()));

    // The second within the healthy spell of the new settings, the third after it.
    let waits = [0, 104, 210].map(|second| {
        let fail = breaker.try_admit(at(second)).unwrap();
        breaker.record(fail, Outcome::Finished(Class::Failure), Duration::ZERO, at(second));
        let wait = breaker.snapshot(at(second)).retry_after.unwrap().as_secs();
        for _ in 0..2 {
            let probe = breaker.try_admit(at(second + 100)).unwrap();
            breaker.record(probe, Outcome::Finished(Class::Success), Duration::ZERO, at(second + 100));
        }
        wait
    });

    assert_eq!(waits, [10, 15, 10]);
}

#[test]
fn the_window_itself_cannot_change_while_it_runs() {
    let breaker = Breaker::from(BreakerConfig::default());
    let other = BreakerConfig::builder().window(Window::Calls(5)).build().unwrap();

    let error = breaker.reconfigure(&other).unwrap_err();

    assert_eq!(error.to_string(), "window is Calls(5); allowed while running is the present one, Time(10s)");
}

#[test]
fn the_slow_threshold_follows_a_measured_one() {
    let now = Timestamp::from_nanos(1);
    let breaker = Breaker::from(BreakerConfig::builder().min_calls(1).build().unwrap());
    let call = || {
        let ticket = breaker.try_admit(now).unwrap();
        breaker.record(ticket, Outcome::Finished(Class::Success), Duration::from_millis(301), now);
    };
    call();
    assert_eq!((breaker.slow_after(), breaker.snapshot(now).figures.slow), (None, 0));

    let p99 = Duration::from_millis(100);
    breaker.set_slow_after(Some(p99 * 3));
    call();

    assert_eq!((breaker.slow_after(), breaker.state()), (Some(Duration::from_millis(300)), State::Open));
}

#[cfg(feature = "serde")]
mod from_a_file {
    use super::*;

    #[test]
    fn settings_come_from_a_file_and_what_is_left_out_is_the_default() {
        let text = r#"{"window": {"time": "30s"}, "slow_after": "800ms", "probes": 5}"#;

        let config: BreakerConfig = serde_json::from_str(text).unwrap();

        let expected = BreakerConfig::builder()
            .window(Window::Time(Duration::from_secs(30)))
            .slow_after(Duration::from_millis(800))
            .probes(5);
        assert_eq!(format!("{:?}", config.to_builder()), format!("{expected:?}"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = BreakerConfig::builder().window(Window::Calls(7)).max_open_for(Duration::from_secs(99)).build();
        let config = config.unwrap();

        let read: BreakerConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();

        assert_eq!(format!("{read:?}"), format!("{config:?}"));
    }

    #[test]
    fn a_misspelt_field_and_a_value_that_cannot_be_are_refused() {
        let error = |text| serde_json::from_str::<BreakerConfig>(text).unwrap_err().to_string();

        assert!(error(r#"{"max_probe_agee": "3s"}"#).contains("unknown field `max_probe_agee`"));
        assert!(error(r#"{"probes": 0}"#).contains("probes is 0; allowed are 1 to 255"));
    }
}
