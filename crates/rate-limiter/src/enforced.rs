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
        if self.enforces_next() {
            self.weigh(self.gate().admit_key(key, context, now))
        } else {
            self.let_off(self.gate().admit_key_at_once(key, context, now))
        }
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use seawall_core::{Enforcement, NoWait, Percent, VirtualClock};

    use super::*;
    use crate::{KeyedGcra, KeyedQuota, QueueingGcra, QueueingKeys, QueueingQuota, Quota, Quotas};

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

    #[test]
    fn a_spared_call_is_never_in_line_and_a_key_with_something_left_goes_on_though_others_wait() {
        let quota = QueueingQuota::new(KeyedQuota::from(Quota::per_second(2).unwrap()));
        let limiter = QueueingKeys::<_, str, _>::new(quota.map(KeyedGcra::new), VirtualClock::new());
        let limiter = Enforced::new(limiter, Enforcement::Enforce);
        let admit = |key: &str| limiter.admit_key(key, CallContext::new, || Timestamp::ZERO);
        assert!(matches!(admit("ann"), Admission::Admitted(Some(()))));
        let waits = admit("ann");
        assert!(matches!(waits, Admission::Queued(_)));

        limiter.enforce(Enforcement::Shadow);

        assert!(matches!(admit("ann"), Admission::Admitted(None)));
        assert!(matches!(admit("bob"), Admission::Admitted(Some(()))));
        assert!(matches!(admit("bob"), Admission::Admitted(None)));
        assert_eq!((limiter.spared(), limiter.gate().queued(), limiter.gate().lines()), (2, 1, 1));
    }

    #[test]
    fn a_spared_call_takes_nothing_from_who_waits_for_what_they_share() {
        let shared = Quota::per_second(2).and_then(|quota| quota.with_burst(2)).unwrap();
        let quota = QueueingQuota::new(Quotas::new().with_shared(shared));
        let limiter = Enforced::new(QueueingKeys::<_, str, _>::new(quota, VirtualClock::new()), Enforcement::Enforce);
        let admit = |key: &str, cost| limiter.admit_key(key, || CallContext::new().with_cost(cost), || Timestamp::ZERO);
        assert!(matches!(admit("ann", 1), Admission::Admitted(Some(()))));
        let waits_for_two = admit("bob", 2);
        assert!(matches!(waits_for_two, Admission::Queued(_)));

        limiter.enforce(Enforcement::Shadow);

        assert!(matches!(admit("eve", 1), Admission::Admitted(None)));
    }

    #[test]
    fn before_one_quota_too() {
        let quota = QueueingQuota::new(Quota::per_hour(2).unwrap());
        let limiter = Enforced::new(QueueingGcra::new(quota, VirtualClock::new()), Enforcement::Shadow);

        let calls = [(); 3].map(|()| limiter.admit(CallContext::new, || Timestamp::ZERO));

        assert!(matches!(calls, [Admission::Admitted(Some(())), Admission::Admitted(None), Admission::Admitted(None)]));
        assert_eq!((limiter.spared(), limiter.gate().queued()), (2, 0));
    }
}
