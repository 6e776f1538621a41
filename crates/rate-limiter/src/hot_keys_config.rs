use std::time::Duration;

use crate::QuotaError;

/// What a key's count is the least of.
pub(crate) const ROWS: usize = 4;
const DEFAULT_WIDTH: usize = 4_096;
/// So many cells 16 bits of a hash can pick.
const MAX_WIDTH: usize = 1 << 16;
const DEFAULT_KEYS: usize = 20;
/// They are searched from end to end.
const MAX_KEYS: usize = 1_000;
const DEFAULT_PERIOD: Duration = Duration::from_secs(60);

/// How much room [`HotKeys`](crate::HotKeys) take, and how soon they forget.
///
/// ```
/// use seawall_rate_limiter::{HotKeysConfig, QuotaError};
///
/// let config = HotKeysConfig::default().with_keys(5)?.with_width(10_000)?;
/// assert_eq!((config.keys(), config.width()), (5, 16_384));
/// # Ok::<(), QuotaError>(())
/// ```
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawHotKeysConfig", into = "RawHotKeysConfig"))]
pub struct HotKeysConfig {
    width: usize,
    keys: usize,
    period: Duration,
}

impl Default for HotKeysConfig {
    fn default() -> Self {
        Self { width: DEFAULT_WIDTH, keys: DEFAULT_KEYS, period: DEFAULT_PERIOD }
    }
}

impl HotKeysConfig {
    /// How many counters a row has, of four rows; rounded up to a power of two. Takes 16 bytes each. Allowed: 16 to
    /// 65,536. Default 4,096: 64 KiB.
    ///
    /// # Errors
    /// [`QuotaError::HotKeys`] outside that range.
    pub const fn with_width(mut self, width: usize) -> Result<Self, QuotaError> {
        if width < 16 || width > MAX_WIDTH {
            return Err(QuotaError::HotKeys { field: "width", value: width, least: 16, most: MAX_WIDTH });
        }
        self.width = width.next_power_of_two();
        Ok(self)
    }

    /// How many of the hottest keys are known by name. Allowed: 1 to 1,000. Default 20.
    ///
    /// # Errors
    /// [`QuotaError::HotKeys`] outside that range.
    pub const fn with_keys(mut self, keys: usize) -> Result<Self, QuotaError> {
        if keys == 0 || keys > MAX_KEYS {
            return Err(QuotaError::HotKeys { field: "keys", value: keys, least: 1, most: MAX_KEYS });
        }
        self.keys = keys;
        Ok(self)
    }

    /// After what time counts are halved. Allowed: above zero. Default one minute.
    ///
    /// # Errors
    /// [`QuotaError::Period`] when it is zero.
    pub const fn with_period(mut self, period: Duration) -> Result<Self, QuotaError> {
        if period.is_zero() {
            return Err(QuotaError::Period { period });
        }
        self.period = period;
        Ok(self)
    }

    /// How many counters a row has.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// How many of the hottest keys are known by name.
    pub const fn keys(&self) -> usize {
        self.keys
    }

    /// After what time counts are halved.
    pub const fn period(&self) -> Duration {
        self.period
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawHotKeysConfig {
    width: usize,
    keys: usize,
    #[serde(with = "humantime_serde")]
    period: Duration,
}

#[cfg(feature = "serde")]
impl Default for RawHotKeysConfig {
    fn default() -> Self {
        HotKeysConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<HotKeysConfig> for RawHotKeysConfig {
    fn from(HotKeysConfig { width, keys, period }: HotKeysConfig) -> Self {
        Self { width, keys, period }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawHotKeysConfig> for HotKeysConfig {
    type Error = QuotaError;

    fn try_from(RawHotKeysConfig { width, keys, period }: RawHotKeysConfig) -> Result<Self, QuotaError> {
        Self::default().with_width(width)?.with_keys(keys)?.with_period(period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sketches_without_room_or_of_all_memory_are_not_built() {
        let config = HotKeysConfig::default();

        for width in [0, 15, MAX_WIDTH + 1, usize::MAX] {
            assert!(config.with_width(width).is_err(), "{width}");
        }
        for keys in [0, MAX_KEYS + 1, usize::MAX] {
            assert!(config.with_keys(keys).is_err(), "{keys}");
        }
        assert_eq!(config.with_width(MAX_WIDTH).map(|config| config.width()), Ok(MAX_WIDTH));
        assert_eq!(config.with_period(Duration::ZERO), Err(QuotaError::Period { period: Duration::ZERO }));
    }
    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_as_it_is_written_and_nonsense_is_refused_by_name() {
        let config: HotKeysConfig = serde_json::from_str(r#"{"keys": 5, "period": "10s"}"#).unwrap();
        assert_eq!((config.width(), config.keys(), config.period()), (4_096, 5, Duration::from_secs(10)));
        assert_eq!(serde_json::from_str::<HotKeysConfig>(&serde_json::to_string(&config).unwrap()).unwrap(), config);

        let error = |text| serde_json::from_str::<HotKeysConfig>(text).unwrap_err().to_string();
        assert_eq!(error(r#"{"width": 15}"#), "width is 15; allowed are 16 to 65536");
        assert_eq!(error(r#"{"keys": 0}"#), "keys is 0; allowed are 1 to 1000");
        assert!(error(r#"{"period": "0s"}"#).starts_with("period is 0s; allowed are 1ns to "));
        assert!(error(r#"{"depth": 4}"#).starts_with("unknown field `depth`"));
    }
}
