//! Other limits than the cell rate algorithm: each served at the moment of a plain list before the same limit.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Gate, Timestamp, VirtualClock};
use seawall_rate_limiter::{
    FixedWindow, Limit, QueueingLimit, QueueingQuota, Quota, SlidingWindow, WarmUp, WarmUpQuota, WindowQuota,
};

use super::Task;

const STEP: Duration = Duration::from_nanos(100);

#[derive(Debug, Clone)]
enum Step {
    Arrive(u32),
    Leave(prop::sample::Index),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..3_u32).prop_map(Step::Arrive),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        3 => (0..40_u32).prop_map(Step::Pass),
    ]
}

/// Served from its front whenever time passes, as far as the limit goes.
struct Truth<L> {
    limit: L,
    line: VecDeque<(usize, u32)>,
    served: Vec<(usize, Timestamp)>,
}

impl<L: Limit> Truth<L> {
    fn serve(&mut self, now: Timestamp) {
        while let Some((id, cost)) = self.line.front().copied() {
            if self.limit.take(cost, now).is_err() {
                return;
            }
            self.served.push((id, now));
            self.line.pop_front();
        }
    }
}

fn as_a_list_does<L: Limit, Q: Into<L> + Copy>(quota: Q, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let clock = VirtualClock::new();
    let line = QueueingQuota::new(quota).with_max_wait(Duration::MAX).expect("it is above zero");
    let limiter: QueueingLimit<L, VirtualClock> = QueueingLimit::new(line, clock.clone());
    let mut truth = Truth::<L> { limit: quota.into(), line: VecDeque::new(), served: Vec::new() };
    let (mut now, mut tasks, mut served) = (Timestamp::ZERO, Vec::<(usize, Task)>::new(), Vec::new());
    for (id, step) in steps.into_iter().enumerate() {
        let mut passes = 0;
        match step {
            Step::Arrive(cost) => {
                truth.line.push_back((id, cost));
                match limiter.admit(|| CallContext::new().with_cost(cost), || now) {
                    Admission::Admitted(()) => served.push((id, now)),
                    Admission::Queued(wait) => tasks.push((id, Task::new(wait))),
                    Admission::Refused(_) => prop_assert!(false, "whoever may ever come is let in line"),
                }
            }
            Step::Leave(which) if !tasks.is_empty() => {
                let (id, task) = tasks.remove(which.index(tasks.len()));
                truth.line.retain(|(other, _)| *other != id);
                drop(task);
            }
            Step::Leave(_) => {}
            Step::Pass(times) => passes = times,
        }
        for pass in 0..=passes {
            if pass > 0 {
                now = now.saturating_add(STEP);
                clock.advance(STEP);
            }
            truth.serve(now);
            super::oracle::run(&mut tasks, &mut served, now);
        }
        prop_assert_eq!(&served, &truth.served);
        prop_assert_eq!(limiter.queued(), truth.line.len());
    }
    Ok(())
}

/// How long until the last of so many calls of 1 is admitted, each as soon as it may be.
fn one_by_one<L: Limit>(limit: &L, calls: u64, mut now: Timestamp) -> Timestamp {
    for _ in 0..calls {
        while let Err(refused) = limit.take(1, now) {
            now = now.saturating_add(refused.retry_after().expect("a wait helps"));
        }
    }
    now
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn before_a_fixed_window_calls_are_served_as_by_a_list(calls in 2..5_u32, steps in prop::collection::vec(step(), 1..60)) {
        as_a_list_does::<FixedWindow, _>(WindowQuota::new(calls, Duration::from_micros(5)).unwrap(), steps)?;
    }

    #[test]
    fn before_a_sliding_window_calls_are_served_as_by_a_list(calls in 2..5_u32, steps in prop::collection::vec(step(), 1..60)) {
        as_a_list_does::<SlidingWindow, _>(WindowQuota::new(calls, Duration::from_micros(5)).unwrap(), steps)?;
    }

    // Of a burst that covers two calls of the dearest: a pace that is no multiple of the step has turns come between two looks, and
    // only what the burst does not cover counts from when it was due.
    #[test]
    fn before_a_limit_that_warms_up_calls_are_served_as_by_a_list(burst in 4..7_u32, steps in prop::collection::vec(step(), 1..60)) {
        let quota = Quota::every(Duration::from_nanos(700)).and_then(|quota| quota.with_burst(burst)).unwrap();
        as_a_list_does::<WarmUp, _>(WarmUpQuota::new(quota, Duration::from_millis(100)).unwrap(), steps)?;
    }

    #[test]
    fn behind_others_a_turn_comes_when_all_before_it_have_had_theirs(
        calls in 1..6_u32, used in 0..6_u32, charged in 0..9_u32, elapsed in 0..9_999_u64, ahead in 0..20_u64,
    ) {
        let quota = WindowQuota::new(calls, Duration::from_micros(6)).unwrap();
        let now = Timestamp::from_nanos(6_000 + elapsed);
        let fixed = FixedWindow::new(quota);
        let _ = fixed.take(used.min(calls), Timestamp::from_nanos(6_000));
        fixed.charge(charged, now);
        let turn = now.saturating_add(fixed.turn_in(ahead, 1, now).unwrap());
        prop_assert_eq!(turn, one_by_one(&fixed, ahead + 1, now));

        let sliding = SlidingWindow::new(quota);
        let _ = sliding.take(used.min(calls), Timestamp::from_nanos(6_000));
        let turn = now.saturating_add(sliding.turn_in(ahead, 1, now).unwrap());
        prop_assert_eq!(turn, one_by_one(&sliding, ahead + 1, now));
        prop_assert_eq!(sliding.turn_in(ahead, calls + 1, now), None);
    }
}

#[test]
fn a_waiter_that_is_dropped_as_its_turn_comes_gives_back_what_the_window_had_of_it() {
    let clock = VirtualClock::new();
    let quota = WindowQuota::new(1, Duration::from_micros(1)).unwrap();
    let line = QueueingQuota::new(quota).with_max_wait(Duration::from_micros(5)).unwrap();
    let limiter: QueueingLimit<FixedWindow, VirtualClock> = QueueingLimit::new(line, clock.clone());
    let arrive = |cost| limiter.admit(|| CallContext::new().with_cost(cost), || clock_now(&clock));
    assert!(matches!(arrive(1), Admission::Admitted(())));
    let Admission::Queued(first) = arrive(1) else { unreachable!("the window is used up") };
    clock.advance(Duration::from_micros(1));
    // Somebody else's look serves the first in line, who goes without having looked.
    let Admission::Queued(second) = arrive(1) else { unreachable!("the turn is that of the first") };

    drop((first, second));

    assert!(matches!(arrive(1), Admission::Admitted(())), "nothing was burnt");
}

fn clock_now(clock: &VirtualClock) -> Timestamp {
    seawall_core::Clock::now(clock)
}
