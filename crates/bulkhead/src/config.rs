use std::time::Duration;

use crate::{BulkheadError, places::MAX_LIMIT};

/// Resilience4j's default, and close to what one instance of a service usually keeps busy.
const DEFAULT_MAX_CONCURRENT: u32 = 25;
const DEFAULT_MAX_QUEUED: usize = 100;
const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(500);
/// A longer queue is a memory leak with another name.
const MAX_QUEUED: usize = 1_000_000;

/// How many calls a [`Bulkhead`](crate::Bulkhead) lets through at once.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, BulkheadError};
///
/// assert_eq!(BulkheadConfig::new(8)?.max_concurrent(), 8);
/// assert_eq!(BulkheadConfig::new(0), Err(BulkheadError::MaxConcurrent { max_concurrent: 0 }));
/// # Ok::<(), BulkheadError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawBulkhead", into = "RawBulkhead"))]
pub struct BulkheadConfig {
    max_concurrent: u32,
}

impl BulkheadConfig {
    /// `max_concurrent` places, at least 1. Anything above 2³¹ − 1 is as good as no limit and is taken as that.
    ///
    /// # Errors
    /// [`BulkheadError::MaxConcurrent`] when it is 0: a bulkhead that lets nothing through is a closed one.
    pub fn new(max_concurrent: usize) -> Result<Self, BulkheadError> {
        let limit = u32::try_from(max_concurrent).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        if limit == 0 {
            return Err(BulkheadError::MaxConcurrent { max_concurrent });
        }
        Ok(Self { max_concurrent: limit })
    }

    /// The number of places. Default 25.
    pub const fn max_concurrent(&self) -> u32 {
        self.max_concurrent
    }
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { max_concurrent: DEFAULT_MAX_CONCURRENT }
    }
}

/// How many calls a [`QueueingBulkhead`](crate::QueueingBulkhead) lets through at once, and how many may wait how long.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, QueueingBulkheadConfig};
/// use std::time::Duration;
///
/// let config = QueueingBulkheadConfig::new(BulkheadConfig::new(8)?)
///     .with_max_queued(32)?
///     .with_max_wait(Duration::from_millis(100))?;
/// assert_eq!(config.max_queued(), 32);
/// # Ok::<(), seawall_bulkhead::BulkheadError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawQueueing", into = "RawQueueing"))]
pub struct QueueingBulkheadConfig {
    places: BulkheadConfig,
    max_queued: usize,
    max_wait: Duration,
}

impl QueueingBulkheadConfig {
    /// The given places, a queue of 100 and a wait of 500 ms.
    pub const fn new(places: BulkheadConfig) -> Self {
        Self { places, max_queued: DEFAULT_MAX_QUEUED, max_wait: DEFAULT_MAX_WAIT }
    }

    /// How many calls may wait. Allowed: 1 to 1,000,000. Default 100: enough for a burst, few enough to be served within
    /// the wait by any dependency that deserves the name.
    ///
    /// # Errors
    /// [`BulkheadError::MaxQueued`] outside that range.
    pub fn with_max_queued(mut self, max_queued: usize) -> Result<Self, BulkheadError> {
        if !(1..=MAX_QUEUED).contains(&max_queued) {
            return Err(BulkheadError::MaxQueued { max_queued });
        }
        self.max_queued = max_queued;
        Ok(self)
    }

    /// How long a call may wait. Allowed: any time above zero; [`Duration::MAX`] is "for ever". Default 500 ms: longer
    /// waits outlive the patience of most callers. A call whose deadline comes first waits until that.
    ///
    /// # Errors
    /// [`BulkheadError::MaxWait`] when it is zero.
    pub const fn with_max_wait(mut self, max_wait: Duration) -> Result<Self, BulkheadError> {
        if max_wait.is_zero() {
            return Err(BulkheadError::MaxWait { max_wait });
        }
        self.max_wait = max_wait;
        Ok(self)
    }

