use std::{hash::Hash, time::Duration};

use seawall_core::{Admission, CallContext, Gate, NoWait, Outcome, Reason, Rejection, Timestamp};

use crate::{
    Ahead, Gcra, KeyedGcra, KeyedQuota, LimitKeys, OneQuota, Quota, Standing, keyed::AdmitKey, one_quota::Whose,
};

/// Several quotas at once, all or nothing: ten a second *and* a thousand a day, each tenant's *and* everybody's.
///
/// A call is admitted when every quota admits it; one that any quota refuses uses up none of them, and is told the
/// longest wait. All are looked at before any is touched. When another thread takes the last call of one between that
/// look and the taking, what was taken of the others is given back; a third call in this very moment may find them short
/// of that.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{Quota, Quotas};
///
/// let limiter = Quotas::new().with_keyed(Quota::per_second(1)?).with_shared(Quota::per_day(2)?.with_burst(2)?);
/// let now = Timestamp::from_nanos(1_000_000_000);
/// assert!(limiter.take("ann", 1, now).is_ok());
/// assert!(limiter.take("ann", 1, now).is_err());
/// assert!(limiter.take("bob", 1, now).is_ok());
/// assert!(limiter.take("cid", 1, now).is_err());
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
///
/// Those that have a name ([`Quotas::with`]) are told to clients, by `RateLimitFields::with_quotas` of `seawall-http`.
#[derive(Debug, Default)]
pub struct Quotas {
    limits: Vec<Limit>,
    /// What each of them is, in the same order.
    quotas: Vec<OneQuota>,
}

#[derive(Debug)]
pub(crate) enum Limit {
    Shared(Gcra),
    Keyed(KeyedGcra),
}

impl Limit {
    #[inline]
    fn check<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        match self {
            Self::Shared(limit) => limit.check(cost, now),
            Self::Keyed(limit) => limit.check(key, cost, now),
        }
    }

    #[inline]
    fn take<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        match self {
            Self::Shared(limit) => limit.take(cost, now),
            Self::Keyed(limit) => limit.take(key, cost, now),
        }
    }

    fn standing<Q: Hash + ?Sized>(&self, key: &Q, now: Timestamp) -> Standing {
        match self {
            Self::Shared(limit) => limit.standing(now),
            Self::Keyed(limit) => limit.standing(key, now),
        }
    }

    fn charge<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) {
        match self {
            Self::Shared(limit) => limit.charge(cost, now),
            Self::Keyed(limit) => limit.charge(key, cost, now),
        }
    }

    fn refund<Q: Hash + ?Sized>(&self, key: &Q, cost: u32) {
        match self {
            Self::Shared(limit) => limit.refund(cost),
            Self::Keyed(limit) => limit.refund(key, cost),
        }
    }
}

impl Quotas {
    /// No quota yet: admits everything.
    pub const fn new() -> Self {
        Self { limits: Vec::new(), quotas: Vec::new() }
    }

    /// And one that all calls share. Those that refuse most often are best added first.
    #[must_use]
    pub fn with_shared(self, quota: Quota) -> Self {
        self.with(OneQuota::shared(quota))
    }

    /// And one that each key has to itself.
    #[must_use]
    pub fn with_keyed(self, quota: impl Into<KeyedQuota>) -> Self {
        self.with(OneQuota::keyed(quota))
    }

    /// And one that may have a name.
    #[must_use]
    pub fn with(mut self, quota: OneQuota) -> Self {
        self.limits.push(match quota.whose {
            Whose::Everybodys(quota) => Limit::Shared(Gcra::new(quota)),
            Whose::EachKeys(quota) => Limit::Keyed(KeyedGcra::new(quota)),
        });
        self.quotas.push(quota);
        self
    }

