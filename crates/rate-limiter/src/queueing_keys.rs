#![expect(clippy::disallowed_types, reason = "the lock is taken only while calls wait")]

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash},
    sync::PoisonError,
    time::Duration,
};

use foldhash::quality::RandomState;
use seawall_core::{
    Admission, CallContext, Gate, MonotonicClock, NoWait, Outcome, Rejection, Timer, Timestamp,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    AdmitKey, KeyedGcra, KeyedQuota, QueueingQuota, RateLimiterWait,
    line::{InLine, Joined, LATENESS, Line, Together, Turns},
    queueing_quota::MAX_QUEUED,
};

/// Lines of different keys meet in so many locks.
const SHARDS: usize = 16;
/// Lines that nobody stands in are looked for when there are so many, and then when there are twice as many as were left.
const FIRST_SWEEP: usize = 16;

/// A limiter of many keys whose calls can wait, before which a [`QueueingKeys`] stands.
pub trait LimitKeys<Q: ?Sized>: Gate<Ticket = (), Wait = NoWait> {
    /// What is needed to give back what was taken.
    type Taken: Copy + Send + Sync + 'static;

    /// Takes `cost` calls of `key`, all or nothing.
    ///
    /// # Errors
    /// [`RateLimited`](seawall_core::Reason::RateLimited), or [`TooHeavy`](seawall_core::Reason::TooHeavy) when no wait
    /// helps.
    fn take(&self, key: &Q, cost: u32, now: Timestamp) -> Result<Self::Taken, Rejection>;

    /// Gives `cost` back for a call that was not made after all.
    fn give_back(&self, key: &Q, taken: Self::Taken, cost: u32);

    /// How long until a call of `cost` may come behind others of `key` that cost `ahead` in all, if nothing else comes;
    /// `None` when it never may.
    fn turn_in(&self, key: &Q, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration>;
}

/// A [`KeyedGcra`] whose calls wait for their turn.
pub type QueueingKeyedGcra<Q, T = MonotonicClock> = QueueingKeys<KeyedGcra, Q, T>;

/// Lets the calls of each key wait in a line of their own before a limiter of many keys: a [`KeyedGcra`],
/// [`Quotas`](crate::Quotas) or [`Plans`](crate::Plans).
///
/// Within a key it is first come, first served, and a waiter that is dropped uses up nothing, as in a
/// [`QueueingLimit`](crate::QueueingLimit). Keys do not hold each other up: of what several share, a call of another key may
/// take the last that one in line has waited for, and that one waits on, no longer than it may wait.
///
/// While nobody waits it is as cheap as the limiter. A key has a line only while its calls wait. The settings are those of
/// each line; in all no more than a million calls wait.
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
    shards: [Shard<OfKey<G, Q>>; SHARDS],
    together: Arc<Together>,
    hasher: RandomState,
    max_queued: usize,
    max_wait: Duration,
    timer: T,
}

/// What tells keys apart and can be kept while a call of it waits: any borrowed form of a key that can be hashed.
pub trait Key: Hash + ToOwned<Owned: Send + Sync + 'static> + 'static {}

impl<Q: Hash + ToOwned<Owned: Send + Sync + 'static> + ?Sized + 'static> Key for Q {}

/// Some of the lines.
struct Shard<L: Turns> {
    lines: Mutex<Lines<L>>,
}

struct Lines<L: Turns> {
    /// By the hash of the key, as the limiter itself tells them apart.
    by_key: HashMap<u64, Arc<Line<L>>>,
    sweep_at: usize,
}

/// One key of a limiter.
struct OfKey<G, Q: ToOwned + ?Sized> {
    limiter: Arc<G>,
    key: Q::Owned,
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized> Turns for OfKey<G, Q> {
    type Taken = G::Taken;

    fn take(&self, cost: u32, now: Timestamp) -> Result<G::Taken, Rejection> {
        self.limiter.take(self.key.borrow(), cost, now)
    }

    fn give_back(&self, taken: G::Taken, cost: u32) {
        self.limiter.give_back(self.key.borrow(), taken, cost);
    }

    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        self.limiter.turn_in(self.key.borrow(), ahead, cost, now)
    }

    /// Keys are limited by cell rates.
    fn lateness(&self) -> Duration {
        LATENESS
    }
}

