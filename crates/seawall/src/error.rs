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
    /// A timeout that the timeout itself refuses.
    #[error(transparent)]
    Timeout(#[from] TimeoutError),
}