    /// Takes `cost` calls of every quota, at least one, or of none.
    ///
    /// # Errors
    /// [`RateLimited`](Reason::RateLimited) with the longest wait, or [`TooHeavy`](Reason::TooHeavy) when `cost` is above
    /// the burst of one.
    pub fn take<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        let cost = cost.max(1);
        let refusals = self.limits.iter().filter_map(|limit| limit.check(key, cost, now).err());
        if let Some(refused) = refusals.reduce(worse) {
            return Err(refused);
        }
        for (taken, limit) in self.limits.iter().enumerate() {
            if let Err(refused) = limit.take(key, cost, now) {
                self.limits.iter().take(taken).for_each(|limit| limit.refund(key, cost));
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Takes `cost` more of every quota for a call that has turned out to be dearer than it said. Never refused.
    pub fn charge<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) {
        self.limits.iter().for_each(|limit| limit.charge(key, cost, now));
    }

    /// Gives `cost` back to every quota for a call that was not made after all.
    pub fn refund<Q: Hash + ?Sized>(&self, key: &Q, cost: u32) {
        self.limits.iter().for_each(|limit| limit.refund(key, cost));
    }

    /// How many more calls of `key` may come at once.
    pub fn remaining<Q: Hash + ?Sized>(&self, key: &Q, now: Timestamp) -> u32 {
        let standings = self.limits.iter().map(|limit| limit.standing(key, now));
        standings.map(|standing| standing.remaining()).min().unwrap_or(u32::MAX)
    }

    /// Of each quota that has a name, in the order in which they were added: what it is, and how it stands for `key`.
    ///
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_rate_limiter::{OneQuota, Quota, Quotas};
    ///
    /// let tenant = OneQuota::keyed(Quota::per_day(100)?.with_burst(100)?).with_name("tenant")?;
    /// let limiter = Quotas::new().with(tenant).with_shared(Quota::per_second(1_000)?);
    /// limiter.take("ann", 1, Timestamp::ZERO).unwrap();
    /// let told: Vec<_> = limiter.standings("ann", Timestamp::ZERO).collect();
    /// let &[(name, quota, standing)] = &*told else { panic!("one has a name") };
    /// assert_eq!((name, quota.burst(), standing.remaining()), ("tenant", 100, 99));
    /// # Ok::<(), seawall_rate_limiter::QuotaError>(())
    /// ```
    pub fn standings<Q: Hash + ?Sized>(
        &self,
        key: &Q,
        now: Timestamp,
    ) -> impl Iterator<Item = (&str, Quota, Standing)> {
        self.named().map(move |(name, quota, limit)| (name, quota.quota(), limit.standing(key, now)))
    }

    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, &OneQuota, &Limit)> {
        self.quotas.iter().zip(&self.limits).filter_map(|(quota, limit)| Some((quota.name()?, quota, limit)))
    }
}

impl FromIterator<OneQuota> for Quotas {
    fn from_iter<I: IntoIterator<Item = OneQuota>>(quotas: I) -> Self {
        quotas.into_iter().fold(Self::new(), Self::with)
    }
}

/// As they come from a file.
impl From<Vec<OneQuota>> for Quotas {
    fn from(quotas: Vec<OneQuota>) -> Self {
        quotas.into_iter().collect()
    }
}

/// The refusal that says most: never, or else the longest wait.
pub(crate) fn worse(one: Rejection, other: Rejection) -> Rejection {
    let rank = |refused: &Rejection| (refused.reason() == Reason::TooHeavy, refused.retry_after());
    if rank(&one) >= rank(&other) { one } else { other }
}

/// The last of several turns; never is last.
fn last_of(mut turns: impl Iterator<Item = Option<Duration>>) -> Option<Duration> {
    turns.try_fold(Duration::ZERO, |last, turn| Some(last.max(turn?)))
}

impl<Q: Hash + ?Sized> AdmitKey<Q> for Quotas {
    fn admit_key(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<()> {
        self.take(key, context().cost, now()).into()
    }
}

impl<Q: Hash + ?Sized> LimitKeys<Q> for Quotas {
    type Taken = ();

    fn take(&self, key: &Q, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        Self::take(self, key, cost, now)
    }

    fn give_back(&self, key: &Q, (): (), cost: u32) {
        self.refund(key, cost);
    }

    /// All keys, if any quota is everybody's.
    fn shares(&self, _: &Q) -> Option<u64> {
        self.limits.iter().any(|limit| matches!(limit, Limit::Shared(_))).then_some(0)
    }

    /// When the last of the quotas of the key has it.
    fn own_turn_in(&self, key: &Q, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        let keyed = self.limits.iter().map(|limit| match limit {
            Limit::Shared(_) => Some(Duration::ZERO),
            Limit::Keyed(limit) => limit.turn_in(key, ahead, cost.max(1), now),
        });
        last_of(keyed)
    }

    /// When the last of those has it that are everybody's.
    fn shared_turn_in(&self, _: &Q, ahead: Ahead, cost: u32, now: Timestamp) -> Option<Duration> {
        let shared = self.limits.iter().map(|limit| match limit {
            Limit::Shared(limit) => limit.turn_in(ahead.sharing, cost.max(1), now),
            Limit::Keyed(_) => Some(Duration::ZERO),
        });
        last_of(shared)
    }

    /// That of the quota which makes up for least by its burst.
    fn lateness(&self, cost: u32) -> Duration {
        let lateness = self.limits.iter().map(|limit| match limit {
            Limit::Shared(limit) => limit.lateness(cost.max(1)),
            Limit::Keyed(limit) => LimitKeys::<Q>::lateness(limit, cost.max(1)),
        });
        lateness.max().unwrap_or(Duration::ZERO)
    }
}

/// For a layer that knows no key: all its calls have one in common.
impl Gate for Quotas {
    type Ticket = ();
    type Wait = NoWait;
    const RECORDS: bool = false;

    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.admit_key(&(), context, now)
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let now = now();
        self.limits.iter().all(|limit| match limit {
            Limit::Shared(limit) => limit.is_idle(|| now),
            Limit::Keyed(limit) => limit.is_idle(|| now),
        })
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(interval: u64, burst: u32) -> Quota {
        let quota = Quota::every(Duration::from_nanos(interval)).and_then(|quota| quota.with_burst(burst));
        quota.expect("tests ask for a quota")
    }

