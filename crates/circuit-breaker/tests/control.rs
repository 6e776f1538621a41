//! Steering by hand, and being told.

#![expect(clippy::disallowed_types, reason = "a log that a test writes")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall_circuit_breaker::{Breaker, BreakerConfig, Cause, Change, Class, Outcome, State, Timestamp, Window};
use seawall_core::{Admission, CallContext, Gate};

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::ZERO.saturating_add(Duration::from_secs(seconds))
}

fn breaker() -> Breaker {
    BreakerConfig::builder().min_calls(4).jitter(0.0).build().expect("valid settings").into()
}

fn call(breaker: &Breaker, class: Class, now: Timestamp) -> bool {
    breaker
        .try_admit(now)
        .map(|ticket| breaker.record(ticket, Outcome::Finished(class), Duration::from_millis(1), now))
        .is_ok()
}

fn told(breaker: &Breaker) -> Arc<Mutex<Vec<Change>>> {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&changes);
    breaker.on_change(move |change| log.lock().expect("no test panics in here").push(*change));
    changes
}

#[test]
fn forced_open_lets_nothing_through_until_told_otherwise() {
    let breaker = breaker();
    breaker.force_open(seconds(1));

    let rejection = breaker.try_admit(seconds(1_000_000)).unwrap_err();
    assert_eq!((breaker.state(), rejection.retry_after()), (State::ForcedOpen, None));

    breaker.reset(seconds(1_000_001));
    assert!(call(&breaker, Class::Success, seconds(1_000_001)));
}

#[test]
fn forced_closed_lets_everything_through_and_counts_nothing() {
    let breaker = breaker();
    breaker.force_closed(seconds(1));

    assert!((0..100).all(|_| call(&breaker, Class::Failure, seconds(1))));

    assert_eq!((breaker.state(), breaker.snapshot(seconds(1)).figures.calls), (State::ForcedClosed, 0));
}

#[test]
fn disabled_counts_and_opens_for_nothing() {
    let breaker = breaker();
    breaker.disable(seconds(1));

    assert!((0..100).all(|_| call(&breaker, Class::Failure, seconds(1))));

    assert_eq!((breaker.state(), breaker.snapshot(seconds(1)).figures.failures), (State::Disabled, 100));
}

#[test]
fn a_window_of_calls_counts_while_it_is_disabled_too() {
    let breaker = Breaker::from(BreakerConfig::builder().window(Window::Calls(10)).build().unwrap());
    breaker.disable(seconds(1));

    assert!((0..7).all(|_| call(&breaker, Class::Failure, seconds(1))));

    assert_eq!(breaker.snapshot(seconds(1)).figures.failures, 7);
}

#[test]
fn hooks_are_told_at_once_when_a_single_result_opens_it() {
    let breaker = breaker();
    let told = told(&breaker);

    breaker.trip(None, seconds(1));

    assert_eq!(told.lock().unwrap().iter().map(|change| change.to).collect::<Vec<_>>(), [State::Open]);
}

#[test]
fn a_reset_empties_the_window_and_begins_at_the_first_open_time_again() {
    let breaker = breaker();
    let mut now = 0;
    for _ in 0..3 {
        while call(&breaker, Class::Failure, seconds(now)) {}
        now += 61;
    }

    breaker.reset(seconds(now));
    assert_eq!(breaker.snapshot(seconds(now)).figures.calls, 0);
    while call(&breaker, Class::Failure, seconds(now)) {}

    let open_for = breaker.snapshot(seconds(now)).last_change.and_then(|change| change.open_for);
    assert_eq!(open_for, Some(Duration::from_secs(5)));
}

#[test]
fn the_snapshot_tells_state_figures_wait_and_reason() {
    let breaker = breaker();
    for class in [Class::Success, Class::Success, Class::Failure, Class::Failure] {
        call(&breaker, class, seconds(7));
    }
    assert!(!call(&breaker, Class::Success, seconds(8)));

    let snapshot = breaker.snapshot(seconds(8));

    assert_eq!((snapshot.state, snapshot.openings, snapshot.rejections), (State::Open, 1, 1));
    assert_eq!(snapshot.retry_after, Some(Duration::from_nanos(4_000_000_001)));
    let change = snapshot.last_change.unwrap();
    assert_eq!((change.from, change.to, change.at), (State::Closed, State::Open, seconds(7)));
    assert_eq!(change.cause, Cause::FailureRatio { measured: 0.5, threshold: 0.5 });
    assert_eq!((change.figures.calls, change.figures.failures), (4, 2));
    assert_eq!(change.open_for, Some(Duration::from_secs(5)));
    assert_eq!(snapshot.outage.map(|outage| outage.length), Some(Duration::from_secs(1)));
}

