use std::time::Duration;

use super::BudgetError;
use crate::{
    Stripes, Timestamp,
    sync::{
        CachePadded,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
};

/// A window is this many slots; what happened counts until the slot it fell in has left the window.
const SLOTS: u64 = 10;
/// Slots that are kept: a power of two above [`SLOTS`], so that the ring index is a mask.
const RING: usize = 16;
/// A word of the rings: the number of the slot above, a count below.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// With [`Stamping::Sampled`], one deposit in this many reads the clock.
const SAMPLE: u64 = 16;
/// Counts stop here, below the slot's bits. A multiple of [`SAMPLE`].
const FULL: u64 = COUNT + 1 - SAMPLE;
const MILLION: u64 = 1_000_000;
const MAX_PER_SECOND: u32 = 100_000;
const SECOND: u64 = 1_000_000_000;

/// How often a deposit reads the clock.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stamping {
    /// One deposit in 16 of a thread does; the others count for the slot of the last one that did, never for a later
    /// one. A thread's last 15 deposits may so leave the window early: at 10% that withholds at most 1.5 retries a thread.
    #[default]
    Sampled,
    /// Every deposit does.
    Each,
}

/// How the share of the requests and the minimum per second go together.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Minimum {
    /// The minimum comes on top of the share: at total failure the load grows by more than the share at any rate.
    #[default]
    OnTop,
    /// The larger of the two counts: from the rate on at which the share reaches the minimum, the load grows by no more
    /// than the share.
    Within,
}

/// A budget of retries as a share of the requests of a sliding window, with a minimum per second.
///
/// A request deposits `ratio` of a retry, a granted retry withdraws a whole one; both count until the tenth of the window
/// that they fell in has left it. The reserve, `min_per_second` × window, lets a quiet client retry at all. Granted in any
/// window: at most `ratio` × requests + reserve, or the larger of both where the [`Minimum`] is within the share.
///
/// A deposit writes one word of a stripe of its own; withdrawals, which are rare, go through one word and are exact.
///
/// # Source
/// Finagle's `RetryBudget` (`ttl`, `minRetriesPerSec`, `percentCanRetry`).
#[derive(Debug)]
pub struct WindowBudget {
    slot_nanos: u64,
    parts_per_million: u64,
    reserve: u64,
    minimum: Minimum,
    /// A deposit whose count has none of these bits reads the clock.
    unstamped: u64,
    deposits: Stripes<Deposits>,
    withdrawals: CachePadded<Withdrawals>,
}

/// The requests that one stripe's threads began, by slot.
#[derive(Debug, Default)]
struct Deposits {
    latest: AtomicU64,
    ring: [AtomicU64; RING],
}

/// The retries granted: a count that only grows, with the slot of the newest, and the count at which each slot began.
#[derive(Debug, Default)]
struct Withdrawals {
    newest: AtomicU64,
    began: [AtomicU64; RING],
}

impl WindowBudget {
    /// `ratio` retries per request (0 to 1) and `min_per_second` more (0 to 100,000) over `window` (1 s to 60 s).
    ///
    /// # Errors
    /// A value outside its range.
    pub fn new(ratio: f64, min_per_second: u32, window: Duration) -> Result<Self, BudgetError> {
        Self::striped(ratio, min_per_second, window, Stripes::default)
    }

