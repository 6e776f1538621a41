use std::time::Duration;

use crate::{CoDel, ControlledDelay, Knee, LimitRange, LoadShedderError, fair_queue::Order, waiters::Discipline};

/// `Retry-After` counts whole seconds, and an overload that lasts is seen and answered well within one.
pub(crate) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
const DEFAULT_TARGET: Duration = Duration::from_millis(5);
const DEFAULT_INTERVAL: Duration = Duration::from_millis(20);
/// With four places and ten tenants whose calls are of all lengths as many as should come are served: in simulation two times
/// lost 4% of what was due, and five times kept callers until they gave up.
const DEFAULT_TENANT_PATIENCE: u32 = 3;
const MAX_TENANT_PATIENCE: u32 = 100;
/// Far more than can be served within the interval by any server that this limits.
const DEFAULT_MAX_QUEUED: usize = 1_000;
const MAX_QUEUED: usize = 1_000_000;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// How a [`LoadShedder`](crate::LoadShedder) with a [`Knee`] limit is built. The defaults need no tuning.
///
/// ```
/// use seawall_load_shedder::{LimitRange, LoadShedderConfig};
///
/// let config = LoadShedderConfig::default().with_range(LimitRange::new(4, 32, 500)?);
/// assert_eq!(config.range().initial(), 32);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct LoadShedderConfig {
    range: LimitRange,
    retry_after: Duration,
}

impl LoadShedderConfig {
    /// The lowest, first and highest limit. Default: 1, 16, 10,000.
    #[must_use]
    pub const fn with_range(mut self, range: LimitRange) -> Self {
        self.range = range;
        self
    }

    /// What a rejection says on when to come back. Allowed: up to an hour; default 1 s.
    ///
    /// # Errors
    /// [`LoadShedderError::RetryAfter`] when it is more than an hour.
    pub fn with_retry_after(mut self, retry_after: Duration) -> Result<Self, LoadShedderError> {
        if retry_after > MAX_RETRY_AFTER {
            return Err(LoadShedderError::RetryAfter { retry_after });
        }
        self.retry_after = retry_after;
        Ok(self)
    }

    /// The lowest, first and highest limit.
    pub const fn range(&self) -> LimitRange {
        self.range
    }

    /// What a rejection says on when to come back.
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl Default for LoadShedderConfig {
    fn default() -> Self {
        Self { range: Knee::default().range(), retry_after: DEFAULT_RETRY_AFTER }
    }
}

/// How long calls may wait before a [`QueueingLoadShedder`](crate::QueueingLoadShedder), and who of them comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum QueueDiscipline {
    /// [`ControlledDelay`]: the interval, and the target while the queue has not been empty for an interval; then the
    /// newest comes first. The default.
    ControlledDelay,
    /// [`CoDel`](crate::CoDel): from the head, faster and faster, while the shortest wait within an interval stays above
    /// the target; always the oldest first; nobody waits longer than ten intervals. For callers who wait long.
    #[cfg_attr(feature = "serde", serde(rename = "codel"))]
    CoDel,
    /// The times of [`QueueDiscipline::ControlledDelay`], but of a tenant's calls the one with the nearest deadline comes first,
    /// and in a full queue the one with the farthest makes room, be it the newcomer; those without one come last, the oldest
    /// first. One whose deadline leaves less time than a call takes is refused when its turn comes, not run. To come and to leave
    /// takes the logarithm of how many wait.
    ///
    /// Of those who need not wait longer than these times it meets all deadlines if any order does. Under overload it serves first those who are about to miss theirs, where the
    /// newest first meets most: for calls whose deadlines differ much, and are meant.
    ///
    /// # Source
    /// Liu and Layland, "Scheduling algorithms for multiprogramming in a hard-real-time environment", J. ACM 20(1), 1973.
    EarliestDeadlineFirst,
}

/// When the newest of a tenant's calls goes before the oldest, under [`QueueDiscipline::ControlledDelay`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum NewestFirst {
    /// Whether there is an overload or not: for callers who give up soon, and calls that stand alone.
    Always,
    /// Once its queue has not been empty for an interval: then the oldest have waited as long as they may, or nearly, and
    /// the newest still has its time.
    #[default]
    UnderOverload,
    /// First come, first served: for calls whose order matters. Under overload each is served late, or refused after it
    /// has waited.
    Never,
}

