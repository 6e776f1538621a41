use seawall_core::Timestamp;

/// The epoch of calls that are counted and teach nothing: exempt ones, and those that are not timed. Above all others.
pub(crate) const UNTIMED: u32 = 1 << 31;

/// What an admitted call carries until its end.
#[derive(Debug)]
#[must_use = "a call that does not come back is counted for ever"]
pub struct Passage {
    pub(super) start: Timestamp,
    /// The probe that it belongs to, 0 for none, above how much of the limit it takes. Two words in all, so that it is
    /// handed on in registers.
    epoch_and_cost: u64,
}

impl Passage {
    #[inline]
    pub(crate) const fn new(start: Timestamp, epoch: u32, cost: u32) -> Self {
        Self { start, epoch_and_cost: (epoch as u64) << 32 | cost as u64 }
    }

    #[inline]
    pub(super) const fn epoch(&self) -> u32 {
        narrow(self.epoch_and_cost >> 32)
    }

    /// Whether it teaches nothing: one bit, which nearly every call asks.
    #[inline]
    pub(super) const fn is_untimed(&self) -> bool {
        self.epoch_and_cost >> 63 != 0
    }

    #[inline]
    pub(super) const fn cost(&self) -> u32 {
        narrow(self.epoch_and_cost)
    }

    /// The same, but timed whatever was decided: what it began for is to be learnt.
    pub(crate) const fn looking(self) -> Self {
        if self.is_untimed() { Self::new(self.start, 0, self.cost()) } else { self }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub(super) const fn narrow(word: u64) -> u32 {
    word as u32
}
