#![expect(clippy::disallowed_types, reason = "the lock is the worker's, taken by no call")]

use std::{fmt, sync::PoisonError, time::Duration};

use seawall_core::{
    Pattern, Reason, Rejection, Timestamp,
    sync::{
        CachePadded, Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use super::{demand::Demand, quota::LEASE_FOR};
use crate::{
    Answer, DistributedQuota, Gcra, IfGone, Need, Quota, QuotaError, Standing,
    pace::{LivePace, Pace},
};

/// No question is under way.
const NOBODY: u64 = u64::MAX;
/// So many times within a lease's time a store is asked at most that has no more.
const ASKS_PER_LEASE: u64 = 10;
/// And so many times while a burst is regained, or some of it would be lost.
const ASKS_PER_BURST: u64 = 4;
/// The longest pause between questions to a store that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One process's part of a quota that several processes share: decides at once by what is leased, and says when to ask the
/// store for more.
///
/// A call takes from the lease. When that is too small and the last answer of the store was that there is no more, it is
/// refused; when the store has not said so, or has not answered for [`DistributedQuota::lease_for`], the call goes on by
/// the local share if [`IfGone`] allows it, and is charged to the store with the next question. So while the store answers,
/// all processes together admit what one [`Gcra`] would, and at most one burst and what is regained in one answer's time
/// more, once and not each time.
///
/// It does nothing by itself. Whoever drives it calls [`DistributedGcra::ask`] when
/// [`DistributedGcra::runs_low`], and again at [`DistributedGcra::look_at`]; sends the [`Need`] to the store; and brings the answer, or
/// that there was none. [`DistributedKeyedGcra::supply`](crate::DistributedKeyedGcra::supply) does that for all keys.
///
/// The time comes from this process's clock and is compared with nothing of other processes: clocks may differ.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{Answer, DistributedGcra, DistributedQuota, Quota};
/// use std::time::Duration;
///
/// let quota = Quota::per_second(100)?.with_burst(50)?;
/// let limiter = DistributedGcra::new(DistributedQuota::new(quota, 2)?);
/// let now = Timestamp::from_nanos(1_000_000_000);
/// assert_eq!(limiter.take(1, now), Ok(()));
///
/// let need = limiter.ask(now).expect("nothing is leased, and a call has gone on by the local share");
/// assert_eq!(need.charge, 1);
/// // Others have used up all but one.
/// limiter.answered(need, Answer { granted: 1, full_in: Duration::from_millis(500) }, now);
/// assert_eq!(limiter.take(1, now), Ok(()));
/// let refused = limiter.take(1, now).unwrap_err();
/// // What was granted is worth 20 ms at an even share: then it asks again.
/// assert_eq!(refused.retry_after(), Some(Duration::from_millis(20)));
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
///
/// # Source
/// Leases from one bucket: Raghavan and others, "Cloud control with distributed rate limiting", 2007, section 3, has the
/// alternatives.
pub struct DistributedGcra {
    words: CachePadded<Words>,
    /// How the store's bucket stood when it was last heard of, in this process's time.
    heard: Heard,
    local: Gcra,
    supply: Mutex<Supply>,
    quota: DistributedQuota,
    pace: LivePace,
}

/// What every call touches.
#[derive(Debug)]
struct Words {
    leased: AtomicU64,
    /// What all calls have cost, refused ones included.
    wanted: AtomicU64,
    /// At or below this it is time to ask.
    low: AtomicU64,
    /// Whether the driver knows that it is to ask.
    called: AtomicBool,
}

/// What calls look at that find the lease used up.
#[derive(Debug)]
struct Heard {
    /// The theoretical arrival.
    arrival: AtomicU64,
    /// When a store that had no more is asked again; 0 while it has.
    denied_until: AtomicU64,
    /// Since when a question is under way.
    asked_at: AtomicU64,
    /// The last question was not answered.
    gone: AtomicBool,
    /// What went on by the local share and is not charged yet.
    unsettled: AtomicU64,
    /// The dearest call that the lease was too small for since the last question.
    dearest: AtomicU32,
}

/// The driver's own.
#[derive(Debug)]
struct Supply {
    demand: Demand,
    /// What all calls had cost when it was last looked whether more is needed.
    looked_at: u64,
    /// From question to answer, a mean.
    round_trip: u64,
    next_ask: Timestamp,
    pause: Duration,
}

impl DistributedGcra {
    /// A limiter that has leased nothing yet.
    pub fn new(quota: DistributedQuota) -> Self {
        let span = nanos(quota.lease_for());
        Self {
            words: CachePadded::new(Words {
                leased: AtomicU64::new(0),
                wanted: AtomicU64::new(0),
                low: AtomicU64::new(0),
                called: AtomicBool::new(false),
            }),
            heard: Heard {
                arrival: AtomicU64::new(0),
                denied_until: AtomicU64::new(0),
                asked_at: AtomicU64::new(NOBODY),
                gone: AtomicBool::new(false),
                unsettled: AtomicU64::new(0),
                dearest: AtomicU32::new(0),
            },
            local: Gcra::new(quota.local_share()),
            supply: Mutex::new(Supply {
                demand: Demand::new(span),
                looked_at: 0,
                round_trip: 0,
                next_ask: Timestamp::ZERO,
                pause: Duration::ZERO,
            }),
            pace: LivePace::new(Pace::of(&quota.quota())),
            quota,
        }
    }

    /// Changes the quota while calls go on. What was used stays used, counted in calls, in the store as well: it is told
    /// with the next question, which is to come with the same quota ([`Exchange::quota`](crate::Exchange)). What is
    /// leased stays leased.
    ///
    /// # Errors
    /// As [`DistributedQuota::new`], for the local share of the quota.
    pub fn set_quota(&self, quota: Quota, now: Timestamp) -> Result<(), QuotaError> {
        self.local.set_quota(self.quota.with_quota(quota)?.local_share(), now);
        let new = Pace::of(&quota);
        let old = self.pace.set(new);
        let convert = |seen| Some(new.convert(old, seen, now.as_nanos()));
        let _ = self.heard.arrival.fetch_update(Relaxed, Relaxed, convert);
        // What the store had no more of, it may have of this one: it is to be asked at once.
        self.heard.denied_until.store(0, Relaxed);
        self.supply().next_ask = now;
        Ok(())
    }

    #[inline]
    fn pace(&self) -> Pace {
        self.pace.get()
    }

    /// Takes `cost` calls at once, at least one, or none.
    ///
    /// # Errors
    /// [`RateLimited`](Reason::RateLimited) with the time at which the store may have more, as far as it is known: others
    /// may be quicker. [`TooHeavy`](Reason::TooHeavy) when `cost` is above the burst.
    #[inline]
    pub fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        self.take_with(cost, || now)
    }

    /// The same; the clock is read only by a call that the lease is too small for.
    #[inline]
    pub(crate) fn take_with(&self, cost: u32, now: impl FnOnce() -> Timestamp) -> Result<(), Rejection> {
        let cost = cost.max(1);
        if cost > self.pace().burst() {
            return Err(Rejection::new(Pattern::RateLimiter, Reason::TooHeavy));
        }
        // Relaxed: numbers that guard no other memory. The sum wraps only after 2⁶⁴ calls.
        self.words.wanted.fetch_add(cost.into(), Relaxed);
        let taken = self.words.leased.fetch_update(Relaxed, Relaxed, |leased| leased.checked_sub(cost.into()));
        if taken.is_ok() { Ok(()) } else { self.take_unleased(cost, now()) }
    }

    /// Whether it is time to ask the store and nobody has been told yet. To be looked at after each call: true once, until
    /// the next answer.
    #[inline]
    pub fn runs_low(&self) -> bool {
        // AcqRel pairs with the Release of `listen`: who calls the driver anew sees what it has brought.
        self.words.leased.load(Relaxed) <= self.words.low.load(Relaxed)
            && !self.words.called.load(Relaxed)
            && !self.words.called.swap(true, AcqRel)
    }

    #[cold]
    fn take_unleased(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        self.heard.dearest.fetch_max(cost, Relaxed);
        let refused = Rejection::new(Pattern::RateLimiter, Reason::RateLimited);
        if self.is_denied(now) {
            return Err(refused.with_retry_after(self.expected_in(cost, now)));
        }
        // The next answer may bring more.
        let soon = refused.with_retry_after(self.quota.lease_for());
        if self.quota.if_gone() == IfGone::Refuse {
            return Err(soon);
        }
        if self.is_gone() || self.heard.denied_until.load(Relaxed) > 0 {
            // The local share is a part of the store's bucket and no fuller than that was: with a burst of its own each time
            // that a store goes away, one that comes and goes would have all processes admit more than the quota.
            self.local.owe_until(self.heard.arrival.load(Relaxed));
        }
        // Where no store can lease it, what is dearer than the local share ever has at once takes all of that, and the
        // rest as a debt.
        let at_once = if self.is_gone() { cost.min(self.local.burst()) } else { cost };
        match self.local.take(at_once, now) {
            Ok(()) => {
                self.local.charge(cost.saturating_sub(at_once), now);
                self.heard.unsettled.fetch_add(cost.into(), Relaxed);
                Ok(())
            }
            Err(later) if self.is_gone() => Err(later),
            Err(_) => Err(soon),
        }
    }

    /// Whether the store has said that there is no more, and nothing speaks against believing it still.
    fn is_denied(&self, now: Timestamp) -> bool {
        let (until, asked_at) = (self.heard.denied_until.load(Relaxed), self.heard.asked_at.load(Relaxed));
        let since = Timestamp::from_nanos(if asked_at == NOBODY { until } else { asked_at });
        until > 0 && !self.is_gone() && now < since.saturating_add(self.quota.lease_for())
    }

    /// How long until the store may have `cost`, going by its last answer.
    fn expected_in(&self, cost: u32, now: Timestamp) -> Duration {
        let (arrival, until) = (self.heard.arrival.load(Relaxed), self.heard.denied_until.load(Relaxed));
        let turn = self.pace().turn_in(arrival, 0, cost, now.as_nanos()).unwrap_or(0);
        let wait = turn.max(until.saturating_sub(now.as_nanos()));
        // The time has come, and the store is being asked: one call later.
        Duration::from_nanos(if wait == 0 { self.pace().interval } else { wait })
    }

    /// What to ask the store for now, if anything. Until it is [`answered`](Self::answered) or has
    /// [`failed`](Self::failed), there is nothing more to ask.
    pub fn ask(&self, now: Timestamp) -> Option<Need> {
        if self.is_asking() {
            return None;
        }
        let mut supply = self.supply();
        let wanted = self.words.wanted.load(Relaxed);
        supply.demand.observe(wanted, now);
        if now < supply.next_ask {
            return None;
        }
        let in_use = std::mem::replace(&mut supply.looked_at, wanted) != wanted;
        let (span, round_trip) = (nanos(self.quota.lease_for()), supply.round_trip);
        let dearest = u64::from(self.heard.dearest.swap(0, Relaxed));
        // More than the quota regains in that time, or has at once, cannot be had whatever the demand.
        let within = |time: u64| {
            let regained = time.checked_div(self.pace().interval).unwrap_or(0);
            u64::from(supply.demand.within(time)).min(regained.max(self.pace().burst().into()))
        };
        let target = within(span.saturating_add(round_trip.saturating_mul(2))).max(dearest);
        let low = within(span.div_ceil(2).saturating_add(round_trip));
        self.words.low.store(low, Relaxed);
        let leased = self.words.leased.load(Relaxed);
        let take = if in_use && (leased < dearest || leased <= low) { target.saturating_sub(leased) } else { 0 };
        let give_back = if leased > target.saturating_mul(2) { self.hand_back(target) } else { 0 };
        let need = Need { take: clamped(take), charge: self.settle(self.owed(now)), give_back: clamped(give_back) };
        if need == Need::NOTHING {
            self.listen();
            return None;
        }
        self.heard.asked_at.store(now.as_nanos().min(NOBODY.saturating_sub(1)), Relaxed);
        Some(need)
    }

    /// Leaves `keep` calls leased; how many are handed back.
    fn hand_back(&self, keep: u64) -> u64 {
        let kept = self.words.leased.fetch_update(Relaxed, Relaxed, |leased| Some(leased.min(keep)));
        kept.map_or(0, |leased| leased.saturating_sub(keep))
    }

    /// What is to be charged: after a time without the store `owed` at most, since what is older has been paid by the quota
    /// that nobody fetched.
    fn settle(&self, owed: u32) -> u32 {
        let unsettled = clamped(self.heard.unsettled.swap(0, Relaxed));
        if self.is_gone() { unsettled.min(owed) } else { unsettled }
    }

    /// How much of the local share's burst is not regained yet.
    fn owed(&self, now: Timestamp) -> u32 {
        self.local.burst().saturating_sub(self.local.standing(now).remaining())
    }

    /// Brings the store's answer to the question.
    pub fn answered(&self, need: Need, answer: Answer, now: Timestamp) {
        let mut supply = self.supply();
        let asked_at = self.heard.asked_at.load(Relaxed);
        if asked_at != NOBODY {
            let took = now.as_nanos().saturating_sub(asked_at);
            supply.round_trip = supply.round_trip.saturating_mul(3).saturating_add(took).checked_div(4).unwrap_or(0);
        }
        self.words.leased.fetch_add(answer.granted.min(need.take).into(), Relaxed);
        let arrival = now.saturating_add(answer.full_in).as_nanos();
        self.heard.arrival.store(arrival, Relaxed);
        let short = answer.granted < need.take;
        let pause = if short { self.pause_after(answer, now) } else { nanos(LEASE_FOR.0) };
        supply.next_ask = now.saturating_add(Duration::from_nanos(pause));
        supply.pause = Duration::ZERO;
        self.heard.denied_until.store(if short { supply.next_ask.as_nanos().max(1) } else { 0 }, Relaxed);
        self.heard.gone.store(false, Relaxed);
        self.heard.asked_at.store(NOBODY, Relaxed);
        self.listen();
    }

    /// Says that the store has not answered, and may or may not have heard the question. What it granted is lost; what was
    /// to be charged is charged with the next question.
    pub fn failed(&self, need: Need, now: Timestamp) {
        let mut supply = self.supply();
        self.heard.unsettled.fetch_add(need.charge.into(), Relaxed);
        supply.pause =
            supply.pause.saturating_mul(2).clamp(self.quota.lease_for(), LONGEST_PAUSE.max(self.quota.lease_for()));
        supply.next_ask = now.saturating_add(supply.pause);
        self.heard.gone.store(true, Relaxed);
        self.heard.asked_at.store(NOBODY, Relaxed);
        self.listen();
    }

    /// When to [`ask`](Self::ask) again, if nothing calls for it earlier. `None` while a question is under way; and when
    /// there is none and forgetting this limiter would change nothing: nothing is leased, owed or expected.
    pub fn look_at(&self) -> Option<Timestamp> {
        if self.is_asking() {
            return None;
        }
        let supply = self.supply();
        let looked_at = supply.demand.at();
        if self.words.called.load(Acquire) {
            return Some(supply.next_ask);
        }
        if !self.is_at_rest(&supply) {
            let half = self.quota.lease_for().checked_div(2).unwrap_or(Duration::ZERO);
            return Some(supply.next_ask.max(looked_at.saturating_add(half)));
        }
        // It has still to remember what was used of the local share, and that the store refused.
        let full_at = looked_at.saturating_add(self.local.standing(looked_at).full_in());
        let idle_at = full_at.max(Timestamp::from_nanos(self.heard.denied_until.load(Relaxed)));
        (idle_at > looked_at).then_some(idle_at)
    }

    fn is_at_rest(&self, supply: &Supply) -> bool {
        self.words.leased.load(Relaxed) == 0
            && self.heard.unsettled.load(Relaxed) == 0
            && !supply.demand.is_behind(self.words.wanted.load(Relaxed))
            && supply.demand.within(nanos(self.quota.lease_for())) == 0
    }

    /// Whether a question is under way.
    pub(crate) fn is_asking(&self) -> bool {
        self.heard.asked_at.load(Relaxed) != NOBODY
    }

    /// What to tell the store when this process ends: it gets back what is leased. `None` when there is nothing to tell.
    pub fn surrender(&self) -> Option<Need> {
        let need = Need { take: 0, charge: self.settle(self.local.burst()), give_back: clamped(self.hand_back(0)) };
        (need != Need::NOTHING).then_some(need)
    }

    /// Whether the last question was not answered.
    pub fn is_gone(&self) -> bool {
        self.heard.gone.load(Relaxed)
    }

    /// How many calls are leased and not made yet.
    pub fn leased(&self) -> u64 {
        self.words.leased.load(Relaxed)
    }

    /// What is left of the quota: as the store last said, what has been regained since, and what is leased here. While the
    /// store is gone, what is left of the local share.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.is_gone() {
            return self.local.standing(now);
        }
        // What is leased here is used for others, not for this process.
        let credit = self.pace().cost_of(clamped(self.leased()));
        let arrival = self.heard.arrival.load(Relaxed).saturating_sub(credit);
        Standing::new(self.pace(), arrival, now.as_nanos())
    }

    /// How long to leave a store alone that has no more: what it granted would last so long at an even share of the quota.
    /// So whoever got more than that asks later, and no process is starved by where it stands in the round of questions.
    fn pause_after(&self, answer: Answer, now: Timestamp) -> u64 {
        let even = self.pace().cost_of(answer.granted).saturating_mul(self.quota.processes().into());
        let arrival = now.saturating_add(answer.full_in).as_nanos();
        let next_in = self.pace().next_in(arrival, now.as_nanos());
        even.min(self.longest_gap()).max(self.gap()).max(next_in)
    }

    /// The least time between two questions to a store that has no more.
    fn gap(&self) -> u64 {
        let by_lease = nanos(self.quota.lease_for()).checked_div(ASKS_PER_LEASE).unwrap_or(0);
        by_lease.min(self.longest_gap()).max(nanos(LEASE_FOR.0))
    }

    /// Within it one process alone loses nothing of a burst that is full.
    fn longest_gap(&self) -> u64 {
        self.pace().capacity.checked_div(ASKS_PER_BURST).unwrap_or(0)
    }

    /// From here on calls may call again.
    fn listen(&self) {
        self.words.called.store(false, Release);
    }

    fn supply(&self) -> MutexGuard<'_, Supply> {
        self.supply.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DistributedGcra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedGcra")
            .field("quota", &self.quota)
            .field("leased", &self.leased())
            .field("is_gone", &self.is_gone())
            .finish_non_exhaustive()
    }
}

