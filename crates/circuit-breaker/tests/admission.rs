//! Calls of which only a share is refused or admitted, and calls that are taken by hand.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerConfigBuilder, Cause, Class, Clock, Outcome, State, Timestamp,
};
use seawall_core::{Admission, CallContext, Gate, VirtualClock};

const SUCCEEDED: Outcome = Outcome::Finished(Class::Success);
const FAILED: Outcome = Outcome::Finished(Class::Failure);

fn breaker(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> Breaker {
    change(BreakerConfig::builder().jitter(0.0).seed(3)).build().expect("valid settings").into()
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

/// How many of `count` calls are admitted; each ends with `outcome`.
fn admitted(breaker: &Breaker, count: usize, outcome: Outcome, now: Timestamp) -> usize {
    let admit = || breaker.try_admit(now).map(|ticket| breaker.record(ticket, outcome, Duration::ZERO, now));
    (0..count).filter(|_| admit().is_ok()).count()
}

/// Opened at 0, closed by its probes at 5,001 ms.
fn closed_again(breaker: &Breaker) {
    admitted(breaker, 20, FAILED, ms(0));
    admitted(breaker, 2, SUCCEEDED, ms(5_001));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn closing_with_a_ramp_admits_a_tenth_at_first_and_all_at_its_end() {
    let breaker = breaker(|config| config.ramp(Duration::from_secs(9)));
    closed_again(&breaker);

    let shares: Vec<usize> =
        [0, 3_000, 6_000, 8_999].map(|after| admitted(&breaker, 1_000, SUCCEEDED, ms(5_001 + after))).to_vec();
    assert!(shares.iter().zip([100, 400, 700, 1_000]).all(|(share, due)| share.abs_diff(due) <= 3), "{shares:?}");
    assert!((breaker.snapshot(ms(8_001)).admitted_share - 0.4).abs() < 1e-9);

    assert_eq!(admitted(&breaker, 1_000, SUCCEEDED, ms(14_001)), 1_000);
    assert_eq!(breaker.snapshot(ms(14_001)).admitted_share.to_bits(), 1.0_f64.to_bits());
}

#[test]
fn after_the_ramp_no_call_asks_for_the_time_again() {
    let breaker = breaker(|config| config.ramp(Duration::from_secs(9)));
    closed_again(&breaker);
    assert_eq!(admitted(&breaker, 1, SUCCEEDED, ms(14_001)), 1);

    let admission = breaker.admit(CallContext::new, || panic!("the ramp has ended"));

    assert!(matches!(admission, Admission::Admitted(_)));
}

#[test]
fn without_a_ramp_closing_admits_all_at_once() {
    let breaker = breaker(|config| config);
    closed_again(&breaker);

    assert_eq!(admitted(&breaker, 1_000, SUCCEEDED, ms(5_001)), 1_000);
}

#[test]
fn results_on_the_ramp_count_also_when_they_come_after_it() {
    let breaker = breaker(|config| config.ramp(Duration::from_secs(1)));
    closed_again(&breaker);
    let early: Vec<_> = (0..100).filter_map(|_| breaker.try_admit(ms(5_001)).ok()).collect();
    let sent = early.len() as u64;
    admitted(&breaker, 1, SUCCEEDED, ms(6_001));

    for ticket in early {
        breaker.record(ticket, FAILED, Duration::ZERO, ms(6_001));
    }

    assert!((9..=11).contains(&sent), "{sent}");
    assert_eq!(breaker.snapshot(ms(6_001)).figures.failures, sent);
}

#[test]
fn a_manual_reset_has_no_ramp() {
    let breaker = breaker(|config| config.ramp(Duration::MAX));
    admitted(&breaker, 20, FAILED, ms(0));

    breaker.reset(ms(1));

    assert_eq!(admitted(&breaker, 100, SUCCEEDED, ms(1)), 100);
}

#[test]
fn in_the_shadow_it_decides_tells_and_counts_and_refuses_nobody() {
    let breaker = breaker(|config| config.enforce(0.0));
    admitted(&breaker, 20, FAILED, ms(0));
    assert_eq!(breaker.state(), State::Open);

    assert_eq!(admitted(&breaker, 100, FAILED, ms(1)), 100);

    let snapshot = breaker.snapshot(ms(1));
    assert_eq!((snapshot.state, snapshot.spared, snapshot.rejections, snapshot.late), (State::Open, 100, 0, 0));
    assert_eq!(admitted(&breaker, 5, SUCCEEDED, ms(5_001)), 5);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn calls_that_are_spared_while_probes_are_under_way_are_no_probes() {
    let breaker = breaker(|config| config.enforce(0.0));
    admitted(&breaker, 20, FAILED, ms(0));
    let _probes: Vec<_> = (0..3).map(|_| breaker.try_admit(ms(5_001))).collect();

    admitted(&breaker, 100, FAILED, ms(5_001));

    let snapshot = breaker.snapshot(ms(5_001));
    assert_eq!((snapshot.state, snapshot.probes, snapshot.figures.calls), (State::HalfOpen, 3, 0));
}

#[test]
fn a_share_of_refusals_can_be_carried_out() {
    let breaker = breaker(|config| config.enforce(0.25));
    breaker.force_open(ms(0));

    let passed = admitted(&breaker, 1_000, SUCCEEDED, ms(0));

    assert!(passed.abs_diff(750) <= 3, "{passed}");
    assert_eq!(breaker.snapshot(ms(0)).rejections, 1_000 - passed as u64);
}

#[test]
fn one_result_may_open_it_for_as_long_as_it_says() {
    let breaker = breaker(|config| config);

    breaker.trip(Some(Duration::from_secs(30)), ms(0));
    breaker.trip(None, ms(1));

    let snapshot = breaker.snapshot(ms(0));
    assert_eq!((snapshot.state, snapshot.cause(), snapshot.since()), (State::Open, Some(Cause::Tripped), Some(ms(0))));
    assert_eq!(snapshot.retry_after, Some(Duration::from_nanos(30_000_000_001)));
    admitted(&breaker, 2, SUCCEEDED, ms(30_001));
    breaker.trip(None, ms(30_001));
    assert_eq!(breaker.snapshot(ms(30_001)).retry_after, Some(Duration::from_nanos(5_000_000_001)));
}

#[test]
fn one_result_does_not_open_what_somebody_has_forced() {
    let breaker = breaker(|config| config);
    breaker.force_closed(ms(0));

    breaker.trip(None, ms(1));

    assert_eq!(breaker.state(), State::ForcedClosed);
}

#[test]
fn ratios_are_absent_until_there_is_enough_to_judge_by() {
    let breaker = breaker(|config| config);
    admitted(&breaker, 19, SUCCEEDED, ms(0));
    assert_eq!(breaker.snapshot(ms(0)).failure_ratio, None);

    admitted(&breaker, 1, FAILED, ms(0));

    assert_eq!(breaker.snapshot(ms(0)).failure_ratio, Some(0.05));
    assert_eq!(breaker.snapshot(ms(0)).slow_ratio, Some(0.0));
}

#[test]
fn a_call_taken_by_hand_ends_once_and_given_up_on_counts_by_its_age() {
    let breaker = breaker(|config| config);
    let clock = VirtualClock::new();
    breaker.try_acquire(clock.clone()).expect("closed").success();
    breaker.try_acquire(clock.clone()).expect("closed").failure();
    breaker.try_acquire(clock.clone()).expect("closed").ignore();
    drop(breaker.try_acquire(clock.clone()).expect("closed"));

    let slow = breaker.try_acquire(clock.clone()).expect("closed");
    clock.advance(Duration::from_secs(1));
    drop(slow);

    let figures = breaker.snapshot(clock.now()).figures;
    assert_eq!((figures.calls, figures.failures), (3, 2));
    assert!(!breaker.is_idle(|| clock.now()));
}
