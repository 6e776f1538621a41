use std::{fmt, time::Duration};

use seawall_core::{Admission, CallContext, Gate, MonotonicClock, Outcome, Timer, Timestamp, sync::Arc};

use crate::{
    Gcra, Limit, QueueingQuota, Quota, RateLimiterWait, Standing,
    line::{InLine, Joined, Line},
};

/// A [`Gcra`] whose calls wait for their turn.
pub type QueueingGcra<T = MonotonicClock> = QueueingLimit<Gcra, T>;

/// Admits calls as a [`Limit`] does, a [`Gcra`], a window or a [`WarmUp`](crate::WarmUp), and lets a bounded number wait a
/// bounded time for their turn, first come, first served.
///
/// Nobody passes the line, however cheap. A waiter that is dropped uses up nothing, and those behind it move up. A call
/// whose turn would come after the longest wait, or after its deadline, is refused when it comes, not when it has waited.
/// While the quota lasts it is as cheap as the limit itself.
///
/// A turn that is given late, since a timer has a step, counts from when it was due, so that the rate is kept with a burst of 1
/// too: up to 2 ms, which tokio's timer and epoll's may be late by in all. What a turn is late by beyond those is not made up for
/// other than by the burst: at once comes no more than the burst, or what the quota brings in 2 ms and one call.
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
///
/// Another limit than the default:
/// ```
/// use seawall_core::GateLayer;
/// use seawall_rate_limiter::{QueueingLimit, QueueingQuota, SlidingWindow, WindowQuota};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let quota = QueueingQuota::new(WindowQuota::new(2, Duration::from_millis(10))?);
/// let layer: GateLayer<QueueingLimit<SlidingWindow>> = GateLayer::new(quota);
/// for _ in 0..4 {
///     layer.run(async { Ok::<_, std::io::Error>(()) }).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct QueueingLimit<L: Limit, T = MonotonicClock> {
    line: Arc<Line<L>>,
    max_wait: Duration,
    timer: T,
}

impl<L: Limit, T> QueueingLimit<L, T> {
    /// A limit of which nothing is used and whose waiters sleep on `timer`.
    pub fn new<Q: Into<L>>(quota: impl Into<QueueingQuota<Q>>, timer: T) -> Self {
        let quota = quota.into();
        let (max_queued, max_wait) = (quota.max_queued(), quota.max_wait());
        Self { line: Arc::new(Line::new(quota.into_quota().into(), max_queued)), max_wait, timer }
    }

    /// How many calls wait.
    pub fn queued(&self) -> usize {
        self.line.queued()
    }

    /// What is left.
    pub fn standing(&self, now: Timestamp) -> Standing {
        self.line.limit.standing(now)
    }

    /// Takes `cost` more for a call that has turned out to be dearer than it said. Those in line wait for it.
    pub fn charge(&self, cost: u32, now: Timestamp) {
        self.line.limit.charge(cost, now);
    }

    /// Gives `cost` back for a call that was not made after all; those in line move up.
    pub fn refund(&self, cost: u32, now: Timestamp) {
        self.adjust(now, |limit| limit.refund(cost, now));
    }

    /// Changes the limit while calls go on, as `change` does; those in line move up, and a waiter that costs more than may
    /// ever come at once is refused.
    pub fn adjust<R>(&self, now: Timestamp, change: impl FnOnce(&L) -> R) -> R {
        // What is due by then is due by the quota until then.
        self.line.serve(now);
        let result = change(&self.line.limit);
        self.line.quota_changed(now);
        result
    }
}

impl<T> QueueingGcra<T> {
    /// Changes the quota while calls go on. What was used stays used; a waiter that costs more than the new burst is
    /// refused.
    pub fn set_quota(&self, quota: Quota, now: Timestamp) {
        self.adjust(now, |gcra| gcra.set_quota(quota, now));
    }
}

impl<L: Limit, T: Timer> QueueingLimit<L, T> {
    #[cold]
    fn queue_up(&self, cost: u32, context: &CallContext, now: Timestamp) -> Admission<(), RateLimiterWait<T>> {
        let deadline = context.deadline.unwrap_or(Timestamp::MAX);
        let until = now.saturating_add(self.max_wait);
        match self.line.join(cost, until, deadline, now) {
            Joined::Served => Admission::Admitted(()),
            Joined::Refused(rejection) => Admission::Refused(rejection),
            Joined::Waiting(key, turn) => {
                let in_line = InLine::new(Arc::clone(&self.line), key);
                Admission::Queued(RateLimiterWait::new(
                    Box::new(in_line),
                    self.timer.clone(),
                    turn,
                    until.min(deadline),
                ))
            }
        }
    }
}

/// For layers in the default environment, whose clock this is. In another one: [`QueueingQuota::layer`].
impl<Q: Into<L>, L: Limit> From<QueueingQuota<Q>> for QueueingLimit<L> {
    fn from(quota: QueueingQuota<Q>) -> Self {
        Self::new(quota, MonotonicClock)
    }
}

/// The same of a quota with the usual line.
impl From<Quota> for QueueingGcra {
    fn from(quota: Quota) -> Self {
        Self::new(quota, MonotonicClock)
    }
}

impl<L: Limit + fmt::Debug, T> fmt::Debug for QueueingLimit<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueingLimit")
            .field("limit", &self.line.limit)
            .field("queued", &self.queued())
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}

impl<L: Limit, T: Timer> Gate for QueueingLimit<L, T> {
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
        if self.line.queued() == 0 && Limit::take(&self.line.limit, cost, now).is_ok() {
            return Admission::Admitted(());
        }
        self.queue_up(cost, &context, now)
    }

    fn admit_at_once(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Option<()> {
        let cost = context().cost.max(1);
        if self.line.queued() == 0 { Limit::take(&self.line.limit, cost, now()).ok() } else { None }
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    /// Whether nobody waits and the limit is as one that is built anew.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.line.queued() == 0 && self.line.limit.is_as_new(now())
    }
}
