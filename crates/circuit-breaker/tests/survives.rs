//! What a breaker must survive, with the failures that peers were seen to have among it.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerConfigBuilder, BreakerTicket, Cause, Class, CountAs, Outcome, Recovery, State,
    Timestamp, Window,
};

const SUCCEEDED: Outcome = Outcome::Finished(Class::Success);
const FAILED: Outcome = Outcome::Finished(Class::Failure);

fn breaker(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> Breaker {
    change(BreakerConfig::builder().jitter(0.0)).build().expect("valid settings").into()
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn admit(breaker: &Breaker, now: Timestamp) -> BreakerTicket {
    breaker.try_admit(now).expect("admitted")
}

fn end(breaker: &Breaker, ticket: BreakerTicket, outcome: Outcome, now: Timestamp) {
    breaker.record(ticket, outcome, Duration::from_millis(1), now);
}

fn calls(breaker: &Breaker, count: usize, outcome: Outcome, now: Timestamp) {
    for _ in 0..count {
        end(breaker, admit(breaker, now), outcome, now);
    }
}

/// Opened at `now` by failures.
fn trip(breaker: &Breaker, now: Timestamp) {
    while breaker.state() == State::Closed {
        end(breaker, admit(breaker, now), FAILED, now);
    }
}

#[test]
fn a_count_window_slides_so_a_hundred_thousand_successes_do_not_hide_an_outage() {
    let breaker = breaker(|config| config.window(Window::Calls(100)));
    calls(&breaker, 100_000, SUCCEEDED, ms(0));

    calls(&breaker, 49, FAILED, ms(0));
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, 1, FAILED, ms(0));

    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn probes_spaced_wider_than_the_window_still_close_it() {
    let breaker = breaker(|config| config.max_probe_age(Duration::from_secs(1)));
    trip(&breaker, ms(0));

    for minute in 1..=3 {
        let now = ms(minute * 60_000);
        end(&breaker, admit(&breaker, now), SUCCEEDED, now);
    }

    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_hung_probe_frees_its_place_when_it_is_too_old() {
    let breaker = breaker(|config| config.probes(1).max_probe_age(Duration::from_secs(10)));
    trip(&breaker, ms(0));
    let hung = admit(&breaker, ms(6_000));
    assert!(breaker.try_admit(ms(15_999)).is_err());

    // Given up at 16 s, open again for twice as long from then on.
    assert!(breaker.try_admit(ms(16_000)).is_err());
    assert_eq!(breaker.snapshot(ms(16_000)).last_change.map(|change| change.cause), Some(Cause::ProbesHung));
    let probe = admit(&breaker, ms(26_001));
    end(&breaker, hung, SUCCEEDED, ms(26_002));
    assert_eq!(breaker.state(), State::HalfOpen);
    end(&breaker, probe, SUCCEEDED, ms(26_003));

    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_hung_probe_does_not_hold_up_a_call_that_comes_long_after() {
    let breaker = breaker(|config| config.probes(1).max_probe_age(Duration::from_secs(10)));
    trip(&breaker, ms(0));
    let _lost = admit(&breaker, ms(6_000));

    let probe = admit(&breaker, ms(60_000));
    end(&breaker, probe, SUCCEEDED, ms(60_001));

    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_dependency_that_hangs_behind_a_timeout_opens_it() {
    let breaker = breaker(|config| config.min_calls(5));

    for call in 0..5 {
        let ticket = admit(&breaker, ms(call));
        breaker.record(ticket, Outcome::Cancelled, Duration::from_secs(1), ms(call + 1_000));
    }

    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn one_answer_among_a_thousand_cancelled_calls_does_not_hide_that_it_hangs() {
    let breaker = breaker(|config| config.window(Window::Calls(1_000)).min_calls(1_000));
    calls(&breaker, 1, SUCCEEDED, ms(0));

    for _ in 0..999 {
        let ticket = admit(&breaker, ms(0));
        breaker.record(ticket, Outcome::Cancelled, Duration::from_secs(3), ms(3_000));
    }

    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn calls_given_up_on_early_never_count() {
    let breaker = breaker(|config| config.min_calls(1));

    for _ in 0..100 {
        let ticket = admit(&breaker, ms(0));
        breaker.record(ticket, Outcome::Cancelled, Duration::from_millis(999), ms(999));
    }

    assert_eq!((breaker.state(), breaker.snapshot(ms(999)).figures.calls), (State::Closed, 0));
}

#[test]
fn cancelled_calls_count_as_the_user_says() {
    for (count_as, calls, failures, slow) in [
        (CountAs::Nothing, 0, 0, 0),
        (CountAs::Success, 1, 0, 0),
        (CountAs::Slow, 1, 0, 1),
        (CountAs::Failure, 1, 1, 0),
    ] {
        let breaker = breaker(|config| config.cancelled(count_as).cancelled_after(Duration::ZERO));

        end(&breaker, admit(&breaker, ms(0)), Outcome::Cancelled, ms(0));

        let figures = breaker.snapshot(ms(0)).figures;
        assert_eq!((figures.calls, figures.failures, figures.slow), (calls, failures, slow), "{count_as:?}");
    }
}

#[test]
fn panics_and_timeouts_are_failures_and_local_refusals_are_nothing() {
    let breaker = breaker(|config| config);

    for outcome in [Outcome::Panicked, Outcome::TimedOut, Outcome::Finished(Class::Ignored)] {
        end(&breaker, admit(&breaker, ms(0)), outcome, ms(0));
    }

    let figures = breaker.snapshot(ms(0)).figures;
    assert_eq!((figures.calls, figures.failures), (2, 2));
}

#[test]
fn overload_is_not_a_failure_unless_the_user_says_so() {
    let overload = Outcome::Finished(Class::Overload);
    let patient = breaker(|config| config);
    let strict = breaker(|config| config.overload(CountAs::Failure));

    calls(&patient, 1_000, overload, ms(0));
    calls(&strict, 20, overload, ms(0));

    assert_eq!((patient.state(), strict.state()), (State::Closed, State::Open));
}

#[test]
fn results_from_before_the_outage_do_not_decide_the_probing() {
    let breaker = breaker(|config| config);
    let early: Vec<_> = (0..50).map(|_| admit(&breaker, ms(0))).collect();
    trip(&breaker, ms(0));
    let probe = admit(&breaker, ms(5_001));

    for ticket in early {
        end(&breaker, ticket, SUCCEEDED, ms(5_002));
    }
    assert_eq!(breaker.state(), State::HalfOpen);

    end(&breaker, probe, SUCCEEDED, ms(5_003));
    assert_eq!(breaker.snapshot(ms(5_003)).figures.calls, 1);
    assert_eq!(breaker.snapshot(ms(5_003)).late, 50);
}

#[test]
fn probes_of_an_earlier_half_open_period_do_not_decide_a_later_one() {
    let breaker = breaker(|config| config.probes(2).min_calls(1).recovery(Recovery::ByRatio));
    trip(&breaker, ms(0));
    let old = admit(&breaker, ms(5_001));
    end(&breaker, admit(&breaker, ms(5_001)), FAILED, ms(5_002));
    assert_eq!(breaker.state(), State::Open);
    let _new = admit(&breaker, ms(20_000));

    end(&breaker, old, SUCCEEDED, ms(20_001));

    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn a_cancelled_probe_gives_its_place_back() {
    let breaker = breaker(|config| config.probes(1));
    trip(&breaker, ms(0));

    for _ in 0..300 {
        end(&breaker, admit(&breaker, ms(5_001)), Outcome::Cancelled, ms(5_001));
    }

    calls(&breaker, 1, SUCCEEDED, ms(5_001));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn an_open_time_without_end_neither_panics_nor_ends() {
    let breaker = breaker(|config| config.open_for(Duration::MAX).jitter(1.0));
    trip(&breaker, ms(1));

    let rejection = breaker.try_admit(Timestamp::MAX).expect_err("open for ever");
    assert_eq!(rejection.retry_after(), None);

    breaker.reset(Timestamp::MAX);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn no_open_time_means_that_the_next_nanosecond_probes() {
    let breaker = breaker(|config| config.open_for(Duration::ZERO));
    trip(&breaker, ms(1));

    assert_eq!(breaker.try_admit(ms(1)).err().and_then(|no| no.retry_after()), Some(Duration::from_nanos(1)));
    assert!(breaker.try_admit(Timestamp::from_nanos(1_000_001)).is_ok());
}

#[test]
fn a_threshold_of_one_opens_when_everything_fails_and_not_before() {
    let breaker = breaker(|config| config.failure_ratio(1.0).min_calls(10));
    calls(&breaker, 1, SUCCEEDED, ms(0));
    calls(&breaker, 500, FAILED, ms(0));
    assert_eq!(breaker.state(), State::Closed);

    calls(&breaker, 10, FAILED, ms(10_000));

    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_clock_that_jumps_an_hour_neither_opens_nor_holds_it() {
    let breaker = breaker(|config| config);
    calls(&breaker, 19, FAILED, ms(0));
    calls(&breaker, 1, FAILED, ms(3_600_000));
    assert_eq!(breaker.state(), State::Closed);

    trip(&breaker, ms(3_600_000));
    assert!(breaker.try_admit(ms(7_200_000)).is_ok());
}

#[test]
fn a_clock_that_stands_still_keeps_counting_and_probes_later() {
    let breaker = breaker(|config| config);
    calls(&breaker, 1_000, SUCCEEDED, ms(5));
    calls(&breaker, 1_000, FAILED, ms(5));
    assert_eq!(breaker.state(), State::Open);

    assert!(breaker.try_admit(ms(5_006)).is_ok());
}

#[test]
fn a_stamp_from_another_core_that_trails_is_neither_refused_for_ages_nor_probed() {
    let breaker = breaker(|config| config);
    trip(&breaker, ms(100));

    let wait = breaker.try_admit(Timestamp::from_nanos(99_999_990)).err().and_then(|no| no.retry_after());

    assert_eq!(wait, Some(Duration::from_nanos(5_000_000_011)));
}

#[test]
fn slow_successes_open_it_and_a_latency_at_the_threshold_is_not_slow() {
    let breaker = breaker(|config| config.slow_after(Duration::from_millis(100)).min_calls(4));
    for latency in [100, 100, 101] {
        breaker.record(admit(&breaker, ms(0)), SUCCEEDED, Duration::from_millis(latency), ms(0));
    }
    assert_eq!(breaker.state(), State::Closed);

    breaker.record(admit(&breaker, ms(0)), SUCCEEDED, Duration::from_millis(101), ms(0));

    let cause = breaker.snapshot(ms(0)).last_change.map(|change| change.cause);
    assert_eq!(cause, Some(Cause::SlowRatio { measured: 0.5, threshold: 0.5 }));
}

#[test]
fn failures_in_a_row_open_it_whatever_the_window_says() {
    let breaker = breaker(|config| config.consecutive_failures(3));
    calls(&breaker, 1_000, SUCCEEDED, ms(0));
    calls(&breaker, 2, FAILED, ms(0));
    calls(&breaker, 1, SUCCEEDED, ms(0));
    calls(&breaker, 2, FAILED, ms(0));
    assert_eq!(breaker.state(), State::Closed);

    calls(&breaker, 1, FAILED, ms(0));

    let cause = breaker.snapshot(ms(0)).last_change.map(|change| change.cause);
    assert_eq!(cause, Some(Cause::ConsecutiveFailures { failures: 3 }));
}

#[test]
fn without_a_failure_ratio_any_failed_probe_opens_again() {
    let breaker = breaker(|config| config.no_failure_ratio().consecutive_failures(2));
    trip(&breaker, ms(0));
    calls(&breaker, 1, SUCCEEDED, ms(5_001));

    calls(&breaker, 1, FAILED, ms(5_001));

    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn required_successes_close_at_once_and_open_when_out_of_reach() {
    let settings = |config: BreakerConfigBuilder| config.probes(5).required_successes(3);
    let (recovering, sick) = (breaker(settings), breaker(settings));
    trip(&recovering, ms(0));
    trip(&sick, ms(0));

    for outcome in [SUCCEEDED, FAILED, SUCCEEDED] {
        calls(&recovering, 1, outcome, ms(5_001));
    }
    assert_eq!(recovering.state(), State::HalfOpen);
    calls(&recovering, 1, SUCCEEDED, ms(5_001));
    calls(&sick, 3, FAILED, ms(5_001));

    assert_eq!((recovering.state(), sick.state()), (State::Closed, State::Open));
}

#[test]
fn of_a_million_calls_at_the_trip_no_more_than_the_probes_pass_ever() {
    const THREADS: usize = 8;
    const EACH: usize = 125_000;
    let breaker = breaker(|config| config.probes(3).max_probe_age(Duration::MAX));
    let (barrier, probes) = (Barrier::new(THREADS), AtomicUsize::new(0));
    let due = ms(6_000);

    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let tickets: Vec<_> = (0..EACH).map(|_| admit(&breaker, ms(0))).collect();
                barrier.wait();
                for ticket in tickets {
                    end(&breaker, ticket, FAILED, ms(1));
                    // While it is closed everything passes, with a stamp from later too.
                    if breaker.state() != State::Closed && breaker.try_admit(due).is_ok() {
                        probes.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });

    assert_eq!(probes.into_inner(), 3);
    assert_eq!((breaker.state(), breaker.snapshot(due).openings), (State::HalfOpen, 1));
}

#[test]
fn of_a_hundred_thousand_calls_in_half_open_only_a_few_pass_at_once_and_ten_in_all() {
    let breaker = breaker(|config| config);
    trip(&breaker, ms(0));

    let mut under_way: Vec<_> = (0..100_000).filter_map(|_| breaker.try_admit(ms(5_001)).ok()).collect();
    assert_eq!(under_way.len(), 3);
    let mut passed = 3;
    while let Some(ticket) = under_way.pop() {
        end(&breaker, ticket, FAILED, ms(5_002));
        let next: Vec<_> = (0..1_000).filter_map(|_| breaker.try_admit(ms(5_002)).ok()).collect();
        passed += next.len();
        under_way.extend(next);
    }

    assert_eq!((passed, breaker.state(), breaker.snapshot(ms(5_002)).openings), (10, State::Open, 2));
}

#[test]
fn three_hung_probes_open_it_again_and_no_fourth_caller_waits_for_it() {
    let breaker = breaker(|config| config.max_probe_age(Duration::from_secs(10)));
    trip(&breaker, ms(0));
    let _hung: Vec<_> = (0..3).map(|_| admit(&breaker, ms(6_000))).collect();

    assert!(breaker.try_admit(ms(15_999)).is_err());
    assert!(breaker.try_admit(ms(16_000)).is_err());

    let change = breaker.snapshot(ms(16_000)).last_change.expect("it has changed");
    assert_eq!((change.to, change.cause), (State::Open, Cause::ProbesHung));
}

#[test]
fn after_an_outage_chance_does_not_open_it_again_but_failure_does() {
    let breaker = breaker(|config| config);
    trip(&breaker, ms(0));
    calls(&breaker, 2, SUCCEEDED, ms(5_001));
    for _ in 0..50 {
        calls(&breaker, 1, FAILED, ms(5_001));
        calls(&breaker, 1, SUCCEEDED, ms(5_001));
    }
    assert_eq!(breaker.state(), State::Closed);

    trip(&breaker, ms(5_001));

    assert!(breaker.snapshot(ms(5_001)).last_change.is_some_and(|change| change.figures.calls <= 160));
}

#[test]
fn after_an_outage_a_minimum_of_nothing_but_failures_opens_it_again_at_once() {
    for (minimum, threshold) in [(1, 0.5), (5, 0.5), (20, 0.5), (20, 0.07), (7, 1.0)] {
        let breaker = breaker(|config| config.min_calls(minimum).failure_ratio(threshold));
        trip(&breaker, ms(0));
        while breaker.state() != State::Closed {
            calls(&breaker, 1, SUCCEEDED, ms(5_001));
        }

        trip(&breaker, ms(5_001));

        let change = breaker.snapshot(ms(5_001)).last_change.expect("it has changed");
        assert!(change.figures.failures <= minimum.into(), "{change:?}");
    }
}

#[test]
fn a_minute_after_an_outage_the_threshold_is_the_threshold() {
    let breaker = breaker(|config| config);
    trip(&breaker, ms(0));
    calls(&breaker, 2, SUCCEEDED, ms(5_001));

    calls(&breaker, 10, SUCCEEDED, ms(66_000));
    calls(&breaker, 10, FAILED, ms(66_000));

    assert_eq!(breaker.state(), State::Open);
}