/// How a [`QueueingLoadShedder`](crate::QueueingLoadShedder) is built. The defaults need no tuning.
///
/// ```
/// use seawall_load_shedder::QueueingShedderConfig;
///
/// let config = QueueingShedderConfig::default().with_max_queued(100)?;
/// assert_eq!(config.max_queued(), 100);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawQueueing", into = "RawQueueing"))]
pub struct QueueingShedderConfig {
    shedder: LoadShedderConfig,
    target: Duration,
    interval: Duration,
    max_queued: usize,
    discipline: QueueDiscipline,
    newest_first: NewestFirst,
    tenant_patience: u32,
}

impl QueueingShedderConfig {
    /// The given limit, before a queue of 1,000 calls that wait 20 ms, and 5 ms under overload.
    pub const fn new(shedder: LoadShedderConfig) -> Self {
        Self {
            shedder,
            target: DEFAULT_TARGET,
            interval: DEFAULT_INTERVAL,
            max_queued: DEFAULT_MAX_QUEUED,
            discipline: QueueDiscipline::ControlledDelay,
            newest_first: NewestFirst::UnderOverload,
            tenant_patience: DEFAULT_TENANT_PATIENCE,
        }
    }

    /// How long calls wait under overload, and otherwise. Default 5 ms and 20 ms: with these, in simulation, the
    /// goodput of nearly every kind of server was that without a queue or better, and all but a lock convoy recovered within .2 s.
    ///
    /// # Errors
    /// [`LoadShedderError::Delay`] unless `0s < target ≤ interval`.
    pub fn with_delay(mut self, target: Duration, interval: Duration) -> Result<Self, LoadShedderError> {
        ControlledDelay::new(target, interval)?;
        self.target = target;
        self.interval = interval;
        Ok(self)
    }

