mod withdrawals;

use std::time::Duration;

use withdrawals::Withdrawals;

use super::BudgetError;
use crate::{
    Stripes, Timestamp,
    sync::{
        CachePadded,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A window is this many slots; what happened counts until the slot it fell in has left the window.
const SLOTS: u64 = 10;
/// Slots that are kept: a power of two above [`SLOTS`], so that the ring index is a mask.
const RING: usize = 16;
/// With [`Pace::Steady`] a granted retry counts for a slot longer than a request: so long that no time of a window's
/// length, wherever it begins, sees more than the share.
const STEADY_SLOTS: u64 = SLOTS + 1;
/// A word of the rings: the number of the slot above, a count below.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// With [`Stamping::Sampled`], one deposit in this many reads the clock.
const SAMPLE: u64 = 16;
/// From this many deposits in a slot on, one in [`RARE_SAMPLE`] does. A multiple of that.
const MANY: u64 = 1_024;
const RARE_SAMPLE: u64 = 128;
/// Counts stop here, below the slot's bits. A multiple of [`RARE_SAMPLE`].
const FULL: u64 = COUNT + 1 - RARE_SAMPLE;
const MILLION: u64 = 1_000_000;
const MAX_PER_SECOND: u32 = 100_000;
const SECOND: u64 = 1_000_000_000;
/// Granted in a tenth of the window however few requests it has, also where there is no reserve: a quiet client's call
/// has its three attempts.
const AT_LEAST: u64 = 2;
/// Last number of a slot that a word has room for, centuries away.
const LAST_SLOT: u64 = u64::MAX >> COUNT_BITS;

/// How often a deposit reads the clock.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stamping {
    /// One deposit in 16 of a thread does, and after 1,024 in a tenth of the window one in 128; the others count for the
    /// slot of the last one that did, never for a later one. A thread's last 15 deposits, or an eighth of those of that
    /// tenth, may so leave the window early: at 10% that withholds at most 1.5 retries a thread, or 12.7 of 102.
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

/// How soon the retries of a window may be made.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pace {
    /// All at once: what a healthy window has saved up is there when a failure begins, and can double its load for one
    /// tenth of the window.
    #[default]
    AtOnce,
    /// In no time as long as a tenth of the window more than the share, with the minimum, of the requests of such a time;
    /// though always as many as the minimum is worth in the whole window, which is for clients with few requests, and two.
    /// A granted retry counts for a tenth of the window longer than a request. So the load grows by no more than the share
    /// also when a failure begins, and over any time as long as the window.
    Steady,
}

/// A budget of retries as a share of the requests of a sliding window, with a minimum per second.
///
/// A request deposits `ratio` of a retry, a granted retry withdraws a whole one; both count until the tenth of the window
/// that they fell in has left it. The reserve, `min_per_second` × window, lets a quiet client retry at all. Granted in any
/// window: at most `ratio` × requests + reserve, or the larger of both where the [`Minimum`] is within the share. Whether
/// they may be granted all at once says the [`Pace`].
///
/// A deposit writes one word of a stripe of its own; withdrawals, which are rare, go through one word and are exact.
///
/// # Source
/// Finagle's `RetryBudget` (`ttl`, `minRetriesPerSec`, `percentCanRetry`), whose retries are all there at once; the pace is
/// ours.
#[derive(Debug)]
pub struct WindowBudget {
    slot_nanos: u64,
    parts_per_million: u64,
    reserve: u64,
    minimum: Minimum,
    /// The retries of the last tenth of the window, where there is a limit to them.
    recent: Option<CachePadded<Withdrawals>>,
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
            recent: None,
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

    /// How soon the retries of a window may be made. [`Pace::AtOnce`] after [`WindowBudget::new`].
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.recent = match pace {
            Pace::AtOnce => None,
            Pace::Steady => Some(CachePadded::default()),
        };
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
        if !self.deposit_untimed() {
            self.deposit_stamped(now);
        }
    }

    /// Counts a request that needs no time, which most do not: `false`, and nothing is counted, when it does.
    #[inline]
    pub(super) fn deposit_untimed(&self) -> bool {
        let Some(stripe) = self.deposits.assigned() else { return false };
        // Relaxed throughout the deposits: a word counts for itself and guards no other memory.
        let latest = stripe.latest.load(Relaxed);
        let word = slot_word(&stripe.ring, latest);
        let seen = word.load(Relaxed);
        let same_slot = seen >> COUNT_BITS == latest && seen & self.unstamped != 0;
        same_slot && word.compare_exchange(seen, seen.wrapping_add(1), Relaxed, Relaxed).is_ok()
    }

    /// Apart from the deposits that need no time, whose path stays free of calls.
    #[cold]
    #[inline(never)]
    fn deposit_stamped(&self, now: impl FnOnce() -> Timestamp) {
        let stripe = self.deposits.mine();
        let latest = stripe.latest.load(Relaxed);
        let word = slot_word(&stripe.ring, latest);
        let seen = word.load(Relaxed);
        let is_one_of_many = seen >> COUNT_BITS == latest && seen & COUNT >= MANY && seen & (RARE_SAMPLE - 1) != 0;
        let untimed = is_one_of_many && self.unstamped != 0;
        if !untimed || word.compare_exchange(seen, seen.wrapping_add(1), Relaxed, Relaxed).is_err() {
            self.deposit_at(stripe, now());
        }
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
        let slot = self.slot(now);
        let granted = || self.withdrawals.take(slot, self.kept(), |slot| self.allowance(slot));
        match &self.recent {
            None => granted(),
            // Looked at first, so that what the window refuses is not spent of the tenth.
            Some(recent) => {
                self.whole_balance(slot) > 0
                    && recent.take(self.recent_slot(now), SLOTS, |_| self.recent_allowance(now))
                    && granted()
            }
        }
    }

    /// How many retries would be granted at `now`.
    pub fn balance(&self, now: Timestamp) -> u64 {
        let whole = self.whole_balance(self.slot(now));
        self.recent.as_ref().map_or(whole, |recent| {
            whole.min(self.recent_allowance(now).saturating_sub(recent.used(self.recent_slot(now), SLOTS)))
        })
    }

    fn whole_balance(&self, slot: u64) -> u64 {
        self.allowance(slot).saturating_sub(self.withdrawals.used(slot, self.kept()))
    }

    /// For how many slots a granted retry counts.
    const fn kept(&self) -> u64 {
        if self.recent.is_some() { STEADY_SLOTS } else { SLOTS }
    }

    fn slot(&self, now: Timestamp) -> u64 {
        now.as_nanos().checked_div(self.slot_nanos).unwrap_or(0)
    }

    /// [`SLOTS`] of these, of which the last has just begun, are at least a tenth of the window.
    fn recent_slot(&self, now: Timestamp) -> u64 {
        now.as_nanos().checked_div(self.slot_nanos.div_ceil(SLOTS - 1)).map_or(0, |slot| slot.min(LAST_SLOT))
    }

    /// The retries that the window ending in `slot` is worth, granted ones included.
    fn allowance(&self, slot: u64) -> u64 {
        self.worth(self.requests(|then| slot.saturating_sub(then) < SLOTS), self.reserve)
    }

    /// The retries that the last tenth of the window is worth, granted ones included.
    fn recent_allowance(&self, now: Timestamp) -> u64 {
        let slot = self.slot(now);
        let before = self.requests(|then| then.wrapping_add(1) == slot);
        // Of the tenth before, as much as does not yet stand in the one that has begun.
        let gone = now.as_nanos().checked_rem(self.slot_nanos).unwrap_or(0);
        let left = u128::from(self.slot_nanos.saturating_sub(gone));
        let before = u128::from(before).saturating_mul(left).checked_div(self.slot_nanos.into()).unwrap_or(0);
        let requests = self.requests(|then| then >= slot).saturating_add(u64::try_from(before).unwrap_or(u64::MAX));
        self.worth(requests, self.reserve / SLOTS).max(self.reserve).max(AT_LEAST)
    }

    /// The requests of these slots.
    fn requests(&self, counts: impl Fn(u64) -> bool) -> u64 {
        self.deposits
            .iter()
            .flat_map(|stripe| &stripe.ring)
            .map(|word| word.load(Relaxed))
            .filter(|word| counts(word >> COUNT_BITS))
            .fold(0_u64, |sum, word| sum.saturating_add(word & COUNT))
    }

    fn worth(&self, requests: u64, reserve: u64) -> u64 {
        let share = requests.saturating_mul(self.parts_per_million) / MILLION;
        match self.minimum {
            Minimum::OnTop => share.saturating_add(reserve),
            Minimum::Within => share.max(reserve),
        }
    }
}

impl Default for WindowBudget {
    /// 10% of the requests of the last 10 s, and at least one retry a second; no second has more than a tenth of its own
    /// requests, or ten. From 10 requests a second on, all that fail together cost a tenth more load over any 10 s, from 100
    /// on in every second. A client with fewer has ten retries in 10 s all the same: at 5 requests a second that is a fifth
    /// more load, at 1 as much again. Where many such clients share one service, their minimum is what counts:
    /// `WindowBudget::new(0.1, 0, …)` leaves them the share, and two.
    fn default() -> Self {
        Self {
            slot_nanos: SECOND,
            parts_per_million: MILLION / 10,
            reserve: 10,
            minimum: Minimum::Within,
            recent: Some(CachePadded::default()),
            unstamped: SAMPLE - 1,
            deposits: Stripes::default(),
            withdrawals: CachePadded::default(),
        }
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

#[cfg(all(test, seawall_loom))]
mod loom_tests;
#[cfg(test)]
mod tests;