    fn striped(
        ratio: f64,
        min_per_second: u32,
        window: Duration,
        stripes: impl FnOnce() -> Stripes<Deposits>,
    ) -> Result<Self, BudgetError> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(BudgetError::Ratio { ratio });
        }
        if min_per_second > MAX_PER_SECOND {
            return Err(BudgetError::MinPerSecond { min_per_second });
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&window) {
            return Err(BudgetError::Window { window });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000,000 by the check above"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
        let parts_per_million = (ratio * MILLION as f64).round() as u64;
        let nanos = Timestamp::ZERO.saturating_add(window).as_nanos();
        Ok(Self {
            slot_nanos: nanos / SLOTS,
            parts_per_million,
            reserve: u64::from(min_per_second).saturating_mul(nanos) / SECOND,
            minimum: Minimum::OnTop,
            unstamped: SAMPLE - 1,
            deposits: stripes(),
            withdrawals: CachePadded::default(),
        })
    }

    /// How the share and the minimum go together. [`Minimum::OnTop`] after [`WindowBudget::new`].
    #[must_use]
    pub const fn with_minimum(mut self, minimum: Minimum) -> Self {
        self.minimum = minimum;
        self
    }

    /// How often deposits read the clock. Default [`Stamping::Sampled`].
    #[must_use]
    pub fn with_stamping(mut self, stamping: Stamping) -> Self {
        self.unstamped = match stamping {
            Stamping::Sampled => SAMPLE - 1,
            Stamping::Each => 0,
        };
        self
    }

    /// A request begins.
    #[inline]
    pub fn deposit(&self, now: impl FnOnce() -> Timestamp) {
        let Some(stripe) = self.deposits.assigned() else { return self.deposit_stamped(now) };
        // Relaxed throughout the deposits: a word counts for itself and guards no other memory.
        let latest = stripe.latest.load(Relaxed);
        let word = slot_word(&stripe.ring, latest);
        let seen = word.load(Relaxed);
        let same_slot = seen >> COUNT_BITS == latest && seen & self.unstamped != 0;
        if same_slot && word.compare_exchange(seen, seen.wrapping_add(1), Relaxed, Relaxed).is_ok() {
            return;
        }
        self.deposit_stamped(now);
    }

    /// Apart from the deposits that need no time, whose path stays free of calls.
    #[cold]
    #[inline(never)]
    fn deposit_stamped(&self, now: impl FnOnce() -> Timestamp) {
        self.deposit_at(self.deposits.mine(), now());
    }

    fn deposit_at(&self, stripe: &Deposits, now: Timestamp) {
        let slot = self.slot(now);
        let word = slot_word(&stripe.ring, slot);
        let mut seen = word.load(Relaxed);
        loop {
            let count = if seen >> COUNT_BITS == slot { seen & COUNT } else { 0 };
            // A slot that is gone, by a thread that was held up that long; or one that can count no further.
            if seen >> COUNT_BITS > slot || count >= FULL {
                return;
            }
            match word.compare_exchange_weak(seen, pack(slot, count.wrapping_add(1)), Relaxed, Relaxed) {
                Ok(_) => break,
                Err(newer) => seen = newer,
            }
        }
        stripe.latest.fetch_max(slot, Relaxed);
    }

    /// Takes one retry, if there is one.
    pub fn withdraw(&self, now: Timestamp) -> bool {
        self.withdrawals.take(self.slot(now), |slot| self.allowance(slot))
    }

    /// How many retries would be granted at `now`.
    pub fn balance(&self, now: Timestamp) -> u64 {
        let slot = self.slot(now);
        self.allowance(slot).saturating_sub(self.withdrawals.used(slot))
    }

    fn slot(&self, now: Timestamp) -> u64 {
        now.as_nanos().checked_div(self.slot_nanos).unwrap_or(0)
    }

    /// The retries that the window ending in `slot` is worth, granted ones included.
    fn allowance(&self, slot: u64) -> u64 {
        let requests = self
            .deposits
            .iter()
            .flat_map(|stripe| &stripe.ring)
            .map(|word| word.load(Relaxed))
            .filter(|word| slot.saturating_sub(word >> COUNT_BITS) < SLOTS)
            .fold(0_u64, |sum, word| sum.saturating_add(word & COUNT));
        let share = requests.saturating_mul(self.parts_per_million) / MILLION;
        match self.minimum {
            Minimum::OnTop => share.saturating_add(self.reserve),
            Minimum::Within => share.max(self.reserve),
        }
    }
}

impl Default for WindowBudget {
    /// 10% of the requests of the last 10 s, and at least one retry a second: from 10 requests a second on, all that fail
    /// together cost a tenth more load.
    fn default() -> Self {
        Self {
            slot_nanos: SECOND,
            parts_per_million: MILLION / 10,
            reserve: 10,
            minimum: Minimum::Within,
            unstamped: SAMPLE - 1,
            deposits: Stripes::default(),
            withdrawals: CachePadded::default(),
        }
    }
}