impl<L: Turns> Shard<L> {
    fn new() -> Self {
        let lines = Lines { by_key: HashMap::new(), sweep_at: FIRST_SWEEP };
        Self { lines: Mutex::new(lines) }
    }

    fn lock(&self) -> MutexGuard<'_, Lines<L>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, hash: u64) -> Option<Arc<Line<L>>> {
        self.lock().by_key.get(&hash).map(Arc::clone)
    }

    /// The line of a key, which is `new` if it has none.
    fn line_or(&self, hash: u64, new: Line<L>) -> Arc<Line<L>> {
        let new = Arc::new(new);
        let mut lines = self.lock();
        let unused = lines.sweep();
        let line = Arc::clone(lines.by_key.entry(hash).or_insert_with(|| Arc::clone(&new)));
        drop(lines);
        // Keys are a user's: they go outside of the lock.
        drop((unused, new));
        line
    }
}

impl<L: Turns> Lines<L> {
    /// Takes out the lines that nobody stands in, if it is time to.
    fn sweep(&mut self) -> Vec<Arc<Line<L>>> {
        if self.by_key.len() < self.sweep_at {
            return Vec::new();
        }
        // Whoever waits, or is about to, holds the line, too.
        let unused: Vec<u64> =
            self.by_key.iter().filter(|(_, line)| Arc::strong_count(line) == 1).map(|(hash, _)| *hash).collect();
        let unused = unused.into_iter().filter_map(|hash| self.by_key.remove(&hash)).collect();
        self.sweep_at = self.by_key.len().saturating_mul(2).max(FIRST_SWEEP);
        unused
    }
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized, T> QueueingKeys<G, Q, T> {
    /// Lines before the limiter that is in `quota`, whose waiters sleep on `timer`.
    pub fn new(quota: QueueingQuota<G>, timer: T) -> Self {
        let (max_queued, max_wait) = (quota.max_queued(), quota.max_wait());
        Self {
            limiter: Arc::new(quota.into_quota()),
            shards: std::array::from_fn(|_| Shard::new()),
            together: Together::new(MAX_QUEUED),
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

    /// How many keys have a line, those included whose line is empty and not yet put away.
    pub fn lines(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().by_key.len()).sum()
    }

    /// The limiter itself: its figures and charges. After a change that lets calls of a key go on sooner, tell
    /// [`QueueingKeys::changed`].
    pub fn limiter(&self) -> &G {
        &self.limiter
    }

    /// There may be more for `key` than there was, or its quota has changed: those in its line move up.
    pub fn changed(&self, key: &Q, now: Timestamp) {
        let (shard, hash) = self.shard(key);
        if let Some(line) = shard.line(hash) {
            line.quota_changed(now);
        }
    }

    fn shard(&self, key: &Q) -> (&Shard<OfKey<G, Q>>, u64) {
        let hash = self.hasher.hash_one(key);
        let [first, ..] = &self.shards;
        let index = usize::try_from(hash >> 32).unwrap_or_default().checked_rem(SHARDS).unwrap_or_default();
        (self.shards.get(index).unwrap_or(first), hash)
    }
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized, T: Timer> QueueingKeys<G, Q, T> {
    #[cold]
    fn queue_up(&self, key: &Q, cost: u32, context: &CallContext, now: Timestamp) -> Admission<(), RateLimiterWait<T>> {
        let (shard, hash) = self.shard(key);
        let line = match shard.line(hash) {
            Some(line) => line,
            None if self.limiter.take(key, cost, now).is_ok() => return Admission::Admitted(()),
            None => {
                let of_key = OfKey { limiter: Arc::clone(&self.limiter), key: key.to_owned() };
                shard.line_or(hash, Line::beside(of_key, self.max_queued, Arc::clone(&self.together)))
            }
        };
        let deadline = context.deadline.unwrap_or(Timestamp::MAX);
        let until = now.saturating_add(self.max_wait);
        match line.join(cost, until, deadline, now) {
            Joined::Served => Admission::Admitted(()),
            Joined::Refused(rejection) => Admission::Refused(rejection),
            Joined::Waiting(place, turn) => {
                let in_line = Box::new(InLine::new(line, place));
                Admission::Queued(RateLimiterWait::new(in_line, self.timer.clone(), turn, until.min(deadline)))
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
