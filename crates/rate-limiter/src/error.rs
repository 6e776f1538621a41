use std::time::Duration;

use seawall_core::Span;

use crate::{distributed::quota::LEASE_FOR, keyed_quota::MAX_KEYS, queueing_quota::MAX_QUEUED, quota::MAX_SPAN};

/// A quota that cannot be kept as asked.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// No call at all, or more than the clock can tell apart.
    #[error("calls is {calls} in {}; allowed are 1 to 1000000 per second", Span::exact(*period))]
    Calls {
        /// The number of calls given.
        calls: u32,
        /// The period given.
        period: Duration,
    },
    /// The period is zero, or longer than a clock lives.
    #[error("period is {}; allowed are 1ns to {}", Span::exact(*period), Span::exact(MAX_SPAN))]
    Period {
        /// The value given.
        period: Duration,
    },
    /// The time from one call to the next is zero, or longer than a clock lives.
    #[error("interval is {}; allowed are 1ns to {}", Span::exact(*interval), Span::exact(MAX_SPAN))]
    Interval {
        /// The value given.
        interval: Duration,
    },
    /// The burst is 0.
    #[error("burst is {burst}; allowed are 1 to 4294967295")]
    Burst {
        /// The value given.
        burst: u32,
    },
    /// Regaining the burst takes longer than a clock lives.
    #[error(
        "burst is {burst} at one call in {}; allowed are bursts regained within {}",
        Span::exact(*interval), Span::exact(MAX_SPAN)
    )]
    BurstSpan {
        /// The burst given.
        burst: u32,
        /// The time in which one call is regained.
        interval: Duration,
    },
    /// The number of keys is outside its range.
    #[error("max_keys is {max_keys}; allowed are 1 to {MAX_KEYS}")]
    MaxKeys {
        /// The value given.
        max_keys: usize,
    },
    /// The line has no places, or too many.
    #[error("max_queued is {max_queued}; allowed are 1 to {MAX_QUEUED}")]
    MaxQueued {
        /// The value given.
        max_queued: usize,
    },
    /// Nobody shares the quota.
    #[error("processes is {processes}; allowed are 1 to 4294967295")]
    Processes {
        /// The value given.
        processes: u32,
    },
    /// A process would ask without end, or keep from others what it does not use.
    #[error(
        "lease_for is {}; allowed are {} to {}",
        Span::exact(*lease_for), Span::exact(LEASE_FOR.0), Span::exact(LEASE_FOR.1)
    )]
    LeaseFor {
        /// The value given.
        lease_for: Duration,
    },
    /// No store is that quick.
    #[error("timeout is {}; allowed is any time above 0s", Span::exact(*timeout))]
    Timeout {
        /// The value given.
        timeout: Duration,
    },
    /// Nothing would warm up, or not while a clock lives.
    #[error("warm_up is {}; allowed are 1ns to {}", Span::exact(*warm_up), Span::exact(MAX_SPAN))]
    WarmUp {
        /// The value given.
        warm_up: Duration,
    },
    /// It would begin no slower, or not at all.
    #[error("cold_factor is {cold_factor}; allowed are 2 to 1000")]
    ColdFactor {
        /// The value given.
        cold_factor: u32,
    },
    /// The plans have more than there is for all together.
    #[error(
        "plans have a call in {} together; allowed is at most one in {}",
        Span::exact(*promised), Span::exact(*quota)
    )]
    Oversold {
        /// The time in which the plans regain one call, together.
        promised: Duration,
        /// That of the quota of all.
        quota: Duration,
    },
    /// A quota's name is empty, or no header can hold it.
    #[error(
        "name of a quota holds {length} bytes, not all of them printable; allowed is printable ASCII, at least one"
    )]
    Name {
        /// How long it is.
        length: usize,
    },
    /// A quota is everybody's and each key's at once, or nobody's.
    #[error("a quota is shared and keyed, or neither; allowed is one of the two")]
    Whose,
    /// No plan has that name.
    #[error("no plan has that name; allowed are those that were added")]
    UnknownPlan,
    /// A sketch of hot keys is outside its bounds.
    #[error("{field} is {value}; allowed are {least} to {most}")]
    HotKeys {
        /// Which one.
        field: &'static str,
        /// The value given.
        value: usize,
        /// The least that is allowed.
        least: usize,
        /// The most that is allowed.
        most: usize,
    },
    /// Nobody could wait.
    #[error("max_wait is {}; allowed is any time above 0s", Span::exact(*max_wait))]
    MaxWait {
        /// The value given.
        max_wait: Duration,
    },
}

seawall_core::debug_as_text!(QuotaError);
