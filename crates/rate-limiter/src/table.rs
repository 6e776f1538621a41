#![expect(
    clippy::disallowed_types,
    reason = "the lock is taken only by a key's first call, or its first after a pause"
)]

use std::sync::PoisonError;

use seawall_core::{
    Rejection,
    sync::{
        CachePadded, Mutex,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use crate::bucket::{Bucket, EMPTY, Found, Slot, WAYS, change};

/// A key goes into its second bucket when fewer slots than this are unused in the first and more in the second: at two
/// slots in three used, one key in 100,000 finds no unused slot, and one in seven has to look twice.
const COMFORTABLE: usize = 4;
/// One and a half slots a key, of 17 bytes each.
const SLOTS_PER_TWO_KEYS: usize = 3;
/// Enough that cores which add different keys seldom meet.
const STRIPES: usize = 64;
/// Spreads what the first bucket was not chosen by: 2⁶⁴ over the golden ratio, made odd.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The theoretical arrivals of many keys, in memory that is fixed when the table is built.
///
/// A key is known by its hash of 64 bits, which must be seeded so that nobody can choose it. It lives in one of two
/// buckets. Who finds it moves its arrival by compare-exchange. Who does not takes a slot over: one whose arrival has
/// passed, so that nothing is lost; or else, when all sixteen are in use, the one nearest to that. The debt that is
/// forgotten with it becomes the bucket's *floor*: whoever enters through that bucket, the evicted key included, starts
/// with at least that debt. So no key gains by being evicted, and none starts worse than the idlest of its neighbours.
#[derive(Debug)]
pub(crate) struct Table {
    buckets: Box<[Bucket]>,
    floors: Box<[AtomicU64]>,
    entering: Box<[CachePadded<Mutex<()>>]>,
}

impl Table {
    pub(crate) fn new(max_keys: usize) -> Self {
        let slots = max_keys.saturating_mul(SLOTS_PER_TWO_KEYS).div_ceil(2);
        let buckets = slots.div_ceil(WAYS).max(1);
        Self {
            buckets: (0..buckets).map(|_| Bucket::empty()).collect(),
            floors: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
            entering: (0..STRIPES.min(buckets)).map(|_| CachePadded::new(Mutex::new(()))).collect(),
        }
    }

    /// How much memory the table takes, in bytes. It never changes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
            .saturating_add(size_of_val(&*self.floors))
            .saturating_add(size_of_val(&*self.entering))
    }

    /// How many keys have a debt.
    pub(crate) fn in_debt(&self, now: u64) -> usize {
        self.buckets.iter().map(|bucket| bucket.in_debt(now)).sum()
    }

    /// Moves the arrival of the key of `hash` to what `decide` says, from the one that it is given.
    #[inline]
    pub(crate) fn update(
        &self,
        hash: u64,
        now: u64,
        decide: impl Fn(u64) -> Result<u64, Rejection>,
    ) -> Result<(), Rejection> {
        let key = key_of(hash);
        if let Some(slot) = self.find(key) {
            if let Found::Decided(result) = slot.update(key, &decide) {
                return result;
            }
        }
        self.enter(key, now, decide)
    }

    /// The same for a key that is known; nothing happens to one that is not.
    pub(crate) fn update_known(&self, hash: u64, decide: impl Fn(u64) -> u64) {
        let key = key_of(hash);
        if let Some(slot) = self.find(key) {
            let _ = slot.update(key, |seen| Ok(decide(seen)));
        }
    }

    /// The arrival of the key of `hash`: for one that is not known, the one that it would begin with.
    pub(crate) fn arrival(&self, hash: u64) -> u64 {
        let key = key_of(hash);
        let known = self.find(key).and_then(|slot| slot.read(key));
        known.unwrap_or_else(|| self.vacancy(self.home(key)).map_or(0, |vacancy| vacancy.begin))
    }

    /// Changes all arrivals.
    pub(crate) fn convert(&self, convert: impl Fn(u64) -> u64) {
        self.buckets
            .iter()
            .flat_map(Bucket::arrivals)
            .chain(&*self.floors)
            .for_each(|arrival| change(arrival, &convert));
    }

    #[inline]
    fn find(&self, key: u64) -> Option<Slot<'_>> {
        let (first, second) = self.home(key);
        self.buckets.get(first)?.find(key).or_else(|| self.buckets.get(second)?.find(key))
    }

    /// The two buckets in which a key may live.
    #[inline]
    fn home(&self, key: u64) -> (usize, usize) {
        let buckets = self.buckets.len();
        (scale(key, buckets), scale(key.rotate_left(32).wrapping_mul(SPREAD), buckets))
    }

    /// A key that has no slot takes one over.
    #[cold]
    fn enter(&self, key: u64, now: u64, decide: impl Fn(u64) -> Result<u64, Rejection>) -> Result<(), Rejection> {
        let home = self.home(key);
        // One at a time per key, or it would get two slots.
        let stripe = self.entering.get(home.0.checked_rem(self.entering.len()).unwrap_or(0));
        let _entering = stripe.map(|stripe| stripe.lock().unwrap_or_else(PoisonError::into_inner));
        loop {
            // Somebody with the same key was here first. A slot that is claimed is lost to this key, not gained by it.
            if let Some(slot) = self.find(key) {
                if let Found::Decided(result) = slot.update(key, &decide) {
                    return result;
                }
            }
            let Some(vacancy) = self.vacancy(home) else {
                // Every slot of the bucket is changing hands: two steps of eight other threads.
                std::hint::spin_loop();
                continue;
            };
            let next = decide(vacancy.begin)?;
            if vacancy.seen > now {
                // Before the claim: the evicted key may come back at once, and must find it.
                if let Some(floor) = self.floors.get(vacancy.bucket) {
                    floor.fetch_max(vacancy.seen, Release);
                }
            }
            if vacancy.slot.claim(vacancy.seen) {
                vacancy.slot.hand_over(key, next);
                return Ok(());
            }
        }
    }

    /// The slot that a new key of this home takes over.
    fn vacancy(&self, home: (usize, usize)) -> Option<Vacancy<'_>> {
        let (first, second) = (self.buckets.get(home.0)?, self.buckets.get(home.1)?);
        let (unused, also_unused) = (first.unused(), second.unused());
        let ((slot, seen), bucket) = if unused >= COMFORTABLE || unused > 0 && unused >= also_unused {
            (first.idlest()?, home.0)
        } else if also_unused > 0 {
            (second.idlest()?, home.1)
        } else {
            let (here, there) = (first.idlest()?, second.idlest()?);
            if here.1 <= there.1 { (here, home.0) } else { (there, home.1) }
        };
        // Acquire pairs with the Release of `enter`: who finds its slot taken over finds the floor raised.
        let floors = [home.0, home.1].map(|bucket| self.floors.get(bucket).map_or(0, |floor| floor.load(Acquire)));
        let begin = floors.into_iter().fold(seen, u64::max);
        Some(Vacancy { slot, bucket, seen, begin })
    }
}

