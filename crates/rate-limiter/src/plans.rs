#![expect(clippy::disallowed_types, reason = "taken to change a quota, by no call")]

use std::{collections::HashMap, hash::BuildHasher, sync::PoisonError, time::Duration};

use foldhash::quality::RandomState;
use seawall_core::{
    Admission, CallContext, Gate, NoWait, Outcome, Reason, Rejection, Timestamp,
    sync::{Mutex, MutexGuard},
};

use crate::{AdmitKey, Ahead, Gcra, KeyedGcra, LimitKeys, OfPlan, Plan, Quota, QuotaError, Standing, quotas::worse};

/// In these units the rates of plans are added up: calls in 10²⁴ nanoseconds.
const SPAN: u128 = 1_000_000_000_000_000_000_000_000;

/// Quotas in three levels, of which each may borrow what the one above has to spare: tenant, plan, and all together.
///
/// - A plan has its quota, whatever the others do: the quotas of all plans are no more than that of all together, which is
///   checked when they are added.
/// - A tenant within its own quota has it as long as its plan has anything, or all together have to spare.
/// - A tenant beyond its quota borrows what its plan has to spare, a plan beyond its quota what all together have.
///   To spare is what lies above half of the burst: the other half is kept for those who are within their quotas, so that
///   what was borrowed is there again as soon as they come.
///
/// In all, never more goes on than the quota of all together and, once, the bursts of the plans. A refusal uses up
/// nothing, and says when the first level admits that would have.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{Plan, Plans, Quota};
///
/// let quota = |calls, burst| Quota::per_second(calls).and_then(|quota| quota.with_burst(burst));
/// let free = Plan::new(quota(10, 10)?, quota(1, 1)?);
/// let pro = Plan::new(quota(80, 40)?, quota(10, 10)?);
/// let limiter = Plans::new(quota(100, 100)?, free)?.with_plan("pro", pro)?;
///
/// let now = Timestamp::from_nanos(1_000_000_000);
/// let admitted = (0..1_000).filter(|_| limiter.take(&("free", "ann"), 1, now).is_ok()).count();
/// assert_eq!(admitted, 50, "her own, then half of her plan's burst, then half of all's: what is left is for others");
/// assert!(limiter.take(&("pro", "bob"), 10, now).is_ok());
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
///
/// # Source
/// Devera: "Hierarchical token bucket theory", 2002, whose lending this is, without a queue.
#[derive(Debug)]
pub struct Plans {
    all: Gcra,
    default: Level,
    named: HashMap<Box<str>, Level, RandomState>,
    /// Held by whoever changes a quota: two at once could promise the same calls.
    promised: Mutex<Promised>,
}

/// What there is in [`SPAN`], and what of it is promised to plans.
#[derive(Debug)]
struct Promised {
    all: Quota,
    to_plans: u128,
}

impl Promised {
    /// Promises `more` instead of `less`.
    fn change(&mut self, less: u128, more: u128) -> Result<(), QuotaError> {
        let promised = self.to_plans.saturating_sub(less).saturating_add(more);
        Self::check(promised, self.all)?;
        self.to_plans = promised;
        Ok(())
    }

    fn check(promised: u128, all: Quota) -> Result<(), QuotaError> {
        if promised <= calls_in_span(all.interval()) {
            return Ok(());
        }
        let nanos = SPAN.checked_div(promised).unwrap_or(0);
        let promised = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Err(QuotaError::Oversold { promised, quota: all.interval() })
    }
}

/// Of which levels a call was taken: what it borrowed is another level's.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct TakenOf {
    tenant: bool,
    plan: bool,
}

#[derive(Debug)]
struct Level {
    plan: Gcra,
    tenants: KeyedGcra,
}

impl Level {
    fn new(plan: Plan) -> Self {
        Self { plan: Gcra::new(plan.quota), tenants: KeyedGcra::new(plan.tenant) }
    }
}

const fn calls_in_span(interval: Duration) -> u128 {
    match SPAN.checked_div(interval.as_nanos()) {
        Some(calls) => calls,
        None => u128::MAX,
    }
}

