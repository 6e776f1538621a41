//! Any time, forwards or backwards, and any cost: before every limiter of keys, and before lines of those who wait.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Clock, Reason, Timer, Timestamp};
use seawall_rate_limiter::{
    AdmitKey, Key, KeyedGcra, KeyedQuota, LimitKeys, Plan, Plans, QueueingKeys, QueueingQuota, Quota, Quotas,
    RateLimiterWait,
};

/// Says what it is told to, whatever it said before, and wakes nobody.
#[derive(Clone, Default)]
struct Jumps(Arc<AtomicU64>);

impl Clock for Jumps {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Relaxed))
    }
}

impl Timer for Jumps {
    type Sleep = Until;

    fn sleep_until(&self, at: Timestamp) -> Until {
        Until(self.clone(), at)
    }
}

struct Until(Jumps, Timestamp);

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.now() >= self.1 { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// From a call in a nanosecond to one in 292 years, and the largest burst that is regained within that.
fn quota() -> impl Strategy<Value = Quota> {
    let longest = i64::MAX.unsigned_abs();
    let interval = prop_oneof![Just(1), 1..1_000_u64, Just(1_000_000_000), Just(longest / 2), Just(longest)];
    (interval, prop_oneof![1..5_u32, Just(u32::MAX)]).prop_map(move |(interval, burst)| {
        let burst = u64::from(burst).min(longest / interval).max(1);
        let quota = Quota::every(Duration::from_nanos(interval));
        quota.and_then(|quota| quota.with_burst(u32::try_from(burst).unwrap_or(u32::MAX))).expect("in range")
    })
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, any::<u64>(), Just(i64::MAX.unsigned_abs()), Just(u64::MAX - 1), Just(u64::MAX)]
}

fn cost() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..4_u32, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn calls() -> impl Strategy<Value = Vec<(u64, u32, u8)>> {
    prop::collection::vec((time(), cost(), 0..3_u8), 1..60)
}

fn keyed(quota: Quota) -> KeyedQuota {
    KeyedQuota::new(quota).with_max_keys(4).expect("in range")
}

fn plans(all: Quota, tenant: Quota) -> Plans {
    Plans::new(all, Plan::new(all, keyed(tenant))).expect("a plan may have all that there is")
}

/// Nobody is kept out of a line that has room but for the time, and all who wait leave it as it was.
fn lines_bear<G: LimitKeys<Q>, Q: Key>(
    limiter: G,
    key_of: fn(u8) -> Q,
    max_wait: Duration,
    calls: Vec<(u64, u32, u8)>,
) -> Result<(), TestCaseError> {
    let clock = Jumps::default();
    let quota = QueueingQuota::new(limiter).with_max_queued(8).and_then(|quota| quota.with_max_wait(max_wait));
    let limiter = QueueingKeys::<G, Q, Jumps>::new(quota.expect("in range"), clock.clone());
    let mut waiting = Vec::<Pin<Box<RateLimiterWait<Jumps>>>>::new();
    for (now, cost, key) in calls {
        clock.0.store(now, Relaxed);
        let call = || CallContext::new().with_cost(cost).with_deadline(Timestamp::from_nanos(now.saturating_add(9)));
        let call = if key == 0 { call() } else { CallContext::new().with_cost(cost) };
        match limiter.admit_key(&key_of(key), || call, || clock.now()) {
            Admission::Admitted(()) => {}
            Admission::Queued(wait) => waiting.push(Box::pin(wait)),
            Admission::Refused(refused) => {
                let may = [Reason::TooHeavy, Reason::RateLimited, Reason::QueueFull, Reason::DeadlineTooClose];
                prop_assert!(may.contains(&refused.reason()), "{:?}", refused);
            }
        }
        waiting.retain_mut(|wait| wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        prop_assert!(limiter.queued() <= waiting.len(), "whoever is in line waits");
        prop_assert!(waiting.len() <= 3 * 8);
    }
    drop(waiting);
    prop_assert_eq!((limiter.queued(), limiter.lines()), (0, 0));
    Ok(())
}

proptest! {
    #[test]
    fn no_time_and_no_cost_overflows_limiters_of_keys((all, own) in (quota(), quota()), calls in calls()) {
        let (alone, quotas) = (KeyedGcra::new(keyed(own)), Quotas::new().with_keyed(keyed(own)).with_shared(all));
        let plans = plans(all, own);
        for (now, cost, key) in calls {
            let now = Timestamp::from_nanos(now);
            if alone.take(&key, cost, now).is_err() {
                alone.charge(&key, cost, now);
            }
            if quotas.take(&key, cost, now).is_err() {
                quotas.charge(&key, cost, now);
            }
            match plans.take(&("", key), cost, now) {
                Ok(taken) => plans.refund(&("", key), cost / 2, taken),
                Err(_) => plans.charge(&("", key), cost, now),
            }
            alone.refund(&key, cost / 2);
            quotas.refund(&key, cost / 2);
            prop_assert!(alone.standing(&key, now).remaining() <= own.burst());
            prop_assert!(quotas.remaining(&key, now) <= own.burst().min(all.burst()));
            prop_assert!(plans.standing_of_all(now).remaining() <= all.burst());
            let dear = own.burst().checked_add(1).map(|cost| alone.take(&key, cost, now).unwrap_err().reason());
            prop_assert!(dear.is_none_or(|reason| reason == Reason::TooHeavy));
        }
    }

    #[test]
    fn no_time_and_no_cost_overflows_lines_of_keys(
        (all, own) in (quota(), quota()),
        max_wait in prop_oneof![Just(1), 1..1_000_000_000_u64, Just(u64::MAX)],
        calls in calls(),
    ) {
        let max_wait = if max_wait == u64::MAX { Duration::MAX } else { Duration::from_nanos(max_wait) };
        lines_bear(KeyedGcra::new(keyed(own)), |key| key, max_wait, calls.clone())?;
        lines_bear(plans(all, own), |key| ("", key), max_wait, calls.clone())?;
        lines_bear(Quotas::new().with_keyed(keyed(own)).with_shared(all), |key| key, max_wait, calls)?;
    }
}

/// A clock that steps back by an hour and one that ends, for whoever waits and whoever comes.
#[test]
fn a_clock_that_steps_back_or_ends_admits_no_more_of_several_quotas_and_of_plans() {
    let second = Duration::from_secs(1);
    let quota = Quota::per_second(1).and_then(|quota| quota.with_burst(2)).expect("in range");
    let hour = Timestamp::from_nanos(3_600_000_000_000);
    let quotas = Quotas::new().with_keyed(keyed(quota)).with_shared(quota);
    let plans = plans(quota, quota);
    let admitted = |now| {
        let of_quotas = (0..9).filter(|_| quotas.take(&1, 1, now).is_ok()).count();
        (of_quotas, (0..9).filter(|_| plans.take(&("", 1), 1, now).is_ok()).count())
    };

    let said = [hour, Timestamp::ZERO, hour, hour.saturating_add(second)].map(&admitted);
    let at_the_end = [Timestamp::MAX.saturating_sub(second), Timestamp::MAX, Timestamp::MAX].map(&admitted);

    assert_eq!(said, [(2, 2), (0, 0), (0, 0), (1, 1)]);
    assert_eq!(at_the_end, [(1, 1), (0, 0), (0, 0)]);
}
