use std::time::Duration;

use seawall_core::{Reason, Timestamp};

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
///     "attempt is 0s; allowed is any longer time"
/// );
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeoutConfig {
    limit: Limit,
    expired: Reason,
    min_remaining: Duration,
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

    /// Cuts a whole call that takes `limit` or longer with [`Reason::DeadlineExceeded`]: outside a retry.
    /// [`Duration::MAX`] leaves it to the deadlines that calls bring along.
    ///
    /// # Errors
    /// `limit` is 0.
    pub const fn total(limit: Duration) -> Result<Self, TimeoutError> {
        if limit.is_zero() {
            return Err(TimeoutError::Zero { field: "total" });
        }
        Ok(Self::new(Limit::Fixed(limit), Reason::DeadlineExceeded))
    }

    /// Cuts one attempt that takes much longer than is usual: see [`AdaptiveConfig`].
    pub const fn adaptive(config: AdaptiveConfig) -> Self {
        Self::new(Limit::Adaptive(config), Reason::AttemptTimeout)
    }

    const fn new(limit: Limit, expired: Reason) -> Self {
        Self { limit, expired, min_remaining: Duration::ZERO, reserve: Duration::ZERO }
    }

    /// Refuses with [`Reason::DeadlineTooClose`], unsent, a call whose deadline leaves less than this. Default 0: only
    /// those whose deadline has passed.
    #[must_use]
    pub const fn with_min_remaining(mut self, min_remaining: Duration) -> Self {
        self.min_remaining = min_remaining;
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

    pub(crate) const fn reserve(&self) -> Duration {
        self.reserve
    }

    /// The earlier of our own end, `own`, and the deadline that the call brings along; nothing when that leaves too little.
    #[inline]
    pub(crate) fn allow(&self, own: Timestamp, now: Timestamp, deadline: Option<Timestamp>) -> Option<Allowance> {
        let Some(deadline) = deadline else { return Some(Allowance { until: own, expired: self.expired }) };
        let left = deadline.since(now);
        if left.is_zero() || left < self.min_remaining {
            return None;
        }
        let sooner = deadline < own;
        Some(if sooner {
            Allowance { until: deadline, expired: Reason::DeadlineExceeded }
        } else {
            Allowance { until: own, expired: self.expired }
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
        let allowance = config.allow(seconds(11), seconds(10), deadline);
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
}