impl Plans {
    /// The quota of all together, and the plan of those whose plan is not named.
    ///
    /// # Errors
    /// [`QuotaError::Oversold`] when the plan has more than all together.
    pub fn new(all: Quota, default: Plan) -> Result<Self, QuotaError> {
        let mut promised = Promised { all, to_plans: 0 };
        promised.change(0, calls_in_span(default.quota.interval()))?;
        Ok(Self {
            all: Gcra::new(all),
            default: Level::new(default),
            named: HashMap::with_hasher(RandomState::default()),
            promised: Mutex::new(promised),
        })
    }

    /// And another plan, in the place of one of the same name.
    ///
    /// # Errors
    /// [`QuotaError::Oversold`] when all plans have more than all together.
    pub fn with_plan(mut self, name: impl Into<Box<str>>, plan: Plan) -> Result<Self, QuotaError> {
        let name = name.into();
        let before = self.named.get(&name).map_or(0, |level| calls_in_span(level.plan.interval()));
        self.promised().change(before, calls_in_span(plan.quota.interval()))?;
        self.named.insert(name, Level::new(plan));
        Ok(self)
    }

    /// Changes the quota of all together while calls go on. What was used stays used.
    ///
    /// # Errors
    /// [`QuotaError::Oversold`] when the plans have more than that.
    pub fn set_quota(&self, all: Quota, now: Timestamp) -> Result<(), QuotaError> {
        let mut promised = self.promised();
        Promised::check(promised.to_plans, all)?;
        promised.all = all;
        self.all.set_quota(all, now);
        Ok(())
    }

    /// Changes the plan of that name, and what each of its tenants has, while calls go on. What was used stays used; for how
    /// many tenants there is room stays as it was built. Looks at the slot of every tenant.
    ///
    /// # Errors
    /// [`QuotaError::UnknownPlan`] when none has that name; [`QuotaError::Oversold`] when all plans would have more than all
    /// together.
    ///
    /// # Examples
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_rate_limiter::{Plan, Plans, Quota};
    ///
    /// let quota = |calls, burst| Quota::per_second(calls).and_then(|quota| quota.with_burst(burst));
    /// let plan = |calls| Ok::<_, seawall_rate_limiter::QuotaError>(Plan::new(quota(calls, 4)?, quota(1, 1)?));
    /// let limiter = Plans::new(quota(100, 10)?, plan(10)?)?.with_plan("pro", plan(20)?)?;
    /// limiter.set_plan("pro", plan(90)?, Timestamp::ZERO)?;
    /// assert!(limiter.set_plan("pro", plan(91)?, Timestamp::ZERO).is_err());
    /// # Ok::<(), seawall_rate_limiter::QuotaError>(())
    /// ```
    pub fn set_plan(&self, name: &str, plan: Plan, now: Timestamp) -> Result<(), QuotaError> {
        self.set_level(self.named.get(name).ok_or(QuotaError::UnknownPlan)?, plan, now)
    }

    /// The same for the plan of those whose plan is not named.
    ///
    /// # Errors
    /// [`QuotaError::Oversold`] when all plans would have more than all together.
    pub fn set_default(&self, plan: Plan, now: Timestamp) -> Result<(), QuotaError> {
        self.set_level(&self.default, plan, now)
    }

    fn set_level(&self, level: &Level, plan: Plan, now: Timestamp) -> Result<(), QuotaError> {
        let mut promised = self.promised();
        promised.change(calls_in_span(level.plan.interval()), calls_in_span(plan.quota.interval()))?;
        level.plan.set_quota(plan.quota, now);
        level.tenants.set_quota(plan.tenant.quota(), now);
        Ok(())
    }

