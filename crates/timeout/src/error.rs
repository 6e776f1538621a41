use std::time::Duration;

/// Timeout settings that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeoutError {
    /// No call could ever be in time.
    #[error("{field} is 0s; allowed is any longer time")]
    Zero {
        /// The name of the setting.
        field: &'static str,
    },
    /// The bounds of an adaptive timeout contradict each other.
    #[error("floor is {floor:?}; allowed are times up to the ceiling of {ceiling:?}")]
    Floor {
        /// The value given.
        floor: Duration,
        /// The ceiling given.
        ceiling: Duration,
    },
    /// The ceiling is beyond what latencies are measured to.
    #[error("ceiling is {ceiling:?}; allowed are times up to {max:?}")]
    Ceiling {
        /// The value given.
        ceiling: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// The quantile is not between 0 and 1.
    #[error("quantile is {quantile}; allowed are values between 0 and 1")]
    Quantile {
        /// The value given.
        quantile: f64,
    },
    /// The timeout would be shorter than what is usual, or no number.
    #[error("factor is {factor}; allowed are 1 to 1000")]
    Factor {
        /// The value given.
        factor: f64,
    },
}