fn nanos(time: Duration) -> u64 {
    Timestamp::ZERO.saturating_add(time).as_nanos()
}

fn clamped(calls: u64) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn what_is_leased_is_taken_once_or_given_back() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let quota = Quota::per_hour(1).and_then(|quota| quota.with_burst(9)).unwrap();
            let quota = DistributedQuota::new(quota, 1).unwrap().with_if_gone(IfGone::Refuse);
            let limiter = Arc::new(DistributedGcra::new(quota));
            limiter.answered(Need::new(2, 0, 0), Answer { granted: 2, full_in: Duration::ZERO }, Timestamp::ZERO);
            let other = Arc::clone(&limiter);
            let takes = thread::spawn(move || u32::from(other.take(1, Timestamp::ZERO).is_ok()));
            let back = limiter.surrender().map_or(0, |need| need.give_back);
            let taken = takes.join().unwrap();
            assert_eq!(u64::from(taken + back) + limiter.leased(), 2);
        });
    }

    #[test]
    fn of_two_calls_that_find_the_lease_low_one_calls_the_driver() {
        loom::model(|| {
            let quota = DistributedQuota::new(Quota::per_second(1).unwrap(), 1).unwrap();
            let limiter = Arc::new(DistributedGcra::new(quota));
            let other = Arc::clone(&limiter);
            let low = thread::spawn(move || other.runs_low());
            let first = limiter.runs_low();
            assert!(first ^ low.join().unwrap());
        });
    }
}
