use std::time::Duration;

use seawall_core::Span;

/// A backoff sequence that makes no sense.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// The first wait is longer than the longest.
    #[error("initial is {}; allowed are times up to max, which is {}", Span::exact(*initial), Span::exact(*max))]
    Initial {
        /// The value given.
        initial: Duration,
        /// The maximum given.
        max: Duration,
    },
    /// Nothing times any factor is nothing: no wait would follow.
    #[error("initial is 0s; allowed is any time above 0s (Backoff::constant retries without a wait)")]
    NoWait,
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

seawall_core::debug_as_text!(BackoffError);

/// Retry settings that make no sense.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// Not even the first attempt would be made.
    #[error("attempts is 0; allowed are 1 to 4294967295")]
    Attempts,
    /// No time for even one attempt.
    #[error("max_elapsed is 0s; allowed is any time above 0s")]
    MaxElapsed,
    /// The quantile of latencies is no share.
    #[error("quantile is {quantile}; allowed are numbers between 0 and 1")]
    Quantile {
        /// The value given.
        quantile: f64,
    },
}

seawall_core::debug_as_text!(RetryError);
