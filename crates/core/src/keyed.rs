use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tower_layer::Layer;

use crate::{
    AskGate, CallContext, CarryRejection, Classify, Clock, Env, Environment, Gate, Gated, OwnedKey, Run, Shared,
    WrapError, WrapErrorFuture,
};

mod control;
mod service;

pub use service::KeyedService;

/// Tables up to this size per shard stay in one, so that a small bound is exact.
const KEYS_PER_SHARD: usize = 64;
const MAX_SHARDS: usize = 64;
/// How many entries a new key may look at to find one to evict.
const EVICTION_STEPS: usize = 64;
/// The most keys that a table may be asked to hold.
const MAX_KEYS: usize = 1 << 24;

/// A bound that no table can have.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyedError {
    /// The number of keys is outside its range.
    #[error("max_keys is {max_keys}; allowed are 1 to {MAX_KEYS}")]
    MaxKeys {
        /// The value given.
        max_keys: usize,
    },
}

crate::debug_as_text!(KeyedError);

/// One gate per key: per host, tenant or route. The key is borrowed from the request.
///
/// Bounded: at most `max_keys` gates, 10,000 by default. They are spread by the hashes of their keys over up to 64 shards,
/// with an equal part of the bound each and room for at least 64: below 128 keys there is one, from there on one may be
/// full while others are not. In a full shard, a new key takes the place of one that is idle; a gate that a call holds, or
/// that says it is not idle (an open breaker), is never forgotten. When none of the entries that it looks at is idle, 64 at
/// most, it shares one overflow gate with all others that found no place; a breaker there counts, and never opens for what one
/// of them does. All clones and all services share the table.
/// Gates are made and dropped while no lock is held; of threads that make one for the same key, one is listened to.
///
/// ```
/// use seawall_core::{Admission, CallContext, Gate, KeyedLayer, NoWait, Outcome, Timestamp};
/// # #[derive(Clone)]
/// # struct Config;
/// # struct Open;
/// # impl From<Config> for Open {
/// #     fn from(_: Config) -> Self { Open }
/// # }
/// # impl Gate for Open {
/// #     type Ticket = ();
/// #     type Wait = NoWait;
/// #     fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> { Admission::Admitted(()) }
/// #     fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
/// # }
///
/// struct Search {
///     tenant: String,
/// }
///
/// let per_tenant = KeyedLayer::<str, _, Open>::new(1_000, Config, |search: &Search| search.tenant.as_str())?;
/// assert!(per_tenant.is_empty());
/// # Ok::<(), seawall_core::KeyedError>(())
/// ```
///
/// A lookup takes the read lock of one of up to 64 shards: eviction must see that nobody is about to use an entry, and
/// under the shard's write lock it does.
pub struct KeyedLayer<Q: ?Sized + ToOwned, F, G: Gate, E: Environment = Env> {
    table: Arc<Table<Q, G, E>>,
    key: F,
}

struct Table<Q: ?Sized + ToOwned, G: Gate, E: Environment> {
    shards: Box<[RwLock<Shard<Q, G, E>>]>,
    hasher: RandomState,
    keys_per_shard: usize,
    /// Makes gates for new keys. Its lock is never held together with another.
    make: RwLock<Make<G>>,
    env: E,
    overflow: Shared<Gated<G, E>>,
}

type Make<G> = Arc<dyn Fn() -> G + Send + Sync>;

struct Shard<Q: ?Sized + ToOwned, G: Gate, E: Environment> {
    slots: HashMap<Q::Owned, usize>,
    entries: Vec<Entry<Q, G, E>>,
    hand: usize,
}

struct Entry<Q: ?Sized + ToOwned, G: Gate, E: Environment> {
    key: Q::Owned,
    gated: Arc<Gated<G, E>>,
    /// Looked up since the hand passed: gets a second chance. Relaxed: a hint, which is asked under the write lock.
    used: AtomicBool,
}

/// A gate for a key that is not there yet.
struct New<Q: ?Sized + ToOwned, G: Gate, E: Environment> {
    key: Q::Owned,
    entry: Entry<Q, G, E>,
}