impl Withdrawals {
    /// Grants one more while fewer than the allowance are in the window that ends in `slot`. Every grant moves the one
    /// word `newest`, so two never share a place.
    fn take(&self, slot: u64, allowance: impl Fn(u64) -> u64) -> bool {
        let mut slot = slot;
        loop {
            // Acquire: with the release of the exchange below, whose beginnings of slots are read next.
            let seen = self.newest.load(Acquire);
            let granted = seen & COUNT;
            slot = slot.max(seen >> COUNT_BITS);
            self.begin(seen >> COUNT_BITS, slot, granted);
            let first = slot.saturating_sub(SLOTS - 1);
            let began = slot_word(&self.began, first).load(Relaxed);
            if began >> COUNT_BITS > first {
                // Somebody's clock is a whole ring ahead: join it.
                slot = began >> COUNT_BITS;
                continue;
            }
            let used = granted.wrapping_sub(began) & COUNT;
            if used >= allowance(slot).min(FULL) {
                return false;
            }
            let next = pack(slot, granted.wrapping_add(1) & COUNT);
            // AcqRel: releases the beginnings written above to the loads of `newest`.
            if self.newest.compare_exchange(seen, next, AcqRel, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Notes that the slots after `from`, up to `to`, begin at `granted`. The first note of a slot stands: a grant that
    /// overtakes it counts for the newer slot, so it leaves the window later, never earlier.
    fn begin(&self, from: u64, to: u64, granted: u64) {
        let first = from.saturating_add(1).max(to.saturating_sub(SLOTS - 1));
        for slot in first..=to {
            let word = slot_word(&self.began, slot);
            let mut seen = word.load(Relaxed);
            while seen >> COUNT_BITS < slot {
                // Relaxed: released by the exchange of `newest` in `take`.
                match word.compare_exchange_weak(seen, pack(slot, granted), Relaxed, Relaxed) {
                    Ok(_) => break,
                    Err(newer) => seen = newer,
                }
            }
        }
    }

    /// How many grants count at `slot`, approximate while others are made.
    fn used(&self, slot: u64) -> u64 {
        // Acquire: with the exchange in `take`.
        let seen = self.newest.load(Acquire);
        let newest = seen >> COUNT_BITS;
        let first = slot.max(newest).saturating_sub(SLOTS - 1);
        if first > newest {
            return 0;
        }
        (seen & COUNT).wrapping_sub(slot_word(&self.began, first).load(Relaxed)) & COUNT
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the low bits pick a place in the ring")]
#[inline]
const fn slot_word(ring: &[AtomicU64; RING], slot: u64) -> &AtomicU64 {
    &ring[slot as usize & (RING - 1)]
}

#[inline]
const fn pack(slot: u64, count: u64) -> u64 {
    (slot << COUNT_BITS) | count
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_ms(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn exact(ratio: f64, min_per_second: u32, seconds: u64) -> WindowBudget {
        WindowBudget::new(ratio, min_per_second, Duration::from_secs(seconds)).unwrap().with_stamping(Stamping::Each)
    }

    /// Every event ever, looked through for each question.
    struct Oracle {
        slot_ms: u64,
        millionths: u64,
        reserve: u64,
        minimum: Minimum,
        requests: Vec<u64>,
        retries: Vec<u64>,
    }

    impl Oracle {
        fn retry(&mut self, ms: u64) -> bool {
            let counts = |then: &&u64| ms / self.slot_ms - **then / self.slot_ms < 10;
            let requests = self.requests.iter().filter(counts).count() as u64;
            let retries = self.retries.iter().filter(counts).count() as u64;
            let (share, reserve) = (requests * self.millionths, self.reserve * MILLION);
            let worth = if self.minimum == Minimum::OnTop { share + reserve } else { share.max(reserve) };
            let granted = worth >= (retries + 1) * MILLION;
            if granted {
                self.retries.push(ms);
            }
            granted
        }
    }

    proptest! {
        #[test]
        fn grants_exactly_what_a_list_of_all_events_grants(
            millionths in prop_oneof![Just(0_u32), Just(100_000), Just(1_000_000), 0..=1_000_000_u32],
            min_per_second in 0..4_u32,
            minimum in prop_oneof![Just(Minimum::OnTop), Just(Minimum::Within)],
            seconds in 1..=12_u64,
            steps in prop::collection::vec((prop_oneof![0..40_u64, 0..3_000_u64, Just(60_000)], 0..4_u8), 1..400),
        ) {
            let budget = exact(f64::from(millionths) / 1e6, min_per_second, seconds).with_minimum(minimum);
            let mut oracle = Oracle {
                slot_ms: seconds * 100,
                millionths: u64::from(millionths),
                reserve: u64::from(min_per_second) * seconds,
                minimum,
                requests: Vec::new(),
                retries: Vec::new(),
            };
            let mut ms = 0;
            for (gap, kind) in steps {
                ms += gap;
                if kind == 0 {
                    let balance = budget.balance(at_ms(ms));
                    let granted = budget.withdraw(at_ms(ms));
                    prop_assert_eq!(granted, oracle.retry(ms), "at {} ms", ms);
                    prop_assert_eq!(granted, balance > 0);
                } else {
                    budget.deposit(|| at_ms(ms));
                    oracle.requests.push(ms);
                }
            }
        }

        #[test]
        fn sampled_stamps_never_grant_more_and_withhold_at_most_what_fifteen_requests_are_worth(
            steps in prop::collection::vec((0..500_u64, 0..6_u8), 1..400),
        ) {
            let sampled = WindowBudget::new(0.2, 1, Duration::from_secs(10)).unwrap();
            let each = exact(0.2, 1, 10);
            let mut ms = 0;
            for (gap, kind) in steps {
                ms += gap;
                sampled.deposit(|| at_ms(ms));
                each.deposit(|| at_ms(ms));
                let (fewer, more) = (sampled.balance(at_ms(ms)), each.balance(at_ms(ms)));
                prop_assert!(fewer <= more && more - fewer <= 3, "{} of {}", fewer, more);
                if kind == 0 && sampled.withdraw(at_ms(ms)) {
                    prop_assert!(each.withdraw(at_ms(ms)));
                }
            }
        }
    }

    #[test]
    fn most_deposits_read_no_clock() {
        let new = || WindowBudget::new(0.1, 1, Duration::from_secs(10)).unwrap().with_minimum(Minimum::Within);
        for (budget, expected) in [
            (WindowBudget::default(), 10),
            (new(), 10),
            (new().with_stamping(Stamping::Each).with_stamping(Stamping::Sampled), 10),
            (new().with_stamping(Stamping::Each), 160),
        ] {
            let mut readings = 0;

            for _ in 0..160 {
                budget.deposit(|| {
                    readings += 1;
                    at_ms(5_000)
                });
            }

            assert_eq!((readings, budget.balance(at_ms(5_000))), (expected, 16));
        }
    }

    #[test]
    fn a_slot_that_is_full_counts_no_further_into_the_number_of_the_slot() {
        let budget = exact(1.0, 0, 10);
        slot_word(&budget.deposits.mine().ring, 5).store(pack(5, FULL - 1), Relaxed);

        for _ in 0..3 {
            budget.deposit(|| at_ms(5_000));
        }

        assert_eq!(budget.balance(at_ms(5_000)), FULL);
    }

    #[test]
    fn a_retry_counts_until_the_end_of_the_last_slot_of_its_window() {
        let budget = exact(0.0, 1, 10);
        assert!((0..3).all(|_| budget.withdraw(at_ms(20_999))));

        assert_eq!((budget.balance(at_ms(29_999)), budget.balance(at_ms(30_000))), (7, 10));
    }

    #[test]
    fn the_first_note_of_where_a_slot_began_stands() {
        let withdrawals = Withdrawals::default();
        withdrawals.begin(0, 1, 5);

        withdrawals.begin(0, 1, 7);

        assert_eq!(slot_word(&withdrawals.began, 1).load(Relaxed), pack(1, 5));
    }

    /// Between the notes that another thread makes and its grant.
    #[test]
    fn a_withdrawal_by_a_clock_that_is_behind_joins_a_window_that_is_about_to_move() {
        let withdrawals = Withdrawals::default();
        withdrawals.begin(0, 30, 0);

        assert!(withdrawals.take(14, |_| 1));

        assert_eq!(withdrawals.used(30), 1);
        assert!(!withdrawals.take(30, |_| 1));
    }

    #[test]
    fn clones_and_threads_never_grant_more_than_there_is() {
        let budget = std::sync::Arc::new(exact(0.1, 2, 10));
        for _ in 0..1_000 {
            budget.deposit(|| at_ms(0));
        }

        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let budget = std::sync::Arc::clone(&budget);
                std::thread::spawn(move || (0..200).filter(|i| budget.withdraw(at_ms(i * 9 + thread * 400))).count())
            })
            .collect();

        let granted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(granted, 120);
    }

    #[test]
    fn the_ends_of_time_and_a_clock_that_jumps_do_no_harm() {
        let budget = exact(1.0, 1, 60);

        assert!(budget.withdraw(Timestamp::MAX));
        budget.deposit(|| Timestamp::MAX);
        budget.deposit(|| Timestamp::ZERO);

        assert_eq!(budget.balance(Timestamp::MAX), 60);
        assert!((0..60).all(|_| budget.withdraw(Timestamp::ZERO)));
        assert!(!budget.withdraw(Timestamp::MAX));
    }

    #[test]
    fn withdrawals_by_a_clock_that_is_behind_count_with_the_others() {
        let budget = exact(0.0, 1, 10);
        let granted = |ms| (0..7).filter(|_| budget.withdraw(at_ms(ms))).count();

        assert_eq!([granted(20_000), granted(5_000), granted(20_000)], [7, 3, 0]);
    }

    #[test]
    fn a_clock_that_is_behind_brings_no_old_deposits_back() {
        let budget = exact(1.0, 0, 10);
        for _ in 0..9 {
            budget.deposit(|| at_ms(8_000));
        }
        budget.deposit(|| at_ms(20_000));

        assert!(budget.withdraw(at_ms(20_000)));
        assert!(!budget.withdraw(at_ms(10_000)));
    }

    #[test]
    fn a_deposit_that_comes_a_whole_ring_late_is_dropped() {
        let budget = exact(1.0, 0, 10);
        for _ in 0..10 {
            budget.deposit(|| at_ms(20_000));
        }

        budget.deposit(|| at_ms(4_000));

        assert_eq!(budget.balance(at_ms(20_000)), 10);
    }

    #[test]
    fn a_budget_that_cannot_be_is_refused() {
        let ten = Duration::from_secs(10);

        for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(WindowBudget::new(ratio, 0, ten), Err(BudgetError::Ratio { .. })), "{ratio}");
        }
        for window in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(61), Duration::MAX] {
            assert_eq!(WindowBudget::new(0.1, 0, window).unwrap_err(), BudgetError::Window { window });
        }
        assert!(matches!(WindowBudget::new(0.1, 100_001, ten), Err(BudgetError::MinPerSecond { .. })));
        assert!(WindowBudget::new(1.0, 100_000, ten).is_ok());
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn the_last_retry_is_granted_once_even_across_the_edge_of_a_slot() {
        loom::model(|| {
            let withdrawals = Arc::new(Withdrawals::default());
            let other = Arc::clone(&withdrawals);
            let there = thread::spawn(move || other.take(1, |_| 1));

            let here = withdrawals.take(0, |_| 1);

            let there = there.join().expect("no panic");
            assert!(here != there, "{here} {there}");
        });
    }

    #[test]
    fn grants_at_both_sides_of_an_edge_all_count_in_the_newer_window() {
        loom::model(|| {
            let withdrawals = Arc::new(Withdrawals::default());
            let other = Arc::clone(&withdrawals);
            let there = thread::spawn(move || other.take(1, |_| 9));

            assert!(withdrawals.take(0, |_| 9));

            assert!(there.join().expect("no panic"));
            assert_eq!(withdrawals.used(1), 2);
        });
    }

    #[test]
    fn no_deposit_of_one_stripe_is_lost() {
        loom::model(|| {
            let one_stripe = || Stripes::with_count(1, Deposits::default);
            let budget = WindowBudget::striped(1.0, 0, Duration::from_secs(10), one_stripe).expect("allowed");
            let budget = Arc::new(budget);
            let other = Arc::clone(&budget);
            let there = thread::spawn(move || other.deposit(|| Timestamp::from_nanos(SECOND)));

            budget.deposit(|| Timestamp::from_nanos(SECOND));

            there.join().expect("no panic");
            assert_eq!(budget.balance(Timestamp::from_nanos(SECOND)), 2);
        });
    }
}
