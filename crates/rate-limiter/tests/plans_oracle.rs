//! Quotas of tenants, plans and all together against buckets of time kept by hand.
#![expect(clippy::arithmetic_side_effects, reason = "128 bits hold every sum of two numbers of 64")]
use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use seawall_core::{Reason, Timestamp};
use seawall_rate_limiter::{Ahead, LimitKeys, Plan, Plans, Quota};

/// Full at `most`; a call takes `interval` of it, and what is owed is below zero.
#[derive(Clone)]
struct Bucket {
    interval: i128,
    burst: i128,
    level: i128,
}

impl Bucket {
    fn of(quota: Quota) -> Self {
        let interval = i128::try_from(quota.interval().as_nanos()).expect("64 bits");
        let burst = i128::from(quota.burst());
        Self { interval, burst, level: interval * burst }
    }

    fn pass(&mut self, time: i128) {
        self.level = (self.level + time).min(self.interval * self.burst);
    }

    fn take(&mut self, cost: i128) {
        self.level -= cost * self.interval;
    }

    /// How long until `cost` can be taken and `kept` calls of the burst are left; nothing: never.
    fn wait(&self, cost: i128, kept: i128) -> Option<i128> {
        self.wait_behind(0, cost, kept)
    }

    /// The same when `ahead` is taken before.
    fn wait_behind(&self, ahead: i128, cost: i128, kept: i128) -> Option<i128> {
        let needed = (ahead + cost + kept) * self.interval;
        (cost + kept <= self.burst).then(|| (needed - self.level).max(0))
    }

    /// What is kept for those who are within their quota: the half of the burst, an odd one included.
    const fn kept(&self) -> i128 {
        self.burst - self.burst / 2
    }
}

/// The truth: all together, each plan, and each tenant that was ever heard of.
struct Truth {
    all: Bucket,
    plans: [Bucket; 2],
    new_tenants: [Bucket; 2],
    tenants: HashMap<(usize, u8), Bucket>,
}

impl Truth {
    fn pass(&mut self, time: i128) {
        let buckets = self.plans.iter_mut().chain(self.tenants.values_mut());
        buckets.chain([&mut self.all]).for_each(|bucket| bucket.pass(time));
    }

    fn tenant(&mut self, plan: usize, tenant: u8) -> &mut Bucket {
        let new = &self.new_tenants[plan];
        self.tenants.entry((plan, tenant)).or_insert_with(|| new.clone())
    }

    /// No wait when it goes on. Each of the ways in is as far off as the last of what it asks for.
    fn take(&mut self, plan: usize, tenant: u8, cost: i128) -> Option<i128> {
        let own = self.tenant(plan, tenant).wait(cost, 0);
        let by_right = own.zip(self.plans[plan].wait(cost, 0)).map(|(own, plan)| own.max(plan));
        let of_plan = self.plans[plan].wait(cost, self.plans[plan].kept());
        let of_all = self.all.wait(cost, self.all.kept());
        let soonest = [by_right, of_plan, of_all].into_iter().flatten().min();
        if soonest == Some(0) {
            // A tenant that has no more than it takes borrows without using up its own.
            if own == Some(0) {
                self.tenant(plan, tenant).take(cost);
            }
            if by_right == Some(0) || of_plan == Some(0) {
                self.plans[plan].take(cost);
            }
            self.all.take(cost);
        }
        soonest
    }

    /// How long until a call has its turn behind others: of its own quota, of what its plan has, of what it may borrow.
    fn turns(&mut self, plan: usize, tenant: u8, cost: i128, ahead: [i128; 3]) -> [Option<i128>; 3] {
        let [of_key, sharing, in_all] = ahead;
        let of_plan = &self.plans[plan];
        let lent = self.all.wait_behind(in_all, cost, self.all.kept());
        let soonest = |turn: Option<i128>| turn.into_iter().chain(lent).min();
        let (within, beyond) =
            (of_plan.wait_behind(sharing, cost, 0), of_plan.wait_behind(sharing, cost, of_plan.kept()));
        let (shared, borrowed) = (soonest(within), soonest(beyond));
        [self.tenant(plan, tenant).wait_behind(of_key, cost, 0), shared, borrowed]
    }