/// Where the gate of a key is or goes.
enum Room<G: Gate, E: Environment> {
    Found(Arc<Gated<G, E>>),
    At(usize),
    Nowhere,
}

impl<Q, F, G> KeyedLayer<Q, F, G>
where
    Q: ?Sized + ToOwned<Owned: Hash + Eq + Send + Sync> + Hash + Eq + 'static,
    G: Gate,
{
    /// How many keys a table holds unless told otherwise.
    pub const DEFAULT_MAX_KEYS: usize = 10_000;

    /// A table in the default environment. `key` borrows the key from a request.
    ///
    /// # Errors
    /// `max_keys` outside 1 to 16,777,216.
    pub fn new<C, Req>(max_keys: usize, config: C, key: F) -> Result<Self, KeyedError>
    where
        C: Into<G> + Clone + Send + Sync + 'static,
        F: for<'r> Fn(&'r Req) -> &'r Q,
    {
        Self::with_env(max_keys, config, key, Env::new())
    }
}

impl<Q, F, G, E> KeyedLayer<Q, F, G, E>
where
    Q: ?Sized + ToOwned<Owned: Hash + Eq + Send + Sync> + Hash + Eq + 'static,
    G: Gate,
    E: Environment,
{
    /// A table with a clock, a classifier and so on of its own.
    ///
    /// # Errors
    /// `max_keys` outside 1 to 16,777,216.
    pub fn with_env<C, Req>(max_keys: usize, config: C, key: F, env: E) -> Result<Self, KeyedError>
    where
        C: Into<G> + Clone + Send + Sync + 'static,
        F: for<'r> Fn(&'r Req) -> &'r Q,
    {
        Self::build(max_keys, config, key, env)
    }
}

impl<Q, F, G, E> KeyedLayer<Q, OwnedKey<F>, G, E>
where
    Q: ?Sized + ToOwned<Owned: Hash + Eq + Send + Sync> + Hash + Eq + 'static,
    G: Gate,
    E: Environment,
{
    /// A table whose keys `key` makes anew from each request, where none can be borrowed from it.
    ///
    /// # Errors
    /// `max_keys` outside 1 to 16,777,216.
    pub fn with_owned_keys<C, Req, K>(max_keys: usize, config: C, key: F, env: E) -> Result<Self, KeyedError>
    where
        C: Into<G> + Clone + Send + Sync + 'static,
        F: Fn(&Req) -> K,
        K: Borrow<Q>,
    {
        Self::build(max_keys, config, OwnedKey::new(key), env)
    }
}

