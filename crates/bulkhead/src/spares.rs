#![expect(clippy::disallowed_types, reason = "the lock is taken when spares are spread or collected, not by a call")]

use std::sync::{OnceLock, PoisonError};

use seawall_core::{
    Stripes,
    sync::{
        Mutex,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread_stripe,
};

use crate::places::{Places, Seen};

/// The part of all places that may lie about as spares: one in so many.
const PART: u32 = 4;
/// The most that one core keeps. More would not make the places' word rarer in its calls.
const MOST: u32 = 64;
/// How many may be kept stands above how many there are.
const MOST_SHIFT: u32 = 32;
const COUNT: u64 = (1 << MOST_SHIFT) - 1;

/// Free places that stay with the core that gave them back, for its next call: so cores that come and go all the time do
/// not pass the word of all places to and fro.
///
/// To that word a spare place is taken. Spares are spread when calls get in each other's way there and at most half of
/// the places are taken, and collected before a call is refused: a refusal is decided by the word alone, while no core
/// has a spare.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    /// Made when they are first spread: many a bulkhead is used by one core at a time.
    stripes: OnceLock<Stripes<AtomicU64>>,
    /// Odd while they are spread.
    era: AtomicU64,
    /// For who spreads or collects.
    turn: Mutex<()>,
}

/// A time in which spares are spread all along, or nobody has any.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Era(u64);

impl Era {
    pub(crate) const fn is_spread(self) -> bool {
        self.0 & 1 == 1
    }

    const fn next(self) -> u64 {
        self.0.wrapping_add(1)
    }
}

/// What the model has another core do.
#[cfg(all(test, seawall_loom))]
#[derive(Copy, Clone, Debug)]
pub(crate) enum Change {
    Take,
    Keep,
}

impl Spares {
    /// Spares of so many cores, not of those that there are.
    #[cfg(test)]
    pub(crate) fn of_cores(count: usize) -> Self {
        Self { stripes: Stripes::with_count(count, AtomicU64::default).into(), ..Self::default() }
    }

    /// Takes `weight` places from those of this core.
    #[inline]
    pub(crate) fn take(&self, weight: u32) -> bool {
        self.mine().is_some_and(|mine| take(mine, weight))
    }

    /// Keeps `weight` places that a call gives back, if this core may keep as many.
    #[inline]
    pub(crate) fn keep(&self, weight: u32) -> bool {
        self.mine().is_some_and(|mine| keep(mine, weight))
    }

    #[inline]
    fn mine(&self) -> Option<&AtomicU64> {
        // Relaxed: asked for speed alone, the stripe itself says whether it may keep any.
        if !Era(self.era.load(Relaxed)).is_spread() {
            return None;
        }
        self.stripes.get().and_then(Stripes::assigned)
    }

    pub(crate) fn era(&self) -> Era {
        // Acquire pairs with the Release of `collect`: who finds that nobody has spares finds them in the places' word.
        Era(self.era.load(Acquire))
    }

    /// Calls got in each other's way at the word of all places, which said `seen` at last: from here on each core keeps
    /// some, where there are enough.
    #[cold]
    pub(crate) fn spread(&self, places: &Places, seen: Seen) {
        let roomy = |seen: Seen| seen.taken() <= seen.limit() / 2;
        if !roomy(seen) {
            return;
        }
        // From here on this thread has a stripe: see `Stripes::assigned`.
        thread_stripe();
        if self.era().is_spread() {
            return;
        }
        let stripes = self.stripes.get_or_init(Stripes::default);
        let count = u32::try_from(stripes.iter().count()).unwrap_or(u32::MAX);
        let most = seen.limit().checked_div(PART.saturating_mul(count)).map_or(0, |most| most.min(MOST));
        if most == 0 {
            return;
        }
        self.spread_over(stripes, most, places, roomy);
    }

    fn spread_over(&self, stripes: &Stripes<AtomicU64>, most: u32, places: &Places, roomy: impl FnOnce(Seen) -> bool) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let era = self.era();
        if era.is_spread() {
            return;
        }
        // Relaxed: released by `touch`, which stands before any spare. So who finds no place in the word, and that
        // because of a spare, finds the new era too.
        self.era.store(era.next(), Relaxed);
        // The limit may have changed since.
        if roomy(places.touch()) {
            stripes.iter().for_each(|stripe| stripe.store(u64::from(most) << MOST_SHIFT, Relaxed));
        } else {
            self.era.store(Era(era.next()).next(), Relaxed);
        }
    }

    /// Gives all spares back to `places`, and keeps new ones from arising until `then` has been done.
    #[cold]
    pub(crate) fn collect(&self, places: &Places, then: impl FnOnce()) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let era = self.era();
        if let Some(stripes) = self.stripes.get().filter(|_| era.is_spread()) {
            // Acquire pairs with the Release of `keep`, and `give_back` passes on what it says.
            let spare = stripes.iter().fold(0, |sum: u32, stripe| sum.saturating_add(count(stripe.swap(0, Acquire))));
            let _ = places.give_back(spare);
            // Release pairs with the Acquire of `era`.
            self.era.store(era.next(), Release);
        }
        then();
    }

    /// Those of one core, and a place given back or taken as by that core.
    #[cfg(all(test, seawall_loom))]
    pub(crate) fn by_core(&self, core: usize, change: Change, weight: u32) -> bool {
        let stripe = self.stripes.get().and_then(|stripes| stripes.iter().nth(core)).unwrap();
        match change {
            Change::Take => take(stripe, weight),
            Change::Keep => keep(stripe, weight),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        let counts = self.stripes.get().into_iter().flat_map(Stripes::iter).map(|stripe| count(stripe.load(Relaxed)));
        counts.fold(0, u32::saturating_add)
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half of the word")]
const fn count(stripe: u64) -> u32 {
    stripe as u32
}

/// `false` also where another thread that shares the stripe was quicker: the places' word has the rest.
#[inline]
fn take(stripe: &AtomicU64, weight: u32) -> bool {
    let seen = stripe.load(Relaxed);
    // Relaxed: what `keep` released stays released by whatever changes the word after it.
    count(seen) >= weight && stripe.compare_exchange(seen, seen.wrapping_sub(weight.into()), Relaxed, Relaxed).is_ok()
}

#[inline]
fn keep(stripe: &AtomicU64, weight: u32) -> bool {
    let seen = stripe.load(Relaxed);
    let next = seen.wrapping_add(weight.into());
    // Two numbers of 32 bits: the sum cannot wrap.
    let fits = (seen & COUNT).wrapping_add(weight.into()) <= seen >> MOST_SHIFT;
    // Release pairs with the Acquire of `collect`: who finds a drained bulkhead sees what its calls did.
    fits && stripe.compare_exchange(seen, next, Release, Relaxed).is_ok()
}
