use std::time::Duration;

use seawall_timeout::TimeoutError;

/// A stack that cannot work.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// One attempt may take longer than the whole call: the attempt timeout could never fire.
    #[error("attempt timeout is {attempt:?}; allowed is at most the total timeout, {total:?}")]
    AttemptExceedsTotal {
        /// What one attempt may take.
        attempt: Duration,
        /// What the whole call may take.
        total: Duration,
    },
    /// The whole call may take less than one attempt.
    #[error("total timeout is {total:?}; allowed is at least the attempt timeout, {attempt:?}")]
    TotalBelowAttempt {
        /// What the whole call may take.
        total: Duration,
        /// What one attempt may take.
        attempt: Duration,
    },
    /// No call would ever be made: the deadline header tells whole milliseconds.
    #[error("{field} timeout is {value:?}; allowed is 1ms and more where the other side is told of it")]
    TooShortToSend {
        /// Which timeout.
        field: &'static str,
        /// The value given.
        value: Duration,
    },
    /// No request could ever be answered.
    #[error("max_deadline is 0s; allowed is any longer time")]
    MaxDeadline,
    /// A timeout that the timeout itself refuses.
    #[error(transparent)]
    Timeout(#[from] TimeoutError),
}