#[test]
fn a_wait_is_told_to_the_last_nanosecond_of_the_open_time_and_only_while_it_is_open() {
    let breaker = breaker();
    breaker.trip(Some(Duration::from_secs(9)), seconds(1));
    let wait = |nanos| breaker.snapshot(Timestamp::from_nanos(nanos)).retry_after;
    assert_eq!((wait(10_000_000_000), wait(10_000_000_001)), (Some(Duration::from_nanos(1)), None));

    breaker.reset(seconds(2));

    assert_eq!(breaker.snapshot(seconds(2)).retry_after, None);
}

#[test]
fn a_reset_ends_the_wariness_after_an_outage() {
    let breaker = Breaker::from(BreakerConfig::default());
    while call(&breaker, Class::Failure, seconds(1)) {}
    for _ in 0..2 {
        call(&breaker, Class::Success, seconds(10));
    }
    breaker.reset(seconds(10));

    for class in [Class::Success, Class::Failure].repeat(10) {
        call(&breaker, class, seconds(10));
    }

    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn the_closing_tells_the_whole_outage() {
    let breaker = breaker();
    let changes = told(&breaker);
    let early = breaker.try_admit(seconds(1)).unwrap();
    for _ in 0..4 {
        call(&breaker, Class::Failure, seconds(1));
    }
    assert!(!call(&breaker, Class::Success, seconds(2)));
    breaker.record(early, Outcome::Finished(Class::Success), Duration::from_secs(2), seconds(3));
    for _ in 0..14 {
        call(&breaker, Class::Failure, seconds(7));
    }
    for _ in 0..2 {
        call(&breaker, Class::Success, seconds(18));
    }

    let changes = changes.lock().unwrap();
    let states: Vec<State> = changes.iter().map(|change| change.to).collect();
    assert_eq!(states, [State::Open, State::HalfOpen, State::Open, State::HalfOpen, State::Closed]);
    let outage = changes[4].outage.unwrap();
    assert_eq!((outage.began, outage.length), (seconds(1), Duration::from_secs(17)));
    assert_eq!((outage.probes, outage.rejections, outage.late, outage.reopenings), (16, 1, 1, 1));
    assert_eq!(outage.cause, Cause::FailureRatio { measured: 1.0, threshold: 0.5 });
    assert!(changes[..4].iter().all(|change| change.outage.is_none()));
}

#[test]
fn an_outage_begins_anew_after_the_one_before_has_ended() {
    let breaker = breaker();
    for start in [100, 200] {
        let late = breaker.try_admit(seconds(start)).unwrap();
        while call(&breaker, Class::Failure, seconds(start)) {}
        breaker.record(late, Outcome::Finished(Class::Success), Duration::ZERO, seconds(start));
        for _ in 0..3 {
            call(&breaker, Class::Success, seconds(start + 61));
        }
    }

    let outage = breaker.snapshot(seconds(300)).last_change.and_then(|change| change.outage).unwrap();

    assert_eq!((outage.began, outage.probes, outage.rejections, outage.reopenings), (seconds(200), 2, 1, 0));
    assert_eq!((outage.late, breaker.snapshot(seconds(300)).late), (1, 2));
    assert_eq!(breaker.snapshot(seconds(300)).outage, None);
}

#[test]
fn a_hook_among_the_settings_is_told_like_any_other() {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&changes);
    let config = BreakerConfig::builder().on_change(move |change| log.lock().expect("no panic").push(change.to));

    Breaker::from(config.build().unwrap()).force_open(seconds(1));

    assert_eq!(*changes.lock().unwrap(), [State::ForcedOpen]);
}

#[test]
fn a_hook_that_panics_harms_neither_the_call_nor_the_next_hook() {
    let breaker = breaker();
    breaker.on_change(|_| panic!("a hook's own mistake"));
    let changes = told(&breaker);

    for _ in 0..4 {
        assert!(call(&breaker, Class::Failure, seconds(1)));
    }

    assert_eq!(changes.lock().unwrap().len(), 1);
    assert!(!call(&breaker, Class::Success, seconds(1)));
}

