use std::{fmt, time::Duration};

use crate::{Criticality, Span, clock::Timestamp};

/// "No wait is known", kept in the same word as the wait.
const NO_HINT: u64 = u64::MAX;

/// How many wait stands above the criticality, and that above the pattern, so that all are copied as one number.
const QUEUE_SHIFT: u32 = 8;
const CRITICALITY_SHIFT: u32 = 5;
const PATTERN: u32 = (1 << CRITICALITY_SHIFT) - 1;
const LOW: u32 = (1 << QUEUE_SHIFT) - 1;
/// "Nobody knows how many wait", kept in the same place as how many do.
const NO_QUEUE: u32 = u32::MAX >> QUEUE_SHIFT;

/// The pattern that refused or cut a call.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Pattern {
    /// A circuit breaker.
    CircuitBreaker,
    /// A bulkhead.
    Bulkhead,
    /// A load shedder.
    LoadShedder,
    /// A rate limiter.
    RateLimiter,
    /// A client-side throttle.
    Throttle,
    /// A timeout or a deadline.
    Timeout,
    /// A connection pool.
    Pool,
    /// A load balancer.
    LoadBalance,
    /// A full table of keys.
    Keyed,
    /// A retry.
    Retry,
    /// A fallback.
    Fallback,
}

impl Pattern {
    /// All of them, each at its own number.
    const ALL: [Self; 11] = [
        Self::CircuitBreaker,
        Self::Bulkhead,
        Self::LoadShedder,
        Self::RateLimiter,
        Self::Throttle,
        Self::Timeout,
        Self::Pool,
        Self::LoadBalance,
        Self::Keyed,
        Self::Retry,
        Self::Fallback,
    ];

    /// The name as it stands in metrics: `circuit_breaker`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "circuit_breaker",
            Self::Bulkhead => "bulkhead",
            Self::LoadShedder => "load_shedder",
            Self::RateLimiter => "rate_limiter",
            Self::Throttle => "throttle",
            Self::Timeout => "timeout",
            Self::Pool => "pool",
            Self::LoadBalance => "load_balance",
            Self::Keyed => "keyed",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "circuit breaker",
            Self::Bulkhead => "bulkhead",
            Self::LoadShedder => "load shedder",
            Self::RateLimiter => "rate limiter",
            Self::Throttle => "throttle",
            Self::Timeout => "timeout",
            Self::Pool => "pool",
            Self::LoadBalance => "load balancer",
            Self::Keyed => "key table",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
        }
    }
}

/// Why a call was refused or cut.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
// So wide that a rejection has no padding and two halves of a word: narrower ones cost every layer shifts and masks.
#[repr(u32)]
pub enum Reason {
    /// The circuit is open, or half-open with all its probes under way.
    CircuitOpen,
    /// All places are taken and nobody may wait.
    BulkheadFull,
    /// All places are taken and so are those for waiting.
    QueueFull,
    /// The call waited for its turn as long as it may.
    QueueTimeout,
    /// The server cannot finish more calls in time.
    Overloaded,
    /// The quota is used up.
    RateLimited,
    /// The other side refuses so much that the call was not sent.
    Throttled,
    /// One attempt took too long.
    AttemptTimeout,
    /// The whole call took too long.
    TotalTimeout,
    /// The deadline that the call brought along has passed.
    DeadlineExceeded,
    /// A body or stream stood still for too long.
    IdleTimeout,
    /// Too little time is left to begin.
    DeadlineTooClose,
    /// No connection became free in time.
    PoolTimeout,
    /// The call weighs more than there are places in all.
    TooHeavy,
    /// The gate was closed for good.
    Closed,
    /// No endpoint is there to take the call.
    NoEndpoints,
    /// What the call ran on went away under it.
    Interrupted,
}

