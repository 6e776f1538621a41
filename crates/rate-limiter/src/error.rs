use std::time::Duration;

use crate::{keyed_quota::MAX_KEYS, quota::MAX_SPAN};

/// A quota that cannot be kept as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// No call at all, or more than the clock can tell apart.
    #[error("calls is {calls} in {period:?}; allowed are 1 to 1000000 per second")]
    Calls {
        /// The number of calls given.
        calls: u32,
        /// The period given.
        period: Duration,
    },
    /// The period is zero, or longer than a clock lives.
    #[error("period is {period:?}; allowed are 1ns to {MAX_SPAN:?}")]
    Period {
        /// The value given.
        period: Duration,
    },
    /// The burst is 0.
    #[error("burst is {burst}; allowed are 1 to 4294967295")]
    Burst {
        /// The value given.
        burst: u32,
    },
    /// Regaining the burst takes longer than a clock lives.
    #[error("burst is {burst} at one call in {interval:?}; allowed are bursts regained within {MAX_SPAN:?}")]
    BurstSpan {
        /// The burst given.
        burst: u32,
        /// The time in which one call is regained.
        interval: Duration,
    },
    /// The number of keys is outside its range.
    #[error("max_keys is {max_keys}; allowed are 1 to {MAX_KEYS}")]
    MaxKeys {
        /// The value given.
        max_keys: usize,
    },
}
