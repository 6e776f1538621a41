use std::{
    fmt,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use foldhash::quality::RandomState;
use seawall_core::{
    Admission, CallContext, Gate, MonotonicClock, NoWait, Outcome, Rejection, Timer, Timestamp, sync::Arc,
};

use crate::{
    AdmitKey, KeyedGcra, KeyedQuota, QueueingQuota, RateLimiterWait,
    hall::{Call, Hall, Together, Told},
    queueing_quota::MAX_QUEUED,
};

/// Lines of different keys meet in so many locks.
const HALLS: usize = 16;

/// A limiter of many keys whose calls can wait, before which a [`QueueingKeys`] stands.
pub trait LimitKeys<Q: ?Sized>: Gate<Ticket = (), Wait = NoWait> {
    /// What is needed to give back what was taken.
    type Taken: Copy + Send + Sync + 'static;

    /// Whether a call that the quota of its key would hold back may go on by what others have to spare.
    const LENDS: bool = false;

    /// Takes `cost` calls of `key`, all or nothing.
    ///
    /// # Errors
    /// [`RateLimited`](seawall_core::Reason::RateLimited), or [`TooHeavy`](seawall_core::Reason::TooHeavy) when no wait
    /// helps.
    fn take(&self, key: &Q, cost: u32, now: Timestamp) -> Result<Self::Taken, Rejection>;

    /// Gives `cost` back for a call that was not made after all.
    fn give_back(&self, key: &Q, taken: Self::Taken, cost: u32);

    /// Which keys share a quota with `key`, by any number that tells such groups apart; `None`, as by default, when none does.
    fn shares(&self, key: &Q) -> Option<u64> {
        let _ = key;
        None
    }

    /// How long until what `key` has to itself admits a call of `cost` behind others of it that cost `ahead` in all, if
    /// nothing else comes; `None` when it never does.
    fn own_turn_in(&self, key: &Q, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration>;

    /// The same for what it shares with other keys. Nothing, by default.
    fn shared_turn_in(&self, key: &Q, ahead: Ahead, cost: u32, now: Timestamp) -> Option<Duration> {
        let _ = (key, ahead, cost, now);
        Some(Duration::ZERO)
    }

    /// The same for what others have to spare, whatever `key` has to itself. Never, by default.
    fn borrowed_turn_in(&self, key: &Q, ahead: Ahead, cost: u32, now: Timestamp) -> Option<Duration> {
        let _ = (key, ahead, cost, now);
        None
    }

    /// How far a turn of a call of `cost` that is given late counts from when it was due, as that of
    /// [`Limit::lateness`](crate::Limit::lateness).
    fn lateness(&self, cost: u32) -> Duration {
        let _ = cost;
        Duration::ZERO
    }
}

/// What those cost who come first.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ahead {
    /// Of the keys that share a quota with this one.
    pub sharing: u64,
    /// Of all keys, whether they come first or wait for something else.
    pub in_all: u64,
}

/// A [`KeyedGcra`] whose calls wait for their turn.
pub type QueueingKeyedGcra<Q, T = MonotonicClock> = QueueingKeys<KeyedGcra, Q, T>;

/// Lets the calls of each key wait in a line of their own before a limiter of many keys: a [`KeyedGcra`],
/// [`Quotas`](crate::Quotas) or [`Plans`](crate::Plans).
///
/// Within a key it is first come, first served, and a waiter that is dropped uses up nothing, as in a
/// [`QueueingLimit`](crate::QueueingLimit). So it is among keys, for a quota that they share: who waits for it is passed by
/// nobody but one that came before and that its own quota held back until then. Whom its own quota holds back holds up no other
/// key. Of [`Plans`](crate::Plans), the tenants of one share a line; those beyond their quotas, who borrow, stand behind those
/// within.
///
/// How long a call would wait is known when it comes, and one that would wait too long is refused then. Only where its own
/// quota holds it back it may be wrong: others may use up what it shares with them meanwhile.
///
/// While nobody waits it is as cheap as the limiter. A key has a line, and is kept, only while its calls wait; each call that
/// is admitted is looked at a fixed number of times, however many keys wait. The settings are those of each line; in all no more
/// than a million calls wait.
///
/// ```
/// use seawall_core::{Env, VirtualClock};
/// use seawall_rate_limiter::{KeyedGcra, KeyedRateLimiterLayer, QueueingKeyedGcra, QueueingQuota, Quota};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// type Lines = QueueingKeyedGcra<str, VirtualClock>;
///
/// let clock = VirtualClock::new();
/// let quota = QueueingQuota::new(KeyedGcra::new(Quota::per_second(10)?)).with_max_queued(20)?;
/// let (lines, env) = (Lines::new(quota, clock.clone()), Env::new().with_clock(clock));
/// let layer = KeyedRateLimiterLayer::<str, _, _, Lines>::with_env(lines, String::as_str, env);
/// assert_eq!(layer.gate().queued(), 0);
/// # Ok(())
/// # }
/// ```
pub struct QueueingKeys<G: LimitKeys<Q>, Q: Key + ?Sized, T = MonotonicClock> {
    limiter: Arc<G>,
    halls: [Arc<Hall<G, Q>>; HALLS],
    together: Arc<Together>,
    hasher: RandomState,
    max_queued: usize,
    max_wait: Duration,
    timer: T,
}

/// What tells keys apart and can be kept while a call of it waits: any borrowed form of a key that can be hashed.
pub trait Key: Hash + ToOwned<Owned: Send + Sync + 'static> + 'static {}

impl<Q: Hash + ToOwned<Owned: Send + Sync + 'static> + ?Sized + 'static> Key for Q {}

impl<G: LimitKeys<Q>, Q: Key + ?Sized, T> QueueingKeys<G, Q, T> {
    /// Lines before the limiter that is in `quota`, whose waiters sleep on `timer`.
    pub fn new(quota: QueueingQuota<G>, timer: T) -> Self {
        let (max_queued, max_wait) = (quota.max_queued(), quota.max_wait());
        let (limiter, together) = (Arc::new(quota.into_quota()), Together::new(MAX_QUEUED));
        let hall = |_| Arc::new(Hall::new(Arc::clone(&limiter), max_queued, max_wait, Arc::clone(&together)));
        Self {
            halls: std::array::from_fn(hall),
            limiter,
            together,
            hasher: RandomState::default(),
            max_queued,
            max_wait,
            timer,
        }
    }

    /// How many calls wait, of all keys.
    pub fn queued(&self) -> usize {
        self.together.waiting()
    }

    /// How many keys have a line: those whose calls wait.
    pub fn lines(&self) -> usize {
        self.halls.iter().map(|hall| hall.lines()).sum()
    }

    /// The limiter itself: its figures and charges. After a change that lets calls of a key go on sooner, tell
    /// [`QueueingKeys::changed`].
    pub fn limiter(&self) -> &G {
        &self.limiter
    }

    /// There may be more for `key` than there was, or its quota has changed: those in its line move up, and those who share
    /// a quota with it.
    pub fn changed(&self, key: &Q, now: Timestamp) {
        let (hall, hash) = self.hall(key);
        hall.changed(key, hash, now);
    }

    /// Where its calls wait, and by which hash. Keys that share a quota wait in one hall.
    fn hall(&self, key: &Q) -> (&Arc<Hall<G, Q>>, u64) {
        let hash = self.hasher.hash_one(key);
        let [first, ..] = &self.halls;
        if self.limiter.shares(key).is_some() {
            return (first, hash);
        }
        let index = usize::try_from(hash >> 32).unwrap_or_default().checked_rem(HALLS).unwrap_or_default();
        (self.halls.get(index).unwrap_or(first), hash)
    }
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized, T: Timer> QueueingKeys<G, Q, T> {
    #[cold]
    fn queue_up(&self, key: &Q, cost: u32, context: &CallContext, now: Timestamp) -> Admission<(), RateLimiterWait<T>> {
        let (hall, hash) = self.hall(key);
        let deadline = context.deadline.unwrap_or(Timestamp::MAX);
        let until = now.saturating_add(self.max_wait);
        match Hall::join(hall, key, hash, Call { cost, until, deadline, now }) {
            Told::Served => Admission::Admitted(()),
            Told::Refused(rejection) => Admission::Refused(rejection),
            Told::Waiting(place, turn) => {
                Admission::Queued(RateLimiterWait::new(Box::new(place), self.timer.clone(), turn, until.min(deadline)))
            }
        }
    }
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized, T: Timer> AdmitKey<Q> for QueueingKeys<G, Q, T> {
    #[inline]
    fn admit_key(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<(), RateLimiterWait<T>> {
        let (context, now) = (context(), now());
        let cost = context.cost.max(1);
        if self.queued() == 0 && self.limiter.take(key, cost, now).is_ok() {
            return Admission::Admitted(());
        }
        self.queue_up(key, cost, &context, now)
    }

    fn admit_key_at_once(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<()> {
        let (context, now) = (context(), now());
        let cost = context.cost.max(1);
        if self.queued() == 0 {
            return self.limiter.take(key, cost, now).ok().map(drop);
        }
        let (hall, hash) = self.hall(key);
        hall.enter(key, hash, cost, now).then_some(())
    }
}

/// For a layer that knows no key: its calls do not wait.
impl<G: LimitKeys<Q>, Q: Key + ?Sized, T: Timer> Gate for QueueingKeys<G, Q, T> {
    type Ticket = ();
    type Wait = RateLimiterWait<T>;
    const RECORDS: bool = false;

    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<(), RateLimiterWait<T>> {
        match self.limiter.admit(context, now) {
            Admission::Admitted(()) => Admission::Admitted(()),
            Admission::Refused(rejection) => Admission::Refused(rejection),
            Admission::Queued(never) => match never {},
        }
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    /// Whether nobody waits and the limiter is idle.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.queued() == 0 && self.limiter.is_idle(now)
    }
}

/// For layers in the default environment, whose clock this is.
impl<Q: Key + ?Sized> From<QueueingQuota<KeyedQuota>> for QueueingKeyedGcra<Q> {
    fn from(quota: QueueingQuota<KeyedQuota>) -> Self {
        Self::new(quota.map(KeyedGcra::new), MonotonicClock)
    }
}

impl<G: LimitKeys<Q> + fmt::Debug, Q: Key + ?Sized, T> fmt::Debug for QueueingKeys<G, Q, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueingKeys")
            .field("limiter", &self.limiter)
            .field("queued", &self.queued())
            .field("max_queued", &self.max_queued)
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}
