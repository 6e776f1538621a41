use std::time::Duration;

use seawall_core::{Environment, Timer};

#[cfg(feature = "serde")]
use crate::config::RawBulkhead;
use crate::{BulkheadConfig, BulkheadError, Order, QueueingBulkhead, QueueingBulkheadLayer};

const DEFAULT_MAX_QUEUED: usize = 100;
const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(500);
/// A longer queue is a memory leak with another name.
const MAX_QUEUED: usize = 1_000_000;

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
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawQueueing", into = "RawQueueing"))]
pub struct QueueingBulkheadConfig {
    places: BulkheadConfig,
    max_queued: usize,
    max_wait: Duration,
    order: Order,
}

impl QueueingBulkheadConfig {
    /// The given places, a queue of 100, a wait of 500 ms, the oldest first.
    pub const fn new(places: BulkheadConfig) -> Self {
        Self { places, max_queued: DEFAULT_MAX_QUEUED, max_wait: DEFAULT_MAX_WAIT, order: Order::OldestFirst }
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
    pub fn with_max_wait(mut self, max_wait: Duration) -> Result<Self, BulkheadError> {
        if max_wait.is_zero() {
            return Err(BulkheadError::MaxWait { max_wait });
        }
        self.max_wait = max_wait;
        Ok(self)
    }

    /// Whose turn it is among those who wait. Default: the oldest's.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// A layer in an environment of its own, whose clock the waiters sleep on.
    ///
    /// ```
    /// use seawall_bulkhead::QueueingBulkheadConfig;
    /// use seawall_core::{Env, VirtualClock};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = QueueingBulkheadConfig::default().layer(Env::new().with_clock(VirtualClock::new()));
    /// layer.run(async { Ok::<_, std::io::Error>(()) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<E: Environment<Clock: Timer>>(self, env: E) -> QueueingBulkheadLayer<E> {
        QueueingBulkheadLayer::with_env(QueueingBulkhead::new(self, env.clock().clone()), env)
    }

    /// The number of places. Default 25.
    pub const fn max_concurrent(&self) -> u32 {
        self.places.max_concurrent()
    }

    /// How many calls may wait.
    pub const fn max_queued(&self) -> usize {
        self.max_queued
    }

    /// How long a call may wait.
    pub const fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// Whose turn it is among those who wait.
    pub const fn order(&self) -> &Order {
        &self.order
    }

    pub(crate) fn into_order(self) -> Order {
        self.order
    }
}

impl Default for QueueingBulkheadConfig {
    fn default() -> Self {
        Self::new(BulkheadConfig::default())
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawQueueing {
    max_concurrent: usize,
    max_queued: usize,
    #[serde(with = "humantime_serde")]
    max_wait: Duration,
    order: Order,
}

#[cfg(feature = "serde")]
impl Default for RawQueueing {
    fn default() -> Self {
        QueueingBulkheadConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<QueueingBulkheadConfig> for RawQueueing {
    fn from(config: QueueingBulkheadConfig) -> Self {
        let RawBulkhead { max_concurrent } = config.places.into();
        Self { max_concurrent, max_queued: config.max_queued, max_wait: config.max_wait, order: config.order }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawQueueing> for QueueingBulkheadConfig {
    type Error = BulkheadError;

    fn try_from(raw: RawQueueing) -> Result<Self, BulkheadError> {
        let places = BulkheadConfig::new(raw.max_concurrent)?;
        Self::new(places).with_order(raw.order).with_max_queued(raw.max_queued)?.with_max_wait(raw.max_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_these() {
        assert_eq!(
            format!("{:?}", QueueingBulkheadConfig::default()),
            "QueueingBulkheadConfig { places: BulkheadConfig { max_concurrent: 25 }, max_queued: 100, max_wait: 500ms, order: OldestFirst }"
        );
    }

    #[test]
    fn a_queue_that_cannot_work_is_not_built() {
        let config = QueueingBulkheadConfig::default;

        assert_eq!(config().with_max_queued(0), Err(BulkheadError::MaxQueued { max_queued: 0 }));
        assert_eq!(config().with_max_queued(1_000_001), Err(BulkheadError::MaxQueued { max_queued: 1_000_001 }));
        assert_eq!(
            config().with_max_wait(Duration::ZERO).map_err(|error| error.to_string()),
            Err("max_wait is 0s; allowed is any time above 0s".to_owned())
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_configuration_from_a_file_is_validated_and_a_misspelt_field_refused() {
        let read = |text: &str| serde_json::from_str::<QueueingBulkheadConfig>(text);

        assert_eq!(read(r#"{"max_concurrent": 25}"#).ok(), Some(QueueingBulkheadConfig::default()));
        assert_eq!(read("{}").ok(), Some(QueueingBulkheadConfig::default()));
        assert_eq!(serde_json::from_str("{}").ok(), Some(BulkheadConfig::default()));
        for wait in [Duration::from_millis(200), Duration::from_secs(90), Duration::MAX] {
            let config = QueueingBulkheadConfig::default().with_max_wait(wait).unwrap();
            assert_eq!(read(&serde_json::to_string(&config).unwrap()).ok(), Some(config));
        }
        assert!(read(r#"{"max_wait": "200ms"}"#).is_ok_and(|config| config.max_wait() == Duration::from_millis(200)));
        assert!(read(r#"{"max_wait": "0s"}"#).is_err_and(|error| error.to_string().contains("max_wait is 0s")));
        assert!(read(r#"{"max_concurrent": 0}"#).is_err_and(|error| error.to_string().contains("max_concurrent is 0")));
        assert!(read(r#"{"max_concurrent": 1, "max_que": 1}"#).is_err());
        for order in [
            r#""newest_first""#,
            r#"{"most_critical_first":{"above_sheddable":0.2,"above_degraded":0.1,"above_default":0.0}}"#,
            r#"{"by_share":"equal"}"#,
            r#"{"by_share":{"fixed":[[1,0.5],[2,0.25]]}}"#,
            r#"{"by_share":{"lent_in_part":{"fixed":[[1,0.5]],"kept":0.25}}}"#,
        ] {
            let config = read(&format!(r#"{{"max_concurrent": 4, "order": {order}}}"#)).unwrap();
            assert!(serde_json::to_string(&config).unwrap().ends_with(&format!(r#""order":{order}}}"#)));
        }
        let too_much = read(r#"{"max_concurrent": 4, "order": {"by_share": {"fixed": [[1, 0.9], [2, 0.9]]}}}"#);
        assert!(too_much.is_err_and(|error| error.to_string().contains("the shares sum to 1800000 millionths")));
    }
}
