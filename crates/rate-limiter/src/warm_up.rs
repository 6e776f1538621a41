mod curve;

use std::{fmt, time::Duration};

use curve::Curve;
use seawall_core::{
    Rejection, Timestamp,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{Gcra, Limit, Quota, Standing, WarmUpQuota, limit::gate_of_limit, pace::Pace};

/// In how many steps the pace follows: one is a hundredth of the warming up.
const STEPS: u64 = 100;

/// Admits calls at a rate that rises to a [`Quota`] while they come, and falls again while they do not: for a service
/// that is slow after a pause (connections to open, caches to fill, code to compile).
///
/// What has not been used is stored as cold. As long as much is stored, calls come at a third of the rate, or what the
/// cold factor says; each call uses up some, and the pace rises in a straight line of stored calls until the quota is
/// reached, after [`WarmUpQuota::warm_up`] of calls without a pause. A pause of the same length makes all cold again.
/// The burst of the quota may come at once, cold or warm.
///
/// The pace follows in steps of a hundredth of the warming up, by the call that comes first in each. Between them a call
/// is decided as by a [`Gcra`].
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{Limit, Quota, WarmUp, WarmUpQuota};
/// use std::time::Duration;
///
/// let quota = Quota::per_second(90)?.with_burst(5)?;
/// let limiter = WarmUp::new(WarmUpQuota::new(quota, Duration::from_secs(10))?);
/// let second = |second: u64| {
///     let millis = (0..1_000).map(move |milli| Timestamp::from_nanos((second * 1_000 + milli) * 1_000_000));
///     millis.filter(|now| limiter.take(1, *now).is_ok()).count()
/// };
/// let admitted: Vec<usize> = (0..12).map(second).collect();
/// assert!((30..=40).contains(&admitted[0]), "a third of the rate at first: {admitted:?}");
/// assert!((85..=90).contains(&admitted[11]), "all of it at last: {admitted:?}");
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
///
/// # Source
/// Guava, `SmoothRateLimiter.SmoothWarmingUp`; the steps are Sentinel's `WarmUpController`.
pub struct WarmUp {
    gcra: Gcra,
    built_with: WarmUpQuota,
    /// Nanoseconds a call, warm.
    interval: AtomicU64,
    burst: AtomicU32,
    /// When the pace is next adapted.
    step_ends: AtomicU64,
    taken: AtomicU64,
    /// How much is stored, as a part of what can be: the bits of a float.
    stored: AtomicU64,
    /// How far calls came ahead of their time, in nanoseconds: the bits of a float.
    ahead: AtomicU64,
}

impl WarmUp {
    /// A limit that is cold.
    pub fn new(quota: WarmUpQuota) -> Self {
        let warm = quota.quota();
        let limit = Self {
            gcra: Gcra::new(warm),
            built_with: quota,
            interval: AtomicU64::new(Pace::of(&warm).interval),
            burst: AtomicU32::new(warm.burst()),
            step_ends: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            stored: AtomicU64::new(1.0_f64.to_bits()),
            ahead: AtomicU64::new(0.0_f64.to_bits()),
        };
        let curve = limit.curve();
        limit.set_pace(&curve, curve.most);
        limit
    }

    /// Changes the quota that is reached once warm, while calls go on. What was used stays used, and it stays as warm as it
    /// is. The time of warming up and the cold factor stay: a limit of others is another limit.
    ///
    /// # Examples
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_rate_limiter::{Quota, WarmUp, WarmUpQuota};
    /// use std::time::Duration;
    ///
    /// let limiter = WarmUp::new(WarmUpQuota::new(Quota::per_second(10)?, Duration::from_secs(10))?);
    /// assert_eq!(limiter.interval(), Duration::from_millis(300));
    /// limiter.set_quota(Quota::per_second(100)?, Timestamp::ZERO);
    /// assert_eq!(limiter.interval(), Duration::from_millis(30), "as cold as before, at ten times the rate");
    /// # Ok::<(), seawall_rate_limiter::QuotaError>(())
    /// ```
    pub fn set_quota(&self, quota: Quota, now: Timestamp) {
        self.interval.store(Pace::of(&quota).interval, Relaxed);
        self.burst.store(quota.burst(), Relaxed);
        let curve = self.curve();
        if let Some(quota) = self.quota_at(&curve, self.stored() * curve.most) {
            self.gcra.set_quota(quota, now);
        }
    }

    fn curve(&self) -> Curve {
        Curve::new(self.interval.load(Relaxed), &self.built_with)
    }

    /// How much is stored, as a part of what can be.
    fn stored(&self) -> f64 {
        f64::from_bits(self.stored.load(Relaxed))
    }

    /// The time in which one call is regained at the moment.
    pub fn interval(&self) -> Duration {
        self.gcra.interval()
    }

    fn step(&self) -> u64 {
        let warm_up = Timestamp::ZERO.saturating_add(self.built_with.warm_up()).as_nanos();
        warm_up.checked_div(STEPS).unwrap_or(0).max(1)
    }

    /// Adapts the pace when a step is over. Who wins the word does it; the others go on at the pace that there is.
    fn follow(&self, now: Timestamp) {
        let ends = self.step_ends.load(Relaxed);
        if now.as_nanos() < ends {
            return;
        }
        let next = now.as_nanos().saturating_add(self.step());
        // Relaxed: the words guard no other memory; what two steps that overlap disagree on, the next one sets right.
        if self.step_ends.compare_exchange(ends, next, Relaxed, Relaxed).is_ok() {
            self.adapt(ends, now);
        }
    }

    #[cold]
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact to 2⁻⁵³")]
    fn adapt(&self, ends: u64, now: Timestamp) {
        let taken = self.taken.swap(0, Relaxed) as f64;
        let span = now.as_nanos().saturating_sub(ends.saturating_sub(self.step())) as f64;
        let curve = self.curve();
        let (stored, ahead) = self.later(&curve, taken, span);
        self.stored.store((stored / curve.most).to_bits(), Relaxed);
        self.ahead.store(ahead.to_bits(), Relaxed);
        self.set_pace(&curve, curve.amid(stored, self.step() as f64));
    }

    /// What is stored, and how far calls have come ahead, after a step.
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact to 2⁻⁵³")]
    fn later(&self, curve: &Curve, taken: f64, span: f64) -> (f64, f64) {
        let (stored, ahead) = (self.stored() * curve.most, f64::from_bits(self.ahead.load(Relaxed)));
        curve.after((stored, ahead), taken, self.interval().as_nanos() as f64, span)
    }

    fn set_pace(&self, curve: &Curve, stored: f64) {
        if let Some(quota) = self.quota_at(curve, stored) {
            self.gcra.go_on_at(quota);
        }
    }

    /// What is kept to while so much is stored. A quota that is slower than any clock can tell stays at the pace that it has.
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "nanoseconds, above zero; as saturates"
    )]
    fn quota_at(&self, curve: &Curve, stored: f64) -> Option<Quota> {
        let interval = Duration::from_nanos(curve.pace(stored).ceil() as u64);
        Quota::every(interval).and_then(|quota| quota.with_burst(self.burst.load(Relaxed))).ok()
    }
}

