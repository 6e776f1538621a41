use std::time::Duration;

/// A check that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// There is no time between two runs.
    #[error("interval is 0; allowed is more than 0")]
    Interval,
    /// There is no time between two runs before the first pass.
    #[error("starting_interval is 0; allowed is more than 0")]
    StartingInterval,
    /// A run may last until the next one.
    #[error("timeout is {timeout:?}; allowed is less than interval, which is {interval:?}")]
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
    /// Two checks have one name.
    #[error("a check named {name:?} is there already; allowed is each name once")]
    Duplicate {
        /// The name.
        name: String,
    },
}

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