    /// Another discipline. Default: [`QueueDiscipline::ControlledDelay`].
    #[must_use]
    pub const fn with_discipline(mut self, discipline: QueueDiscipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// When the newest of those who are as critical and of one tenant goes first. Default:
    /// [`NewestFirst::UnderOverload`]. Without effect behind the other disciplines.
    #[must_use]
    pub const fn with_newest_first(mut self, newest_first: NewestFirst) -> Self {
        self.newest_first = newest_first;
        self
    }

    /// How long a call of a tenant that is told apart may wait for its turn, in mean latencies of a call, where that is more
    /// than 25 intervals: before a server whose calls take seconds no place comes free sooner. Allowed: 0, for the intervals
    /// alone, to 100; default 3. Without effect behind [`QueueDiscipline::CoDel`].
    ///
    /// # Errors
    /// [`LoadShedderError::TenantPatience`] above 100.
    pub const fn with_tenant_patience(mut self, calls: u32) -> Result<Self, LoadShedderError> {
        if calls > MAX_TENANT_PATIENCE {
            return Err(LoadShedderError::TenantPatience { calls });
        }
        self.tenant_patience = calls;
        Ok(self)
    }

    /// How many calls may wait. Allowed: 1 to 1,000,000. Default 1,000.
    ///
    /// # Errors
    /// [`LoadShedderError::MaxQueued`] outside that range.
    pub fn with_max_queued(mut self, max_queued: usize) -> Result<Self, LoadShedderError> {
        if !(1..=MAX_QUEUED).contains(&max_queued) {
            return Err(LoadShedderError::MaxQueued { max_queued });
        }
        self.max_queued = max_queued;
        Ok(self)
    }

    /// The lowest, first and highest limit.
    pub const fn range(&self) -> LimitRange {
        self.shedder.range
    }

    /// What a rejection says on when to come back.
    pub const fn retry_after(&self) -> Duration {
        self.shedder.retry_after
    }

    /// How many calls may wait.
    pub const fn max_queued(&self) -> usize {
        self.max_queued
    }

    pub(crate) fn discipline(&self) -> Discipline {
        let within = |order| {
            let delay = ControlledDelay::of_constants(self.target, self.interval);
            Discipline::ControlledDelay { delay, order, tenant_patience: self.tenant_patience }
        };
        match self.discipline {
            QueueDiscipline::ControlledDelay => within(Order::OfArrival(self.newest_first)),
            QueueDiscipline::EarliestDeadlineFirst => within(Order::OfDeadlines),
            QueueDiscipline::CoDel => Discipline::CoDel(CoDel::of_constants(self.target, self.interval)),
        }
    }
}

impl Default for QueueingShedderConfig {
    fn default() -> Self {
        Self::new(LoadShedderConfig::default())
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    min_limit: u32,
    initial_limit: u32,
    max_limit: u32,
    #[serde(with = "humantime_serde")]
    retry_after: Duration,
}

#[cfg(feature = "serde")]
impl Default for Raw {
    fn default() -> Self {
        LoadShedderConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<LoadShedderConfig> for Raw {
    fn from(config: LoadShedderConfig) -> Self {
        let LoadShedderConfig { range, retry_after } = config;
        Self { min_limit: range.min(), initial_limit: range.initial(), max_limit: range.max(), retry_after }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for LoadShedderConfig {
    type Error = LoadShedderError;

    fn try_from(raw: Raw) -> Result<Self, LoadShedderError> {
        Self::default()
            .with_range(LimitRange::new(raw.min_limit, raw.initial_limit, raw.max_limit)?)
            .with_retry_after(raw.retry_after)
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawQueueing {
    min_limit: u32,
    initial_limit: u32,
    max_limit: u32,
    #[serde(with = "humantime_serde")]
    retry_after: Duration,
    #[serde(with = "humantime_serde")]
    target: Duration,
    #[serde(with = "humantime_serde")]
    interval: Duration,
    max_queued: usize,
    discipline: QueueDiscipline,
    newest_first: NewestFirst,
    tenant_patience: u32,
}

#[cfg(feature = "serde")]
impl Default for RawQueueing {
    fn default() -> Self {
        QueueingShedderConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<QueueingShedderConfig> for RawQueueing {
    fn from(config: QueueingShedderConfig) -> Self {
        let QueueingShedderConfig { shedder, target, interval, max_queued, discipline, newest_first, tenant_patience } =
            config;
        let Raw { min_limit, initial_limit, max_limit, retry_after } = shedder.into();
        Self {
            min_limit,
            initial_limit,
            max_limit,
            retry_after,
            target,
            interval,
            max_queued,
            discipline,
            newest_first,
            tenant_patience,
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawQueueing> for QueueingShedderConfig {
    type Error = LoadShedderError;

    fn try_from(raw: RawQueueing) -> Result<Self, LoadShedderError> {
        let RawQueueing { min_limit, initial_limit, max_limit, retry_after, .. } = raw;
        let shedder = Raw { min_limit, initial_limit, max_limit, retry_after }.try_into()?;
        Self::new(shedder)
            .with_discipline(raw.discipline)
            .with_newest_first(raw.newest_first)
            .with_delay(raw.target, raw.interval)?
            .with_max_queued(raw.max_queued)?
            .with_tenant_patience(raw.tenant_patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ThrottleConfig;

    #[test]
    fn defaults_are_these() {
        assert_eq!(
            format!("{:?}", LoadShedderConfig::default()),
            "LoadShedderConfig { range: LimitRange { min: 1, initial: 16, max: 10000 }, retry_after: 1s }"
        );
        assert_eq!(
            format!("{:?}", QueueingShedderConfig::default()),
            "QueueingShedderConfig { shedder: LoadShedderConfig { range: LimitRange { min: 1, initial: 16, max: 10000 }, \
             retry_after: 1s }, target: 5ms, interval: 20ms, max_queued: 1000, discipline: ControlledDelay, newest_first: UnderOverload, tenant_patience: 3 }"
        );
        assert_eq!(format!("{:?}", ThrottleConfig::default()), "ThrottleConfig { k: 2.0, span: 10s, padding: 8 }");
    }

    #[test]
    fn a_limit_of_nothing_and_limits_out_of_order_are_not_built() {
        for (min, initial, max) in [(0, 1, 1), (2, 1, 3), (1, 3, 2), (1, 1, 65_536)] {
            assert_eq!(LimitRange::new(min, initial, max), Err(LoadShedderError::Limits { min, initial, max }));
        }
    }
}