    fn promised(&self) -> MutexGuard<'_, Promised> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn level(&self, plan: &str) -> &Level {
        self.named.get(plan).unwrap_or(&self.default)
    }

    /// Takes `cost` calls, at least one, all or nothing.
    ///
    /// # Errors
    /// [`RateLimited`](Reason::RateLimited) with the shortest wait of those levels that would admit it, or
    /// [`TooHeavy`](Reason::TooHeavy) when none ever would.
    pub fn take<K: OfPlan + ?Sized>(&self, key: &K, cost: u32, now: Timestamp) -> Result<TakenOf, Rejection> {
        let (level, cost) = (self.level(key.plan()), cost.max(1));
        let own = level.tenants.take(key.tenant(), cost, now);
        let of_plan = match own {
            Ok(()) => level.plan.take(cost, now),
            Err(_) => level.plan.take_to_spare(cost, now),
        };
        let Err(no_plan) = of_plan else {
            // What is promised to a plan it has; the quotas of all plans are no more than this one.
            self.all.charge(cost, now);
            return Ok(TakenOf { tenant: own.is_ok(), plan: true });
        };
        let Err(none) = self.all.take_to_spare(cost, now) else {
            return Ok(TakenOf { tenant: own.is_ok(), plan: false });
        };
        let borrowed = sooner(no_plan, none);
        match own {
            Ok(()) => {
                level.tenants.refund(key.tenant(), cost);
                Err(borrowed)
            }
            // Within its quota again, it needs no more than its plan's.
            Err(own) => {
                let by_right = level.plan.check(cost, now).map_or_else(|plan| worse(own, plan), |()| own);
                Err(sooner(by_right, borrowed))
            }
        }
    }

    /// Gives `cost` back for a call that was not made after all, to the levels that it was taken of.
    ///
    /// # Examples
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_rate_limiter::{Plan, Plans, Quota};
    ///
    /// let quota = |calls, burst| Quota::per_second(calls).and_then(|quota| quota.with_burst(burst));
    /// let limiter = Plans::new(quota(100, 10)?, Plan::new(quota(10, 4)?, quota(1, 1)?))?;
    /// let taken = limiter.take(&("", "ann"), 1, Timestamp::ZERO).unwrap();
    /// limiter.refund(&("", "ann"), 1, taken);
    /// assert_eq!(limiter.standing(&("", "ann"), Timestamp::ZERO).remaining(), 1);
    /// # Ok::<(), seawall_rate_limiter::QuotaError>(())
    /// ```
    pub fn refund<K: OfPlan + ?Sized>(&self, key: &K, cost: u32, taken: TakenOf) {
        let level = self.level(key.plan());
        if taken.tenant {
            level.tenants.refund(key.tenant(), cost);
        }
        if taken.plan {
            level.plan.refund(cost);
        }
        self.all.refund(cost);
    }

    /// Takes `cost` more of all levels for a call that has turned out to be dearer than it said. Never refused.
    pub fn charge<K: OfPlan + ?Sized>(&self, key: &K, cost: u32, now: Timestamp) {
        let level = self.level(key.plan());
        level.tenants.charge(key.tenant(), cost, now);
        level.plan.charge(cost, now);
        self.all.charge(cost, now);
    }

    /// What is left of the quota of a tenant, without what it may borrow.
    pub fn standing<K: OfPlan + ?Sized>(&self, key: &K, now: Timestamp) -> Standing {
        self.level(key.plan()).tenants.standing(key.tenant(), now)
    }

    /// What is left of the quota of a plan, without what it may borrow.
    pub fn standing_of_plan(&self, plan: &str, now: Timestamp) -> Standing {
        self.level(plan).plan.standing(now)
    }

    /// Of each plan what is left, and how many tenants have used some of their quota.
    #[cfg(feature = "metrics")]
    pub(crate) fn figures(&self, now: Timestamp) -> impl Iterator<Item = (&str, Standing, usize)> {
        let named = self.named.iter().map(|(name, level)| (&**name, level));
        let levels = std::iter::once(("default", &self.default)).chain(named);
        levels.map(move |(name, level)| (name, level.plan.standing(now), level.tenants.active_keys(now)))
    }

    /// What is left of the quota of all together.
    pub fn standing_of_all(&self, now: Timestamp) -> Standing {
        self.all.standing(now)
    }
}

