//! Open times without end or length, and clocks that jump, stand still or trail.

use std::time::Duration;

use seawall_circuit_breaker::{Breaker, BreakerConfig, State, Timestamp};

use crate::kit::{FAILED, SUCCEEDED, breaker, calls, ms, trip};

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
fn breakers_that_opened_together_do_not_probe_together() {
    let mut tenths = [0; 10];
    for _ in 0..1_000 {
        let breaker = Breaker::from(BreakerConfig::default());
        trip(&breaker, ms(0));
        let wait = breaker.try_admit(ms(0)).unwrap_err().retry_after().expect("it is told");
        let above_half = wait.checked_sub(Duration::from_millis(2_500)).expect("at least half of the open time");
        tenths[usize::try_from(above_half.as_millis() / 250).expect("below the open time").min(9)] += 1;
    }

    assert!(tenths.iter().all(|breakers| (50..150).contains(breakers)), "{tenths:?}");
}
