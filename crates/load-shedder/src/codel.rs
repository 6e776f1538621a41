use std::time::Duration;

use seawall_core::Timestamp;

use crate::LoadShedderError;

/// Coming back to dropping within so many intervals goes on at the old pace.
const MEMORY_INTERVALS: u32 = 16;

/// One that waited in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what a queue knows of a waiter")]
pub struct Waited<T> {
    /// The waiter.
    pub item: T,
    /// When it came.
    pub since: Timestamp,
    /// How many are left behind it.
    pub left_behind: usize,
}

/// Controlled delay: drops from the head of a queue, faster and faster, while the shortest wait within an interval stays
/// above a target. A queue that drains now and then is left alone however long it becomes in between.
///
/// Fit for queues in front of something that works at its own pace. Before calls with a timeout use
/// [`ControlledDelay`](crate::ControlledDelay): by the time that this one has dropped enough, all have timed out.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_load_shedder::{CoDel, Waited};
/// use std::{collections::VecDeque, time::Duration};
///
/// let mut codel = CoDel::new(Duration::from_millis(5), Duration::from_millis(100))?;
/// let mut queue: VecDeque<u32> = (0..100).collect();
/// let mut refused = Vec::new();
/// for now in [10, 60, 110, 160] {
///     let now = Timestamp::from_nanos(now * 1_000_000);
///     let next = || {
///         let item = queue.pop_front()?;
///         Some(Waited { item, since: Timestamp::ZERO, left_behind: queue.len() })
///     };
///     codel.pop(now, next, |item| refused.push(item));
/// }
/// assert_eq!(refused, [2]);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
///
/// # Source
/// RFC 8289, section 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoDel {
    target: Duration,
    interval: Duration,
    quiet_backlog: usize,
    /// Since when the wait has been above the target, plus an interval.
    above_until: Option<Timestamp>,
    dropping: bool,
    drop_next: Timestamp,
    count: u32,
    last_count: u32,
    after: After,
}

/// What the last verdict was, which the next one depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing was dropped.
    Serving,
    /// One was dropped, with which dropping begins.
    FirstDrop,
    /// One was dropped while dropping.
    Drop,
}

/// What becomes of the head of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Serve,
    Drop,
}

impl CoDel {
    /// Drops while waits stay above `target` for longer than `interval`. Both above zero, the interval not shorter. The
    /// RFC's own values are 5 ms and 100 ms.
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
        Self {
            target,
            interval,
            quiet_backlog: 0,
            above_until: None,
            dropping: false,
            drop_next: Timestamp::ZERO,
            count: 0,
            last_count: 0,
            after: After::Serving,
        }
    }

    pub(crate) const fn interval(&self) -> Duration {
        self.interval
    }

    /// A queue that leaves at most so many behind its head is short enough whatever the wait. Default 0.
    #[must_use]
    pub const fn with_quiet_backlog(mut self, quiet_backlog: usize) -> Self {
        self.quiet_backlog = quiet_backlog;
        self
    }

    /// The time from one drop to the next when `count` have been dropped in a row: `interval / √count`.
    pub fn control_law(interval: Duration, count: u32) -> Duration {
        let seconds = interval.as_secs_f64() / f64::from(count.max(1)).sqrt();
        // The longest intervals are rounded up to more than a duration can be.
        Duration::try_from_secs_f64(seconds).unwrap_or(interval)
    }

    /// Takes the next from the queue, dropping as many before it as are due. `next` takes the head; `drop` is given
    /// those that are refused.
    pub fn pop<T>(
        &mut self,
        now: Timestamp,
        mut next: impl FnMut() -> Option<Waited<T>>,
        mut drop: impl FnMut(T),
    ) -> Option<T> {
        while let Some(head) = next() {
            match self.judge(now, head.since, head.left_behind) {
                Verdict::Serve => return Some(head.item),
                Verdict::Drop => drop(head.item),
            }
        }
        self.nobody_waits(now);
        None
    }

    /// Judges the head of the queue. After a drop the next head is to be judged, or [`Self::nobody_waits`] told.
    pub(crate) fn judge(&mut self, now: Timestamp, since: Timestamp, left_behind: usize) -> Verdict {
        let late = self.is_late(now, since, left_behind);
        match std::mem::replace(&mut self.after, After::Serving) {
            After::FirstDrop => {
                self.begin_dropping(now);
                return Verdict::Serve;
            }
            After::Drop => {
                self.dropping = late;
                if late {
                    self.drop_next = self.drop_next.saturating_add(Self::control_law(self.interval, self.count));
                }
            }
            After::Serving if self.dropping => self.dropping = late,
            After::Serving if late => {
                self.after = After::FirstDrop;
                return Verdict::Drop;
            }
            After::Serving => return Verdict::Serve,
        }
        if self.dropping && now >= self.drop_next {
            self.count = self.count.saturating_add(1);
            self.after = After::Drop;
            return Verdict::Drop;
        }
        Verdict::Serve
    }

    /// There is no head to judge.
    pub(crate) fn nobody_waits(&mut self, now: Timestamp) {
        self.above_until = None;
        match std::mem::replace(&mut self.after, After::Serving) {
            After::FirstDrop => self.begin_dropping(now),
            After::Drop | After::Serving => self.dropping = false,
        }
    }

    fn begin_dropping(&mut self, now: Timestamp) {
        self.dropping = true;
        let since_last = self.count.saturating_sub(self.last_count);
        let recent = now.since(self.drop_next) < self.interval.saturating_mul(MEMORY_INTERVALS);
        self.count = if since_last > 1 && recent { since_last } else { 1 };
        self.drop_next = now.saturating_add(Self::control_law(self.interval, self.count));
        self.last_count = self.count;
    }

    /// Whether waits have been above the target for longer than an interval.
    fn is_late(&mut self, now: Timestamp, since: Timestamp, left_behind: usize) -> bool {
        if now.since(since) < self.target || left_behind <= self.quiet_backlog {
            self.above_until = None;
            return false;
        }
        if let Some(until) = self.above_until {
            return now >= until;
        }
        self.above_until = Some(now.saturating_add(self.interval));
        false
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_control_law_holds_for_any_interval_and_count() {
        let law = CoDel::control_law;
        let hundred = Duration::from_millis(100);

        assert_eq!([law(hundred, 0), law(hundred, 1), law(hundred, 4)], [hundred, hundred, hundred / 2]);
        assert_eq!(law(Duration::MAX, 1), Duration::MAX);
        assert!(law(Duration::MAX, 4) <= Duration::MAX / 2 + Duration::from_secs(1 << 12));
        assert_eq!(law(Duration::ZERO, u32::MAX), Duration::ZERO);
        assert!(law(Duration::MAX, u32::MAX) > Duration::ZERO);
    }

    #[test]
    fn the_longest_interval_drops_nobody_and_the_shortest_whoever_waits() {
        let drops = |interval: Duration| {
            let mut codel = CoDel::new(Duration::from_nanos(1), interval).expect("in order");
            let mut dropped = 0;
            for now in (1..1_000_u64).map(|step| Timestamp::from_nanos(u64::MAX / 1_000 * step)) {
                let mut left = 4;
                let next = || {
                    left = usize::checked_sub(left, 1)?;
                    Some(Waited { item: (), since: Timestamp::ZERO, left_behind: left })
                };
                codel.pop(now, next, |()| dropped += 1);
            }
            dropped
        };

        assert_eq!(drops(Duration::MAX), 0);
        assert!(drops(Duration::from_nanos(1)) > 900, "{}", drops(Duration::from_nanos(1)));
    }
}
