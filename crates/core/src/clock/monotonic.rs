use std::sync::OnceLock;

use super::{Clock, Timestamp};
use crate::scope;

/// Stamps start here, so that zero and the marks of the clock scope are never a reading.
const FIRST_STAMP: u64 = 1_000_000_000;

/// A tick of the counter is `scale` / 2⁴⁰ nanoseconds: finer than the calibration knows it, and a product with any
/// number of ticks that a process lives to see fits in 128 bits, the nanoseconds in 64.
const SCALE_BITS: u32 = 40;

static COUNTER: OnceLock<Counter> = OnceLock::new();

/// The counter, and how its ticks become stamps.
struct Counter {
    clock: quanta::Clock,
    /// The tick at which stamps would be 0: [`FIRST_STAMP`] before the first reading.
    zero: u64,
    scale: u64,
}

impl Counter {
    fn new() -> Self {
        let clock = quanta::Clock::new();
        let scale = clock.delta_as_nanos(0, 1 << SCALE_BITS).max(1);
        let before = (u128::from(FIRST_STAMP) << SCALE_BITS).div_ceil(u128::from(scale));
        // Wraps where the machine was started less than that ago; so does the difference when it is read.
        let zero = clock.raw().wrapping_sub(u64::try_from(before).unwrap_or(u64::MAX));
        Self { clock, zero, scale }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds since the process began")]
    fn read(&self) -> Timestamp {
        let ticks = self.clock.raw().wrapping_sub(self.zero);
        Timestamp::from_nanos((u128::from(ticks).wrapping_mul(u128::from(self.scale)) >> SCALE_BITS) as u64)
    }
}

/// The default clock: the processor's time stamp counter, calibrated once against the system's monotonic clock.
///
/// About 12 ns a reading where the counter is invariant; elsewhere it falls back to the system's clock. It takes part
/// in clock scopes: inside one, all layers of a stack share a single reading (see [`ClockScopeLayer`]).
///
/// [`ClockScopeLayer`]: crate::ClockScopeLayer
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct MonotonicClock;

impl MonotonicClock {
    /// Reads the counter itself, whatever scope is in force. Out of line: it is a dozen instructions less per layer than
    /// the same inlined, whose callers then save more registers.
    #[inline(never)]
    pub(crate) fn read() -> Timestamp {
        match COUNTER.get() {
            Some(counter) => counter.read(),
            None => Self::calibrate(),
        }
    }

    /// The first reading of a process.
    #[cold]
    fn calibrate() -> Timestamp {
        COUNTER.get_or_init(Counter::new).read()
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Timestamp {
        scope::shared_reading(Self::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_and_starts_after_the_marks_of_the_scope() {
        let first = MonotonicClock.now();

        let second = MonotonicClock.now();

        assert!(first.as_nanos() >= FIRST_STAMP);
        assert!(second >= first);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the system's clock is what it is compared with")]
    fn runs_as_fast_as_the_clock_of_the_system() {
        let outer = std::time::Instant::now();
        let first = MonotonicClock.now();
        let inner = std::time::Instant::now();
        while inner.elapsed().as_millis() < 5 {
            std::hint::spin_loop();
        }

        let at_least = inner.elapsed();
        let took = MonotonicClock.now().since(first);
        let at_most = outer.elapsed();

        assert!(took >= at_least.mul_f64(0.999) && took <= at_most.mul_f64(1.001), "{at_least:?} {took:?} {at_most:?}");
    }
}