    fn charge(&mut self, plan: usize, tenant: u8, cost: i128) {
        self.tenant(plan, tenant).take(cost);
        self.plans[plan].take(cost);
        self.all.take(cost);
    }
}

fn quota(interval: u64, burst: u32) -> Quota {
    Quota::every(Duration::from_nanos(interval)).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Take { plan: usize, tenant: u8, cost: u32 },
    Look { plan: usize, tenant: u8, cost: u32, ahead: [u8; 3] },
    Charge { plan: usize, tenant: u8, cost: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let call = || (0..2_usize, 0..3_u8, 1..5_u32);
    prop_oneof![
        3 => prop_oneof![5 => 0..60_u64, 1 => 0..2_000_u64].prop_map(Step::Pass),
        8 => call().prop_map(|(plan, tenant, cost)| Step::Take { plan, tenant, cost }),
        2 => (call(), any::<[u8; 3]>())
            .prop_map(|((plan, tenant, cost), ahead)| Step::Look { plan, tenant, cost, ahead }),
        1 => call().prop_map(|(plan, tenant, cost)| Step::Charge { plan, tenant, cost }),
    ]
}

const NAMES: [&str; 2] = ["free", "pro"];

proptest! {
    #[test]
    fn who_may_go_on_and_when_is_what_buckets_of_time_say(
        all in (1..10_u64, 1..30_u32),
        plans in [(0..40_u64, 1..12_u32), (0..40_u64, 1..12_u32)],
        tenants in [(1..90_u64, 1..6_u32), (1..90_u64, 1..6_u32)],
        steps in prop::collection::vec(step(), 1..250),
    ) {
        // Two plans that have half of all at most.
        let (all, plans) = (quota(all.0, all.1), plans.map(|(more, burst)| quota(2 * all.0 + more, burst)));
        let tenants = tenants.map(|(interval, burst)| quota(interval, burst));
        let limiter = Plans::new(all, Plan::new(plans[0], tenants[0]))
            .and_then(|limiter| limiter.with_plan("pro", Plan::new(plans[1], tenants[1])))
            .unwrap();
        let mut truth = Truth {
            all: Bucket::of(all),
            plans: plans.map(Bucket::of),
            new_tenants: tenants.map(Bucket::of),
            tenants: HashMap::new(),
        };
        let mut now = 0;

        for step in steps {
            let at = Timestamp::from_nanos(now);
            match step {
                Step::Pass(time) => {
                    now += time;
                    truth.pass(time.into());
                }
                Step::Charge { plan, tenant, cost } => {
                    limiter.charge(&(NAMES[plan], tenant), cost, at);
                    truth.charge(plan, tenant, cost.into());
                }
                Step::Look { plan, tenant, cost, ahead } => {
                    let key = (NAMES[plan], tenant);
                    let mut others = Ahead::default();
                    (others.sharing, others.in_all) = (ahead[1].into(), ahead[2].into());
                    let said = [
                        limiter.own_turn_in(&key, ahead[0].into(), cost, at),
                        limiter.shared_turn_in(&key, others, cost, at),
                        limiter.borrowed_turn_in(&key, others, cost, at),
                    ];
                    let said = said.map(|turn| turn.map(|wait| i128::try_from(wait.as_nanos()).unwrap()));
                    prop_assert_eq!(said, truth.turns(plan, tenant, cost.into(), ahead.map(i128::from)));
                }
                Step::Take { plan, tenant, cost } => {
                    let said = limiter.take(&(NAMES[plan], tenant), cost, at);
                    let wait = truth.take(plan, tenant, cost.into());
                    match (said, wait) {
                        (Ok(_), Some(0)) => {}
                        (Err(refused), None) => prop_assert_eq!(refused.reason(), Reason::TooHeavy),
                        (Err(refused), Some(wait)) if wait > 0 => {
                            let said = refused.retry_after().map(|wait| i128::try_from(wait.as_nanos()).unwrap());
                            prop_assert_eq!(said, Some(wait));
                        }
                        (said, wait) => prop_assert!(false, "{:?} at {now}, not {:?}", said, wait),
                    }
                }
            }
        }
    }
}
