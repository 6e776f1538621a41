use std::{
    convert::Infallible,
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};
use seawall_core::Timestamp;

use crate::{Alternative, Case, Combine, Degraded, LastGoodError, Reply};

/// How many responses are kept, and for how long.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LastGoodConfig {
    max_entries: usize,
    max_age: Duration,
    weight_limit: u64,
}

impl LastGoodConfig {
    /// Keeps up to `max_entries` responses, those that are asked for first, and gives none out that is older than
    /// `max_age`; [`Duration::MAX`] is no limit.
    ///
    /// # Errors
    /// Either is 0.
    pub const fn new(max_entries: usize, max_age: Duration) -> Result<Self, LastGoodError> {
        if max_entries == 0 {
            return Err(LastGoodError::MaxEntries);
        }
        if max_age.is_zero() {
            return Err(LastGoodError::MaxAge { max_age });
        }
        Ok(Self { max_entries, max_age, weight_limit: u64::MAX })
    }

    /// Keeps no more than `max_weight` of them together, as [`Memory::weight`] weighs them: bytes, say. Default: no limit but
    /// their number.
    ///
    /// # Errors
    /// It is 0.
    pub const fn with_max_weight(mut self, max_weight: u64) -> Result<Self, LastGoodError> {
        if max_weight == 0 {
            return Err(LastGoodError::MaxWeight);
        }
        self.weight_limit = max_weight;
        Ok(self)
    }

    /// An empty store.
    fn entries<Q: Hash + Eq, V: Clone>(&self) -> Cache<Q, Entry<V>, ByWeight> {
        let most = u64::try_from(self.max_entries).unwrap_or(u64::MAX);
        // Each takes up at least its share of the weight, so that there are no more of them than that.
        let (capacity, share) = if self.weight_limit == u64::MAX {
            (most, u64::MAX)
        } else {
            (self.weight_limit, self.weight_limit.div_ceil(most))
        };
        Cache::with_weighter(self.max_entries, capacity, ByWeight { share })
    }
}

impl Default for LastGoodConfig {
    /// 10,000 responses, five minutes.
    fn default() -> Self {
        Self { max_entries: 10_000, max_age: Duration::from_secs(300), weight_limit: u64::MAX }
    }
}

/// How a response is kept and given out again.
pub trait Memory<Res> {
    /// What is kept of it.
    type Kept: Clone;

    /// Takes what is needed from a good response on its way to the caller; `None`: it cannot be kept.
    fn remember(&self, response: &Res) -> Option<Self::Kept>;

    /// What it weighs beside others: see [`LastGoodConfig::with_max_weight`]. Default 1.
    fn weight(&self, kept: &Self::Kept) -> u64 {
        let _ = kept;
        1
    }

    /// Makes the response anew; `None`: it has turned out that it cannot be.
    fn recall(&self, kept: Self::Kept) -> Option<Res>;
}

/// The default: keeps clones. It cannot know that a response which counts as a success comes from a fallback further in, and
/// keeps that too: over HTTP `seawall_http::GoodAnswers` knows.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct CloneResponse;

impl<Res: Clone> Memory<Res> for CloneResponse {
    type Kept = Res;

    #[inline]
    fn remember(&self, response: &Res) -> Option<Res> {
        Some(response.clone())
    }

    fn recall(&self, kept: Res) -> Option<Res> {
        Some(kept)
    }
}

/// Answers with the last response that was a success, as `last-good`, with its age.
///
/// Every success is kept under the key of its request, so it costs a clone and an insertion per call; requests whose key
/// is `None` are not kept. It has nothing to say where nothing is kept, or what is kept is too old. Answers of
/// alternatives are never kept.
///
/// ```
/// use seawall_fallback::{Combine, FallbackLayer, LastGood, LastGoodConfig, Value};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let last = LastGood::new(LastGoodConfig::default(), |city: &&str| Some(city.to_string()));
/// let weather = FallbackLayer::new(last.then(Value::new("unknown")));
/// let ask = |city, answer: Result<&'static str, seawall_core::Error<()>>| weather.run_carrying(city, async move { answer });
/// let down = || Err(seawall_core::Error::Inner(()));
///
/// assert_eq!(ask("Lisbon", Ok("sunny")).await, Ok("sunny"));
/// assert_eq!(ask("Lisbon", down()).await, Ok("sunny"));
/// assert_eq!(ask("Oslo", down()).await, Ok("unknown"));
/// # }
/// ```
pub struct LastGood<G, Q, V, M = CloneResponse> {
    entries: Cache<Q, Entry<V>, ByWeight>,
    config: LastGoodConfig,
    key: G,
    memory: M,
}

