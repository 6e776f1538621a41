use std::time::Duration;

use seawall_core::{Entropy, ThreadEntropy, Timer, Timestamp, inherited_deadline};

use crate::Delays;

/// The waits of a [`Backoff`](crate::Backoff), slept one after another: for loops without Tower. Made by
/// [`Backoff::pauses`](crate::Backoff::pauses).
///
/// The timer is the one that layers use: with a `VirtualClock` a test of the loop waits for nothing.
#[derive(Clone, Debug)]
pub struct Pauses<T, R = ThreadEntropy> {
    delays: Delays<R>,
    timer: T,
    until: Timestamp,
}

impl<T: Timer, R: Entropy> Pauses<T, R> {
    pub(crate) const fn new(delays: Delays<R>, timer: T) -> Self {
        Self { delays, timer, until: Timestamp::MAX }
    }

    /// No pause ends later than so long after now. Default: none but the deadline that the task has inherited.
    #[must_use]
    pub fn with_max_elapsed(mut self, limit: Duration) -> Self {
        self.until = self.timer.now().saturating_add(limit);
        self
    }

    /// Sleeps for the next wait, and says how long that was. `None`, at once, when it would end at the limit or at the deadline
    /// that this task has inherited, or later: whoever is woken then has no time left to try.
    ///
    /// Dropped before its end, the wait counts as slept.
    pub async fn pause(&mut self) -> Option<Duration> {
        let wait = self.delays.next()?;
        let end = self.timer.now().saturating_add(wait);
        let deadline = inherited_deadline().map_or(self.until, |deadline| deadline.min(self.until));
        if end >= deadline && deadline < Timestamp::MAX {
            return None;
        }
        if !wait.is_zero() {
            self.timer.sleep_until(end).await;
        }
        Some(wait)
    }
}
