use std::time::Duration;

use seawall_core::{
    Entropy, Pattern, Reason, Rejection, Timestamp,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// Whether a shedder does what it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Enforcement {
    /// It does: the default.
    #[default]
    Enforce,
    /// It lets every call through and counts those that it would have refused: to look before one leaps.
    Shadow,
}

/// What a shedder says to those that it refuses.
#[derive(Debug)]
pub(crate) struct Refusals<R> {
    retry_after: Duration,
    /// The same in nanoseconds.
    nanos: u64,
    entropy: R,
    /// Relaxed, as the count below: each stands for itself and guards no other memory.
    shadow: AtomicBool,
    would_have_refused: AtomicU64,
}

impl<R: Entropy> Refusals<R> {
    pub(crate) fn new(retry_after: Duration, entropy: R) -> Self {
        Self {
            retry_after,
            nanos: Timestamp::ZERO.saturating_add(retry_after).as_nanos(),
            entropy,
            shadow: AtomicBool::new(false),
            would_have_refused: AtomicU64::new(0),
        }
    }

    pub(crate) const fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// The rejection for `reason`. When to come back is spread from half the time to half as much again, or all who were
    /// refused in one moment would come back in one.
    pub(crate) fn rejection(&self, reason: Reason) -> Rejection {
        let wait = self.nanos / 2;
        let wait = wait.saturating_add(scaled(self.nanos, self.entropy.next_u64()));
        Rejection::new(Pattern::LoadShedder, reason).with_retry_after_nanos(wait)
    }

    pub(crate) fn set(&self, enforcement: Enforcement) {
        self.shadow.store(enforcement == Enforcement::Shadow, Relaxed);
    }

    /// Whether a call that was refused goes on all the same; counts it.
    pub(crate) fn lets_through(&self) -> bool {
        let shadow = self.shadow.load(Relaxed);
        if shadow {
            self.would_have_refused.fetch_add(1, Relaxed);
        }
        shadow
    }

    pub(crate) fn would_have_refused(&self) -> u64 {
        self.would_have_refused.load(Relaxed)
    }
}

/// The part `random` ÷ 2⁶⁴ of `nanos`.
fn scaled(nanos: u64, random: u64) -> u64 {
    (u128::from(nanos).wrapping_mul(random.into()) >> u64::BITS) as u64
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    /// Says the same for ever.
    struct Always(u64);

    impl Entropy for Always {
        fn next_u64(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn the_wait_is_spread_from_half_the_time_to_half_as_much_again() {
        let wait = |random| {
            let refusals = Refusals::new(Duration::from_secs(2), Always(random));
            refusals.rejection(Reason::Overloaded).retry_after()
        };

        assert_eq!(wait(0), Some(Duration::from_secs(1)));
        assert_eq!(wait(1 << 63), Some(Duration::from_secs(2)));
        assert_eq!(wait(u64::MAX), Some(Duration::from_nanos(2_999_999_999)));
    }
}