/// A slot that can be taken over.
struct Vacancy<'a> {
    slot: Slot<'a>,
    bucket: usize,
    /// Its arrival when it was looked at.
    seen: u64,
    /// What the new key starts with.
    begin: u64,
}

#[inline]
const fn key_of(hash: u64) -> u64 {
    if hash == EMPTY { 1 } else { hash }
}

/// `hash` scaled to `0..buckets`.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below `buckets`")]
const fn scale(hash: u64, buckets: usize) -> usize {
    // Two factors of 64 bits: the product fits 128.
    ((hash as u128).saturating_mul(buckets as u128) >> 64) as usize
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use seawall_core::{Pattern, Reason};

    use super::*;

    const NOW: u64 = 1_000;

    /// Adds `cost` to the arrival.
    fn owe(table: &Table, key: u64, cost: u64) {
        let owed = table.update(key, NOW, |seen| Ok(seen.max(NOW).saturating_add(cost)));
        assert_eq!(owed, Ok(()));
    }

    #[test]
    fn a_key_that_would_be_refused_takes_no_slot() {
        let table = Table::new(1);

        let refused = Rejection::new(Pattern::RateLimiter, Reason::RateLimited);

        assert_eq!(table.update(7, NOW, |_| Err(refused)), Err(refused));
        assert_eq!(table.in_debt(NOW), 0);
    }

    #[test]
    fn when_all_slots_are_in_use_a_new_key_starts_with_the_smallest_debt_and_so_does_the_one_it_replaced() {
        let table = Table::new(1);
        for key in 1..=8 {
            owe(&table, key, key.saturating_mul(10));
        }

        owe(&table, 100, 1);

        assert_eq!(table.arrival(100), NOW + 11);
        assert_eq!(table.arrival(1), NOW + 11);
        assert_eq!(table.arrival(8), NOW + 80);
    }

    #[test]
    fn an_evicted_key_that_comes_back_through_its_other_bucket_still_owes_what_it_owed() {
        let table = Table::new(10);
        assert_eq!(table.buckets.len(), 2);
        let at_home = |home| (1_u64..).map(|n| n.wrapping_mul(SPREAD)).filter(move |key| table_home(*key) == home);
        let evicted = at_home((0, 1)).next().unwrap();
        owe(&table, evicted, 5);
        let others: Vec<_> = at_home((0, 0)).take(8).collect();

        for other in others {
            owe(&table, other, 50);
        }

        assert_eq!(table.find(evicted).map(|slot| slot.read(evicted)), None);
        assert_eq!(table.arrival(evicted), NOW + 5);
    }

    /// Where a key lives in a table of two buckets.
    fn table_home(key: u64) -> (usize, usize) {
        Table::new(10).home(key)
    }

    #[test]
    fn a_slot_whose_arrival_has_passed_is_used_again_without_a_debt() {
        let table = Table::new(1);
        for key in 1..=8 {
            owe(&table, key, 10);
        }

        let later = NOW + 10;

        assert_eq!(table.in_debt(later), 0);
        assert_eq!(table.update(100, later, |seen| Ok(seen.max(later) + 1)), Ok(()));
        assert_eq!(table.arrival(100), later + 1);
    }

    #[test]
    fn a_hash_of_zero_and_the_last_time_are_keys_and_times_like_others() {
        let table = Table::new(1);

        owe(&table, 0, 5);
        assert_eq!(table.update(1, NOW, |_| Ok(u64::MAX)), Ok(()));

        assert_eq!(table.arrival(1), u64::MAX - 1);
        assert_eq!(table.arrival(0), u64::MAX - 1);
        assert_eq!(table.update(2, NOW, |_| Ok(u64::MAX)), Ok(()));
        assert_eq!(table.arrival(2), u64::MAX - 1, "the first call of a key too");
    }

    #[test]
    fn what_an_evicted_key_owes_is_changed_with_all_others() {
        let table = Table::new(1);
        for key in 1..=8 {
            owe(&table, key, key.saturating_mul(10));
        }
        owe(&table, 100, 40);

        table.convert(|seen| seen + 1_000);

        assert_eq!(table.arrival(1), NOW + 1_020, "no less than the idlest of those that are there");
        assert_eq!(table.floors.first().map(|floor| floor.load(Acquire)), Some(NOW + 1_010));
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};
    use seawall_core::{Pattern, Reason};

    use super::*;

    /// One call of a quota of `burst` that is never regained.
    fn take(table: &Table, key: u64, burst: u64) -> bool {
        let refused = Rejection::new(Pattern::RateLimiter, Reason::RateLimited);
        table.update(key, 0, |seen| if seen < burst { Ok(seen.saturating_add(1)) } else { Err(refused) }).is_ok()
    }

    fn model(check: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(check);
    }

    #[test]
    fn a_key_that_two_threads_see_first_at_once_is_admitted_its_burst_and_no_more() {
        model(|| {
            let table = Arc::new(Table::new(1));
            let other = Arc::clone(&table);
            let second = thread::spawn(move || take(&other, 7, 1));
            let first = take(&table, 7, 1);
            assert_eq!(u32::from(first) + u32::from(second.join().unwrap()), 1);
        });
    }

    #[test]
    fn a_key_that_is_evicted_while_it_calls_gains_nothing() {
        model(|| {
            let table = Arc::new(Table::new(1));
            assert!(take(&table, 1, 2));
            assert!(take(&table, 2, 3) && take(&table, 2, 3));
            let other = Arc::clone(&table);
            let enters = thread::spawn(move || take(&other, 3, 9));
            let second = take(&table, 1, 2);
            assert!(enters.join().unwrap());
            let third = take(&table, 1, 2);
            // One call was admitted before: of the two that followed at most one may have been.
            assert!(!(second && third));
        });
    }

    #[test]
    fn two_keys_that_want_the_same_free_slot_both_get_one() {
        model(|| {
            let table = Arc::new(Table::new(1));
            let other = Arc::clone(&table);
            let second = thread::spawn(move || take(&other, 2, 1));
            assert!(take(&table, 1, 1));
            assert!(second.join().unwrap());
            assert_eq!((take(&table, 1, 1), take(&table, 2, 1)), (false, false));
        });
    }
}
