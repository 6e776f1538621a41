use std::time::Duration;

use seawall_core::Span;
use seawall_timeout::TimeoutError;

/// A stack that cannot work.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// One attempt may take longer than the whole call: the attempt timeout could never fire.
    #[error("attempt timeout is {}; allowed is at most the total timeout, {}", Span::exact(*attempt), Span::exact(*total))]
    AttemptExceedsTotal {
        /// What one attempt may take.
        attempt: Duration,
        /// What the whole call may take.
        total: Duration,
    },
    /// The whole call may take less than one attempt.
    #[error("total timeout is {}; allowed is at least the attempt timeout, {}", Span::exact(*total), Span::exact(*attempt))]
    TotalBelowAttempt {
        /// What the whole call may take.
        total: Duration,
        /// What one attempt may take.
        attempt: Duration,
    },
    /// No call would ever be made: the deadline header tells whole milliseconds.
    #[error(
        "{field} timeout is {}; allowed is 1ms and more beside the reserve of {} where the other side is told of it",
        Span::exact(*value),
        Span::exact(*reserve)
    )]
    TooShortToSend {
        /// Which timeout.
        field: &'static str,
        /// What it is.
        value: Duration,
        /// What is kept back of it.
        reserve: Duration,
    },
    /// No request could ever be answered.
    #[error("max_deadline is 0s; allowed is any time above 0s")]
    MaxDeadline,
    /// A timeout that the timeout itself refuses.
    #[error(transparent)]
    Timeout(#[from] TimeoutError),
}

seawall_core::debug_as_text!(StackError);