/// The refusal that is over first; never is last.
fn sooner(one: Rejection, other: Rejection) -> Rejection {
    let rank = |refused: &Rejection| (refused.reason() == Reason::TooHeavy, refused.retry_after());
    if rank(&one) <= rank(&other) { one } else { other }
}

impl<K: OfPlan + ?Sized> AdmitKey<K> for Plans {
    fn admit_key(
        &self,
        key: &K,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<()> {
        self.take(key, context().cost, now()).map(|_| ()).into()
    }
}

impl<K: OfPlan + ?Sized> LimitKeys<K> for Plans {
    type Taken = TakenOf;
    const LENDS: bool = true;

    fn take(&self, key: &K, cost: u32, now: Timestamp) -> Result<TakenOf, Rejection> {
        Self::take(self, key, cost, now)
    }

    fn give_back(&self, key: &K, taken: TakenOf, cost: u32) {
        self.refund(key, cost, taken);
    }

    /// The tenants of a plan.
    fn shares(&self, key: &K) -> Option<u64> {
        let plan = key.plan();
        Some(self.named.get_key_value(plan).map_or(0, |(name, _)| self.named.hasher().hash_one(name)))
    }

    fn own_turn_in(&self, key: &K, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        self.level(key.plan()).tenants.turn_in(key.tenant(), ahead, cost.max(1), now)
    }

    /// Its plan, or what all together have to spare: whichever has it first.
    fn shared_turn_in(&self, key: &K, ahead: Ahead, cost: u32, now: Timestamp) -> Option<Duration> {
        let cost = cost.max(1);
        let of_plan = self.level(key.plan()).plan.turn_in(ahead.sharing, cost, now);
        of_plan.into_iter().chain(self.all.turn_to_spare_in(ahead.in_all, cost, now)).min()
    }

    /// What its plan or all together have to spare: whichever has it first.
    fn borrowed_turn_in(&self, key: &K, ahead: Ahead, cost: u32, now: Timestamp) -> Option<Duration> {
        let cost = cost.max(1);
        let of_plan = self.level(key.plan()).plan.turn_to_spare_in(ahead.sharing, cost, now);
        of_plan.into_iter().chain(self.all.turn_to_spare_in(ahead.in_all, cost, now)).min()
    }
}

/// For a layer that knows no key: all its calls are of one tenant of the default plan.
impl Gate for Plans {
    type Ticket = ();
    type Wait = NoWait;
    const RECORDS: bool = false;

    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.admit_key(&("", ()), context, now)
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let now = now();
        let level = |level: &Level| level.plan.is_idle(|| now) && level.tenants.is_idle(|| now);
        self.all.is_idle(|| now) && level(&self.default) && self.named.values().all(level)
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn quota(calls: u32, burst: u32) -> Quota {
        Quota::per_second(calls).and_then(|quota| quota.with_burst(burst)).expect("in range")
    }

    /// All 100 a second; free 20, pro 80; a tenant 2 or 10.
    fn plans() -> Plans {
        let free = Plan::new(quota(20, 10), quota(2, 2));
        let plans = Plans::new(quota(100, 50), free);
        plans.and_then(|plans| plans.with_plan("pro", Plan::new(quota(80, 40), quota(10, 10)))).expect("not oversold")
    }

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn a_tenant_borrows_half_of_what_its_plan_and_all_have_and_leaves_the_rest_to_others() {
        let limiter = plans();

        let admitted = (0..500).filter(|_| limiter.take(&("free", 1), 1, at(0)).is_ok()).count();

        // 2 of its own, 3 more until half the plan's burst is left; then of the 45 that all have left the upper 20.
        assert_eq!(admitted, 2 + 3 + 20);
        assert_eq!(limiter.standing_of_plan("free", at(0)).remaining(), 5);
        assert!(limiter.take(&("free", 2), 2, at(0)).is_ok() && limiter.take(&("pro", 1), 10, at(0)).is_ok());
    }

