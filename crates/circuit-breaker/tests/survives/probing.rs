//! Probes that hang, come late, or come all at once, and the time after them.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall_circuit_breaker::{BreakerConfigBuilder, Cause, Class, CountAs, Outcome, Recovery, State};

use seawall_core::{Entropy, SeededEntropy};

use crate::kit::{FAILED, SUCCEEDED, admit, breaker, calls, end, ms, trip};

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
fn a_probe_that_is_given_up_on_uses_its_place_up_and_the_others_decide() {
    for (outcome, state) in [(SUCCEEDED, State::Closed), (FAILED, State::Open)] {
        let breaker = breaker(|config| config.probes(2));
        trip(&breaker, ms(0));
        end(&breaker, admit(&breaker, ms(5_001)), Outcome::Cancelled, ms(5_001));

        calls(&breaker, 1, outcome, ms(5_001));

        assert_eq!(breaker.state(), state);
    }
}

#[test]
fn the_last_probe_to_be_given_up_on_ends_the_round_by_what_the_others_showed() {
    let rules = [Recovery::Tested, Recovery::ByRatio, Recovery::BySuccesses(2)];
    for (recovery, state) in rules.into_iter().zip([State::Closed, State::Closed, State::Open]) {
        let breaker = breaker(|config| config.probes(3).recovery(recovery));
        trip(&breaker, ms(0));
        let probes: Vec<_> = (0..3).map(|_| admit(&breaker, ms(5_001))).collect();

        for (probe, outcome) in probes.into_iter().zip([Outcome::Cancelled, SUCCEEDED, Outcome::Cancelled]) {
            assert_eq!(breaker.state(), State::HalfOpen);
            end(&breaker, probe, outcome, ms(5_001));
        }

        assert_eq!(breaker.state(), state, "{recovery:?}");
    }
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
fn of_a_hundred_thousand_calls_in_half_open_only_a_few_pass_at_once_and_fourteen_in_all() {
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

    assert_eq!((passed, breaker.state(), breaker.snapshot(ms(5_002)).openings), (14, State::Open, 2));
}

#[test]
fn beside_hung_probes_one_more_goes_each_second_until_they_are_too_old() {
    let breaker = breaker(|config| config.max_probe_age(Duration::from_secs(4)));
    trip(&breaker, ms(0));
    let _hung: Vec<_> = (0..3).map(|_| admit(&breaker, ms(6_000))).collect();

    let admitted: Vec<u64> = (6_000..11_000).filter(|now| breaker.try_admit(ms(*now)).is_ok()).collect();

    assert_eq!(admitted, [7_000, 8_000, 9_000]);
    let change = breaker.snapshot(ms(11_000)).last_change.expect("it has changed");
    assert_eq!((change.to, change.cause, change.at), (State::Open, Cause::ProbesHung, ms(10_000)));
}

#[test]
fn a_probe_beside_hung_ones_is_waited_for_in_its_turn() {
    let breaker = breaker(|config| config.max_probe_age(Duration::from_secs(4)));
    trip(&breaker, ms(0));
    let _hung: Vec<_> = (0..3).map(|_| admit(&breaker, ms(6_000))).collect();
    let beside = admit(&breaker, ms(9_900));

    assert!(breaker.try_admit(ms(10_899)).is_err());
    assert_eq!(breaker.state(), State::HalfOpen);
    end(&breaker, beside, SUCCEEDED, ms(10_899));
    end(&breaker, admit(&breaker, ms(10_899)), SUCCEEDED, ms(10_899));

    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn probes_beside_hung_ones_are_among_those_that_there_may_be() {
    let breaker = breaker(|config| config.probes(5).max_probe_age(Duration::MAX));
    trip(&breaker, ms(0));

    let passed = (0..600).filter(|second| breaker.try_admit(ms(6_000 + 1_000 * second)).is_ok()).count();

    assert_eq!(passed, 5);
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

/// Closed after an outage at 5,001 ms, so wary until 65,001 ms; then `bad` of 20 calls at 60,000 ms, and half of 20 at
/// 100,000 ms.
fn opens_at_the_threshold_again(bad: usize, outcome: Outcome, latency: Duration) -> bool {
    let breaker = breaker(|config| config.slow_after(Duration::from_millis(100)));
    trip(&breaker, ms(0));
    calls(&breaker, 2, SUCCEEDED, ms(5_001));
    calls(&breaker, 20 - bad, SUCCEEDED, ms(60_000));
    for _ in 0..bad {
        breaker.record(admit(&breaker, ms(60_000)), outcome, latency, ms(60_000));
    }
    assert_eq!(breaker.state(), State::Closed);

    calls(&breaker, 10, SUCCEEDED, ms(100_000));
    calls(&breaker, 10, FAILED, ms(100_000));

    breaker.state() == State::Open
}

#[test]
fn half_of_the_threshold_keeps_it_wary_and_less_does_not() {
    let (fast, slow) = (Duration::from_millis(1), Duration::from_millis(101));

    assert!(opens_at_the_threshold_again(4, FAILED, fast) && !opens_at_the_threshold_again(5, FAILED, fast));
    assert!(opens_at_the_threshold_again(4, SUCCEEDED, slow) && !opens_at_the_threshold_again(5, SUCCEEDED, slow));
}

#[test]
fn open_times_grow_over_short_closings_and_start_again_after_a_healthy_spell() {
    let breaker = breaker(|config| config);
    let mut now = 0;
    let mut opened_and_closed_after = |healthy: u64| {
        now += healthy;
        trip(&breaker, ms(now));
        let wait = breaker.snapshot(ms(now)).retry_after.expect("open");
        now += 100_000;
        calls(&breaker, 2, SUCCEEDED, ms(now));
        assert_eq!(breaker.state(), State::Closed);
        wait.as_secs()
    };

    let waits = [0, 59_999, 30_000, 60_000].map(&mut opened_and_closed_after);

    assert_eq!(waits, [5, 10, 20, 5]);
}

#[test]
fn without_a_failure_ratio_a_round_that_is_judged_by_ratio_closes_when_none_has_failed() {
    for (outcome, state) in [(SUCCEEDED, State::Closed), (FAILED, State::Open)] {
        let settings = |config: BreakerConfigBuilder| config.no_failure_ratio().consecutive_failures(2);
        let breaker = breaker(|config| settings(config).probes(2).recovery(Recovery::ByRatio));
        trip(&breaker, ms(0));
        calls(&breaker, 1, SUCCEEDED, ms(5_001));

        calls(&breaker, 1, outcome, ms(5_001));

        assert_eq!(breaker.state(), state);
    }
}

#[test]
fn of_callers_that_give_up_no_more_pass_than_there_are_probes() {
    for outcome in [Outcome::Cancelled, Outcome::DeadlineExceeded] {
        let breaker = breaker(|config| config);
        trip(&breaker, ms(0));

        let mut passed = 0;
        for call in 0..360 {
            let now = ms(5_001 + call);
            if let Ok(ticket) = breaker.try_admit(now) {
                end(&breaker, ticket, outcome, now);
                passed += 1;
            }
        }

        let change = breaker.snapshot(ms(6_000)).last_change.expect("it has changed");
        assert_eq!((passed, change.to, change.cause), (14, State::Open, Cause::ProbesHung));
    }
}

#[test]
fn each_round_has_places_of_its_own_and_answers_that_say_nothing_use_none_up() {
    let breaker = breaker(|config| config.probes(2).max_open_for(Duration::from_secs(5)));
    trip(&breaker, ms(0));

    for round in 1..=3 {
        let now = ms(round * 5_002);
        for outcome in [Outcome::Cancelled, Outcome::Finished(Class::Ignored)] {
            end(&breaker, admit(&breaker, now), outcome, now);
        }
        assert_eq!(breaker.state(), State::HalfOpen);
        end(&breaker, admit(&breaker, now), Outcome::Cancelled, now);
        assert_eq!(breaker.state(), State::Open);
    }
}

/// However the probes end, and with as many callers as there can be at any moment of a round.
#[test]
fn of_a_million_calls_in_half_open_no_more_than_the_probes_pass_a_round_however_they_end() {
    const CALLS: u64 = 334_000;
    let ends = [SUCCEEDED, FAILED, Outcome::Cancelled, Outcome::DeadlineExceeded, Outcome::TimedOut, Outcome::Panicked];
    for (recovery, at_once) in [(Recovery::Tested, 3), (Recovery::ByRatio, 14), (Recovery::BySuccesses(14), 14)] {
        let breaker = breaker(|config| config.recovery(recovery).probes_at_once(at_once).open_for(Duration::ZERO));
        let words = SeededEntropy::new(7);
        let (mut under_way, mut passed) = (Vec::new(), std::collections::BTreeMap::<u64, u64>::new());
        trip(&breaker, ms(0));

        for call in 0..CALLS {
            let now = ms(1 + call / 100);
            if breaker.state() == State::Closed {
                trip(&breaker, now);
                under_way.clear();
            }
            let rounds = breaker.snapshot(now).openings;
            if let Ok(ticket) = breaker.try_admit(now) {
                // A refused call may open it first, so the round is read again.
                assert_eq!(breaker.snapshot(now).openings, rounds);
                *passed.entry(rounds).or_default() += 1;
                under_way.push(ticket);
                assert!(under_way.len() as u64 <= u64::from(at_once) * rounds);
            } else if let Some(ticket) = under_way.pop() {
                let end = ends[usize::try_from(words.next_u64() % 6).unwrap_or(0)];
                breaker.record(ticket, end, Duration::from_millis(1), now);
            }
        }

        assert!(passed.len() > 1_000 && passed.values().all(|passed| *passed <= 14), "{recovery:?}");
        assert!(passed.values().any(|passed| *passed == 14), "{recovery:?}");
    }
}

#[test]
fn a_hung_probe_is_no_success() {
    let settings = |config: BreakerConfigBuilder| config.probes(3).required_successes(3);
    let breaker = breaker(|config| settings(config).max_probe_age(Duration::from_secs(1)));
    trip(&breaker, ms(0));
    let _hung = admit(&breaker, ms(5_001));
    calls(&breaker, 2, SUCCEEDED, ms(5_001));

    assert!(breaker.try_admit(ms(6_001)).is_err());

    let change = breaker.snapshot(ms(6_001)).last_change.expect("it has changed");
    assert_eq!((change.to, change.cause), (State::Open, Cause::ProbesHung));
}

#[test]
fn a_slow_probe_is_no_success_and_one_that_is_slow_and_fails_is_one_bad_probe() {
    let (fast, slow) = (Duration::from_millis(1), Duration::from_millis(101));
    let ends_as = |results: &[(Outcome, Duration)]| {
        let breaker = breaker(|config| config.slow_after(Duration::from_millis(100)).probes(4).required_successes(2));
        trip(&breaker, ms(0));
        for (outcome, latency) in results {
            breaker.record(admit(&breaker, ms(5_001)), *outcome, *latency, ms(5_001));
        }
        breaker.state()
    };

    assert_eq!(ends_as(&[(SUCCEEDED, slow), (SUCCEEDED, slow)]), State::HalfOpen);
    assert_eq!(ends_as(&[(SUCCEEDED, slow), (SUCCEEDED, slow), (SUCCEEDED, slow)]), State::Open);
    assert_eq!(ends_as(&[(FAILED, slow), (FAILED, slow)]), State::HalfOpen);
    assert_eq!(ends_as(&[(FAILED, slow), (SUCCEEDED, fast), (SUCCEEDED, fast)]), State::Closed);
}

/// How long a probe is waited for, in ms.
fn waits_for(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder, slow_after: Option<u64>) -> u64 {
    let breaker = breaker(|config| change(config.probes(1)));
    if slow_after.is_some() {
        breaker.set_slow_after(slow_after.map(Duration::from_millis));
    }
    breaker.trip(None, ms(0));
    let sent = 1_000_000;
    let _hung = admit(&breaker, ms(sent));
    (1..100_000)
        .find(|age| {
            let _ = breaker.try_admit(ms(sent + age));
            breaker.state() == State::Open
        })
        .expect("given up")
}

#[test]
fn a_probe_is_waited_for_as_long_as_it_is_not_slow_or_else_for_the_open_time_and_at_least_a_second() {
    let ms = Duration::from_millis;

    assert_eq!(waits_for(|config| config, None), 5_000);
    assert_eq!(waits_for(|config| config.open_for(ms(300)), None), 1_000);
    assert_eq!(waits_for(|config| config.slow_after(ms(2_500)), None), 2_500);
    assert_eq!(waits_for(|config| config.slow_after(ms(2_500)), Some(1_700)), 1_700);
    assert_eq!(waits_for(|config| config.slow_after(ms(2_500)), Some(20)), 1_000);
    assert_eq!(waits_for(|config| config.max_probe_age(ms(40)), Some(20)), 40);
}

#[test]
fn where_being_given_up_on_is_nothing_a_probe_gives_its_place_back_for_ever() {
    let breaker = breaker(|config| config.probes(1).cancelled(CountAs::Nothing));
    trip(&breaker, ms(0));

    for _ in 0..300 {
        end(&breaker, admit(&breaker, ms(5_001)), Outcome::Cancelled, ms(5_001));
    }

    assert_eq!(breaker.state(), State::HalfOpen);
}
