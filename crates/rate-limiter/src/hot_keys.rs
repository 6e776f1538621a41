#![expect(clippy::disallowed_types, reason = "the mutex holds the names of the hottest, for calls that double a count")]
use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    sync::TryLockError,
};

use foldhash::quality::RandomState;
use seawall_core::{
    Timestamp,
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{HotKeysConfig, hot_keys_config::ROWS};

/// Finds the keys that are asked for most, in memory that is fixed at the start: which tenant, which address is it that
/// uses up the quota?
///
/// A count-min sketch counts: what it says of a key is never too little, and with a probability of 98% at most e/width of
/// all calls too much (0.07% with the default width of 4,096). Counts are halved every period, so what has been is
/// forgotten. The names of the hottest are kept beside it; a call looks at them only when its key's count has doubled, and
/// goes on when another is just there.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{HotKeys, HotKeysConfig};
///
/// let hot = HotKeys::<String>::new(HotKeysConfig::default());
/// for call in 0..1_000 {
///     hot.count(if call % 4 == 0 { "ann" } else { "bob" }, 1, Timestamp::ZERO);
///     hot.count(&format!("scanner {call}"), 1, Timestamp::ZERO);
/// }
/// let hottest = hot.hottest();
/// assert_eq!((hottest[0].0.as_str(), hottest[1].0.as_str()), ("bob", "ann"));
/// ```
///
/// # Source
/// Cormode, Muthukrishnan: "An improved data stream summary: the count-min sketch and its applications", 2005.
pub struct HotKeys<K> {
    config: HotKeysConfig,
    rows: Box<[AtomicU32]>,
    hasher: RandomState,
    period: AtomicU64,
    /// The least count among those whose names are kept, when all places are taken.
    floor: AtomicU32,
    names: Mutex<Vec<K>>,
}

impl<K: Hash + Eq> HotKeys<K> {
    /// A sketch that has counted nothing.
    pub fn new(config: HotKeysConfig) -> Self {
        let cells = config.width().saturating_mul(ROWS);
        Self {
            rows: (0..cells).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::default(),
            period: AtomicU64::new(0),
            floor: AtomicU32::new(0),
            names: Mutex::new(Vec::with_capacity(config.keys())),
            config,
        }
    }

    /// Counts `cost` calls of `key`; how many there were lately, with these.
    pub fn count<Q>(&self, key: &Q, cost: u32, now: Timestamp) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.age(now);
        let hash = self.hasher.hash_one(key);
        let add = |cell: &AtomicU32| {
            // Relaxed: counters, which guard no other memory.
            let counted = cell.fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_add(cost)));
            let (Ok(before) | Err(before)) = counted;
            before
        };
        let before = self.cells(hash).map(add).min().unwrap_or(0);
        let count = before.saturating_add(cost);
        let has_doubled = count.checked_ilog2() != before.checked_ilog2();
        if has_doubled && count > self.floor.load(Relaxed) {
            self.keep(key, count);
        }
        count
    }

    /// How many calls of `key` there were lately: never too few.
    pub fn estimate<Q: Hash + ?Sized>(&self, key: &Q) -> u32
    where
        K: Borrow<Q>,
    {
        self.estimate_of(self.hasher.hash_one(key))
    }

    /// The keys that are asked for most, and how often lately; the hottest first.
    pub fn hottest(&self) -> Vec<(K, u32)>
    where
        K: Clone,
    {
        let names = self.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mut hottest: Vec<_> = names.into_iter().map(|name| (self.estimate(&name), name)).collect();
        hottest.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        hottest.into_iter().filter(|(count, _)| *count > 0).map(|(count, name)| (name, count)).collect()
    }

    #[cold]
    fn keep<Q>(&self, key: &Q, count: u32)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut names = match self.names.try_lock() {
            Ok(names) => names,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another is being kept: this one's turn comes when its count doubles again.
            Err(TryLockError::WouldBlock) => return,
        };
        if names.iter().any(|name| name.borrow() == key) {
            return;
        }
        let mut dropped = None;
        if names.len() < self.config.keys() {
            names.push(key.to_owned());
        } else {
            let counts = names.iter().map(|name| self.estimate(name.borrow()));
            let coldest = counts.enumerate().min_by_key(|(_, count)| *count);
            if let Some((place, least)) = coldest
                && least < count
                && let Some(name) = names.get_mut(place)
            {
                dropped = Some(std::mem::replace(name, key.to_owned()));
            }
        }
        if names.len() >= self.config.keys() {
            let floor = names.iter().map(|name| self.estimate(name.borrow())).min();
            self.floor.store(floor.unwrap_or(0), Relaxed);
        }
        drop(names);
        drop(dropped);
    }

    /// Halves all counts when a period is over, and once more for each that nobody called in. Who wins the word does it.
    fn age(&self, now: Timestamp) {
        let length = Timestamp::ZERO.saturating_add(self.config.period()).as_nanos();
        let period = now.as_nanos().checked_div(length).unwrap_or(0);
        let seen = self.period.load(Relaxed);
        if period > seen && self.period.compare_exchange(seen, period, Relaxed, Relaxed).is_ok() {
            let halvings = u32::try_from(period.saturating_sub(seen)).unwrap_or(u32::MAX);
            self.halve(halvings);
        }
    }

    #[cold]
    fn halve(&self, times: u32) {
        let halve = |cell: &AtomicU32| {
            let _ = cell.fetch_update(Relaxed, Relaxed, |count| Some(count.checked_shr(times).unwrap_or(0)));
        };
        self.rows.iter().for_each(halve);
        halve(&self.floor);
    }

    fn estimate_of(&self, hash: u64) -> u32 {
        self.cells(hash).map(|cell| cell.load(Relaxed)).min().unwrap_or(0)
    }

    /// One cell of each row: 16 bits of the hash pick it.
    #[expect(clippy::cast_possible_truncation, reason = "only some bits pick a cell")]
    fn cells(&self, hash: u64) -> impl Iterator<Item = &AtomicU32> {
        let width = self.config.width();
        let of_row = move |(row, cells): (usize, _)| {
            let bits = (hash >> row.saturating_mul(16)) as usize;
            <[AtomicU32]>::get(cells, bits & width.saturating_sub(1))
        };
        self.rows.chunks(width).enumerate().filter_map(of_row)
    }
}

