#![expect(
    clippy::disallowed_types,
    reason = "a lookup takes the read lock of one of up to 64 shards, as the other tables of gates do; the list of those \
              that run low is touched once for each lease"
)]

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use foldhash::quality::RandomState;
use seawall_core::{Admission, CallContext, Env, Gate, NoWait, Outcome, Rejection, Timer, Timestamp};

use super::{bell::Bell, supply::Driver};
use crate::{
    AdmitKey, DistributedGcra, DistributedQuota, DistributedRateLimiterLayer, Quota, QuotaError, Standing, Store,
};

/// Tables up to this size per shard stay in one, so that a small bound is exact.
const KEYS_PER_SHARD: usize = 64;
const MAX_SHARDS: usize = 64;
/// The key of all that have no room of their own.
const OVERFLOW: &str = "(other keys)";

/// A [`DistributedGcra`] for each key, and the driver that supplies them from a [`Store`].
///
/// Clones share all. Decisions are made here and now; [`DistributedKeyedGcra::supply`] is the future that talks to the
/// store in the background, and somebody has to spawn it. Without it, or when it has died, each process goes by its local
/// share, or refuses: as if the store were gone.
///
/// A key in use takes about 700 bytes and the text of its name. When `max_keys` are in use, new ones share one quota.
///
/// ```
/// use seawall_core::{Clock, MonotonicClock};
/// use seawall_rate_limiter::{Answer, DistributedKeyedGcra, DistributedQuota, Exchange, Quota, Store};
///
/// /// Grants everything: stands for a Redis.
/// struct Generous;
///
/// impl Store for Generous {
///     type Error = std::io::Error;
///     async fn exchange(&mut self, exchanges: &[Exchange<'_>]) -> std::io::Result<Vec<Option<Answer>>> {
///         let all = |exchange: &Exchange<'_>| Answer { granted: exchange.need.take, full_in: Default::default() };
///         Ok(exchanges.iter().map(|exchange| Some(all(exchange))).collect())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let quota = DistributedQuota::new(Quota::per_second(100)?.with_burst(20)?, 2)?;
/// let limiter = DistributedKeyedGcra::new(quota);
/// tokio::spawn(limiter.supply(Generous, MonotonicClock));
/// assert_eq!(limiter.take("ann", 1, MonotonicClock.now()), Ok(()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DistributedKeyedGcra {
    keys: Arc<Keys>,
}

/// All keys in use.
pub(crate) struct Keys {
    shards: Box<[RwLock<Shard>]>,
    max_in_shard: usize,
    hasher: RandomState,
    overflow: Arc<Entry>,
    quota: Arc<RwLock<DistributedQuota>>,
    low: Mutex<Vec<Arc<Entry>>>,
    bell: Arc<Bell>,
    pub(crate) counts: Arc<Counts>,
}

type Shard = HashMap<Arc<str>, Arc<Entry>, RandomState>;

/// One key.
pub(crate) struct Entry {
    pub(crate) key: Arc<str>,
    pub(crate) gcra: DistributedGcra,
    /// Whether the driver looks after it already. Set by one swap, which one caller alone finds unset; relaxed, as the lock
    /// by which it is handed on orders the rest.
    pub(crate) is_driven: AtomicBool,
}

/// What the driver has done. Written by it alone, and relaxed: each figure stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) exchanges: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) gone: AtomicBool,
}

/// The quota as it is at the moment.
pub(crate) fn live(quota: &RwLock<DistributedQuota>) -> DistributedQuota {
    *quota.read().unwrap_or_else(PoisonError::into_inner)
}

/// What a [`DistributedKeyedGcra`] has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DistributedFigures {
    /// Round trips to the store that were answered.
    pub exchanges: u64,
    /// Those that were not.
    pub failures: u64,
    /// Whether the last one was not.
    pub is_gone: bool,
    /// Keys that have room of their own.
    pub keys: usize,
}

