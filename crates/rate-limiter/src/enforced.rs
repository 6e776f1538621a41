use seawall_core::{Admission, CallContext, Enforced, Gate, MayWait, Timestamp};

use crate::AdmitKey;

impl<Q: ?Sized, G: AdmitKey<Q> + Gate<Wait: MayWait<G::Ticket>>> AdmitKey<Q> for Enforced<G> {
    #[inline]
    fn admit_key(
        &self,
        key: &Q,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Self::Ticket, Self::Wait> {
        self.weigh(self.gate().admit_key(key, context, now))
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use seawall_core::{Enforcement, NoWait, Percent};

    use super::*;
    use crate::{KeyedGcra, Quota, Quotas};

    fn admitted<G: AdmitKey<str> + Gate<Wait = NoWait>>(limiter: &Enforced<G>, calls: usize) -> usize {
        let admit = || limiter.admit_key("ann", CallContext::new, || Timestamp::ZERO);
        (0..calls).filter(|_| matches!(admit(), Admission::Admitted(_))).count()
    }

    #[test]
    fn of_a_hundred_refusals_as_many_are_enforced_as_was_asked() {
        for percent in 0..=100 {
            let limiter = KeyedGcra::new(Quota::per_hour(1).unwrap());
            let limiter = Enforced::new(limiter, Enforcement::Percent(Percent::new(percent).unwrap()));
            assert_eq!(admitted(&limiter, 1), 1);

            assert_eq!(admitted(&limiter, 100), 100 - percent as usize);
            assert_eq!(limiter.spared(), u64::from(100 - percent));
        }
    }

    #[test]
    fn a_spared_call_uses_up_nothing() {
        let quotas = Quotas::new().with_shared(Quota::per_second(1).and_then(|quota| quota.with_burst(2)).unwrap());
        let limiter = Enforced::new(quotas, Enforcement::Shadow);

        assert_eq!(admitted(&limiter, 9), 9);

        assert_eq!(limiter.gate().remaining("ann", Timestamp::from_nanos(1_000_000_000)), 1);
        assert!(!limiter.is_idle(|| Timestamp::ZERO));
        assert!(limiter.is_idle(|| Timestamp::from_nanos(2_000_000_000)));
    }
}
