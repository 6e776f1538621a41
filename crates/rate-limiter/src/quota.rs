use std::time::Duration;

use crate::QuotaError;

/// The longest time that the state of a quota may reach ahead: half of what a [`Timestamp`](seawall_core::Timestamp)
/// holds, so that no sum of it and the time overflows within 292 years.
pub(crate) const MAX_SPAN: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());
/// The interval of a million calls per second: rounding it up to whole nanoseconds costs at most 0.1% of the rate.
const SHORTEST_INTERVAL_NANOS: u64 = 1_000;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many calls in which period, and how many of them at once.
///
/// Calls are spread evenly: `calls` in `period` is one call per `period / calls`, rounded up to whole nanoseconds, so
/// never more than was asked for and at most 0.1% less. The burst is how many may come back to back after a pause;
/// default 1, which is none: a burst is what the service behind must be able to swallow at any time.
///
/// ```
/// use seawall_rate_limiter::{Quota, QuotaError};
/// use std::time::Duration;
///
/// let quota = Quota::per_minute(120)?.with_burst(10)?;
/// assert_eq!(quota.interval(), Duration::from_millis(500));
/// assert_eq!(Quota::per_second(0).unwrap_err().to_string(), "calls is 0 in 1s; allowed are 1 to 1000000 per second");
/// # Ok::<(), QuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawQuota", into = "RawQuota"))]
pub struct Quota {
    calls: u32,
    period: Duration,
    /// Nanoseconds, at least 1; times `burst` at most [`MAX_SPAN`].
    interval: u64,
    burst: u32,
}

impl Quota {
    /// One call a second.
    pub(crate) const UNIT: Self = Self { calls: 1, period: SECOND, interval: 1_000_000_000, burst: 1 };

