use std::time::Duration;

use crate::{QuotaError, quota::MAX_SPAN};

/// So that a window's start and the number of calls in it fit one word: at most one call per microsecond, and debts of a
/// thousand times the limit.
const SHORTEST_NANOS_PER_CALL: u64 = 1_000;

/// How many calls in one window, for limits that count by windows. There is no burst: all calls of a window may come at
/// once.
///
/// ```
/// use seawall_rate_limiter::{QuotaError, WindowQuota};
/// use std::time::Duration;
///
/// let quota = WindowQuota::new(5_000, Duration::from_secs(3_600))?;
/// assert_eq!(quota.calls(), 5_000);
/// assert!(WindowQuota::new(0, Duration::from_secs(1)).is_err());
/// # Ok::<(), QuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawWindowQuota", into = "RawWindowQuota"))]
pub struct WindowQuota {
    calls: u32,
    /// Nanoseconds, at least 1,000 a call.
    period: u64,
}

impl WindowQuota {
    /// `calls` in each `period`. Allowed: 1 to 1,000,000 per second, in a period of up to 292 years.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] and [`QuotaError::Period`] outside these ranges.
    pub const fn new(calls: u32, period: Duration) -> Result<Self, QuotaError> {
        if period.is_zero() || period.as_nanos() > MAX_SPAN.as_nanos() {
            return Err(QuotaError::Period { period });
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
        let nanos = period.as_nanos() as u64;
        if calls == 0 || SHORTEST_NANOS_PER_CALL.saturating_mul(calls as u64) > nanos {
            return Err(QuotaError::Calls { calls, period });
        }
        Ok(Self { calls, period: nanos })
    }

    /// How many calls a window holds.
    pub const fn calls(&self) -> u32 {
        self.calls
    }

    /// How long a window lasts.
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    pub(crate) const fn period_nanos(&self) -> u64 {
        self.period
    }

    /// When the window of `now` began, and how far it has gone.
    pub(crate) const fn window(&self, now: u64) -> (u64, u64) {
        match now.checked_rem(self.period) {
            Some(elapsed) => (now.saturating_sub(elapsed), elapsed),
            None => (now, 0),
        }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindowQuota {
    calls: u32,
    #[serde(with = "humantime_serde")]
    period: Duration,
}

#[cfg(feature = "serde")]
impl From<WindowQuota> for RawWindowQuota {
    fn from(quota: WindowQuota) -> Self {
        Self { calls: quota.calls, period: quota.period() }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawWindowQuota> for WindowQuota {
    type Error = QuotaError;

    fn try_from(RawWindowQuota { calls, period }: RawWindowQuota) -> Result<Self, QuotaError> {
        Self::new(calls, period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_no_word_can_hold_are_not_built() {
        let micro = Duration::from_micros(1);

        assert_eq!(WindowQuota::new(1, micro).map(|quota| (quota.calls(), quota.period())), Ok((1, micro)));
        assert_eq!(WindowQuota::new(0, micro), Err(QuotaError::Calls { calls: 0, period: micro }));
        assert_eq!(WindowQuota::new(2, micro), Err(QuotaError::Calls { calls: 2, period: micro }));
        assert_eq!(WindowQuota::new(1, Duration::ZERO), Err(QuotaError::Period { period: Duration::ZERO }));
        assert_eq!(WindowQuota::new(1, Duration::MAX), Err(QuotaError::Period { period: Duration::MAX }));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_as_it_is_written() {
        let quota: WindowQuota = serde_json::from_str(r#"{"calls": 100, "period": "1m"}"#).unwrap();

        assert_eq!(Ok(quota), WindowQuota::new(100, Duration::from_secs(60)));
        assert_eq!(serde_json::from_str::<WindowQuota>(&serde_json::to_string(&quota).unwrap()).unwrap(), quota);
    }
}
