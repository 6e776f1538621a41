use std::time::Duration;

use seawall_core::{
    Entropy, Pattern, Reason, Rejection,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    unit_interval,
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
    entropy: R,
    shadow: AtomicBool,
    would_have_refused: AtomicU64,
}

impl<R: Entropy> Refusals<R> {
    pub(crate) fn new(retry_after: Duration, entropy: R) -> Self {
        Self { retry_after, entropy, shadow: AtomicBool::new(false), would_have_refused: AtomicU64::new(0) }
    }

    pub(crate) const fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// The rejection for `reason`. When to come back is spread from half the time to half as much again, or all who were
    /// refused in one moment would come back in one.
    pub(crate) fn rejection(&self, reason: Reason) -> Rejection {
        let wait = self.retry_after.mul_f64(0.5 + unit_interval(self.entropy.next_u64()));
        Rejection::new(Pattern::LoadShedder, reason).with_retry_after(wait)
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
