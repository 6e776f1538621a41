use std::{fmt, time::Duration};

use seawall_core::{
    Admission, CallContext, Gate, MonotonicClock, Outcome, Pattern, Reason, Rejection, Timer, Timestamp, sync::Arc,
};

use crate::{
    Knee, LimitAlgorithm, Passage, QueueingShedderConfig, ShedderWait,
    line::{InLine, Joined, Line},
};

/// A [`LoadShedder`](crate::LoadShedder) before which calls may queue for a moment: a burst is served, an overload is
/// still shed within milliseconds.
///
/// - A call that finds no room waits up to 20 ms; up to 5 ms once the queue has not been empty for 20 ms. It never waits
///   past its deadline.
/// - Room goes to the most critical call that waits; among equals to the oldest, or under overload to the newest, which
///   still has time to be answered.
/// - The queue is bounded: when it is full, the oldest of the least critical makes room for a call that is as critical.
/// - A waiter that leaves frees its place in constant time. While there is room nobody queues and no lock is taken.
///
/// The wait sleeps on `T`, which must follow the clock of the layer's environment. The default needs the feature
/// `tokio`.
///
/// ```
/// use seawall_load_shedder::{QueueingShedderConfig, QueueingLoadShedderLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = QueueingLoadShedderLayer::new(QueueingShedderConfig::default());
/// assert_eq!(layer.run(async { Ok::<_, std::io::Error>(1) }).await?, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// Ben Maurer, "Fail at Scale", ACM Queue 13(8), 2015: controlled delay and adaptive LIFO.
pub struct QueueingLoadShedder<A = Knee, T = MonotonicClock> {
    line: Arc<Line<A>>,
    timer: T,
    retry_after: Duration,
}

impl<T: Timer> QueueingLoadShedder<Knee, T> {
    /// A shedder with a [`Knee`] limit whose waiters sleep on `timer`.
    pub fn new(config: QueueingShedderConfig, timer: T) -> Self {
        Self::with_algorithm(Knee::new(config.range()), config, timer)
    }
}

impl<A: LimitAlgorithm, T: Timer> QueueingLoadShedder<A, T> {
    /// A shedder whose limit follows another algorithm; the configuration's range is not used.
    pub fn with_algorithm(algorithm: A, config: QueueingShedderConfig, timer: T) -> Self {
        let line = Line::new(algorithm, config.delay(), config.max_queued());
        Self { line: Arc::new(line), timer, retry_after: config.retry_after() }
    }

    /// The limit in force; lowered for a moment while a probe runs.
    pub fn limit(&self) -> u32 {
        self.line.limiter().word().seen().limit()
    }

    /// How many calls are under way.
    pub fn in_flight(&self) -> u32 {
        self.line.limiter().word().seen().in_flight()
    }

    /// How many calls wait.
    pub fn queued(&self) -> usize {
        self.line.queued()
    }

    /// Looks at the algorithm.
    pub fn inspect<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        self.line.limiter().inspect(look)
    }

    /// Changes the algorithm's settings while calls are under way; the new limit is in force at once, also for those who
    /// wait.
    pub fn adjust<R>(&self, change: impl FnOnce(&mut A) -> R) -> R {
        let result = self.line.limiter().adjust(change);
        self.line.hand_off(self.timer.now());
        result
    }

    #[cold]
    fn queue_up(&self, context: &CallContext, now: Timestamp) -> Admission<Passage, ShedderWait<A, T>> {
        match self.line.join(context, now) {
            Joined::Served(passage) => Admission::Admitted(passage),
            Joined::Refused => Admission::Refused(refusal(self.retry_after)),
            Joined::Waiting { place, until } => {
                let in_line = InLine::new(Arc::clone(&self.line), place, self.timer.clone());
                let until = until.min(context.deadline.unwrap_or(Timestamp::MAX));
                Admission::Queued(ShedderWait::new(in_line, until, self.retry_after))
            }
        }
    }
}

/// Why a call is refused, at once or after its wait.
pub(crate) fn refusal(retry_after: Duration) -> Rejection {
    Rejection::new(Pattern::LoadShedder, Reason::Overloaded).with_retry_after(retry_after)
}

impl<T: Timer + Default> From<QueueingShedderConfig> for QueueingLoadShedder<Knee, T> {
    fn from(config: QueueingShedderConfig) -> Self {
        Self::new(config, T::default())
    }
}

impl<A: LimitAlgorithm, T: Timer> Gate for QueueingLoadShedder<A, T> {
    type Ticket = Passage;
    type Wait = ShedderWait<A, T>;

    #[inline]
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Passage, ShedderWait<A, T>> {
        let now = now();
        match self.line.limiter().word().enter_if_nobody_waits() {
            Ok(seen) => Admission::Admitted(self.line.begin(seen, now)),
            Err(_) => self.queue_up(&context(), now),
        }
    }

    #[inline]
    fn finish(&self, passage: Passage, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        let now = now();
        self.line.limiter().end(&passage, outcome, now);
        self.line.hand_off_if_somebody_waits(now);
    }

    /// Whether nothing is under way.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.in_flight() == 0
    }
}

impl<A, T> fmt::Debug for QueueingLoadShedder<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueingLoadShedder").field("retry_after", &self.retry_after).finish_non_exhaustive()
    }
}
