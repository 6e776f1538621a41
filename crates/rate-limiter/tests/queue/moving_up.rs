//! When those who wait in lines of keys move up, and by how much they were late.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use seawall_core::{Admission, CallContext, Clock, Gate, NoWait, Outcome, Reason, Rejection, Timestamp, VirtualClock};
use seawall_rate_limiter::{
    AdmitKey, Ahead, Gcra, KeyedGcra, Limit, LimitKeys, Plan, Plans, QueueingKeys, Quota, Quotas,
};

use super::{
    SECOND, Task,
    keys::{INTERVAL, ask, lines, quota},
};

const MICRO: Duration = Duration::from_micros(1);

fn per_second(calls: u32, burst: u32) -> Quota {
    Quota::per_second(calls).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

/// Whoever comes looks at the line; this one does not stay.
fn look<G: LimitKeys<u32>>(limiter: &QueueingKeys<G, u32, VirtualClock>, key: u32, clock: &VirtualClock) {
    let call = || CallContext::new().with_deadline(clock.now());
    assert!(matches!(limiter.admit_key(&key, call, || clock.now()), Admission::Refused(_)), "it would have to wait");
}

/// Calls of these keys that wait, and have not looked.
fn wait<G: LimitKeys<u32>>(
    limiter: &QueueingKeys<G, u32, VirtualClock>,
    keys: impl IntoIterator<Item = u32>,
    clock: &VirtualClock,
) -> Vec<Task> {
    let call = |key| ask(limiter, &key, clock).expect("there is room").expect("the quota is used up");
    keys.into_iter().map(call).collect()
}

/// How many of those who share `quotas` have been served after `looks` looks, one each `step`.
fn served_by_late_looks(quotas: Quotas, step: Duration, looks: usize) -> usize {
    const WAITING: u32 = 400;
    let (limiter, clock) = lines(quotas, 1_000);
    assert!(matches!(ask(&limiter, &0, &clock), Ok(None)));
    let waiting = wait(&limiter, 1..=WAITING, &clock);
    for _ in 0..looks {
        clock.advance(step);
        look(&limiter, WAITING + 1, &clock);
    }
    waiting.len() - limiter.queued()
}

#[test]
fn turns_that_are_given_late_keep_the_rate_and_a_long_delay_is_not_made_up_for() {
    let quotas = || Quotas::new().with_shared(per_second(1_000, 1));

    assert_eq!(
        served_by_late_looks(quotas(), MICRO * 1_700, 100),
        170,
        "each look finds what became due since the last"
    );
    assert_eq!(served_by_late_looks(quotas(), SECOND, 1), 3, "those of 2 ms, and the one of now");
}

#[test]
fn of_several_quotas_the_burst_of_one_does_not_make_up_for_what_another_is_late_by() {
    let quotas = Quotas::new().with_keyed(per_second(1_000, 50)).with_shared(per_second(1_000, 1));

    assert_eq!(served_by_late_looks(quotas, SECOND, 1), 3);
}

#[test]
fn what_the_first_left_unused_does_not_make_those_behind_it_late() {
    fn left<G: LimitKeys<u32>>(limiter: G, keys: [u32; 4]) -> usize {
        let (limiter, clock) = lines(limiter, 10);
        assert!(ask(&limiter, &keys[0], &clock).unwrap().is_none());
        let mut waiting = wait(&limiter, keys, &clock);
        clock.advance(MICRO * 5_000);
        drop(waiting.remove(0));
        look(&limiter, keys[3], &clock);
        limiter.queued()
    }

    assert_eq!(left(Quotas::new().with_shared(per_second(1_000, 1)), [1, 2, 3, 4]), 2, "one has its turn now");
    assert_eq!(left(KeyedGcra::new(per_second(1_000, 1)), [1; 4]), 2, "so within a key");
}

#[test]
fn who_is_held_again_by_a_charge_is_late_by_no_more_than_since_then() {
    let quotas = Quotas::new().with_keyed(per_second(1_000, 1)).with_shared(per_second(1_000_000, 1));
    let (limiter, clock) = lines(quotas, 10);
    limiter.limiter().charge(&9, 5_000, clock.now());
    let _waiting = wait(&limiter, [1; 4], &clock);
    clock.advance(MICRO * 3_000);
    limiter.limiter().charge(&1, 10, clock.now());
    clock.advance(MICRO * 2_500);
    look(&limiter, 1, &clock);
    limiter.limiter().refund(&1, 10);

    clock.advance(MICRO * 1_700);
    look(&limiter, 1, &clock);

    assert_eq!(limiter.queued(), 2, "turns of 5.5 and of 6.5 ms");
}

#[test]
fn one_that_is_ready_and_leaves_lets_the_next_of_its_key_go_sooner() {
    let slow = Quota::every(INTERVAL * 10).unwrap();
    let (limiter, clock) = lines(Quotas::new().with_keyed(slow).with_shared(quota(1)), 10);
    assert!(ask(&limiter, &1, &clock).unwrap().is_none());
    let mut waiting = wait(&limiter, [2, 3, 3], &clock);
    assert!(waiting.iter_mut().all(|task| task.poll_if_woken().is_none()));

    let leaves = waiting.remove(1);
    drop(leaves);

    clock.advance(INTERVAL);
    let first: Vec<_> = waiting.iter_mut().map(Task::poll_if_woken).collect();
    clock.advance(INTERVAL);
    assert_eq!((first, waiting[1].poll_if_woken()), (vec![Some(Ok(())), None], Some(Ok(()))));
}

#[test]
fn who_no_longer_fits_a_quota_that_was_lowered_is_refused_and_those_behind_it_move_up() {
    fn ends<G: LimitKeys<K>, K: seawall_rate_limiter::Key>(limiter: G, key: &K, lower: impl FnOnce(&G)) {
        let (limiter, clock) = lines(limiter, 10);
        let heavy = || limiter.admit_key(key, || CallContext::new().with_cost(2), || clock.now());
        while matches!(heavy(), Admission::Admitted(())) {}
        assert_eq!(limiter.queued(), 0, "who was asked has gone");
        let Admission::Queued(wait) = heavy() else { panic!("it fits") };
        let mut heavy = Task::new(wait);
        let mut light = ask(&limiter, key, &clock).unwrap().expect("nobody passes the line");
        assert_eq!((heavy.poll_if_woken(), light.poll_if_woken()), (None, None));

        lower(limiter.limiter());
        limiter.changed(key, clock.now());

        let refused = heavy.poll_if_woken().expect("no wait helps").unwrap_err();
        assert_eq!((refused.reason(), light.poll_if_woken()), (Reason::TooHeavy, None));
        clock.advance(INTERVAL * 20);
        assert_eq!(light.poll_if_woken(), Some(Ok(())));
    }

    ends(KeyedGcra::new(quota(2)), &1, |keyed| keyed.set_quota(quota(1), Timestamp::ZERO));
    let plan = |burst| Plan::new(quota(2 * burst), quota(burst));
    ends(Plans::new(quota(4), plan(2)).unwrap(), &("", 1), |plans| {
        plans.set_default(plan(1), Timestamp::ZERO).unwrap();
        plans.set_quota(quota(2), Timestamp::ZERO).unwrap();
    });
}

/// How long a tenant waits that has used up its own quota.
fn borrows_in(all: Quota, of_plan: Quota) -> Duration {
    let tenant = Quota::every(INTERVAL * 1_000).expect("in range");
    let (limiter, clock) = lines(Plans::new(all, Plan::new(of_plan, tenant)).expect("not oversold"), 10);
    let ask = || ask(&limiter, &("", 1), &clock).expect("there is room");
    while ask().is_none() {}
    let mut waits = ask().expect("all that is to spare is used up");
    let begin = clock.now();
    while waits.poll_if_woken().is_none() {
        clock.advance(Duration::from_nanos(1));
    }
    clock.now().since(begin)
}

#[test]
fn who_is_beyond_its_quota_has_its_turn_as_soon_as_its_plan_or_all_have_it_to_spare() {
    let slower =
        |times: u32, burst| Quota::every(INTERVAL * times).and_then(|quota| quota.with_burst(burst)).expect("in range");

    assert_eq!(borrows_in(quota(4), slower(30, 4)), INTERVAL, "all together regain one");
    assert_eq!(borrows_in(slower(2, 1), slower(7, 2)), INTERVAL * 7, "of all, half a burst of 1 is none");
    assert_eq!(borrows_in(slower(3, 2), slower(7, 1)), INTERVAL * 3);
}

/// What all share, and keys that are held back until what they used is refunded: in the middle of a look at a line.
struct RefundedInBetween {
    shared: Gcra,
    is_held: AtomicBool,
}

impl Gate for RefundedInBetween {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.shared.take(1, now()).into()
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

impl LimitKeys<u32> for RefundedInBetween {
    type Taken = ();

    fn take(&self, _: &u32, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        self.shared.take(cost, now)
    }

    fn give_back(&self, _: &u32, (): (), cost: u32) {
        self.shared.refund(cost);
    }

    fn shares(&self, _: &u32) -> Option<u64> {
        Some(0)
    }

    fn own_turn_in(&self, key: &u32, ahead: u64, _: u32, _: Timestamp) -> Option<Duration> {
        // The second to come asks about itself when the first has been looked at.
        if ahead > 0 {
            self.is_held.store(false, SeqCst);
        }
        Some(if *key == 1 && self.is_held.load(SeqCst) { INTERVAL } else { Duration::ZERO })
    }

    fn shared_turn_in(&self, _: &u32, ahead: Ahead, cost: u32, now: Timestamp) -> Option<Duration> {
        Limit::turn_in(&self.shared, ahead.sharing, cost, now)
    }
}

#[test]
fn who_comes_behind_one_of_its_key_that_is_held_does_not_pass_it_when_a_refund_comes_in_between() {
    let refunded = RefundedInBetween { shared: Gcra::new(quota(1)), is_held: AtomicBool::new(true) };
    let (limiter, clock) = lines(refunded, 10);
    assert!(ask(&limiter, &2, &clock).unwrap().is_none());
    let mut waiting = wait(&limiter, [1, 1], &clock);
    clock.advance(INTERVAL);

    limiter.changed(&2, clock.now());
    assert_eq!(limiter.queued(), 2, "nobody has looked at their key");
    limiter.changed(&1, clock.now());

    assert_eq!((waiting[1].poll_if_woken(), waiting[0].poll_if_woken()), (None, Some(Ok(()))));
}