impl<Q, F, G, E> KeyedLayer<Q, F, G, E>
where
    Q: ?Sized + ToOwned<Owned: Hash + Eq + Send + Sync> + Hash + Eq + 'static,
    G: Gate,
    E: Environment,
{
    fn build<C>(max_keys: usize, config: C, key: F, env: E) -> Result<Self, KeyedError>
    where
        C: Into<G> + Clone + Send + Sync + 'static,
    {
        if !(1..=MAX_KEYS).contains(&max_keys) {
            return Err(KeyedError::MaxKeys { max_keys });
        }
        let shards = (max_keys / KEYS_PER_SHARD).clamp(1, MAX_SHARDS);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let make = maker(config);
        let overflow = Shared::new(Gated { gate: make().shared_by_strangers(), env: env.clone() });
        let table = Table {
            shards: (0..shards).map(|_| RwLock::new(Shard::empty())).collect(),
            hasher: RandomState::new(),
            keys_per_shard: max_keys.checked_div(shards).unwrap_or(max_keys),
            make: RwLock::new(make),
            env,
            overflow,
        };
        Ok(Self { table: Arc::new(table), key })
    }

    /// The gate of `key`, made now if it was not there. Holding it keeps it from being evicted.
    pub fn gate(&self, key: &Q) -> Shared<Gated<G, E>>
    where
        Q::Owned: Borrow<Q>,
    {
        self.table.entry(key)
    }

    /// How many keys have a gate of their own.
    pub fn len(&self) -> usize {
        self.table.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).entries.len()).sum()
    }

    /// Whether no key has a gate yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wraps the errors of `service` and puts the table before it.
    pub fn protect<S>(&self, service: S) -> KeyedService<WrapError<S>, Q, F, G, E>
    where
        F: Clone,
    {
        self.layer(WrapError::new(service))
    }

    /// Protects a future without Tower, by the gate of `key`: that gate decides when the returned future is first polled.
    ///
    /// ```
    /// use seawall_core::{KeyedLayer, Rejection};
    /// # use seawall_core::{Admission, CallContext, Gate, NoWait, Outcome, Pattern, Reason, Timestamp};
    /// # use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    /// # #[derive(Default)]
    /// # struct OnePlace { taken: AtomicBool }
    /// # #[derive(Clone)]
    /// # struct Config;
    /// # impl From<Config> for OnePlace {
    /// #     fn from(_: Config) -> Self { Self::default() }
    /// # }
    /// # impl Gate for OnePlace {
    /// #     type Ticket = ();
    /// #     type Wait = NoWait;
    /// #     fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
    /// #         if self.taken.swap(true, SeqCst) {
    /// #             return Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull));
    /// #         }
    /// #         Admission::Admitted(())
    /// #     }
    /// #     fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) { self.taken.store(false, SeqCst); }
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let per_tenant = KeyedLayer::<str, _, OnePlace>::new(1_000, Config, String::as_str)?;
    /// let nested = per_tenant.run("ann", async {
    ///     let other = per_tenant.run("bob", async { Ok::<_, std::io::Error>("bob has a place") }).await;
    ///     let same = per_tenant.run("ann", async { Ok::<_, std::io::Error>("a second one") }).await;
    ///     assert!(same.is_err());
    ///     Ok::<_, std::io::Error>(other.ok())
    /// });
    /// assert_eq!(nested.await?, Some("bob has a place"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<Fut, T, X>(&self, key: &Q, future: Fut) -> Run<WrapErrorFuture<Fut>, G, E>
    where
        Fut: Future<Output = Result<T, X>>,
        E: Classify<T, X>,
    {
        self.run_with(key, CallContext::default(), future)
    }

    /// Protects a future of which more is known than its key: its deadline, its criticality, its cost.
    pub fn run_with<Fut, T, X>(&self, key: &Q, context: CallContext, future: Fut) -> Run<WrapErrorFuture<Fut>, G, E>
    where
        Fut: Future<Output = Result<T, X>>,
        E: Classify<T, X>,
    {
        self.run_carrying(key, context, WrapErrorFuture::new(future))
    }

    /// Protects a future whose errors already carry rejections, as those of other layers' `run` do.
    pub fn run_carrying<Fut, T, X>(&self, key: &Q, context: CallContext, future: Fut) -> Run<Fut, G, E>
    where
        Fut: Future<Output = Result<T, X>>,
        X: CarryRejection,
        E: Classify<T, X::Remote>,
    {
        Run::new(self.table.entry(key), AskGate, context, future)
    }
}

fn maker<C: Into<G> + Clone + Send + Sync + 'static, G: Gate>(config: C) -> Make<G> {
    Arc::new(move || config.clone().into())
}

