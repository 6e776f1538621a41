//! What counts, and how much of it opens a breaker.

use std::time::Duration;

use seawall_circuit_breaker::{Cause, Class, CountAs, Outcome, State, Window};

use crate::kit::{FAILED, SUCCEEDED, admit, breaker, calls, end, ms};

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
fn a_threshold_of_one_opens_when_everything_fails_and_not_before() {
    let breaker = breaker(|config| config.failure_ratio(1.0).min_calls(10));
    calls(&breaker, 1, SUCCEEDED, ms(0));
    calls(&breaker, 500, FAILED, ms(0));
    assert_eq!(breaker.state(), State::Closed);

    calls(&breaker, 10, FAILED, ms(10_000));

    assert_eq!(breaker.state(), State::Open);
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
fn a_window_smaller_than_the_minimum_decides_when_it_is_full() {
    let breaker = breaker(|config| config.window(Window::Calls(5)).min_calls(100));

    calls(&breaker, 4, FAILED, ms(0));
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, 1, FAILED, ms(0));

    assert_eq!(breaker.state(), State::Open);
}
