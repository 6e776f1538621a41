use std::time::Duration;

use seawall_core::{Environment, Timer};

use crate::{QueueingGcra, QueueingRateLimiterLayer, Quota, QuotaError};

const DEFAULT_MAX_QUEUED: usize = 100;
const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(500);
/// A longer line is a memory leak with another name.
pub(crate) const MAX_QUEUED: usize = 1_000_000;

/// A quota whose calls wait for their turn, and how many of them how long: a [`Quota`], or that of another
/// [`Limit`](crate::Limit).
///
/// ```
/// use seawall_rate_limiter::{QueueingQuota, Quota};
/// use std::time::Duration;
///
/// let quota = QueueingQuota::new(Quota::per_second(100)?).with_max_queued(32)?.with_max_wait(Duration::from_secs(1))?;
/// assert_eq!(quota.max_queued(), 32);
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(
        try_from = "RawQueueingQuota<Q>",
        into = "RawQueueingQuota<Q>",
        bound(serialize = "Q: Clone + serde::Serialize", deserialize = "Q: serde::Deserialize<'de>")
    )
)]
pub struct QueueingQuota<Q = Quota> {
    quota: Q,
    max_queued: usize,
    max_wait: Duration,
}

impl<Q> QueueingQuota<Q> {
    /// The given quota, a line of 100 and a wait of 500 ms.
    pub const fn new(quota: Q) -> Self {
        Self { quota, max_queued: DEFAULT_MAX_QUEUED, max_wait: DEFAULT_MAX_WAIT }
    }

    /// How many calls may wait. Allowed: 1 to 1,000,000. Default 100.
    ///
    /// # Errors
    /// [`QuotaError::MaxQueued`] outside that range.
    pub fn with_max_queued(mut self, max_queued: usize) -> Result<Self, QuotaError> {
        if max_queued == 0 || max_queued > MAX_QUEUED {
            return Err(QuotaError::MaxQueued { max_queued });
        }
        self.max_queued = max_queued;
        Ok(self)
    }

    /// How long a call may wait. Allowed: any time above zero; [`Duration::MAX`] is "for ever". Default 500 ms: longer
    /// waits outlive the patience of most callers. A call that would wait longer, or beyond its deadline, is refused when
    /// it comes.
    ///
    /// # Errors
    /// [`QuotaError::MaxWait`] when it is zero.
    pub fn with_max_wait(mut self, max_wait: Duration) -> Result<Self, QuotaError> {
        if max_wait.is_zero() {
            return Err(QuotaError::MaxWait { max_wait });
        }
        self.max_wait = max_wait;
        Ok(self)
    }

    pub(crate) fn into_quota(self) -> Q {
        self.quota
    }

    /// The same line before what `change` makes of the quota: a limiter of it.
    pub fn map<R>(self, change: impl FnOnce(Q) -> R) -> QueueingQuota<R> {
        QueueingQuota { quota: change(self.quota), max_queued: self.max_queued, max_wait: self.max_wait }
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

impl QueueingQuota {
    /// A layer in an environment of its own, whose clock the waiters sleep on.
    ///
    /// ```
    /// use seawall_core::{Env, VirtualClock};
    /// use seawall_rate_limiter::{QueueingQuota, Quota};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let env = Env::new().with_clock(VirtualClock::new());
    /// let layer = QueueingQuota::new(Quota::per_second(10)?).layer(env);
    /// layer.run(async { Ok::<_, std::io::Error>(()) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<E: Environment<Clock: Timer>>(self, env: E) -> QueueingRateLimiterLayer<E> {
        QueueingRateLimiterLayer::with_env(QueueingGcra::new(self, env.clock().clone()), env)
    }

    /// The quota.
    pub const fn quota(&self) -> Quota {
        self.quota
    }
}

impl From<Quota> for QueueingQuota {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQueueingQuota<Q> {
    quota: Q,
    #[serde(default = "default_max_queued")]
    max_queued: usize,
    #[serde(default = "default_max_wait", with = "humantime_serde")]
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
impl<Q> From<QueueingQuota<Q>> for RawQueueingQuota<Q> {
    fn from(QueueingQuota { quota, max_queued, max_wait }: QueueingQuota<Q>) -> Self {
        Self { quota, max_queued, max_wait }
    }
}

#[cfg(feature = "serde")]
impl<Q> TryFrom<RawQueueingQuota<Q>> for QueueingQuota<Q> {
    type Error = QuotaError;

    fn try_from(RawQueueingQuota { quota, max_queued, max_wait }: RawQueueingQuota<Q>) -> Result<Self, QuotaError> {
        Self::new(quota).with_max_queued(max_queued)?.with_max_wait(max_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_these() {
        let quota = Quota::per_second(10).unwrap();

        assert_eq!(
            format!("{:?}", QueueingQuota::new(quota)),
            format!("QueueingQuota {{ quota: {quota:?}, max_queued: 100, max_wait: 500ms }}")
        );
    }

    #[test]
    fn a_line_that_cannot_work_is_not_built() {
        let quota = QueueingQuota::new(Quota::per_second(10).unwrap());

        assert_eq!(quota.with_max_queued(0), Err(QuotaError::MaxQueued { max_queued: 0 }));
        assert_eq!(quota.with_max_queued(1_000_001), Err(QuotaError::MaxQueued { max_queued: 1_000_001 }));
        assert_eq!(quota.with_max_wait(Duration::ZERO), Err(QuotaError::MaxWait { max_wait: Duration::ZERO }));
    }
}