#[derive(Clone)]
struct Entry<V> {
    kept: V,
    at: Timestamp,
    weight: u64,
}

/// What an entry takes up.
#[derive(Clone)]
struct ByWeight {
    /// The least; [`u64::MAX`] where only the number counts.
    share: u64,
}

impl<Q, V> Weighter<Q, Entry<V>> for ByWeight {
    fn weight(&self, _: &Q, entry: &Entry<V>) -> u64 {
        if self.share == u64::MAX { 1 } else { entry.weight.max(self.share) }
    }
}

impl<G, Q: Hash + Eq, V: Clone> LastGood<G, Q, V> {
    /// Keeps responses under what `key` makes of what was kept of the request.
    pub fn new<K>(config: LastGoodConfig, key: G) -> Self
    where
        G: Fn(&K) -> Option<Q>,
    {
        Self { entries: config.entries(), config, key, memory: CloneResponse }
    }
}

impl<G, Q: Hash + Eq, V: Clone, M> LastGood<G, Q, V, M> {
    /// Keeps responses as `memory` does, under what `key` makes of what was kept of the request.
    pub fn remembering<K>(config: LastGoodConfig, memory: M, key: G) -> Self
    where
        G: Fn(&K) -> Option<Q>,
    {
        Self { entries: config.entries(), config, key, memory }
    }

    /// Keeps responses as `memory` does. Default [`CloneResponse`].
    pub fn with_memory<V2: Clone, M2>(self, memory: M2) -> LastGood<G, Q, V2, M2> {
        LastGood { entries: self.config.entries(), config: self.config, key: self.key, memory }
    }

    /// How many responses are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.clear();
    }
}

impl<G, Q, V, M> Combine for LastGood<G, Q, V, M> {}

impl<G, Q, M, K, Res, Err> Alternative<K, Res, Err> for LastGood<G, Q, M::Kept, M>
where
    G: Fn(&K) -> Option<Q>,
    Q: Hash + Eq,
    M: Memory<Res>,
{
    type Error = Infallible;
    type Run = ();

    fn start(&self, _: &Case<'_, K, Res, Err>) {}

    fn poll(&self, _: Pin<&mut ()>, case: &Case<'_, K, Res, Err>, _: &mut Context<'_>) -> Poll<Reply<Res, Infallible>> {
        let Some(key) = (self.key)(case.request) else { return Poll::Ready(Reply::Pass) };
        let Some(entry) = self.entries.get(&key) else { return Poll::Ready(Reply::Pass) };
        let age = case.now.since(entry.at);
        if age > self.config.max_age {
            self.entries.remove(&key);
            return Poll::Ready(Reply::Pass);
        }
        let answer = self.memory.recall(entry.kept);
        Poll::Ready(
            answer.map_or(Reply::Pass, |answer| Reply::Answer(answer, Degraded::new("last-good").with_age(age))),
        )
    }

    #[inline]
    fn remember(&self, request: &K, response: &Res, now: impl FnOnce() -> Timestamp) {
        let Some(key) = (self.key)(request) else { return };
        if let Some(kept) = self.memory.remember(response) {
            let weight = self.memory.weight(&kept);
            self.entries.insert(key, Entry { kept, at: now(), weight });
        }
    }
}

impl<G, Q: Hash + Eq, V: Clone, M> fmt::Debug for LastGood<G, Q, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGood")
            .field("entries", &self.entries.len())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