    #[test]
    fn a_plan_has_its_quota_whatever_the_others_borrow() {
        let limiter = plans();
        let mut refused = 0;

        for milli in 0..60_000 {
            let now = at(milli * SECOND / 1_000);
            let _ = limiter.take(&("free", milli % 7), 1, now);
            // Twenty tenants of four calls a second each: the plan's 80.
            if milli * 2 % 25 == 0 {
                refused += u32::from(limiter.take(&("pro", milli % 20), 1, now).is_err());
            }
        }

        assert_eq!(refused, 0);
    }

    #[test]
    fn a_refusal_uses_up_nothing_and_says_when_it_is_over() {
        let limiter = plans();
        while limiter.take(&("free", 1), 1, at(0)).is_ok() {}
        let before = [limiter.standing_of_plan("free", at(0)), limiter.standing_of_all(at(0))];

        let refused = limiter.take(&("free", 1), 1, at(0)).unwrap_err();

        assert_eq!([limiter.standing_of_plan("free", at(0)), limiter.standing_of_all(at(0))], before);
        let wait = refused.retry_after().unwrap();
        assert!(limiter.take(&("free", 1), 1, at(0).saturating_add(wait)).is_ok());
        assert_eq!(limiter.take(&("free", 1), u32::MAX, at(0)).unwrap_err().reason(), Reason::TooHeavy);
    }

    #[test]
    fn who_borrows_is_told_to_come_back_when_it_need_not() {
        let quota = |calls, burst| Quota::per_hour(calls).and_then(|quota| quota.with_burst(burst)).unwrap();
        let limiter = Plans::new(quota(2, 20), Plan::new(quota(1, 10), quota(3_600, 1))).unwrap();
        while limiter.take(&("", 1), 1, at(0)).is_ok() {}

        let refused = limiter.take(&("", 1), 1, at(0)).unwrap_err();

        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
        assert!(limiter.take(&("", 1), 1, at(SECOND)).is_ok());
    }

    #[test]
    fn a_tenant_whose_plan_and_all_refuse_gets_its_own_back() {
        let limiter = plans();
        limiter.charge(&("free", 1), 100, at(0));

        assert!(limiter.take(&("free", 2), 1, at(0)).is_err());

        assert_eq!(limiter.standing(&("free", 2), at(0)).remaining(), 2);
        assert_eq!(limiter.standing(&("free", 1), at(0)).remaining(), 0);
    }

    #[test]
    fn more_than_there_is_cannot_be_promised() {
        let plan = |calls| Plan::new(quota(calls, 1), quota(1, 1));

        let error = plans().with_plan("gold", plan(1)).unwrap_err();
        assert_eq!(error.to_string(), "plans have a call in 9.90099ms together; allowed is at most one in 10ms");
        assert!(Plans::new(quota(100, 1), plan(101)).is_err());
        assert!(Plans::new(quota(100, 1), plan(100)).is_ok());
    }

    #[test]
    fn a_name_that_is_not_known_is_the_default_plan_and_tenants_of_two_plans_are_two() {
        let limiter = plans();
        limiter.charge(&("unheard of", 1), 2, at(0));

        let left = ["free", "", "pro"].map(|plan| limiter.standing(&(plan, 1), at(0)).remaining());

        assert_eq!(left, [0, 0, 10]);
        assert!(!limiter.is_idle(|| at(0)));
        assert!(limiter.is_idle(|| at(SECOND)));
    }

