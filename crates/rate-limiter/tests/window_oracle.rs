//! The limits by windows against a list of all calls, searched from end to end, and time stepped one by one.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::time::Duration;

use proptest::prelude::*;
use seawall_core::{Reason, Timestamp};
use seawall_rate_limiter::{FixedWindow, Limit, QuotaError, SlidingWindow, WindowQuota};

/// Every call ever counted: when, and how many.
#[derive(Default)]
struct Log(Vec<(u64, u64)>);

impl Log {
    fn in_window(&self, number: u64, period: u64) -> u64 {
        self.0.iter().filter(|(at, _)| at / period == number).map(|(_, cost)| cost).sum()
    }

    fn sliding_fits(&self, cost: u64, now: u64, (calls, period): (u64, u64)) -> bool {
        let number = now / period;
        let before = if number == 0 { 0 } else { self.in_window(number - 1, period) };
        let rest = period - now % period;
        before * rest + (self.in_window(number, period) + cost) * period <= calls * period
    }

    fn fixed_fits(&self, cost: u64, now: u64, (calls, period): (u64, u64)) -> bool {
        // Debts of earlier windows are paid by the windows that follow.
        let mut debt = 0;
        for number in 0..now / period {
            debt = (debt + self.in_window(number, period)).saturating_sub(calls);
        }
        debt + self.in_window(now / period, period) + cost <= calls
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Take(u32),
    Charge(u32),
}

type Fits = fn(&Log, u64, u64, (u64, u64)) -> bool;

/// `waits` are the waits, from a time on, after which something may change.
fn agree(
    limiter: &impl Limit,
    (fits, waits): (Fits, impl Fn(u64) -> Vec<u64>),
    quota: (u64, u64),
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let (mut log, mut now) = (Log::default(), 0);
    let first = |log: &Log, cost: u64, now: u64| {
        waits(now).into_iter().find(|wait| fits(log, cost, now + wait, quota)).expect("some day it fits")
    };
    for step in steps {
        match step {
            Step::Pass(time) => now += time,
            Step::Charge(cost) => {
                limiter.charge(cost, Timestamp::from_nanos(now));
                log.0.push((now, cost.into()));
            }
            Step::Take(cost) => match limiter.take(cost, Timestamp::from_nanos(now)) {
                Ok(()) => {
                    prop_assert!(fits(&log, cost.into(), now, quota), "{cost} at {now} is one too many");
                    log.0.push((now, cost.into()));
                }
                Err(refused) if refused.reason() == Reason::TooHeavy => prop_assert!(u64::from(cost) > quota.0),
                Err(refused) => {
                    let wait = first(&log, cost.into(), now);
                    prop_assert_eq!(refused.retry_after(), Some(Duration::from_nanos(wait)));
                    prop_assert!(wait > 0, "{} at {} is refused without need", cost, now);
                }
            },
        }
        let standing = limiter.standing(Timestamp::from_nanos(now));
        let remaining = (0..=quota.0).rev().find(|cost| fits(&log, *cost, now, quota)).unwrap_or(0);
        prop_assert_eq!(u64::from(standing.remaining()), remaining);
        prop_assert_eq!(standing.next_in(), Duration::from_nanos(first(&log, 1, now)));
        let full = standing.full_in().as_nanos().try_into().unwrap_or(u64::MAX);
        prop_assert!(fits(&log, quota.0, now + full, quota), "not full {} after {}", full, now);
    }
    Ok(())
}

prop_compose! {
    fn scenario()(calls in 1..6_u32)(
        calls in Just(calls),
        period in u64::from(calls) * 1_000..u64::from(calls) * 1_000 + 500,
        steps in prop::collection::vec(
            prop_oneof![
                3 => prop_oneof![Just(0_u64), Just(1), 0..900_u64, 2_000..5_000_u64].prop_map(Step::Pass),
                6 => (1..7_u32).prop_map(Step::Take),
                1 => (0..9_u32).prop_map(Step::Charge),
            ],
            1..40,
        ),
    ) -> (u32, u64, Vec<Step>) {
        (calls, period, steps)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_sliding_window_answers_as_a_list_of_all_calls_does((calls, period, steps) in scenario()) {
        let quota = WindowQuota::new(calls, Duration::from_nanos(period)).unwrap();
        let every = |_| (0..=3 * period).collect();
        agree(&SlidingWindow::new(quota), (Log::sliding_fits, every), (calls.into(), period), steps)?;
    }

    #[test]
    fn a_fixed_window_answers_as_a_list_of_all_calls_does((calls, period, steps) in scenario()) {
        let quota = WindowQuota::new(calls, Duration::from_nanos(period)).unwrap();
        let edges = |now| {
            let edges = (1..400).map(|number| number * period - now % period);
            [0].into_iter().chain(edges.flat_map(|edge| [edge - 1, edge])).collect()
        };
        agree(&FixedWindow::new(quota), (Log::fixed_fits, edges), (calls.into(), period), steps)?;
    }

    #[test]
    fn what_is_given_back_may_be_taken_again((calls, period, _) in scenario(), taken in 1..6_u32, back in 0..9_u32) {
        let quota = WindowQuota::new(calls, Duration::from_nanos(period)).unwrap();
        let (taken, limits) = (taken.min(calls), (SlidingWindow::new(quota), FixedWindow::new(quota)));
        let left = (calls - taken + back).min(calls);
        for limit in [&limits.0 as &dyn Limit, &limits.1] {
            limit.take(taken, Timestamp::ZERO).unwrap();
            limit.refund(back, Timestamp::ZERO);
            prop_assert_eq!(limit.standing(Timestamp::ZERO).remaining(), left);
        }
    }

    #[test]
    fn no_time_and_no_cost_overflows(
        period in prop_oneof![1_000..10_000_u64, Just(u64::MAX / 2)],
        calls in prop::collection::vec((any::<u64>(), any::<u32>()), 1..50),
    ) {
        let quota = WindowQuota::new(1, Duration::from_nanos(period)).unwrap();
        let limits = (SlidingWindow::new(quota), FixedWindow::new(quota));
        for limit in [&limits.0 as &dyn Limit, &limits.1] {
            for (now, cost) in &calls {
                let now = Timestamp::from_nanos(*now);
                if limit.take(*cost, now).is_err() {
                    limit.charge(*cost, now);
                }
                limit.refund(*cost / 2, now);
                prop_assert!(limit.standing(now).remaining() <= 1);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_window_goes_on_as_if_it_had_always_held_what_it_holds(
        (before, after) in (1..9_u32, 1..9_u32),
        period in 9_000..9_500_u64,
        calls in prop::collection::vec((0..12_000_u64, 1..5_u32, any::<bool>()), 1..30),
        then in prop::collection::vec((0..12_000_u64, 1..5_u32), 1..30),
    ) {
        let of = |calls| WindowQuota::new(calls, Duration::from_nanos(period)).unwrap();
        let changed = (SlidingWindow::new(of(before)), FixedWindow::new(of(before)));
        let built = (SlidingWindow::new(of(after)), FixedWindow::new(of(after)));
        let pairs: [(&dyn Limit, &dyn Limit); 2] = [(&changed.0, &built.0), (&changed.1, &built.1)];
        // Of what the one that will be changed lets in, the other is told; in one window, so that no debt is paid at
        // either's pace.
        for (at, cost, charges) in calls {
            let now = Timestamp::from_nanos(at % period);
            for (changed, built) in pairs {
                if charges {
                    changed.charge(cost, now);
                    built.charge(cost, now);
                } else if changed.take(cost, now).is_ok() {
                    built.charge(cost, now);
                }
            }
        }

        changed.0.set_calls(after).unwrap();
        changed.1.set_calls(after).unwrap();

        let mut now = period;
        for (pass, cost) in then {
            now += pass;
            let at = Timestamp::from_nanos(now);
            for (changed, built) in pairs {
                prop_assert_eq!(changed.standing(at), built.standing(at));
                prop_assert_eq!(changed.take(cost, at), built.take(cost, at));
            }
        }
        prop_assert_eq!((changed.0.calls(), changed.1.calls()), (after, after));
        let far = Timestamp::from_nanos(u64::MAX / 2);
        prop_assert_eq!([changed.0.is_as_new(far), changed.1.is_as_new(far)], [before == after; 2]);
    }
}

#[test]
fn a_window_of_no_calls_or_of_more_than_a_clock_can_tell_apart_is_not_set() {
    let quota = WindowQuota::new(2, Duration::from_micros(5)).unwrap();
    let (sliding, fixed) = (SlidingWindow::new(quota), FixedWindow::new(quota));

    for calls in [0, 6, u32::MAX] {
        let refused = Err(QuotaError::Calls { calls, period: Duration::from_micros(5) });
        assert_eq!((sliding.set_calls(calls), fixed.set_calls(calls)), (refused, refused));
    }
    assert_eq!((sliding.calls(), fixed.calls()), (2, 2));
}

#[test]
fn a_clock_that_steps_back_frees_nothing_and_harms_nothing() {
    let quota = WindowQuota::new(2, Duration::from_secs(1)).unwrap();
    let limits = (SlidingWindow::new(quota), FixedWindow::new(quota));
    let later = Timestamp::from_nanos(10_000_000_000);

    for limit in [&limits.0 as &dyn Limit, &limits.1] {
        assert_eq!(limit.take(2, later), Ok(()));
        assert!(limit.take(1, Timestamp::ZERO).is_err());
        limit.charge(1, Timestamp::ZERO);
        limit.refund(1, Timestamp::ZERO);
        let far = later.saturating_add(Duration::from_secs(2));
        assert_eq!((limit.take(2, far), limit.take(1, far).is_err()), (Ok(()), true));
    }
}
