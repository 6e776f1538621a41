use std::time::Duration;

use crate::{Quota, QuotaError, quota::MAX_SPAN};

/// Guava's and Sentinel's.
const COLD_FACTOR: u32 = 3;
const MAX_COLD_FACTOR: u32 = 1_000;

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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawWarmUpQuota", into = "RawWarmUpQuota"))]
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

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWarmUpQuota {
    quota: Quota,
    #[serde(with = "humantime_serde")]
    warm_up: Duration,
    #[serde(default = "default_cold_factor")]
    cold_factor: u32,
}

#[cfg(feature = "serde")]
const fn default_cold_factor() -> u32 {
    COLD_FACTOR
}

#[cfg(feature = "serde")]
impl From<WarmUpQuota> for RawWarmUpQuota {
    fn from(WarmUpQuota { quota, warm_up, cold_factor }: WarmUpQuota) -> Self {
        Self { quota, warm_up, cold_factor }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawWarmUpQuota> for WarmUpQuota {
    type Error = QuotaError;

    fn try_from(RawWarmUpQuota { quota, warm_up, cold_factor }: RawWarmUpQuota) -> Result<Self, QuotaError> {
        Self::new(quota, warm_up)?.with_cold_factor(cold_factor)
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written_and_nonsense_is_refused_by_name() {
        let quota: WarmUpQuota =
            serde_json::from_str(r#"{"quota": {"calls": 100, "period": "1s"}, "warm_up": "10s"}"#).unwrap();
        assert_eq!(Ok(quota), WarmUpQuota::new(Quota::per_second(100).unwrap(), Duration::from_secs(10)));
        let dear = quota.with_cold_factor(5).unwrap();
        assert_eq!(serde_json::from_str::<WarmUpQuota>(&serde_json::to_string(&dear).unwrap()).unwrap(), dear);

        let error = |fields: &str| {
            let text = format!(r#"{{"quota": {{"calls": 100, "period": "1s"}}, {fields}}}"#);
            serde_json::from_str::<WarmUpQuota>(&text).unwrap_err().to_string()
        };
        assert!(error(r#""warm_up": "0s""#).starts_with("warm_up is 0s; allowed are 1ns to "));
        assert_eq!(error(r#""warm_up": "1s", "cold_factor": 1"#), "cold_factor is 1; allowed are 2 to 1000");
        assert!(error(r#""warm_up": "1s", "cold": 5"#).starts_with("unknown field `cold`"));
    }
}