impl Entry {
    fn new(key: Arc<str>, quota: DistributedQuota) -> Arc<Self> {
        Arc::new(Self { key, gcra: DistributedGcra::new(quota), is_driven: AtomicBool::new(false) })
    }
}

impl Keys {
    fn new(quota: DistributedQuota) -> Self {
        let shards = quota.max_keys().checked_div(KEYS_PER_SHARD).unwrap_or(1).clamp(1, MAX_SHARDS);
        let hasher = RandomState::default();
        Self {
            shards: (0..shards).map(|_| RwLock::new(Shard::with_hasher(hasher.clone()))).collect(),
            max_in_shard: quota.max_keys().checked_div(shards).unwrap_or(1),
            hasher,
            overflow: Entry::new(OVERFLOW.into(), quota),
            quota: Arc::new(RwLock::new(quota)),
            low: Mutex::default(),
            bell: Arc::new(Bell::new()),
            counts: Arc::default(),
        }
    }

    fn shard(&self, key: &str) -> Option<&RwLock<Shard>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits pick a shard")]
        let index = (self.hasher.hash_one(key) as usize).checked_rem(self.shards.len())?;
        self.shards.get(index)
    }

    /// The entry of `key`, made now if it was not there.
    fn entry(&self, key: &str) -> Arc<Entry> {
        let known = self.known(key);
        known.unwrap_or_else(|| self.insert(key).unwrap_or_else(|| Arc::clone(&self.overflow)))
    }

    fn known(&self, key: &str) -> Option<Arc<Entry>> {
        self.shard(key)?.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    #[cold]
    fn insert(&self, key: &str) -> Option<Arc<Entry>> {
        if key == OVERFLOW {
            // Somebody's key, by chance or on purpose: one entry of that name is enough.
            return None;
        }
        let mut shard = self.shard(key)?.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = shard.get(key) {
            return Some(Arc::clone(entry));
        }
        if shard.len() >= self.max_in_shard {
            return None;
        }
        // Under the shard's lock, which a new quota takes after it is there: no key keeps the old one.
        let entry = Entry::new(key.into(), live(&self.quota));
        shard.insert(Arc::clone(&entry.key), Arc::clone(&entry));
        Some(entry)
    }

    /// Forgets a key that is not in use; whether it was not.
    pub(crate) fn forget(&self, entry: &Arc<Entry>) -> bool {
        let Some(shard) = self.shard(&entry.key) else { return false };
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        // Under the write lock no call can be taking a new reference: one is the table's, one the driver's.
        let is_free = Arc::strong_count(entry) == 2 && !entry.gcra.is_asking() && entry.gcra.look_at().is_none();
        is_free && shard.remove(&entry.key).is_some()
    }

    /// Those that have run low since it was asked last.
    pub(crate) fn run_low(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut *self.low.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cold]
    fn call(&self, entry: Arc<Entry>) {
        if !entry.is_driven.swap(true, Relaxed) {
            self.low.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
        self.bell.ring();
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

/// Ends the driver.
impl Drop for Keys {
    fn drop(&mut self) {
        self.bell.ring();
    }
}

impl DistributedKeyedGcra {
    /// A limiter that has met no key and has leased nothing.
    pub fn new(quota: DistributedQuota) -> Self {
        Self { keys: Arc::new(Keys::new(quota)) }
    }

    /// The future that gets from `store` what the keys need, as long as any clone of this limiter is there. One per
    /// limiter; it sleeps on `timer`, which must be the clock of the layers, and costs nothing while no key is in use. At
    /// its end it gives back what is leased.
    ///
    /// Questions of all keys that need something go out together. One that takes longer than
    /// [`DistributedQuota::timeout`] is dropped.
    pub fn supply<S: Store, T: Timer>(&self, store: S, timer: T) -> impl Future<Output = ()> + Send + use<S, T> {
        let (keys, bell) = (Arc::downgrade(&self.keys), Arc::clone(&self.keys.bell));
        let driver =
            Driver { store, timer, quota: Arc::clone(&self.keys.quota), counts: Arc::clone(&self.keys.counts) };
        driver.run(keys, bell)
    }

    /// A layer over this limiter in the default environment; `key` says whose quota a request uses. In another one:
    /// `DistributedRateLimiterLayer::with_env(limiter.clone(), key, env)`.
    pub fn layer<Req, F>(&self, key: F) -> DistributedRateLimiterLayer<F>
    where
        F: for<'r> Fn(&'r Req) -> &'r str,
    {
        DistributedRateLimiterLayer::with_env(self.clone(), key, Env::new())
    }

    /// Takes `cost` calls of the quota of `key`, at least one, all or nothing.
    ///
    /// # Errors
    /// As [`DistributedGcra::take`].
    pub fn take(&self, key: &str, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        self.take_with(key, cost, || now)
    }

    fn take_with(&self, key: &str, cost: u32, now: impl FnOnce() -> Timestamp) -> Result<(), Rejection> {
        let entry = self.keys.entry(key);
        let taken = entry.gcra.take_with(cost, now);
        if entry.gcra.runs_low() {
            self.keys.call(entry);
        }
        taken
    }

    /// Changes the quota of all keys while calls go on. What was used stays used, counted in calls. Each process does so
    /// for itself; between the first and the last of them the store goes by whose question came last. Looks at every key.
    ///
    /// # Errors
    /// As [`DistributedQuota::new`].
    pub fn set_quota(&self, quota: Quota, now: Timestamp) -> Result<(), QuotaError> {
        let changed = live(&self.keys.quota).with_quota(quota)?;
        *self.keys.quota.write().unwrap_or_else(PoisonError::into_inner) = changed;
        self.keys.overflow.gcra.set_quota(quota, now)?;
        for shard in &self.keys.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.values().try_for_each(|entry| entry.gcra.set_quota(quota, now))?;
        }
        self.keys.bell.ring();
        Ok(())
    }

    /// What is left of the quota of `key`, as [`DistributedGcra::standing`] has it.
    pub fn standing(&self, key: &str, now: Timestamp) -> Standing {
        let known = self.keys.known(key);
        known.map_or_else(|| Standing::full(live(&self.keys.quota).quota()), |entry| entry.gcra.standing(now))
    }

    /// What the driver has done so far.
    pub fn figures(&self) -> DistributedFigures {
        let counts = &self.keys.counts;
        DistributedFigures {
            exchanges: counts.exchanges.load(Relaxed),
            failures: counts.failures.load(Relaxed),
            is_gone: counts.gone.load(Relaxed),
            keys: self.keys.len(),
        }
    }
}

impl From<DistributedQuota> for DistributedKeyedGcra {
    fn from(quota: DistributedQuota) -> Self {
        Self::new(quota)
    }
}

impl AdmitKey<str> for DistributedKeyedGcra {
    fn admit_key(
        &self,
        key: &str,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<()> {
        self.take_with(key, context().cost, now).into()
    }
}

/// For a layer that knows no key: all its calls have one in common, which has no name.
impl Gate for DistributedKeyedGcra {
    type Ticket = ();
    type Wait = NoWait;
    const RECORDS: bool = false;

    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.admit_key("", context, now)
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.keys.len() == 0
    }
}

impl fmt::Debug for DistributedKeyedGcra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedKeyedGcra")
            .field("quota", &live(&self.keys.quota))
            .field("figures", &self.figures())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;
    use crate::Quota;

    #[test]
    fn a_key_of_the_name_of_what_the_others_share_is_one_of_them() {
        let quota = Quota::per_second(10).and_then(|quota| DistributedQuota::new(quota, 2)).expect("in range");
        let keys = Keys::new(quota);

        assert!(Arc::ptr_eq(&keys.entry(OVERFLOW), &keys.overflow));
        assert!(!keys.forget(&keys.overflow), "nobody can have the shared quota forgotten");
        assert_eq!(keys.len(), 0);
    }
}
