use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use seawall_core::{Admission, CallContext, Gate, MonotonicClock, Outcome, Rejection, Timer, Timestamp, sync::Arc};

use crate::{
    BulkheadConfig, BulkheadError, BulkheadWait, Drain, Place, QueueingBulkheadConfig,
    line::{InLine, Joined, Line},
    places::Seen,
    queue::Call,
};

/// Lets a bounded number of calls through at once, and a bounded number wait for a bounded time: first come, first
/// served, or in another [`Order`](crate::Order).
///
/// A place that comes free goes straight to the call whose turn it is; nobody passes it, however light. A waiter that is
/// dropped or runs out of time leaves at once, whatever the length of the queue. While places are free no lock is taken,
/// no clock read and nothing allocated.
///
/// A refusal says when to come back once a call has been served out of the queue: after as long as that one had waited, spread
/// from half of it to half as much again.
///
/// The wait sleeps on `T`, which must follow the clock of the layer's environment: [`QueueingBulkheadConfig::layer`] sees
/// to it.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, QueueingBulkheadConfig, QueueingBulkheadLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = QueueingBulkheadLayer::new(QueueingBulkheadConfig::new(BulkheadConfig::new(1)?));
/// let (first, second) = tokio::join!(
///     layer.run(async { tokio::task::yield_now().await; Ok::<_, std::io::Error>(1) }),
///     layer.run(async { Ok::<_, std::io::Error>(2) }),
/// );
/// assert_eq!((first?, second?), (1, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct QueueingBulkhead<T = MonotonicClock> {
    line: Arc<Line>,
    built_with: Seen,
    max_wait: Duration,
    timer: T,
}

impl<T: Timer> QueueingBulkhead<T> {
    /// A bulkhead whose places are all free and whose waiters sleep on `timer`.
    pub fn new(config: QueueingBulkheadConfig, timer: T) -> Self {
        let max_wait = config.max_wait();
        let line = Line::new(config, RandomState::new().hash_one(0));
        Self { built_with: line.places().seen(), line: Arc::new(line), max_wait, timer }
    }

    /// How long the call waits that has waited longest.
    pub fn oldest_wait(&self) -> Option<Duration> {
        self.line.oldest().map(|since| self.timer.now().since(since))
    }

    /// Changes the number of places while calls are under way. Waiters that fit are served at once; one that weighs more
    /// than it may ever take is refused as [`TooHeavy`](seawall_core::Reason::TooHeavy). A closed bulkhead stays closed.
    ///
    /// # Errors
    /// [`BulkheadError::MaxConcurrent`] when `max_concurrent` is 0.
    pub fn set_limit(&self, max_concurrent: usize) -> Result<(), BulkheadError> {
        self.line.places().set_limit(BulkheadConfig::new(max_concurrent)?.max_concurrent());
        self.line.hand_off(None, self.timer.now());
        Ok(())
    }

    /// Refuses every call from here on, those that wait included. Those under way go on.
    pub fn close(&self) {
        self.line.places().close();
        self.line.hand_off(None, self.timer.now());
    }

    /// Closes, and completes when the last call has ended.
    pub fn drain(&self) -> Drain<'_> {
        self.close();
        Drain::new(self.line.places(), self.line.drainers())
    }

    /// A place, if one is free and nobody waits.
    pub(crate) fn try_admit(&self, context: &CallContext) -> Result<Place, Rejection> {
        let call = self.line.call(context);
        self.line.enter(&call).ok_or_else(|| self.line.refusal(&call))
    }

    #[cold]
    fn queue_up(&self, call: Call, now: Timestamp) -> Admission<Place, BulkheadWait<T>> {
        match self.line.join(call, now) {
            Joined::Served(place) => Admission::Admitted(place),
            Joined::Refused(rejection) => Admission::Refused(rejection),
            Joined::Waiting(spot) => {
                let until = now.saturating_add(self.max_wait).min(call.deadline);
                let in_line = InLine::new(Arc::clone(&self.line), spot, self.timer.clone());
                Admission::Queued(BulkheadWait::new(in_line, until))
            }
        }
    }
}

impl<T> QueueingBulkhead<T> {
    /// How many places there are; 0 after [`QueueingBulkhead::close`].
    pub fn limit(&self) -> u32 {
        self.line.places().seen().limit()
    }

    /// How many places are taken.
    pub fn in_flight(&self) -> u32 {
        self.line.places().seen().taken()
    }

    /// How many places a tenant has taken, where it has a [share](crate::Order::ByShare): all together those that have
    /// none of their own.
    pub fn in_flight_of(&self, tenant: u64) -> Option<u32> {
        self.line.held_by(tenant)
    }

    /// How many calls wait.
    pub fn queued(&self) -> usize {
        self.line.queued()
    }
}

/// For layers in the default environment, whose clock this is. In another one: [`QueueingBulkheadConfig::layer`].
impl From<QueueingBulkheadConfig> for QueueingBulkhead {
    fn from(config: QueueingBulkheadConfig) -> Self {
        Self::new(config, MonotonicClock)
    }
}

impl<T: Timer> Gate for QueueingBulkhead<T> {
    type Ticket = Place;
    type Wait = BulkheadWait<T>;

    #[inline]
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Place, BulkheadWait<T>> {
        let call = self.line.call(&context());
        self.line.enter(&call).map_or_else(|| self.queue_up(call, now()), Admission::Admitted)
    }

    fn admit_at_once(&self, context: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Option<Place> {
        self.line.enter(&self.line.call(&context()))
    }

    #[inline]
    fn finish(&self, place: Place, _: Outcome, now: impl FnOnce() -> Timestamp) {
        self.line.give_back(&place, now);
    }

    /// Whether all places are free and the limit is the one that it was built with.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.line.places().seen() == self.built_with
    }
}