#[test]
fn a_hook_may_steer_the_breaker_and_changes_are_told_in_order() {
    let breaker = Arc::new(breaker());
    let weak = Arc::downgrade(&breaker);
    breaker.on_change(move |change| {
        if change.to == State::Open {
            weak.upgrade().expect("alive").force_closed(seconds(2));
        }
    });
    let changes = told(&breaker);

    for _ in 0..4 {
        call(&breaker, Class::Failure, seconds(1));
    }

    let states: Vec<State> = changes.lock().unwrap().iter().map(|change| change.to).collect();
    assert_eq!(states, [State::Open, State::ForcedClosed]);
}

#[test]
fn the_other_side_may_open_it_and_extend_that_but_not_beyond_the_limit() {
    let config = BreakerConfig::builder().pushback(Duration::from_secs(30)).jitter(0.0).build().unwrap();
    let breaker = Breaker::from(config);
    let (first, second) = (breaker.try_admit(seconds(1)).unwrap(), breaker.try_admit(seconds(1)).unwrap());

    breaker.pushback(&first, Duration::from_secs(10), || seconds(1));
    assert_eq!(breaker.snapshot(seconds(1)).last_change.map(|change| change.cause), Some(Cause::Pushback));
    assert_eq!(breaker.snapshot(seconds(1)).retry_after, Some(Duration::from_nanos(10_000_000_001)));

    breaker.pushback(&second, Duration::MAX, || seconds(2));
    assert_eq!(breaker.snapshot(seconds(2)).retry_after, Some(Duration::from_nanos(30_000_000_001)));
}

#[test]
fn by_default_the_other_side_decides_nothing() {
    let breaker = breaker();
    let ticket = breaker.try_admit(seconds(1)).unwrap();

    breaker.pushback(&ticket, Duration::from_secs(10), || seconds(1));

    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn only_a_closed_breaker_with_nothing_bad_in_its_window_may_be_forgotten() {
    let breaker = breaker();
    call(&breaker, Class::Success, seconds(1));
    assert!(breaker.is_idle(|| seconds(1)));

    call(&breaker, Class::Failure, seconds(1));
    assert!(!breaker.is_idle(|| seconds(1)));
    assert!(breaker.is_idle(|| seconds(11)));

    breaker.force_open(seconds(12));
    assert!(!breaker.is_idle(|| seconds(12)));
}

#[test]
fn a_closed_breaker_that_has_seen_a_slow_call_may_not_be_forgotten() {
    let config = BreakerConfig::builder().slow_after(Duration::from_millis(10));
    let breaker: Breaker = config.build().expect("valid settings").into();
    let ticket = breaker.try_admit(seconds(1)).unwrap();

    breaker.record(ticket, Outcome::Finished(Class::Success), Duration::from_millis(11), seconds(1));

    assert!(!breaker.is_idle(|| seconds(1)));
    assert!(breaker.is_idle(|| seconds(11)));
}

#[test]
fn a_success_of_an_earlier_generation_is_late_also_where_nothing_else_is_asked_of_it() {
    for window in [Window::Calls(4), Window::Time(Duration::from_secs(10))] {
        let breaker: Breaker = BreakerConfig::builder().window(window).build().expect("valid settings").into();
        let Admission::Admitted(ticket) = breaker.admit(CallContext::new, || seconds(1)) else {
            panic!("it is closed")
        };
        breaker.reset(seconds(1));

        breaker.finish(ticket, Outcome::Finished(Class::Success), || seconds(1));

        let snapshot = breaker.snapshot(seconds(1));
        assert_eq!((snapshot.late, snapshot.figures.calls), (1, 0), "{window:?}");
    }
}

#[test]
fn a_gauge_per_state_reads_one_for_the_present_state_and_zero_for_the_others() {
    let breaker = breaker();
    let gauges = |breaker: &Breaker| State::ALL.map(|state| u8::from(breaker.snapshot(seconds(1)).state == state));
    assert_eq!(gauges(&breaker), [1, 0, 0, 0, 0, 0]);

    breaker.force_open(seconds(1));

    assert_eq!(gauges(&breaker), [0, 0, 0, 1, 0, 0]);
}
