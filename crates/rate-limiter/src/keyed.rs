use std::{
    fmt,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use foldhash::quality::RandomState;
use seawall_core::{Admission, CallContext, Gate, NoWait, Outcome, Rejection, Timestamp};

use crate::{
    KeyedQuota, LimitKeys, Quota, Standing,
    pace::{LivePace, Pace},
    table::Table,
};

/// A [`Gcra`](crate::Gcra) for each key: tenant, address, token. Anything that can be hashed is a key.
///
/// All memory is taken when it is built, 25.5 bytes a key, and none later: keys are kept as seeded hashes of 64 bits, so
/// a flood of new or chosen ones costs nothing but their own quota. A key that has regained its whole burst is forgotten
/// without loss. Only when more keys than there is room for have used some of their quota at the same time does a new key
/// take the place of one that has: of the one nearest to regaining all, among sixteen. The newcomer then starts with that
/// key's debt, and so does that key when it comes back: nobody gains by being evicted, and nobody is kept out by a flood
/// that does not use up the quota of all sixteen.
///
/// A key that is known costs a hash and one compare-exchange, without a lock; calls of different keys on different cores
/// do not meet. A new one takes the lock of one of 64 stripes.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{KeyedGcra, Quota};
///
/// let limiter = KeyedGcra::new(Quota::per_second(1)?);
/// let now = Timestamp::from_nanos(1_000_000_000);
/// assert!(limiter.take("ann", 1, now).is_ok());
/// assert!(limiter.take("ann", 1, now).is_err());
/// assert!(limiter.take("bob", 1, now).is_ok());
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
pub struct KeyedGcra {
    table: Table,
    pace: LivePace,
    built_with: Pace,
    hasher: RandomState,
}

impl KeyedGcra {
    /// A limiter that has met no key.
    pub fn new(quota: impl Into<KeyedQuota>) -> Self {
        let quota = quota.into();
        let pace = Pace::of(&quota.quota());
        Self {
            table: Table::new(quota.max_keys()),
            pace: LivePace::new(pace),
            built_with: pace,
            hasher: RandomState::default(),
        }
    }

    /// Takes `cost` calls of the quota of `key`, at least one, all or nothing.
    ///
    /// # Errors
    /// [`RateLimited`](seawall_core::Reason::RateLimited) with the exact wait, or
    /// [`TooHeavy`](seawall_core::Reason::TooHeavy) when `cost` is above the burst.
    #[inline]
    pub fn take<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        let (pace, now, cost) = (self.pace.get(), now.as_nanos(), cost.max(1));
        self.table.update(self.hash(key), now, |seen| {
            pace.admit(seen, cost, now).ok_or_else(|| pace.refusal(seen, cost, now))
        })
    }

    /// Whether `cost` calls of `key` would be admitted now. Takes nothing.
    ///
    /// # Errors
    /// As [`KeyedGcra::take`].
    pub fn check<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        let (pace, now, cost) = (self.pace.get(), now.as_nanos(), cost.max(1));
        let seen = self.table.arrival(self.hash(key));
        pace.admit(seen, cost, now).map(|_| ()).ok_or_else(|| pace.refusal(seen, cost, now))
    }

    /// Takes `cost` more from `key` for a call that has turned out to be dearer than it said. Never refused; what goes
    /// beyond the burst is a debt.
    pub fn charge<Q: Hash + ?Sized>(&self, key: &Q, cost: u32, now: Timestamp) {
        let (pace, now) = (self.pace.get(), now.as_nanos());
        let charged = self.table.update(self.hash(key), now, |seen| Ok(pace.charge(seen, cost, now)));
        debug_assert_eq!(charged, Ok(()), "a charge is never refused");
    }

    /// Gives `cost` back to `key` for a call that was not made after all. Never more than a full burst is there.
    pub fn refund<Q: Hash + ?Sized>(&self, key: &Q, cost: u32) {
        let credit = self.pace.get().cost_of(cost);
        self.table.update_known(self.hash(key), |seen| seen.saturating_sub(credit));
    }

    /// What is left of the quota of `key`.
    pub fn standing<Q: Hash + ?Sized>(&self, key: &Q, now: Timestamp) -> Standing {
        let now = now.as_nanos();
        Standing::new(self.pace.get(), self.table.arrival(self.hash(key)), now)
    }

    /// Changes the quota of all keys while calls go on. What was used stays used. Looks at every slot.
    pub fn set_quota(&self, quota: Quota, now: Timestamp) {
        let (new, now) = (Pace::of(&quota), now.as_nanos());
        let old = self.pace.set(new);
        self.table.convert(|seen| new.convert(old, seen, now));
    }

    /// How many calls of one key may come at once.
    pub fn burst(&self) -> u32 {
        self.pace.get().burst()
    }

    /// The time in which a key regains one call.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.pace.get().interval)
    }

    /// How many keys have not regained their whole burst. Looks at every slot.
    pub fn active_keys(&self, now: Timestamp) -> usize {
        self.table.in_debt(now.as_nanos())
    }

    /// The memory that the keys take, in bytes. It never changes.
    pub fn memory(&self) -> usize {
        self.table.memory()
    }

    /// How long until a call of `cost` of `key` may come behind others of `ahead` in all; `None` when it never may.
    pub(crate) fn turn_in<Q: Hash + ?Sized>(&self, key: &Q, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        let turn = self.pace.get().turn_in(self.table.arrival(self.hash(key)), ahead, cost, now.as_nanos());
        turn.map(Duration::from_nanos)
    }

    #[inline]
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }
}

