use std::time::Duration;

use seawall_core::{
    Admission, CallContext, Gate, NoWait, Outcome, Timestamp,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{AdmitKey, QuotaError};

const ALL: u32 = 100;

/// Enforces only a share of what a limiter refuses: 0 percent is a shadow, which refuses nothing and counts what it would
/// have; then the share is raised, while calls go on, as far as callers bear it.
///
/// Of a hundred refusals exactly that many are enforced, evenly spread. A call that is spared goes on as if there were no
/// limit and uses up nothing. Over any gate that lets nobody wait: a [`Gcra`](crate::Gcra), a
/// [`KeyedGcra`](crate::KeyedGcra), [`Quotas`](crate::Quotas).
///
/// ```
/// use seawall_core::GateLayer;
/// use seawall_rate_limiter::{Enforced, Gcra, Quota};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shadow = Enforced::new(Gcra::new(Quota::per_hour(1)?), 0)?;
/// let layer: GateLayer<Enforced<Gcra>> = GateLayer::new(shadow);
/// for _ in 0..3 {
///     layer.run(async { Ok::<_, std::io::Error>(()) }).await?;
/// }
/// assert_eq!(layer.gate().spared(), 2);
///
/// layer.gate().enforce(100)?;
/// assert!(layer.run(async { Ok::<_, std::io::Error>(()) }).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Enforced<G> {
    gate: G,
    percent: AtomicU32,
    refusals: AtomicU64,
    spared: AtomicU64,
}

impl<G> Enforced<G> {
    /// A limiter of which `percent` of the refusals are enforced. Allowed: 0 to 100.
    ///
    /// # Errors
    /// [`QuotaError::Enforced`] above 100.
    pub fn new(gate: G, percent: u32) -> Result<Self, QuotaError> {
        let enforced =
            Self { gate, percent: AtomicU32::new(0), refusals: AtomicU64::new(0), spared: AtomicU64::new(0) };
        enforced.enforce(percent)?;
        Ok(enforced)
    }

    /// Changes the share while calls go on.
    ///
    /// # Errors
    /// [`QuotaError::Enforced`] above 100.
    pub fn enforce(&self, percent: u32) -> Result<(), QuotaError> {
        if percent > ALL {
            return Err(QuotaError::Enforced { percent });
        }
        self.percent.store(percent, Relaxed);
        Ok(())
    }

    /// How many calls would have been refused, had that been enforced.
    pub fn spared(&self) -> u64 {
        self.spared.load(Relaxed)
    }

    /// The limiter itself.
    pub const fn gate(&self) -> &G {
        &self.gate
    }

    #[cold]
    fn enforces_this(&self) -> bool {
        // Relaxed: counters, which guard no other memory.
        let number = self.refusals.fetch_add(1, Relaxed).checked_rem(ALL.into()).unwrap_or(0);
        let percent = u64::from(self.percent.load(Relaxed));
        let up_to = |number: u64| number.saturating_mul(percent).checked_div(ALL.into());
        let enforces = up_to(number) != up_to(number.saturating_add(1));
        if !enforces {
            self.spared.fetch_add(1, Relaxed);
        }
        enforces
    }
}

impl<G: Gate<Wait = NoWait>> Enforced<G> {
    #[inline]
    fn weigh(&self, admission: Admission<G::Ticket>) -> Admission<Option<G::Ticket>> {
        match admission {
            Admission::Admitted(ticket) => Admission::Admitted(Some(ticket)),
            Admission::Refused(rejection) if self.enforces_this() => Admission::Refused(rejection),
            Admission::Refused(_) => Admission::Admitted(None),
            Admission::Queued(never) => match never {},
        }
    }
}

impl<G: Gate<Wait = NoWait>> Gate for Enforced<G> {
    /// None for a call that was spared.
    type Ticket = Option<G::Ticket>;
    type Wait = NoWait;
    const RECORDS: bool = G::RECORDS;

    #[inline]
    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Self::Ticket> {
        self.weigh(self.gate.admit(context, now))
    }

    fn finish(&self, ticket: Self::Ticket, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.finish(ticket, outcome, now);
        }
    }

    fn pending(&self, ticket: &mut Self::Ticket, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.pending(ticket, now);
        }
    }

    fn pushback(&self, ticket: &Self::Ticket, wait: Duration, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.pushback(ticket, wait, now);
        }
    }

    fn trip(&self, ticket: &Self::Ticket, wait: Option<Duration>, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.trip(ticket, wait, now);
        }
    }

    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.gate.is_idle(now)
    }
}

impl<Q: ?Sized, G: AdmitKey<Q> + Gate<Wait = NoWait>> AdmitKey<Q> for Enforced<G> {
    #[inline]
    fn admit_key(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Self::Ticket> {
        self.weigh(self.gate.admit_key(key, context, now))
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;
    use crate::{KeyedGcra, Quota, Quotas};

    fn admitted<G: AdmitKey<str> + Gate<Wait = NoWait>>(limiter: &Enforced<G>, calls: usize) -> usize {
        let admit = || limiter.admit_key("ann", CallContext::new, || Timestamp::ZERO);
        (0..calls).filter(|_| matches!(admit(), Admission::Admitted(_))).count()
    }

    #[test]
    fn of_a_hundred_refusals_as_many_are_enforced_as_was_asked() {
        for percent in 0..=100 {
            let limiter = Enforced::new(KeyedGcra::new(Quota::per_hour(1).unwrap()), percent).unwrap();
            assert_eq!(admitted(&limiter, 1), 1);

            assert_eq!(admitted(&limiter, 100), 100 - percent as usize);
            assert_eq!(limiter.spared(), u64::from(100 - percent));
        }
    }

    #[test]
    fn half_is_every_other_one() {
        let limiter = Enforced::new(KeyedGcra::new(Quota::per_hour(1).unwrap()), 50).unwrap();
        assert_eq!(admitted(&limiter, 1), 1);

        assert_eq!([admitted(&limiter, 1), admitted(&limiter, 1), admitted(&limiter, 1)], [1, 0, 1]);
    }

    #[test]
    fn a_spared_call_uses_up_nothing() {
        let quotas = Quotas::new().with_shared(Quota::per_second(1).and_then(|quota| quota.with_burst(2)).unwrap());
        let limiter = Enforced::new(quotas, 0).unwrap();

        assert_eq!(admitted(&limiter, 9), 9);

        assert_eq!(limiter.gate().remaining("ann", Timestamp::from_nanos(1_000_000_000)), 1);
        assert!(!limiter.is_idle(|| Timestamp::ZERO));
        assert!(limiter.is_idle(|| Timestamp::from_nanos(2_000_000_000)));
    }

    #[test]
    fn more_than_all_is_not_enforced() {
        let limiter = Enforced::new(Quotas::new(), 100).unwrap();

        assert_eq!(limiter.enforce(101), Err(QuotaError::Enforced { percent: 101 }));
        assert!(Enforced::new(Quotas::new(), u32::MAX).is_err());
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn of_two_refusals_that_meet_half_is_enforced() {
        loom::model(|| {
            let limiter = Arc::new(Enforced::new((), 50).unwrap());
            let other = Arc::clone(&limiter);
            let there = thread::spawn(move || other.enforces_this());

            let here = limiter.enforces_this();

            assert!(here ^ there.join().unwrap());
            assert_eq!(limiter.spared(), 1);
        });
    }
}