impl Reason {
    /// The name as it stands in metrics: `circuit_open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::Throttled => "throttled",
            Self::AttemptTimeout => "attempt_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::IdleTimeout => "idle_timeout",
            Self::DeadlineTooClose => "deadline_too_close",
            Self::PoolTimeout => "pool_timeout",
            Self::TooHeavy => "too_heavy",
            Self::Closed => "closed",
            Self::NoEndpoints => "no_endpoints",
            Self::Interrupted => "interrupted",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::CircuitOpen => "the circuit is open",
            Self::BulkheadFull => "all places are taken",
            Self::QueueFull => "the queue is full",
            Self::QueueTimeout => "it waited too long for its turn",
            Self::Overloaded => "the server is overloaded",
            Self::RateLimited => "the quota is used up",
            Self::Throttled => "the other side refuses too much",
            Self::AttemptTimeout => "the attempt took too long",
            Self::TotalTimeout => "the call took too long",
            Self::DeadlineExceeded => "the deadline has passed",
            Self::IdleTimeout => "nothing came for too long",
            Self::DeadlineTooClose => "too little time is left",
            Self::PoolTimeout => "no connection became free in time",
            Self::TooHeavy => "it weighs more than there are places",
            Self::Closed => "the gate is closed",
            Self::NoEndpoints => "no endpoint is available",
            Self::Interrupted => "what it ran on is gone",
        }
    }

    /// Whether time ran out on a call that had begun: such a call counts as timed out, every other local refusal not at
    /// all.
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::AttemptTimeout | Self::TotalTimeout | Self::DeadlineExceeded | Self::IdleTimeout)
    }
}

/// Why a layer refused or cut a call: 16 bytes, no heap.
///
/// Only a call cut by a timeout, or interrupted, may have reached the other side ([`Rejection::may_have_been_sent`]); all
/// others were never sent.
///
/// ```
/// use seawall_core::{Pattern, Reason, Rejection};
/// use std::time::Duration;
///
/// let rejection = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(Duration::from_secs(5));
/// assert_eq!(rejection.retry_after(), Some(Duration::from_secs(5)));
/// assert_eq!(rejection.to_string(), "refused by the circuit breaker: the circuit is open; retry after 5s");
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct Rejection {
    retry_after: u64,
    reason: Reason,
    pattern_and_queue: u32,
}

impl Rejection {
    /// A rejection that says nothing about when to try again.
    pub const fn new(pattern: Pattern, reason: Reason) -> Self {
        Self { retry_after: NO_HINT, reason, pattern_and_queue: NO_QUEUE << QUEUE_SHIFT | pattern as u32 }
    }

    /// Says how many calls waited for their turn.
    #[must_use]
    pub fn with_queued(mut self, queued: usize) -> Self {
        let queued = u32::try_from(queued).unwrap_or(NO_QUEUE).min(NO_QUEUE.saturating_sub(1));
        self.pattern_and_queue = queued << QUEUE_SHIFT | self.pattern_and_queue & LOW;
        self
    }

    /// Says how much the call mattered, by a layer that goes by that.
    #[must_use]
    #[inline]
    pub const fn with_criticality(mut self, criticality: Criticality) -> Self {
        // One more than its number: 0 is for layers that do not.
        let said = (criticality as u32).wrapping_add(1) << CRITICALITY_SHIFT;
        self.pattern_and_queue = self.pattern_and_queue & !(LOW ^ PATTERN) | said;
        self
    }

    /// How much the call mattered, where the layer goes by that.
    pub const fn criticality(&self) -> Option<Criticality> {
        match (self.pattern_and_queue & LOW) >> CRITICALITY_SHIFT {
            1 => Some(Criticality::Sheddable),
            2 => Some(Criticality::Degraded),
            3 => Some(Criticality::Default),
            4 => Some(Criticality::Critical),
            _ => None,
        }
    }

    /// How many calls waited for their turn, where they wait and that was counted; 16,777,214 where there were more. Not
    /// part of what is displayed, which may go to the caller.
    pub const fn queued(&self) -> Option<u32> {
        let queued = self.pattern_and_queue >> QUEUE_SHIFT;
        if queued == NO_QUEUE { None } else { Some(queued) }
    }

    /// Says when another try may succeed.
    #[must_use]
    pub const fn with_retry_after(self, wait: Duration) -> Self {
        self.with_retry_after_nanos(Timestamp::ZERO.saturating_add(wait).as_nanos())
    }

