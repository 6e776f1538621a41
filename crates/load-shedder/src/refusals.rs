use std::time::Duration;

use seawall_core::{Criticality, Enforcement, Enforcing, Entropy, Pattern, Reason, Rejection, Timestamp, sync::Arc};

/// What a shedder says to those that it refuses.
#[derive(Debug)]
pub(crate) struct Refusals<R> {
    /// When to come back, in nanoseconds.
    nanos: u64,
    entropy: R,
    for_load: Enforcing,
    /// The line asks it, too.
    for_deadlines: Arc<Enforcing>,
}

impl<R: Entropy> Refusals<R> {
    pub(crate) fn new(retry_after: Duration, entropy: R) -> Self {
        Self {
            nanos: Timestamp::ZERO.saturating_add(retry_after).as_nanos(),
            entropy,
            for_load: Enforcing::default(),
            for_deadlines: Arc::default(),
        }
    }

    /// The same, but for the random words.
    pub(crate) fn with_entropy<S>(self, entropy: S) -> Refusals<S> {
        let Self { nanos, for_load, for_deadlines, .. } = self;
        Refusals { nanos, entropy, for_load, for_deadlines }
    }

    /// The rejection for `reason`. When to come back is spread from half the time to half as much again, or all who were
    /// refused in one moment would come back in one.
    pub(crate) fn rejection(&self, reason: Reason, criticality: Criticality) -> Rejection {
        // An hour and a half at most.
        let wait = (self.nanos / 2).wrapping_add(scaled(self.nanos, self.entropy.next_u64()));
        Rejection::new(Pattern::LoadShedder, reason).with_criticality(criticality).with_retry_after_nanos(wait)
    }

    pub(crate) fn set(&self, enforcement: Enforcement) {
        self.for_load.set(enforcement);
        self.for_deadlines.set(enforcement);
    }

    pub(crate) const fn for_deadlines(&self) -> &Arc<Enforcing> {
        &self.for_deadlines
    }

    pub(crate) fn set_for_deadlines(&self, enforcement: Enforcement) {
        self.for_deadlines.set(enforcement);
    }

    /// Whether none goes on that is refused for the load.
    #[inline]
    pub(crate) fn enforces_all(&self) -> bool {
        self.for_load.enforces_all()
    }

    /// Whether a call that was refused goes on all the same; counts it.
    pub(crate) fn lets_through(&self, reason: Reason) -> bool {
        let enforcing = if reason == Reason::DeadlineTooClose { &*self.for_deadlines } else { &self.for_load };
        !enforcing.enforces()
    }

    pub(crate) fn would_have_refused(&self) -> u64 {
        self.for_load.spared().saturating_add(self.for_deadlines.spared())
    }

    pub(crate) fn would_have_refused_for_deadlines(&self) -> u64 {
        self.for_deadlines.spared()
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
            refusals.rejection(Reason::Overloaded, Criticality::Default).retry_after()
        };

        assert_eq!(wait(0), Some(Duration::from_secs(1)));
        assert_eq!(wait(1 << 63), Some(Duration::from_secs(2)));
        assert_eq!(wait(u64::MAX), Some(Duration::from_nanos(2_999_999_999)));
    }
}
