use std::time::Duration;

use seawall_core::Span;

use crate::limit::MAX_LIMIT;

/// A load shedder that cannot be built as asked.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadShedderError {
    /// The limits are out of order or out of range.
    #[error("limits are min {min}, initial {initial}, max {max}; allowed are 1 ≤ min ≤ initial ≤ max ≤ {MAX_LIMIT}")]
    Limits {
        /// The lowest limit given.
        min: u32,
        /// The first limit given.
        initial: u32,
        /// The highest limit given.
        max: u32,
    },
    /// The factor of a decrease is outside its range.
    #[error("backoff_ratio is {backoff_ratio}; allowed are 0.5 to 0.99")]
    BackoffRatio {
        /// The value given.
        backoff_ratio: f64,
    },
    /// The latency that counts as a drop is zero.
    #[error("timeout is {}; allowed is any time above 0s", Span::exact(*timeout))]
    Timeout {
        /// The value given.
        timeout: Duration,
    },
    /// The smoothing is outside its range.
    #[error("smoothing is {smoothing}; allowed are 0.001 to 1")]
    Smoothing {
        /// The value given.
        smoothing: f64,
    },
    /// The tolerated rise of the latency is outside its range.
    #[error("tolerance is {tolerance}; allowed are 1 to 10")]
    Tolerance {
        /// The value given.
        tolerance: f64,
    },
    /// The span of the long average is outside its range.
    #[error("long_window is {long_window} samples; allowed are 10 to 1000000")]
    LongWindow {
        /// The value given.
        long_window: u32,
    },
    /// The number of calls that may queue in the server is outside its range.
    #[error("queue_size is {queue_size}; allowed are 1 to 1000")]
    QueueSize {
        /// The value given.
        queue_size: u32,
    },
    /// A base latency that is never measured anew, or hardly ever.
    #[error("probe_multiplier is {probe_multiplier}; allowed are 1 to 10000")]
    ProbeMultiplier {
        /// The value given.
        probe_multiplier: u32,
    },
    /// The advice on when to come back is too long to be one.
    #[error("retry_after is {}; allowed are 0s to 3600s", Span::exact(*retry_after))]
    RetryAfter {
        /// The value given.
        retry_after: Duration,
    },
    /// The share of samples that is asked for is outside its range.
    #[error("quantile is {quantile}; allowed are 0.01 to 0.999")]
    Quantile {
        /// The value given.
        quantile: f64,
    },
    /// A window would never have its samples, or more than can be counted.
    #[error("window has full {full}, enough {enough}; allowed are 1 ≤ enough ≤ full ≤ 50000")]
    Window {
        /// The number that closes a window given.
        full: u32,
        /// The number that will do given.
        enough: u32,
    },
    /// So many calls would be no samples that nothing is learnt.
    #[error("least_latency is {}; allowed are 0s to 1s", Span::exact(*least_latency))]
    LeastLatency {
        /// The value given.
        least_latency: Duration,
    },
    /// The two times of a controlled delay are out of order.
    #[error("target is {}, interval {}; allowed are 0s < target ≤ interval", Span::exact(*target), Span::exact(*interval))]
    Delay {
        /// The target given.
        target: Duration,
        /// The interval given.
        interval: Duration,
    },
    /// The marks of a signal are out of order.
    #[error("marks are {first}, {second}, {third}; allowed are 0 < first ≤ second ≤ third")]
    Marks {
        /// The first mark given.
        first: f64,
        /// The second mark given.
        second: f64,
        /// The third mark given.
        third: f64,
    },
    /// The queue has no places, or too many.
    #[error("max_queued is {max_queued}; allowed are 1 to 1000000 (a LoadShedder has no queue)")]
    MaxQueued {
        /// The value given.
        max_queued: usize,
    },
    /// A tenant's calls would wait for longer than any caller does.
    #[error("tenant_patience is {calls}; allowed are 0 to 100")]
    TenantPatience {
        /// The value given.
        calls: u32,
    },
    /// The factor of a throttle is outside its range.
    #[error("k is {k}; allowed are 1 to 10")]
    Factor {
        /// The value given.
        k: f64,
    },
    /// The span of a throttle is outside its range.
    #[error("span is {}; allowed are 100ms to 3600s", Span::exact(*span))]
    Span {
        /// The value given.
        span: Duration,
    },
    /// A tenant would be worth nothing, or more than all.
    #[error("the weight of tenant {tenant} is {weight}; allowed are 1 to 1000")]
    Weight {
        /// Whose.
        tenant: u64,
        /// The value given.
        weight: u32,
    },
}

seawall_core::debug_as_text!(LoadShedderError);