impl Limit for WarmUp {
    fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        self.follow(now);
        self.gcra.take(cost, now)?;
        self.taken.fetch_add(cost.into(), Relaxed);
        Ok(())
    }

    fn charge(&self, cost: u32, now: Timestamp) {
        self.follow(now);
        self.gcra.charge(cost, now);
        self.taken.fetch_add(cost.into(), Relaxed);
    }

    fn refund(&self, cost: u32, _: Timestamp) {
        self.gcra.refund(cost);
        let _ = self.taken.fetch_update(Relaxed, Relaxed, |taken| Some(taken.saturating_sub(cost.into())));
    }

    /// At the pace of the moment, which rises while calls wait.
    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        self.gcra.turn_in(ahead, cost, now)
    }

    fn lateness(&self, cost: u32) -> Duration {
        self.gcra.lateness(cost)
    }

    fn standing(&self, now: Timestamp) -> Standing {
        self.gcra.standing(now)
    }

    /// When all is cold again, and the quota is the one that it was built with.
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact to 2⁻⁵³")]
    fn is_as_new(&self, now: Timestamp) -> bool {
        let taken = self.taken.load(Relaxed) as f64;
        let span = now.as_nanos().saturating_sub(self.step_ends.load(Relaxed)) as f64;
        let curve = self.curve();
        let (stored, _) = self.later(&curve, taken, span);
        let built_with = self.built_with.quota();
        (self.interval.load(Relaxed), self.burst.load(Relaxed)) == (Pace::of(&built_with).interval, built_with.burst())
            && stored >= curve.most
            && self.gcra.standing(now).full_in().is_zero()
    }
}

