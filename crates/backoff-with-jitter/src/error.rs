use std::time::Duration;

/// A backoff sequence that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// The first wait is longer than the longest.
    #[error("initial is {initial:?}; allowed are 0s to the maximum of {max:?}")]
    Initial {
        /// The value given.
        initial: Duration,
        /// The maximum given.
        max: Duration,
    },
    /// The waits would shrink, or the factor is no number.
    #[error("factor is {factor}; allowed are 1 and above")]
    Factor {
        /// The value given.
        factor: f64,
    },
    /// No wait is listed.
    #[error("the list of waits has 0 entries; allowed are 1 and more")]
    Empty,
    /// The spread of a proportional jitter is no share.
    #[error("jitter is {spread}; allowed are 0 to 1")]
    Spread {
        /// The value given.
        spread: f64,
    },
}

/// Retry settings that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// Not even the first attempt would be made.
    #[error("attempts is 0; allowed are 1 to 4294967295")]
    Attempts,
    /// No time for even one attempt.
    #[error("max_elapsed is 0s; allowed is any longer time")]
    MaxElapsed,
    /// The quantile of latencies is no share.
    #[error("quantile is {quantile}; allowed are numbers between 0 and 1")]
    Quantile {
        /// The value given.
        quantile: f64,
    },
}