impl<K> fmt::Debug for HotKeys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotKeys").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
    use std::{collections::HashMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn the_hottest_push_out_the_coldest_whose_names_are_kept() {
        for order in [[(1, 3), (2, 5), (3, 9), (4, 1)], [(3, 9), (2, 5), (1, 3), (4, 1)]] {
            let hot = HotKeys::<u32>::new(HotKeysConfig::default().with_keys(2).unwrap());
            for (key, calls) in order {
                for _ in 0..calls {
                    hot.count(&key, 1, at(0));
                }
            }

            assert_eq!(hot.hottest(), [(3, 9), (2, 5)]);
        }
    }

    #[test]
    fn counts_are_halved_every_period_and_forgotten_in_the_end() {
        let hot = HotKeys::<u32>::new(HotKeysConfig::default());
        hot.count(&1, 100, at(0));

        assert_eq!(hot.count(&1, 0, at(60)), 50);
        assert_eq!(hot.count(&1, 1, at(3 * 60)), 13);
        hot.count(&2, 0, Timestamp::MAX);
        assert_eq!((hot.estimate(&1), hot.hottest()), (0, vec![]));
    }

    #[test]
    fn a_count_ends_at_its_most() {
        let hot = HotKeys::<u32>::new(HotKeysConfig::default());

        assert_eq!((hot.count(&1, u32::MAX, at(0)), hot.count(&1, 9, at(0))), (u32::MAX, u32::MAX));
    }

    proptest! {
        #[test]
        fn no_estimate_is_too_low_and_few_are_far_too_high(calls in prop::collection::vec((0..300_u32, 1..5_u32), 1..900)) {
            let hot = HotKeys::<u32>::new(HotKeysConfig::default());
            let mut truth = HashMap::new();
            for (key, cost) in &calls {
                hot.count(key, *cost, at(0));
                *truth.entry(*key).or_insert(0_u32) += cost;
            }
            let all: u32 = truth.values().sum();
            let far = truth.iter().filter(|(key, count)| {
                let said = hot.estimate(*key);
                assert!(said >= **count, "{key} was counted {count} times, not {said}");
                f64::from(said - **count) > std::f64::consts::E / 4_096.0 * f64::from(all)
            });
            prop_assert!(far.count() * 10 <= truth.len());
        }

        #[test]
        fn a_key_of_a_tenth_of_all_calls_is_found_among_a_flood(calls in 2_000..6_000_u32) {
            let hot = HotKeys::<u32>::new(HotKeysConfig::default());
            for call in 0..calls {
                hot.count(&if call % 10 == 0 { u32::MAX } else { call }, 1, at(0));
            }
            prop_assert_eq!(hot.hottest().first().map(|(key, _)| *key), Some(u32::MAX));
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn a_count_and_a_halving_that_meet_lose_no_call_of_the_new_period() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let config = HotKeysConfig::default().with_width(16).unwrap();
            let hot = Arc::new(HotKeys::<u32>::new(config));
            let cell = |count| hot.rows.iter().take(1).for_each(|cell| cell.store(count, Relaxed));
            cell(8);
            let other = Arc::clone(&hot);
            let halves = thread::spawn(move || other.halve(1));
            let add = |cell: &AtomicU32| cell.fetch_add(2, Relaxed);
            hot.rows.first().map(add);
            halves.join().unwrap();
            let count = hot.rows.first().map(|cell| cell.load(Relaxed));
            assert!(matches!(count, Some(5 | 6)), "{count:?}");
        });
    }
}
