//! One endpoint that is worse than the others.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerConfigError, Cause, Class, KeyedCircuitBreakerLayer, Outcome, Peers, State,
    Timestamp, Window,
};
use seawall_core::{Entropy, SeededEntropy, unit_interval};

fn at(second: u64) -> Timestamp {
    Timestamp::from_nanos(second * 1_000_000_000)
}

/// A hundred calls, of which `failing` fail, as far as it lets them through.
fn hundred(breaker: &Breaker, failing: usize, now: Timestamp) {
    for call in 0..100 {
        let Ok(ticket) = breaker.try_admit(now) else { return };
        // The last ones fail, so that the comparison is on the whole.
        let class = if call >= 100 - failing { Class::Failure } else { Class::Success };
        breaker.record(ticket, Outcome::Finished(class), Duration::ZERO, now);
    }
}

fn config(peers: Peers) -> BreakerConfig {
    BreakerConfig::builder().window(Window::Time(Duration::from_secs(10))).peers(peers).build().expect("valid settings")
}

fn breakers(count: usize, peers: Peers) -> Vec<Breaker> {
    let config = config(peers);
    (0..count).map(|_| config.clone().into()).collect()
}

#[test]
fn an_endpoint_whose_success_rate_is_an_outlier_opens_below_every_other_threshold() {
    let breakers = breakers(10, Peers::default());
    for breaker in &breakers[..9] {
        hundred(breaker, 2, at(1));
    }

    hundred(&breakers[9], 30, at(3));
    hundred(&breakers[9], 30, at(5));

    let states: Vec<State> = breakers.iter().map(Breaker::state).collect();
    assert_eq!((&states[..9], states[9]), (&[State::Closed; 9][..], State::Open));
    let cause = breakers[9].snapshot(at(5)).cause();
    assert!(matches!(cause, Some(Cause::WorseThanPeers { measured, threshold }) if measured < threshold), "{cause:?}");
}

/// Ten minutes of a hundred calls a second at each of ten, of which one in a hundred fails: in each second one of them is
/// the worst.
#[test]
fn the_worst_of_equals_is_no_outlier() {
    let breakers = breakers(10, Peers::default());
    let chance = SeededEntropy::new(7);

    for call in 0..60_000_u64 {
        let now = Timestamp::from_nanos(call * 10_000_000);
        for breaker in &breakers {
            let ticket = breaker.try_admit(now).expect("it is closed");
            let class = if unit_interval(chance.next_u64()) < 0.01 { Class::Failure } else { Class::Success };
            breaker.record(ticket, Outcome::Finished(class), Duration::ZERO, now);
        }
    }
}

#[test]
fn when_all_are_equally_bad_none_is_an_outlier() {
    let breakers = breakers(10, Peers::default());

    for second in [1, 3, 5] {
        for breaker in &breakers {
            hundred(breaker, 30, at(second));
        }
    }

    assert!(breakers.iter().all(|breaker| breaker.state() == State::Closed));
}

#[test]
fn too_few_peers_or_too_few_calls_are_not_compared() {
    for (peers, count, good) in [
        (Peers::default(), 4, 100),
        (Peers::default().with_min_peers(11), 10, 100),
        (Peers::default().with_min_calls(101), 10, 1),
    ] {
        let breakers = breakers(count, peers);
        for breaker in &breakers[1..] {
            (0..good.min(1)).for_each(|_| hundred(breaker, 0, at(1)));
        }

        hundred(&breakers[0], 40, at(3));

        assert_eq!(breakers[0].state(), State::Closed);
    }
}

#[test]
fn the_breakers_of_a_keyed_layer_are_peers() {
    let layer =
        KeyedCircuitBreakerLayer::<str, _>::new(100, config(Peers::default()), String::as_str).expect("a valid table");
    let hosts: Vec<String> = (0..10).map(|host| format!("host-{host}")).collect();
    for host in &hosts[1..] {
        hundred(layer.gate(host).gate(), 0, at(1));
    }

    hundred(layer.gate(&hosts[0]).gate(), 20, at(3));

    assert_eq!(layer.gate(&hosts[0]).gate().state(), State::Open);
    assert!(hosts[1..].iter().all(|host| layer.gate(host).gate().state() == State::Closed));
}

#[test]
fn a_breaker_that_is_gone_is_no_peer() {
    let mut breakers = breakers(10, Peers::default());
    for breaker in &breakers[1..] {
        hundred(breaker, 0, at(1));
    }
    breakers.truncate(4);

    hundred(&breakers[0], 20, at(3));

    assert_eq!(breakers[0].state(), State::Closed);
}

#[test]
fn one_that_is_open_is_no_peer_and_one_that_has_closed_again_is_one() {
    let breakers = breakers(5, Peers::default());
    let outlier_opens = |second| {
        for breaker in &breakers[1..] {
            hundred(breaker, 0, at(second));
        }
        hundred(&breakers[0], 30, at(second));
        breakers[0].state() == State::Open
    };
    breakers[4].trip(None, at(1));
    assert!(!outlier_opens(2));

    // Two probes close it, the others are its new window.
    hundred(&breakers[4], 0, at(29));
    assert!(outlier_opens(30));
}

#[test]
fn one_that_only_counts_is_no_peer() {
    let breakers = breakers(5, Peers::default());
    breakers[4].disable(at(1));
    for breaker in &breakers[1..] {
        hundred(breaker, 0, at(2));
    }

    hundred(&breakers[0], 30, at(2));

    assert_eq!(breakers[0].state(), State::Closed);
}

#[test]
fn a_factor_that_is_no_number_or_negative_is_refused() {
    for factor in [f64::NAN, f64::INFINITY, -0.1] {
        let error = Peers::by_deviations(factor).expect_err("refused");

        assert!(matches!(error, BreakerConfigError::PeersFactor { .. }));
        assert_eq!(error.to_string(), format!("factor is {factor}; allowed is a number from 0 on"));
    }
    assert!(Peers::by_deviations(0.0).is_ok());
}