    #[test]
    fn without_a_quota_everything_is_admitted() {
        assert_eq!(Quotas::new().take("ann", u32::MAX, Timestamp::MAX), Ok(()));
        assert_eq!(Quotas::new().remaining("ann", Timestamp::MAX), u32::MAX);
    }

    #[test]
    fn never_is_worse_than_any_wait_and_of_two_waits_the_longer_is_told() {
        let limiter = Quotas::new().with_shared(quota(10, 1)).with_shared(quota(1_001, 1)).with_keyed(quota(1, 2));
        assert_eq!(limiter.take("ann", 1, Timestamp::ZERO), Ok(()));

        let wait = limiter.take("ann", 1, Timestamp::ZERO).unwrap_err();
        let never = limiter.take("ann", 2, Timestamp::ZERO).unwrap_err();

        assert_eq!(wait.retry_after(), Some(Duration::from_nanos(1_001)));
        assert_eq!((never.reason(), never.retry_after()), (Reason::TooHeavy, None));
    }

    #[test]
    fn a_call_that_says_it_costs_nothing_costs_one_of_each() {
        let limiter = Quotas::new().with_shared(quota(10, 1)).with_keyed(quota(10, 1));

        assert_eq!(limiter.take("ann", 0, Timestamp::ZERO), Ok(()));
        assert_eq!(limiter.remaining("ann", Timestamp::ZERO), 0);
    }

    #[test]
    fn charges_and_refunds_are_of_every_quota() {
        let limiter = Quotas::new().with_shared(quota(10, 9)).with_keyed(quota(10, 5));

        limiter.charge("ann", 3, Timestamp::ZERO);
        assert_eq!((limiter.remaining("ann", Timestamp::ZERO), limiter.remaining("bob", Timestamp::ZERO)), (2, 5));
        limiter.charge("bob", 3, Timestamp::ZERO);
        assert_eq!(limiter.remaining("cid", Timestamp::ZERO), 3);

        limiter.refund("ann", 3);
        assert_eq!((limiter.remaining("ann", Timestamp::ZERO), limiter.remaining("bob", Timestamp::ZERO)), (5, 2));
        limiter.refund("bob", 1);
        assert_eq!(limiter.remaining("cid", Timestamp::ZERO), 5);
    }

    #[test]
    fn it_is_idle_when_all_quotas_are() {
        let limiter = Quotas::new().with_shared(quota(10, 1)).with_keyed(quota(20, 1));
        assert_eq!(limiter.take("ann", 1, Timestamp::ZERO), Ok(()));

        let idle = [9, 10, 19, 20].map(|nanos| limiter.is_idle(|| Timestamp::from_nanos(nanos)));

        assert_eq!(idle, [false, false, false, true]);
    }

    proptest! {
        #[test]
        fn a_call_is_admitted_by_all_or_takes_of_none(
            (first, second, third) in ((1..50_u64, 1..6_u32), (1..50_u64, 1..6_u32), (1..50_u64, 1..6_u32)),
            steps in prop::collection::vec((0..40_u64, 0..3_u8, 1..5_u32), 1..200),
        ) {
            let [first, second, third] = [first, second, third].map(|(interval, burst)| quota(interval, burst));
            let limiter = Quotas::new().with_shared(first).with_shared(second).with_keyed(third);
            let alone = [Gcra::new(first), Gcra::new(second)];
            let keys = [Gcra::new(third), Gcra::new(third), Gcra::new(third)];
            let mut now = Timestamp::ZERO;
            for (pass, key, cost) in steps {
                now = now.saturating_add(Duration::from_nanos(pass));
                let truth = [&alone[0], &alone[1], &keys[usize::from(key)]];
                let admitted = truth.iter().all(|limit| limit.check(cost, now).is_ok());
                prop_assert_eq!(limiter.take(&key, cost, now).is_ok(), admitted);
                if admitted {
                    for limit in truth {
                        limit.take(cost, now).unwrap();
                    }
                }
                let left = truth.iter().map(|limit| limit.standing(now).remaining()).min().unwrap();
                prop_assert_eq!(limiter.remaining(&key, now), left);
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn two_calls_that_meet_at_the_last_one_of_a_quota_burn_nothing_of_the_other() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let quota = |burst| Quota::per_second(1).and_then(|quota| quota.with_burst(burst)).unwrap();
            let limiter = Arc::new(Quotas::new().with_shared(quota(3)).with_shared(quota(1)));
            let other = Arc::clone(&limiter);
            let second = thread::spawn(move || other.take(&(), 1, Timestamp::ZERO).is_ok());
            let first = limiter.take(&(), 1, Timestamp::ZERO).is_ok();
            assert!(first ^ second.join().unwrap());
            let Some(Limit::Shared(wide)) = limiter.limits.first() else { panic!("the wide one is shared") };
            assert_eq!(wide.standing(Timestamp::ZERO).remaining(), 2);
        });
    }
}
