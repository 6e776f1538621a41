use std::time::Duration;

use seawall_core::{Admission, CallContext, Gate, MonotonicClock, Outcome, Timer, Timestamp, sync::Arc};

use crate::{
    Gcra, QueueingQuota, Quota, RateLimiterWait, Standing,
    line::{InLine, Joined, Line},
};

/// Admits calls at the rate of a [`Quota`](crate::Quota) and lets a bounded number wait a bounded time for their turn,
/// first come, first served.
///
/// Nobody passes the line, however cheap. A waiter that is dropped uses up nothing, and those behind it move up. A call
/// whose turn would come after the longest wait, or after its deadline, is refused when it comes, not when it has waited.
/// While the quota lasts it is as cheap as a [`Gcra`].
///
/// The quota holds also against late timers: a waiter that wakes late does not make up for it beyond the burst. A burst
/// that covers the timer's step (1 ms in tokio) keeps the full rate.
///
/// The wait sleeps on `T`, which must follow the clock of the layer's environment: [`QueueingQuota::layer`] sees to it.
///
/// ```
/// use seawall_rate_limiter::{QueueingQuota, QueueingRateLimiterLayer, Quota};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = QueueingRateLimiterLayer::new(QueueingQuota::new(Quota::per_second(1_000)?));
/// for _ in 0..3 {
///     layer.run(async { Ok::<_, std::io::Error>(()) }).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct QueueingGcra<T = MonotonicClock> {
    line: Arc<Line>,
    max_wait: Duration,
    timer: T,
}

impl<T> QueueingGcra<T> {
    /// A limiter whose whole burst is there and whose waiters sleep on `timer`.
    pub fn new(quota: impl Into<QueueingQuota>, timer: T) -> Self {
        let quota = quota.into();
        let line = Line::new(Gcra::new(quota.quota()), quota.max_queued());
        Self { line: Arc::new(line), max_wait: quota.max_wait(), timer }
    }

    /// How many calls wait.
    pub fn queued(&self) -> usize {
        self.line.queued()
    }

    /// What is left of the quota.
    pub fn standing(&self, now: Timestamp) -> Standing {
        self.line.quota.standing(now)
    }

    /// Takes `cost` more for a call that has turned out to be dearer than it said. Those in line wait for it.
    pub fn charge(&self, cost: u32, now: Timestamp) {
        self.line.quota.charge(cost, now);
    }

    /// Gives `cost` back for a call that was not made after all; those in line move up.
    pub fn refund(&self, cost: u32, now: Timestamp) {
        self.line.quota.refund(cost);
        self.line.quota_changed(now);
    }

    /// Changes the quota while calls go on. What was used stays used; a waiter that costs more than the new burst is
    /// refused.
    pub fn set_quota(&self, quota: Quota, now: Timestamp) {
        self.line.quota.set_quota(quota, now);
        self.line.quota_changed(now);
    }
}

impl<T: Timer> QueueingGcra<T> {
    #[cold]
    fn queue_up(&self, cost: u32, context: &CallContext, now: Timestamp) -> Admission<(), RateLimiterWait<T>> {
        let deadline = context.deadline.unwrap_or(Timestamp::MAX);
        let until = now.saturating_add(self.max_wait);
        match self.line.join(cost, until, deadline, now) {
            Joined::Served => Admission::Admitted(()),
            Joined::Refused(rejection) => Admission::Refused(rejection),
            Joined::Waiting(key, turn) => {
                let in_line = InLine::new(Arc::clone(&self.line), key);
                Admission::Queued(RateLimiterWait::new(in_line, self.timer.clone(), turn, until.min(deadline)))
            }
        }
    }
}

/// For layers in the default environment, whose clock this is. In another one: [`QueueingQuota::layer`].
impl<C: Into<QueueingQuota>> From<C> for QueueingGcra {
    fn from(quota: C) -> Self {
        Self::new(quota, MonotonicClock)
    }
}

impl<T: Timer> Gate for QueueingGcra<T> {
    type Ticket = ();
    type Wait = RateLimiterWait<T>;
    const RECORDS: bool = false;

    #[inline]
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<(), RateLimiterWait<T>> {
        let (context, now) = (context(), now());
        let cost = context.cost.max(1);
        if self.line.queued() == 0 && self.line.quota.take(cost, now).is_ok() {
            return Admission::Admitted(());
        }
        self.queue_up(cost, &context, now)
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    /// Whether nobody waits and the whole burst is there.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.line.queued() == 0 && self.line.quota.is_idle(now)
    }
}