gate_of_limit!(WarmUp);

impl From<WarmUpQuota> for WarmUp {
    fn from(quota: WarmUpQuota) -> Self {
        Self::new(quota)
    }
}

impl fmt::Debug for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmUp")
            .field("built_with", &self.built_with)
            .field("interval", &self.interval())
            .field("stored", &self.stored())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
    use proptest::prelude::*;

    use super::*;
    use crate::QuotaError;

    const SECOND: u64 = 1_000_000_000;

    fn warm_up(calls: u32, seconds: u64, cold_factor: u32) -> WarmUp {
        let quota = Quota::per_second(calls).and_then(|quota| WarmUpQuota::new(quota, Duration::from_secs(seconds)));
        WarmUp::new(quota.and_then(|quota| quota.with_cold_factor(cold_factor)).expect("in range"))
    }

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    /// Takes whatever there is from `from` on; how many calls that were in `seconds`.
    fn take_all(limiter: &WarmUp, from: u64, seconds: u64) -> u32 {
        let (mut now, mut admitted) = (from, 0);
        while now < from + seconds * SECOND {
            match limiter.take(1, at(now)) {
                Ok(()) => admitted += 1,
                Err(refused) => {
                    let wait = refused.retry_after().expect("an exact wait").as_nanos();
                    // Looks again within a step: the pace may have risen.
                    now += u64::try_from(wait).expect("64 bits").min(limiter.step());
                }
            }
        }
        admitted
    }

    #[test]
    fn a_pause_of_half_the_warming_up_makes_half_of_it_cold() {
        let limiter = warm_up(100, 10, 3);
        take_all(&limiter, 0, 20);
        assert_eq!(limiter.interval(), Duration::from_millis(10));
        assert!(!limiter.is_as_new(at(20 * SECOND)));

        // Stored are 500 of 1,000 then: as much as does not slow down.
        limiter.take(1, at(25 * SECOND)).unwrap();
        assert!(limiter.interval() <= Duration::from_micros(10_100), "{:?}", limiter.interval());

        limiter.take(1, at(32 * SECOND)).unwrap();
        assert!(limiter.interval() > Duration::from_millis(25), "{:?}", limiter.interval());
        assert!(limiter.is_as_new(at(43 * SECOND)));
    }

    #[test]
    fn a_new_quota_is_reached_as_soon_as_the_old_one_would_have_been() {
        let (changed, built) = (warm_up(50, 10, 3), warm_up(100, 10, 3));
        take_all(&changed, 0, 5);
        take_all(&built, 0, 5);

        let quota = Quota::per_second(100).and_then(|quota| quota.with_burst(3)).unwrap();
        changed.set_quota(quota, at(5 * SECOND));

        let [half, as_built] = [&changed, &built].map(|limiter| limiter.interval().as_secs_f64());
        assert!((half / as_built - 1.0).abs() < 0.05, "{half} {as_built}");
        take_all(&changed, 5 * SECOND, 6);
        assert_eq!(changed.interval(), Duration::from_millis(10));
        assert!(changed.take(4, at(20 * SECOND)).is_err() && changed.take(3, at(20 * SECOND)).is_ok());
        // Cold again, but not as one that is built anew.
        assert!(!changed.is_as_new(at(60 * SECOND)));
    }

    #[test]
    fn what_was_used_of_the_old_quota_is_used_of_the_new_one() {
        let limiter = warm_up(1, 10, 3);
        limiter.charge(5, at(0));

        limiter.set_quota(Quota::per_second(10).and_then(|quota| quota.with_burst(8)).unwrap(), at(0));

        assert_eq!(limiter.standing(at(0)).remaining(), 3);
    }

    #[test]
    fn a_step_in_which_no_call_is_due_is_not_a_pause() {
        let limiter = warm_up(50, 2, 3);

        // A step lasts 20 ms, a call takes 60 at first.
        let admitted = take_all(&limiter, 0, 2);

        assert!((48..=52).contains(&admitted), "{admitted}");
    }

    #[test]
    fn calls_at_less_than_the_cold_rate_leave_it_cold() {
        let limiter = warm_up(100, 10, 3);

        for call in 0..400 {
            limiter.take(1, at(call * SECOND / 10)).unwrap();
        }

        assert!(limiter.interval() > Duration::from_millis(28), "{:?}", limiter.interval());
    }

    #[test]
    fn warming_up_that_no_clock_can_keep_is_not_built() {
        let quota = Quota::per_second(1).unwrap();

        for warm_up in [Duration::ZERO, Duration::MAX] {
            assert_eq!(WarmUpQuota::new(quota, warm_up), Err(QuotaError::WarmUp { warm_up }));
        }
        let quota = WarmUpQuota::new(quota, Duration::from_nanos(1)).unwrap();
        for cold_factor in [0, 1, 1_001, u32::MAX] {
            assert_eq!(quota.with_cold_factor(cold_factor), Err(QuotaError::ColdFactor { cold_factor }));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// In the area of the trapezium lie `most - threshold` calls.
        #[test]
        fn under_demand_without_end_it_is_warm_after_the_time_asked_for(
            calls in 25..500_u32, seconds in 2..20_u64, cold_factor in 2..6_u32,
        ) {
            let limiter = warm_up(calls, seconds, cold_factor);
            prop_assert!(limiter.interval().as_secs_f64() * f64::from(calls) > f64::from(cold_factor) * 0.99);

            let admitted = take_all(&limiter, 0, seconds);
            let meant = limiter.curve().most - limiter.curve().threshold;
            let off = (f64::from(admitted) - meant).abs();
            prop_assert!(off < meant.mul_add(0.05, 2.0), "{admitted} of {meant}");

            take_all(&limiter, seconds * SECOND, seconds.div_ceil(10));
            let warm = limiter.interval().as_secs_f64() * f64::from(calls);
            prop_assert!(warm < 1.02, "{warm} of the interval");
        }

        #[test]
        fn no_time_and_no_cost_overflows(
            warm_up in prop_oneof![1..1_000_u64, Just(u64::MAX / 2)],
            interval in prop_oneof![1..1_000_u64, Just(u64::MAX / 2)],
            calls in prop::collection::vec((any::<u64>(), any::<u32>()), 1..50),
        ) {
            let quota = Quota::every(Duration::from_nanos(interval)).unwrap();
            let limiter = WarmUp::new(WarmUpQuota::new(quota, Duration::from_nanos(warm_up)).unwrap());
            for (now, cost) in calls {
                if limiter.take(cost, at(now)).is_err() {
                    limiter.charge(cost, at(now));
                }
                limiter.refund(cost / 2, at(now));
                prop_assert!((0.0..=1.0).contains(&limiter.stored()));
                prop_assert!(limiter.interval() >= Duration::from_nanos(interval));
                limiter.is_as_new(at(now));
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn two_calls_that_meet_at_the_end_of_a_step_are_counted_once_each() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let quota = Quota::per_second(100).and_then(|quota| quota.with_burst(9)).unwrap();
            let limiter = Arc::new(WarmUp::new(WarmUpQuota::new(quota, Duration::from_secs(1)).unwrap()));
            let other = Arc::clone(&limiter);
            let now = Timestamp::from_nanos(10_000_000);
            let second = thread::spawn(move || other.take(1, now).unwrap());
            limiter.take(1, now).unwrap();
            second.join().unwrap();
            let stored = limiter.stored() * limiter.curve().most;
            #[expect(clippy::cast_precision_loss, reason = "at most two")]
            let counted = limiter.taken.load(Relaxed) as f64 + limiter.curve().most - stored;
            assert!((0.9..=2.0).contains(&counted), "{counted}");
        });
    }
}
