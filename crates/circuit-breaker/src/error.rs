use std::time::Duration;

use seawall_core::Span;

use crate::config::Window;

/// A setting that a breaker cannot have.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BreakerConfigError {
    /// A count window of no calls, or of too many.
    #[error("window is {calls} calls; allowed are 1 to 65535")]
    WindowCalls {
        /// The value given.
        calls: u32,
    },
    /// A time window that is not of whole seconds, or of none, or of too many.
    #[error("window is {}; allowed are whole seconds, 1s to 3600s", Span::exact(*length))]
    WindowLength {
        /// The value given.
        length: Duration,
    },
    /// A ratio that is not a number, or outside its range.
    #[error("{field} is {value}; allowed is a number above 0 and up to 1")]
    Ratio {
        /// `failure_ratio` or `slow_ratio`.
        field: &'static str,
        /// The value given.
        value: f64,
    },
    /// A share that is not a number, or outside its range.
    #[error("{field} is {value}; allowed is a number from 0 to 1")]
    Share {
        /// `jitter` or `enforce`.
        field: &'static str,
        /// The value given.
        value: f64,
    },
    /// A count of 0 where at least one is needed.
    #[error("{field} is 0; allowed is 1 or more")]
    Zero {
        /// `min_calls` or `consecutive_failures`.
        field: &'static str,
    },
    /// A time of 0 where it would refuse or fail every call.
    #[error("{field} is 0s; allowed is any time above 0s")]
    NoTime {
        /// `slow_after`, `max_probe_age` or `pushback`.
        field: &'static str,
    },
    /// No probe, or more than the state word can count.
    #[error("probes is {probes}; allowed are 1 to 255")]
    Probes {
        /// The value given.
        probes: u32,
    },
    /// A number of successes that the probes cannot reach.
    #[error("required_successes is {required}; allowed are 1 to the number of probes, {probes}")]
    RequiredSuccesses {
        /// The value given.
        required: u32,
        /// The number of probes.
        probes: u32,
    },
    /// No probe at once, or more than there are.
    #[error("probes_at_once is {at_once}; allowed are 1 to the number of probes, {probes}")]
    ProbesAtOnce {
        /// The value given.
        at_once: u32,
        /// The number of probes.
        probes: u32,
    },
    /// A cap below what it caps.
    #[error(
        "max_open_for is {}; allowed is open_for, {}, or more",
        Span::exact(*max_open_for), Span::exact(*open_for)
    )]
    MaxOpenFor {
        /// The value given.
        max_open_for: Duration,
        /// The first open time.
        open_for: Duration,
    },
    /// A number of standard deviations that is none, or negative.
    #[error("factor is {factor}; allowed is a number from 0 on")]
    PeersFactor {
        /// The value given.
        factor: f64,
    },
    /// A breaker that nothing could open.
    #[error("no rule is set; allowed is at least one of failure_ratio, slow_after, consecutive_failures and peers")]
    NoRule,
    /// A change of the window, which holds the past that a running breaker must not lose.
    #[error("window is {given:?}; allowed while running is the present one, {present:?}")]
    WindowChanged {
        /// The value given.
        given: Window,
        /// What the breaker was built with.
        present: Window,
    },
}

seawall_core::debug_as_text!(BreakerConfigError);
