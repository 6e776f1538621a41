//! The limiter against a bucket of tokens kept by hand in wide integers.
#![expect(clippy::arithmetic_side_effects, reason = "128 bits hold every sum of two numbers of 64")]
use std::time::Duration;

use proptest::prelude::*;
use seawall_core::{Reason, Timestamp};
use seawall_rate_limiter::{Gcra, Quota};

/// A bucket that holds time: full at `capacity`, a token is `interval` of it.
struct Bucket {
    interval: i128,
    capacity: i128,
    level: i128,
    last: i128,
}

#[derive(Debug, PartialEq)]
enum Said {
    Yes,
    In(i128),
    Never,
}

impl Bucket {
    fn new(quota: &Quota) -> Self {
        let interval = i128::try_from(quota.interval().as_nanos()).expect("a quota's interval has 64 bits");
        let capacity = interval * i128::from(quota.burst());
        Self { interval, capacity, level: capacity, last: 0 }
    }

    fn pass(&mut self, now: i128) {
        self.level = self.capacity.min(self.level + now - self.last);
        self.last = now;
    }

    fn take(&mut self, cost: u32) -> Said {
        let need = self.interval * i128::from(cost);
        if need > self.capacity {
            Said::Never
        } else if need > self.level {
            Said::In(need - self.level)
        } else {
            self.level -= need;
            Said::Yes
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Take(u32),
    Charge(u32),
    Refund(u32),
}

fn quota() -> impl Strategy<Value = Quota> {
    let interval = prop_oneof![1..100_u64, 1_000..1_000_000_000_u64, Just(1), Just(86_400_000_000_000)];
    let burst = prop_oneof![1..5_u32, 1..2_000_u32];
    (interval, burst).prop_map(|(interval, burst)| {
        Quota::every(Duration::from_nanos(interval)).and_then(|quota| quota.with_burst(burst)).expect("in range")
    })
}

/// Times and costs in the quota's own measure: others would hardly ever meet an edge.
fn steps(quota: Quota) -> impl Strategy<Value = (Quota, Vec<Step>)> {
    let interval = u64::try_from(quota.interval().as_nanos()).expect("a quota's interval has 64 bits");
    let burst = quota.burst();
    let pass = prop_oneof![
        Just(0),
        Just(1),
        Just(interval),
        Just(interval.saturating_sub(1)),
        0..=interval.saturating_mul(2),
        0..=interval.saturating_mul(u64::from(burst) * 2)
    ];
    let cost = prop_oneof![4 => Just(1_u32), 2 => 1..=burst, 1 => 1..=burst + 1, 1 => Just(u32::MAX)];
    let step = prop_oneof![
        4 => pass.prop_map(Step::Pass),
        6 => cost.prop_map(Step::Take),
        1 => (0..4_u32).prop_map(Step::Charge),
        1 => (0..4_u32).prop_map(Step::Refund),
    ];
    prop::collection::vec(step, 1..200).prop_map(move |steps| (quota, steps))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_answer_is_that_of_a_bucket_of_tokens((quota, steps) in quota().prop_flat_map(steps)) {
        let (limiter, mut bucket) = (Gcra::new(quota), Bucket::new(&quota));
        let mut now = 0_u64;
        for step in steps {
            match step {
                Step::Pass(time) => {
                    now += time;
                    bucket.pass(now.into());
                }
                Step::Take(cost) => {
                    let said = match limiter.take(cost, Timestamp::from_nanos(now)) {
                        Ok(()) => Said::Yes,
                        Err(refused) if refused.reason() == Reason::TooHeavy => Said::Never,
                        Err(refused) => {
                            let wait = refused.retry_after().expect("an exact wait").as_nanos();
                            Said::In(i128::try_from(wait).expect("a wait has 64 bits"))
                        }
                    };
                    prop_assert_eq!(said, bucket.take(cost));
                }
                Step::Charge(cost) => {
                    limiter.charge(cost, Timestamp::from_nanos(now));
                    bucket.level -= bucket.interval * i128::from(cost);
                }
                Step::Refund(cost) => {
                    limiter.refund(cost);
                    bucket.level = bucket.capacity.min(bucket.level + bucket.interval * i128::from(cost));
                }
            }
            let left = i128::from(limiter.standing(Timestamp::from_nanos(now)).remaining());
            prop_assert_eq!(left, bucket.level.max(0) / bucket.interval);
        }
    }

    #[test]
    fn no_time_and_no_cost_overflows(
        (quota, calls) in (quota(), prop::collection::vec((any::<u64>(), any::<u32>()), 1..50)),
    ) {
        let limiter = Gcra::new(quota);
        for (now, cost) in calls {
            let now = Timestamp::from_nanos(now);
            if limiter.take(cost, now).is_err() {
                limiter.charge(cost, now);
            }
            limiter.refund(cost / 2);
            prop_assert!(limiter.standing(now).remaining() <= quota.burst());
        }
    }

    #[test]
    fn no_window_holds_more_calls_than_the_burst_and_what_was_regained(
        (quota, gaps) in (quota(), prop::collection::vec(0..50_u64, 1..300)),
    ) {
        let (limiter, interval) = (Gcra::new(quota), quota.interval().as_nanos());
        let (mut now, mut admitted) = (0_u64, Vec::new());
        for gap in gaps {
            now += gap * u64::try_from(interval / 10).expect("64 bits");
            while limiter.take(1, Timestamp::from_nanos(now)).is_ok() {
                admitted.push(u128::from(now));
            }
        }
        let burst = usize::try_from(quota.burst()).expect("32 bits");
        for (first, last) in admitted.iter().zip(admitted.iter().skip(burst)) {
            prop_assert!(last - first >= interval, "{} and one more within {interval} ns", burst);
        }
    }
}
