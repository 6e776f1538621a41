use std::{fmt, time::Duration};

/// A point in time: nanoseconds since an anchor that one process keeps for its whole life.
///
/// All arithmetic saturates: a stamp from another core that arrives late gives a difference of zero, never a wrap.
///
/// ```
/// use seawall_core::Timestamp;
/// use std::time::Duration;
///
/// let start = Timestamp::from_nanos(1_000);
/// let end = start.saturating_add(Duration::from_nanos(500));
/// assert_eq!(end.since(start), Duration::from_nanos(500));
/// assert_eq!(start.since(end), Duration::ZERO);
/// ```
#[derive(Copy, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The anchor itself.
    pub const ZERO: Self = Self(0);
    /// The end of time, 584 years after the anchor: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The stamp `nanos` nanoseconds after the anchor.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the anchor.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds that passed since `earlier`; zero when `earlier` is later.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The stamp `by` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(by)))
    }

    /// The stamp `by` earlier, at least [`Timestamp::ZERO`].
    #[must_use]
    pub const fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(by)))
    }
}

/// `by` in whole nanoseconds; 584 years and more are `u64::MAX`.
pub(crate) const fn saturating_nanos(by: Duration) -> u64 {
    let nanos = by.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
        {
            nanos as u64
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({:?})", Duration::from_nanos(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_sums_saturate_at_both_ends() {
        assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.saturating_sub(Duration::MAX), Timestamp::ZERO);
        assert_eq!(Timestamp::MAX.nanos_since(Timestamp::ZERO), u64::MAX);
    }
}