    /// The number of places. Default 25.
    pub const fn max_concurrent(&self) -> u32 {
        self.places.max_concurrent
    }

    /// How many calls may wait.
    pub const fn max_queued(&self) -> usize {
        self.max_queued
    }

    /// How long a call may wait.
    pub const fn max_wait(&self) -> Duration {
        self.max_wait
    }
}

impl Default for QueueingBulkheadConfig {
    fn default() -> Self {
        Self::new(BulkheadConfig::default())
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBulkhead {
    max_concurrent: usize,
}

#[cfg(feature = "serde")]
impl From<BulkheadConfig> for RawBulkhead {
    fn from(config: BulkheadConfig) -> Self {
        Self { max_concurrent: usize::try_from(config.max_concurrent).unwrap_or(usize::MAX) }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawBulkhead> for BulkheadConfig {
    type Error = BulkheadError;

    fn try_from(raw: RawBulkhead) -> Result<Self, BulkheadError> {
        Self::new(raw.max_concurrent)
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are those of the file")]
struct RawQueueing {
    max_concurrent: usize,
    #[serde(default = "default_max_queued")]
    max_queued: usize,
    #[serde(default = "default_max_wait")]
    max_wait: Duration,
}

#[cfg(feature = "serde")]
const fn default_max_queued() -> usize {
    DEFAULT_MAX_QUEUED
}

#[cfg(feature = "serde")]
const fn default_max_wait() -> Duration {
    DEFAULT_MAX_WAIT
}

#[cfg(feature = "serde")]
impl From<QueueingBulkheadConfig> for RawQueueing {
    fn from(config: QueueingBulkheadConfig) -> Self {
        let RawBulkhead { max_concurrent } = config.places.into();
        Self { max_concurrent, max_queued: config.max_queued, max_wait: config.max_wait }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawQueueing> for QueueingBulkheadConfig {
    type Error = BulkheadError;

    fn try_from(raw: RawQueueing) -> Result<Self, BulkheadError> {
        Self::new(BulkheadConfig::new(raw.max_concurrent)?).with_max_queued(raw.max_queued)?.with_max_wait(raw.max_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_these() {
        assert_eq!(format!("{:?}", BulkheadConfig::default()), "BulkheadConfig { max_concurrent: 25 }");
        assert_eq!(
            format!("{:?}", QueueingBulkheadConfig::default()),
            "QueueingBulkheadConfig { places: BulkheadConfig { max_concurrent: 25 }, max_queued: 100, max_wait: 500ms }"
        );
    }

    #[test]
    fn the_largest_limit_is_as_good_as_none() {
        assert_eq!(BulkheadConfig::new(usize::MAX).map(|config| config.max_concurrent()), Ok(MAX_LIMIT));
    }

    #[test]
    fn a_queue_that_cannot_work_is_not_built() {
        let config = QueueingBulkheadConfig::default();

        assert_eq!(config.with_max_queued(0), Err(BulkheadError::MaxQueued { max_queued: 0 }));
        assert_eq!(config.with_max_queued(1_000_001), Err(BulkheadError::MaxQueued { max_queued: 1_000_001 }));
        assert_eq!(
            config.with_max_wait(Duration::ZERO).map_err(|error| error.to_string()),
            Err("max_wait is 0ns; allowed is any time above 0s".to_owned())
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_configuration_from_a_file_is_validated_and_a_misspelt_field_refused() {
        let read = serde_json::from_str::<QueueingBulkheadConfig>;

        assert_eq!(read(r#"{"max_concurrent": 25}"#).ok(), Some(QueueingBulkheadConfig::default()));
        assert!(read(r#"{"max_concurrent": 0}"#).is_err_and(|error| error.to_string().contains("max_concurrent is 0")));
        assert!(read(r#"{"max_concurrent": 1, "max_que": 1}"#).is_err());
    }
}
