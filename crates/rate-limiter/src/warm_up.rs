use std::{fmt, time::Duration};

use seawall_core::{
    Rejection, Timestamp,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{Gcra, Limit, Quota, QuotaError, Standing, limit::gate_of_limit, quota::MAX_SPAN};

/// Guava's and Sentinel's.
const COLD_FACTOR: u32 = 3;
const MAX_COLD_FACTOR: u32 = 1_000;
/// In how many steps the pace follows: one is a hundredth of the warming up.
const STEPS: u64 = 100;

/// A [`Quota`] that is reached only by and by after a pause.
///
/// ```
/// use seawall_rate_limiter::{Quota, WarmUpQuota};
/// use std::time::Duration;
///
/// let quota = WarmUpQuota::new(Quota::per_second(100)?, Duration::from_secs(10))?.with_cold_factor(5)?;
/// assert_eq!(quota.cold_factor(), 5);
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmUpQuota {
    quota: Quota,
    warm_up: Duration,
    cold_factor: u32,
}

impl WarmUpQuota {
    /// A quota that is reached after `warm_up` of calls without a pause. Allowed: above zero, up to 292 years. The cold
    /// factor is 3.
    ///
    /// # Errors
    /// [`QuotaError::WarmUp`] outside that range.
    pub const fn new(quota: Quota, warm_up: Duration) -> Result<Self, QuotaError> {
        if warm_up.is_zero() || warm_up.as_nanos() > MAX_SPAN.as_nanos() {
            return Err(QuotaError::WarmUp { warm_up });
        }
        Ok(Self { quota, warm_up, cold_factor: COLD_FACTOR })
    }

    /// How many times slower than the quota it begins. Allowed: 2 to 1,000. Default 3.
    ///
    /// # Errors
    /// [`QuotaError::ColdFactor`] outside that range.
    pub const fn with_cold_factor(mut self, cold_factor: u32) -> Result<Self, QuotaError> {
        if cold_factor < 2 || cold_factor > MAX_COLD_FACTOR {
            return Err(QuotaError::ColdFactor { cold_factor });
        }
        self.cold_factor = cold_factor;
        Ok(self)
    }

    /// The quota once warm.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// How long it takes to get warm.
    pub const fn warm_up(&self) -> Duration {
        self.warm_up
    }

    /// How many times slower it begins.
    pub const fn cold_factor(&self) -> u32 {
        self.cold_factor
    }
}

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
    quota: WarmUpQuota,
    curve: Curve,
    /// When the pace is next adapted.
    step_ends: AtomicU64,
    taken: AtomicU64,
    /// How many calls are stored: the bits of a float.
    stored: AtomicU64,
    /// How far calls came ahead of their time, in nanoseconds: the bits of a float.
    ahead: AtomicU64,
}

/// How the pace depends on what is stored: a trapezium whose area is the time of warming up.
#[derive(Debug, Copy, Clone, PartialEq)]
struct Curve {
    /// Nanoseconds a call, warm.
    interval: f64,
    warm_up: f64,
    /// What may be stored without slowing down.
    threshold: f64,
    most: f64,
    /// Nanoseconds a call, for each one stored above the threshold.
    slope: f64,
}

impl Curve {
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact to 2⁻⁵³")]
    fn new(quota: &WarmUpQuota) -> Self {
        let interval = quota.quota.interval().as_nanos() as f64;
        let (warm_up, cold) = (quota.warm_up.as_nanos() as f64, f64::from(quota.cold_factor));
        let threshold = warm_up / interval / (cold - 1.0);
        let most = threshold + 2.0 * warm_up / interval / (1.0 + cold);
        Self { interval, warm_up, threshold, most, slope: interval * (cold - 1.0) / (most - threshold) }
    }

    /// Nanoseconds a call.
    fn pace(&self, stored: f64) -> f64 {
        self.slope.mul_add((stored - self.threshold).max(0.0), self.interval)
    }

