use std::time::Duration;

use seawall_core::{InheritDeadline, Reason, Timestamp};

use crate::{AdaptiveConfig, TimeoutError};

/// How long a call may take.
///
/// ```
/// use seawall_timeout::TimeoutConfig;
/// use std::time::Duration;
///
/// let per_attempt = TimeoutConfig::attempt(Duration::from_millis(500))?;
/// let per_call = TimeoutConfig::total(Duration::from_secs(5))?;
/// # let _ = (per_attempt, per_call);
/// assert_eq!(
///     TimeoutConfig::attempt(Duration::ZERO).unwrap_err().to_string(),
///     "attempt is 0s; allowed is any time above 0s"
/// );
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeoutConfig {
    limit: Limit,
    expired: Reason,
    min_remaining: Duration,
    usual_remaining: Option<f64>,
    observed_only: bool,
    reserve: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Fixed(Duration),
    Adaptive(AdaptiveConfig),
}

/// Until when a call may take, and what it is told when it takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// [`Timestamp::MAX`]: for ever.
    pub(crate) until: Timestamp,
    pub(crate) expired: Reason,
}

impl Allowance {
    /// The same where the deadline is the end of a total timeout further out.
    pub(crate) const fn by_total(self) -> Self {
        match self.expired {
            Reason::DeadlineExceeded => Self { expired: Reason::TotalTimeout, ..self },
            _ => self,
        }
    }

    /// Lets what `call` calls inherit that end less `reserve`, where it is more than that of one attempt.
    pub(crate) fn inherited_by<F>(self, reserve: Duration, call: F) -> InheritDeadline<F> {
        let told = if self.until < Timestamp::MAX { self.until.saturating_sub(reserve) } else { self.until };
        match self.expired {
            Reason::TotalTimeout => InheritDeadline::until_total(told, call),
            Reason::DeadlineExceeded => InheritDeadline::new(told, call),
            _ => InheritDeadline::new(Timestamp::MAX, call),
        }
    }
}

impl TimeoutConfig {
    /// Cuts one attempt that takes `limit` or longer with [`Reason::AttemptTimeout`]: inside a retry.
    /// [`Duration::MAX`] never does.
    ///
    /// # Errors
    /// `limit` is 0.
    pub const fn attempt(limit: Duration) -> Result<Self, TimeoutError> {
        if limit.is_zero() {
            return Err(TimeoutError::Zero { field: "attempt" });
        }
        Ok(Self::new(Limit::Fixed(limit), Reason::AttemptTimeout))
    }

    /// Cuts a whole call that takes `limit` or longer with [`Reason::TotalTimeout`]: outside a retry.
    /// [`Duration::MAX`] leaves it to the deadlines that calls bring along.
    ///
    /// # Errors
    /// `limit` is 0.
    pub const fn total(limit: Duration) -> Result<Self, TimeoutError> {
        if limit.is_zero() {
            return Err(TimeoutError::Zero { field: "total" });
        }
        Ok(Self::new(Limit::Fixed(limit), Reason::TotalTimeout))
    }

    /// Allows only what is answered in its first poll: a cache in memory, say. Cuts with [`Reason::AttemptTimeout`].
    pub const fn immediate() -> Self {
        Self::new(Limit::Fixed(Duration::ZERO), Reason::AttemptTimeout)
    }

    /// Cuts one attempt that takes much longer than is usual: see [`AdaptiveConfig`].
    pub const fn adaptive(config: AdaptiveConfig) -> Self {
        Self::new(Limit::Adaptive(config), Reason::AttemptTimeout)
    }

    const fn new(limit: Limit, expired: Reason) -> Self {
        Self {
            limit,
            expired,
            min_remaining: Duration::ZERO,
            usual_remaining: None,
            observed_only: false,
            reserve: Duration::ZERO,
        }
    }

    /// Refuses with [`Reason::DeadlineTooClose`], unsent, a call whose deadline leaves less than this. Default 0: only
    /// those whose deadline has passed.
    #[must_use]
    pub const fn with_min_remaining(mut self, min_remaining: Duration) -> Self {
        self.min_remaining = min_remaining;
        self
    }

    /// Refuses with [`Reason::DeadlineTooClose`], unsent, a call whose deadline leaves less than what the share `quantile`
    /// of recent successes took: it would most likely be in vain. Looks back over the last 10 to 20 s; with fewer than 100
    /// successes in them nothing is known and nothing is refused. Default: not asked. 0.95 is a good start.
    ///
    /// # Errors
    /// A quantile that is not between 0 and 1.
    pub fn with_usual_remaining(mut self, quantile: f64) -> Result<Self, TimeoutError> {
        if !(quantile > 0.0 && quantile < 1.0) {
            return Err(TimeoutError::Quantile { quantile });
        }
        self.usual_remaining = Some(quantile);
        Ok(self)
    }

