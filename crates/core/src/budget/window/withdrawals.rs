use super::{COUNT, COUNT_BITS, FULL, RING, STEADY_SLOTS, pack, slot_word};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The retries granted: a count that only grows, with the slot of the newest, and the count at which each slot began.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    pub(super) newest: AtomicU64,
    pub(super) began: [AtomicU64; RING],
}

impl Withdrawals {
    /// Grants one more while fewer than the allowance are in the `kept` slots that end in `slot`. Every grant moves the
    /// one word `newest`, so two never share a place.
    pub(super) fn take(&self, slot: u64, kept: u64, allowance: impl Fn(u64) -> u64) -> bool {
        let mut slot = slot;
        loop {
            // Acquire: with the release of the exchange below, whose beginnings of slots are read next.
            let seen = self.newest.load(Acquire);
            let granted = seen & COUNT;
            slot = slot.max(seen >> COUNT_BITS);
            self.begin(seen >> COUNT_BITS, slot, granted);
            let first = slot.saturating_sub(kept.saturating_sub(1));
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
    pub(super) fn begin(&self, from: u64, to: u64, granted: u64) {
        let first = from.saturating_add(1).max(to.saturating_sub(STEADY_SLOTS - 1));
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
    pub(super) fn used(&self, slot: u64, kept: u64) -> u64 {
        // Acquire: with the exchange in `take`.
        let seen = self.newest.load(Acquire);
        let newest = seen >> COUNT_BITS;
        let first = slot.max(newest).saturating_sub(kept.saturating_sub(1));
        if first > newest {
            return 0;
        }
        (seen & COUNT).wrapping_sub(slot_word(&self.began, first).load(Relaxed)) & COUNT
    }
}
