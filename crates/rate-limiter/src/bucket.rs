//! The slots in which keys live, and how one changes hands.

use seawall_core::{
    Rejection,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Keys that share a bucket: those of one cache line. The model checker has to try fewer interleavings with two.
pub(crate) const WAYS: usize = if cfg!(seawall_loom) { 2 } else { 8 };
/// No key.
pub(crate) const EMPTY: u64 = 0;
/// Stands in place of an arrival while the slot changes hands.
const CLAIMED: u64 = u64::MAX;
/// The last arrival that a slot can hold.
pub(crate) const LATEST: u64 = CLAIMED - 1;

/// Keys and their arrivals, side by side.
///
/// A slot changes hands in three steps: its arrival becomes [`CLAIMED`], which nobody can move; then the key changes;
/// then the arrival is the new one's. A slot never gets the same arrival twice while a caller looks at it, since every
/// new one is later.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Bucket {
    keys: [AtomicU64; WAYS],
    arrivals: [AtomicU64; WAYS],
}

/// One key's place.
#[derive(Copy, Clone)]
pub(crate) struct Slot<'a> {
    key: &'a AtomicU64,
    arrival: &'a AtomicU64,
}

/// What became of a slot that was found.
pub(crate) enum Found {
    Decided(Result<(), Rejection>),
    /// It is no longer the key's.
    Gone,
}

impl Bucket {
    pub(crate) fn empty() -> Self {
        Self {
            keys: std::array::from_fn(|_| AtomicU64::new(EMPTY)),
            arrivals: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Looks at all keys and branches once: which slot a key is in cannot be predicted.
    #[inline]
    pub(crate) fn find(&self, key: u64) -> Option<Slot<'_>> {
        let mut at = WAYS;
        for (way, held) in self.keys.iter().enumerate() {
            // Acquire pairs with the Release of `hand_over`: who sees a slot's new key sees what came before it.
            at = if held.load(Acquire) == key { way } else { at };
        }
        Some(Slot { key: self.keys.get(at)?, arrival: self.arrivals.get(at)? })
    }

    pub(crate) fn arrivals(&self) -> &[AtomicU64] {
        &self.arrivals
    }

    /// How many slots no key has had yet.
    pub(crate) fn unused(&self) -> usize {
        self.keys.iter().filter(|key| key.load(Relaxed) == EMPTY).count()
    }

    pub(crate) fn in_debt(&self, now: u64) -> usize {
        self.arrivals.iter().filter(|arrival| arrival.load(Relaxed) > now).count()
    }

    pub(crate) fn idlest(&self) -> Option<(Slot<'_>, u64)> {
        let slots = self.keys.iter().zip(&self.arrivals);
        slots
            .map(|(key, arrival)| (Slot { key, arrival }, arrival.load(Relaxed)))
            .filter(|(_, seen)| *seen != CLAIMED)
            .min_by_key(|(_, seen)| *seen)
    }
}

impl Slot<'_> {
    #[inline]
    pub(crate) fn update(self, key: u64, decide: impl Fn(u64) -> Result<u64, Rejection>) -> Found {
        loop {
            let Some(seen) = self.read(key) else { return Found::Gone };
            let next = match decide(seen) {
                Ok(next) => next.min(LATEST),
                Err(refused) => return Found::Decided(Err(refused)),
            };
            // Relaxed: `read` has made sure of the key, and a slot that has changed hands since has another arrival.
            if self.arrival.compare_exchange_weak(seen, next, Relaxed, Relaxed).is_ok() {
                return Found::Decided(Ok(()));
            }
        }
    }

    /// The arrival, while the slot is the key's.
    #[inline]
    pub(crate) fn read(self, key: u64) -> Option<u64> {
        // Acquire pairs with the Release of `hand_over`: with a new arrival comes the new key.
        let seen = self.arrival.load(Acquire);
        (seen != CLAIMED && self.key.load(Relaxed) == key).then_some(seen)
    }

    /// From here on nobody moves the arrival but the claimer.
    pub(crate) fn claim(self, seen: u64) -> bool {
        self.arrival.compare_exchange(seen, CLAIMED, Acquire, Relaxed).is_ok()
    }

    pub(crate) fn hand_over(self, key: u64, next: u64) {
        // Both Release, for `find` and for `read`.
        self.key.store(key, Release);
        self.arrival.store(next.min(LATEST), Release);
    }
}

/// Changes an arrival, unless its slot is changing hands.
pub(crate) fn change(arrival: &AtomicU64, to: impl Fn(u64) -> u64) {
    let _ = arrival.fetch_update(Relaxed, Relaxed, |seen| (seen != CLAIMED).then(|| to(seen).min(LATEST)));
}