    /// `calls` in any `period`, burst 1. Allowed: 1 call, or up to 1,000,000 per second; a period above zero.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] and [`QuotaError::Period`] outside these ranges.
    pub const fn new(calls: u32, period: Duration) -> Result<Self, QuotaError> {
        if period.is_zero() || period.as_nanos() > MAX_SPAN.as_nanos() {
            return Err(QuotaError::Period { period });
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
        let nanos = period.as_nanos() as u64;
        if calls == 0 || (calls > 1 && SHORTEST_INTERVAL_NANOS.saturating_mul(calls as u64) > nanos) {
            return Err(QuotaError::Calls { calls, period });
        }
        Ok(Self { calls, period, interval: nanos.div_ceil(calls as u64), burst: 1 })
    }

    /// One call per `interval`, burst 1: exact also above a million calls per second. Allowed: 1 ns and more.
    ///
    /// # Errors
    /// [`QuotaError::Interval`] when it is zero, or above 292 years.
    pub const fn every(interval: Duration) -> Result<Self, QuotaError> {
        match Self::new(1, interval) {
            Ok(quota) => Ok(quota),
            Err(_) => Err(QuotaError::Interval { interval }),
        }
    }

    /// `calls` per second, burst 1. Allowed: 1 to 1,000,000.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] outside that range.
    pub const fn per_second(calls: u32) -> Result<Self, QuotaError> {
        Self::new(calls, SECOND)
    }

    /// `calls` per minute, burst 1. Allowed: 1 to 60,000,000.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] outside that range.
    pub const fn per_minute(calls: u32) -> Result<Self, QuotaError> {
        Self::new(calls, MINUTE)
    }

    /// `calls` per hour, burst 1. Allowed: 1 to 3,600,000,000.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] outside that range.
    pub const fn per_hour(calls: u32) -> Result<Self, QuotaError> {
        Self::new(calls, HOUR)
    }

    /// `calls` per day of 24 hours, burst 1. Allowed: 1 and more.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] when it is 0.
    pub const fn per_day(calls: u32) -> Result<Self, QuotaError> {
        Self::new(calls, DAY)
    }

    /// How many calls may come back to back after a pause. Allowed: 1 and more, as long as they are regained within 292
    /// years. A call that costs more than the burst is never admitted.
    ///
    /// # Errors
    /// [`QuotaError::Burst`] when it is 0, [`QuotaError::BurstSpan`] when regaining it takes longer than that.
    pub const fn with_burst(mut self, burst: u32) -> Result<Self, QuotaError> {
        if burst == 0 {
            return Err(QuotaError::Burst { burst });
        }
        let fits = match self.interval.checked_mul(burst as u64) {
            Some(span) => span as u128 <= MAX_SPAN.as_nanos(),
            None => false,
        };
        if !fits {
            return Err(QuotaError::BurstSpan { burst, interval: self.interval() });
        }
        self.burst = burst;
        Ok(self)
    }

    /// How many calls are regained in a [`Quota::period`].
    pub const fn calls(&self) -> u32 {
        self.calls
    }

    /// The period as it was given.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// How many calls may come at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The time in which one call is regained.
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuota {
    calls: u32,
    #[serde(with = "humantime_serde")]
    period: Duration,
    #[serde(default = "no_burst")]
    burst: u32,
}

#[cfg(feature = "serde")]
const fn no_burst() -> u32 {
    1
}

#[cfg(feature = "serde")]
impl From<Quota> for RawQuota {
    fn from(Quota { calls, period, burst, .. }: Quota) -> Self {
        Self { calls, period, burst }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawQuota> for Quota {
    type Error = QuotaError;

    fn try_from(RawQuota { calls, period, burst }: RawQuota) -> Result<Self, QuotaError> {
        Self::new(calls, period)?.with_burst(burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_has_no_burst_unless_it_is_given_one() {
        assert_eq!(
            format!("{:?}", Quota::per_second(10).unwrap()),
            "Quota { calls: 10, period: 1s, interval: 100000000, burst: 1 }"
        );
    }

    #[test]
    fn an_interval_is_rounded_up_so_that_never_more_is_admitted_than_asked_for() {
        assert_eq!(Quota::per_second(3).map(|quota| quota.interval()), Ok(Duration::from_nanos(333_333_334)));
        assert_eq!(Quota::per_second(999_999).map(|quota| quota.interval()), Ok(Duration::from_nanos(1_001)));
        assert_eq!(Quota::per_day(1_000).map(|quota| quota.interval()), Ok(Duration::from_millis(86_400)));
    }

    #[test]
    fn quotas_that_no_clock_can_keep_are_not_built() {
        let second = Duration::from_secs(1);

        assert_eq!(Quota::per_second(0), Err(QuotaError::Calls { calls: 0, period: second }));
        assert_eq!(Quota::per_second(1_000_001), Err(QuotaError::Calls { calls: 1_000_001, period: second }));
        assert_eq!(Quota::new(1, Duration::ZERO), Err(QuotaError::Period { period: Duration::ZERO }));
        assert_eq!(Quota::new(u32::MAX, Duration::MAX), Err(QuotaError::Period { period: Duration::MAX }));
        assert_eq!(Quota::every(Duration::ZERO), Err(QuotaError::Interval { interval: Duration::ZERO }));
        assert_eq!(Quota::per_second(1).unwrap().with_burst(0), Err(QuotaError::Burst { burst: 0 }));
        let interval = Duration::from_secs(24 * 60 * 60);
        assert_eq!(
            Quota::per_day(1).unwrap().with_burst(u32::MAX),
            Err(QuotaError::BurstSpan { burst: u32::MAX, interval })
        );
        assert_eq!(Quota::every(MAX_SPAN).unwrap().with_burst(1).map(|quota| quota.burst()), Ok(1));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_quota_is_read_as_it_is_written_and_a_misspelt_field_is_an_error() {
        let quota: Quota = serde_json::from_str(r#"{"calls": 100, "period": "1m", "burst": 5}"#).unwrap();
        assert_eq!(Ok(quota), Quota::per_minute(100).unwrap().with_burst(5));
        assert_eq!(serde_json::from_str::<Quota>(&serde_json::to_string(&quota).unwrap()).unwrap(), quota);

        let wrong = serde_json::from_str::<Quota>(r#"{"calls": 100, "period": "1m", "brust": 5}"#);
        assert!(wrong.unwrap_err().to_string().contains("unknown field `brust`"));
        let zero = serde_json::from_str::<Quota>(r#"{"calls": 0, "period": "1s"}"#);
        assert!(zero.unwrap_err().to_string().contains("calls is 0 in 1s"));
    }
}
