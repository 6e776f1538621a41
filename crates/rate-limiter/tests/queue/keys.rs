//! Lines of keys before a limiter of many.

use std::time::Duration;

use seawall_core::{Admission, CallContext, Clock, Gate, Reason, VirtualClock};
use seawall_rate_limiter::{AdmitKey, KeyedGcra, LimitKeys, Plan, Plans, QueueingKeys, QueueingQuota, Quota, Quotas};

use super::Task;

pub(super) const INTERVAL: Duration = Duration::from_nanos(10);

pub(super) fn quota(burst: u32) -> Quota {
    Quota::every(INTERVAL).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

pub(super) fn lines<G: LimitKeys<Q>, Q: seawall_rate_limiter::Key>(
    limiter: G,
    max_queued: usize,
) -> (QueueingKeys<G, Q, VirtualClock>, VirtualClock) {
    let clock = VirtualClock::new();
    let quota = QueueingQuota::new(limiter).with_max_queued(max_queued).expect("tests ask for a line");
    (QueueingKeys::new(quota.with_max_wait(Duration::from_secs(1)).expect("above zero"), clock.clone()), clock)
}

pub(super) fn ask<G: LimitKeys<Q>, Q: seawall_rate_limiter::Key>(
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
fn of_what_keys_share_the_one_that_came_first_has_the_next_turn_whoever_looks() {
    let (limiter, clock) = lines(Quotas::new().with_shared(quota(1)), 10);
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let (mut one, mut two) = (ask(&limiter, &1, &clock).unwrap().unwrap(), ask(&limiter, &2, &clock).unwrap().unwrap());
    assert_eq!((one.poll_if_woken(), two.poll_if_woken()), (None, None));

    clock.advance(INTERVAL);
    assert_eq!((two.poll_if_woken(), one.poll_if_woken()), (None, Some(Ok(()))));
    clock.advance(INTERVAL);

    assert_eq!(two.poll_if_woken(), Some(Ok(())));
}

#[test]
fn what_the_first_gives_back_is_the_next_ones_of_whatever_key() {
    let (limiter, clock) = lines(Quotas::new().with_keyed(quota(9)).with_shared(quota(1)), 10);
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let (one, mut two) = (ask(&limiter, &1, &clock).unwrap().unwrap(), ask(&limiter, &2, &clock).unwrap().unwrap());
    assert_eq!(two.poll_if_woken(), None);
    clock.advance(INTERVAL);
    // Serves the first, who goes without having looked.
    limiter.changed(&2, clock.now());
    assert_eq!((two.poll_if_woken(), limiter.queued()), (None, 1));

    drop(one);

    assert_eq!(two.poll_if_woken(), Some(Ok(())));
    assert_eq!((limiter.limiter().remaining(&1, clock.now()), limiter.queued()), (0, 0));
}

#[test]
fn what_comes_back_to_all_late_counts_from_then_and_not_from_when_it_would_have_been_due() {
    let (limiter, clock) = lines(Quotas::new().with_shared(Quota::per_second(1_000).unwrap()), 10);
    limiter.limiter().charge(&0, 10, clock.now());
    let _waiting = [1, 2, 3].map(|key| ask(&limiter, &key, &clock).unwrap().expect("there is a debt"));
    clock.advance(Duration::from_millis(5));

    limiter.limiter().refund(&0, 10);
    limiter.changed(&0, clock.now());

    assert_eq!(limiter.queued(), 2);
}

#[test]
fn a_charge_holds_a_key_back_that_was_ready_and_lets_others_pass() {
    let (limiter, clock) = lines(Quotas::new().with_keyed(quota(9)).with_shared(quota(1)), 10);
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let mut waits = [1, 1, 2].map(|key| ask(&limiter, &key, &clock).unwrap().expect("the shared quota is used up"));
    let mut look = || waits.each_mut().map(|wait| wait.poll_if_woken().is_some());
    assert_eq!(look(), [false; 3]);

    // It had 8 left of 9; of what all share only the call itself is taken.
    limiter.limiter().charge(&1, 9, clock.now());
    limiter.limiter().refund(&9, 9);
    clock.advance(INTERVAL);
    let first = look();
    clock.advance(INTERVAL);
    let second = look();
    clock.advance(INTERVAL);

    assert_eq!((first, second, look()), ([false, false, true], [true, false, false], [false, true, false]));
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

#[test]
fn a_call_that_does_not_wait_takes_all_that_it_costs_of_its_key_or_nothing_whether_others_wait_or_not() {
    let (limiter, clock) = lines(KeyedGcra::new(quota(3)), 10);
    let costs = |key, cost| limiter.admit_key_at_once(&key, || CallContext::new().with_cost(cost), || clock.now());
    let left = |key| limiter.limiter().standing(&key, clock.now()).remaining();
    assert_eq!((costs(1, 1), costs(2, 1)), (Some(()), Some(())));

    assert_eq!((costs(1, 3), left(1)), (None, 2), "nobody waits");
    assert_eq!(costs(3, 3), Some(()));
    let _waits = ask(&limiter, &3, &clock).unwrap().expect("its quota is used up");
    assert_eq!((costs(2, 3), left(2)), (None, 2), "another key waits");

    clock.advance(INTERVAL);
    assert_eq!((costs(2, 3), left(2)), (Some(()), 0));
}

#[test]
fn who_waits_and_whose_turn_has_come_is_served_before_a_call_that_does_not_wait() {
    let (limiter, clock) = lines(Quotas::new().with_shared(quota(1)), 10);
    let enters = |key| limiter.admit_key_at_once(&key, CallContext::new, || clock.now());
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let mut waits = [1, 2].map(|key| ask(&limiter, &key, &clock).unwrap().expect("the shared quota is used up"));
    assert_eq!(waits.each_mut().map(Task::poll_if_woken), [None, None]);

    clock.advance(INTERVAL);
    assert_eq!((enters(3), limiter.queued()), (None, 1), "the one turn is that of the first");
    clock.advance(INTERVAL * 2);
    assert_eq!((enters(3), limiter.queued()), (Some(()), 0), "one turn was due to the second, and there is another");

    assert_eq!(waits.each_mut().map(Task::poll_if_woken), [Some(Ok(())), Some(Ok(()))]);
    assert_eq!(enters(4), None, "all is used up");
}
