use std::time::Duration;

use seawall_core::Span;

/// Timeout settings that make no sense.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeoutError {
    /// No call could ever be in time.
    #[error("{field} is 0s; allowed is any time above 0s")]
    Zero {
        /// The name of the setting.
        field: &'static str,
    },
    /// The bounds of an adaptive timeout contradict each other.
    #[error("floor is {}; allowed are times up to ceiling, which is {}", Span::exact(*floor), Span::exact(*ceiling))]
    Floor {
        /// The value given.
        floor: Duration,
        /// The ceiling given.
        ceiling: Duration,
    },
    /// The ceiling is beyond what latencies are measured to.
    #[error("ceiling is {}; allowed are times up to {}", Span::exact(*ceiling), Span::exact(*max))]
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

seawall_core::debug_as_text!(TimeoutError);