    /// Only counts the calls that would be refused for their deadline, and lets them go on until the layer's own limit:
    /// to see what a deadline would do before it does it. [`TimeoutLayer::spared`](crate::TimeoutLayer::spared) is the
    /// count. Default: calls are refused.
    #[must_use]
    pub const fn with_deadline_observed_only(mut self) -> Self {
        self.observed_only = true;
        self
    }

    /// What the deadline given on to the other side is earlier than our own, so that its answer still reaches us.
    /// Default 0.
    #[must_use]
    pub const fn with_reserve(mut self, reserve: Duration) -> Self {
        self.reserve = reserve;
        self
    }

    pub(crate) const fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) const fn usual_remaining(&self) -> Option<f64> {
        self.usual_remaining
    }

    pub(crate) const fn is_observed_only(&self) -> bool {
        self.observed_only
    }

    /// A call that may go on until `own`, whatever its deadline.
    #[inline]
    pub(crate) const fn allow_until(&self, own: Timestamp) -> Allowance {
        Allowance { until: own, expired: self.expired }
    }

    pub(crate) const fn reserve(&self) -> Duration {
        self.reserve
    }

    /// The earlier of our own end, `own`, and the deadline that the call brings along; nothing when that leaves too
    /// little: less than the setting, or than `usual`.
    #[inline]
    pub(crate) fn allow(
        &self,
        own: Timestamp,
        now: Timestamp,
        deadline: Option<Timestamp>,
        usual: impl FnOnce() -> Duration,
    ) -> Option<Allowance> {
        let Some(deadline) = deadline else { return Some(self.allow_until(own)) };
        let left = deadline.since(now);
        if left.is_zero() || left < self.min_remaining || left < usual() {
            return None;
        }
        let sooner = deadline < own;
        Some(if sooner {
            Allowance { until: deadline, expired: Reason::DeadlineExceeded }
        } else {
            self.allow_until(own)
        })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    /// What a call of at most a second may do that begins at second 10.
    fn allowed(deadline: Option<Timestamp>) -> Option<(Timestamp, Reason)> {
        let config = TimeoutConfig::attempt(SECOND).unwrap().with_min_remaining(Duration::from_millis(100));
        let allowance = config.allow(seconds(11), seconds(10), deadline, || Duration::ZERO);
        allowance.map(|allowance| (allowance.until, allowance.expired))
    }

    #[test]
    fn the_earlier_of_limit_and_deadline_counts_and_says_which_it_was() {
        assert_eq!(allowed(None), Some((seconds(11), Reason::AttemptTimeout)));
        assert_eq!(allowed(Some(seconds(11))), Some((seconds(11), Reason::AttemptTimeout)));
        assert_eq!(allowed(Some(seconds(12))), Some((seconds(11), Reason::AttemptTimeout)));
        let sooner = seconds(10).saturating_add(Duration::from_millis(500));
        assert_eq!(allowed(Some(sooner)), Some((sooner, Reason::DeadlineExceeded)));
    }

    #[test]
    fn a_deadline_that_leaves_too_little_refuses_the_call() {
        assert_eq!(allowed(Some(seconds(9))), None);
        assert_eq!(allowed(Some(seconds(10))), None);
        let just_too_close = seconds(10).saturating_add(Duration::from_nanos(99_999_999));
        assert_eq!(allowed(Some(just_too_close)), None);
        let just_enough = seconds(10).saturating_add(Duration::from_millis(100));
        assert_eq!(allowed(Some(just_enough)), Some((just_enough, Reason::DeadlineExceeded)));
    }

    #[test]
    fn what_is_usual_is_the_least_that_must_remain() {
        let config = TimeoutConfig::total(SECOND).unwrap();
        let allowed = |millis| {
            let deadline = seconds(10).saturating_add(Duration::from_millis(millis));
            config.allow(seconds(11), seconds(10), Some(deadline), || Duration::from_millis(50)).is_some()
        };

        assert_eq!((allowed(49), allowed(50)), (false, true));
    }

    #[test]
    fn the_defaults_are_these() {
        assert_eq!(
            format!("{:?}", TimeoutConfig::total(SECOND).unwrap()),
            "TimeoutConfig { limit: Fixed(1s), expired: TotalTimeout, min_remaining: 0ns, usual_remaining: None, \
             observed_only: false, reserve: 0ns }"
        );
        assert_eq!(format!("{:?}", TimeoutConfig::immediate().limit), "Fixed(0ns)");
    }

    #[test]
    fn a_quantile_that_is_none_is_refused() {
        for quantile in [0.0, 1.0, f64::NAN] {
            let refused = TimeoutConfig::immediate().with_usual_remaining(quantile);
            assert!(matches!(refused, Err(TimeoutError::Quantile { .. })));
        }
    }
}
