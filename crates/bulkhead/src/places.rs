use seawall_core::{
    Pattern, Reason, Rejection,
    sync::{
        CachePadded,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

/// The largest limit: it has 31 bits of the word.
pub(crate) const MAX_LIMIT: u32 = u32::MAX >> 1;

const LIMIT_SHIFT: u32 = 32;
const WAITING: u64 = 1 << 63;

/// The places of one bulkhead, in one word: how many there are, how many are taken, and whether somebody waits.
///
/// A limit of 0 means closed, for good.
#[derive(Debug)]
pub(crate) struct Places {
    word: CachePadded<AtomicU64>,
}

/// What the word said at one moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen(u64);

/// The places that one admitted call holds.
#[derive(Debug)]
#[must_use = "a place that is not given back is lost"]
pub struct Place {
    // One number, as the wait of a rejection is, with which it shares its memory: two would be written apart and read at once.
    account_and_weight: u64,
}

impl Place {
    pub(crate) const fn new(weight: u32) -> Self {
        Self::of(weight, 0)
    }

    /// Places that are kept count of under `account`.
    pub(crate) const fn of(weight: u32, account: u32) -> Self {
        Self { account_and_weight: (account as u64) << u32::BITS | weight as u64 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half of the word")]
    pub(crate) const fn weight(&self) -> u32 {
        self.account_and_weight as u32
    }

    pub(crate) const fn account(&self) -> u32 {
        (self.account_and_weight >> u32::BITS) as u32
    }
}

impl Seen {
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the word")]
    pub(crate) const fn taken(self) -> u32 {
        self.0 as u32
    }

    pub(crate) const fn limit(self) -> u32 {
        ((self.0 & !WAITING) >> LIMIT_SHIFT) as u32
    }

    pub(crate) const fn is_waiting(self) -> bool {
        self.0 & WAITING != 0
    }

    pub(crate) const fn is_closed(self) -> bool {
        self.limit() == 0
    }

    /// Closed, and the last call has ended.
    pub(crate) const fn is_drained(self) -> bool {
        self.0 & !WAITING == 0
    }

    /// Whether `weight` more fit below `ceiling`.
    pub(crate) const fn fits(self, weight: u32, ceiling: u32) -> bool {
        // Two numbers of 32 bits: the sum cannot saturate.
        (self.taken() as u64).saturating_add(weight as u64) <= ceiling as u64
    }

    /// Whether `weight` more fit and nobody waits: the flag is the sign of the word, and makes the limit negative.
    #[inline]
    #[expect(clippy::cast_possible_wrap, reason = "that is how the flag becomes the sign")]
    const fn takes(self, weight: u32) -> bool {
        // Two numbers of 32 bits: the sum cannot wrap.
        (self.taken() as i64).wrapping_add(weight as i64) <= self.0 as i64 >> LIMIT_SHIFT
    }

    /// Why a call of `weight` that found no room below `ceiling` is refused.
    #[cold]
    pub(crate) const fn refusal(self, weight: u32, ceiling: u32) -> Rejection {
        let reason = if self.is_closed() {
            Reason::Closed
        } else if weight > ceiling {
            Reason::TooHeavy
        } else {
            Reason::BulkheadFull
        };
        Rejection::new(Pattern::Bulkhead, reason)
    }
}

impl Places {
    pub(crate) fn new(limit: u32) -> Self {
        Self { word: CachePadded::new(AtomicU64::new(u64::from(limit) << LIMIT_SHIFT)) }
    }

    /// Takes `weight` places at the first try; `false` when there are too few, somebody waits for them, or another call was
    /// quicker.
    #[inline]
    pub(crate) fn try_take_at_once(&self, weight: u32) -> bool {
        // Relaxed: the word counts, it guards no other memory.
        let seen = self.word.load(Relaxed);
        Seen(seen).takes(weight)
            && self.word.compare_exchange(seen, seen.wrapping_add(weight.into()), Relaxed, Relaxed).is_ok()
    }

    /// Takes `weight` places if they are free and nobody waits for them; what the word said before.
    pub(crate) fn try_take(&self, weight: u32) -> Result<Seen, Seen> {
        // Acquire pairs with the Release of `touch`.
        let step = |seen| Seen(seen).takes(weight).then(|| seen.wrapping_add(weight.into()));
        self.word.fetch_update(Relaxed, Acquire, step).map(Seen).map_err(Seen)
    }

    /// The same below a ceiling, which follows from the limit. Not for the hot path of a bulkhead without ceilings.
    #[inline]
    pub(crate) fn try_take_below(&self, weight: u32, ceiling: impl Fn(u32) -> u32) -> Result<(), Seen> {
        self.take_if(weight, |seen| !seen.is_waiting() && seen.fits(weight, ceiling(seen.limit())))
    }

    /// Takes `weight` places for one who waits, past the flag that keeps the others out.
    pub(crate) fn try_take_in_turn(&self, weight: u32, ceiling: impl Fn(u32) -> u32) -> Result<(), Seen> {
        self.take_if(weight, |seen| seen.fits(weight, ceiling(seen.limit())))
    }

    #[inline]
    fn take_if(&self, weight: u32, may: impl Fn(Seen) -> bool) -> Result<(), Seen> {
        // Release pairs with the Acquire of `take_or_wait`: who raises the flag sees what those who came before noted.
        self.word
            .fetch_update(Release, Relaxed, |seen| may(Seen(seen)).then(|| seen.wrapping_add(weight.into())))
            .map(|_| ())
            .map_err(Seen)
    }

    /// Takes `weight` places, or else raises the flag that somebody waits, in one step: a place that comes free is seen
    /// here, or its giver sees the flag. Neither when the bulkhead is closed or too small.
    pub(crate) fn take_or_wait(&self, weight: u32, ceiling: impl Fn(u32) -> u32) -> Result<(), Seen> {
        // Acquire pairs with the Release of `take_if` and `give_back`.
        let before = self.word.fetch_update(AcqRel, Relaxed, |seen| {
            let ceiling = ceiling(Seen(seen).limit());
            if Seen(seen).fits(weight, ceiling) {
                Some(seen.wrapping_add(weight.into()))
            } else if ceiling < weight {
                None
            } else {
                Some(seen | WAITING)
            }
        });
        match before {
            Ok(seen) if Seen(seen).fits(weight, ceiling(Seen(seen).limit())) => Ok(()),
            Ok(seen) | Err(seen) => Err(Seen(seen)),
        }
    }

    /// Gives `weight` places back; what the word says after that.
    #[inline]
    pub(crate) fn give_back(&self, weight: u32) -> Seen {
        // Release pairs with the Acquire of `seen`, for who finds a drained bulkhead sees what its calls did, and of
        // `take_or_wait`.
        Seen(self.word.fetch_sub(weight.into(), Release).wrapping_sub(weight.into()))
    }

    /// What the word says, for all that comes after: who sees a later word sees what happened before this.
    pub(crate) fn touch(&self) -> Seen {
        // Release pairs with the Acquire of `try_take`, Acquire with the Release of `give_back`.
        Seen(self.word.fetch_add(0, AcqRel))
    }

    /// Lowers the flag: nobody waits.
    pub(crate) fn nobody_waits(&self) {
        self.word.fetch_and(!WAITING, Relaxed);
    }

    /// Changes the limit; a closed bulkhead stays closed.
    pub(crate) fn set_limit(&self, limit: u32) {
        let high = u64::from(limit) << LIMIT_SHIFT;
        let _ = self.word.fetch_update(Relaxed, Relaxed, |seen| {
            (!Seen(seen).is_closed()).then_some((seen & (WAITING | u64::from(u32::MAX))) | high)
        });
    }

    /// Closes for good.
    pub(crate) fn close(&self) {
        self.word.fetch_and(WAITING | u64::from(u32::MAX), Relaxed);
    }

    pub(crate) fn seen(&self) -> Seen {
        // Acquire pairs with the Release of `give_back`.
        Seen(self.word.load(Acquire))
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_word_holds_limit_places_and_flag_apart() {
        let places = Places::new(MAX_LIMIT);

        assert!(places.try_take(MAX_LIMIT).is_ok());
        assert!(places.take_or_wait(1, |limit| limit).is_err());

        let seen = places.seen();
        assert_eq!((seen.limit(), seen.taken(), seen.is_waiting()), (MAX_LIMIT, MAX_LIMIT, true));
        places.nobody_waits();
        assert_eq!(places.give_back(MAX_LIMIT).taken(), 0);
        assert!(!places.seen().is_waiting());
    }

    #[test]
    fn a_limit_below_the_places_taken_lets_nobody_in_until_enough_came_back() {
        let places = Places::new(4);
        assert!(places.try_take(4).is_ok());

        places.set_limit(2);

        let _ = places.give_back(2);
        assert!(places.try_take(1).is_err());
        let _ = places.give_back(1);
        assert!(places.try_take(1).is_ok());
        assert_eq!(places.seen().taken(), 2);
    }

    #[test]
    fn a_closed_bulkhead_cannot_be_resized_open() {
        let places = Places::new(4);

        places.close();
        places.set_limit(9);

        assert!(places.seen().is_closed());
    }
}
