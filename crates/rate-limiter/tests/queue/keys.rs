//! Lines of keys before a limiter of many.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Clock, Gate, Reason, Timestamp, VirtualClock};
use seawall_rate_limiter::{
    AdmitKey, Gcra, KeyedGcra, Limit, LimitKeys, Plan, Plans, QueueingKeys, QueueingQuota, Quota, Quotas,
};

use super::Task;

const INTERVAL: Duration = Duration::from_nanos(10);

fn quota(burst: u32) -> Quota {
    Quota::every(INTERVAL).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

fn lines<G: LimitKeys<Q>, Q: seawall_rate_limiter::Key>(
    limiter: G,
    max_queued: usize,
) -> (QueueingKeys<G, Q, VirtualClock>, VirtualClock) {
    let clock = VirtualClock::new();
    let quota = QueueingQuota::new(limiter).with_max_queued(max_queued).expect("tests ask for a line");
    (QueueingKeys::new(quota.with_max_wait(Duration::from_secs(1)).expect("above zero"), clock.clone()), clock)
}

fn ask<G: LimitKeys<Q>, Q: seawall_rate_limiter::Key>(
    limiter: &QueueingKeys<G, Q, VirtualClock>,
    key: &Q,
    clock: &VirtualClock,
) -> Result<Option<Task>, Reason> {
    match limiter.admit_key(key, CallContext::new, || clock.now()) {
        Admission::Admitted(()) => Ok(None),
        Admission::Queued(wait) => Ok(Some(Task::new(wait))),
        Admission::Refused(rejection) => Err(rejection.reason()),
    }
}

#[test]
fn a_key_whose_calls_wait_holds_up_no_other() {
    let (limiter, clock) = lines(KeyedGcra::new(quota(1)), 2);
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let mut first = ask(&limiter, &1, &clock).unwrap().expect("its quota is used up");
    let mut second = ask(&limiter, &1, &clock).unwrap().expect("its quota is used up");
    assert_eq!((first.poll_if_woken(), second.poll_if_woken()), (None, None));

    assert!(ask(&limiter, &2, &clock).unwrap().is_none(), "another key has its own");
    assert_eq!(ask(&limiter, &1, &clock).err(), Some(Reason::QueueFull));
    assert!(ask(&limiter, &2, &clock).unwrap().is_some(), "and a line of its own");
    clock.advance(INTERVAL);

    assert!(ask(&limiter, &1, &clock).unwrap().is_some(), "nobody passes the line");
    assert_eq!((first.poll_if_woken(), second.poll_if_woken()), (Some(Ok(())), None));
}

#[test]
fn a_turn_of_a_plan_that_nobody_takes_goes_back_to_the_levels_that_it_was_of() {
    let limiter = Plans::new(quota(8), Plan::new(quota(4), quota(1))).unwrap();
    let (limiter, clock) = lines::<_, (&'static str, u32)>(limiter, 10);
    let key = ("", 7);
    let standing = |limiter: &QueueingKeys<Plans, (&'static str, u32), VirtualClock>, now| {
        let plans = limiter.limiter();
        let of = [plans.standing(&key, now), plans.standing_of_plan("", now), plans.standing_of_all(now)];
        of.map(|standing| standing.remaining())
    };
    while ask(&limiter, &key, &clock).unwrap().is_none() {}
    assert_eq!(limiter.queued(), 0, "who was asked has gone");
    let waits = ask(&limiter, &key, &clock).unwrap().expect("all is used up");
    clock.advance(INTERVAL);
    let before = standing(&limiter, clock.now());

    // Serves the first, who goes without having looked.
    limiter.changed(&key, clock.now());
    assert_ne!(standing(&limiter, clock.now()), before);
    drop(waits);

    assert_eq!(standing(&limiter, clock.now()), before);
    assert_eq!(limiter.queued(), 0);
}

#[test]
fn of_several_quotas_the_last_to_come_is_waited_for() {
    let slow = Quota::every(INTERVAL * 5).unwrap();
    let (limiter, clock) = lines(Quotas::new().with_keyed(quota(1)).with_shared(slow), 10);
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let mut waits = ask(&limiter, &1, &clock).unwrap().expect("both are used up");
    assert_eq!(waits.poll_if_woken(), None);

    clock.advance((INTERVAL * 5).saturating_sub(Duration::from_nanos(1)));
    assert_eq!(waits.poll_if_woken(), None);
    clock.advance(Duration::from_nanos(1));

    assert_eq!(waits.poll_if_woken(), Some(Ok(())));
}

#[test]
fn who_finds_a_shared_quota_taken_by_another_key_waits_on() {
    let (limiter, clock) = lines(Quotas::new().with_shared(quota(1)), 10);
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let (mut one, mut two) = (ask(&limiter, &1, &clock).unwrap().unwrap(), ask(&limiter, &2, &clock).unwrap().unwrap());
    assert_eq!((one.poll_if_woken(), two.poll_if_woken()), (None, None));

    clock.advance(INTERVAL);
    assert_eq!((two.poll_if_woken(), one.poll_if_woken()), (Some(Ok(())), None));
    clock.advance(INTERVAL);

    assert_eq!(one.poll_if_woken(), Some(Ok(())));
}

#[test]
fn keys_that_have_been_served_leave_no_line_behind_and_those_who_wait_keep_theirs() {
    let (limiter, clock) = lines(KeyedGcra::new(quota(1)), 10);
    let wait = |key: u32| {
        assert!(ask(&limiter, &key, &clock).unwrap().is_none());
        ask(&limiter, &key, &clock).unwrap().expect("its quota is used up")
    };
    let mut waits = wait(0);
    assert_eq!(waits.poll_if_woken(), None);
    for key in 1..5_000 {
        drop(wait(key));
    }

    assert_eq!(limiter.queued(), 1);
    assert!(limiter.lines() < 1_000, "{} lines for one call that waits", limiter.lines());
    assert!(ask(&limiter, &0, &clock).unwrap().is_some());
    clock.advance(INTERVAL);
    assert_eq!(waits.poll_if_woken(), Some(Ok(())));
}

#[test]
fn a_call_of_no_key_does_not_wait_and_it_is_idle_when_nobody_does() {
    let (limiter, clock) = lines::<_, u32>(KeyedGcra::new(quota(1)), 10);
    assert!(matches!(limiter.admit(CallContext::new, || clock.now()), Admission::Admitted(())));
    assert!(matches!(limiter.admit(CallContext::new, || clock.now()), Admission::Refused(_)));
    clock.advance(INTERVAL);
    assert!(limiter.is_idle(|| clock.now()));

    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let _waits = ask(&limiter, &1, &clock).unwrap().expect("its quota is used up");
    clock.advance(INTERVAL);
    assert!(!limiter.is_idle(|| clock.now()));
}

#[derive(Debug, Clone)]
enum Step {
    Arrive { key: usize, cost: u32 },
    Leave(prop::sample::Index),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3_usize, 1..3_u32).prop_map(|(key, cost)| Step::Arrive { key, cost }),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        3 => (0..25_u32).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn each_key_is_served_as_by_a_list_before_a_limiter_of_its_own(steps in prop::collection::vec(step(), 1..100)) {
        let (limiter, clock) = lines(KeyedGcra::new(quota(2)), 1_000);
        let mut truth: [(Gcra, VecDeque<(usize, u32)>); 3] =
            std::array::from_fn(|_| (Gcra::new(quota(2)), VecDeque::new()));
        let (mut now, mut tasks, mut served) = (Timestamp::ZERO, Vec::<(usize, Task)>::new(), Vec::new());
        let mut due = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            let mut passes = 0;
            match step {
                Step::Arrive { key, cost } => {
                    truth[key].1.push_back((id, cost));
                    match limiter.admit_key(&key, || CallContext::new().with_cost(cost), || now) {
                        Admission::Admitted(()) => served.push((id, now)),
                        Admission::Queued(wait) => tasks.push((id, Task::new(wait))),
                        Admission::Refused(_) => prop_assert!(false, "there is room in line"),
                    }
                }
                Step::Leave(which) if !tasks.is_empty() => {
                    let (id, task) = tasks.remove(which.index(tasks.len()));
                    for (_, line) in &mut truth {
                        line.retain(|(other, _)| *other != id);
                    }
                    drop(task);
                }
                Step::Leave(_) => {}
                Step::Pass(times) => passes = times,
            }
            for pass in 0..=passes {
                if pass > 0 {
                    now = now.saturating_add(Duration::from_nanos(1));
                    clock.advance(Duration::from_nanos(1));
                }
                for (gcra, line) in &mut truth {
                    while line.front().is_some_and(|(_, cost)| Limit::take(gcra, *cost, now).is_ok()) {
                        due.extend(line.pop_front().map(|(id, _)| (id, now)));
                    }
                }
                super::oracle::run(&mut tasks, &mut served, now);
            }
            // Of different keys at one moment any may be first.
            due.sort_unstable();
            served.sort_unstable();
            prop_assert_eq!(&served, &due);
            prop_assert_eq!(limiter.queued(), truth.iter().map(|(_, line)| line.len()).sum::<usize>());
        }
    }
}