    #[test]
    fn plans_change_while_calls_go_on_and_what_was_used_stays_used() {
        let limiter = plans();
        limiter.charge(&("pro", 1), 4, at(0));
        let pro = |calls| Plan::new(quota(calls, 20), quota(5, 5));

        assert_eq!(limiter.set_plan("prof", pro(10), at(0)), Err(QuotaError::UnknownPlan));
        assert!(matches!(limiter.set_plan("pro", pro(81), at(0)), Err(QuotaError::Oversold { .. })));
        assert_eq!(limiter.standing_of_plan("pro", at(0)).remaining(), 36);
        assert_eq!(limiter.set_plan("pro", pro(10), at(0)), Ok(()));

        assert_eq!(limiter.standing_of_plan("pro", at(0)).remaining(), 16);
        assert_eq!(limiter.standing(&("pro", 1), at(0)).remaining(), 1);
        // What the one no longer has may be promised to the other, and no more.
        let free = |calls| Plan::new(quota(calls, 10), quota(2, 2));
        assert!(limiter.set_default(free(91), at(0)).is_err());
        assert_eq!(limiter.set_default(free(90), at(0)), Ok(()));
        assert!(limiter.set_quota(quota(99, 50), at(0)).is_err());
        assert_eq!(limiter.set_quota(quota(200, 50), at(0)), Ok(()));
        assert_eq!(limiter.standing_of_all(at(0)).remaining(), 46);
        assert_eq!(limiter.set_default(free(190), at(0)), Ok(()));
        assert!(!limiter.is_idle(|| at(60 * SECOND)), "it is not as it was built");
    }

    #[test]
    fn a_plan_in_the_place_of_another_has_that_ones_quota() {
        let plan = |calls| Plan::new(quota(calls, 1), quota(1, 1));

        assert!(plans().with_plan("pro", plan(80)).and_then(|plans| plans.with_plan("pro", plan(81))).is_err());
    }

    #[test]
    fn a_refund_goes_to_the_levels_that_were_taken_of() {
        let limiter = plans();
        let taken: Vec<_> = std::iter::from_fn(|| limiter.take(&("free", 1), 1, at(0)).ok()).collect();
        let left = || {
            let tenant = limiter.standing(&("free", 1), at(0));
            [tenant, limiter.standing_of_plan("free", at(0)), limiter.standing_of_all(at(0))].map(|one| one.remaining())
        };
        assert_eq!((taken.len(), left()), (25, [0, 5, 25]));

        // Borrowed of all, of its plan, and its own.
        let left = [24, 4, 1].map(|call| {
            limiter.refund(&("free", 1), 1, taken[call]);
            left()
        });

        assert_eq!(left, [[0, 5, 26], [0, 6, 27], [1, 7, 28]]);
    }

    proptest! {
        #[test]
        fn in_all_never_more_goes_on_than_the_quota_and_once_the_bursts_of_the_plans(
            calls in prop::collection::vec((0..30_u64, any::<bool>(), 0..4_u8, 1..4_u32), 1..600),
        ) {
            let limiter = plans();
            let (mut now, mut admitted) = (0, 0);
            for (pass, is_pro, tenant, cost) in calls {
                now += pass * SECOND / 1_000;
                let plan = if is_pro { "pro" } else { "free" };
                if limiter.take(&(plan, tenant), cost, at(now)).is_ok() {
                    admitted += u64::from(cost);
                }
                prop_assert!(admitted <= 50 + 10 + 40 + now * 100 / SECOND, "{admitted} at {now}");
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn two_tenants_that_meet_at_the_last_call_of_their_plan_burn_nothing_of_their_own() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let quota = |calls| Quota::per_second(calls).unwrap();
            let tenants = crate::KeyedQuota::new(quota(1)).with_max_keys(1).unwrap();
            let limiter = Arc::new(Plans::new(quota(4), Plan::new(quota(1), tenants)).unwrap());
            let other = Arc::clone(&limiter);
            let take = |limiter: &Plans, tenant: u8| limiter.take(&("", tenant), 1, Timestamp::ZERO).is_ok();
            let there = thread::spawn(move || take(&other, 1));

            let (here, there) = (take(&limiter, 2), there.join().unwrap());

            assert!(here ^ there);
            let left = |tenant: u8| limiter.standing(&("", tenant), Timestamp::ZERO).remaining();
            assert_eq!((left(1), left(2)), (u32::from(here), u32::from(there)));
            assert_eq!(limiter.standing_of_all(Timestamp::ZERO).remaining(), 0);
        });
    }
}
