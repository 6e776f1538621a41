use std::time::Duration;

use seawall_core::Span;

/// A check that makes no sense.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// There is no time between two runs.
    #[error("interval is 0s; allowed is any time above 0s")]
    Interval,
    /// There is no time between two runs before the first pass.
    #[error("starting_interval is 0s; allowed is any time above 0s")]
    StartingInterval,
    /// A run may last until the next one.
    #[error("timeout is {}; allowed is less than interval, which is {}", Span::exact(*timeout), Span::exact(*interval))]
    Timeout {
        /// The value given.
        timeout: Duration,
        /// The time from run to run.
        interval: Duration,
    },
    /// A number of runs is 0.
    #[error("{field} is 0; allowed are 1 to 4294967295")]
    Threshold {
        /// The setting.
        field: &'static str,
    },
    /// The share left to chance is outside 0 to 1.
    #[error("jitter is {jitter}; allowed are 0 to 1")]
    Jitter {
        /// The value given.
        jitter: f64,
    },
    /// The marks of a level are outside 0 to 1, or in the wrong order.
    #[error("the mark fails at {fail} and recovers at {recover}; allowed are 0 to 1 with recovery on the good side")]
    Watermark {
        /// Where it fails.
        fail: f64,
        /// Where it recovers.
        recover: f64,
    },
    /// A check has no name: answers could not tell what it is about.
    #[error("the name of a check is \"\"; allowed is any text that is not empty")]
    NoName,
    /// Two checks have one name.
    #[error("a check named {name:?} is there already; allowed is each name once")]
    Duplicate {
        /// The name.
        name: String,
    },
}

seawall_core::debug_as_text!(HealthError);

/// A text that is no `application/health+json`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is no JSON, or lacks a status.
    #[error("the body is no health document")]
    Json(#[source] serde_json::Error),
    /// The status is none that is known.
    #[error("status is {word:?}; allowed are pass, warn and fail, and ok, up, error and down in their place")]
    Status {
        /// The value given.
        word: String,
    },
}