impl<Q: ?Sized + ToOwned, G: Gate, E: Environment> Shard<Q, G, E>
where
    Q::Owned: Hash + Eq,
{
    fn empty() -> Self {
        Self { slots: HashMap::new(), entries: Vec::new(), hand: 0 }
    }

    /// Where `key` is, or may be put.
    fn room(&mut self, key: &Q, most: usize, now: impl Fn() -> crate::Timestamp) -> Room<G, E>
    where
        Q: Hash + Eq,
    {
        if let Some(entry) = self.find(key) {
            return Room::Found(Arc::clone(&entry.gated));
        }
        let len = self.entries.len();
        let free = if len < most { Some(len) } else { self.idle_slot(now) };
        free.map_or(Room::Nowhere, Room::At)
    }

    /// Puts `new` at a slot that has just been found to be free, with the lock held since. What was there is for the caller
    /// to drop without the lock.
    fn put(&mut self, slot: usize, new: New<Q, G, E>) -> (Arc<Gated<G, E>>, impl Sized + use<Q, G, E>)
    where
        Q: Hash + Eq,
    {
        let gated = Arc::clone(&new.entry.gated);
        let old = if let Some(old) = self.entries.get_mut(slot) {
            let old = (self.slots.remove_entry(old.key.borrow()), std::mem::replace(old, new.entry));
            self.pass(slot);
            Some(old)
        } else {
            self.entries.push(new.entry);
            None
        };
        self.slots.insert(new.key, slot);
        (gated, old)
    }

    fn find(&self, key: &Q) -> Option<&Entry<Q, G, E>>
    where
        Q: Hash + Eq,
    {
        self.slots.get(key).and_then(|slot| self.entries.get(*slot))
    }

    /// Moves the hand on from `slot`.
    fn pass(&mut self, slot: usize) {
        let next = slot.wrapping_add(1);
        self.hand = if next < self.entries.len() { next } else { 0 };
    }

    /// The slot of an entry that nobody would miss, if one is near the hand, which then rests there.
    fn idle_slot(&mut self, now: impl Fn() -> crate::Timestamp) -> Option<usize> {
        for _ in 0..EVICTION_STEPS.min(self.entries.len().saturating_mul(2)) {
            let slot = self.hand;
            let entry = self.entries.get(slot)?;
            // Under the write lock nobody can be taking a new reference: one is the table's own.
            let free = Arc::strong_count(&entry.gated) == 1 && entry.gated.gate.is_idle(&now);
            if free && !entry.used.swap(false, Relaxed) {
                return Some(slot);
            }
            self.pass(slot);
        }
        None
    }
}

impl<Q, G, E> Table<Q, G, E>
where
    Q: ?Sized + ToOwned<Owned: Hash + Eq> + Hash + Eq,
    G: Gate,
    E: Environment,
{
    fn entry(&self, key: &Q) -> Shared<Gated<G, E>> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits pick a shard")]
        let index = self.hasher.hash_one(key) as usize & self.shards.len().saturating_sub(1);
        let Some(shard) = self.shards.get(index) else { return self.overflow.clone() };
        // A panic of a user's hash or gate leaves map and entries in step: both change only after it.
        if let Some(entry) = shard.read().unwrap_or_else(PoisonError::into_inner).find(key) {
            entry.used.store(true, Relaxed);
            return Shared::Counted(Arc::clone(&entry.gated));
        }
        // Made outside of the lock, where there is room for it, and dropped there too if another thread was quicker.
        let mut made = None;
        loop {
            let now = || self.env.clock().now();
            let mut locked = shard.write().unwrap_or_else(PoisonError::into_inner);
            match (locked.room(key, self.keys_per_shard, now), made.take()) {
                (Room::Found(gated), _made) => {
                    drop(locked);
                    return Shared::Counted(gated);
                }
                (Room::Nowhere, _made) => {
                    drop(locked);
                    return self.overflow.clone();
                }
                (Room::At(slot), Some(new)) => {
                    let (gated, old) = locked.put(slot, new);
                    drop(locked);
                    drop(old);
                    return Shared::Counted(gated);
                }
                (Room::At(_), None) => drop(locked),
            }
            made = Some(self.make(key));
        }
    }

    fn make(&self, key: &Q) -> New<Q, G, E> {
        let make = Arc::clone(&self.make.read().unwrap_or_else(PoisonError::into_inner));
        let gated = Arc::new(Gated { gate: make(), env: self.env.clone() });
        let entry = Entry { key: key.to_owned(), gated, used: AtomicBool::new(false) };
        New { key: key.to_owned(), entry }
    }
}

impl<Q: ?Sized + ToOwned, F: Clone, G: Gate, E: Environment> Clone for KeyedLayer<Q, F, G, E> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), key: self.key.clone() }
    }
}

impl<Q: ?Sized + ToOwned, F, G: Gate, E: Environment> fmt::Debug for KeyedLayer<Q, F, G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLayer").field("shards", &self.table.shards.len()).finish_non_exhaustive()
    }
}

impl<S, Q: ?Sized + ToOwned, F: Clone, G: Gate, E: Environment> Layer<S> for KeyedLayer<Q, F, G, E> {
    type Service = KeyedService<S, Q, F, G, E>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedService::new(inner, self.clone())
    }
}