    /// What is stored after half of the calls that begin within `step` nanoseconds when they come without a pause. Its
    /// pace is their mean one; the pace of the first would be too slow for the rest, and what lags grows.
    fn amid(&self, stored: f64, step: f64) -> f64 {
        (stored - (step / self.pace(stored)).ceil() / 2.0).max(0.0)
    }

    /// What is stored after `span` nanoseconds in which `taken` calls went on at `pace`: each uses up one, until none is
    /// left, and the time in which none was due stores again. Calls that came ahead of their time leave some `ahead`, in
    /// nanoseconds.
    fn after(&self, (stored, ahead): (f64, f64), taken: f64, pace: f64, span: f64) -> (f64, f64) {
        let idle = span - taken.mul_add(pace, ahead);
        let regained = idle.max(0.0) / self.warm_up * self.most;
        (((stored - taken).max(0.0) + regained).min(self.most), (-idle).max(0.0))
    }
}

impl WarmUp {
    /// A limit that is cold.
    pub fn new(quota: WarmUpQuota) -> Self {
        let curve = Curve::new(&quota);
        let limit = Self {
            gcra: Gcra::new(quota.quota),
            quota,
            curve,
            step_ends: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            stored: AtomicU64::new(curve.most.to_bits()),
            ahead: AtomicU64::new(0.0_f64.to_bits()),
        };
        limit.set_pace(curve.most);
        limit
    }

    /// The time in which one call is regained at the moment.
    pub fn interval(&self) -> Duration {
        self.gcra.interval()
    }

    fn step(&self) -> u64 {
        let warm_up = Timestamp::ZERO.saturating_add(self.quota.warm_up).as_nanos();
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
        let (stored, ahead) = self.later(taken, span);
        self.stored.store(stored.to_bits(), Relaxed);
        self.ahead.store(ahead.to_bits(), Relaxed);
        self.set_pace(self.curve.amid(stored, self.step() as f64));
    }

    /// What is stored, and how far calls have come ahead, after a step.
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact to 2⁻⁵³")]
    fn later(&self, taken: f64, span: f64) -> (f64, f64) {
        let [stored, ahead] = [&self.stored, &self.ahead].map(|bits| f64::from_bits(bits.load(Relaxed)));
        self.curve.after((stored, ahead), taken, self.interval().as_nanos() as f64, span)
    }

    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "nanoseconds, above zero; as saturates"
    )]
    fn set_pace(&self, stored: f64) {
        let interval = Duration::from_nanos(self.curve.pace(stored).ceil() as u64);
        // A quota that is slower than any clock can tell stays at the pace that it has.
        if let Ok(quota) = Quota::every(interval).and_then(|quota| quota.with_burst(self.quota.quota.burst())) {
            self.gcra.go_on_at(quota);
        }
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

    fn standing(&self, now: Timestamp) -> Standing {
        self.gcra.standing(now)
    }

    /// When all is cold again.
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact to 2⁻⁵³")]
    fn is_as_new(&self, now: Timestamp) -> bool {
        let taken = self.taken.load(Relaxed) as f64;
        let span = now.as_nanos().saturating_sub(self.step_ends.load(Relaxed)) as f64;
        let (stored, _) = self.later(taken, span);
        stored >= self.curve.most && self.gcra.standing(now).full_in().is_zero()
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
            .field("quota", &self.quota)
            .field("interval", &self.interval())
            .field("stored", &f64::from_bits(self.stored.load(Relaxed)))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
    use proptest::prelude::*;

    use super::*;

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
            let meant = limiter.curve.most - limiter.curve.threshold;
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
                let stored = f64::from_bits(limiter.stored.load(Relaxed));
                prop_assert!((0.0..=limiter.curve.most).contains(&stored));
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
            let stored = f64::from_bits(limiter.stored.load(Relaxed));
            #[expect(clippy::cast_precision_loss, reason = "at most two")]
            let counted = limiter.taken.load(Relaxed) as f64 + limiter.curve.most - stored;
            assert!((0.9..=2.0).contains(&counted), "{counted}");
        });
    }
}
