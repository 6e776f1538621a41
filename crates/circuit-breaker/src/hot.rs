use seawall_core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{evidence::Evidence, word::Tag};

/// What calls read. Written only when the state changes, and by probes.
#[derive(Debug)]
pub(crate) struct Hot {
    /// See [`Word`](crate::word::Word). State and generation change under the ledger's lock, the counters of half-open by
    /// themselves.
    pub(crate) word: AtomicU64,
    /// The last nanosecond of the open time.
    pub(crate) until: AtomicU64,
    /// How many probes of this round were given up on.
    pub(crate) given_up: RoundCount,
    /// How many probes of this round hold no place any more, as they have hung for a while.
    pub(crate) hanging: RoundCount,
    /// When the youngest probe was sent that did not have to wait for one that hangs.
    pub(crate) probed_at: AtomicU64,
    /// When the youngest probe was sent that did.
    pub(crate) probed_beside_at: AtomicU64,
    /// When it last closed by itself, which is where the ramp begins.
    pub(crate) closed_at: AtomicU64,
    /// Until when only what is clear opens it again.
    pub(crate) wary_until: AtomicU64,
    /// What speaks for opening while it is wary: failures, and slow calls.
    pub(crate) evidence: [Evidence; 2],
    /// When a call last counted as failed or slow, of a window of calls: one over time forgets by itself.
    pub(crate) bad_at: AtomicU64,
    /// Which calls are among a share, see [`crate::ramp::STEP`].
    pub(crate) draw: AtomicU64,
}

/// How many probes of a round there are of some kind, and of which round.
#[derive(Debug, Default)]
pub(crate) struct RoundCount(AtomicU64);

impl RoundCount {
    /// None yet in the round of `tag`.
    pub(crate) fn start(&self, tag: Tag) {
        self.0.store(u64::from(tag.bits()) << u32::BITS, Relaxed);
    }

    /// One more, unless another round has begun. Who sees its place free in the word of the breaker sees it counted here.
    pub(crate) fn add(&self, tag: Tag) {
        let more = |seen| (Self::round(seen) == tag.bits()).then_some(seen.saturating_add(1));
        let _ = self.0.fetch_update(Relaxed, Relaxed, more);
    }

    /// At least `count`, unless another round has begun.
    pub(crate) fn raise(&self, tag: Tag, count: u64) {
        let raised = u64::from(tag.bits()) << u32::BITS | count;
        let _ =
            self.0.fetch_update(Relaxed, Relaxed, |seen| (Self::round(seen) == tag.bits()).then(|| seen.max(raised)));
    }

    /// How many there are in the round of `tag`.
    pub(crate) fn count(&self, tag: Tag) -> u64 {
        let seen = self.0.load(Relaxed);
        if Self::round(seen) == tag.bits() { seen & u64::from(u32::MAX) } else { 0 }
    }

    const fn round(seen: u64) -> u32 {
        (seen >> u32::BITS) as u32
    }
}