impl<C: Into<KeyedQuota>> From<C> for KeyedGcra {
    fn from(quota: C) -> Self {
        Self::new(quota)
    }
}

impl fmt::Debug for KeyedGcra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedGcra")
            .field("interval", &self.interval())
            .field("burst", &self.burst())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// A gate that is asked about a call of a key; [`Gate::admit`] is about a call of none.
pub trait AdmitKey<Q: ?Sized>: Gate {
    /// Decides on one call of `key`.
    fn admit_key(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Self::Ticket, Self::Wait>;

    /// The same for a call that does not wait, as [`Gate::admit_at_once`].
    fn admit_key_at_once(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Self::Ticket> {
        match self.admit_key(key, context, now) {
            Admission::Admitted(ticket) => Some(ticket),
            Admission::Refused(_) | Admission::Queued(_) => None,
        }
    }
}

impl<Q: Hash + ?Sized> AdmitKey<Q> for KeyedGcra {
    #[inline]
    fn admit_key(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<()> {
        self.take(key, context().cost, now()).into()
    }
}

impl<Q: Hash + ?Sized> LimitKeys<Q> for KeyedGcra {
    type Taken = ();

    #[inline]
    fn take(&self, key: &Q, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        Self::take(self, key, cost, now)
    }

    fn give_back(&self, key: &Q, (): (), cost: u32) {
        self.refund(key, cost);
    }

    fn own_turn_in(&self, key: &Q, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        self.turn_in(key, ahead, cost, now)
    }

    fn lateness(&self, cost: u32) -> Duration {
        self.pace.get().lateness(cost)
    }
}

/// For a layer that knows no key: all its calls have one in common.
impl Gate for KeyedGcra {
    type Ticket = ();
    type Wait = NoWait;
    const RECORDS: bool = false;

    #[inline]
    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.admit_key(&(), context, now)
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    /// Whether every key has its whole burst and the quota is the one that it was built with.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.pace.get() == self.built_with && self.active_keys(now()) == 0
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    fn per_second(calls: u32, burst: u32) -> KeyedGcra {
        let quota = Quota::per_second(calls).and_then(|quota| quota.with_burst(burst));
        KeyedGcra::new(quota.expect("in range"))
    }

    #[test]
    fn a_call_that_says_it_costs_nothing_costs_one_and_a_charge_of_nothing_costs_nothing() {
        let (limiter, now) = (per_second(1, 2), Timestamp::ZERO);

        limiter.charge("ann", 0, now);
        assert_eq!((limiter.take("ann", 0, now), limiter.take("ann", 0, now)), (Ok(()), Ok(())));

        let refused = limiter.check("ann", 0, now).unwrap_err();
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(limiter.take("ann", 0, now), Err(refused));
    }

    #[test]
    fn it_is_idle_when_every_key_has_its_whole_burst_and_the_quota_is_its_own() {
        let limiter = per_second(1, 1);
        assert!(limiter.is_idle(|| Timestamp::ZERO));
        assert_eq!(limiter.take("ann", 1, Timestamp::ZERO), Ok(()));

        assert!(!limiter.is_idle(|| Timestamp::from_nanos(999_999_999)));
        assert!(limiter.is_idle(|| Timestamp::from_nanos(1_000_000_000)));

        limiter.set_quota(Quota::per_second(2).expect("in range"), Timestamp::from_nanos(1_000_000_000));
        assert!(!limiter.is_idle(|| Timestamp::from_nanos(9_000_000_000)));
    }
}