    /// The same in nanoseconds, for who has them: a refusal that counts instructions makes no `Duration`.
    #[must_use]
    #[inline]
    pub const fn with_retry_after_nanos(mut self, wait: u64) -> Self {
        self.retry_after = if wait == NO_HINT { NO_HINT.saturating_sub(1) } else { wait };
        self
    }

    /// How long to wait before another try may succeed, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        if self.retry_after == NO_HINT { None } else { Some(Duration::from_nanos(self.retry_after)) }
    }

    /// Why.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Who.
    pub const fn pattern(&self) -> Pattern {
        Pattern::ALL[(self.pattern_and_queue & PATTERN) as usize]
    }

    /// Whether the other side may have seen the call. What it has not seen is safe to send again.
    pub const fn may_have_been_sent(&self) -> bool {
        self.reason.is_timeout() || matches!(self.reason, Reason::Interrupted)
    }
}

#[expect(clippy::missing_fields_in_debug, reason = "what is in the last word is told apart")]
impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("pattern", &self.pattern())
            .field("reason", &self.reason)
            .field("retry_after", &self.retry_after())
            .field("queued", &self.queued())
            .field("criticality", &self.criticality())
            .finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.may_have_been_sent() { "cut" } else { "refused" };
        write!(f, "{verb} by the {}: {}", self.pattern().words(), self.reason.words())?;
        self.retry_after().map_or(Ok(()), |wait| write!(f, "; retry after {}", Span::rounded_up(wait)))
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_rejection_costs_a_result_no_room() {
        assert_eq!(size_of::<Rejection>(), 16);
        assert_eq!(size_of::<Result<u64, Error<std::io::Error>>>(), 16);
    }

    #[test]
    fn the_text_rounds_the_wait_up_to_milliseconds() {
        let text = |wait| Rejection::new(Pattern::Bulkhead, Reason::QueueFull).with_retry_after(wait).to_string();

        assert!(text(Duration::from_nanos(832_287_793)).ends_with("; retry after 833ms"));
        assert!(text(Duration::MAX).ends_with("; retry after 584 years"));
    }

    #[test]
    fn the_longest_wait_is_still_a_wait() {
        let rejection = Rejection::new(Pattern::Timeout, Reason::AttemptTimeout).with_retry_after(Duration::MAX);

        assert_eq!(rejection.retry_after(), Some(Duration::from_nanos(u64::MAX - 1)));
    }

    #[test]
    fn however_many_wait_they_are_counted() {
        let full = Rejection::new(Pattern::Bulkhead, Reason::QueueFull);

        assert_eq!((full.queued(), full.with_queued(0).queued()), (None, Some(0)));
        assert_eq!(full.with_queued(usize::MAX).queued(), Some((1 << 24) - 2));
    }

    #[test]
    fn how_much_a_call_mattered_is_told_again_whatever_else_a_rejection_says() {
        let criticalities =
            [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];
        let refused = Rejection::new(Pattern::Fallback, Reason::QueueFull).with_queued(usize::MAX);
        assert_eq!(refused.criticality(), None);
        for criticality in criticalities {
            let said = refused.with_criticality(Criticality::Critical).with_criticality(criticality);

            assert_eq!(said.criticality(), Some(criticality));
            assert_eq!((said.pattern(), said.queued()), (Pattern::Fallback, refused.queued()));
            assert_eq!(said.with_queued(3).criticality(), Some(criticality));
        }
    }

    #[test]
    fn every_pattern_is_told_again_whatever_else_a_rejection_says() {
        for pattern in Pattern::ALL {
            let rejection = Rejection::new(pattern, Reason::QueueFull);

            let said = [rejection, rejection.with_queued(7), rejection.with_retry_after(Duration::MAX)];

            assert_eq!(said.map(|rejection| rejection.pattern()), [pattern; 3]);
        }
        assert_eq!(Pattern::ALL.map(|pattern| pattern as usize), std::array::from_fn(|number| number));
    }
}
