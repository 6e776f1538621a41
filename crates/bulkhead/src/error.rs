use std::time::Duration;

/// A bulkhead that cannot be built as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BulkheadError {
    /// The limit is 0.
    #[error("max_concurrent is {max_concurrent}; allowed are 1 and more (close() shuts a bulkhead)")]
    MaxConcurrent {
        /// The value given.
        max_concurrent: usize,
    },
    /// The queue has no places.
    #[error("max_queued is {max_queued}; allowed are 1 to 1000000 (a Bulkhead has no queue)")]
    MaxQueued {
        /// The value given.
        max_queued: usize,
    },
    /// Nobody could wait.
    #[error("max_wait is {max_wait:?}; allowed is any time above 0s")]
    MaxWait {
        /// The value given.
        max_wait: Duration,
    },
}
