//! When a breaker may be forgotten: a keyed table evicts it then.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerConfigBuilder, Class, Clock, Env, KeyedCircuitBreakerLayer, Outcome, Peers, State,
    Timestamp, Window,
};
use seawall_core::{Gate, VirtualClock};

const SUCCEEDED: Outcome = Outcome::Finished(Class::Success);
const FAILED: Outcome = Outcome::Finished(Class::Failure);

fn config(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> BreakerConfig {
    change(BreakerConfig::builder().jitter(0.0)).build().expect("valid settings")
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn nanosecond_after(time: Timestamp) -> Timestamp {
    time.saturating_add(Duration::from_nanos(1))
}

fn call(breaker: &Breaker, outcome: Outcome, latency: Duration, now: Timestamp) {
    let ticket = breaker.try_admit(now).expect("admitted");
    breaker.record(ticket, outcome, latency, now);
}

/// Opened at 0, probed at 6 s and closed.
fn closed_again(breaker: &Breaker) {
    breaker.trip(None, seconds(0));
    for _ in 0..2 {
        call(breaker, SUCCEEDED, Duration::ZERO, seconds(6));
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn one_with_a_failure_or_a_slow_call_in_its_window_is_not_forgotten() {
    let slow_after = Duration::from_millis(100);
    for (outcome, latency) in [(FAILED, Duration::ZERO), (SUCCEEDED, slow_after * 2)] {
        let breaker = Breaker::from(config(|config| config.slow_after(slow_after)));
        assert!(breaker.is_idle(|| seconds(1)));

        call(&breaker, outcome, latency, seconds(1));

        assert_eq!((breaker.is_idle(|| seconds(1)), breaker.is_idle(|| seconds(11))), (false, true));
    }
}

#[test]
fn one_whose_last_failure_of_so_many_calls_is_a_healthy_spell_ago_is_forgotten() {
    let breaker = Breaker::from(config(|config| config.window(Window::Calls(100)).stable_for(Duration::from_secs(60))));
    for second in [1, 5] {
        call(&breaker, FAILED, Duration::ZERO, seconds(second));
    }

    assert_eq!([65, 66].map(|second| breaker.is_idle(|| seconds(second))), [false, true]);
}

#[test]
fn one_that_nobody_calls_is_forgotten_a_healthy_spell_after_its_open_time() {
    let breaker = Breaker::from(config(|config| config.stable_for(Duration::from_secs(60))));
    breaker.trip(None, seconds(10));

    let end = seconds(10 + 5 + 60);
    assert_eq!((breaker.is_idle(|| end), breaker.is_idle(|| nanosecond_after(end))), (false, true));
}

#[test]
fn one_that_is_open_for_ever_or_forced_is_never_forgotten() {
    let open = Breaker::from(config(|config| config.open_for(Duration::MAX)));
    open.trip(None, seconds(1));
    let controls: [fn(&Breaker, Timestamp); 3] = [Breaker::force_open, Breaker::force_closed, Breaker::disable];

    assert!(!open.is_idle(|| Timestamp::MAX));
    for control in controls {
        let breaker = Breaker::from(config(|config| config));
        control(&breaker, seconds(1));
        assert!(!breaker.is_idle(|| Timestamp::MAX));
    }
}

#[test]
fn one_whose_last_probe_is_long_ago_is_forgotten() {
    let breaker = Breaker::from(config(|config| config));
    breaker.trip(None, seconds(0));
    call(&breaker, SUCCEEDED, Duration::ZERO, seconds(100));
    assert_eq!(breaker.state(), State::HalfOpen);

    let end = seconds(160);
    assert_eq!((breaker.is_idle(|| end), breaker.is_idle(|| nanosecond_after(end))), (false, true));
}

#[test]
fn one_that_has_closed_is_remembered_while_it_is_wary_and_its_open_time_grows() {
    let breaker = Breaker::from(config(|config| config.stable_for(Duration::from_secs(60))));
    closed_again(&breaker);

    assert_eq!((breaker.is_idle(|| seconds(65)), breaker.is_idle(|| seconds(66))), (false, true));
}

#[test]
fn one_on_its_ramp_is_not_forgotten_and_needs_no_call_to_leave_it() {
    let breaker = Breaker::from(config(|config| config.ramp(Duration::from_secs(30)).stable_for(Duration::ZERO)));
    closed_again(&breaker);

    assert_eq!((breaker.is_idle(|| seconds(35)), breaker.is_idle(|| seconds(36))), (false, true));
}

#[test]
fn a_table_full_of_dead_hosts_that_nobody_calls_makes_room() {
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock.clone());
    let layer = KeyedCircuitBreakerLayer::<str, _, Env<VirtualClock>>::with_env(
        2,
        config(|config| config),
        String::as_str,
        env,
    )
    .expect("two keys are allowed");
    for host in ["gone-1", "gone-2"] {
        layer.gate(host).gate().trip(None, clock.now());
    }
    layer.gate("early");
    layer.gate("new").gate().trip(None, clock.now());
    assert_eq!(layer.gate("other").gate().state(), State::Open, "all others share one while the two are open");

    clock.advance(Duration::from_secs(66));

    assert_eq!(layer.gate("late").gate().state(), State::Closed);
}

/// One place, which is taken by a host whose breaker is open: all others share one.
#[test]
fn one_dead_host_among_those_that_find_no_place_cuts_none_of_the_others_off() {
    let peers = Peers::default().with_min_peers(1).with_min_calls(20);
    let config = config(|config| config.consecutive_failures(5).peers(peers.clone()).pushback(Duration::MAX));
    let layer = KeyedCircuitBreakerLayer::<str, _>::new(1, config, String::as_str).expect("one key is allowed");
    layer.gate("gone").gate().trip(None, seconds(1));

    for _ in 0..1_000 {
        call(layer.gate("dead").gate(), FAILED, Duration::ZERO, seconds(2));
    }
    let shared = layer.gate("well");
    let shared = shared.gate();
    let ticket = shared.try_admit(seconds(2)).expect("admitted");
    shared.pushback(&ticket, Duration::from_secs(60), || seconds(2));
    Gate::trip(shared, &ticket, None, || seconds(2));
    shared.record(ticket, FAILED, Duration::ZERO, seconds(2));

    let snapshot = shared.snapshot(seconds(2));
    assert_eq!((snapshot.state, snapshot.figures.failures), (State::Closed, 1_001));
    assert_eq!(peers.threshold(seconds(2)), None, "it is no peer");
    shared.trip(Some(Duration::from_secs(1)), seconds(2));
    assert_eq!(shared.state(), State::Open, "by hand it is opened");
    let mut probes = 0;
    while let Ok(ticket) = shared.try_admit(seconds(4)) {
        if shared.state() == State::Closed {
            break;
        }
        shared.record(ticket, FAILED, Duration::ZERO, seconds(4));
        probes += 1;
    }
    assert_eq!((shared.state(), probes > 0), (State::Closed, true), "and no host's failure opens it again");
    shared.force_open(seconds(3));
    assert_eq!(layer.gate("other").gate().state(), State::ForcedOpen, "by hand it is opened");
}
