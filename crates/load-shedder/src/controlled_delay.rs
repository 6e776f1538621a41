use std::time::Duration;

use seawall_core::Timestamp;

use crate::LoadShedderError;

/// How long a call may wait in a queue: an interval while the queue drains now and then, a much shorter target once it
/// has not been empty for an interval. Then whoever waits longer would only make the others late.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_load_shedder::ControlledDelay;
/// use std::time::Duration;
///
/// let ms = Duration::from_millis;
/// let mut delay = ControlledDelay::new(ms(5), ms(20))?;
/// let at = |millis| Timestamp::ZERO.saturating_add(ms(millis));
/// delay.was_empty(at(0));
/// assert_eq!(delay.limit(at(20)), ms(20));
/// assert_eq!(delay.limit(at(21)), ms(5));
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
///
/// # Source
/// Ben Maurer, "Fail at Scale", ACM Queue 13(8), 2015: controlled delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlledDelay {
    target: Duration,
    interval: Duration,
    last_empty: Timestamp,
    /// Under overload once the queue has not been empty for so many intervals.
    overloaded_after: u32,
    /// The interval is at least so many times what a call takes.
    calls: u32,
}

/// The target before a server whose calls take long, as a part of what they take: about as often does a place come free
/// before one that has four at once, and the next in line is to be there then.
const TARGET_PART: u32 = 4;
/// A call that takes longer lets nobody wait longer than one that takes this. Where a dependency hangs, all calls take as long
/// as the timeout that cuts them, and whoever waits three times that has given up; a slow server is one whose calls take two
/// seconds.
pub(crate) const LONGEST_CALL: Duration = Duration::from_secs(3);

impl ControlledDelay {
    /// Waits of up to `interval`, or `target` under overload. Both above zero, the interval not shorter.
    ///
    /// # Errors
    /// [`LoadShedderError::Delay`] otherwise.
    pub fn new(target: Duration, interval: Duration) -> Result<Self, LoadShedderError> {
        if target.is_zero() || interval < target {
            return Err(LoadShedderError::Delay { target, interval });
        }
        Ok(Self::of_constants(target, interval))
    }

    pub(crate) const fn of_constants(target: Duration, interval: Duration) -> Self {
        Self { target, interval, last_empty: Timestamp::ZERO, overloaded_after: 1, calls: 0 }
    }

    /// The same with an interval of so many.
    pub(crate) const fn with_longer_interval(mut self, times: u32) -> Self {
        self.interval = self.interval.saturating_mul(times);
        self
    }

    /// The same, but overloaded only after so many intervals.
    pub(crate) const fn with_overload_after(mut self, intervals: u32) -> Self {
        self.overloaded_after = intervals;
        self
    }

    /// The same, but an interval is at least so many times what a call takes: told by [`Self::when_calls_take`].
    pub(crate) const fn with_calls(mut self, calls: u32) -> Self {
        self.calls = calls;
        self
    }

    /// As it is before a server whose calls take `typical`.
    pub(crate) fn when_calls_take(mut self, typical: Duration) -> Self {
        if self.calls > 0 {
            let typical = typical.min(LONGEST_CALL);
            self.interval = self.interval.max(typical.saturating_mul(self.calls));
            self.target = self.target.max(typical.checked_div(TARGET_PART).unwrap_or_default());
        }
        self
    }

    /// The queue is empty at `now`: told before each call that joins an empty queue.
    pub fn was_empty(&mut self, now: Timestamp) {
        self.last_empty = self.last_empty.max(now);
    }

    /// Whether the queue has not been empty for more than an interval.
    pub fn is_overloaded(&self, now: Timestamp) -> bool {
        now.since(self.last_empty) > self.interval.saturating_mul(self.overloaded_after)
    }

    /// How long a call may wait.
    pub fn limit(&self, now: Timestamp) -> Duration {
        if self.is_overloaded(now) { self.target } else { self.interval }
    }
}
